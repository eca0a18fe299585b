"""A process that does to a POSIX segment whatever the file system lets it, while clients use it."""
import os
import random
import socket
import threading
import time

import pytest

from harness.client import Api, raw
from harness.watch import Watch, promptly

SIZE = 64 * 1024
CLIENTS = 8
SECONDS = 3.0

# What a request may say while somebody truncates, removes and replaces the segment under it.
READ_ANSWERS = {200, 206, 404, 409, 416}
WRITE_ANSWERS = {204, 403, 404, 409, 416, 422, 507}


class Client(threading.Thread):
    """Reads and writes, attached or not, until told to stop; keeps what was not to be."""

    def __init__(self, server, name, seed, stop):
        super().__init__()
        self.server, self.segment, self.stop = server, name, stop
        self.random = random.Random(seed)
        self.faults, self.answered = [], 0

    def run(self):
        api = Api(self.server.address)
        try:
            while not self.stop.is_set():
                self.turn(api)
        except Exception as fault:  # pylint: disable=broad-except
            self.faults.append(repr(fault))
        finally:
            api.end_sessions()
            api.close()

    def turn(self, api):
        session = api.session() if self.random.random() < 0.3 else None
        if session:
            session.attach(self.segment, expect=None)
        for _ in range(self.random.randrange(1, 20)):
            offset = self.random.randrange(SIZE)
            length = self.random.randrange(1, SIZE - offset + 1)
            holder = session.id if session else None
            if self.random.random() < 0.5:
                query = {"offset": offset, "length": length}
                answer = api.get(self.segment.href + "/data", query=query, session=holder)
                if answer.status == 200 and len(answer.body) != length:
                    self.faults.append(f"{length} bytes asked for, {len(answer.body)} given")
                allowed = READ_ANSWERS
            else:
                answer = api.patch(self.segment.href + "/data", body=b"x" * length, session=holder,
                                   query={"offset": offset, "lock": "false"})
                allowed = WRITE_ANSWERS
            self.answered += 1
            if answer.status not in allowed:
                self.faults.append(repr(answer))
        if session:
            session.end()


def torment(path, seed, stop, largest):
    """Truncate, grow, unlink and replace the file, until told to stop."""
    generator = random.Random(seed)
    while not stop.is_set():
        act = generator.randrange(6)
        try:
            if act == 0:
                os.truncate(path, 0)
            elif act == 1:
                os.truncate(path, generator.randrange(SIZE))
            elif act == 2:
                size = generator.randrange(SIZE, 2 * SIZE)
                os.truncate(path, size)
                largest[0] = max(largest[0], size)
            elif act == 3:
                os.unlink(path)
            else:
                with open(path, "ab") as file:
                    file.truncate(SIZE)
        except FileNotFoundError:
            pass
        time.sleep(generator.random() * 0.002)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_request_is_answered_and_the_server_runs_on(start_server, posix, seed, no_debris):
    server = start_server("--log-level", "warning")
    watch = Watch(server)
    api = Api(server.address)
    api.session().create(posix, SIZE)
    stop, largest = threading.Event(), [SIZE]
    clients = [Client(server, posix, seed * 100 + number, stop) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    timer = threading.Timer(SECONDS, stop.set)
    timer.start()
    torment(posix.memory_file, seed, stop, largest)
    for client in clients:
        client.join(20)
    assert not any(client.is_alive() for client in clients), "a client hangs"
    faults = [fault for client in clients for fault in client.faults]
    assert not faults, faults[:5]
    assert all(client.answered > 20 for client in clients)
    assert server.is_running and watch.is_prompt()
    if os.path.exists(posix.memory_file):
        assert os.path.getsize(posix.memory_file) <= largest[0], "writing makes nothing grow"
    api.end_sessions()
    api.close()
    no_debris.clean()  # the file that the tormentor made in the end, and its lock
    assert watch.is_clean()


def test_an_answer_that_a_truncation_overtakes_is_cut_off_not_made_up(server, api, posix):
    """More than the sockets hold between them, so that the truncation comes in the middle."""
    size = 64 << 20
    session = api.session()
    session.create(posix, size)
    with socket.create_connection(server.address, timeout=10) as connection:
        connection.sendall(raw("GET", posix.href + "/data", f"Session-Id: {session.id}"))
        begun = connection.recv(4096)
        assert begun.startswith(b"HTTP/1.1 200 ") and f"Content-Length: {size}".encode() in begun
        os.truncate(posix.memory_file, 4096)
        taken = len(begun)
        try:
            while octets := connection.recv(1 << 20):
                taken += len(octets)
        except ConnectionError:
            pass
    assert taken < size, "what is not there any more is not sent"
    promptly(lambda: session.read(posix, expect=(409, "segment-truncated")))
    session.end()
    assert server.is_running


def test_a_semaphore_that_is_truncated_harms_nobody(api, posix):
    session, other = api.session(), api.session()
    session.create(posix)
    other.attach(posix)
    session.lock(posix)
    os.truncate(posix.lock_file, 0)
    promptly(lambda: other.lock(posix, expect=None, wait_ms=100), beyond=0.1)
    promptly(lambda: api.get("/livez", expect=200))
    os.unlink(posix.lock_file)
    session.unlock(posix, expect=None)
    other.lock(posix, wait_ms=500)
    other.unlock(posix)
    session.detach(posix)
    assert other.detach(posix).json["destroyed"] is True
