"""A soak: 64 clients and two Qt processes, and everybody is killed now and then.

It lasts 20 s; scripts/soak makes it as long as one likes. The server is killed too, in the first
half; in the second it lives, so that what it leaks would show.
"""
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from harness.client import Api
from harness.crowd import SIZE, SLOT, crowd_names
from harness.kernel import posix_name
from harness.qt import QtPeer
from harness.waiting import wait_until

SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))
SEED = int(os.environ.get("SOAK_SEED", str(random.randrange(100_000))))
PROCESSES, CLIENTS = 8, 8
KEPT = b"written once, and there to the end"


class CrowdProcess:
    """One process of clients, started anew when it was killed."""

    def __init__(self, place, arguments, directory):
        self.place, self.arguments, self.directory = place, arguments, directory
        self.reports = []
        self.start()

    def start(self):
        report = f"{self.directory}/crowd-{self.place}-{len(self.reports)}.json"
        self.reports.append(report)
        port, names_directory, stem = self.arguments
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.crowd", str(port), str(self.place * CLIENTS),
             str(CLIENTS), names_directory, str(SEED + len(self.reports) * 100 + self.place), stem,
             report],
            stdin=subprocess.PIPE, cwd=Path(__file__).parent)

    def kill(self):
        self.process.kill()
        self.process.wait(10)
        self.process.stdin.close()

    def end(self):
        self.process.stdin.close()
        self.process.wait(60)


class QtUser(threading.Thread):
    """A Qt process that creates, attaches, locks and dies, over and over."""

    def __init__(self, environment, names, number):
        super().__init__()
        self.environment, self.names, self.number = environment, names, number
        self.stop = threading.Event()
        self.counts = Counter()
        self.problem = None

    def run(self):
        peer = None
        chance = random.Random(SEED + self.number)
        try:
            while not self.stop.is_set():
                peer = peer or QtPeer(self.environment)
                if not self.turn(peer, chance):
                    peer.kill()
                    self.counts["Qt killed"] += 1
                    peer = None
        except Exception as problem:  # raised in the test's own thread
            self.problem = problem
        finally:
            if peer:
                peer.quit()

    def turn(self, peer, chance):
        name = chance.choice(self.names)
        segment = peer.segment(name)
        if not segment.call("attach")["result"] and not segment.call("create", size=SIZE)["result"]:
            segment.destroy()
            return True
        self.counts["Qt attached"] += 1
        mark, at = os.urandom(SLOT), self.number * SLOT
        segment.write(mark, offset=at)
        # A lock that is a semaphore is not waited for: whoever else has it may be killed with it.
        is_holder = not name.is_posix and chance.random() < 0.5 and segment.call("lock")["result"]
        assert segment.read(at, SLOT) == mark, name.id
        if chance.random() < 0.03:
            return False
        if is_holder:
            segment.call("unlock")
        segment.destroy()
        return True


class Keeper:
    """A session that nothing may befall, whatever happens to the server."""

    def __init__(self, api, name):
        self.api, self.name = api, name
        self.session = api.session(ttl_ms=600_000)
        api.sessions.clear()
        self.session.create(name, 64)
        self.session.write(name, KEPT, offset=0)
        self.token = self.session.lock(name).json["fencing_token"]

    def check(self):
        """A busy machine may take its time; a server that hangs takes for ever."""
        read = self.api.get(self.name.href + "/data", session=self.session, expect=200,
                            query={"length": len(KEPT)}, deadline=60)
        assert read.body == KEPT
        attachment = self.session.attachment(self.name).json
        assert attachment["locked"] and attachment["fencing_token"] == self.token, attachment


def resident(server):
    """The memory of a server that is its own, in KiB."""
    for line in Path(f"/proc/{server.pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    raise AssertionError("no RssAnon")


def states(server):
    """What each thread of a server is doing: running or asleep, where, and for how long it ran."""
    lines = []
    for path in Path(f"/proc/{server.pid}/task").iterdir():
        words = (path / "stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        ran = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
        lines.append(f"{words[0]} {(path / 'wchan').read_text(encoding='ascii')} {ran:.1f} s")
    return lines


def figures(server):
    return {"descriptors": server.descriptors(), "threads": server.threads(), "KiB": resident(server)}


def clean(api, names):
    """What a Qt process that was killed left goes with the next last detach."""
    for name in names:
        session = api.session()
        session.create(name, SIZE, expect=None, if_exists="attach")
        wait_until(lambda name=name, session=session: session.detach(
            name, wait_ms=1000, expect=None).status != 423, 30)
        session.end()
        assert api.segment(name, expect=None).status == 404, name.id


def let_loose(start_server, server, api, keeper, crowds, kills):
    """Kill now and then, as long as it lasts; the last server, and its figures when it was warm."""
    chance = random.Random(SEED)
    started = time.monotonic()
    span = max(1.0, min(10.0, SECONDS / 8))
    warm = None
    while (now := time.monotonic() - started) < SECONDS:
        time.sleep(span * (0.5 + chance.random()))
        if now < SECONDS / 2 and chance.random() < 0.4:
            server = start_server.restart(server, api)
            kills["server"] += 1
        else:
            one = chance.choice(crowds)
            one.kill()
            one.start()
            kills["crowds"] += 1
        before = states(server)
        try:
            keeper.check()
        except TimeoutError:
            raise AssertionError(f"no answer; its threads: {before}, {states(server)}") from None
        if warm is None and now > SECONDS * 0.6:
            warm = figures(server)
    return server, warm


def free_port():
    """A port that a server and its successors can have."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_soak_leaks_nothing_and_loses_nothing(start_server, environment, temporary_directory,
                                                no_debris, stem, tmp_path):
    server = start_server("--log-level", "warning", listen=(f"127.0.0.1:{free_port()}",))
    api = Api(server.address)
    api.get("/livez", expect=200)
    before = figures(server)
    names = crowd_names(stem, temporary_directory)
    keeper = Keeper(api, posix_name(stem + "keeper"))
    crowds = [CrowdProcess(place, (server.address[1], temporary_directory, stem), tmp_path)
              for place in range(PROCESSES)]
    qts = [QtUser(environment, names[:4], PROCESSES * CLIENTS + number) for number in range(2)]
    kills = Counter()
    started = time.monotonic()
    try:
        for one in qts:
            one.start()
        server, warm = let_loose(start_server, server, api, keeper, crowds, kills)
    finally:
        for one in qts:
            one.stop.set()
        for one in crowds:
            one.end()
        for one in qts:
            one.join(60)

    keeper.check()
    keeper.session.end()
    wait_until(lambda: not api.get("/v1/sessions", expect=200).json["sessions"], 30, "no session")
    clean(api, names)
    api.close()
    wait_until(lambda: server.descriptors() <= before["descriptors"], 10,
               f"{before['descriptors']} descriptors ({server.descriptors()})")
    wait_until(lambda: server.threads() <= before["threads"], 10, f"{before['threads']} threads")
    after = figures(server)

    counts, faults = Counter(), []
    for report in tmp_path.glob("crowd-*.json"):
        told = json.loads(report.read_text(encoding="ascii"))
        counts.update(told["counts"])
        faults += told["faults"]
    for one in qts:
        counts.update(one.counts)
    print(f"\nsoak: seed {SEED}, {time.monotonic() - started:.0f} s\n"
          f"  killed: {dict(kills)}\n  done: {dict(sorted(counts.items()))}\n"
          f"  server: {before} at first, {warm} warm, {after} at the end\n"
          f"  left behind: {sorted(map(str, no_debris.new()))}\n  faults: {len(faults)}")
    assert not faults, faults[:5]
    for one in qts:
        if one.problem:
            raise one.problem
    assert not server.log().strip().count("error"), server.log()[-2000:]
    assert counts["life"] > 20 and counts["Qt attached"] > 5 and sum(kills.values()) > 2
    assert warm is None or after["KiB"] < warm["KiB"] + 16 * 1024, (warm, after)
