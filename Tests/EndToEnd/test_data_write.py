"""Writing the bytes of a segment."""
import os
import socket

import pytest

from harness.client import OCTETS as OCTET_STREAM
from harness.client import exchange, raw, receive
from harness.waiting import wait_until

FILL = b"." * 100


@pytest.fixture
def writer(api, name):
    """A session attached to a segment of 100 dots."""
    session = api.session()
    session.create(name, 100)
    session.write(name, FILL)
    return session


def put(session, name, octets, content_range=None, expect=204, content_type=OCTET_STREAM, **query):
    headers = {"Content-Type": content_type} if content_type else {}
    if content_range:
        headers["Content-Range"] = content_range
    return session.request("PUT", name.href + "/data", body=octets, headers=headers, query=query,
                           expect=expect)


def test_put_replaces_the_whole(writer, name):
    octets = os.urandom(100)
    put(writer, name, octets)
    assert writer.read(name).body == octets


@pytest.mark.parametrize("octets", [b"", b"x" * 99, b"x" * 101])
def test_put_of_another_size_is_refused_and_changes_nothing(writer, name, octets):
    put(writer, name, octets, expect=(422, "size-mismatch"))
    assert writer.read(name).body == FILL


@pytest.mark.parametrize("content_range", ["bytes 10-14/*", "bytes 10-14/100"])
def test_put_with_a_content_range_replaces_that_part(writer, name, content_range):
    put(writer, name, b"HELLO", content_range)
    assert writer.read(name).body == FILL[:10] + b"HELLO" + FILL[15:]


@pytest.mark.parametrize("content_range, status, code", [
    ("bytes 10-13/*", 422, "size-mismatch"),
    ("bytes 98-102/*", 416, "out-of-range"),
    ("bytes 100-104/*", 416, "out-of-range"),
    ("bytes 14-10/*", 400, "invalid-request"),
    ("bytes 10-/*", 400, "invalid-request"),
    ("bytes */100", 400, "invalid-request"),
    ("lines 10-14/*", 400, "invalid-request"),
    ("bytes=10-14/*", 400, "invalid-request"),
])
def test_a_bad_content_range_is_refused_and_changes_nothing(writer, name, content_range, status,
                                                           code):
    put(writer, name, b"HELLO", content_range, expect=(status, code))
    assert writer.read(name).body == FILL


def test_a_content_range_of_another_total_is_refused_and_changes_nothing(writer, name):
    answer = put(writer, name, b"HELLO", "bytes 10-14/101", expect=None)
    assert (answer.status, answer.code) in [(422, "size-mismatch"), (416, "out-of-range")]
    assert writer.read(name).body == FILL


@pytest.mark.parametrize("offset", [0, 50, 95])
def test_patch_writes_at_the_offset(writer, name, offset):
    writer.write(name, b"HELLO", offset=offset)
    assert writer.read(name).body == FILL[:offset] + b"HELLO" + FILL[offset + 5:]


def test_patch_writes_at_the_start_by_default(writer, name):
    writer.request("PATCH", name.href + "/data", body=b"HELLO", expect=204)
    assert writer.read(name, length=6).body == b"HELLO."


@pytest.mark.parametrize("offset", [96, 100, 101, 2**62])
def test_patch_past_the_end_is_out_of_range_and_changes_nothing(writer, name, offset):
    writer.write(name, b"HELLO", offset=offset, expect=(416, "out-of-range"))
    assert writer.read(name).body == FILL
    assert name.size() == 100, "a write never grows a segment"


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded",
                                          "application/json", "image/png"])
def test_a_body_is_octets_whatever_its_type(writer, name, content_type):
    put(writer, name, b"{" * 100, content_type=content_type)
    assert writer.read(name).body == b"{" * 100


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "Multipart/Mixed",
                                          "message/http"])
def test_a_body_with_a_structure_of_its_own_is_refused(writer, name, content_type):
    put(writer, name, FILL, content_type=content_type, expect=(415, "unsupported-media-type"))
    assert writer.read(name).body == FILL


def test_a_large_write_arrives_whole(api, name):
    session = api.session()
    octets = os.urandom(4 << 20)
    session.create(name, len(octets))
    put(session, name, octets)
    assert session.read(name).body == octets


# Who may write

def test_a_read_only_attachment_does_not_write(api, writer, name):
    reader = api.session()
    reader.attach(name, mode="read_only")
    reader.write(name, b"x", offset=0, expect=(403, "read-only-attachment"))
    assert writer.read(name).body == FILL


def test_a_session_that_writes_must_be_attached(api, writer, name):
    api.session().write(name, b"x", offset=0, expect=(409, "not-attached"))


def test_a_write_to_what_is_not_there_is_not_found(api, name, no_debris):
    api.patch(name.href + "/data", body=b"x", expect=(404, "not-found"))
    assert not no_debris.new()


def test_a_write_without_a_session_goes_under_the_lock(api, writer, name):
    api.patch(name.href + "/data", body=b"peek", expect=204)
    assert writer.read(name, length=5).body == b"peek."
    assert api.lock_state(name)["state"] == "free"
    writer.lock(name)
    api.patch(name.href + "/data", query={"wait_ms": 50}, body=b"late", expect=(423, "locked"))
    assert writer.read(name, length=5).body == b"peek."
    pending = api.begin("PATCH", name.href + "/data", body=b"then")
    wait_until(lambda: api.lock_state(name)["waiting"] == 1, 2)
    assert not pending.is_answered, "without a session a write waits five seconds by default"
    writer.unlock(name)
    pending.answer(expect=204)
    assert writer.read(name, length=5).body == b"then."


def test_a_write_without_a_session_may_do_without_the_lock(api, writer, name):
    writer.lock(name)
    api.patch(name.href + "/data", query={"lock": "false"}, body=b"bold", expect=204)
    assert writer.read(name, length=4).body == b"bold"


def test_a_write_without_a_session_leaves_no_trace(api, peer, systemv, no_debris):
    peer.segment(systemv).create(8)
    peer.kill()
    before = no_debris.new()
    api.patch(systemv.href + "/data", body=b"written", expect=204)
    assert no_debris.new() == before
    assert systemv.attachments() == 0
    no_debris.clean()


def test_a_write_under_the_lock_takes_it_and_gives_it_back(api, writer, name):
    writer.write(name, b"x", offset=0, lock="true")
    assert api.lock_state(name)["state"] == "free"
    other = api.session()
    other.attach(name)
    other.lock(name)
    writer.write(name, b"y", offset=0, lock="true", expect=(423, "locked"))
    writer.write(name, b"z", offset=0)
    assert writer.read(name, length=1).body == b"z", "writing without the lock is allowed"


def test_a_write_under_a_lock_that_is_ours_keeps_it(writer, name):
    token = writer.lock(name).json["fencing_token"]
    writer.write(name, b"x", offset=0, lock="true")
    assert writer.attachment(name).json["fencing_token"] == token


def test_a_token_lets_its_holder_write(writer, name):
    token = writer.lock(name).json["fencing_token"]
    writer.write(name, b"x", offset=0, token=token)
    assert writer.read(name, length=1).body == b"x"


def test_a_stale_token_fences_its_holder_off(api, writer, name):
    token = writer.lock(name).json["fencing_token"]
    writer.write(name, b"x", offset=0, token=token + 1, expect=(412, "stale-fencing-token"))
    writer.unlock(name)
    writer.write(name, b"x", offset=0, token=token, expect=(412, "stale-fencing-token"))
    other = api.session()
    other.attach(name)
    newer = other.lock(name).json["fencing_token"]
    writer.write(name, b"x", offset=0, token=newer, expect=(412, "stale-fencing-token"))
    assert writer.read(name).body == FILL


@pytest.mark.parametrize("token", ["", "-1", "one", "1.0", "99999999999999999999"])
def test_what_is_no_token_is_refused(writer, name, token):
    answer = writer.write(name, b"x", offset=0, token=token, expect=None)
    assert answer.status in (400, 412)
    assert writer.read(name).body == FILL


# All or nothing

def request(name, session, body, *lines):
    """The octets of a PUT of the whole segment."""
    return raw("PUT", name.href + "/data", f"Session-Id: {session.id}",
               "Content-Type: application/octet-stream", *lines, body=body)


def test_a_body_that_breaks_off_changes_no_byte(server, api, writer, name):
    octets = request(name, writer, b"x" * 60, "Content-Length: 100")
    answer = exchange(server.address, octets)
    assert answer is None or answer.status >= 400
    assert writer.read(name).body == FILL


def test_a_chunked_body_that_breaks_off_changes_no_byte(server, api, writer, name):
    octets = request(name, writer, b"64\r\n" + b"x" * 60, "Transfer-Encoding: chunked")
    answer = exchange(server.address, octets)
    assert answer is None or answer.status >= 400
    assert writer.read(name).body == FILL


def test_a_chunked_body_without_its_last_chunk_changes_no_byte(server, api, writer, name):
    octets = request(name, writer, b"64\r\n" + b"x" * 100 + b"\r\n", "Transfer-Encoding: chunked")
    answer = exchange(server.address, octets)
    assert answer is None or answer.status >= 400
    assert writer.read(name).body == FILL


def test_a_body_still_on_its_way_has_changed_no_byte(server, api, writer, name):
    with socket.create_connection(server.address, timeout=5) as connection:
        connection.sendall(request(name, writer, b"x" * 99, "Content-Length: 100"))
        assert writer.read(name).body == FILL
        connection.sendall(b"x")
        assert receive(connection, "PUT", name.href + "/data").status == 204
    assert writer.read(name).body == b"x" * 100


def test_a_chunked_body_is_written(server, api, writer, name):
    chunks = b"".join(b"14\r\n" + bytes([97 + i]) * 20 + b"\r\n" for i in range(5)) + b"0\r\n\r\n"
    octets = request(name, writer, chunks, "Transfer-Encoding: chunked")
    assert exchange(server.address, octets, finish=False, method="PUT").status == 204
    assert writer.read(name).body == b"".join(bytes([97 + i]) * 20 for i in range(5))


def test_a_chunked_body_of_another_size_is_refused(server, api, writer, name):
    octets = request(name, writer, b"5\r\nHELLO\r\n0\r\n\r\n", "Transfer-Encoding: chunked")
    answer = exchange(server.address, octets, finish=False, method="PUT")
    answer.check().expecting((422, "size-mismatch"))
    assert writer.read(name).body == FILL


def test_a_segment_that_shrank_is_not_written_and_does_not_grow(api, posix):
    session = api.session()
    session.create(posix, 8192)
    os.truncate(posix.memory_file, 100)
    put(session, posix, b"x" * 8192, expect=(409, "segment-truncated"))
    session.write(posix, b"x", offset=5000, expect=(409, "segment-truncated"))
    assert posix.size() == 100
    assert posix.bytes() == bytes(100)
