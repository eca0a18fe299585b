"""Real Qt processes in other namespaces: who cannot be seen is counted all the same."""
import os

import pytest

from harness import kernel
from harness.qt import QtPeer
from harness.waiting import wait_until

# Commands that end in executing what follows them, as a container's runtime does.
PID = ("unshare", "--pid", "--fork", "--kill-child")
IPC = ("unshare", "--ipc")
BIND = ("unshare", "--mount", "sh", "-c",
        'mkdir -p "$TMPDIR/run/shm" && mount --bind /dev/shm "$TMPDIR/run/shm" '
        '&& mount --bind "$TMPDIR/run/shm" /dev/shm && umount "$TMPDIR/run/shm" && exec "$@"', "sh")
ALL = ("unshare", "--user", "--map-root-user", "--pid", "--ipc", "--net", "--fork", "--kill-child")

POSIX = [pytest.param(wrapper, id=name) for name, wrapper in
         [("pid", PID), ("mount", BIND), ("user pid ipc net", ALL)]]


@pytest.fixture
def start(environment, no_debris):
    """A function that starts a Qt process behind a wrapper."""
    peers = []

    def start(wrapper):
        peers.append(QtPeer(environment, wrapper=wrapper))
        return peers[-1]

    yield start
    for peer in peers:
        peer.quit()


def rounds(api, segment, later, name):
    """A Qt object that was there before our detach, another that comes after it, and we again."""
    session = api.session()
    session.attach(name)
    session.write(name, b"across", offset=0)
    assert session.detach(name).json["destroyed"] is False
    assert segment.read(0, 6) == b"across"
    segment.write(b"still there")
    assert later.attach().read(0, 11) == b"still there"
    segment.destroy()
    session.attach(name)
    assert session.read(name, length=11).body == b"still there"
    assert session.detach(name).json["destroyed"] is False
    session.attach(name)
    later.destroy()
    return session


@pytest.mark.parametrize("wrapper", POSIX)
@pytest.mark.parametrize("creator", ["qt", "http"])
def test_a_posix_segment_waits_for_qt_in_other_namespaces(api, start, posix, no_debris, wrapper,
                                                         creator):
    maker = api.session()
    peer = start(wrapper)
    segment, later = peer.segment(posix), start(wrapper).segment(posix)
    if creator == "qt":
        segment.create(64)
    else:
        maker.create(posix, 64)
        segment.attach()
        assert maker.detach(posix).json["destroyed"] is False
    session = rounds(api, segment, later, posix)
    assert session.detach(posix).json["destroyed"] is True
    assert not no_debris.new()


@pytest.mark.parametrize("wrapper", POSIX)
def test_a_posix_lock_is_shared_with_qt_in_other_namespaces(api, start, posix, wrapper):
    session, segment = api.session(), start(wrapper).segment(posix)
    session.create(posix)
    segment.attach().lock()
    session.lock(posix, expect=(423, "locked"))
    assert api.lock_state(posix)["state"] == "external"
    segment.unlock()
    session.lock(posix, wait_ms=5000)
    segment.begin_lock()
    session.unlock(posix)
    segment.await_lock()
    segment.unlock()
    segment.destroy()
    assert session.detach(posix).json["destroyed"] is True


@pytest.mark.parametrize("wrapper", POSIX)
def test_qt_that_is_killed_in_another_namespace_holds_nothing(api, start, posix, no_debris, wrapper):
    session, peer = api.session(), start(wrapper)
    session.create(posix)
    peer.segment(posix).attach().lock()
    peer.kill()
    wait_until(lambda: api.lock_state(posix)["state"] == "free", 10)
    session.lock(posix, wait_ms=5000)
    wait_until(lambda: api.segment(posix).json["attachments"] == 1, 10)
    assert session.detach(posix).json["destroyed"] is True
    assert not no_debris.new()


@pytest.mark.parametrize("creator", ["qt", "http"])
def test_a_system_v_segment_waits_for_qt_in_another_process_namespace(api, start, systemv,
                                                                     no_debris, creator):
    maker, peer = api.session(), start(PID)
    segment, later = peer.segment(systemv), start(PID).segment(systemv)
    if creator == "qt":
        segment.create(64)
        os.link(systemv.memory_file, kept := systemv.memory_file + ".kept")
    else:
        maker.create(systemv, 64)
        segment.attach()
        kept = None
        assert maker.detach(systemv).json["destroyed"] is False
    assert systemv.attachments() == 1
    session = api.session()
    session.attach(systemv)
    assert systemv.attachments() == 2
    session.write(systemv, b"across", offset=0)
    assert session.detach(systemv).json["destroyed"] is False
    assert segment.read(0, 6) == b"across"
    assert later.attach().read(0, 6) == b"across"
    session.attach(systemv)
    segment.detach(), later.detach()
    assert session.detach(systemv).json["destroyed"] is True
    if kept:
        os.unlink(kept)
    later.destroy(), segment.destroy()
    assert not no_debris.new()


def test_a_look_leaves_no_trace_though_qt_came_and_left_elsewhere(api, start, systemv):
    """The kernel does not tell the number of a process in another namespace, but that it was not ours."""
    segment = start(PID).segment(systemv).create(64)
    segment.lock()
    assert api.get(systemv.href + "/data", query={"length": 1}, expect=200).body == b"\0"
    assert systemv.attachments() == 1, "not kept for want of the lock"
    segment.unlock()
    assert segment.detach() and not systemv.exists()
    segment.destroy()


def test_a_system_v_lock_is_shared_with_qt_in_another_process_namespace(api, start, systemv,
                                                                       no_debris):
    session, peer = api.session(), start(PID)
    segment = peer.segment(systemv)
    session.create(systemv)
    segment.attach()
    token = session.lock(systemv).json["fencing_token"]
    segment.begin_lock()
    session.write(systemv, b"x", offset=0, token=token)
    session.unlock(systemv)
    segment.await_lock()
    session.lock(systemv, expect=(423, "locked"))
    segment.unlock()
    session.lock(systemv, wait_ms=5000)
    breaker = peer.segment(systemv)
    breaker.call("create", size=8)  # resets the semaphore
    session.unlock(systemv, expect=(409, "not-locked"))
    segment.lock()
    peer.kill()  # the kernel gives the lock back
    session.lock(systemv, wait_ms=5000)
    assert session.detach(systemv).json["destroyed"] is True
    no_debris.clean()


def test_qt_of_another_ipc_namespace_has_a_segment_of_its_own(stage, stem):
    """Both use the key file, and whoever ends first removes it; each goes on with its memory."""
    name = kernel.systemv_name(stem, stage.directory)
    api, session = stage.api, stage.api.session()
    session.create(name, 64)
    session.write(name, b"ours", offset=0)
    peer = stage.qt(IPC)
    segment, other = peer.segment(name).create(32), peer.segment(name).attach()
    segment.write(b"Qt's")
    assert session.read(name, length=4).body == b"ours"
    assert api.segment(name).json["attachments"] == 1
    segment.lock()
    session.lock(name)  # no lock is shared either
    segment.unlock()
    segment.destroy(), other.destroy()
    assert not os.path.exists(name.memory_file)
    assert session.attachment(name).json["name_lost"] is True
    assert session.read(name, length=4).body == b"ours"
    assert session.detach(name).json["destroyed"] is True
    assert not stage.debris.new()


def test_our_last_detach_leaves_the_memory_of_another_ipc_namespace(stage, stem):
    name = kernel.systemv_name(stem, stage.directory)
    session = stage.api.session()
    segment = stage.qt(IPC).segment(name).create(32).write(b"Qt's")
    session.create(name, 64)
    assert session.detach(name).json["destroyed"] is True
    assert segment.read(0, 4) == b"Qt's"
    segment.call("detach")
    segment.destroy()
    assert not stage.debris.new()
