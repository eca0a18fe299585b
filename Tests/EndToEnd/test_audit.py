"""The lines about what may have to be accounted for."""
import json
import os
import signal

import pytest

from harness.client import Api
from harness.waiting import wait_until

TOKEN = "audit-token-1234"


@pytest.fixture
def audited(start_server):
    return start_server("--log-format", "json", "--log-level", "notice")


def events(server, kind=None):
    """The audit lines so far, in their order."""
    found = []
    for line in server.log().splitlines():
        entry = json.loads(line)
        if entry["message"] == "audit":
            assert entry["level"] == "notice" and entry["time"].endswith("Z")
            if kind in (None, entry["event"]):
                found.append(entry)
    return found


def awaited(server, kind, count=1):
    return wait_until(lambda: len(events(server, kind)) >= count and events(server, kind), 10,
                      f"{count} lines about {kind}")


def test_creation_and_the_last_reference(audited, name):
    api = Api(audited.address)
    session = api.session()
    answer = session.create(name, size=48)
    session.detach(name)
    created, destroyed = awaited(audited, "create")[0], awaited(audited, "destroy")[0]
    assert created["segment"] == destroyed["segment"] == answer.json["segment"] == name.id
    assert created["bytes"] == 48 and created["session"] == session.id[:8]
    assert created["remote"].startswith("127.0.0.1:")
    assert created["request_id"] == answer.headers["X-Request-Id"]
    assert (created["method"], created["route"]) == ("POST", "/v1/segments")
    assert destroyed["reason"] == "last-reference"
    assert session.id not in audited.log()


def test_what_ends_a_session_ends_its_segments(audited, names):
    api = Api(audited.address)
    api.session(ttl_ms=100).create(names["posix"])
    assert awaited(audited, "destroy")[0]["reason"] == "expiry"
    session = api.session()
    session.create(names["posix"])
    session.end()
    assert awaited(audited, "destroy", 2)[1]["reason"] == "session-ended"
    bound = api.session(bind="connection")
    stream = api.stream(bound.href + "/hold")
    bound.create(names["posix"])
    stream.close()
    assert awaited(audited, "destroy", 3)[2]["reason"] == "disconnect"
    api.session().create(names["posix"])
    api.close()
    audited.send(signal.SIGTERM)
    audited.wait()
    assert [event["reason"] for event in events(audited, "destroy")][3:] == ["shutdown"]


def test_force_and_removal(audited, names):
    api = Api(audited.address)
    session = api.session()
    session.create(names["posix"])
    session.lock(names["posix"])
    api.delete(names["posix"].href + "/lock", query={"force": "true"}, expect=204)
    api.delete(names["posix"].href, query={"force": "true"}, expect=204)
    forced = awaited(audited, "force", 2)
    assert [event["reason"] for event in forced] == ["unlock", "delete"]
    assert {event["segment"] for event in forced} == {names["posix"].id}
    assert awaited(audited, "destroy")[0]["reason"] == "force"
    session.create(names["systemv"], on_last_detach="keep")
    session.detach(names["systemv"])
    api.delete(names["systemv"].href, expect=204)
    assert awaited(audited, "destroy", 2)[1]["reason"] == "removed"
    assert len(events(audited, "force")) == 2


def test_a_write_without_a_session_is_foreign(audited, posix):
    api = Api(audited.address)
    session = api.session()
    session.create(posix)
    session.write(posix, b"own", offset=0)
    api.patch(posix.href + "/data", body=b"peek", expect=204)
    api.patch(posix.href + "/data", body=b"again", expect=204)
    api.patch(posix.href + "/data?offset=100", body=b"past the end", expect=416)
    written = awaited(audited, "foreign-write", 2)
    assert [event["bytes"] for event in written] == [4, 5]
    assert {event["segment"] for event in written} == {posix.id}
    assert all("session" not in event and event["remote"] for event in written)


def test_the_first_write_to_another_s_segment_is_foreign(audited, peer, posix):
    segment = peer.segment(posix)
    segment.create(64)
    api = Api(audited.address)
    session = api.session()
    session.attach(posix)
    for _ in range(3):
        session.write(posix, b"x", offset=0)
    written = awaited(audited, "foreign-write")
    assert [event["session"] for event in written] == [session.id[:8]]
    session.detach(posix)
    session.attach(posix)
    session.write(posix, b"xy", offset=0)
    assert awaited(audited, "foreign-write", 2)[1]["bytes"] == 2
    segment.detach()
    session.end()


def test_refused_access(start_server, stem, tmp_path):
    path = tmp_path / "tokens"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(descriptor, f"# first\n{TOKEN} inspect posix:/a*\n".encode())
    os.close(descriptor)
    server = start_server("--log-format", "json", "--log-level", "notice", "--token-file", str(path),
                          "--deny", "posix:/ab*")
    api = Api(server.address, TOKEN)
    requests = [
        ("host", dict(headers={"Host": "evil.example"}), "/v1"),
        ("origin", dict(headers={"Origin": "http://evil.example"}), "/v1"),
        ("token", dict(headers={"Authorization": "Bearer other-token-5678"}), "/v1"),
        ("token", dict(headers={"Authorization": "Basic eDp5"}), "/nowhere"),
        ("segment", {}, "/v1/segments/posix:%2Fb"),
        ("hidden", {}, "/v1/segments/posix:%2Fabc/data"),
    ]
    for _, how, target in requests:
        api.get(target, **how)
    api.post("/v1/sessions", expect=403)
    refused = awaited(server, "refuse", 7)
    assert [event["reason"] for event in refused] == [*[one[0] for one in requests], "role"]
    for event in refused:
        assert event["remote"].startswith("127.0.0.1:") and event["request_id"]
    assert [event.get("token_line") for event in refused] == [None, None, None, None, 2, 2, 2]
    assert refused[5]["route"] == "/v1/segments/{segment}/data"
    assert not any(token in server.log() for token in (TOKEN, "other-token", "eDp5"))


def test_the_lines_as_text(start_server, posix):
    server = start_server("--log-level", "notice")
    session = Api(server.address).session()
    session.create(posix, size=16)
    line = wait_until(lambda: next((line for line in server.log().splitlines()
                                    if "audit" in line), None), 10)
    assert f" notice segmentd: audit event=create segment={posix.id} " in line
    assert line.endswith(" bytes=16")
    session.end()
