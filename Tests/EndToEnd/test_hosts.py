"""Who the request is for and where it was made: DNS rebinding and other pages' requests."""
import pytest

from harness.client import Api, exchange, raw
from harness.server import run

TOKEN = "work-12345678"

EVERYWHERE = ["/v1/segments", "/livez", "/openapi.yaml", "/nowhere"]


@pytest.mark.parametrize("host", [
    "127.0.0.1", "127.0.0.1:1", "127.8.9.10", "localhost:7070", "LOCALHOST", "localhost.", "[::1]:7070",
])
def test_loopback_names_are_ours(api, host):
    api.get("/v1", headers={"Host": host}, expect=200)


@pytest.mark.parametrize("path", EVERYWHERE)
@pytest.mark.parametrize("host", [
    "evil.example", "evil.example:7070", "127.0.0.1.evil.example", "localhost.evil.example",
    "192.0.2.1", "0.0.0.0", "[::2]", "2130706433", "localhost:port", "", "127.0.0.1 evil",
])
def test_any_other_name_is_misdirected(api, host, path):
    api.get(path, headers={"Host": host}, expect=(421, "misdirected"))


def test_nothing_is_changed_by_a_misdirected_request(api, posix):
    session = api.session()
    session.create(posix)
    for method, path in [("PATCH", "/data"), ("DELETE", "?force=true"), ("PUT", "/lock")]:
        session.request(method, posix.href + path, body=b"x", headers={"Host": "evil.example"},
                        expect=(421, "misdirected"))
    assert posix.bytes() == bytes(64)


def test_names_can_be_added(start_server, environment):
    api = Api(start_server("--host", "shm.example", "--host", "10.0.0.9").address)
    for host in ["shm.example", "SHM.example:8443", "10.0.0.9:80", "localhost"]:
        api.get("/v1", headers={"Host": host}, expect=200)
    for host in ["example", "x.shm.example", "10.0.0.8"]:
        api.get("/v1", headers={"Host": host}, expect=421)
    api = Api(start_server(
        environment={**environment, "SEGMENTD_HOST": "one.example two.example"}).address)
    api.get("/v1", headers={"Host": "two.example"}, expect=200)


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "tokens"
    path.touch(0o600)
    path.write_text(f"{TOKEN} use\n", encoding="ascii")
    return str(path)


@pytest.mark.parametrize("place", ["0.0.0.0:0", "[::]:0"])
def test_who_listens_everywhere_is_called_by_any_address_and_by_no_strange_name(
        start_server, token_file, place):
    """An address cannot be made to lead here by a name of somebody else's."""
    server = start_server("--token-file", token_file, "--host", "shm.example", listen=(place,))
    port = int(server.places[0].rsplit(":", 1)[1])
    address = ("127.0.0.1" if "." in place else "::1", port)
    api = Api(address, TOKEN)
    for host in ["192.0.2.1", f"10.1.2.3:{port}", "[2001:db8::1]:7070", "localhost", "127.0.0.1",
                 "shm.example", f"SHM.EXAMPLE:{port}"]:
        api.get("/v1", headers={"Host": host}, expect=200)
    for host in ["evil.example", f"evil.example:{port}", "192.0.2.1.evil.example", "x.shm.example",
                 "2130706433", "0x7f.1", "192.0.2", "192.0.2.256", "[2001:db8::1", ""]:
        for path in EVERYWHERE:
            api.get(path, headers={"Host": host}, expect=(421, "misdirected"))
    # A page is told by its origin, whatever address it was loaded from.
    api.get("/v1", headers={"Host": "192.0.2.1", "Origin": "http://192.0.2.1"}, expect=200)
    api.get("/v1", headers={"Host": "192.0.2.1", "Origin": "http://192.0.2.2"},
            expect=(403, "forbidden"))
    # And nobody comes in without the token, from this host either.
    for host in ["192.0.2.1", "localhost"]:
        Api(address).get("/v1", headers={"Host": host}, expect=(401, "unauthorized"))
    Api(address).get("/v1", headers={"Host": "evil.example"}, expect=(421, "misdirected"))


def test_a_name_that_cannot_be_one_keeps_the_server_from_starting(environment, tmp_path):
    for name in ["http://x", "x:80", "a b", ""]:
        ended = run("--state-dir", str(tmp_path / "state"), "--host", name, environment=environment)
        assert ended.returncode == 64 and "--host" in ended.stderr, ended


@pytest.mark.parametrize("path", EVERYWHERE)
@pytest.mark.parametrize("fields", [
    {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": ""},
    {"Origin": "http://localhost:3000"}, {"Origin": "http://127.0.0.1"}, {"Origin": "file://"},
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "x"},
    {"Sec-Fetch-Site": ""},
])
def test_a_page_of_another_origin_is_refused(api, fields, path):
    api.get(path, headers=fields, expect=(403, "forbidden"))


def test_a_simple_post_of_another_page_changes_nothing(api):
    count = len(api.get("/v1/sessions").json["sessions"])
    for fields in [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}]:
        api.post("/v1/sessions", headers=fields, expect=(403, "forbidden"))
    # A preflight is not granted.
    api.request("OPTIONS", "/v1/sessions", expect=(403, "forbidden"), headers={
        "Origin": "http://evil.example", "Access-Control-Request-Method": "POST"})
    assert len(api.get("/v1/sessions").json["sessions"]) == count


def test_a_page_of_our_own_and_no_page_are_let_in(api, server):
    own = "{}:{}".format(*server.address)
    for fields in [
        {"Origin": f"http://{own}"}, {"Origin": f"https://{own}"},
        {"Host": "LocalHost:3000", "Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "same-origin", "Origin": f"http://{own}"}, {"Sec-Fetch-Site": "none"},
    ]:
        api.get("/v1", headers=fields, expect=200)


@pytest.mark.parametrize("name", ["Host", "Origin", "Sec-Fetch-Site"])
def test_what_may_be_said_once_is_refused_twice(server, name):
    value = {"Host": "127.0.0.1", "Origin": "http://127.0.0.1", "Sec-Fetch-Site": "none"}[name]
    answer = exchange(server.address, raw("GET", "/v1", f"{name}: {value}", f"{name}: {value}"))
    assert (answer.status, answer.code) == (400, "invalid-request")
