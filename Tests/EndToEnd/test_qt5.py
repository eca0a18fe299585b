"""Qt 5.15, whose keys are the legacy ones: the same segment and the same lock as Qt 6's and ours."""
import pytest


@pytest.fixture
def old(old_qt, legacy):
    assert old_qt.hello["qt"].startswith("5.15.")
    return old_qt.segment(legacy)


def test_what_qt_5_creates_is_read_and_written_over_http(api, old, legacy):
    old.create(16).write(b"from Qt 5")
    session = api.session()
    session.attach(legacy)
    assert session.read(legacy).body.startswith(b"from Qt 5")
    session.write(legacy, b"from HTTP", offset=0)
    assert old.read(0, 9) == b"from HTTP"
    old.detach()
    assert session.detach(legacy).json["destroyed"] is True


def test_what_http_creates_is_read_and_written_by_qt_5(api, old, legacy):
    session = api.session()
    session.create(legacy, 32)
    session.write(legacy, b"from HTTP", offset=0)
    old.attach()
    assert (old.size(), old.read(0, 9)) == (32, b"from HTTP")
    old.write(b"from Qt 5")
    assert session.read(legacy).body.startswith(b"from Qt 5")
    assert session.detach(legacy).json["destroyed"] is False
    assert old.detach() is True
    assert not legacy.exists(), "Qt was the last"


def test_qt_5_keeps_http_out_of_the_lock(api, old, legacy):
    session = api.session()
    old.create(16).lock()
    session.attach(legacy)
    session.lock(legacy, expect=(423, "locked"))
    waiting = session.begin_lock(legacy, 5000)
    old.unlock()
    waiting.answer(expect=200)
    session.unlock(legacy)
    old.detach()
    session.detach(legacy)


def test_http_keeps_qt_5_out_of_the_lock(api, old, legacy):
    session = api.session()
    session.create(legacy)
    old.attach()
    session.lock(legacy)
    old.begin_lock()
    session.unlock(legacy)
    old.await_lock()
    old.unlock()
    old.detach()
    assert session.detach(legacy).json["destroyed"] is True


def test_both_qts_and_http_share_one_segment_and_one_lock(api, peer, old, legacy):
    new, session = peer.segment(legacy), api.session()
    old.create(16)
    new.attach()
    session.attach(legacy)
    for writer, octets in [(old, b"5"), (new, b"6")]:
        writer.lock().write(octets)
        session.lock(legacy, expect=(423, "locked"))
        writer.unlock()
        assert session.read(legacy, length=1, lock="true").body == octets
    session.lock(legacy)
    old.begin_lock()
    session.unlock(legacy)
    old.await_lock()
    old.unlock()
    assert (old.detach(), new.detach()) == (True, True)
    assert session.detach(legacy).json["destroyed"] is True


def test_a_killed_qt_5_leaves_its_segment_and_gives_its_lock_back(api, old_qt, old, legacy):
    old.create(16).lock()
    old_qt.kill()
    session = api.session()
    session.attach(legacy)
    session.lock(legacy, wait_ms=1000)
    assert session.detach(legacy).json["destroyed"] is True
