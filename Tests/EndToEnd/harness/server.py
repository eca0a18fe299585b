"""The program under test, started and stopped by its own process id."""
import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from harness.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
START = re.compile(r"segmentd (\S+) listening on http://(127\.0\.0\.1):(\d+)")
ANY_START = re.compile(r"segmentd (\S+) listening on (\S.*)")


def program():
    """The built binary: $SEGMENTD, else a release build, else a debug build."""
    chosen = os.environ.get("SEGMENTD")
    candidates = [Path(chosen)] if chosen else [
        ROOT / ".build/release/segmentd", ROOT / ".build/debug/segmentd"]
    for candidate in candidates:
        if candidate.exists():
            return str(candidate.resolve())
    raise AssertionError(f"no program: build segmentd or set SEGMENTD (tried {candidates})")


def run(*arguments, environment, deadline=10):
    """Run the program to its end: flags that print, and starts that fail."""
    return subprocess.run([program(), *arguments], env=environment, capture_output=True, text=True,
                          timeout=deadline, check=False)


class Server:
    """A running server."""

    # The binary, where it is not the one to be tested as it lies; empty if the wrapper ends in it.
    program = None

    def __init__(self, environment, arguments=(), state=None, wrapper=(),
                 listen=("127.0.0.1:0",), pass_fds=()):
        """`wrapper` is a command that ends in executing the program, such as `unshare --mount`."""
        self.log_file = tempfile.TemporaryFile()
        self.state = state or tempfile.mkdtemp(prefix="segmentd-state-")
        self.start = (environment, arguments, wrapper, listen)
        listeners = [part for place in listen for part in ("--listen", place)]
        binary = [program() if self.program is None else self.program]
        command = [*wrapper, *filter(None, binary), *listeners, "--state-dir", self.state, *arguments]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=self.log_file,
            stderr=self.log_file, pass_fds=pass_fds)
        try:
            started = wait_until(self.start_line, 10, "the start line")
        except AssertionError:
            self.kill()
            raise
        self.version = started[1]
        self.places = started[2].split(", ")
        tcp = START.search(started[0])
        self.address = tcp and (tcp[2], int(tcp[3]))

    def start_line(self):
        assert self.process.poll() is None, f"ended at once:\n{self.log()}"
        return ANY_START.search(self.log())

    @property
    def pid(self):
        return self.process.pid

    @property
    def is_running(self):
        return self.process.poll() is None

    def log(self):
        descriptor = self.log_file.fileno()
        octets = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        return octets.decode(errors="replace")

    def descriptors(self):
        """How many files the server has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def send(self, number):
        self.process.send_signal(number)

    def wait(self, deadline=5.0):
        """The exit status, which must come before the deadline."""
        try:
            return self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not end within {deadline} s:\n{self.log()}") from None

    def stop(self, number=signal.SIGTERM):
        """An orderly stop; fails unless it is clean and quick."""
        if self.is_running:
            self.send(number)
        status = self.wait()
        assert status == 0, f"exit status {status}:\n{self.log()}"
        shutil.rmtree(self.state, ignore_errors=True)

    def kill(self):
        self.crash()
        shutil.rmtree(self.state, ignore_errors=True)

    def crash(self):
        """kill -9; the state directory stays."""
        if self.is_running:
            self.process.kill()
            self.process.wait(5)

    def restart(self, environment=None, wrapper=None):
        """Start the program again on the state directory of this one, which has ended."""
        assert not self.is_running
        usual, arguments, usual_wrapper, listen = self.start
        return Server(environment or usual, arguments, self.state,
                      usual_wrapper if wrapper is None else wrapper, listen)
