"""The application crashed, and now it won't start: what an administrator does about it."""
import signal

import pytest

from harness.waiting import wait_until


def take_it_along(api, name, segment):
    """A session attaches beside Qt, and is the last to leave: the segment goes with it."""
    session = api.session()
    session.attach(name)
    segment.detach()
    segment.destroy()
    assert session.detach(name).json["destroyed"]


@pytest.mark.parametrize("kind", ["posix", "systemv", "legacy"])
def test_its_segment_is_found_and_removed_and_the_next_one_starts(api, qt, names, kind, no_debris):
    name = names[kind]
    application = qt()
    application.segment(name).create(64).lock().write(b"half")
    application.kill()

    # It is listed as an orphan, with its bytes, and with its lock as the kernel left it.
    listed = [one for one in api.get("/v1/segments", expect=200).json["segments"]
              if one["id"].split("?")[0] == name.id.split("?")[0]]
    assert len(listed) == 1, "the orphan is listed"
    assert listed[0]["orphaned"] is True and listed[0]["attachments"] == 0
    assert api.get(name.href + "/data", query={"length": 4}, expect=200).body == b"half"

    # The next one does not start.
    successor = qt()
    waiting = successor.segment(name)
    assert waiting.fails_to("create", size=64) == "AlreadyExists"

    # Nobody is attached, so it needs no force.
    api.delete(name.href, expect=204)
    waiting.destroy()
    fresh = successor.segment(name).create(64).lock()
    assert fresh.read(0, 4) == bytes(4)
    fresh.unlock()
    take_it_along(api, name, fresh)
    no_debris.clean()


@pytest.mark.parametrize("kind", ["posix", "systemv", "legacy"])
def test_a_lock_that_it_left_is_broken_for_those_who_stay(api, qt, names, kind, no_debris):
    name = names[kind]
    survivor, application = qt(), qt()
    staying = survivor.segment(name).create(64)
    application.segment(name).attach().lock()
    application.kill()

    if name.is_posix:  # the kernel gives back a System V lock itself
        staying.begin_lock()
        assert api.lock_state(name)["state"] == "external"
        api.delete(name.href + "/lock", query={"force": "true"}, expect=204)
        staying.await_lock()
    else:
        staying.lock()
    staying.unlock()
    wait_until(lambda: api.lock_state(name)["state"] == "free", 5)
    session = api.session()
    session.attach(name)
    session.lock(name)
    session.unlock(name)
    staying.detach()
    assert session.detach(name).json["destroyed"]
    staying.destroy()
    no_debris.clean()


@pytest.mark.parametrize("kind", ["posix", "systemv", "legacy"])
def test_a_process_that_hangs_is_parted_from_the_name(api, qt, names, kind, no_debris):
    name = names[kind]
    hung, successor = qt(), qt()
    hung.segment(name).create(64).lock().write(b"old")
    hung.process.send_signal(signal.SIGSTOP)
    try:
        api.delete(name.href, expect=(409, "in-use"))
        api.delete(name.href, query={"force": "true"}, expect=204)
        fresh = successor.segment(name).create(32).lock()
        assert fresh.size() >= 32 and fresh.read(0, 3) == bytes(3)
        fresh.unlock()
        take_it_along(api, name, fresh)
    finally:
        hung.process.send_signal(signal.SIGKILL)
        hung.process.wait(10)
    no_debris.clean()
