"""Files that name System V objects, and POSIX semaphores: kept, and put back when Qt removes them
under their users.

A semaphore whose key file is gone lives on in Qt's objects, and so does a POSIX one without its name.
A new key file that got the same inode number would have the same key: the tests keep every inode
until the sequence ends, under a second name in a folder of its own.
"""
import os

from harness import kernel


class KeptFiles:
    """The files of one name, each inode kept by a second name."""

    def __init__(self, name, directory):
        self.name = name
        self.directory = os.path.join(directory, "kept")
        os.makedirs(self.directory, exist_ok=True)
        self.copies = {}
        self.key = self.inode = None
        self.lock_key = self.lock_inode = None

    def copy(self, path):
        """A second name for what the file is now; its inode number, None where there is none."""
        try:
            inode = os.stat(path).st_ino
            if inode not in self.copies:
                copy = os.path.join(self.directory, f"{os.path.basename(path)}.{inode}")
                os.link(path, copy)
                self.copies[inode] = copy
        except FileNotFoundError:
            return None
        return inode

    def put_back(self, inode, path):
        new = self.copies[inode] + ".new"
        os.link(self.copies[inode], new)
        os.rename(new, path)
        if os.path.exists(new):  # rename() leaves two names of one file alone
            os.unlink(new)

    def look(self, lock_has_users=False):
        """Look at the files after a call.

        Returns whether one had to be put back: that of a native key, which serves segment and lock,
        that of a legacy key's lock, while its semaphore lives, or the name of a POSIX semaphore that
        others use. Makers of a lock remove the file by name, whoever uses it.
        """
        if self.name.is_posix:
            return self.look_at_posix(lock_has_users)
        for path in {self.name.memory_file, self.name.lock_file}:
            self.copy(path)
        if not self.name.shares_file:
            return self.look_at_lock()
        now = self.name.memory_key()
        if self.key and now != self.key and kernel.shared_memory(self.key):
            self.put_back(self.inode, self.name.memory_file)
            return True
        self.key = now if kernel.shared_memory(now) else None
        self.inode = os.stat(self.name.memory_file).st_ino if self.key else None
        return False

    def look_at_lock(self):
        now = self.name.lock_key()
        if now is None and self.lock_key and kernel.semaphore(self.lock_key):
            self.put_back(self.lock_inode, self.name.lock_file)
            return True
        if kernel.semaphore(now):
            self.lock_key, self.lock_inode = now, os.stat(self.name.lock_file).st_ino
        return False

    def look_at_posix(self, lock_has_users):
        now = self.copy(self.name.lock_file)
        if now is None and self.lock_inode and lock_has_users:
            self.put_back(self.lock_inode, self.name.lock_file)
            return True
        self.lock_inode = now
        return False

    def forget(self):
        """Let the inodes go."""
        for copy in self.copies.values():
            os.unlink(copy)
        self.copies = {}
        self.key = self.inode = self.lock_key = self.lock_inode = None
