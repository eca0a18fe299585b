"""Random sequences of calls, the same on Qt's own objects and on sessions of the server.

Seeds are fixed unless SEGMENTD_DIFFERENTIAL_SEED says otherwise, and SEGMENTD_DIFFERENTIAL_ROUNDS
tells how many sequences to run. A failure shows a short sequence that fails, as a value for
SEGMENTD_DIFFERENTIAL_REPLAY.
"""
from harness.differential import KINDS, check_sequences
from harness.mixed_world import HTTP, QT, MixedWorld
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


def test_two_worlds_agree(stage):
    world = TwoWorlds(stage.api, stage.qt, stage.directory, stage.debris)
    check_sequences(world, lambda random: random.choices(KINDS, k=2), TWO_WORLDS, [0, 1, 2],
                    rounds=40, length=40)


def test_a_mixed_world_does_as_the_model_says(stage):
    world = MixedWorld(stage.server, stage.api, stage.qt, stage.directory, stage.debris)
    check_sequences(world, lambda random: [random.choice(KINDS)], MIXED_WORLD, QT + HTTP,
                    rounds=40, length=40)
