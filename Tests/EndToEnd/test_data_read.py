"""Reading the bytes of a segment."""
import base64
import os
import threading
import time

import pytest

from harness import kernel
from harness.client import Api
from harness.hexdump import hexdump
from harness.waiting import wait_until

OCTETS = bytes(range(100))


@pytest.fixture
def reader(api, name):
    """A session attached to a segment of 100 known bytes."""
    session = api.session()
    session.create(name, 100)
    session.write(name, OCTETS)
    return session


def test_the_whole_segment_is_octets_by_default(reader, name):
    answer = reader.read(name, expect=200)
    assert answer.body == OCTETS
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Length"] == "100"


@pytest.mark.parametrize("wanted, first, last", [
    ("bytes=0-3", 0, 3),
    ("bytes=0-0", 0, 0),
    ("bytes=97-", 97, 99),
    ("bytes=-5", 95, 99),
    ("bytes=-1000", 0, 99),
    ("bytes=90-1000", 90, 99),
    ("bytes=0-18446744073709551615", 0, 99),
    ("BYTES=1-2", 1, 2),
])
def test_a_range_is_answered_with_that_part(reader, name, wanted, first, last):
    answer = reader.read(name, headers={"Range": wanted}, expect=206)
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/100"
    assert answer.body == OCTETS[first:last + 1]


@pytest.mark.parametrize("wanted", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_that_begins_past_the_end_is_not_satisfiable(reader, name, wanted):
    answer = reader.read(name, headers={"Range": wanted}, expect=(416, "out-of-range"))
    assert answer.headers["Content-Range"] == "bytes */100"


@pytest.mark.parametrize("wanted", ["bytes=0-1,4-5", "lines=0-1"])
def test_several_ranges_and_other_units_are_answered_with_the_whole(reader, name, wanted):
    assert reader.read(name, headers={"Range": wanted}, expect=200).body == OCTETS


@pytest.mark.parametrize("wanted", ["bytes=4-1", "bytes=", "bytes=-", "bytes=a-b", "bytes"])
def test_what_is_no_range_is_ignored_or_refused(reader, name, wanted):
    answer = reader.read(name, headers={"Range": wanted}, expect=None)
    assert answer.status in (200, 400, 416)
    assert answer.status != 200 or answer.body == OCTETS


@pytest.mark.parametrize("query, expected", [
    ({"offset": 10}, OCTETS[10:]),
    ({"length": 10}, OCTETS[:10]),
    ({"offset": 10, "length": 5}, OCTETS[10:15]),
    ({"offset": 99, "length": 1}, OCTETS[99:]),
    ({"offset": 0, "length": 100}, OCTETS),
])
def test_a_window_is_answered_200(reader, name, query, expected):
    answer = reader.read(name, **query, expect=200)
    assert answer.body == expected
    assert "Content-Range" not in answer.headers


@pytest.mark.parametrize("query", [
    {"offset": 101},
    {"offset": 0, "length": 101},
    {"offset": 99, "length": 2},
    {"offset": 9223372036854775807, "length": 9223372036854775807},
])
def test_a_window_past_the_end_is_out_of_range(reader, name, query):
    reader.read(name, **query, expect=(416, "out-of-range"))


@pytest.mark.parametrize("query", [
    {"offset": -1}, {"offset": "x"}, {"length": -1}, {"length": "1.0"}, {"offset": ""},
    {"format": "xml"}, {"lock": "yes"},
])
def test_a_bad_window_is_refused(reader, name, query):
    answer = reader.read(name, **query, expect=(400, "invalid-request"))
    assert answer.json["parameter"] == next(iter(query))


def test_a_range_and_a_window_do_not_go_together(reader, name):
    reader.read(name, offset=1, headers={"Range": "bytes=0-1"}, expect=(400, "invalid-request"))


@pytest.mark.parametrize("query", [{}, {"offset": 5, "length": 20}, {"offset": 96}])
def test_hex_is_the_canonical_dump(reader, name, query):
    offset = query.get("offset", 0)
    expected = hexdump(OCTETS[offset:offset + query.get("length", 100)], offset)
    answer = reader.read(name, format="hex", **query, expect=200)
    assert answer.body.decode() == expected
    assert answer.headers["Content-Type"].split(";")[0] == "text/plain"


def test_hex_squeezes_repeated_lines(api, name):
    session = api.session()
    session.create(name, 200)
    session.write(name, b"middle", offset=100)
    assert session.read(name, format="hex").body.decode() == hexdump(session.read(name).body)


def test_the_dump_that_is_expected_here_is_that_of_the_tool():
    assert hexdump(b"Hello, world!\n" + bytes(50) + b"end") == (
        "00000000  48 65 6c 6c 6f 2c 20 77  6f 72 6c 64 21 0a 00 00  |Hello, world!...|\n"
        "00000010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n"
        "*\n"
        "00000040  65 6e 64                                          |end|\n"
        "00000043\n")


@pytest.mark.parametrize("offset, length", [(0, 100), (10, 5), (1, 1), (2, 2), (97, 3)])
def test_json_has_the_window_in_base64(reader, name, offset, length):
    body = reader.read(name, format="json", offset=offset, length=length, expect=200).json
    assert base64.b64decode(body["base64"], validate=True) == OCTETS[offset:offset + length]
    assert (body["offset"], body["length"], body["size"]) == (offset, length, 100)


@pytest.mark.parametrize("accept, expected", [
    ("application/octet-stream", "application/octet-stream"),
    ("text/plain", "text/plain"),
    ("application/json", "application/json"),
    ("*/*", "application/octet-stream"),
    ("text/*", "text/plain"),
    ("application/json;q=0.5, text/plain;q=0.9", "text/plain"),
    ("image/png, application/json", "application/json"),
    ("application/octet-stream;q=0, */*", "text/plain application/json"),
    ("TEXT/PLAIN", "text/plain"),
])
def test_accept_chooses_the_format(reader, name, accept, expected):
    answer = reader.read(name, headers={"Accept": accept}, expect=200)
    assert answer.headers["Content-Type"].split(";")[0] in expected.split()


def test_no_format_for_what_is_not_acceptable(reader, name):
    reader.read(name, headers={"Accept": "image/png"}, expect=(406, "not-acceptable"))


def test_the_parameter_goes_before_accept(reader, name):
    answer = reader.read(name, format="json", headers={"Accept": "text/plain"}, expect=200)
    assert answer.headers["Content-Type"].split(";")[0] == "application/json"


def test_head_is_get_without_the_body(api, reader, name):
    answer = api.head(name.href + "/data", expect=200)
    assert answer.body == b""
    assert answer.headers["Content-Length"] == "100"
    ranged = api.head(name.href + "/data", headers={"Range": "bytes=0-9"}, expect=200)
    assert ranged.headers["Content-Length"] == "100", "ranges are for GET alone"


def test_a_large_segment_is_read_whole(api, name):
    session = api.session()
    octets = os.urandom(4 << 20)
    session.create(name, len(octets))
    session.write(name, octets)
    assert session.read(name).body == octets


# Peeking

def test_a_peek_needs_no_session(api, reader, name):
    assert api.get(name.href + "/data", expect=200).body == OCTETS


def test_a_session_that_reads_must_be_attached(api, reader, name):
    answer = api.session().read(name, expect=(409, "not-attached"))
    assert answer.json["qt_error"] == "LockError"


def test_a_peek_at_what_is_not_there_is_not_found_and_leaves_no_trace(api, name, no_debris):
    api.get(name.href + "/data", expect=(404, "not-found"))
    assert not no_debris.new()


def test_a_peek_at_an_orphan_does_not_destroy_it(api, reader, name):
    keeper = api.session()
    keeper.attach(name, on_last_detach="keep")
    reader.detach(name)
    keeper.detach(name)
    assert name.exists()
    assert api.get(name.href + "/data", expect=200).body == OCTETS
    assert name.exists()
    api.delete(name.href, expect=204)


def test_a_peek_at_a_foreign_orphan_leaves_it_as_it_was(api, peer, systemv, no_debris):
    peer.segment(systemv).create(8).write(b"orphaned")
    peer.kill()
    before = no_debris.new()
    assert api.get(systemv.href + "/data", expect=200).body == b"orphaned"
    assert api.segment(systemv).json["orphaned"] is True
    assert api.lock_state(systemv)["state"] == "free"
    assert no_debris.new() == before
    assert systemv.attachments() == 0
    no_debris.clean()


def test_a_peek_makes_no_lock_for_a_segment_that_has_none(api, posix, no_debris):
    with open(posix.memory_file, "wb") as file:
        file.write(b"foreign")
    assert api.get(posix.href + "/data", expect=200).body == b"foreign"
    api.segment(posix)
    assert no_debris.new() == {("file", posix.memory_file)}
    no_debris.clean()


# Under the lock

def test_a_read_under_the_lock_waits_for_it(api, reader, name):
    holder = api.session()
    holder.attach(name)
    holder.lock(name)
    reader.read(name, lock="true", wait_ms=50, expect=(423, "locked"))
    assert reader.read(name).body == OCTETS, "reading without the lock is allowed"
    pending = api.begin("GET", name.href + "/data", session=reader,
                        query={"lock": "true", "wait_ms": 5000})
    wait_until(lambda: api.lock_state(name)["waiting"] == 1, 2)
    holder.write(name, b"final", offset=0)
    holder.unlock(name)
    assert pending.answer(expect=200).body[:5] == b"final"
    assert api.lock_state(name)["state"] == "free"


def test_a_read_under_a_lock_that_is_ours_keeps_it(api, reader, name):
    token = reader.lock(name).json["fencing_token"]
    reader.read(name, lock="true", expect=200)
    assert reader.attachment(name).json["fencing_token"] == token


# Shrinking

def test_a_segment_that_shrank_is_reported_and_never_read_wrong(api, posix):
    session = api.session()
    session.create(posix, 8192)
    os.truncate(posix.memory_file, 10)
    session.read(posix, expect=(409, "segment-truncated"))
    session.read(posix, offset=4096, length=10, expect=(409, "segment-truncated"))
    api.get("/livez", expect=200)


def test_a_peek_is_told_that_a_segment_shrank(api, posix):
    session, data = api.session(), posix.href + "/data"
    session.create(posix, 8192)
    os.truncate(posix.memory_file, 10)
    assert api.get(data, headers={"Range": "bytes=0-9"}, expect=206).body == bytes(10)
    for window in ("0-10", "4000-4010", "5000-5001", "8191-8191"):
        api.get(data, headers={"Range": f"bytes={window}"}, expect=(409, "segment-truncated"))
    api.get(data, expect=(409, "segment-truncated"))


def test_a_peek_follows_the_name_each_time(api, posix):
    session, data = api.session(), posix.href + "/data"
    session.create(posix, 64)
    session.write(posix, b"old", offset=8)
    window = {"Range": "bytes=8-10"}
    assert api.get(data, headers=window, expect=206).body == b"old"
    aside = posix.memory_file + "-aside"
    for octets in (b"new", b"newer"):
        with open(aside, "xb") as file:
            file.write(octets.rjust(1000 + len(octets), b"."))
        os.replace(aside, posix.memory_file)
        # Within the size of the one before, and where only the new one has bytes.
        assert api.get(data, headers=window, expect=206).body == b"..."
        behind = api.get(data, headers={"Range": "bytes=1000-"}, expect=206)
        assert behind.body == octets
        assert behind.headers["Content-Range"].endswith(f"/{1000 + len(octets)}")
    os.unlink(posix.memory_file)
    api.get(data, headers=window, expect=(404, "not-found"))
    assert session.read(posix, headers=window, expect=206).body == b"old"


def test_a_peek_follows_the_name_however_long_it_led_to_the_segment(api, reader, name):
    data, aside = name.href + "/data", name.memory_file + "-aside"
    # The server may rely on a name that has not changed for two seconds.
    end = time.monotonic() + 2.3
    while time.monotonic() < end:
        assert api.get(data, expect=200).body == OCTETS
        time.sleep(0.01)
    for _ in range(5):
        os.rename(name.memory_file, aside)
        api.get(data, expect=(404, "not-found"))
        os.rename(aside, name.memory_file)
        assert api.get(data, expect=200).body == OCTETS


def test_a_peek_follows_the_name_however_many_others_peek_at_once(api, reader, name):
    data, aside = name.href + "/data", name.memory_file + "-aside"
    is_over, answers = threading.Event(), []

    def hammer():
        seen = set()
        client = Api(api.address)
        while not is_over.is_set():
            answer = client.get(data)
            seen.add((answer.status, answer.body if answer.status == 200 else b""))
        client.close()
        answers.append(seen)

    crowd = [threading.Thread(target=hammer) for _ in range(6)]
    for one in crowd:
        one.start()
    try:
        for turn in range(150):
            newcomer = Api(api.address)
            for client in (api, newcomer):
                os.rename(name.memory_file, aside)
                client.get(data, expect=(404, "not-found"))
                os.rename(aside, name.memory_file)
                assert client.get(data, expect=200).body == OCTETS
            newcomer.close()
    finally:
        is_over.set()
        for one in crowd:
            one.join()
    assert len(answers) == 6
    assert set().union(*answers) <= {(200, OCTETS), (404, b"")}


def test_a_key_file_that_is_no_segment_is_not_found(api, names):
    systemv = names["systemv"]
    with open(systemv.memory_file, "wb"):
        pass
    api.get(systemv.href + "/data", expect=(404, "not-found"))
    assert os.path.exists(systemv.memory_file), "and the file stays"
    assert kernel.shared_memory(kernel.ftok(systemv.memory_file)) is None
    os.unlink(systemv.memory_file)
