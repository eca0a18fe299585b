"""What Qt itself gets wrong on Linux, and does not when we are among its peers."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.client import Api
from harness.qt import QtPeer
from harness.waiting import wait_until

LOOP = Path(__file__).resolve().parent / "harness/loop.py"
SECONDS = float(os.environ.get("SEGMENTD_GHOST_SECONDS", "4"))


def test_no_qt_process_is_left_with_a_memory_that_nobody_else_can_find(
        start_server, environment, posix, no_debris):
    """Two Qt processes attach and detach in loops while sessions do; the last to go destroys."""
    api = Api(start_server("--log-level", "warning").address)
    loops = [
        subprocess.Popen([sys.executable, str(LOOP), posix.id, str(SECONDS), str(seed)],
                         env=environment, stdout=subprocess.PIPE, text=True)
        for seed in (1, 2)]
    session, destroyed = api.session(), 0
    while any(loop.poll() is None for loop in loops):
        answer = api.post("/v1/segments", session=session.id,
                          json={**posix.body, "size": 4096, "if_exists": "attach"})
        if answer.status in (200, 201):
            done = session.detach(posix, expect=None, wait_ms=2000)
            if done.status == 200:
                destroyed += done.json["destroyed"]
            else:
                session.end()
                session = api.session()
    counts = [json.loads(loop.communicate()[0]) for loop in loops]
    print(counts, "destroyed", destroyed)
    assert sum(count["attached"] + count["created"] for count in counts) > 1000 * SECONDS / 4
    assert destroyed > 0
    assert [count["ghosts"] for count in counts] == [0, 0]
    api.end_sessions()
    no_debris.clean()


@pytest.fixture
def elsewhere(environment, no_debris):
    """A Qt process in a process namespace of its own, which nobody outside can look into."""
    one = QtPeer(environment, wrapper=("unshare", "--pid", "--fork", "--kill-child"))
    yield one
    one.quit()


def test_a_qt_process_that_cannot_be_seen_is_counted_all_the_same(api, elsewhere, posix):
    session, segment = api.session(), elsewhere.segment(posix)
    session.create(posix)
    segment.attach()
    assert session.detach(posix).json["destroyed"] is False
    session.attach(posix)
    segment.detach()
    assert session.detach(posix).json["destroyed"] is True


@pytest.mark.parametrize("order", ["qt first", "http first"])
def test_posix_segments_go_with_our_last_detach(api, peer, posix, no_debris, order):
    session, segment = api.session(), peer.segment(posix)
    if order == "qt first":
        segment.create(64)
        session.attach(posix)
    else:
        session.create(posix)
        segment.attach()
    segment.destroy()
    assert session.detach(posix).json["destroyed"] is True
    assert not no_debris.new()


def test_our_create_and_attach_leave_a_held_lock_alone(api, peer, name):
    segment, session = peer.segment(name), api.session()
    segment.create(64).lock()
    session.create(name, expect=(409, "already-exists"))
    session.attach(name)
    other = peer.segment(name)
    other.call("attach", timeoutMs=200)
    assert other.is_waiting(), "the lock is held still"
    segment.unlock()
    assert other.call("wait")["result"] is True
    segment.detach(), other.detach()
    session.detach(name)


def test_a_holder_learns_that_qt_replaced_or_reset_its_lock(api, peer, name):
    session, waiter = api.session(), api.session()
    session.create(name)
    waiter.attach(name)
    token = session.lock(name).json["fencing_token"]
    waiting = waiter.begin_lock(name, 10_000)
    wait_until(lambda: api.lock_state(name)["waiting"] == 1, 2)
    breaker = peer.segment(name)
    assert breaker.fails_to("create", size=64) == "AlreadyExists"
    waiting.answer(deadline=2, expect=200)
    session.write(name, b"x", offset=0, token=token, expect=(412, "stale-fencing-token"))
    session.unlock(name, expect=(409, "not-locked"))
    waiter.unlock(name)
    breaker.destroy()
    session.detach(name)
    assert waiter.detach(name).json["destroyed"] is True


def test_only_one_holds_the_lock_after_qt_reset_it(api, peer, systemv):
    """Qt's own objects would let two in from then on."""
    session, breaker, third = api.session(), peer.segment(systemv), peer.segment(systemv)
    session.create(systemv)
    session.lock(systemv)
    breaker.fails_to("create", size=64)
    breaker.attach()
    breaker.lock()
    session.unlock(systemv, expect=(409, "not-locked"))
    third.call("attach", timeoutMs=200)
    assert third.is_waiting(), "unlocking what was reset frees nothing"
    breaker.unlock()
    assert third.call("wait")["result"] is True
    third.destroy(), breaker.destroy()
    session.detach(systemv)


def test_a_lock_of_a_dead_qt_process_is_taken_over(api, qt, name):
    session, dying = api.session(), qt()
    segment = dying.segment(name)
    segment.create(64).lock()
    dying.kill()
    session.attach(name)
    wait_until(lambda: api.lock_state(name)["state"] == "free", 2)
    session.lock(name, wait_ms=1000)
    assert session.detach(name).json["destroyed"] is True


def test_a_posix_lock_whose_holder_may_live_is_reported_external(api, qt, posix):
    session, dying, other = api.session(), qt(), qt()
    dying.segment(posix).create(64).lock()
    bystander = other.segment(posix)
    bystander.call("attach", timeoutMs=200)  # waits, and by that has the semaphore open
    dying.kill()
    session.attach(posix)
    assert api.lock_state(posix)["state"] == "external"
    session.lock(posix, wait_ms=200, expect=(423, "locked"))
    api.delete(posix.href + "/lock", query={"force": "true"}, expect=204)
    assert bystander.call("wait")["result"] is True
    session.lock(posix, wait_ms=1000)
    session.unlock(posix)
    bystander.detach()
    assert session.detach(posix).json["destroyed"] is True


def test_a_departing_qt_creator_does_not_split_the_lock_of_those_who_stay(api, qt, name):
    """Its destructor removes the semaphore, though others have it."""
    creator, staying = qt().segment(name), qt().segment(name)
    session = api.session()
    creator.create(64)
    staying.attach()
    session.attach(name)
    session.lock(name)
    session.unlock(name)
    creator.destroy()
    staying.lock()
    session.lock(name, wait_ms=100, expect=(423, "locked"))
    staying.unlock()
    session.lock(name, wait_ms=1000)
    staying.begin_lock()
    session.unlock(name)
    staying.await_lock()
    staying.unlock()
    staying.destroy()
    session.detach(name)
