"""What no fault may change: how soon a server answers, and what it and the kernel hold for it."""
import os
import re
import time

from harness import kernel
from harness.client import Api
from harness.waiting import wait_until

# Within how many seconds a server answers while a fault lasts, and after it.
BOUND = 1.0
DEADLINE = 10.0


def promptly(ask, beyond=0.0):
    """What ask() returns, once it does so within the bound, and the time `beyond` that it is to wait.

    A machine that has other things to do may hold up any single try. So the best of several counts:
    it is asked again until one is within the bound, and for as long as the deadline at most. A
    server that is slow by itself is slow each time.
    """
    end = time.monotonic() + DEADLINE
    while True:
        started = time.monotonic()
        result = ask()
        span = time.monotonic() - started
        if span < BOUND + beyond:
            return result
        assert time.monotonic() < end, f"no answer within {BOUND + beyond} s, the last took {span:.1f} s"


class Watch:
    """How many descriptors and threads a server has while nobody uses it, and what there is of
    segments, semaphores and key files."""

    def __init__(self, server):
        self.server = server
        self.is_prompt()  # opens what is opened once
        wait_until(lambda: self.count() == 0, 10, "a quiet start")
        self.descriptors, self.threads = server.descriptors(), server.threads()
        self.things = self.all_things()

    def count(self):
        """Connections that are open."""
        sockets = 0
        for name in os.listdir(f"/proc/{self.server.pid}/fd"):
            try:
                target = os.readlink(f"/proc/{self.server.pid}/fd/{name}")
            except FileNotFoundError:
                continue
            inode = re.fullmatch(r"socket:\[(\d+)\]", target)
            sockets += bool(inode) and inode[1] in established()
        return sockets

    def all_things(self):
        """Segments, semaphores and key files, in the /dev/shm that the server has."""
        things = {("memory", entry["shmid"]) for entry in kernel.table("shm")}
        things |= {("semaphores", entry["semid"]) for entry in kernel.table("sem")}
        environment = self.server.start[0]
        root = f"/proc/{self.server.pid}/root"
        for directory in (root + kernel.SHM, environment["TMPDIR"], environment["XDG_RUNTIME_DIR"]):
            for entry in os.scandir(directory):
                if not entry.is_dir(follow_symlinks=False):
                    things.add(("file", entry.path.removeprefix(root)))
        return things

    def is_prompt(self, **how):
        """Whether a new client is answered within the bound."""
        def ask():
            api = Api(self.server.address)
            try:
                return api.get("/livez", **how)
            finally:
                api.close()
        return promptly(ask).status == 200

    def is_clean(self, server=None):
        """Whether the server, or one in its place, answers within the bound, and has nothing more than
        at first; fails where it has."""
        self.server = server or self.server
        wait_until(lambda: self.server.descriptors() <= self.descriptors, 15,
                   f"the end of {self.server.descriptors() - self.descriptors} descriptors")
        wait_until(lambda: self.server.threads() <= self.threads, 15, "the end of threads")
        wait_until(lambda: not self.all_things() - self.things, 15,
                   f"the end of {self.all_things() - self.things}")
        return self.is_prompt() and self.server.is_running


def established():
    """The inodes of TCP connections that are not closed."""
    inodes = set()
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(path, encoding="ascii") as file:
            inodes |= {line.split()[9] for line in list(file)[1:] if line.split()[3] != "0A"}
    return inodes
