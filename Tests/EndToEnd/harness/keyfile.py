"""A System V key file that comes back when Qt removes it under those who use it."""
import os

from harness import kernel


class KeptKeyFile:
    """A second name for the key file of a segment, for as long as the segment lives.

    Only for native keys, whose one file is that of segment and lock: the lock's maker removes it.
    """

    def __init__(self, name):
        self.name = name
        self.copy = name.memory_file + ".kept"
        self.key = None

    def put_back(self):
        """Look at the file after a call. Returns whether it had to be put back."""
        if self.name.kind != "systemv":
            return False
        key = kernel.ftok(self.name.memory_file)
        if self.key and kernel.shared_memory(self.key):
            if key == self.key:
                return False
            os.link(self.copy, self.copy + ".new")
            os.rename(self.copy + ".new", self.name.memory_file)
            return True
        self.forget()
        if kernel.shared_memory(key):
            os.link(self.name.memory_file, self.copy)
            self.key = key
        return False

    def forget(self):
        """The segment is gone."""
        if self.key:
            os.unlink(self.copy)
            self.key = None
