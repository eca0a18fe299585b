"""kill -9 of the server between any two of its system calls, while it serves one request.

Each case serves its request again and again, killed a little later each time, until the request
gets through. After each kill the server is started again on its state: it answers, what was
acknowledged holds, what was not has happened or has not, no lock is stuck, and nothing is left.

$SEGMENTD_KILL_STRIDE is the step from one instant to the next: 1 for all of them.
"""
import http.client
import os
import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import kernel
from harness.client import Api, Pending
from harness.killer import Killer
from harness.waiting import wait_until
from harness.watch import Watch, promptly

STRIDE = int(os.environ.get("SEGMENTD_KILL_STRIDE", "3"))
KINDS = ("posix", "systemv", "legacy")
TOTAL = {"kills": 0, "slowest": 0.0}


@dataclass
class Scene:
    """A server with two sessions, and what the request may have changed."""

    name: kernel.Name
    server: object
    api: Api
    one: object
    two: object
    token: int = 0
    arrays: frozenset = frozenset()

    def lock_state(self):
        return self.api.lock_state(self.name)["state"]

    def is_attached(self, session):
        return session.attachment(self.name, expect=None).status == 200


# What is done before, what is killed, what holds afterwards.

def open_session(scene):
    return scene.api.post("/v1/sessions", json={"name": "third", "ttl_ms": 1000}, expect=201)


def check_opened(scene, answer):
    sessions = scene.api.get("/v1/sessions").json["sessions"]
    third = [one for one in sessions if one.get("name") == "third" and one["ttl_ms"] == 1000]
    assert len(sessions) == 2 + len(third) <= 3
    if answer:
        scene.api.delete("/v1/sessions/" + answer.json["id"], expect=200)
    elif third:
        # Nobody knows its id; it goes by its time to live.
        wait_until(lambda: len(scene.api.get("/v1/sessions").json["sessions"]) == 2, 10)


def create(scene):
    return scene.one.create(scene.name, 100)


def check_created(scene, answer):
    if answer or scene.is_attached(scene.one):
        assert scene.one.attachment(scene.name).json["size"] == 100
        assert scene.one.read(scene.name).body == bytes(100)
        assert scene.one.detach(scene.name).json["destroyed"]
    else:
        # Not even half of it is there.
        assert not scene.name.exists()
        assert not os.path.exists(scene.name.memory_file)
        assert not os.path.exists(scene.name.lock_file)
    scene.one.create(scene.name, 50)


def create_in_vain(scene):
    """More than there is room for, which is found out when the lock is made already."""
    answer = scene.one.create(scene.name, 1 << 40, expect=None)
    assert (answer.status, answer.code) in ((507, "out-of-resources"), (422, "invalid-size"))
    return answer


def check_nothing_created(scene, _answer):
    assert not scene.is_attached(scene.one)
    assert not os.path.exists(scene.name.memory_file)
    assert not os.path.exists(scene.name.lock_file)
    assert semaphore_arrays() == scene.arrays


def attach(scene):
    return scene.two.attach(scene.name)


def check_attached(scene, answer):
    assert scene.is_attached(scene.one)
    assert not answer or scene.is_attached(scene.two)
    assert scene.one.read(scene.name, length=4).body == b"kept"


def detach(scene):
    return scene.two.detach(scene.name)


def check_detached(scene, answer):
    assert scene.is_attached(scene.one)
    assert not answer or not scene.is_attached(scene.two)
    assert scene.one.read(scene.name, length=4).body == b"kept"


def detach_last(scene):
    return scene.one.detach(scene.name)


def check_gone(scene, answer):
    if answer:
        assert answer.json["destroyed"]
    if answer or not scene.is_attached(scene.one):
        wait_until(lambda: not scene.name.exists(), 10, "the end of the segment")
        wait_until(lambda: not os.path.exists(scene.name.memory_file), 10)
        wait_until(lambda: not os.path.exists(scene.name.lock_file), 10)


def end_session(scene):
    answer = scene.api.delete(scene.one.href, expect=200)
    scene.api.sessions.remove(scene.one)
    return answer


def check_ended(scene, answer):
    status = scene.api.get(scene.one.href, expect=None).status
    assert status == 410 or not answer
    if status == 410:
        wait_until(lambda: not scene.name.exists(), 10, "the end of the segment")
        wait_until(lambda: not os.path.exists(scene.name.lock_file), 10)
        if scene.one in scene.api.sessions:
            scene.api.sessions.remove(scene.one)


def lock(scene):
    return scene.one.lock(scene.name)


def check_locked(scene, answer):
    state = scene.lock_state()
    assert state == "session" or not answer
    again = scene.one.lock(scene.name, wait_ms=5000).json
    if answer:
        assert again["fencing_token"] == answer.json["fencing_token"]
    scene.one.write(scene.name, b"x", offset=0, token=again["fencing_token"])
    scene.one.unlock(scene.name)


def unlock(scene):
    return scene.one.unlock(scene.name)


def check_unlocked(scene, answer):
    state = scene.lock_state()
    assert state in ("session", "free")
    if answer:
        assert state == "free"
    if state == "session":
        assert scene.one.lock(scene.name).json["fencing_token"] == scene.token
        scene.one.unlock(scene.name)


def write_under_lock(scene):
    return scene.one.write(scene.name, b"new!", offset=0, lock="true")


def write(scene):
    return scene.one.write(scene.name, b"new!", offset=0)


def check_written(scene, answer):
    octets = scene.one.read(scene.name, length=4).body
    assert octets == b"new!" or not answer and octets == b"kept"
    assert scene.lock_state() == "free"


def look_under_lock(scene):
    return scene.api.patch(scene.name.href + "/data", body=b"new!", query={"offset": 0},
                           headers={"Content-Type": "application/octet-stream"}, expect=204)


def remove(scene):
    return scene.api.delete(scene.name.href, query={"force": "true"}, expect=204)


def check_removed(scene, answer):
    assert not answer or not scene.name.exists()
    if scene.name.exists():
        remove(scene)
    assert not os.path.exists(scene.name.memory_file)
    if not scene.is_attached(scene.one):
        assert not os.path.exists(scene.name.lock_file)


def with_orphan(scene):
    scene.one.create(scene.name, 100, on_last_detach="keep")
    scene.one.detach(scene.name)


def with_segment(scene):
    scene.one.create(scene.name, 100)
    scene.one.write(scene.name, b"kept", offset=0)


def with_two(scene):
    with_segment(scene)
    scene.two.attach(scene.name)


def with_lock(scene):
    with_segment(scene)
    scene.token = scene.one.lock(scene.name).json["fencing_token"]


def nothing(_scene):
    pass


def count_arrays(scene):
    scene.arrays = semaphore_arrays()


def semaphore_arrays():
    """Those that have lost their key file as well."""
    return frozenset(entry["semid"] for entry in kernel.table("sem"))


CASES = {
    "open": (nothing, open_session, check_opened),
    "create": (nothing, create, check_created),
    "create-in-vain": (count_arrays, create_in_vain, check_nothing_created),
    "attach": (with_segment, attach, check_attached),
    "detach": (with_two, detach, check_detached),
    "detach-last": (with_segment, detach_last, check_gone),
    "detach-locked": (with_lock, detach_last, check_gone),
    "remove": (with_orphan, remove, check_removed),
    "remove-attached": (with_segment, remove, check_removed),
    "end": (with_lock, end_session, check_ended),
    "lock": (with_segment, lock, check_locked),
    "unlock": (with_lock, unlock, check_unlocked),
    "write": (with_segment, write, check_written),
    "write-lock": (with_segment, write_under_lock, check_written),
    "peek-write": (with_segment, look_under_lock, check_written),
}


def semaphore_is_free(name):
    """By the kernel's word: nobody is kept out."""
    if name.is_posix:
        try:
            with open(name.lock_file, "rb") as file:
                return int.from_bytes(file.read(4), "little") == 1
        except FileNotFoundError:
            return True
    entry = kernel.semaphore(kernel.ftok(name.lock_file))
    return entry is None or kernel.libc.semctl(entry["semid"], 0, 12) == 1  # GETVAL


def kill_during(start_server, server, name, case, instant, peer=None):
    """Serve the case's request, killed at the instant; whether the kill came before its end.

    A Qt process, where there is one, is attached meanwhile, and has the lock open."""
    prepare, request, check = CASES[case]
    api = Api(server.address)
    scene = Scene(name, server, api, api.session(ttl_ms=60000), api.session(ttl_ms=60000))
    try:
        prepare(scene)
        qt = peer and peer.segment(name).attach()
        killer = Killer(server.pid, instant)
        answer = None
        try:
            answer = request(scene)
        except (ConnectionError, http.client.HTTPException, OSError):
            pass
        said = killer.stop()
        was_killed = said.startswith("killed")
        assert answer is not None or was_killed, "the request failed, and nobody was killed"
        api.close()
        server.crash()

        began = time.monotonic()
        server = server.restart()
        start_server.started.append(server)
        api.address = server.address
        promptly(lambda: api.get("/livez", expect=200))
        TOTAL["slowest"] = max(TOTAL["slowest"], time.monotonic() - began)
        TOTAL["kills"] += 1

        try:
            for session in (scene.one, scene.two):
                if case != "end" or session is scene.two:
                    api.get(session.href, expect=200)
            if case not in ("lock", "unlock", "detach-locked", "end"):
                assert semaphore_is_free(name), "a lock is stuck"
            if qt and case != "lock":
                qt.lock()
                qt.unlock()
            check(scene, answer)
            if qt:
                qt.lock()
                qt.unlock()
                qt.detach()
                qt.destroy()
            assert not any(entry.startswith(".shared-memory-removal-")
                           for entry in os.listdir(kernel.SHM))
            api.end_sessions()
            assert api.get("/v1/sessions").json["sessions"] == []
        except AssertionError as problem:
            raise AssertionError(f"after instant {instant} ({said}): {problem}\n"
                                 f"{server.log()[-2000:]}") from problem
        return was_killed, server
    finally:
        api.close()


@pytest.mark.parametrize("case, kind", [
    (case, kind) for case in CASES for kind in KINDS
    if case != "create-in-vain" and (case != "open" or kind == "posix")])
def test_a_kill_at_any_instant(start_server, names, no_debris, case, kind):
    sweep(start_server, names[kind], case)


@pytest.mark.parametrize("case, kind", [
    (case, kind) for case in ("attach", "detach", "lock", "write-lock", "peek-write")
    for kind in ("posix", "legacy")])
def test_a_kill_at_any_instant_keeps_qt_waiting_for_nothing(start_server, names, peer, case, kind):
    sweep(start_server, names[kind], case, peer)


@pytest.mark.parametrize("method", ["look", "attach"])
def test_a_kill_at_any_instant_of_a_look_whose_segment_loses_its_user_then(
        start_server, systemv, peer, method):
    """The server is kept at each instant while Qt lets go, and killed afterwards."""
    target = systemv.href + ("/data" if method == "look" else "/attachment")
    server = start_server()
    api = Api(server.address)
    instant, said, lost = random.randint(1, STRIDE), "kept", 0
    while said:
        segment = peer.segment(systemv).create(64)
        fields = {} if method == "look" else {"Session-Id": api.session().id}
        killer = Killer(server.pid, instant, keeps=True)
        look = Pending(server.address, "GET" if method == "look" else "PUT", target, fields, None)
        wait_until(lambda: killer.has_said() or look.is_answered, 20)
        said = killer.line(0.3)  # what comes after the answer counts as well
        # Qt waits if the server has the lock just then.
        letting_go = threading.Thread(target=segment.detach)
        letting_go.start()
        letting_go.join(0.3)
        lost += systemv.exists()
        killer.stop()
        server.crash()
        letting_go.join(20)
        server = start_server.restart(server, api)
        look.hang_up()
        api.end_sessions()
        segment.destroy()  # with the lock, if Qt let go of the segment by itself
        try:
            wait_until(lambda: not systemv.exists(), 10, "the end of the segment")
            wait_until(lambda: not os.path.exists(systemv.lock_file), 10, "the end of the lock")
            assert not os.path.exists(systemv.memory_file) and not semaphore_arrays()
        except AssertionError as problem:
            raise AssertionError(f"after instant {instant} ({said}): {problem}") from problem
        instant += STRIDE
    print(f"the segment outlived Qt {lost} times")
    assert lost > 0
    api.close()


@pytest.fixture
def small_segments():
    """The kernel makes no System V segment of more than a page."""
    limit = Path("/proc/sys/kernel/shmmax")
    before = limit.read_text(encoding="ascii")
    limit.write_text("4096", encoding="ascii")
    yield
    limit.write_text(before, encoding="ascii")


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize(("kind", "stride"), [("posix", STRIDE), ("systemv", STRIDE), ("legacy", 1)])
def test_a_kill_at_any_instant_of_a_creation_that_fails(start_server, names, kind, stride):
    sweep(start_server, names[kind], "create-in-vain", stride=stride,
          arguments=("--max-total-bytes", str(1 << 50)))


def sweep(start_server, name, case, peer=None, stride=STRIDE, arguments=()):
    """Kill at one instant after the other, until the request is through."""
    server = start_server(*arguments)
    watch = Watch(server)
    instant = random.randint(1, stride)
    while True:
        was_killed, server = kill_during(start_server, server, name, case, instant, peer)
        wait_until(lambda: not name.exists() and not os.path.exists(name.lock_file), 10,
                   "the end of the segment with its sessions")
        wait_until(lambda: not os.path.exists(name.memory_file), 10)
        assert watch.is_clean(server), f"after instant {instant}"
        if not was_killed:
            break
        instant += stride
    print(f"{case} {name.kind}: {TOTAL['kills']} kills so far, the last at {instant}, "
          f"slowest restart {TOTAL['slowest']:.3f} s")
