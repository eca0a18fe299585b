"""Hold streams, sessions bound to a connection, and punctual expiry."""
import time

import pytest

from harness.waiting import stays, wait_until

# What measuring itself may take on a busy machine.
SLACK = 0.05


def is_alive(api, session):
    """Whether the session is listed; looking at the list renews nothing."""
    listed = api.get("/v1/sessions", expect=200).json["sessions"]
    return any(one["id"] == session.id[:8] for one in listed)


@pytest.fixture
def hold(api):
    """A function that opens a hold stream; the test's end closes it."""
    streams = []

    def open_stream(session):
        stream = api.stream(session.href + "/hold")
        streams.append(stream)
        assert stream.status == 200
        return stream

    yield open_stream
    for stream in streams:
        stream.close()


def test_a_hold_is_an_event_stream(api, hold):
    stream = hold(api.session())
    assert stream.headers["Content-Type"].split(";")[0] == "text/event-stream"
    assert stream.headers["Cache-Control"] == "no-store"
    assert stream.headers["X-Content-Type-Options"] == "nosniff"


def test_a_session_does_not_expire_while_its_hold_is_open(api, hold):
    session = api.session(ttl_ms=200)
    hold(session)
    assert stays(lambda: is_alive(api, session), 1.0)


def test_a_session_lives_for_its_ttl_once_its_hold_is_closed(api, hold):
    session = api.session(ttl_ms=500)
    stream = hold(session)
    time.sleep(0.7)
    stream.close()
    assert stays(lambda: is_alive(api, session), 0.3)
    wait_until(lambda: not is_alive(api, session), 1.0)


def test_a_session_bound_to_a_connection_ends_with_it_at_once(api, hold, name):
    session = api.session(bind="connection", ttl_ms=60000)
    stream = hold(session)
    session.create(name)
    session.lock(name)
    closed = time.monotonic()
    stream.close()
    wait_until(lambda: not name.exists(), 2.0)
    assert time.monotonic() - closed < 0.1 + SLACK
    api.get(session.href, expect=(410, "session-gone"))


def test_a_session_bound_to_a_connection_expires_when_no_hold_comes(api, name):
    session = api.session(bind="connection", ttl_ms=200)
    session.create(name)
    wait_until(lambda: not name.exists(), 1.0)
    api.get(session.href, expect=(410, "session-gone"))


def test_a_session_bound_to_a_connection_lives_while_it_is_open(api, hold):
    session = api.session(bind="connection", ttl_ms=100)
    hold(session)
    assert stays(lambda: is_alive(api, session), 0.6)


def test_a_hold_ends_with_its_session(api, hold):
    session = api.session()
    stream = hold(session)
    assert not stream.has_ended(0.1)
    session.end()
    assert stream.has_ended(2.0)


def test_a_session_is_held_while_any_of_two_holds_is_open(api, hold):
    session = api.session(ttl_ms=200)
    first = hold(session)
    hold(session)
    first.close()
    assert stays(lambda: is_alive(api, session), 0.6)


def test_head_of_a_hold_holds_nothing(api):
    session = api.session(ttl_ms=60000)
    api.head(session.href + "/hold", expect=200)
    assert is_alive(api, session)


def test_the_server_outlives_holds_that_are_closed_rudely(server, api, hold):
    before = server.descriptors()
    for _ in range(20):
        hold(api.session()).close()
    wait_until(lambda: server.descriptors() <= before + 2, 3.0, "the descriptors' return")


@pytest.mark.parametrize("ttl_ms", [100, 350])
def test_expiry_comes_within_100_ms(api, posix, ttl_ms):
    late = []
    for _ in range(3):
        session = api.session(ttl_ms=ttl_ms)
        asked = time.monotonic()
        session.create(posix)
        answered = time.monotonic()
        wait_until(lambda: not posix.exists(), 3.0)
        ended = time.monotonic()
        assert ended - asked >= ttl_ms / 1000, "expired early"
        late.append(ended - answered - ttl_ms / 1000)
    assert max(late) < 0.1 + SLACK


def test_expiry_is_on_time_for_each_of_many_sessions(api):
    sessions = [api.session(ttl_ms=100 + 10 * number) for number in range(20)]
    opened = time.monotonic()
    wait_until(lambda: not any(is_alive(api, one) for one in sessions), 3.0)
    assert time.monotonic() - opened < 0.1 + 0.01 * 20 + 0.1 + SLACK


def test_a_long_session_does_not_keep_a_short_one_from_expiring(api):
    long, short = api.session(ttl_ms=60000), api.session(ttl_ms=100)
    wait_until(lambda: not is_alive(api, short), 0.1 + 0.1 + 10 * SLACK)
    assert is_alive(api, long)
