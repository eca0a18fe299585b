"""A server and Qt processes with key files of their own, on a file system of a certain kind."""
import os
import shutil
import tempfile

from harness import kernel
from harness.client import Api
from harness.qt import QtPeer
from harness.server import Server


class Stage:
    """A server and Qt processes whose key files lie where no inode number is given twice: else a
    semaphore that Qt left under an old number is the lock of whatever gets that number next."""

    def __init__(self, environment):
        self.directory = tempfile.mkdtemp(prefix="segmentd-e2e-", dir=kernel.SHM)
        runtime = os.path.join(self.directory, "run")
        os.mkdir(runtime, 0o700)
        self.environment = {**environment, "TMPDIR": self.directory, "XDG_RUNTIME_DIR": runtime}
        self.server = Server(self.environment)
        self.api = Api(self.server.address)
        self.debris = kernel.World([self.directory, runtime])
        self.peers = []

    def qt(self, wrapper=()):
        self.peers.append(QtPeer(self.environment, wrapper=wrapper))
        return self.peers[-1]

    def close(self):
        for peer in self.peers:
            peer.quit()
        self.api.end_sessions()
        self.api.close()
        self.server.stop()
        shutil.rmtree(self.directory)
