"""A Qt process that creates or attaches, looks at what it got, and detaches, over and over.

    python loop.py KEY SECONDS SEED

It prints one JSON object at its end: how often it attached, and how often it found itself attached
to a file without a name, which nobody else can ever attach to.
"""
import json
import os
import random
import sys
import time

from PyQt6.QtCore import QNativeIpcKey, QSharedMemory


def is_ghost(name):
    """Whether a descriptor of ours leads to the segment's file after its name was taken away."""
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:
            continue
        if target == f"/dev/shm/{name} (deleted)":
            return True
    return False


def main():
    key, seconds, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    name = QNativeIpcKey.fromString(key).nativeKey().lstrip("/")
    generator = random.Random(seed)
    counts = {"attached": 0, "created": 0, "ghosts": 0, "errors": {}}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        memory = QSharedMemory(QNativeIpcKey.fromString(key))
        # Mostly attaching: each create() replaces the lock, by which Qt itself breaks it.
        if generator.random() < 0.02 and memory.create(4096):
            counts["created"] += 1
        elif memory.attach():
            counts["attached"] += 1
        else:
            error = memory.error().name
            counts["errors"][error] = counts["errors"].get(error, 0) + 1
            continue
        if is_ghost(name):
            counts["ghosts"] += 1
        memory.detach()
    print(json.dumps(counts))


main()
