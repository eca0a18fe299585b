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
        """Look at the files after a call of Qt.

        Returns whether the key file of a native key had to be put back, which serves segment and
        lock: the lock's maker removes it, whoever uses the segment.
        """
        if self.name.is_posix:
            return False
        for path in {self.name.memory_file, self.name.lock_file}:
            self.copy(path)
        if self.name.kind != "systemv":
            return False
        now = kernel.ftok(self.name.memory_file)
        if self.key and now != self.key and kernel.shared_memory(self.key):
            new = self.copies[self.inode] + ".new"
            os.link(self.copies[self.inode], new)
            os.rename(new, self.name.memory_file)
            return True
        self.key = now if kernel.shared_memory(now) else None
        self.inode = os.stat(self.name.memory_file).st_ino if self.key else None
        return False

    def forget(self):
        """Let the inodes go."""
        for copy in self.copies.values():
            os.unlink(copy)
        self.copies, self.key = {}, None
