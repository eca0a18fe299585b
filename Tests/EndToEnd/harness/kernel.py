"""What the kernel says: System V tables, /dev/shm, key files."""
import ctypes
import hashlib
import os
import stat
from dataclasses import dataclass
from urllib.parse import quote

PROJECT = 0x51
SHM = "/dev/shm"
IPC_RMID = 0

libc = ctypes.CDLL(None, use_errno=True)


def table(kind):
    """The rows of /proc/sysvipc/KIND, each a dictionary of whole numbers."""
    with open(f"/proc/sysvipc/{kind}", encoding="ascii") as file:
        names, *rows = [line.split() for line in file]
    entries = []
    for row in rows:
        entry = {name: int(field, 8 if name == "perms" else 10) for name, field in zip(names, row)}
        entry["key"] &= 0xFFFF_FFFF
        entries.append(entry)
    return entries


def ftok(path, project=PROJECT):
    """The System V key of a file, as glibc's ftok() makes it; None if there is no such file."""
    try:
        facts = os.stat(path)
    except FileNotFoundError:
        return None
    return (project & 0xFF) << 24 | (facts.st_dev & 0xFF) << 16 | (facts.st_ino & 0xFFFF)


def shared_memory(key):
    """The System V segment of this key, or None."""
    return next((entry for entry in table("shm") if key and entry["key"] == key), None)


def semaphore(key):
    """The System V semaphore array of this key, or None."""
    return next((entry for entry in table("sem") if key and entry["key"] == key), None)


def create_shared_memory(key, size, flags=0o3600):
    """shmget(2); by default IPC_CREAT | IPC_EXCL | 0600."""
    shmid = libc.shmget(ctypes.c_int(key), ctypes.c_size_t(size), flags)
    if shmid < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return shmid


def create_semaphore(key):
    """An array of one semaphore, value 0."""
    return libc.semget(ctypes.c_int(key), 1, 0o3600)


def remove_shared_memory(shmid):
    libc.shmctl(shmid, IPC_RMID, None)


def remove_semaphore(semid):
    libc.semctl(semid, 0, IPC_RMID)


class World:
    """Everything a segment may leave behind, against what was there at first."""

    def __init__(self, directories):
        self.directories = directories
        self.before = self.things()

    def things(self):
        things = {("memory", entry["shmid"]) for entry in table("shm")}
        things |= {("semaphores", entry["semid"]) for entry in table("sem")}
        for directory in [SHM, *self.directories]:
            for entry in os.scandir(directory):
                if not entry.is_dir(follow_symlinks=False):
                    things.add(("file", entry.path))
        return things

    def new(self):
        """What is there now and was not at first."""
        return self.things() - self.before

    def memories(self):
        """New segments; one whose key file is gone has no name that would find it."""
        return {
            (kind, name) for kind, name in self.new()
            if kind == "memory" or kind == "file" and os.path.dirname(name) == SHM
            and not os.path.basename(name).startswith("sem.")
        }

    def clean(self):
        """Remove what is new and say what that was."""
        removed = self.new()
        for kind, name in removed:
            if kind == "memory":
                remove_shared_memory(name)
            elif kind == "semaphores":
                remove_semaphore(name)
            else:
                try:
                    os.unlink(name)
                except FileNotFoundError:
                    pass
        return removed


def legacy_stem(kind, key):
    """What Qt makes of a plain key: its ASCII letters and the SHA-1 of all of it."""
    letters = "".join(c for c in key if c.isascii() and c.isalpha())
    return f"qipc_{kind}_{letters}{hashlib.sha1(key.encode()).hexdigest()}"


@dataclass(frozen=True)
class Name:
    """One segment's name, as HTTP, Qt and the kernel know it."""

    kind: str
    path: str
    body: dict
    qt: dict
    memory_file: str
    lock_file: str
    id: str

    @property
    def href(self):
        return "/v1/segments/" + quote(self.path, safe="")

    @property
    def is_posix(self):
        return self.kind == "posix"

    def size(self):
        """The segment's size by the kernel's word; None when there is no segment."""
        if self.is_posix:
            return os.stat(self.memory_file).st_size if os.path.exists(self.memory_file) else None
        entry = shared_memory(ftok(self.memory_file))
        return entry and entry["size"]

    def exists(self):
        return self.size() is not None

    def attachments(self):
        """The kernel's count (System V only)."""
        return shared_memory(ftok(self.memory_file))["nattch"]

    def bytes(self):
        """The memory of a POSIX segment, read behind everybody's back."""
        with open(self.memory_file, "rb") as file:
            return file.read()

    def mode(self):
        return stat.S_IMODE(os.stat(self.memory_file).st_mode)


def posix_name(stem):
    return Name(
        kind="posix",
        path=f"posix:/{stem}",
        body={"native_key": f"posix:/{stem}"},
        qt={"type": "native", "native": f"posix:/{stem}"},
        memory_file=f"{SHM}/{stem}",
        lock_file=f"{SHM}/sem.{stem}",
        id=f"posix:/{stem}",
    )


def systemv_name(stem, directory):
    path = f"{directory}/{stem}"
    return Name(
        kind="systemv",
        path=f"systemv:{path}",
        body={"native_key": f"systemv:{path}"},
        qt={"type": "native", "native": f"systemv:{path}"},
        memory_file=path,
        lock_file=path,
        id=f"systemv:{path}",
    )


def legacy_name(stem, directory):
    memory_file = f"{directory}/{legacy_stem('sharedmemory', stem)}"
    return Name(
        kind="legacy",
        path=stem,
        body={"key": stem},
        qt={"type": "legacy", "key": stem},
        memory_file=memory_file,
        lock_file=f"{directory}/{legacy_stem('systemsem', stem)}",
        id=f"systemv:{memory_file}?legacyKey={stem}",
    )


def make_name(kind, stem, directory):
    """A name of the kind "posix", "systemv" or "legacy"."""
    if kind == "posix":
        return posix_name(stem)
    return (systemv_name if kind == "systemv" else legacy_name)(stem, directory)
