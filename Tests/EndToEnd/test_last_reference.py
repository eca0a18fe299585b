"""Who detaches last destroys the segment; the kernel is the witness."""
import mmap
import os

import pytest

from harness import kernel
from harness.waiting import wait_until


def entries(name):
    """The kernel's entries of a name that exists: segment and semaphore."""
    if name.is_posix:
        return os.path.exists(name.memory_file), os.path.exists(name.lock_file)
    return (kernel.shared_memory(kernel.ftok(name.memory_file)) is not None,
            kernel.semaphore(kernel.ftok(name.lock_file)) is not None)


@pytest.mark.parametrize("lock_used", [False, True])
def test_http_alone_leaves_nothing(api, name, no_debris, lock_used):
    session = api.session()
    session.create(name)
    assert name.exists()
    if lock_used:
        session.lock(name)
        session.unlock(name)
        assert entries(name) == (True, True)
    assert session.detach(name).json["destroyed"] is True
    assert not no_debris.new()


def test_http_first_then_qt_leaves_nothing_of_a_system_v_segment(api, peer, systemv, no_debris):
    session = api.session()
    session.create(systemv)
    segment = peer.segment(systemv).attach()
    assert session.detach(systemv).json["destroyed"] is False
    assert systemv.exists()
    assert segment.read(0, 1) == b"\0"
    assert segment.detach() is True
    assert not systemv.exists()
    segment.destroy()
    assert not os.path.exists(systemv.memory_file)
    assert {kind for kind, _ in no_debris.new()} <= {"semaphores", "file"}, "ours, for Qt made none"
    no_debris.clean()


def test_http_first_then_qt_leaves_what_qt_leaves_of_a_posix_segment(api, peer, posix, no_debris):
    session = api.session()
    session.create(posix)
    segment = peer.segment(posix).attach()
    assert session.detach(posix).json["destroyed"] is False
    assert posix.exists()
    segment.destroy()
    assert posix.exists(), "Qt never removes a POSIX segment"
    assert api.segment(posix).json["orphaned"] is True
    no_debris.clean()


def test_an_orphan_of_qt_is_destroyed_by_the_next_detach(api, peer, posix, no_debris):
    peer.segment(posix).create(8).write(b"orphaned")
    peer.quit()
    session = api.session()
    session.attach(posix)
    assert session.read(posix).body == b"orphaned"
    assert session.detach(posix).json["destroyed"] is True
    assert not no_debris.new()


@pytest.mark.parametrize("creator", ["qt", "http"])
def test_qt_first_then_http_leaves_nothing(api, peer, name, no_debris, creator):
    session, segment = api.session(), peer.segment(name)
    if creator == "qt":
        segment.create(64)
        session.attach(name)
    else:
        session.create(name, 64)
        segment.attach()
    segment.detach()
    assert no_debris.memories()
    session.write(name, b"still", offset=0)
    segment.destroy()  # may take the key file along, for Qt's lock may have been the first
    assert no_debris.memories()
    assert session.read(name, length=5).body == b"still"
    assert session.detach(name).json["destroyed"] is True
    assert not no_debris.new()


def test_nothing_is_left_though_the_qt_object_that_detached_lives_on(api, peer, name, no_debris):
    session, segment = api.session(), peer.segment(name).create(64)
    session.attach(name)
    assert segment.detach() is True
    assert session.detach(name).json["destroyed"] is True
    if name.is_posix:
        assert not no_debris.new()
    else:
        assert not no_debris.memories()
    segment.destroy()
    assert not no_debris.new()


def test_qt_can_begin_again_after_the_segment_was_destroyed(api, peer, name, no_debris):
    session, segment = api.session(), peer.segment(name).create(64)
    session.attach(name)
    segment.detach()
    session.detach(name)
    assert segment.fails_to("attach") == "NotFound"
    segment.create(32)
    assert name.size() == 32
    session.attach(name)
    segment.lock()
    session.lock(name, expect=(423, "locked"))
    segment.unlock()
    segment.destroy()
    session.detach(name)
    assert not no_debris.new()


@pytest.mark.parametrize("is_asked", [False, True])
def test_a_semaphore_whose_key_file_qt_removed_is_not_left(api, peer, names, no_debris, is_asked):
    name = names["legacy"]
    segment, session, other = peer.segment(name), api.session(), api.session()
    assert segment.fails_to("attach") == "NotFound"  # and makes semaphore and key file
    session.create(name)
    session.detach(name)  # removes them
    session.create(name)
    other.attach(name)
    os.link(name.lock_file, name.lock_file + ".kept")  # so that the next has another inode
    segment.destroy()  # removes the key file of ours
    segment = peer.segment(name).attach()
    if is_asked:
        api.lock_state(name)
    other.detach(name)
    segment.destroy()
    session.detach(name)
    os.unlink(name.lock_file + ".kept")
    assert not no_debris.new()


def test_two_sessions_and_a_qt_process_each_keep_it_alive(api, peer, name, no_debris):
    first, second, segment = api.session(), api.session(), peer.segment(name)
    first.create(name)
    second.attach(name)
    segment.attach()
    assert first.detach(name).json["destroyed"] is False
    assert name.exists()
    segment.detach()
    segment.destroy()
    assert no_debris.memories()
    assert second.detach(name).json["destroyed"] is True
    assert not no_debris.new()


def test_two_sessions_then_qt_last(api, peer, systemv, no_debris):
    first, second = api.session(), api.session()
    first.create(systemv)
    second.attach(systemv)
    segment = peer.segment(systemv).attach()
    for session in (first, second):
        assert session.detach(systemv).json["destroyed"] is False
        assert systemv.exists()
    assert systemv.attachments() == 1
    segment.destroy()
    assert not systemv.exists()
    no_debris.clean()


def test_the_end_of_a_session_is_a_last_reference(api, name, no_debris):
    session = api.session()
    session.create(name)
    assert session.end().json["released"][0]["destroyed"] is True
    assert not no_debris.new()


def test_the_expiry_of_a_session_is_a_last_reference(api, name, no_debris):
    session = api.session(ttl_ms=200)
    session.create(name)
    session.lock(name)
    wait_until(lambda: not no_debris.new(), 2.0)


def test_the_expiry_of_one_session_leaves_the_segment_to_another(api, name):
    short, other = api.session(ttl_ms=200), api.session()
    short.create(name)
    other.attach(name)
    wait_until(lambda: api.segment(name).json["sessions"] == 1, 2.0)
    assert name.exists()
    assert other.detach(name).json["destroyed"] is True


def test_the_expiry_of_a_session_leaves_the_segment_to_qt(api, peer, name, no_debris):
    session, segment = api.session(ttl_ms=200), peer.segment(name)
    session.create(name)
    segment.attach().write(b"kept")
    wait_until(lambda: api.segment(name).json["sessions"] == 0, 2.0)
    assert segment.read(0, 4) == b"kept"
    assert name.exists()
    api.session().attach(name)


@pytest.mark.parametrize("creator", ["qt", "http"])
def test_a_segment_survives_a_killed_qt_process_and_goes_with_the_next_detach(
        api, peer, name, no_debris, creator):
    session, segment = api.session(), peer.segment(name)
    if creator == "qt":
        segment.create(64)
        session.attach(name)
    else:
        session.create(name, 64)
        segment.attach()
    segment.write(b"survives")
    peer.kill()
    assert session.read(name, length=8).body == b"survives"
    assert session.detach(name).json["destroyed"] is True
    assert not no_debris.new()


def test_a_segment_that_only_a_killed_process_had_goes_with_the_next_detach(api, peer, name,
                                                                          no_debris):
    peer.segment(name).create(8).write(b"survives")
    peer.kill()
    assert name.exists()
    session = api.session()
    session.attach(name)
    assert session.read(name).body == b"survives"
    assert session.detach(name).json["destroyed"] is True
    assert not no_debris.new()


def test_a_mapping_whose_descriptor_was_closed_keeps_a_posix_segment(api, posix):
    session = api.session()
    session.create(posix, 4096)
    descriptor = os.open(posix.memory_file, os.O_RDWR)
    mapping = mmap.mmap(descriptor, 4096)
    os.close(descriptor)
    assert session.detach(posix).json["destroyed"] is False
    assert posix.exists()
    mapping.close()
    session.attach(posix)
    assert session.detach(posix).json["destroyed"] is True


def test_a_key_file_that_is_not_empty_is_never_removed(api, names):
    systemv = names["systemv"]
    with open(systemv.memory_file, "wb") as file:
        file.write(b"somebody's")
    session = api.session()
    answer = session.create(systemv, expect=None)
    if answer.status == 201:
        session.detach(systemv)
    with open(systemv.memory_file, "rb") as file:
        assert file.read() == b"somebody's"
    os.unlink(systemv.memory_file)


def test_keep_is_heeded_and_the_next_detach_may_destroy(api, name, no_debris):
    first, second = api.session(), api.session()
    first.create(name, on_last_detach="keep")
    assert first.detach(name).json["destroyed"] is False
    assert name.exists()
    second.attach(name)
    assert second.detach(name).json["destroyed"] is True
    assert not no_debris.new()


def test_a_name_that_was_taken_from_us_is_not_removed_from_its_new_owner(api, posix):
    session = api.session()
    session.create(posix, 64)
    os.unlink(posix.memory_file)
    with open(posix.memory_file, "wb") as file:
        file.write(b"another's")
    session.detach(posix, expect=None)
    assert posix.bytes() == b"another's"
    os.unlink(posix.memory_file)
