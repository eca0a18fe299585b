"""Clients that are slow, silent or gone, and a system that has nothing left to give.

After each: others are answered within a second, and nothing is left of those who were there.
"""
import os
import resource
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import pytest

from harness.client import Api, Stream, connect, raw
from harness.server import program
from harness.waiting import stays, wait_until
from harness.watch import Watch

NOBODY = 65534


def vanish(connection, abruptly):
    if abruptly:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def is_closed(connection, deadline):
    """Whether the server closes a connection, whatever it still says, before the deadline."""
    connection.settimeout(deadline)
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


# Slow

def test_one_byte_a_second_is_cut_off_in_head_and_body(start_server, posix):
    server = start_server("--request-timeout", "3")
    watch = Watch(server)
    api = Api(server.address)
    api.session().create(posix, 4096)
    starts = [b"", b"GET /livez HTTP/1.1\r\nX: ",
              raw("PUT", posix.href + "/data", "Content-Length: 4096"),
              raw("PUT", posix.href + "/data", "Transfer-Encoding: chunked") + b"1000\r\n"]
    clients = []
    for start in starts * 5:
        client = connect(server.address)
        client.sendall(start)
        clients.append(client)
    started = time.monotonic()
    open_ones = list(clients)
    while open_ones and time.monotonic() < started + 20:
        for client in list(open_ones):
            try:
                client.sendall(b"G")
                client.settimeout(0.001)
                if not client.recv(4096):
                    open_ones.remove(client)
            except TimeoutError:
                pass
            except ConnectionError:
                open_ones.remove(client)
        assert watch.is_prompt()
        time.sleep(1)
    assert not open_ones
    print(f"\nall cut off after {time.monotonic() - started:.1f} s")
    assert posix.bytes() == bytes(4096), "a body that does not come whole changes nothing"
    for client in clients:
        client.close()
    api.end_sessions()
    api.close()
    assert watch.is_clean()


@pytest.mark.parametrize("octets", [b"\x00\xff" * 300, b"G", b"GET /livez HTTP/1.1\r\nHost: a"])
def test_a_silent_client_with_half_a_head_is_cut_off_by_the_request_timeout(start_server, octets):
    server = start_server("--request-timeout", "1", "--idle-timeout", "600")
    watch = Watch(server)
    clients = [connect(server.address) for _ in range(5)]
    for client in clients:
        client.sendall(octets)
    assert watch.is_prompt()
    for client in clients:
        assert is_closed(client, 10)
        client.close()
    assert watch.is_clean()


def test_a_connection_that_is_kept_may_be_silent_for_the_idle_timeout_only(start_server):
    server = start_server("--idle-timeout", "1")
    watch = Watch(server)
    client = connect(server.address)
    client.sendall(raw("GET", "/livez"))
    assert client.recv(4096).startswith(b"HTTP/1.1 200")
    started = time.monotonic()
    try:
        while time.monotonic() < started + 20:  # bytes that never make a line keep nothing open
            client.sendall(b"x")
            time.sleep(0.1)
    except ConnectionError:
        pass
    assert time.monotonic() < started + 10
    client.close()
    assert watch.is_clean()


def test_a_download_that_is_never_read_ends_and_lets_go_of_the_segment(start_server, posix):
    server = start_server("--idle-timeout", "2")
    watch = Watch(server)
    api = Api(server.address)
    session = api.session()
    session.create(posix, 64 << 20)
    clients = []
    for _ in range(10):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(server.address)
        client.sendall(raw("GET", posix.href + "/data"))
        clients.append(client)
    assert watch.is_prompt()
    session.end()
    api.close()
    # The answers hold the memory until they are given up.
    wait_until(lambda: not posix.exists(), 20, "the end of the segment")
    assert watch.is_clean()
    for client in clients:
        client.close()


def test_a_download_that_trickles_ends_and_lets_go_of_the_segment(start_server, posix):
    """Never silent for long, so that only the rate tells."""
    server = start_server("--request-timeout", "1", "--min-answer-rate", str(64 << 20))
    watch = Watch(server)
    api = Api(server.address)
    session = api.session()
    session.create(posix, 64 << 20)
    started = time.monotonic()
    clients = []
    session.write(posix, os.urandom(16 << 20), offset=0)  # else a dump is short
    for path in ("/data", "/data?format=json", "/data?format=hex"):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(server.address)
        client.sendall(raw("GET", posix.href + path))
        client.setblocking(False)
        clients.append(client)

    def given_up():
        for client in clients:
            try:
                client.recv(256)
            except (BlockingIOError, ConnectionError):
                pass
        return server.log().count("timed-out")

    wait_until(given_up, 20, "the end of one answer")
    assert time.monotonic() - started > 1, "it had the time of a request"
    session.end()
    wait_until(lambda: given_up() == 3, 20, "the end of all")
    api.close()
    wait_until(lambda: not posix.exists(), 20, "the end of the segment")
    for client in clients:
        client.close()
    assert watch.is_clean()


def test_a_long_dump_of_nothing_but_zeros_keeps_nobody_waiting(start_server, posix):
    """It makes hardly any text, and all of the segment has to be looked at for that."""
    server = start_server("--threads", "1")
    watch = Watch(server)
    api = Api(server.address)
    api.session().create(posix, 64 << 20)
    other = Api(server.address)
    other.get("/livez", expect=200)
    # One that says that it sends no more is answered all the same.
    with connect(server.address, timeout=120) as client:
        client.sendall(raw("GET", posix.href + "/data?format=hex", "Connection: close"))
        client.shutdown(socket.SHUT_WR)
        slowest, count = 0.0, 0
        client.setblocking(False)
        received, is_over = b"", False
        while not is_over:
            started = time.monotonic()
            other.get("/livez", expect=200)
            slowest = max(slowest, time.monotonic() - started)
            count += 1
            try:
                octets = client.recv(4096)
                received += octets
                is_over = not octets
            except BlockingIOError:
                pass
    assert received.startswith(b"HTTP/1.1 200") and b"\n04000000\n" in received
    print(f"\n{count} others were served meanwhile, the slowest in {slowest:.3f} s")
    assert count > 5, "whoever waits for the whole of it is one, or two"
    other.close()
    api.end_sessions()
    api.close()
    assert watch.is_clean()


def test_a_stream_that_is_never_read_holds_up_nobody(start_server):
    server = start_server()
    watch = Watch(server)
    api = Api(server.address)
    sessions = [api.session(bind="connection") for _ in range(10)]
    streams = [Stream(server.address, session.href + "/hold") for session in sessions]
    assert watch.is_prompt()
    for stream in streams:
        stream.close()
    wait_until(lambda: not api.get("/v1/sessions").json["sessions"], 10)
    api.sessions.clear()
    api.close()
    assert watch.is_clean()


# Gone

@pytest.mark.parametrize("abruptly", [False, True], ids=["farewell", "reset"])
def test_clients_that_vanish_in_any_phase_leave_nothing(start_server, posix, abruptly):
    server = start_server()
    watch = Watch(server)
    api = Api(server.address)
    holder = api.session()
    holder.create(posix, 8 << 20)
    holder.write(posix, b"kept", offset=0)
    holder.lock(posix)
    phases = {
        "connected": b"",
        "in the head": b"GET /livez HTTP/1.1\r\nHo",
        "before the body": raw("PUT", posix.href + "/data", "Content-Length: 8388608"),
        "in the body": raw("PUT", posix.href + "/data", "Content-Length: 8388608",
                           body=b"x" * 100_000),
        "in a chunk": raw("PATCH", posix.href + "/data?offset=0", "Transfer-Encoding: chunked",
                          body=b"ffff\r\nxxxx"),
        "waiting for the lock": raw("PATCH", posix.href + "/data?offset=0&wait_ms=60000",
                                    "Content-Length: 4", body=b"gone"),
        "in the answer": raw("GET", posix.href + "/data"),
        "between requests": raw("GET", "/livez"),
    }
    for phase, octets in phases.items():
        clients = []
        for _ in range(8):
            client = connect(server.address)
            client.sendall(octets)
            clients.append(client)
        if phase == "waiting for the lock":
            wait_until(lambda: api.lock_state(posix)["waiting"] == 8, 10)
        if phase in ("in the answer", "between requests"):
            for client in clients:
                assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert watch.is_prompt(), phase
        for client in clients:
            vanish(client, abruptly)
        wait_until(lambda: api.lock_state(posix)["waiting"] == 0, 10, phase)
        assert watch.is_prompt(), phase
    holder.unlock(posix)
    assert stays(lambda: api.lock_state(posix)["state"] == "free", 0.2)
    assert holder.read(posix, length=8).body == b"kept\0\0\0\0"
    api.end_sessions()
    api.close()
    assert watch.is_clean()


# Too many

def test_a_client_that_takes_all_the_connections_it_may_shuts_nobody_out(start_server):
    server = start_server("--max-connections", "60", "--max-connections-per-address", "40",
                          "--request-timeout", "2", listen=("127.0.0.1:0", "127.0.0.2:0"))
    watch = Watch(server)
    crowd = []
    for _ in range(300):
        client = socket.socket()
        client.bind(("127.0.0.3", 0))
        client.connect(server.address)
        crowd.append(client)
    assert watch.is_prompt()
    for client in crowd[40:]:
        assert is_closed(client, 10), "told or not, it is not kept waiting"
    for client in crowd:
        client.close()
    assert watch.is_clean()


# Nothing left

def as_nobody(*limits):
    return ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all",
            "--bounding-set=-all", "prlimit", *limits)


def test_a_start_without_threads_fails_in_one_line_and_leaves_nothing(environment):
    """As a user that may have only so many threads: at each number the start fails, or serves."""
    place = tempfile.mkdtemp(prefix="segmentd-nobody-")
    binary = shutil.copy(program(), place)
    os.chmod(place, 0o755)
    home = os.path.join(place, "home")
    os.mkdir(home, 0o700)
    os.chown(home, NOBODY, NOBODY)
    state, path = os.path.join(home, "state"), os.path.join(home, "s")
    environment = {**environment, "TMPDIR": home, "XDG_RUNTIME_DIR": home}
    try:
        outcomes = []
        for limit in range(1, 12):
            server = subprocess.Popen(
                [*as_nobody(f"--nproc={limit}"), binary, "--listen", f"unix:{path}", "--threads",
                 "3", "--state-dir", state], env=environment, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, text=True)
            line = server.stderr.readline()
            if "listening on" in line:
                api = Api(path)
                api.get("/livez", expect=200)
                api.close()
                server.terminate()
                assert server.wait(10) == 0
            else:
                assert server.wait(10) == 1 and "thread" in line, (limit, line)
                assert not server.stderr.read(), "one line"
            server.stderr.close()
            assert os.listdir(home) == [], limit
            outcomes.append("listening on" in line)
        assert outcomes == sorted(outcomes) and {True, False} == set(outcomes), outcomes
        print(f"\nfrom {outcomes.index(True) + 1} threads on it serves")
    finally:
        shutil.rmtree(place)


def test_with_every_descriptor_taken_by_segments_others_are_answered(start_server, names, stem):
    server = start_server("--threads", "2", "--max-connections", "40",
                          "--max-connections-per-address", "40",
                          wrapper=("prlimit", "--nofile=100:100"))
    watch = Watch(server)
    kept = Api(server.address)
    session = kept.session()
    made = 0
    while True:
        answer = session.request("POST", "/v1/segments",
                                 json={"native_key": f"posix:/{stem}{made}", "size": 64})
        if answer.status != 201:
            break
        made += 1
        assert made < 200
    assert (answer.status, answer.code) == (507, "out-of-resources"), answer
    assert made >= 5
    # Who is in is served, and so is who comes.
    kept.get("/livez", expect=200)
    for _ in range(20):
        assert watch.is_prompt()
    clients = [Api(server.address) for _ in range(4)]
    for client in clients:
        client.get("/livez", expect=200)
    for client in clients:
        client.close()
    session.end()
    kept.sessions.clear()
    another = kept.session()
    another.create(names["posix"])
    another.end()
    kept.sessions.clear()
    kept.close()
    assert watch.is_clean()


def test_more_clients_than_descriptors_are_turned_away_and_not_kept_waiting(start_server):
    server = start_server("--threads", "2", "--max-connections", "1000",
                          "--max-connections-per-address", "1000",
                          wrapper=("prlimit", "--nofile=80:80"))
    watch = Watch(server)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft > 400 or hard > 400
    crowd = [connect(server.address) for _ in range(200)]
    served = 0
    for client in crowd:
        try:
            client.sendall(raw("GET", "/livez"))
            client.settimeout(10)
            served += client.recv(4096).startswith(b"HTTP/1.1 200")
        except ConnectionError:
            pass
    print(f"\n{served} of 200 were served")
    assert 10 < served < 80
    for client in crowd:
        client.close()
    assert watch.is_clean()
