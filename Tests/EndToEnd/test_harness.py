"""The tests' own tools against real Qt, without the server: what they say is what Qt does."""
from harness import kernel


def test_a_name_is_the_key_that_qt_derives(peer, name):
    segment = peer.segment(name)
    assert segment.call("toString")["result"] == name.id


def test_the_kernel_shows_the_segment_that_qt_created(peer, name, no_debris):
    assert not name.exists()
    segment = peer.segment(name).create(100)
    assert name.size() == 100
    segment.destroy()
    assert name.exists() == name.is_posix, "Qt leaves POSIX segments behind, and no others"
    no_debris.clean()


def test_the_kernel_counts_what_qt_attached(peer, systemv):
    first, second = peer.segment(systemv).create(8), peer.segment(systemv).attach()
    assert systemv.attachments() == 2
    second.detach()
    assert systemv.attachments() == 1
    first.destroy()


def test_what_one_qt_process_writes_another_reads(qt, name, no_debris):
    writer, reader = qt().segment(name).create(16), qt().segment(name).attach()
    writer.write(b"octets", offset=3)
    assert reader.read(3, 6) == b"octets"
    reader.destroy()
    writer.destroy()
    no_debris.clean()


def test_a_killed_qt_process_leaves_debris_that_the_tests_see(peer, name, no_debris):
    peer.segment(name).create(8)
    peer.kill()
    assert name.exists()
    assert no_debris.new()
    assert no_debris.clean()
    assert not no_debris.new()


def test_qt_waits_for_the_lock_until_it_is_free(qt, name, no_debris):
    holder, waiter = qt().segment(name).create(8), qt().segment(name).attach()
    holder.lock()
    waiter.begin_lock()
    assert waiter.is_waiting()
    holder.unlock()
    waiter.await_lock()
    waiter.unlock()
    waiter.destroy()
    holder.destroy()
    no_debris.clean()


def test_ftok_needs_a_file(tmp_path):
    assert kernel.ftok(tmp_path / "absent") is None
    assert kernel.ftok(tmp_path) >> 24 == kernel.PROJECT
