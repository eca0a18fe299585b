"""Measures segmentd beside its peers, interleaved, on loopback; prints tables in Markdown.

    bench.py [--quick | --rounds=N] [NAME…]     the parts: see PARTS
"""
import os
import platform
import subprocess
import sys
import time

import behaviour
from contestants import MIB, Floor, Nginx, Redis, Segmentd
from measuring import Report, interleave, ratio, redis_benchmark, wrk

BIG = 128 * MIB
# A load average that no part leaves behind: each keeps two processors busy at most.
BUSY = 2.5
OCTETS = ["Content-Type: application/octet-stream"]


class Bench:
    def __init__(self, rounds):
        self.rounds = rounds
        self.seconds = 1
        self.report = Report()

    # The servers, with one segment of each kind that a session is attached to ("held") and one
    # that nobody is attached to ("alone").
    def servers(self, *flags):
        ours = Segmentd(*flags).start()
        client = ours.client()
        ours.session = client.open_session()
        for kind in ("posix:/held", "posix:/alone"):
            client.create(ours.session, kind, BIG, keep=True)
        for kind in ("held", "alone"):
            client.create(ours.session, kind, BIG, native=False, keep=True)
        for path in ("posix:%2Falone", "alone"):
            client.ask("DELETE", f"/v1/segments/{path}/attachment", Session_Id=ours.session)
        client.close()
        return ours

    def read(self):
        with Floor() as floor, Nginx(size="1g") as nginx, Redis() as redis:
            ours = self.servers()
            quiet = self.servers("--log-level", "warning")
            try:
                subprocess.run(
                    ["redis-cli", "-p", str(redis.port), "SETRANGE", "k", str(2 * MIB), "x"],
                    check=True, stdout=subprocess.DEVNULL)
                for size in (64, 4096, 65536, MIB, 64 * MIB):
                    self.read_size(size, ours, quiet, floor, nginx, redis)
            finally:
                ours.stop()
                quiet.stop()

    def read_size(self, size, ours, quiet, floor, nginx, redis):
        connections = 32 if size <= 4096 else 4 if size < 64 * MIB else 2
        window = [f"Range: bytes={MIB}-{MIB + size - 1}"]
        named = [*window, f"Session-Id: {ours.session}"]

        def get(server, path, headers=window):
            return lambda: wrk(server, path, self.seconds, connections, headers=headers)

        posix, systemv = "/v1/segments/posix:%2Fheld/data", "/v1/segments/held/data"
        runs = {
            "libmicrohttpd alone": get(floor, f"/{size}"),
            "POSIX": get(ours, posix),
            "System V": get(ours, systemv),
            "POSIX, session": get(ours, posix, named),
            "System V, session": get(ours, systemv, named),
        }
        if size <= 65536:
            runs |= {
                "System V, session, no access log": get(
                    quiet, systemv, [*window, f"Session-Id: {quiet.session}"]),
                "POSIX, nobody attached": get(ours, "/v1/segments/posix:%2Falone/data"),
                "System V, nobody attached": get(ours, "/v1/segments/alone/data"),
            }
        runs["nginx, sendfile"] = get(nginx, "/segment")
        if size <= MIB:
            count = {64: 100_000, 4096: 80_000, 65536: 20_000, MIB: 2_000}[size]
            runs["redis GETRANGE"] = lambda: redis_benchmark(
                redis, count, connections, "GETRANGE", "k", "0", str(size - 1))
        found = interleave(runs, self.rounds)
        self.report.section(f"Read {name(size)}, {connections} connections", found)
        base, web = found["libmicrohttpd alone"], found["nginx, sendfile"]
        for kind in ("POSIX", "System V"):
            plain, session = found[kind], found[kind + ", session"]
            work = f"read {name(size)}, {kind}"
            goal = self.report.goal
            if size <= 4096:
                goal(work, "CPU ÷ libmicrohttpd", ratio(plain, base, "cpu"), 1.15, True)
                goal(work, "requests/s ÷ nginx", ratio(plain, web, "rate"), 1.6, False)
                goal(work + ", session", "CPU ÷ libmicrohttpd", ratio(session, base, "cpu"), 1.25, True)
            elif size == 65536:
                goal(work, "CPU ÷ libmicrohttpd", ratio(plain, base, "cpu"), 1.1, True)
                goal(work, "CPU ÷ nginx", ratio(plain, web, "cpu"), 0.75, True)
            else:
                goal(work, "bytes/s ÷ libmicrohttpd", ratio(plain, base, "bandwidth"), 0.95, False)
                goal(work, "bytes/s ÷ nginx", ratio(plain, web, "bandwidth"), 1.8, False)
            if "redis GETRANGE" in found:
                goal(work, "CPU ÷ redis", ratio(plain, found["redis GETRANGE"], "cpu"), 1, True)

    def write(self):
        with Floor() as floor, Nginx(size="1g") as nginx, Redis() as redis:
            ours = self.servers()
            try:
                for size in (64, 4096, MIB, 64 * MIB):
                    self.write_size(size, ours, floor, nginx, redis)
            finally:
                ours.stop()

    def write_size(self, size, ours, floor, nginx, redis):
        connections = 32 if size <= 4096 else 4 if size < 64 * MIB else 2

        def send(server, path, method="PUT", headers=OCTETS):
            return lambda: wrk(
                server, path, self.seconds, connections, method=method, body=size, headers=headers)

        named = [*OCTETS, f"Session-Id: {ours.session}"]
        runs = {
            "libmicrohttpd alone": send(floor, f"/{size}"),
            "POSIX, session": send(
                ours, f"/v1/segments/posix:%2Fheld/data?offset={MIB}", "PATCH", named),
            "System V, session": send(
                ours, f"/v1/segments/held/data?offset={MIB}", "PATCH", named),
            "nginx DAV": send(nginx, "/dav/x"),
        }
        if size <= MIB:
            count = {64: 100_000, 4096: 80_000, MIB: 1_000}[size]
            runs["redis SETRANGE"] = lambda: redis_benchmark(
                redis, count, connections, "SETRANGE", "w", "0", body=size)
        found = interleave(runs, self.rounds)
        self.report.section(f"Write {name(size)}, {connections} connections", found)
        goal = self.report.goal
        for kind in ("POSIX", "System V"):
            one = found[kind + ", session"]
            work = f"write {name(size)}, {kind}, session"
            if size <= 4096:
                goal(work, "CPU ÷ libmicrohttpd",
                     ratio(one, found["libmicrohttpd alone"], "cpu"), 1.2, True)
                goal(work, "requests/s ÷ nginx DAV", ratio(one, found["nginx DAV"], "rate"), 2.5, False)
            else:
                goal(work, "requests/s ÷ nginx DAV", ratio(one, found["nginx DAV"], "rate"), 2, False)
            if "redis SETRANGE" in found:
                goal(work, "CPU ÷ redis", ratio(one, found["redis SETRANGE"], "cpu"), 1, True)

    def lock(self):
        ours = self.servers()
        try:
            named = [f"Session-Id: {ours.session}"]

            def pair(segment):
                return lambda: wrk(
                    ours, f"/v1/segments/{segment}/lock", self.seconds, 1, method="PUT",
                    headers=named, alternate="DELETE")

            window = [*named, "Range: bytes=0-63"]
            found = interleave({
                "read 64 B, System V, session": lambda: wrk(
                    ours, "/v1/segments/held/data", self.seconds, 1, headers=window),
                "read 64 B, POSIX, session": lambda: wrk(
                    ours, "/v1/segments/posix:%2Fheld/data", self.seconds, 1, headers=window),
                "lock or unlock, System V": pair("held"),
                "lock or unlock, POSIX": pair("posix:%2Fheld"),
            }, self.rounds)
            self.report.section("Lock and unlock, uncontended, 1 connection", found)
            for kind in ("System V", "POSIX"):
                both = 2 * ratio(
                    found[f"lock or unlock, {kind}"], found[f"read 64 B, {kind}, session"], "cpu")
                self.report.goal(f"lock then unlock, {kind}", "CPU ÷ one read", both, 2.4, True)
        finally:
            ours.stop()

    def connections(self):
        with Floor() as floor, Nginx(size="1g") as nginx:
            ours = self.servers()
            try:
                window = ["Range: bytes=0-63"]
                for count in (1, 32, 256, 1000):
                    found = interleave({
                        "libmicrohttpd alone": lambda: wrk(
                            floor, "/64", 2 * self.seconds, count, headers=window),
                        "segmentd": lambda: wrk(
                            ours, "/v1/segments/posix:%2Fheld/data", 2 * self.seconds, count,
                            headers=window),
                        "nginx": lambda: wrk(
                            nginx, "/segment", 2 * self.seconds, count, headers=window),
                    }, min(self.rounds, 3))
                    self.report.section(f"Read 64 B, {count} connections", found)
                    self.report.goal(
                        f"{count} connections", "longest request",
                        found["segmentd"].max / 1000, 1000, True, " ms")
                    self.report.goal(
                        f"{count} connections", "requests/s ÷ libmicrohttpd",
                        ratio(found["segmentd"], found["libmicrohttpd alone"], "rate"), 0.8, False)
            finally:
                ours.stop()

    def sessions(self):
        behaviour.sessions(self.report, self.rounds)

    def handover(self):
        behaviour.handover(self.report, 300 if self.rounds > 1 else 30)

    def memory(self):
        behaviour.memory(self.report)

    def growth(self):
        behaviour.growth(self.report, self.rounds)

    def waiting(self):
        behaviour.waiting(self.report)

    def start(self):
        behaviour.start(self.report, 20 if self.rounds > 1 else 3)


PARTS = ["read", "write", "lock", "handover", "sessions", "connections", "memory", "growth",
         "waiting", "start"]


def name(size):
    return f"{size} B" if size < 1024 else f"{size // 1024} KiB" if size < MIB else f"{size // MIB} MiB"


def processor():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown processor"


def versions():
    for command in (["nginx", "-v"], ["redis-server", "--version"], ["wrk", "-v"],
                    [os.environ["SEGMENTD"], "--version"]):
        run = subprocess.run(command, capture_output=True, text=True)
        yield (run.stdout + run.stderr).strip().splitlines()[0]


def main(arguments):
    rounds, parts = 7, []
    for one in arguments:
        if one == "--quick":
            rounds = 1
        elif one.startswith("--rounds="):
            rounds = int(one.removeprefix("--rounds="))
        else:
            parts.append(one)
    parts = parts or PARTS
    unknown = [one for one in parts if one not in PARTS]
    if unknown:
        raise SystemExit(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    bench = Bench(rounds)
    say = bench.report.say
    say(f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, {platform.release()}, "
        f"{os.cpu_count()} × {processor()}; load {' '.join(map(str, os.getloadavg()))}")
    for line in versions():
        say(f"- {line}")
    for part in parts:
        busy = os.getloadavg()[0] > BUSY  # before it begins: what runs is a load itself
        getattr(bench, part)()
        load = " ".join(f"{one:.1f}" for one in os.getloadavg())
        say(f"\n(load after {part}: {load}{'; the machine was busy with other work' if busy else ''})")
    bench.report.finish()


if __name__ == "__main__":
    main(sys.argv[1:])
