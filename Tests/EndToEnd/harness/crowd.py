"""Clients of mixed work, some of them in one process, which may be killed at any time.

    python -m harness.crowd PORT FIRST COUNT DIRECTORY SEED STEM REPORT

Each has its own 16 bytes of every segment. They go on until their standard input ends. REPORT is a
file of JSON that says every half a second what they have done, and what was not to be.
"""
import http.client
import json
import os
import random
import socket
import sys
import threading
import time
from collections import Counter

from harness import kernel
from harness.client import Api, raw

SLOT = 16
SIZE = 2048
# Sessions whose client was killed are over soon.
TTL = 3000


def crowd_names(stem, directory):
    """The segments that all share: of two kinds Qt uses as well, and one of ours alone."""
    return ([kernel.posix_name(f"{stem}p{n}") for n in range(2)]
            + [kernel.legacy_name(f"{stem}l{n}", directory) for n in range(2)]
            + [kernel.systemv_name(f"{stem}s{n}", directory) for n in range(2)])


class Crowd:
    """What the clients of one process have in common."""

    def __init__(self, port, names, report):
        self.address = ("127.0.0.1", port)
        self.names = names
        self.report = report
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.counts = Counter()
        self.faults = []

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def fault(self, what):
        with self.lock:
            self.faults.append(str(what)[:600])

    def save(self):
        with self.lock:
            text = json.dumps({"counts": self.counts, "faults": self.faults[:20]})
        with open(self.report + ".new", "w", encoding="ascii") as file:
            file.write(text)
        os.replace(self.report + ".new", self.report)


class Client:
    """One client."""

    def __init__(self, crowd, number, seed):
        self.crowd = crowd
        self.number = number
        self.chance = random.Random(seed)
        self.api = Api(crowd.address)
        self.rounds = 0

    def run(self):
        while not self.crowd.stop.is_set():
            self.rounds += 1
            try:
                self.turn()
            except (ConnectionError, TimeoutError, http.client.HTTPException, OSError):
                # The server was killed; its successor will be there soon.
                self.crowd.count("connection lost")
                self.api.close()
                time.sleep(0.05 + self.chance.random() * 0.2)
            except AssertionError as problem:
                self.crowd.fault(problem)
            finally:
                self.api.sessions.clear()
        self.api.close()

    def turn(self):
        work = self.chance.choices([self.life, self.peek, self.look, self.vanish, self.hold, self.nag],
                                   [8, 3, 2, 2, 1, 1])[0]
        work()
        self.crowd.count(work.__name__)

    def seen(self, answer, *also):
        """Whether it was done. A refusal is one that can be, for others break locks and let go."""
        self.crowd.count(str(answer.status))
        if answer.status >= 400:
            assert answer.code in {"session-gone", *also}, answer
        return answer.status < 400

    def life(self):
        """A session's: attached, written, perhaps locked, and read again; ended, or left to expire."""
        name = self.chance.choice(self.crowd.names)
        session = self.api.session(ttl_ms=TTL)
        done = session.create(name, SIZE, expect=None, if_exists="attach")
        if not self.seen(done, "not-found", "in-use", "key-collision"):
            return
        mark = f"{self.number:04d}{self.rounds:012d}".encode()
        offset = self.number * SLOT
        if not self.seen(session.write(name, mark, offset=offset, expect=None), "not-attached"):
            return
        if self.chance.random() < 0.5:
            wait = self.chance.choice([0, 20, 500])
            if self.seen(session.lock(name, wait_ms=wait, expect=None), "locked"):
                # A create() by Qt may have taken it away meanwhile.
                self.seen(session.unlock(name, expect=None), "not-locked")
        if self.seen(session.read(name, offset=offset, length=SLOT, expect=None)):
            read = self.api.get(name.href + "/data", session=session,
                                query={"offset": offset, "length": SLOT})
            if self.seen(read):
                assert read.body == mark, f"{name.id}: {read.body!r} instead of {mark!r}"
        if self.chance.random() < 0.3:
            self.seen(session.detach(name, wait_ms=1000, expect=None), "locked", "not-attached")
        if self.chance.random() < 0.7:
            self.seen(session.end(expect=None))

    def peek(self):
        name = self.chance.choice(self.crowd.names)
        query = {"offset": self.chance.randrange(SIZE), "length": self.chance.randrange(1, SIZE)}
        read = self.api.get(name.href + "/data", query=query,
                            headers={"Accept": self.chance.choice(
                                ["*/*", "text/plain", "application/json"])})
        self.seen(read, "not-found", "out-of-range", "segment-truncated")

    def look(self):
        name = self.chance.choice(self.crowd.names)
        for path in ("/v1/segments", name.href, name.href + "/lock", "/v1/sessions", "/metrics"):
            self.seen(self.api.get(path), "not-found")

    def vanish(self):
        """Leave in the middle of a request, of its body, of its answer, or of a wait."""
        name = self.chance.choice(self.crowd.names)
        session = self.api.session(ttl_ms=TTL)
        session.create(name, SIZE, expect=None, if_exists="attach")
        whole = self.chance.choice([
            raw("PUT", name.href + "/lock?wait_ms=2000", f"Session-Id: {session.id}"),
            raw("GET", name.href + "/data", f"Session-Id: {session.id}"),
            raw("PATCH", name.href + f"/data?offset={self.number * SLOT}&lock=true",
                f"Session-Id: {session.id}", "Content-Length: 16", body=b"x" * 16),
            raw("DELETE", name.href + "/attachment", f"Session-Id: {session.id}"),
        ])
        with socket.create_connection(self.crowd.address, timeout=10) as connection:
            connection.sendall(whole[:self.chance.randrange(1, len(whole) + 1)])
            if self.chance.random() < 0.5:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def hold(self):
        """A session bound to a connection, which is then cut."""
        session = self.api.session(ttl_ms=TTL, bind="connection")
        stream = self.api.stream(session.href + "/hold")
        try:
            name = self.chance.choice(self.crowd.names)
            session.create(name, SIZE, expect=None, if_exists="attach")
            session.lock(name, wait_ms=20, expect=None)
        finally:
            stream.close()

    def nag(self):
        """Requests that make no sense."""
        name = self.chance.choice(self.crowd.names)
        self.seen(self.api.put(name.href + "/lock"), "session-required")
        self.seen(self.api.get("/v1/segments/%ff"), "invalid-request")
        self.seen(self.api.get("/v1/segments", query={"limit": "many"}), "invalid-request")
        self.seen(self.api.post("/v1/sessions", json={"ttl_ms": 1}), "invalid-request")
        self.seen(self.api.get(name.href + "/data", headers={"Accept": "image/png"}),
                  "not-acceptable", "not-found")


def main():
    port, first, count, directory, seed, stem, report = sys.argv[1:]
    crowd = Crowd(int(port), crowd_names(stem, directory), report)
    clients = [Client(crowd, int(first) + place, int(seed) * 1000 + place)
               for place in range(int(count))]
    threads = [threading.Thread(target=client.run, daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    reader = threading.Thread(target=sys.stdin.read, daemon=True)
    reader.start()
    while reader.is_alive():
        crowd.save()
        reader.join(0.5)
    crowd.stop.set()
    for thread in threads:
        thread.join(30)
    if any(thread.is_alive() for thread in threads):
        crowd.fault("a client hangs")
    crowd.save()


if __name__ == "__main__":
    main()
