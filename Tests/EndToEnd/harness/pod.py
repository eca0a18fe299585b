"""What a container engine gives an application and its sidecar, made of namespaces alone.

A pod has one IPC namespace and one /dev/shm; each container in it has a process namespace, a user
and no capabilities of its own.
"""
import os
import shutil
import subprocess
from pathlib import Path

from harness.qt import QtPeer
from harness.server import Server, program
from harness.waiting import wait_until


def children(pid):
    try:
        return [int(child) for child in
                Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except FileNotFoundError:
        return []


def runtime_directory(directory):
    """XDG_RUNTIME_DIR for all users of a pod."""
    path = os.path.join(directory, "run")
    os.makedirs(path, exist_ok=True)
    os.chmod(path, 0o1777)
    return path


class Pod:
    """The namespaces that the containers share, held by a process that does nothing else."""

    def __init__(self, directory, size="64m"):
        self.directory = directory
        # As the volume for key files: everybody may put files there, and remove their own.
        os.mkdir(directory)
        os.chmod(directory, 0o1777)
        # Where a user without rights finds the program.
        self.program = shutil.copy(program(), Path(directory) / "segmentd")
        self.process = subprocess.Popen(
            ["unshare", "--ipc", "--mount", "--fork", "--kill-child", "--propagation", "private",
             "sh", "-c", f"mount -t tmpfs -o nosuid,nodev,noexec,mode=1777,size={size} shm /dev/shm"
             " && echo ready && exec sleep 600"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"
        self.holder = wait_until(lambda: children(self.process.pid), 10)[0]

    def wrapper(self, user, groups=()):
        """A command that ends in executing another as the first process of a container."""
        kept = ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
        return ["nsenter", f"--target={self.holder}", "--ipc", "--mount",
                "unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
                "setpriv", f"--reuid={user}", f"--regid={user}", *kept,
                "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]

    def environment(self):
        return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TMPDIR": self.directory,
                "XDG_RUNTIME_DIR": runtime_directory(self.directory), "QTPEER_BINDING": "PyQt6"}

    def application(self, user=0):
        return Application(self.environment(), wrapper=self.wrapper(user))

    def sidecar(self, user=0, groups=(), arguments=()):
        return Sidecar(self, self.wrapper(user, groups), arguments, f"/dev/shm/segmentd-{user}")

    def run(self, *command):
        """What a command prints that looks at the pod from within."""
        inside = ["nsenter", f"--target={self.holder}", "--ipc", "--mount", *command]
        return subprocess.run(inside, capture_output=True, text=True, timeout=10, check=True).stdout

    def end(self):
        self.process.kill()
        self.process.wait(10)
        self.process.stdout.close()
        shutil.rmtree(self.directory)


class Application(QtPeer):
    """A Qt program in a container."""

    def kill(self):
        """The kill -9 of the program, whereupon its container is over."""
        for child in children(self.process.pid):
            os.kill(child, 9)
        self.process.wait(10)


class Sidecar(Server):
    """segmentd in a container, as its first process."""

    def __init__(self, pod, wrapper, arguments, state):
        self.program = pod.program
        super().__init__(pod.environment(), arguments, state=state, wrapper=wrapper)

    @property
    def pid(self):
        return wait_until(lambda: children(self.process.pid), 10)[0]

    def send(self, number):
        os.kill(self.pid, number)

    def kill(self):
        for child in children(self.process.pid):
            os.kill(child, 9)
        self.process.wait(10)
