"""Random sequences of calls, the same on Qt's own objects and on sessions of the server.

Seeds are fixed unless SEGMENTD_DIFFERENTIAL_SEED says otherwise, and SEGMENTD_DIFFERENTIAL_ROUNDS
tells how many sequences to run. A failure shows a short sequence that fails, as a value for
SEGMENTD_DIFFERENTIAL_REPLAY.
"""
from harness.differential import check_sequences
from harness.mixed_world import MixedWorld
from harness.two_worlds import TwoWorlds


def test_two_worlds_agree(stage):
    world = TwoWorlds(stage.api, stage.qt, stage.directory, stage.debris)
    check_sequences(world, rounds=40, length=40)


def test_a_mixed_world_does_as_the_model_says(stage):
    world = MixedWorld(stage.server, stage.api, stage.qt, stage.directory, stage.debris)
    check_sequences(world, rounds=40, length=60)
