"""Random sequences of calls, the same on Qt's own objects and on sessions of the server.

Seeds are fixed unless SEGMENTD_DIFFERENTIAL_SEED says otherwise, and SEGMENTD_DIFFERENTIAL_ROUNDS
tells how many sequences to run. A failure shows a short sequence that fails, as a value for
SEGMENTD_DIFFERENTIAL_REPLAY.
"""
import os
import shutil
import tempfile

import pytest

from harness import kernel
from harness.client import Api
from harness.differential import KINDS, check_sequences
from harness.mixed_world import HTTP, QT, MixedWorld
from harness.qt import QtPeer
from harness.server import Server
from harness.two_worlds import TwoWorlds

TWO_WORLDS = {
    "create": 16, "attach": 18, "detach": 8, "lock": 12, "unlock": 10, "read": 12, "write": 14,
    "set_key": 6,
}
MIXED_WORLD = {
    "create": 12, "attach": 20, "detach": 8, "take_lock": 12, "unlock": 10, "read": 6, "write": 8,
    "set_key": 3, "destroy": 3, "kill": 1, "end": 5, "expire": 0.7, "peek": 4, "poke": 6, "who": 4,
    "break_lock": 3,
}


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

    def qt(self):
        self.peers.append(QtPeer(self.environment))
        return self.peers[-1]

    def close(self):
        for peer in self.peers:
            peer.quit()
        self.api.end_sessions()
        self.api.close()
        self.server.stop()
        shutil.rmtree(self.directory)


@pytest.fixture
def stage(environment, no_debris):
    one = Stage(environment)
    yield one
    one.close()


def test_two_worlds_agree(stage):
    world = TwoWorlds(stage.api, stage.qt, stage.directory, stage.debris)
    check_sequences(world, lambda random: random.choices(KINDS, k=2), TWO_WORLDS, [0, 1, 2],
                    rounds=40, length=40)


def test_a_mixed_world_does_as_the_model_says(stage):
    world = MixedWorld(stage.server, stage.api, stage.qt, stage.directory, stage.debris)
    check_sequences(world, lambda random: [random.choice(KINDS)], MIXED_WORLD, QT + HTTP,
                    rounds=40, length=40)
