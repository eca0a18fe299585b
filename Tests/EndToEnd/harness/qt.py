"""Real Qt processes: qtpeer.py behind a pipe, every call with a deadline."""
import base64
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

PEER = Path(__file__).resolve().parents[1] / "qtpeer.py"
DEADLINE = 10.0


class QtPeer:
    """A process of its own with QSharedMemory objects in it."""

    def __init__(self, environment, python=sys.executable, wrapper=()):
        """`python` is the interpreter that has the Qt binding named by $QTPEER_BINDING; `wrapper` is
        a command that ends in executing it."""
        self.process = subprocess.Popen(
            [*wrapper, python, str(PEER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self.pending = b""
        self.count = 0
        self.hello = self.receive(30.0)
        assert self.hello.get("ready"), self.hello

    @property
    def pid(self):
        return self.process.pid

    @property
    def has_native_keys(self):
        return self.hello["nativeIpcKey"]

    def receive(self, deadline):
        """The next line of the process, an object."""
        output = self.process.stdout.fileno()
        end = time.monotonic() + deadline
        while b"\n" not in self.pending:
            ready, _, _ = select.select([output], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"Qt did not answer within {deadline} s"
            octets = os.read(output, 1 << 20)
            assert octets, f"the Qt process is gone ({self.process.wait(DEADLINE)})"
            self.pending += octets
        line, self.pending = self.pending.split(b"\n", 1)
        return json.loads(line)

    def call_raw(self, op, deadline=DEADLINE, **fields):
        """Make one request; see qtpeer.py for what there is."""
        self.process.stdin.write(json.dumps({"op": op, **fields}).encode() + b"\n")
        self.process.stdin.flush()
        return self.receive(deadline + 5.0)

    def call(self, op, deadline=DEADLINE, **fields):
        """Carry out one request, which must be one that can be."""
        reply = self.call_raw(op, deadline, **fields)
        assert reply["ok"], (op, fields, reply)
        return reply

    def segment(self, name):
        """A QSharedMemory object with this name's key."""
        self.count += 1
        segment = QtSegment(self, f"object{self.count}")
        self.call("new", id=segment.id, **name.qt)
        return segment

    def kill(self):
        """kill -9, and wait until the process is gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE)

    def quit(self):
        """End as a Qt program ends: every object is destroyed."""
        if self.process.poll() is None:
            try:
                self.process.stdin.close()
                self.process.wait(DEADLINE)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                self.kill()
        self.process.stdout.close()


class QtSegment:
    """One QSharedMemory."""

    def __init__(self, peer, identifier):
        self.peer = peer
        self.id = identifier

    def call(self, op, **fields):
        return self.peer.call(op, id=self.id, **fields)

    def create(self, size, mode="rw"):
        """create(); fails the test if Qt refuses."""
        reply = self.call("create", size=size, mode=mode)
        assert reply["result"] is True, reply
        return self

    def attach(self, mode="rw"):
        reply = self.call("attach", mode=mode)
        assert reply["result"] is True, reply
        return self

    def fails_to(self, op, **fields):
        """The error, by Qt's name, of a call that is refused."""
        reply = self.call(op, **fields)
        assert reply["result"] is False, reply
        return reply["error"]

    def detach(self):
        return self.call("detach")["result"]

    def lock(self):
        assert self.call("lock")["result"] is True
        return self

    def begin_lock(self, timeout_ms=200):
        """Call lock(), which is to block; `await_lock` collects it."""
        reply = self.call("lock", timeoutMs=timeout_ms)
        assert reply["waiting"], f"Qt got a lock that it should wait for: {reply}"

    def await_lock(self, timeout_ms=5000):
        reply = self.call("wait", timeoutMs=timeout_ms)
        assert reply.get("result") is True, f"Qt did not get the lock: {reply}"

    def is_waiting(self, timeout_ms=0):
        return self.call("wait", timeoutMs=timeout_ms)["waiting"]

    def unlock(self):
        assert self.call("unlock")["result"] is True

    def read(self, offset=0, length=None):
        fields = {"offset": offset} if length is None else {"offset": offset, "length": length}
        return base64.b64decode(self.call("read", **fields)["data"])

    def write(self, octets, offset=0):
        self.call("write", offset=offset, data=base64.b64encode(octets).decode())
        return self

    def size(self):
        return self.call("size")["result"]

    def state(self):
        return self.call("state")

    def destroy(self):
        """Run the destructor."""
        return self.call("destroy")
