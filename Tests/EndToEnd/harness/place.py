"""What the model of the mixed world knows of one key."""
import ctypes
import dataclasses
import os
import struct

from harness import kernel
from harness.differential import LEDGER, require
from harness.keyfile import KeptFiles
from harness.waiting import wait_until

GETVAL = 12
GETNCNT = 14


def is_there(semaphore):
    """Whether a System V array is still there."""
    return any(entry["semid"] == semaphore for entry in kernel.table("sem"))


class Place:
    """A key, its segment and its lock, with those who use them."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.is_posix = name.is_posix
        self.files = KeptFiles(name, world.directory)
        self.exists, self.size, self.data = False, 0, b""
        self.holders = {}       # semaphore -> number of an object, or "dead"
        self.hold = None        # (number of a session, semaphore) as the server sees it
        self.is_lost = False    # whether Qt took that hold away
        self.pending = False    # the server still has the memory, for want of the lock
        self.errand = False     # it waits for the lock to see whether to let go of the memory
        self.token = 0
        self.is_clean = True    # whether nothing may be left of it in the end

    def called(self, number):
        """The key in one of its spellings; a System V segment that exists has a number as well."""
        names = self.name.spellings()
        if self.exists and not self.is_posix:
            entry = kernel.shared_memory(self.name.memory_key())
            names.append(dataclasses.replace(names[0], path=f"shmid:{entry['shmid']}"))
        return names[number % len(names)]

    # Facts.

    def semaphore(self):
        """Which semaphore newcomers find."""
        if self.is_posix:
            try:
                return os.stat(self.name.lock_file).st_ino
            except FileNotFoundError:
                return None
        entry = kernel.semaphore(self.name.lock_key())
        return entry and entry["semid"]

    def value(self):
        """The value of the semaphore that newcomers find."""
        if self.is_posix:
            with open(self.name.lock_file, "rb") as file:
                return struct.unpack("I", file.read(4))[0]
        return kernel.libc.semctl(ctypes.c_int(self.semaphore()), 0, GETVAL)

    def qt_users(self):
        """The Qt objects that are attached."""
        return [one for one in self.world.qt_sides() if one.place is self and one.mode]

    def sessions(self):
        """The sessions that are attached."""
        return [one for one in self.world.http_sides() if self in one.modes]

    def is_used(self):
        return bool(self.qt_users() or self.sessions() or self.pending)

    def has_open(self, semaphore):
        """Whether a Qt object has a semaphore of this key open."""
        return any(one.lock_place is self and one.lock == semaphore
                   for one in self.world.qt_sides())

    def holder(self):
        """Who keeps the server from the lock: None, a Qt object's number, or "dead"."""
        holder = self.holders.get(self.semaphore())
        if holder == "dead":
            return holder if self.has_open(self.semaphore()) else None
        return holder if holder in self.world.qt_numbers else None

    def intact(self):
        """The number of the session that holds the lock and keeps others out."""
        return None if self.hold is None or self.is_lost else self.hold[0]

    def http_holder(self):
        """The number of the session that the server takes for the holder."""
        return self.hold[0] if self.hold else None

    def qt_holds(self, number):
        """Which semaphore of this key a Qt object holds."""
        return next((lock for lock, holder in self.holders.items() if holder == number), None)

    def is_held_by_qt(self, but=None):
        return any(holder in self.world.qt_numbers and holder != but
                   for holder in self.holders.values())

    # What happens.

    def take_hold_away(self):
        """Qt replaced or removed the semaphore: what the server's session held is no lock now."""
        if self.hold:
            self.is_lost = True

    def drop_hold(self):
        if self.hold and self.holders.get(self.hold[1]) == self.hold[0]:
            del self.holders[self.hold[1]]  # those who have it open found it taken until now
        self.hold, self.is_lost = None, False

    def end_lost_hold(self, number=None):
        """The server notices that a hold is no lock any more."""
        if self.is_lost and self.http_holder() != number:
            self.drop_hold()

    def is_kept_out(self, number):
        """Whether somebody keeps this session from the lock."""
        if self.http_holder() == number:
            return False
        return self.intact() is not None or self.holder() is not None

    def took_lock(self):
        """Something was done under the lock; a dead holder's is alive again."""
        if self.holders.get(self.semaphore()) == "dead":
            del self.holders[self.semaphore()]

    def begin(self, size):
        self.exists, self.size, self.data = True, size, bytes(size)

    def vanish(self, by_qt=False):
        self.exists, self.data = False, b""
        if by_qt:  # which destroys the segment, but not a lock of ours
            self.is_clean = False

    def store(self, offset, octets):
        self.data = self.data[:offset] + bytes(octets) + self.data[offset + len(octets):]

    def last_session_left(self, had_lock, was_refused):
        """The last session's end: what the server does at once, or once it has the lock."""
        if was_refused:
            self.pending = self.errand = True
            return
        if not had_lock:
            self.end_lost_hold()
            self.took_lock()
        if not self.qt_users():
            self.vanish()

    # After a call of Qt, and after a step.

    def look(self, after_qt=False):
        """Look at the files; what Qt removed under its users is put back."""
        lock_has_users = after_qt and bool(
            self.sessions() or self.pending or self.has_open(self.files.lock_inode))
        if self.files.look(lock_has_users):
            LEDGER.use("lock-maker-removes-the-name")

    def look_after_qt(self):
        """What a call of Qt did to files and semaphores."""
        self.look(after_qt=True)
        if self.hold and not self.is_lost:
            held = self.hold[1]
            is_gone = (self.semaphore() != held if self.is_posix
                       else not is_there(held)
                       or os.path.exists(self.name.lock_file) and self.semaphore() != held)
            if is_gone:
                LEDGER.use("lock-removed-under-its-users")
                self.take_hold_away()
        if not self.is_posix:
            for lock in [lock for lock in self.holders if not is_there(lock)]:
                del self.holders[lock]

    def await_calm(self):
        """A refused request may leave a thread of the server at the semaphore for a moment."""
        if not self.is_posix and not self.errand and self.semaphore() is not None:
            wait_until(lambda: kernel.libc.semctl(self.semaphore(), 0, GETNCNT) <= 0, 5.0)

    def settle(self):
        """What the server does by itself once it can have the lock."""
        if self.holder() is not None or self.http_holder() is not None:
            return
        self.errand = False
        if self.pending:
            self.pending = False
            wait_until(lambda: not self.server_has_it(), 5.0, "that the server lets go")
            if not self.qt_users():
                self.vanish()
                self.await_no_lock()

    def await_no_lock(self):
        """The server removes the semaphore after the memory, if it is the one that Qt has open."""
        locks = [one.lock for one in self.world.qt_sides() if one.lock_place is self]
        try:
            wait_until(lambda: self.is_posix or not any(map(is_there, locks)), 0.2)
        except AssertionError:
            self.world.trace.append("    another semaphore is left to its Qt object")

    def server_has_it(self):
        """Whether the server maps the memory (POSIX; the kernel counts the others)."""
        with open(f"/proc/{self.world.server.pid}/maps", encoding="utf-8") as file:
            return self.is_posix and f"{self.name.memory_file}\n" in file.read()

    def attachments(self):
        return None if self.is_posix or not self.name.exists() else self.name.attachments()

    def expected_attachments(self):
        return len(self.qt_users()) + bool(self.sessions() or self.pending)

    def check_kernel(self):
        def agrees():
            if self.name.exists() != self.exists:
                return False
            if not self.exists or self.is_posix:
                return True
            return self.attachments() == self.expected_attachments()

        try:
            wait_until(agrees, 3.0)
        except AssertionError:
            require(False, self.name.id, "the kernel: exists", self.name.exists(), "nattch",
                    self.attachments(), "the model:", self.exists, self.expected_attachments())
        semaphore = self.semaphore()
        if semaphore is None:
            return
        if self.holders.get(semaphore) == "dead":
            if self.value() > 0:  # whoever took the lock next revived it
                del self.holders[semaphore]
            return
        expected = 0 if semaphore in self.holders else 1
        try:
            wait_until(lambda: self.value() == expected, 3.0)
        except AssertionError:
            require(False, self.name.id, "the semaphore is", self.value(), "not", expected)
