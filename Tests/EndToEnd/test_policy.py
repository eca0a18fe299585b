"""What there is for clients at all: allow and deny lists, and the read-only server."""
import pytest

from harness import kernel
from harness.client import ABSENT, Api
from harness.server import run


def test_what_is_denied_is_not_there(start_server, stem):
    one, other = kernel.posix_name(stem + "-one"), kernel.posix_name(stem + "-two")
    plain = Api(start_server().address)
    session = plain.session()
    session.create(one)
    session.create(other)
    api = Api(start_server("--deny", f"posix:/{stem}-t[vw]o").address)
    assert [name for name in api.segment_ids() if stem in name] == [one.id]
    own = api.session()
    for using, method, path, body in [
        (None, "GET", "", ABSENT), (None, "GET", "/data", ABSENT), (None, "GET", "/lock", ABSENT),
        (None, "DELETE", "?force=true", ABSENT), (None, "PATCH", "/data", ABSENT),
        (own, "PUT", "/attachment", {}), (own, "PUT", "/lock", ABSENT), (own, "GET", "/data", ABSENT),
    ]:
        api.request(method, other.href + path, json=body, session=using,
                    expect=(403, "permission-denied"))
    own.request("POST", "/v1/segments", json={**other.body, "size": 8, "if_exists": "attach"},
                expect=(403, "permission-denied"))
    own.attach(one)
    api.get(f"/v1/segments/posix:%2F{stem}-tvo", expect=(403, "permission-denied"))
    assert api.get(other.href).json["qt_error"] == "PermissionDenied"


def test_only_what_is_allowed_is_there_and_deny_wins(start_server, environment, stem):
    api = Api(start_server(environment={
        **environment, "SEGMENTD_ALLOW": f"posix:/{stem}-*", "SEGMENTD_DENY": f"posix:/{stem}-x*",
    }).address)
    session = api.session()
    allowed = kernel.posix_name(stem + "-one")
    session.create(allowed)
    assert api.segment_ids() == [allowed.id]
    for name in (kernel.posix_name(stem + "-xone"), kernel.posix_name(stem)):
        session.create(name, expect=(403, "permission-denied"))
        assert not name.exists()


def test_a_denied_plain_key_is_hidden_under_every_name(start_server, peer, legacy):
    segment = peer.segment(legacy)
    segment.create(64)
    shmid = Api(start_server().address).get(legacy.href).json["shmid"]
    native = "systemv:" + legacy.memory_file.replace("/", "%2F")
    for pattern in [legacy.path, legacy.path[:5] + "*", f"*{legacy.path[5:]}"]:
        api = Api(start_server("--deny", pattern).address)
        assert api.segment_ids() == []
        for path in [legacy.path, native, native + "%3FlegacyKey=other", f"shmid:{shmid}",
                     native.replace("%2Fqipc", "%2F%2F.%2Fqipc"), native.replace("%2F", "%2F.%2F")]:
            api.get("/v1/segments/" + path, expect=403)
    segment.detach()


def test_a_read_only_server_shows_everything_and_changes_nothing(start_server, stem):
    name = kernel.posix_name(stem)
    other = Api(start_server().address)
    session = other.session()
    session.create(name, size=8)
    session.write(name, b"visible!")
    session.lock(name)

    api = Api(start_server("--read-only").address)
    assert name.id in api.segment_ids()
    assert api.get(name.href + "/data", expect=200).body == b"visible!"
    assert api.get(name.href + "/lock", expect=200).json["state"] == "external"
    api.get("/v1", expect=200)
    api.get("/metrics", expect=200)
    for method, path, body in [
        ("POST", "/v1/sessions", {}), ("POST", "/v1/segments", {**name.body, "size": 8}),
        ("PUT", name.href + "/attachment", {}), ("PUT", name.href + "/lock", ABSENT),
        ("DELETE", name.href, ABSENT), ("DELETE", name.href + "?force=true", ABSENT),
        ("DELETE", name.href + "/lock?force=true", ABSENT),
        ("GET", name.href + "/data?lock=true", ABSENT),
    ]:
        answer = api.request(method, path, json=body, expect=(403, "forbidden"))
        assert "read-only" in answer.json["detail"], answer
    for method in ("PUT", "PATCH"):
        api.request(method, name.href + "/data", body=b"changed!", expect=(403, "forbidden"))
    assert name.bytes() == b"visible!"
    assert other.lock_state(name)["state"] == "session"


@pytest.mark.parametrize(("flag", "value"), [("--allow", "["), ("--deny", ""), ("--deny", "a\\")])
def test_a_malformed_pattern_keeps_the_server_from_starting(environment, tmp_path, flag, value):
    ended = run("--state-dir", str(tmp_path / "state"), flag, value, environment=environment)
    assert ended.returncode == 64 and flag in ended.stderr, ended
