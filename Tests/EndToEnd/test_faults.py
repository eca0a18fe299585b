"""Faults that are really there: peers that freeze, and that break what they share with the service.

After each, the server answers within a second (`harness.watch` says how that is measured), what it
acknowledged is there, and nothing is left that a segment, a lock or a request once took.
"""
import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from harness import kernel
from harness.client import Api
from harness.waiting import wait_until
from harness.watch import Watch, promptly

NEWS = b"acknowledged, so it is here to stay"


class Bystander:
    """A session with a segment that the fault is not about."""

    def __init__(self, api, name):
        self.api = api
        self.name = name
        self.session = api.session()
        self.session.create(name, 64)
        self.session.write(name, NEWS, offset=0)
        self.session.lock(name)

    def check(self):
        """It is served within a second, and has lost nothing."""
        def ask():
            assert self.session.read(self.name, length=len(NEWS)).body == NEWS
            assert self.api.lock_state(self.name)["state"] == "session"
            self.api.get("/livez", expect=200)
            assert self.api.get("/v1/segments", expect=200).json["segments"]
        promptly(ask)


@pytest.fixture
def one_server(start_server):
    """A server of the test's own, which is to be as it was in the end."""
    server = start_server()
    watch = Watch(server)
    yield server
    assert watch.is_clean()


@pytest.fixture
def own_api(one_server, no_debris):
    client = Api(one_server.address)
    yield client
    client.end_sessions()
    client.close()


@pytest.fixture
def bystander(own_api, stem):
    one = Bystander(own_api, kernel.posix_name(stem + "bystander"))
    yield one
    one.check()


# A Qt process that is stopped while it holds the lock

def test_a_frozen_holder_keeps_nobody_longer_than_they_would_wait(own_api, bystander, peer, name):
    segment = peer.segment(name).create(64).lock()
    session = own_api.session()
    session.attach(name)
    os.kill(peer.pid, signal.SIGSTOP)
    try:
        def wait_in_vain():
            started = time.monotonic()
            session.lock(name, wait_ms=300, expect=(423, "locked"))
            own_api.patch(name.href + "/data", body=b"x", query={"offset": 0, "wait_ms": 300},
                          expect=(423, "locked"))
            own_api.delete(name.href + "/lock", session=session, expect=(409, "not-locked"))
            assert time.monotonic() - started >= 0.6

        promptly(wait_in_vain, beyond=0.6)
        assert own_api.lock_state(name)["state"] == "external"
        session.write(name, b"unlocked", offset=0)
        bystander.check()
        pending = session.begin_lock(name, 60_000)
        wait_until(lambda: own_api.lock_state(name)["waiting"] == 1, 10)
        bystander.check()
    finally:
        os.kill(peer.pid, signal.SIGCONT)
    assert not pending.is_answered
    segment.unlock()
    pending.answer(expect=200)
    session.unlock(name)
    segment.detach()
    assert session.detach(name).json["destroyed"] is True
    segment.destroy()


def test_a_frozen_holder_that_is_killed_leaves_a_lock_that_can_be_broken(own_api, bystander, peer,
                                                                          posix):
    peer.segment(posix).create(64).lock()
    session = own_api.session()
    session.attach(posix)
    os.kill(peer.pid, signal.SIGSTOP)
    peer.kill()
    own_api.delete(posix.href + "/lock", query={"force": "true"}, expect=204)
    session.lock(posix, wait_ms=5_000)
    bystander.check()
    session.unlock(posix)
    assert session.detach(posix).json["destroyed"] is True


# What a peer puts in the place of a file

OUTSIDE = b"what a link leads to"


def put_nothing(path, _):
    os.unlink(path)


def put_empty(path, _):
    os.truncate(path, 0)


def put_short(path, _):
    os.truncate(path, 3)


def put_long(path, _):
    os.truncate(path, 1 << 20)


def put_garbage(path, _):
    with open(path, "r+b") as file:
        file.write(b"\xff" * os.path.getsize(path))


def put_another(path, _):
    os.unlink(path)
    with open(path, "xb") as file:
        file.write(bytes(64))


def put_fifo(path, _):
    os.unlink(path)
    os.mkfifo(path)


def put_link(path, outside):
    os.unlink(path)
    os.symlink(outside, path)


def put_directory(path, _):
    os.unlink(path)
    os.mkdir(path)


def put_socket(path, _):
    os.unlink(path)
    os.mknod(path, stat.S_IFSOCK | 0o600)


def put_forbidden(path, _):
    os.chmod(path, 0)
    os.chown(path, 4711, 4711)


PUTS = [put_nothing, put_empty, put_short, put_long, put_garbage, put_another, put_fifo, put_link,
        put_directory, put_socket, put_forbidden]


@pytest.fixture
def outside(tmp_path):
    path = tmp_path / "outside"
    path.write_bytes(OUTSIDE)
    yield str(path)
    assert path.read_bytes() == OUTSIDE, "what a link leads to is nobody's business"


def clear(path):
    """Take away what a peer put there."""
    if os.path.isdir(path) and not os.path.islink(path):
        os.rmdir(path)
    elif os.path.lexists(path):
        os.unlink(path)


def answered(answer):
    """Whatever it is, it is an answer, and no fault of ours; a link is an unknown error, as in Qt."""
    is_link = answer.status == 500 and "ELOOP" in answer.json["detail"]
    assert answer.status < 500 or answer.status == 507 or is_link, answer
    return answer


def use_everything(session, name):
    """Each thing that can be done to a segment, none of which may fail in an unknown way."""
    for step in (lambda: session.read(name, expect=None),
                 lambda: session.write(name, b"12345678", offset=0, expect=None),
                 lambda: session.write(name, b"12345678", offset=0, lock="true", wait_ms=100,
                                       expect=None),
                 lambda: session.lock(name, wait_ms=100, expect=None),
                 lambda: session.api.get(name.href + "/lock"),
                 lambda: session.api.get(name.href),
                 lambda: session.unlock(name, expect=None),
                 lambda: session.attachment(name, expect=None),
                 lambda: session.api.delete(name.href)):
        answered(promptly(step, beyond=0.1))


@pytest.mark.parametrize("put", PUTS, ids=lambda put: put.__name__)
@pytest.mark.parametrize("which", ["memory", "lock"])
@pytest.mark.parametrize("is_held", [False, True], ids=["free", "held"])
def test_a_file_that_a_peer_replaces_harms_nobody(own_api, bystander, no_debris, names, outside, put,
                                                  which, is_held):
    for name in (names["posix"], names["legacy"]):
        session, other = own_api.session(), own_api.session()
        session.create(name, 64)
        other.attach(name)
        session.lock(name)
        if not is_held:
            session.unlock(name)
        path = name.memory_file if which == "memory" else name.lock_file
        put(path, outside)
        use_everything(session, name)
        use_everything(other, name)
        bystander.check()
        newcomer = own_api.session()
        if answered(newcomer.attach(name, expect=None)).status == 201:
            use_everything(newcomer, name)
        answered(newcomer.create(name, 64, expect=None, if_exists="attach"))
        for one in (newcomer, other, session):
            one.end()
        bystander.check()
        # What the peer put there is the peer's, the semaphore that goes with it as well.
        clear(path)
    mine = {thing for thing in no_debris.new() if not is_of(thing, bystander)}
    assert not mine, f"left behind: {sorted(map(str, mine))}"


def is_of(thing, bystander):
    return thing[0] == "file" and thing[1] in (bystander.name.memory_file, bystander.name.lock_file)


# System V keys are numbers made of 16 bits of an inode's number: two files can make the same

@pytest.fixture
def small_disk(temporary_directory, stem):
    """A file system of its own, which numbers its files one after the other."""
    path = os.path.join(temporary_directory, "disk" + stem)
    os.mkdir(path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)
    os.rmdir(path)


def make_twin(path, twin):
    """A file at `twin` that makes the same System V key as the one at `path`."""
    wanted = kernel.ftok(path)
    for _ in range(1 << 18):
        with open(twin, "xb"):
            pass
        if kernel.ftok(twin) == wanted:
            return
        os.unlink(twin)
    raise AssertionError("no file makes the same key")


def test_two_names_of_one_key_are_one_segment(own_api, bystander, small_disk, no_debris):
    first = kernel.systemv_name("first", small_disk)
    second = kernel.systemv_name("second", small_disk)
    session, other = own_api.session(), own_api.session()
    session.create(first, 64)
    session.write(first, b"of the first", offset=0)
    make_twin(first.memory_file, second.memory_file)
    assert first.size() == second.size() == 64

    refusal = other.create(second, 64, expect=None)
    assert (refusal.status, refusal.code) in {(409, "already-exists"), (409, "key-collision")}
    assert os.path.exists(second.memory_file), "it was there before"
    joined = other.attach(second, expect=None)
    if joined.status == 201:
        assert other.read(second).body.startswith(b"of the first")
        session.lock(first)
        other.lock(second, expect=(423, "locked"))
        session.unlock(first)
    else:
        assert (joined.status, joined.code) == (409, "key-collision")
    bystander.check()
    session.end()
    other.end()
    assert not [thing for thing in no_debris.new() if thing[0] != "file"]
    bystander.check()
    if os.path.exists(second.memory_file):
        os.unlink(second.memory_file)
    assert os.listdir(small_disk) == []


# Limits of the kernel

def test_the_kernel_s_limit_of_semaphores_is_out_of_resources(own_api, bystander, systemv, no_debris):
    limits = Path("/proc/sys/kernel/sem")
    before = limits.read_text(encoding="ascii")
    held = kernel.create_semaphore(0)
    session = own_api.session()
    known = no_debris.new()
    try:
        limits.write_text(" ".join([*before.split()[:3], str(len(kernel.table("sem")))]),
                          encoding="ascii")
        session.create(systemv, 64, expect=(507, "out-of-resources"))
        assert no_debris.new() == known, "what was begun is gone"
        bystander.check()
    finally:
        limits.write_text(before, encoding="ascii")
        kernel.remove_semaphore(held)
    session.create(systemv, 64)
    session.lock(systemv)
    session.unlock(systemv)
    assert session.detach(systemv).json["destroyed"] is True


def test_the_limit_of_descriptors_is_out_of_resources(start_server, stem, no_debris):
    server = start_server("--max-connections", "16", wrapper=("prlimit", "--nofile=96:96"))
    watch = Watch(server)
    api = Api(server.address)
    session = api.session()
    names = [kernel.posix_name(f"{stem}{number}") for number in range(200)]
    made = []
    for name in names:
        answer = session.create(name, 64, expect=None)
        if answer.status != 201:
            break
        session.write(name, NEWS, offset=0)
        made.append(name)
    assert (answer.status, answer.code) == (507, "out-of-resources")
    assert len(made) > 10
    session.create(names[-1], 64, expect=(507, "out-of-resources"))
    assert watch.is_prompt()
    for name in made:
        assert session.read(name, length=len(NEWS)).body == NEWS
    api.get("/v1/segments", expect=None)
    session.detach(made[0])
    session.create(made[0], 64)
    session.end()
    assert not no_debris.new()
    api.session().create(made[0], 64)
    api.end_sessions()
    api.close()
    assert watch.is_clean()


# Clocks

def test_a_step_of_the_clock_ends_nothing_early_and_keeps_nothing_late(start_server, environment,
                                                                       tmp_path, names, no_debris):
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    step = tmp_path / "step"
    step.write_text("+0")
    # Through another program: the library sets a variable of its own, after which a Swift program
    # does not find its arguments; the next one inherits it.
    server = start_server(wrapper=("env",), environment={
        **environment, "LD_PRELOAD": str(library), "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_TIMESTAMP_FILE": str(step), "FAKETIME_NO_CACHE": "1"})
    watch = Watch(server)
    api = Api(server.address)
    name = names["posix"]
    session = api.session(ttl_ms=60_000)
    session.create(name, 64)
    session.lock(name)
    year = time.gmtime().tm_year

    def steps_to(text, years):
        step.write_text(text)
        wait_until(lambda: api.session().body["created_at"][:4] == str(year + years), 10)
        assert session.attachment(name).json["locked"] is True
        assert watch.is_prompt()
        waiting = api.session()
        waiting.attach(name)

        def wait_in_vain():
            started = time.monotonic()
            waiting.lock(name, wait_ms=300, expect=(423, "locked"))
            assert time.monotonic() - started > 0.25

        def expire():
            brief = api.session(ttl_ms=200)
            wait_until(lambda: brief.id[:8] not in {one["id"] for one in api.get(
                "/v1/sessions").json["sessions"]}, 10)

        promptly(wait_in_vain, beyond=0.3)
        promptly(expire, beyond=0.2)

    steps_to("+9y", 9)
    steps_to("-3y", -3)
    session.unlock(name)
    api.end_sessions()
    api.close()
    assert watch.is_clean()
    server.stop()
    # The library's own, whose maker became the server.
    for _, path in no_debris.new():
        assert "faketime_" in path
        os.unlink(path)
