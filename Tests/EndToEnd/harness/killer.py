"""Kills a process between two of its system calls."""
import functools
import select
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("killer.c")
DEADLINE = 20.0


@functools.cache
def program():
    """The tool, compiled once for all tests of a process."""
    folder = tempfile.TemporaryDirectory(prefix="segmentd-killer-")
    path = Path(folder.name) / "killer"
    subprocess.run(["gcc", "-O1", "-o", str(path), str(SOURCE)], check=True)
    program.folder = folder  # removed with the process
    return str(path)


class Killer:
    """Kills a process as it is about to make its N-th system call from now on.

    One that keeps leaves the thread that makes it there, and kills the process when it stops."""

    def __init__(self, pid, count, keeps=False):
        self.process = subprocess.Popen(
            [program(), str(pid), str(count), *(["keep"] if keeps else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self.line(DEADLINE) == "ready", "cannot trace the server"

    def has_said(self, deadline=0):
        """Whether there is a line to read."""
        return bool(select.select([self.process.stdout], [], [], deadline)[0])

    def line(self, deadline):
        return self.process.stdout.readline().decode().strip() if self.has_said(deadline) else None

    def stop(self):
        """Watch no longer; what was killed, if anything."""
        self.process.stdin.close()
        assert self.process.wait(DEADLINE) == 0
        said = self.process.stdout.read().decode().strip()
        self.process.stdout.close()
        return said
