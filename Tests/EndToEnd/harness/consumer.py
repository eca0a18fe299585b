"""A Qt process that counts up what a producer writes, until the producer ends it.

    python consumer.py KEY
"""
import sys
import time

from PyQt6.QtCore import QNativeIpcKey, QSharedMemory


def main():
    memory = QSharedMemory(QNativeIpcKey.fromString(sys.argv[1]))
    end = time.monotonic() + 30
    while not memory.attach():
        assert memory.error() in (QSharedMemory.SharedMemoryError.NotFound,
                                  QSharedMemory.SharedMemoryError.KeyError), memory.errorString()
        assert time.monotonic() < end, "nothing to attach to"
        time.sleep(0.01)
        # A failed attach() keeps the lock that it made, which the producer's may not be.
        memory = QSharedMemory(QNativeIpcKey.fromString(sys.argv[1]))
    octets, count = memory.data(), 0
    while time.monotonic() < end:
        assert memory.lock()
        byte = octets[0]
        if byte == b"Q":
            count += 1
            octets[0] = bytes([count])
        elif byte == b"E":
            octets[1] = bytes([octets[1][0] + 1])
        assert memory.unlock()
        if byte == b"E":
            return 0 if memory.detach() else 1
        time.sleep(0.001)
    return 1


sys.exit(main())
