"""segmentd beside real Qt processes: bytes and locks go both ways."""
import statistics
import time

import pytest

from harness.waiting import stays, wait_until

# `api` stands before `peer` in every test: fixtures end in reverse, so Qt quits first, and what
# Qt would leave behind of a POSIX segment is gone with the last session.


@pytest.fixture
def qt_made(api, peer, name):
    """A segment that Qt created, and a session attached to it."""
    segment = peer.segment(name).create(64)
    session = api.session(name="http")
    session.attach(name)
    return segment, session


@pytest.fixture
def http_made(api, peer, name):
    """A segment that a session created, and a Qt object attached to it."""
    session = api.session(name="http")
    session.create(name, 64)
    return peer.segment(name).attach(), session


@pytest.fixture(params=["qt_made", "http_made"])
def both(request):
    """A Qt object and a session on one segment, made by the one or by the other."""
    return request.getfixturevalue(request.param)


# Bytes

def test_what_qt_created_is_attached_with_its_size(api, peer, name):
    peer.segment(name).create(1234)
    assert api.session().attach(name).json["size"] == 1234


def test_what_http_created_is_attached_by_qt_with_its_size(api, peer, name):
    api.session().create(name, 1234)
    assert peer.segment(name).attach().size() == 1234


def test_what_qt_writes_http_reads(both, name):
    segment, session = both
    segment.write(b"from Qt", offset=7)
    assert session.read(name, offset=7, length=7).body == b"from Qt"


def test_what_http_writes_qt_reads(both, name):
    segment, session = both
    session.write(name, b"from HTTP", offset=3)
    assert segment.read(3, 9) == b"from HTTP"
    session.write(name, bytes(range(64)))
    assert segment.read() == bytes(range(64))


def test_a_peek_and_a_write_without_a_session_reach_qt_s_memory(api, peer, name):
    segment = peer.segment(name).create(16).write(b"Qt's")
    keeper = api.session()
    keeper.attach(name)
    assert api.get(name.href + "/data", query={"length": 4}, expect=200).body == b"Qt's"
    api.patch(name.href + "/data", query={"offset": 4}, body=b" and ours", expect=204)
    assert segment.read(0, 13) == b"Qt's and ours"


def test_qt_attached_read_only_sees_what_http_writes(api, peer, name):
    session = api.session()
    session.create(name, 16)
    segment = peer.segment(name).attach(mode="ro")
    session.write(name, b"seen", offset=0)
    assert segment.read(0, 4) == b"seen"


def test_qt_s_create_of_what_http_created_is_refused(api, peer, name):
    api.session().create(name)
    assert peer.segment(name).fails_to("create", size=64) == "AlreadyExists"


def test_http_s_create_of_what_qt_created_is_refused(api, peer, name):
    peer.segment(name).create(64)
    session = api.session()
    session.create(name, expect=(409, "already-exists"))
    session.attach(name)


def test_qt_finds_nothing_where_http_attached_in_vain(api, peer, name, no_debris):
    api.session().attach(name, expect=(404, "not-found"))
    segment = peer.segment(name)
    assert segment.fails_to("attach") == "NotFound"
    segment.destroy()
    assert not no_debris.new()


def test_a_segment_of_qt_is_listed_with_its_names(api, peer, name):
    peer.segment(name).create(64)
    api.session().attach(name)
    [listed] = [one for one in api.get("/v1/segments").json["segments"] if one["id"] == name.id]
    assert listed["size"] == 64
    assert listed["attachments"] >= 2
    assert listed["sessions"] == 1
    assert listed["orphaned"] is False
    if not name.is_posix:
        assert listed["creator_pid"] == peer.pid
    if name.kind == "legacy":
        assert listed["key"] == name.path


def test_a_listed_id_names_the_segment_for_qt(api, peer, name):
    session = api.session()
    session.create(name)
    listed = api.segment(name).json["id"]
    peer.call("new", id="listed", type="native", native=listed)
    assert peer.call("attach", id="listed", mode="rw")["result"] is True
    session.lock(name)
    assert peer.call("lock", id="listed", timeoutMs=200)["waiting"], "the id leads to the same lock"
    session.unlock(name)
    assert peer.call("wait", id="listed", timeoutMs=5000)["result"] is True


# Qt holds the lock

def test_a_lock_that_qt_holds_is_refused_at_once(api, both, name):
    segment, session = both
    segment.lock()
    started = time.monotonic()
    session.lock(name, wait_ms=0, expect=(423, "locked"))
    assert time.monotonic() - started < 0.5
    assert api.lock_state(name)["state"] == "external"


def test_a_wait_for_a_lock_that_qt_holds_ends_in_time(both, name):
    segment, session = both
    segment.lock()
    started = time.monotonic()
    session.lock(name, wait_ms=300, expect=(423, "locked"))
    assert 0.3 <= time.monotonic() - started < 1.0


def test_the_lock_is_granted_within_50_ms_of_qt_s_unlock(both, name):
    segment, session = both
    delays = []
    for _ in range(5):
        segment.lock()
        pending = session.begin_lock(name, 10000)
        assert stays(lambda: not pending.is_answered, 0.1)
        segment.unlock()
        unlocked = time.monotonic()
        pending.answer(expect=200)
        delays.append(time.monotonic() - unlocked)
        session.unlock(name)
    assert statistics.median(delays) < 0.05, delays


def test_a_wait_given_up_leaves_qt_s_lock_alone(api, both, name):
    segment, session = both
    segment.lock()
    session.lock(name, wait_ms=100, expect=(423, "locked"))
    pending = session.begin_lock(name, 60000)
    wait_until(lambda: api.lock_state(name)["waiting"] == 1, 2)
    pending.hang_up()
    wait_until(lambda: api.lock_state(name)["waiting"] == 0, 2)
    segment.unlock()
    assert stays(lambda: api.lock_state(name)["state"] == "free", 0.2)
    segment.lock()
    segment.unlock()


def test_a_read_under_a_lock_that_qt_holds_waits(api, both, name):
    segment, session = both
    segment.lock()
    session.read(name, lock="true", wait_ms=50, expect=(423, "locked"))
    pending = api.begin("GET", name.href + "/data", session=session,
                        query={"lock": "true", "wait_ms": 5000})
    assert stays(lambda: not pending.is_answered, 0.1)
    segment.write(b"complete")
    segment.unlock()
    assert pending.answer(expect=200).body[:8] == b"complete"


def test_a_write_without_a_session_waits_for_qt_s_lock(api, both, name):
    segment, _ = both
    segment.lock().write(b"Qt's")
    api.patch(name.href + "/data", query={"wait_ms": 50}, body=b"HTTP", expect=(423, "locked"))
    assert segment.read(0, 4) == b"Qt's"
    pending = api.begin("PATCH", name.href + "/data", body=b"HTTP")
    assert stays(lambda: not pending.is_answered, 0.1)
    segment.unlock()
    pending.answer(expect=204)
    assert segment.read(0, 4) == b"HTTP"


def test_detach_waits_for_a_lock_that_qt_holds(both, name):
    segment, session = both
    segment.lock()
    session.detach(name, wait_ms=100, expect=(423, "locked"))
    session.attachment(name, expect=200)
    segment.unlock()
    assert session.detach(name).json["destroyed"] is False
    session.attach(name)


def test_the_end_of_a_session_is_not_held_up_for_ever_by_qt_s_lock(api, both, name):
    segment, session = both
    segment.lock()
    other = api.session()
    other.attach(name, expect=None)  # may be refused: Qt's own attach() waits here
    end = api.begin("DELETE", other.href)
    end.answer(deadline=10, expect=200)
    segment.unlock()


def test_force_breaks_a_lock_that_qt_holds(api, both, name):
    segment, session = both
    segment.lock()
    api.delete(name.href + "/lock", query={"force": "true"}, expect=204)
    session.lock(name, wait_ms=1000)
    session.unlock(name)
    segment.call("unlock")


# HTTP holds the lock

def test_a_lock_that_qt_s_create_took_away_is_refused_to_nobody(api, peer, name):
    first, second = api.session(), api.session()
    first.create(name)
    second.attach(name)
    first.lock(name)
    other = peer.segment(name)
    assert other.fails_to("create", size=64) == "AlreadyExists"
    second.lock(name, wait_ms=0)
    first.unlock(name, expect=(409, "not-locked"))
    second.unlock(name)


def test_qt_waits_for_a_lock_that_http_holds(both, name):
    segment, session = both
    session.lock(name)
    segment.begin_lock()
    session.write(name, b"done", offset=0)
    assert segment.is_waiting(timeout_ms=100)
    session.unlock(name)
    segment.await_lock()
    segment.unlock()


def test_qt_gets_the_lock_when_its_http_holder_ends(api, both, name):
    segment, _ = both
    holder = api.session()
    holder.attach(name)
    holder.lock(name)
    segment.begin_lock()
    holder.end()
    segment.await_lock()
    segment.unlock()


def test_qt_gets_the_lock_when_its_http_holder_expires(api, both, name):
    segment, _ = both
    holder = api.session(ttl_ms=500)
    holder.attach(name)
    holder.lock(name)
    segment.begin_lock()
    segment.await_lock()
    segment.unlock()


def test_qt_s_attach_and_detach_wait_for_a_lock_that_http_holds(both, qt, name):
    segment, session = both
    late = qt().segment(name)
    session.lock(name)
    assert late.call("attach", timeoutMs=200)["waiting"]
    session.unlock(name)
    assert late.call("wait", timeoutMs=5000)["result"] is True
    session.lock(name)
    assert late.call("detach", timeoutMs=200)["waiting"]
    session.unlock(name)
    assert late.call("wait", timeoutMs=5000)["result"] is True
    late.destroy()


def test_after_all_the_locking_exactly_one_side_holds_it(both, name):
    segment, session = both
    for _ in range(10):
        session.lock(name, wait_ms=1000)
        session.unlock(name)
        segment.lock()
        session.lock(name, wait_ms=0, expect=(423, "locked"))
        segment.unlock()
    session.lock(name)
    segment.begin_lock()
    session.unlock(name)
    segment.await_lock()
    segment.unlock()


def test_a_counter_that_both_sides_raise_under_the_lock_loses_nothing(both, name):
    segment, session = both
    for _ in range(25):
        segment.lock()
        segment.write((int.from_bytes(segment.read(0, 8), "little") + 1).to_bytes(8, "little"))
        segment.unlock()
        session.lock(name, wait_ms=1000)
        count = int.from_bytes(session.read(name, length=8).body, "little")
        session.write(name, (count + 1).to_bytes(8, "little"), offset=0)
        session.unlock(name)
    assert int.from_bytes(segment.read(0, 8), "little") == 50


def test_a_qt_process_killed_while_it_holds_a_system_v_lock_frees_it(api, peer, systemv):
    segment = peer.segment(systemv).create(8)
    session = api.session()
    session.attach(systemv)
    segment.lock()
    pending = session.begin_lock(systemv, 5000)
    assert stays(lambda: not pending.is_answered, 0.1)
    peer.kill()
    pending.answer(expect=200)
    session.unlock(systemv)


def test_a_qt_process_killed_while_it_holds_a_posix_lock_hangs_nobody(api, peer, posix):
    segment = peer.segment(posix).create(8)
    session = api.session()
    session.attach(posix)
    segment.lock()
    peer.kill()
    answer = session.lock(posix, wait_ms=300, expect=None)
    assert answer.status in (200, 423)
    if answer.status == 423:
        api.delete(posix.href + "/lock", query={"force": "true"}, expect=204)
        session.lock(posix, wait_ms=0, expect=200)
    session.unlock(posix)
