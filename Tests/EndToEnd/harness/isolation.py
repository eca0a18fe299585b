"""A System V namespace and a /dev/shm of our own, so that the tests meet nobody else's segments."""
import ctypes
import os
import subprocess

CLONE_NEWNS = 0x0002_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000

libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags):
    if libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def isolate():
    """Move this process, and all it will start, into namespaces; say what came of it."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        if uid == 0:
            unshare(CLONE_NEWNS | CLONE_NEWIPC)
        else:
            unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC)
            write("/proc/self/setgroups", "deny")
            write("/proc/self/uid_map", f"0 {uid} 1")
            write("/proc/self/gid_map", f"0 {gid} 1")
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", "/dev/shm"], check=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        return f"shared with the host ({problem}): nothing else may use shared memory meanwhile"
    return "own IPC namespace, own /dev/shm"
