"""What the kernel says: System V tables, /dev/shm, key files."""
import ctypes
import hashlib
import os
import stat
from dataclasses import dataclass, replace
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
    project: int = PROJECT

    @property
    def href(self):
        return "/v1/segments/" + quote(self.path, safe="")

    @property
    def is_posix(self):
        return self.kind.endswith("posix")

    @property
    def shares_file(self):
        """Whether segment and lock have one key file."""
        return self.memory_file == self.lock_file

    def memory_key(self):
        """The System V key of the segment; None while there is no key file."""
        return ftok(self.memory_file, self.project)

    def lock_key(self):
        """The System V key of the lock; None while there is no key file."""
        return ftok(self.lock_file, self.project)

    def spellings(self):
        """The same segment under all the texts that name it, itself first."""
        texts = {self.path: self.body}
        native = self.id
        scheme, rest = native.split(":", 1)
        if self.kind == "posix":
            more = [f"posix:{rest[1:]}", f"POSIX:{rest}", f"posix://{rest}"]
        elif self.kind == "systemv":
            more = [f"systemv-81:{rest}", f"SystemV-081:{rest}", f"systemv:/.{rest}"]
        elif self.kind == "systemv84":
            more = [f"systemv-084:{rest}", f"systemv-84:/.{rest}"]
        else:
            more = [native, native.split("?")[0]]
        texts.update({text: {"native_key": text} for text in more})
        if self.kind == "legacy":
            texts["key:" + self.path] = self.body
        return [replace(self, path=path, body=body) for path, body in texts.items()]

    def size(self):
        """The segment's size by the kernel's word; None when there is no segment."""
        if self.is_posix:
            return os.stat(self.memory_file).st_size if os.path.exists(self.memory_file) else None
        entry = shared_memory(self.memory_key())
        return entry and entry["size"]

    def exists(self):
        return self.size() is not None

    def attachments(self):
        """The kernel's count (System V only)."""
        return shared_memory(self.memory_key())["nattch"]

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


def systemv84_name(stem, directory):
    """A native key with another project id than Qt's."""
    text = f"systemv-84:{directory}/{stem}"
    return replace(systemv_name(stem, directory), kind="systemv84", path=text, id=text, project=84,
                   body={"native_key": text}, qt={"type": "native", "native": text})


def legacy_posix_name(stem, _):
    """What new Qt makes of a plain key for POSIX."""
    memory, lock = legacy_stem("sharedmemory", stem), legacy_stem("systemsem", stem)
    text = f"posix:/{memory}?legacyKey={stem}"
    return Name(kind="legacy-posix", path=text, body={"native_key": text},
                qt={"type": "legacy-posix", "key": stem}, memory_file=f"{SHM}/{memory}",
                lock_file=f"{SHM}/sem.{lock}", id=text)


MAKERS = {"posix": lambda stem, _: posix_name(stem), "systemv": systemv_name,
          "legacy": legacy_name, "systemv84": systemv84_name, "legacy-posix": legacy_posix_name}


def make_name(kind, stem, directory):
    """A name of one of the kinds in `MAKERS`."""
    return MAKERS[kind](stem, directory)
