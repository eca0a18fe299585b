"""Pods of real containers, from the image as it was built; scripts/test-image sets the variables.

SEGMENTD_IMAGE        the image of segmentd
SEGMENTD_APPLICATION  an image with Python and what Qt needs
SEGMENTD_PODMAN       the command, with the flags that find both
"""
import json
import os
import shlex
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

from harness.pod import runtime_directory
from harness.qt import PEER, QtPeer
from harness.server import Server
from harness.waiting import wait_until

IMAGE = os.environ.get("SEGMENTD_IMAGE")
APPLICATION = os.environ.get("SEGMENTD_APPLICATION")
PODMAN = shlex.split(os.environ.get("SEGMENTD_PODMAN", "podman"))

CONFINED = ["--cap-drop=ALL", "--read-only", "--read-only-tmpfs=false",
            "--security-opt=no-new-privileges", "--pull=never", "--no-healthcheck"]

# PyQt6 as the tests have it; the image has the same Python.
PACKAGES = Path(sys.prefix) / "lib" / "python3.11" / "site-packages"


def podman(*arguments, check=True, deadline=60):
    done = subprocess.run([*PODMAN, *arguments], capture_output=True, text=True, timeout=deadline,
                          check=False)
    assert done.returncode == 0 or not check, (arguments, done.stdout, done.stderr)
    return done.stdout.strip()


def inspect(name):
    return json.loads(podman("inspect", name))[0]


class Container:
    """What the two kinds of container have in common."""

    name = None

    def send(self, number):
        podman("kill", f"--signal={int(number)}", self.name)

    def kill(self):
        podman("rm", "--force", "--time=0", self.name, check=False)
        self.process.wait(20)

    @property
    def pid(self):
        return inspect(self.name)["State"]["Pid"]


class PodmanPod:
    """A container that only keeps the memory, and others that share it."""

    def __init__(self, directory, size="64m"):
        self.directory = directory
        os.mkdir(directory)
        os.chmod(directory, 0o1777)
        self.name = "segmentd-test-" + uuid.uuid4().hex[:12]
        podman("run", "--detach", f"--name={self.name}", "--ipc=shareable", f"--shm-size={size}",
               "--network=none", *CONFINED, APPLICATION, "sleep", "600")
        self.holder = inspect(self.name)["State"]["Pid"]

    def wrapper(self, user, groups=(), network="none", extra=()):
        """The command up to the image, and the container's name."""
        name = "segmentd-test-" + uuid.uuid4().hex[:12]
        environment = {"TMPDIR": self.directory, "XDG_RUNTIME_DIR": runtime_directory(self.directory),
                       "LC_ALL": "C.UTF-8", "QTPEER_BINDING": "PyQt6"}
        return name, [
            *PODMAN, "run", "--rm", "--interactive", f"--name={name}", *CONFINED,
            f"--ipc=container:{self.name}", f"--network={network}", f"--user={user}:{user}",
            *(f"--group-add={group}" for group in groups),
            *(f"--env={key}={value}" for key, value in environment.items()),
            f"--volume={self.directory}:{self.directory}", *extra]

    def application(self, user=0):
        return PodmanApplication(*self.wrapper(user, extra=[
            f"--volume={PACKAGES}:/packages:ro", f"--volume={PEER}:{PEER}:ro",
            "--env=PYTHONPATH=/packages", "--env=PYTHONDONTWRITEBYTECODE=1", APPLICATION]))

    def sidecar(self, user=0, groups=(), arguments=(), extra=()):
        # The host's network, for that is where the test is; the application has none at all.
        name, command = self.wrapper(user, groups, "host", [*extra, IMAGE])
        return PodmanSidecar(name, command, arguments, f"/dev/shm/segmentd-{user}")

    def run(self, *command):
        inside = ["nsenter", f"--target={self.holder}", "--ipc", "--mount", *command]
        return subprocess.run(inside, capture_output=True, text=True, timeout=10, check=True).stdout

    def end(self):
        podman("rm", "--force", "--time=0", self.name)
        shutil.rmtree(self.directory)


class PodmanApplication(Container, QtPeer):
    """A Qt program in a container."""

    def __init__(self, name, command):
        self.name = name
        QtPeer.__init__(self, dict(os.environ), python="python3", wrapper=command)


class PodmanSidecar(Container, Server):
    """The image of segmentd in a container."""

    program = ""

    def __init__(self, name, command, arguments, state):
        self.name = name
        Server.__init__(self, dict(os.environ), arguments, state=state, wrapper=command)

    def wait(self, deadline=5.0):
        return Server.wait(self, deadline + 10)

    def is_healthy(self):
        done = subprocess.run([*PODMAN, "exec", self.name, "/usr/bin/segmentd", "health", "--listen",
                               "{}:{}".format(*self.address)], timeout=20, check=False)
        return done.returncode == 0

    def memory_limit(self):
        return wait_until(lambda: inspect(self.name), 10)["HostConfig"]["Memory"]
