"""kill -9 of the server, and what the next one with the same state directory makes of it."""
import calendar
import http.client
import json
import os
import socket
import time
from pathlib import Path

import pytest

from harness import kernel
from harness.client import Api, raw
from harness.server import Server, run
from harness.waiting import wait_until
from harness.watch import Watch, promptly


@pytest.fixture
def crash(start_server):
    """A server of the test's own, its client, and a function that kills and restarts it."""
    server = start_server()
    api = Api(server.address)

    def restart(**how):
        crash.server = start_server.restart(crash.server, api, **how)
        return crash.server

    crash = restart
    crash.server, crash.api, crash.start = server, api, start_server
    yield crash
    api.end_sessions()
    api.close()


def be_away_for_an_hour(server):
    """Kill the server, and move what it noted of its last moment an hour back."""
    server.crash()
    with open(os.path.join(server.state, "state"), "r+b") as file:
        file.seek(64)
        instant = int.from_bytes(file.read(8), "little") - 3600 * 10**9
        file.seek(64)
        file.write(max(instant, 1).to_bytes(8, "little"))


def milliseconds(rfc3339):
    whole, fraction = rfc3339.rstrip("Z").split(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) * 1000 + int(fraction)


# Sessions

def test_a_session_lives_on_under_its_id(crash):
    session = crash.api.session(name="caf\u00e9 \u2615", ttl_ms=30000, bind="connection")
    crash()
    body = crash.api.get(session.href, expect=200).json
    for member in ("id", "name", "bind", "ttl_ms", "created_at", "attachments"):
        assert body.get(member) == session.body.get(member), member


def test_the_time_the_server_was_away_is_given_back(crash):
    session = crash.api.session(ttl_ms=3000)
    idle = crash.api.session(ttl_ms=700)
    crash.server.crash()
    time.sleep(1.0)
    crash()
    listed = crash.api.get("/v1/sessions", expect=200).json["sessions"]
    by_id = {one["id"]: one for one in listed}
    left = milliseconds(by_id[session.id[:8]]["expires_at"]) - time.time() * 1000
    assert 1500 < left <= 3000
    # Away for longer than its time to live, it gets no more than that once again.
    wait_until(lambda: crash.api.get(idle.href, expect=None).status == 410
               or not time.sleep(0.8), 10, "the end of a session that nobody renews")


def test_a_session_that_nobody_could_renew_in_time_is_over(crash):
    session = crash.api.session(ttl_ms=100)
    other = crash.api.session(ttl_ms=60000)
    crash.server.crash()
    time.sleep(0.7)
    crash()
    crash.api.get(other.href, expect=200)
    assert crash.api.get(session.href).code == "session-gone"


def test_a_held_session_has_its_whole_time_to_come_back(crash):
    session = crash.api.session(ttl_ms=600, bind="connection")
    stream = crash.api.stream(session.href + "/hold")
    time.sleep(1.0)  # longer than its time to live, were it not held
    crash()
    stream.close()
    crash.api.get(session.href, expect=200)
    wait_until(lambda: len(crash.api.get("/v1/sessions").json["sessions"]) == 0, 10,
               "the expiry of a session whose connection died with the server")


# Attachments

def test_attachments_are_back_with_bytes_and_modes(crash, name):
    writer, reader = crash.api.session(), crash.api.session()
    writer.create(name, 5000)
    writer.write(name, b"kept", offset=4000)
    reader.attach(name, mode="read_only")
    before = [writer.attachment(name).json, reader.attachment(name).json]
    crash()
    assert [writer.attachment(name).json, reader.attachment(name).json] == before
    assert reader.read(name, offset=4000, length=4).body == b"kept"
    reader.write(name, b"x", offset=0, expect=(403, "read-only-attachment"))
    writer.write(name, b"more", offset=4000)
    if not name.is_posix:
        assert name.attachments() == 1
    body = crash.api.segment(name).json
    assert (body["sessions"], body["origin"]) == (2, "service")
    assert not writer.detach(name).json["destroyed"]
    assert reader.detach(name).json["destroyed"]
    assert not name.exists()


def test_a_recovered_segment_goes_with_its_last_session(crash, name):
    session = crash.api.session()
    session.create(name)
    session.lock(name)
    crash()
    crash()
    released = session.end().json["released"]
    assert released == [{"segment": name.id, "unlocked": True, "destroyed": True}]
    assert not name.exists()


def test_what_is_to_be_kept_is_kept(crash, name, no_debris):
    session = crash.api.session(ttl_ms=60000)
    session.create(name, on_last_detach="keep")
    be_away_for_an_hour(crash.server)
    crash()
    assert crash.api.get(session.href).code == "session-gone"
    assert name.exists()
    crash.api.delete(name.href, query={"force": "true"}, expect=204)


def test_a_segment_whose_last_session_expired_meanwhile_is_destroyed(crash, name):
    session = crash.api.session(ttl_ms=60000)
    session.create(name)
    session.lock(name)
    be_away_for_an_hour(crash.server)
    assert name.exists()
    crash()
    wait_until(lambda: not name.exists(), 5)


def test_a_segment_that_a_peer_destroyed_meanwhile_is_gone_and_no_other(crash, name, peer):
    session = crash.api.session()
    session.create(name, 64)
    crash.server.crash()
    qt = peer.segment(name)
    if name.is_posix:
        os.unlink(name.memory_file)
        os.unlink(name.lock_file)
    else:
        qt.attach()
        assert qt.detach()
    crash()
    session.attachment(name, expect=(404, "not-found"))
    assert crash.api.get(session.href).json["attachments"] == []
    qt.create(128)
    session.attachment(name, expect=(409, "not-attached"))
    session.read(name, expect=(409, "not-attached"))
    crash()
    session.attachment(name, expect=(409, "not-attached"))
    assert name.size() == 128
    if name.is_posix:
        session.attach(name)
        qt.detach()
        session.detach(name)
    else:
        assert qt.detach()


def test_a_segment_that_a_peer_made_anew_is_another(crash, name, peer):
    session = crash.api.session()
    session.create(name, 64)
    crash.server.crash()
    qt = peer.segment(name)
    if name.is_posix:
        os.unlink(name.memory_file)
    else:
        qt.attach()
        qt.detach()
    qt.create(64).write(b"Qt")
    crash()
    session.attachment(name, expect=(409, "not-attached"))
    assert crash.api.segment(name).json["sessions"] == 0
    session.end()
    assert name.exists() and qt.read(0, 2) == b"Qt"
    cleaner = crash.api.session()
    cleaner.attach(name)
    qt.detach()
    assert cleaner.detach(name).json["destroyed"]


def test_a_qt_peer_keeps_the_segment_over_the_restart(crash, name, peer):
    session = crash.api.session(ttl_ms=60000)
    session.create(name, 64)
    qt = peer.segment(name).attach()
    be_away_for_an_hour(crash.server)
    crash()
    assert crash.api.get(session.href).code == "session-gone"
    assert qt.write(b"alive").read(0, 5) == b"alive"
    other = crash.api.session()
    other.attach(name)
    qt.detach()
    assert other.detach(name).json["destroyed"]


# Looks: requests without a session

class StalledLook:
    """A download without a session that its client does not go on reading."""

    def __init__(self, address, name):
        self.connection = socket.socket()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.connection.connect(address)
        self.connection.settimeout(10)
        self.connection.sendall(raw("GET", name.href + "/data"))
        assert self.connection.recv(100).startswith(b"HTTP/1.1 200")

    def close(self):
        self.connection.close()


BIG = 32 << 20  # more than sockets hold


def is_gone(name):
    return not name.exists() and not any(map(os.path.exists, (name.memory_file, name.lock_file)))


@pytest.mark.parametrize("count", [1, 2], ids=["first look", "two looks"])
def test_a_segment_that_lost_its_last_user_during_a_look_goes_with_the_restart(
        crash, name, peer, count):
    segment = peer.segment(name).create(BIG)
    looks = [StalledLook(crash.server.address, name) for _ in range(count)]
    segment.detach()
    assert name.exists(), "it is looked at"
    crash()
    wait_until(lambda: is_gone(name), 10)
    segment.destroy()
    for look in looks:
        look.close()
    assert crash.api.get(name.href).code == "not-found"


def test_a_segment_that_nobody_used_is_not_destroyed_by_a_look_that_a_kill_ended(crash, name, qt):
    owner = qt()
    owner.segment(name).create(BIG)
    owner.kill()
    look = StalledLook(crash.server.address, name)
    for _ in range(2):
        crash()
        assert name.exists()
        assert crash.api.get(name.href, expect=200).json["orphaned"]
    look.close()
    assert crash.api.get(name.href + "/data", query={"length": 1}, expect=200).body == b"\0"
    crash.api.delete(name.href, query={"force": "true"}, expect=204)


def test_a_segment_whose_users_stay_outlives_a_look_that_a_kill_ended(crash, name, qt):
    one, two = qt().segment(name).create(BIG), qt().segment(name).attach()
    look = StalledLook(crash.server.address, name)
    two.lock()
    crash()
    look.close()
    two.write(b"here").unlock()
    assert one.read(0, 4) == b"here"
    two.detach()
    two.destroy()
    assert name.exists()
    session = crash.api.session()
    session.attach(name)
    one.detach()
    assert session.detach(name).json["destroyed"]
    one.destroy()


def test_a_look_that_became_an_attachment_is_one_after_the_restart(crash, name, peer):
    segment = peer.segment(name).create(BIG)
    look = StalledLook(crash.server.address, name)
    session = crash.api.session()
    session.attach(name, on_last_detach="keep")
    segment.detach()
    crash()
    look.close()
    assert session.attachment(name).json["on_last_detach"] == "keep"
    crash()
    assert not session.detach(name).json["destroyed"]
    assert name.exists()
    crash.api.delete(name.href, expect=204)
    segment.destroy()


# Locks

def test_a_lock_is_still_held_by_its_session(crash, name):
    session, other = crash.api.session(name="holder"), crash.api.session()
    session.create(name)
    other.attach(name)
    before = session.lock(name).json
    crash()
    assert crash.api.lock_state(name) == {"state": "session", "session_name": "holder", "waiting": 0}
    assert session.lock(name).json == before
    session.write(name, b"mine", offset=0, token=before["fencing_token"])
    other.lock(name, expect=(423, "locked"))
    waiting = other.begin_lock(name, 10000)
    wait_until(lambda: crash.api.lock_state(name)["waiting"] == 1)
    session.unlock(name)
    assert waiting.answer(expect=200).json["fencing_token"] > before["fencing_token"]
    session.write(name, b"late", offset=0, token=before["fencing_token"],
                  expect=(412, "stale-fencing-token"))


def test_qt_waits_for_a_lock_that_outlives_the_server(crash, posix, peer):
    session = crash.api.session()
    session.create(posix)
    qt = peer.segment(posix).attach()
    session.lock(posix)
    qt.begin_lock()
    crash()
    assert qt.is_waiting(300)
    session.unlock(posix)
    qt.await_lock()
    qt.unlock()
    qt.detach()


def lose_lock_to_qt(crash, systemv, peer):
    """The server is killed while a session holds a lock, and Qt takes what the kernel gave back."""
    session = crash.api.session()
    session.create(systemv)
    qt = peer.segment(systemv).attach()
    token = session.lock(systemv).json["fencing_token"]
    crash.server.crash()
    qt.lock()
    return session, qt, token


def test_a_system_v_lock_that_qt_took_meanwhile_is_lost(crash, systemv, peer):
    session, qt, token = lose_lock_to_qt(crash, systemv, peer)
    crash()
    assert crash.api.lock_state(systemv)["state"] == "external"
    assert not session.attachment(systemv).json["locked"]
    session.write(systemv, b"x", offset=0, token=token, expect=(412, "stale-fencing-token"))
    session.unlock(systemv, expect=(409, "not-locked"))
    qt.unlock()
    assert session.lock(systemv).json["fencing_token"] > token
    session.unlock(systemv)
    qt.detach()


def test_a_system_v_lock_that_qt_had_and_gave_back_meanwhile_is_lost(crash, systemv, peer):
    session, qt, token = lose_lock_to_qt(crash, systemv, peer)
    qt.unlock()
    crash()
    assert crash.api.lock_state(systemv)["state"] == "free"
    session.write(systemv, b"x", offset=0, token=token, expect=(412, "stale-fencing-token"))
    qt.detach()


def test_a_lock_whose_session_expired_meanwhile_is_free_for_qt(crash, name, peer):
    session = crash.api.session(ttl_ms=60000)
    session.create(name)
    qt = peer.segment(name).attach()
    session.lock(name)
    be_away_for_an_hour(crash.server)
    crash()
    qt.lock()
    qt.unlock()
    other = crash.api.session()
    other.attach(name)
    qt.detach()
    other.detach(name)


def test_waiters_are_gone_with_the_server(crash, name, peer):
    session = crash.api.session()
    session.create(name)
    qt = peer.segment(name).attach()
    qt.lock()
    waiting = session.begin_lock(name, 60000)
    wait_until(lambda: crash.api.lock_state(name)["waiting"] == 1)
    crash()
    waiting.hang_up()
    assert crash.api.lock_state(name) == {"state": "external", "waiting": 0}
    qt.unlock()
    assert crash.api.lock_state(name)["state"] == "free"
    qt.lock()
    qt.unlock()
    qt.detach()


def test_tokens_go_on_growing_though_the_clock_steps_back(crash, environment, posix, no_debris):
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    session = crash.api.session()
    session.create(posix)
    tokens = [session.lock(posix).json["fencing_token"]]
    for years in (1, 9):
        session.unlock(posix)
        # Through another program: the library changes the environment of the first, and that of a
        # Swift program must lie where its arguments are.
        crash(wrapper=("env",), environment={
            **environment, "LD_PRELOAD": str(library), "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME": f"-{years}y"})
        listed = crash.api.session().body["created_at"]
        assert int(listed[:4]) == time.gmtime().tm_year - years
        tokens.append(session.lock(posix).json["fencing_token"])
    assert tokens == sorted(set(tokens))
    assert session.detach(posix).json["destroyed"]
    crash.server.crash()
    crash()
    no_debris.clean()  # what the library had


# State directories

def test_a_second_server_on_the_same_state_is_refused(crash, environment):
    result = run("--listen", "127.0.0.1:0", "--state-dir", crash.server.state,
                 environment=environment)
    assert result.returncode != 0
    assert "another server uses the state directory" in result.stderr
    crash.api.session()


def stop(server):
    """An orderly stop; the state directory stays."""
    server.send(15)
    assert server.wait() == 0


def start_again(start_server, server, api, **how):
    again = server.restart(**how)
    start_server.started.append(again)
    api.close()
    api.address = again.address
    api.sessions.clear()
    return again


def test_tokens_go_on_growing_after_an_orderly_stop_though_the_clock_steps_back(
        start_server, environment, posix, no_debris):
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    server = start_server()
    api = Api(server.address)
    tokens = []

    def lock():
        session = api.session()
        session.create(posix)
        tokens.append(session.lock(posix).json["fencing_token"])
        session.unlock(posix)
        tokens.append(session.lock(posix).json["fencing_token"])
        session.end()
        assert not posix.exists()

    lock()
    for years in (1, 9, 2):
        stop(server)
        assert sorted(os.listdir(server.state)) == ["lock", "state"]
        assert os.path.getsize(os.path.join(server.state, "state")) == 4096
        server = start_again(start_server, server, api, wrapper=("env",), environment={
            **environment, "LD_PRELOAD": str(library), "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME": f"-{years}y"})
        assert "killed" not in server.log()
        assert int(api.session().body["created_at"][:4]) == time.gmtime().tm_year - years
        lock()
    # A stop between start and first lock changes nothing, nor does a kill.
    stop(server)
    server = start_again(start_server, server, api)
    server.crash()
    server = start_again(start_server, server, api, wrapper=("env",), environment={
        **environment, "LD_PRELOAD": str(library), "DONT_FAKE_MONOTONIC": "1", "FAKETIME": "-20y"})
    lock()
    assert tokens == sorted(set(tokens)), tokens
    api.close()
    server.crash()
    no_debris.clean()  # what the library had


def fails_to_start(server):
    """A start on the same state that comes to nothing, for the port is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("--listen", f"127.0.0.1:{port}", "--state-dir", server.state,
                     environment=server.start[0])
    assert result.returncode == 1 and str(port) in result.stderr


def test_a_start_that_fails_costs_nothing_of_what_a_killed_server_left(crash, name):
    session = crash.api.session()
    session.create(name)
    token = session.lock(name).json["fencing_token"]
    for _ in range(2):
        crash.server.crash()
        fails_to_start(crash.server)
        crash()
        assert session.lock(name).json["fencing_token"] == token
        assert session.write(name, b"mine", offset=0, token=token)
    session.unlock(name)


def test_a_start_that_fails_costs_nothing_of_what_a_stop_left(start_server, posix):
    server = start_server("--max-segments", "1")
    api = Api(server.address)
    session = api.session()
    session.create(posix, on_last_detach="keep")
    token = session.lock(posix).json["fencing_token"]
    stop(server)
    fails_to_start(server)
    server = start_again(start_server, server, api)
    assert "killed" not in server.log()
    session = api.session()
    session.request("POST", "/v1/segments", json={"native_key": posix.body["native_key"] + "2",
                                                  "size": 8}, expect=507)
    session.attach(posix)
    assert session.lock(posix).json["fencing_token"] > token
    assert session.end().json["released"][0]["destroyed"]
    api.close()


def test_tokens_of_another_boot_are_remembered(start_server, posix):
    server = start_server()
    api = Api(server.address)
    session = api.session()
    session.create(posix)
    before = session.lock(posix).json["fencing_token"]
    stop(server)
    with open(os.path.join(server.state, "state"), "r+b") as file:
        file.seek(8)
        file.write(b"another ")
        file.seek(72)
        file.write((before + 10**12).to_bytes(8, "little"))
    server = start_again(start_server, server, api)
    session = api.session()
    session.create(posix)
    assert session.lock(posix).json["fencing_token"] > before + 10**12
    session.end()
    api.close()


def test_an_orderly_stop_leaves_nothing_to_recover(start_server, name):
    server = start_server()
    api = Api(server.address)
    session = api.session()
    session.create(name)
    api.close()
    server.send(15)
    assert server.wait() == 0
    assert not name.exists() and os.listdir(server.state) == []
    again = server.restart()
    start_server.started.append(again)
    api = Api(again.address)
    assert api.get("/v1/sessions").json["sessions"] == []
    assert api.get(session.href).code == "session-gone"
    api.close()


def test_a_state_directory_of_a_killed_server_is_removed_in_the_end(environment, no_debris, tmp_path):
    server = Server(environment, state=str(tmp_path / "made"))
    Api(server.address).session()
    server.crash()
    again = server.restart()
    again.send(15)
    assert again.wait() == 0
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("damage", [
    lambda words: b"",
    lambda words: b"x" * 100,
    lambda words: bytes(len(words)),
    lambda words: words[:4096],
    lambda words: words[:5000],
    lambda words: b"\xff" * len(words),
    lambda words: words[:4096] + os.urandom(len(words) - 4096),
    lambda words: os.urandom(len(words)),
], ids=["empty", "short", "zeros", "head", "cut", "ones", "random-records", "random"])
def test_a_damaged_state_file_stops_nobody(crash, posix, damage):
    session = crash.api.session()
    session.create(posix)
    crash.server.crash()
    path = os.path.join(crash.server.state, "state")
    with open(path, "rb") as file:
        octets = file.read()
    with open(path, "wb") as file:
        file.write(damage(octets))
    crash()
    crash.api.get("/v1/sessions", expect=200)
    other = crash.api.session()
    other.attach(posix)
    assert other.detach(posix).json["destroyed"]


def test_state_of_another_boot_is_discarded(crash, posix):
    session = crash.api.session()
    session.create(posix)
    crash.server.crash()
    path = os.path.join(crash.server.state, "state")
    with open(path, "r+b") as file:
        file.seek(8)
        file.write(b"another ")
    crash()
    assert "damaged" in crash.server.log() or "discarded" in crash.server.log()
    assert crash.api.get(session.href).code == "session-gone"
    crash.api.delete(posix.href, expect=204)


# A full /dev/shm, state included

SMALL_SHM = ("unshare", "--mount", "sh", "-c",
             'mount -t tmpfs -o size=512k tmpfs /dev/shm && exec "$@"', "sh")


def fill(server):
    """Leave not one block of the server's /dev/shm; gives the path of what takes them."""
    path = f"/proc/{server.pid}/root/dev/shm/filler"
    with open(path, "wb", buffering=0) as file:
        with pytest.raises(OSError):
            while True:
                file.write(bytes(4096))
    return path


def test_state_that_cannot_be_written_is_a_refusal_and_nothing_else(start_server, posix):
    server = start_server(wrapper=SMALL_SHM, state="/dev/shm/state")
    watch = Watch(server)
    api = Api(server.address)
    first = api.session()
    first.create(posix, 4096)
    filler = fill(server)
    refused = None
    for _ in range(1000):
        answer = api.post("/v1/sessions", json={"name": "n" * 128})
        if answer.status != 201:
            refused = answer
            break
    assert refused is not None and (refused.status, refused.code) == (507, "out-of-resources")
    # What there is goes on.
    first.write(posix, b"goes on", offset=0)
    first.lock(posix)
    first.unlock(posix)
    assert watch.is_prompt()
    os.unlink(filler)
    api.session(name="n" * 128).end()
    assert first.detach(posix).json["destroyed"]
    api.end_sessions()
    api.close()
    assert watch.is_clean()


def test_a_server_starts_on_a_full_shm_and_records_when_there_is_room(start_server, posix):
    """It is the one that can make room again."""
    full = 'mount -t tmpfs -o size=64k tmpfs /dev/shm && mkdir -m 700 /dev/shm/state && ' \
        'touch /dev/shm/state/lock && { head -c 1m /dev/zero >/dev/shm/big; exec "$@"; }'
    server = start_server(wrapper=("unshare", "--mount", "sh", "-c", full, "sh"),
                          state="/dev/shm/state")
    watch = Watch(server)
    api = Api(server.address)
    assert api.post("/v1/sessions", expect=507).code == "out-of-resources"
    api.delete("/v1/segments/posix:%2Fbig", expect=204)
    api.session().end()
    api.sessions.clear()
    api.close()
    assert watch.is_clean()


def test_a_state_file_that_is_cut_off_under_the_server_costs_the_record_and_not_the_server(
        start_server, posix):
    server = start_server()
    watch = Watch(server)
    api = Api(server.address)
    session = api.session()
    session.create(posix)
    session.lock(posix)
    os.truncate(os.path.join(server.state, "state"), 0)
    # What cannot be recorded is refused from now on; what there is goes on.
    for _ in range(3):
        session.write(posix, b"goes on", offset=0)
        api.get(session.href, expect=200)
    assert api.post("/v1/sessions", expect=507).code == "out-of-resources"
    assert watch.is_prompt()
    session.unlock(posix)
    assert session.detach(posix).json["destroyed"]
    api.end_sessions()
    api.close()
    assert watch.is_clean()


# Scale

def test_ten_thousand_sessions_are_taken_over_at_once(start_server):
    server = start_server("--log-level", "warning")
    api = Api(server.address)
    # Without the checks that each answer goes through elsewhere.
    connection = http.client.HTTPConnection(*server.address, timeout=30)

    def open_one():
        connection.request("POST", "/v1/sessions", '{"ttl_ms":3600000}',
                           {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())["id"]

    ids = [open_one() for _ in range(10_000)]
    connection.close()
    server.crash()
    began = time.monotonic()
    server = start_server.restart(server, api)
    api.get(f"/v1/sessions/{ids[0]}", expect=200)
    print(f"ready after {time.monotonic() - began:.3f} s")
    assert time.monotonic() - began < 10
    for one in (ids[4999], ids[-1]):
        api.get(f"/v1/sessions/{one}", expect=200)
    assert len(api.request("GET", "/v1/sessions", deadline=60).json["sessions"]) == 10_000
    api.close()
