"""System V key files that keep their inodes, and come back when Qt removes them under their users.

A semaphore whose key file is gone lives on in Qt's objects. A new file that got the same inode
number would have the same key: the tests keep every inode until the sequence ends.
"""
import os

from harness import kernel


class KeptKeyFile:
    """The key files of one name, each inode kept by a second name."""

    def __init__(self, name):
        self.name = name
        self.copies = {}
        self.key = None
        self.lock_key = None

    def copy(self, path):
        """A second name for what the file is now."""
        try:
            inode = os.stat(path).st_ino
        except FileNotFoundError:
            return
        if inode not in self.copies:
            self.copies[inode] = f"{path}.kept{inode}"
            os.link(path, self.copies[inode])

    def look(self):
        """Look at the files after a call.

        Returns whether one had to be put back: that of a native key, which serves segment and lock,
        or that of a legacy key's lock, while its semaphore lives. Makers of a lock remove the file
        by name, whoever uses it.
        """
        if self.name.is_posix:
            return False
        for path in {self.name.memory_file, self.name.lock_file}:
            self.copy(path)
        if self.name.kind != "systemv":
            return self.look_at_lock()
        now = kernel.ftok(self.name.memory_file)
        if self.key and now != self.key and kernel.shared_memory(self.key):
            new = self.copies[self.inode] + ".new"
            os.link(self.copies[self.inode], new)
            os.rename(new, self.name.memory_file)
            return True
        self.key = now if kernel.shared_memory(now) else None
        self.inode = os.stat(self.name.memory_file).st_ino if self.key else None
        return False

    def look_at_lock(self):
        now = kernel.ftok(self.name.lock_file)
        if now is None and self.lock_key and kernel.semaphore(self.lock_key):
            os.link(self.copies[self.lock_inode], self.name.lock_file)
            return True
        if kernel.semaphore(now):
            self.lock_key, self.lock_inode = now, os.stat(self.name.lock_file).st_ino
        return False

    def forget(self):
        """Let the inodes go."""
        for copy in self.copies.values():
            os.unlink(copy)
        self.copies, self.key, self.lock_key = {}, None, None
