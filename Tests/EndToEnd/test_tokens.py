"""Tokens, their roles, the segments they are limited to, and reading the file again."""
import os
import signal
import threading

import pytest

from harness import kernel
from harness.client import ABSENT, Api, exchange, raw
from harness.server import run
from harness.waiting import wait_until

INSPECT, USE, ADMIN = "look-12345678", "work-12345678", "rule-12345678=="
ROLES = ["inspect", "use", "admin"]
OPEN = ["/livez", "/readyz", "/healthz", "/openapi.yaml"]


@pytest.fixture
def token_file(tmp_path):
    """A function that writes lines to the token file and gives its path."""
    path = tmp_path / "tokens"

    def write(*lines, mode=0o600):
        path.unlink(missing_ok=True)
        path.touch(mode)
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        path.chmod(mode)
        return str(path)

    return write


@pytest.fixture
def guarded(start_server, token_file):
    """A server with one token for each role."""
    return start_server("--token-file", token_file(
        "# those who look", f"{INSPECT} inspect", "", f"{USE} use", f"{ADMIN} admin"))


def test_without_a_token_only_health_and_the_document_are_to_be_had(guarded):
    api = Api(guarded.address)
    for path in OPEN:
        api.get(path, expect=200)
    for path in ["/v1", "/v1/segments", "/v1/sessions", "/v1/keys?key=x", "/metrics", "/nowhere",
                 "/v1/segments/x/data"]:
        answer = api.get(path, expect=(401, "unauthorized"))
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="segmentd"'
    api.request("PURGE", "/v1/segments", expect=(401, "unauthorized"))
    api.request("PURGE", "/livez", expect=(405, "method-not-allowed"))


@pytest.mark.parametrize("field", [
    "Bearer wrong", f"Bearer {USE}x", f"Bearer {USE[:-1]}", "Bearer", "Bearer ", f"Basic {USE}",
    USE, f"Bearer {USE} {USE}", f"Bearer {USE.upper()}", "Bearer " + "x" * 5000,
])
def test_a_wrong_token_is_told_so(guarded, field):
    answer = Api(guarded.address).get("/v1", headers={"Authorization": field},
                                      expect=(401, "unauthorized"))
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="segmentd", error="invalid_token"'


@pytest.mark.parametrize("field", [f"bearer {USE}", f"BEARER  {USE}"])
def test_the_scheme_may_be_written_in_any_case(guarded, field):
    Api(guarded.address).get("/v1", headers={"Authorization": field}, expect=200)


def test_two_tokens_are_one_too_many(guarded):
    answer = exchange(guarded.address, raw(
        "GET", "/v1", f"Authorization: Bearer {USE}", f"Authorization: Bearer {ADMIN}"))
    assert (answer.status, answer.code) == (400, "invalid-request")


def test_tokens_count_at_a_unix_socket_as_well(start_server, token_file, posix, tmp_path):
    path = str(tmp_path / "s")
    server = start_server(
        "--token-file", token_file(f"{INSPECT} inspect", f"{USE} use {posix.id}", f"{ADMIN} admin"),
        listen=("127.0.0.1:0", f"unix:{path}"))
    stranger, looker, user, ruler = (Api(path, token) for token in (None, INSPECT, USE, ADMIN))
    for open_path in OPEN:
        stranger.get(open_path, expect=200)
    for closed in ["/v1", "/v1/segments", "/metrics", posix.href, "/nowhere"]:
        stranger.get(closed, expect=(401, "unauthorized"))
    stranger.post("/v1/sessions", expect=(401, "unauthorized"))
    Api(path, "wrong-12345678").get("/v1", expect=(401, "unauthorized"))
    looker.get("/v1/segments", expect=200)
    looker.post("/v1/sessions", expect=(403, "forbidden"))
    # Bound to a process by the kernel's word, and let in by the token all the same.
    session = user.session(bind="process")
    session.create(posix)
    user.get("/v1/segments/posix:%2Fanother", expect=(403, "forbidden"))
    user.delete(posix.href, query={"force": "true"}, expect=(403, "forbidden"))
    assert Api(server.address, USE).get(session.href, expect=200).json["bind"] == "process"
    token_file(f"{ADMIN} admin")
    server.send(signal.SIGHUP)
    wait_until(lambda: lines_with(server, "read the token file again tokens=1"), 10)
    user.get("/v1", expect=(401, "unauthorized"))
    ruler.delete(session.href, expect=200)
    for api in (stranger, looker, user, ruler):
        api.sessions.clear()
        api.close()


NEEDS = [
    ("GET", "/v1", "inspect", 200), ("GET", "/metrics", "inspect", 200),
    ("GET", "/v1/segments", "inspect", 200), ("GET", "/v1/sessions", "inspect", 200),
    ("GET", "/v1/segments/{}", "inspect", 404), ("GET", "/v1/segments/{}/data", "inspect", 404),
    ("GET", "/v1/segments/{}/lock", "inspect", 404),
    ("GET", "/v1/segments/{}/data?lock=true", "use", 404),
    ("GET", "/v1/sessions/" + "0" * 32, "use", 410), ("POST", "/v1/sessions", "use", 201),
    ("POST", "/v1/segments", "use", 400), ("PUT", "/v1/segments/{}/attachment", "use", 400),
    ("PUT", "/v1/segments/{}/lock", "use", 400), ("DELETE", "/v1/segments/{}/lock", "use", 400),
    ("PATCH", "/v1/segments/{}/data", "use", 404), ("PUT", "/v1/segments/{}/data", "use", 404),
    ("DELETE", "/v1/segments/{}", "admin", 404),
    ("DELETE", "/v1/segments/{}?force=true", "admin", 404),
    ("DELETE", "/v1/segments/{}/lock?force=true", "admin", 404),
]


@pytest.mark.parametrize(("method", "path", "needed", "status"), NEEDS)
def test_each_role_includes_those_before_it(guarded, stem, method, path, needed, status):
    path = path.format("posix:%2F" + stem)
    for role, token in zip(ROLES, [INSPECT, USE, ADMIN]):
        api = Api(guarded.address, token)
        if ROLES.index(role) >= ROLES.index(needed):
            api.request(method, path, expect=status)
            continue
        answer = api.request(method, path, expect=(403, "forbidden"))
        challenge = answer.headers["WWW-Authenticate"]
        # Force needs what the method needs first.
        scopes = ["use", "admin"] if "lock?force" in path else [needed]
        assert 'error="insufficient_scope"' in challenge
        assert any(challenge.endswith(f'scope="{scope}"') for scope in scopes), challenge


def test_a_token_that_is_limited_reaches_nothing_else(start_server, token_file, stem):
    one, other = kernel.posix_name(stem + "-one"), kernel.posix_name(stem + "-two")
    server = start_server("--token-file", token_file(
        f"{ADMIN} admin", f"{USE} admin posix:/{stem}-one", f"{INSPECT} inspect posix:/{stem}-t*"))
    everyone, limited = Api(server.address, ADMIN), Api(server.address, USE)
    session = everyone.session(name="everyone")
    session.create(one)
    session.create(other)
    assert {one.id, other.id} <= set(everyone.segment_ids())
    assert [name for name in limited.segment_ids() if stem in name] == [one.id]
    shown = limited.get("/v1/sessions", expect=200).json["sessions"][0]
    assert [held["segment"] for held in shown["attachments"]] == [one.id]

    own = limited.session()
    own.attach(one)
    own.write(one, b"mine", offset=0)
    # Not with a session of one's own, not with another's, not under another spelling.
    for using in (None, own, session):
        for method, path, body in [
            ("GET", "", ABSENT), ("DELETE", "?force=true", ABSENT), ("GET", "/data", ABSENT),
            ("PUT", "/lock", ABSENT), ("GET", "/lock", ABSENT), ("DELETE", "/lock?force=true", ABSENT),
            ("PUT", "/attachment", {}), ("DELETE", "/attachment", ABSENT),
        ]:
            answer = limited.request(method, other.href + path, json=body, session=using)
            assert answer.code in ("forbidden", "session-required"), answer
            assert using is None or answer.code == "forbidden"
    for path in [f"posix:{stem}-two", f"posix:%2F%252F{stem}-two",
                 f"posix:%2F{stem}-two%3FlegacyKey=posix:%2F{stem}-one"]:
        limited.get("/v1/segments/" + path, expect=403)
    limited.post("/v1/segments", json={**other.body, "size": 8}, session=own,
                 expect=(403, "forbidden"))
    limited.get(f"/v1/segments/posix:%2F{stem}-absent", expect=(403, "forbidden"))
    # What the session of another held is its own affair.
    released = limited.delete(session.href, expect=200).json["released"]
    assert [release["segment"] for release in released] == [one.id]
    own.end()
    assert not one.exists() and not other.exists()
    Api(server.address, INSPECT).get(other.href, expect=(404, "not-found"))
    Api(server.address, INSPECT).get(one.href, expect=(403, "forbidden"))


def test_a_token_for_a_plain_key_reaches_the_segment_by_each_of_its_names(
        start_server, token_file, legacy, peer):
    segment = peer.segment(legacy)
    segment.create(64)
    server = start_server("--token-file", token_file(
        f"{USE} use {legacy.path}", f"{INSPECT} inspect {legacy.path}x"))
    api = Api(server.address, USE)
    assert len(api.segment_ids()) == 1, "by its native key, for nobody has said the plain one yet"
    shmid = api.get(legacy.href, expect=200).json["shmid"]
    api.get(f"/v1/segments/shmid:{shmid}", expect=200)
    assert len(api.segment_ids()) == 1
    stranger = Api(server.address, INSPECT)
    assert stranger.segment_ids() == []
    stranger.get(f"/v1/segments/shmid:{shmid}", expect=(403, "forbidden"))
    segment.detach()


BAD_FILES = [
    (["abcdefgh owner"], "line 1 has a role"), (["# x", "abcdefgh"], "line 2 has no role"),
    (["abcdefgh use", "abcdefgh use"], "line 2 has the token of line 1 again"),
    (["abcdefgh use [z-a]"], "line 1 has a pattern"), (['"abcdefgh" use'], "line 1 has no token"),
    (["# nobody"], "there is no token in it"),
]


@pytest.mark.parametrize(("lines", "complaint"), BAD_FILES)
def test_a_bad_file_keeps_the_server_from_starting(environment, token_file, lines, complaint,
                                                   tmp_path):
    ended = run("--state-dir", str(tmp_path / "state"), "--listen", "127.0.0.1:0", "--token-file",
                token_file(*lines), environment=environment)
    assert ended.returncode == 1 and complaint in ended.stderr, ended
    assert "abcdefgh" not in ended.stderr and ended.stderr.count("\n") == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_may_read_is_refused(environment, token_file, mode, tmp_path):
    path = token_file(f"{USE} use", mode=mode)
    ended = run("--state-dir", str(tmp_path / "state"), "--listen", "127.0.0.1:0",
                environment={**environment, "SEGMENTD_TOKEN_FILE": path})
    assert ended.returncode == 1 and f"mode {mode:o}" in ended.stderr, ended


@pytest.mark.parametrize("kind", ["directory", "missing", "pipe"])
def test_what_is_no_file_is_refused(environment, tmp_path, kind):
    path = tmp_path / "tokens"
    if kind == "directory":
        path.mkdir(0o700)
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    ended = run("--state-dir", str(tmp_path / "state"), "--listen", "127.0.0.1:0", "--token-file",
                str(path), environment=environment)
    assert ended.returncode == 1 and str(path) in ended.stderr, ended


def lines_with(server, text):
    return [line for line in server.log().splitlines() if text in line]


def test_sighup_reads_the_file_again(start_server, token_file):
    server = start_server("--token-file", token_file(f"{USE} use"))
    old, new = Api(server.address, USE), Api(server.address, ADMIN)
    session = old.session()
    new.get("/v1", expect=401)

    token_file(f"{ADMIN} admin")
    server.send(signal.SIGHUP)
    wait_until(lambda: lines_with(server, "read the token file again tokens=1"), 10)
    new.get("/v1", expect=200)
    old.get("/v1", expect=401)
    # A session belongs to whoever knows its id.
    new.get(session.href, expect=200)

    token_file("bad-token-here")
    server.send(signal.SIGHUP)
    wait_until(lambda: lines_with(server, "the tokens stay as they were"), 10)
    new.get("/v1", expect=200)
    complaint = lines_with(server, "the tokens stay as they were")[0]
    assert "line 1 has no role" in complaint and " error " in complaint

    token_file(f"{ADMIN} admin", mode=0o644)
    server.send(signal.SIGHUP)
    wait_until(lambda: len(lines_with(server, "the tokens stay as they were")) == 2, 10)
    new.delete(session.href, expect=200)
    assert not any(token in server.log() for token in (USE, ADMIN, "bad-token-here"))


def test_sighup_without_a_token_file_changes_nothing(start_server):
    server = start_server()
    server.send(signal.SIGHUP)
    wait_until(lambda: lines_with(server, "no token file"), 10)
    Api(server.address).get("/v1", expect=200)


def test_sighup_under_load_loses_no_request(start_server, token_file):
    server = start_server("--token-file", token_file(f"{USE} use"), "--log-level", "notice")
    done = threading.Event()
    failures, counts = [], [0] * 4

    def work(index):
        api = Api(server.address, USE)
        try:
            while not done.is_set() or counts[index] < 50:
                api.get("/v1/sessions", expect=200)
                counts[index] += 1
        except AssertionError as problem:
            failures.append(problem)
        finally:
            api.close()

    workers = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for worker in workers:
        worker.start()
    for round_ in range(1, 21):
        token_file(f"{USE} {'admin' if round_ % 2 else 'use'}", f"{ADMIN}{round_} admin"
                   .replace("==", ""))
        server.send(signal.SIGHUP)
        wait_until(lambda: len(lines_with(server, "read the token file again")) == round_, 10)
    done.set()
    for worker in workers:
        worker.join()
    assert not failures and min(counts) >= 50
