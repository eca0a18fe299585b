"""Counts the instructions of hot requests in user space, so that a regression shows without a clock.

    instructions.py SERVER             compares with the numbers below; exit status 1 if one grew
    instructions.py SERVER --profile   leaves callgrind's files of each case and says where

Runs the server under callgrind, whose counts repeat on a busy machine: 200 requests of each kind
over one connection, after as many that warm up. Left out are memset and memcpy, of which callgrind
counts every byte on one processor and every block on another.
"""
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

# Instructions a request; more than this by the tolerance fails. Lower a number when it has fallen.
EXPECTED = {
    "read 64 B, System V, session": 23_200,
    "read 64 B, POSIX, session": 23_400,
    "read 64 B, System V": 22_900,
    "read 64 B, POSIX": 22_600,
    "write 64 B, System V, session": 24_700,
    "lock and unlock, System V": 55_500,
}
TOLERANCE = 0.15
COUNT = 200


def cases(session):
    def request(method, path, body=b"", **headers):
        lines = [f"{method} /v1/segments/{path} HTTP/1.1", "Host: 127.0.0.1"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    window = {"Range": "bytes=4096-4159"}
    named = {"Session_Id": session}
    yield "read 64 B, System V, session", [request("GET", "held/data", **window, **named)]
    yield "read 64 B, POSIX, session", [request("GET", "posix:%2Fheld/data", **window, **named)]
    yield "read 64 B, System V", [request("GET", "held/data", **window)]
    yield "read 64 B, POSIX", [request("GET", "posix:%2Fheld/data", **window)]
    yield "write 64 B, System V, session", [
        request("PATCH", "held/data?offset=4096", b"x" * 64, **named)]
    yield "lock and unlock, System V", [
        request("PUT", "held/lock", **named), request("DELETE", "held/lock", **named)]


class Profiled:
    def __init__(self, server, home):
        self.home = home
        (home / "run").mkdir(mode=0o700)
        self.environment = dict(os.environ, TMPDIR=str(home), XDG_RUNTIME_DIR=str(home / "run"))
        # Valgrind does not read the debugging information of this compiler; the names suffice.
        program = home / "segmentd"
        subprocess.run(["strip", "-g", "-o", str(program), server], check=True)
        namespaces = ["unshare", "--ipc", "--mount"]
        if os.geteuid() != 0:
            namespaces += ["--user", "--map-root-user"]
        self.process = subprocess.Popen(
            [*namespaces, "sh", "-c", 'mount -t tmpfs tmpfs /dev/shm && exec "$@"', "sh",
             "valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={home}/out",
             str(program), "--listen", "127.0.0.1:0", "--threads", "1", "--state-dir",
             str(home / "state")],
            env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE)
        port = None
        for line in self.process.stderr:
            found = re.search(rb"listening on http://127\.0\.0\.1:(\d+)", line)
            if found:
                port = int(found[1])
                break
        if port is None:
            raise SystemExit("the server did not start under valgrind")
        threading.Thread(target=self.drain, daemon=True).start()
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")

    def drain(self):
        for _ in self.process.stderr:
            pass

    def ask(self, request):
        self.socket.sendall(request)
        status = int(self.reader.readline().split()[1])
        length = 0
        while (line := self.reader.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        body = self.reader.read(length)
        if status >= 300:
            raise SystemExit(f"{request[:80]}: {status} {body}")
        return body

    def dump(self):
        """Has callgrind write down what was counted since the last time."""
        before = set(self.home.glob("out.*"))
        subprocess.run(["callgrind_control", "--dump", str(self.process.pid)], check=True,
                       env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for path in sorted(set(self.home.glob("out.*")) - before):
                if "totals:" in path.read_text():
                    return path
            time.sleep(0.02)
        raise SystemExit("callgrind wrote nothing")

    def stop(self):
        self.socket.close()
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def counted(path):
    """The instructions in a file of callgrind's, without those that move or clear blocks."""
    total, names, in_block, is_call = 0, {}, False, False
    for line in path.read_text().splitlines():
        if line.startswith("fn="):
            number, _, name = line[3:].partition(" ")
            if name:
                names[number] = name
            in_block = re.search("memset|memcpy|memmove", names.get(number, "")) is not None
        elif line.startswith("calls="):
            is_call = True
        elif line[:1] in "+-*0123456789" and line:
            if not is_call and not in_block:
                total += int(line.split()[1])
            is_call = False
        else:
            # Names are given numbers where they are first met, also as those of callees.
            found = re.match(r"cfn=(\(\d+\)) (.+)", line)
            if found:
                names[found[1]] = found[2]
    return total


def main(server, wants_profile):
    home = pathlib.Path(tempfile.mkdtemp(prefix="instructions-"))
    one = Profiled(server, home)
    grown = []
    try:
        def create(body):
            return (f"POST /v1/segments HTTP/1.1\r\nHost: 127.0.0.1\r\nSession-Id: {session}\r\n"
                    "Content-Type: application/json\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n{body}").encode()

        opened = one.ask(b"POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        session = opened.split(b'"')[3].decode()
        one.ask(create('{"key":"held","size":65536}'))
        one.ask(create('{"native_key":"posix:/held","size":65536}'))
        for name, requests in cases(session):
            for _ in range(COUNT):
                for request in requests:
                    one.ask(request)
            one.dump()
            for _ in range(COUNT):
                for request in requests:
                    one.ask(request)
            path = one.dump()
            found, expected = counted(path) / COUNT, EXPECTED[name]
            share = found / expected - 1 if expected else 0
            print(f"{name:32} {found:7.0f} instructions, {share:+.1%} of {expected}", flush=True)
            if wants_profile:
                print(f"    callgrind_annotate --inclusive=yes {path}")
            if share > TOLERANCE:
                grown.append(name)
            elif share < -TOLERANCE:
                print(f"    lower the number in {sys.argv[0]}")
    finally:
        one.stop()
        if not wants_profile:
            shutil.rmtree(home)
    if grown:
        raise SystemExit(f"More than {TOLERANCE:.0%} above what is expected: {'; '.join(grown)}")


if __name__ == "__main__":
    main(sys.argv[1], "--profile" in sys.argv)
