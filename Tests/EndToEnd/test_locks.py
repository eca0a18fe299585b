"""Locks between sessions; with Qt processes see test_qt_interop.py."""
import time

import pytest

from harness.client import Api
from harness.waiting import stays, wait_until


@pytest.fixture
def two(api, name):
    """Two sessions, both attached."""
    first, second = api.session(name="first"), api.session(name="second")
    first.create(name)
    second.attach(name)
    return first, second


def waiting(api, name, count):
    wait_until(lambda: api.lock_state(name)["waiting"] == count, 2, f"{count} waiters")


def test_the_lock_is_granted_with_a_token(api, name, two):
    first, _ = two
    granted = first.lock(name).json
    assert granted["segment"] == name.id
    assert granted["fencing_token"] >= 1
    assert api.lock_state(name) == {"state": "session", "session_name": "first", "waiting": 0}
    first.unlock(name)
    assert api.lock_state(name) == {"state": "free", "waiting": 0}


def test_a_lock_that_is_already_ours_is_granted_again_with_the_same_token(name, two):
    first, _ = two
    assert first.lock(name).json == first.lock(name).json
    first.unlock(name)
    first.unlock(name, expect=(409, "not-locked"))


def test_tokens_only_grow(name, two):
    tokens = []
    for session in (*two, *two, *two):
        tokens.append(session.lock(name).json["fencing_token"])
        session.unlock(name)
    assert tokens == sorted(set(tokens))


def test_a_lock_that_another_holds_is_refused_at_once_by_default(name, two):
    first, second = two
    first.lock(name)
    started = time.monotonic()
    answer = second.lock(name, expect=(423, "locked"))
    assert time.monotonic() - started < 0.5
    assert int(answer.headers["Retry-After"]) >= 0
    assert answer.json["qt_error"] == "LockError"


def test_a_wait_ends_in_time(name, two):
    first, second = two
    first.lock(name)
    started = time.monotonic()
    second.lock(name, wait_ms=300, expect=(423, "locked"))
    assert 0.3 <= time.monotonic() - started < 0.8


def test_a_waiter_is_granted_when_the_lock_is_free(api, name, two):
    first, second = two
    before = first.lock(name).json["fencing_token"]
    pending = second.begin_lock(name, 5000)
    waiting(api, name, 1)
    first.unlock(name)
    assert pending.answer(expect=200).json["fencing_token"] > before
    assert api.lock_state(name)["session_name"] == "second"


def test_waiters_are_served_in_the_order_they_came(api, name, two):
    first, _ = two
    queue = [api.session(name=f"waiter {number}") for number in range(4)]
    for session in queue:
        session.attach(name)
    first.lock(name)
    pending = []
    for number, session in enumerate(queue):
        pending.append(session.begin_lock(name, 10000))
        waiting(api, name, number + 1)
    first.unlock(name)
    for number, session in enumerate(queue):
        pending[number].answer(expect=200)
        assert not any(one.is_answered for one in pending[number + 1:])
        session.unlock(name)


def test_a_waiter_that_hung_up_is_never_granted(api, name, two):
    first, second = two
    first.lock(name)
    pending = second.begin_lock(name, 60000)
    waiting(api, name, 1)
    pending.hang_up()
    waiting(api, name, 0)
    first.unlock(name)
    assert stays(lambda: api.lock_state(name)["state"] == "free", 0.2)


def test_a_waiter_whose_session_ended_is_never_granted(api, name, two):
    first, second = two
    first.lock(name)
    pending = second.begin_lock(name, 60000)
    waiting(api, name, 1)
    end = api.begin("DELETE", second.href)
    pending.answer(expect=(410, "session-gone"))
    first.unlock(name)
    end.answer(expect=200)
    wait_until(lambda: api.segment(name).json["sessions"] == 1, 2)
    assert api.lock_state(name)["state"] == "free"


def test_a_waiting_request_keeps_its_session_alive_or_ends_with_it(api, name, two):
    first, _ = two
    short = api.session(ttl_ms=200)
    short.attach(name)
    first.lock(name)
    answer = short.begin_lock(name, 600).answer()
    assert (answer.status, answer.code) in [(423, "locked"), (410, "session-gone")]
    first.unlock(name)
    assert api.lock_state(name)["state"] == "free"


def test_only_the_holder_unlocks(name, two):
    first, second = two
    first.lock(name)
    answer = second.unlock(name, expect=(409, "not-locked"))
    assert answer.json["qt_error"] == "LockError"
    first.unlock(name)


def test_the_end_of_the_holder_s_session_grants_the_next(api, name, two):
    first, second = two
    first.lock(name)
    pending = second.begin_lock(name, 5000)
    waiting(api, name, 1)
    assert first.end().json["released"][0]["unlocked"] is True
    pending.answer(expect=200)


def test_the_expiry_of_the_holder_s_session_grants_the_next(api, name, two):
    _, second = two
    holder = api.session(ttl_ms=300)
    holder.attach(name)
    holder.lock(name)
    second.begin_lock(name, 5000).answer(expect=200)
    api.get(holder.href, expect=(410, "session-gone"))


def test_force_breaks_the_lock_and_makes_its_token_stale(api, name, two):
    first, second = two
    token = first.lock(name).json["fencing_token"]
    api.delete(name.href + "/lock", query={"force": "true"}, expect=204)
    assert api.lock_state(name)["state"] == "free"
    first.write(name, b"late", offset=0, token=token, expect=(412, "stale-fencing-token"))
    first.unlock(name, expect=(409, "not-locked"))
    assert second.lock(name).json["fencing_token"] > token
    first.write(name, b"late", offset=0, token=token, expect=(412, "stale-fencing-token"))
    assert second.read(name, length=4).body == bytes(4)


def test_the_lock_needs_a_session_that_is_attached(api, name):
    api.session().create(name)
    for method in ("PUT", "DELETE"):
        api.request(method, name.href + "/lock", expect=(400, "session-required"))
    answer = api.session().lock(name, expect=(409, "not-attached"))
    assert answer.json["qt_error"] == "LockError"


def test_the_lock_of_what_is_not_there_is_not_found(api, name):
    api.session().lock(name, expect=(404, "not-found"))
    api.get(name.href + "/lock", expect=(404, "not-found"))


@pytest.mark.parametrize("wait_ms", ["-1", "300001", "1.5", "soon", "", "1e3"])
def test_a_bad_wait_is_refused(name, two, wait_ms):
    first, _ = two
    answer = first.lock(name, wait_ms=wait_ms, expect=(400, "invalid-request"))
    assert answer.json["parameter"] == "wait_ms"


def test_many_waiters_keep_nobody_from_being_served(server, api, posix):
    holder = api.session()
    holder.create(posix)
    threads = server.threads()
    sessions = [api.session() for _ in range(100)]
    for session in sessions:
        session.attach(posix)
    holder.lock(posix)
    pending = [session.begin_lock(posix, 60000) for session in sessions]
    waiting(api, posix, 100)
    started = time.monotonic()
    Api(server.address).get("/livez", expect=200)
    assert time.monotonic() - started < 1.0
    assert server.threads() < threads + 50, "a wait occupies no thread"
    for one in pending:
        one.hang_up()
    waiting(api, posix, 0)
    holder.unlock(posix)


def test_the_lock_moves_from_waiter_to_waiter_without_loss(api, posix):
    sessions = [api.session() for _ in range(8)]
    sessions[0].create(posix)
    for session in sessions[1:]:
        session.attach(posix)
    count = 0
    for _ in range(3):
        pending = [(session, session.begin_lock(posix, 10000)) for session in sessions]
        while pending:
            ready = wait_until(lambda: [one for one in pending if one[1].is_answered], 5)
            assert len(ready) == 1, "two hold the lock at once"
            ready[0][1].answer(expect=200)
            pending.remove(ready[0])
            number = int.from_bytes(ready[0][0].read(posix, length=8).body, "little")
            ready[0][0].write(posix, (number + 1).to_bytes(8, "little"), offset=0)
            ready[0][0].unlock(posix)
            count += 1
    assert int.from_bytes(sessions[0].read(posix, length=8).body, "little") == count == 24
