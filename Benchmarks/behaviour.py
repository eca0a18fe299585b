"""What wrk cannot load: handover of locks, sessions, memory, growth, waiting and start."""
import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time

from contestants import MIB, Client, Redis, Segmentd, Server
from measuring import interleave, ratio, wrk

PYTHON = pathlib.Path(__file__).parent.parent / ".venv/bin/python"


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


# -- Locks that two want ------------------------------------------------------------------------

def handover(report, count):
    """One thread plays both clients: a request out, and the time until the other's answer is in."""
    rows = []
    with Segmentd() as server:
        for kind, path in (("POSIX", "posix:%2Fl"), ("System V", "l")):
            clients = [server.client(), server.client()]
            ids = [one.open_session() for one in clients]
            for one, session in zip(clients, ids):
                one.create(session, "posix:/l" if kind == "POSIX" else "l", 4096,
                           native=kind == "POSIX")
            lock = f"/v1/segments/{path}/lock"
            single, over = [], []
            for _ in range(count):
                start = time.perf_counter_ns()
                clients[0].ask("PUT", lock, Session_Id=ids[0])
                single.append(time.perf_counter_ns() - start)
                clients[0].ask("DELETE", lock, Session_Id=ids[0])
            clients[0].ask("PUT", lock, Session_Id=ids[0])
            for turn in range(count):
                holder, waiter = turn % 2, 1 - turn % 2
                clients[waiter].send("PUT", lock + "?wait_ms=10000", Session_Id=ids[waiter])
                time.sleep(0.001)  # so that it waits, rather than comes at the same time
                start = time.perf_counter_ns()
                clients[holder].send("DELETE", lock, Session_Id=ids[holder])
                clients[waiter].receive()
                over.append(time.perf_counter_ns() - start)
                clients[holder].receive()
            base, found = statistics.median(single) / 1000, statistics.median(over) / 1000
            rows += [[f"{kind}: one lock, uncontended, round trip", f"p50 {base:.0f} µs"],
                     [f"{kind}: handover from client to client",
                      f"p50 {found:.0f} µs, p99 {percentile(over, 0.99) / 1000:.0f} µs"]]
            report.goal(f"handover, {kind}", "p50 ÷ uncontended round trip", found / base, 2, True)
            for one in clients:
                one.close()
        ours = contend(server, 8, count // 10 + 1)
    with Redis() as redis:
        polls = contend_redis(redis, 8, count // 10 + 1)
    rows += [["requests a grant, 8 clients that hold for 5 ms", f"{ours:.1f}"],
             ["the same with redis SET NX, asking every millisecond", f"{polls:.1f}"]]
    report.goal("handover", "redis requests ÷ ours", polls / ours, 10, False)
    report.facts("Handover of a contended lock", rows)
    if PYTHON.exists():
        handover_qt(report, count // 3)
    else:
        report.say("\n(no .venv: handover to Qt is left out; scripts/bootstrap --tests makes it)")


def contend(server, clients, turns):
    """Requests for each grant of a lock that several clients want all the time."""
    asked = []

    def run():
        client = server.client()
        session = client.open_session()
        client.create(session, "posix:/c", 4096)
        count = 0
        for _ in range(turns):
            client.ask("PUT", "/v1/segments/posix:%2Fc/lock?wait_ms=60000", Session_Id=session)
            time.sleep(0.005)
            client.ask("DELETE", "/v1/segments/posix:%2Fc/lock", Session_Id=session)
            count += 2
        asked.append(count)
        client.close()

    together(clients, run)
    return sum(asked) / (clients * turns)


def contend_redis(redis, clients, turns):
    asked = []

    def run():
        client = Client(redis.port)

        def command(*words):
            client.socket.sendall(
                b"*%d\r\n" % len(words)
                + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
            return client.socket.recv(4096)

        count = 0
        for _ in range(turns):
            while True:
                count += 1
                if command(b"SET", b"lock", b"me", b"NX", b"PX", b"10000").startswith(b"+OK"):
                    break
                time.sleep(0.001)
            time.sleep(0.005)
            command(b"DEL", b"lock")
            count += 1
        asked.append(count)
        client.close()

    together(clients, run)
    return sum(asked) / (clients * turns)


def together(count, run):
    threads = [threading.Thread(target=run) for _ in range(count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


QT = """
import sys, time
from PyQt6.QtCore import QSharedMemory, QNativeIpcKey
memory = QSharedMemory(QNativeIpcKey("/q", QNativeIpcKey.Type.PosixRealtime))
assert memory.attach(), memory.errorString()
print("ready", flush=True)
for line in sys.stdin:
    if line.startswith("lock"):
        print("going", flush=True)
        memory.lock()
        print(time.monotonic_ns(), flush=True)
    else:
        at = time.monotonic_ns()
        memory.unlock()
        print(at, flush=True)
"""


def handover_qt(report, count):
    """Between an HTTP client and a Qt process in the server's namespaces."""
    with Segmentd() as server:
        client = server.client()
        session = client.open_session()
        client.create(session, "posix:/q", 4096)
        lock = "/v1/segments/posix:%2Fq/lock"
        qt = subprocess.Popen(
            ["nsenter", "--ipc", "--mount", "--target", str(server.process.pid), str(PYTHON), "-c",
             QT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        try:
            if qt.stdout.readline() != "ready\n":
                report.say("\n(no PyQt6 here: handover to Qt is left out)")
                return
            to_qt, from_qt = [], []
            for _ in range(count):
                client.ask("PUT", lock + "?wait_ms=10000", Session_Id=session)
                qt.stdin.write("lock\n")
                qt.stdout.readline()
                time.sleep(0.002)
                start = time.monotonic_ns()
                client.send("DELETE", lock, Session_Id=session)
                to_qt.append(int(qt.stdout.readline()) - start)
                client.receive()
                client.send("PUT", lock + "?wait_ms=10000", Session_Id=session)
                time.sleep(0.002)
                qt.stdin.write("unlock\n")
                client.receive()
                end = time.monotonic_ns()
                from_qt.append(end - int(qt.stdout.readline()))
                client.ask("DELETE", lock, Session_Id=session)
        finally:
            qt.stdin.close()
            qt.wait(20)
        report.facts("Handover between HTTP and a Qt process (POSIX)", [
            ["from HTTP to Qt", f"p50 {statistics.median(to_qt) / 1000:.0f} µs"],
            ["from Qt to HTTP", f"p50 {statistics.median(from_qt) / 1000:.0f} µs"]])


# -- Sessions -----------------------------------------------------------------------------------

def sessions(report, rounds):
    with Segmentd() as server:
        client = server.client()
        count = 2000
        opened = [Client.bytes("POST", "/v1/sessions", b"{}")] * count
        rates, costs = [], []
        for _ in range(rounds):
            cpu, start = server.cpu(), time.perf_counter()
            ids = [one.split(b'"')[3].decode() for one in client.many(opened)]
            client.many([Client.bytes("DELETE", f"/v1/sessions/{one}") for one in ids])
            rates.append(2 * count / (time.perf_counter() - start))
            costs.append((server.cpu() - cpu) / 2 / count / 1000)
        report.facts("Sessions opened and ended, pipelined on one connection", [
            ["requests/s", f"{statistics.median(rates):,.0f}"],
            ["CPU a request", f"{statistics.median(costs):.1f} µs"]])


def open_many(client, count, body=b'{"ttl_ms":3600000}'):
    request = Client.bytes("POST", "/v1/sessions", body)
    return [one.split(b'"')[3].decode() for one in client.many([request] * count)]


# -- Memory -------------------------------------------------------------------------------------

def memory(report):
    rows = []
    with Segmentd() as server:
        client = server.client()
        client.ask("GET", "/livez")
        idle = server.resident()
        rows.append(["idle", f"{idle / MIB:.1f} MiB"])
        report.goal("memory", "idle", idle / MIB, 12, True, " MiB")

        open_many(client, 1000)
        before, count = server.resident(), 50_000
        open_many(client, count)
        each = (server.resident() - before) / count
        rows.append(["a session", f"{each:.0f} B"])
        report.goal("memory", "a session", each, 1024, True, " B")

    with Segmentd() as server:
        client = server.client()
        count = 20_000
        ids = open_many(client, count)
        client.create(ids[0], "posix:/a", 4096)
        attach = [Client.bytes("PUT", "/v1/segments/posix:%2Fa/attachment", Session_Id=one)
                  for one in ids[1:]]
        client.many(attach[:500])
        before = server.resident()
        client.many(attach[500:])
        each = (server.resident() - before) / (len(attach) - 500)
        rows.append(["an attachment", f"{each:.0f} B"])
        report.goal("memory", "an attachment", each, 512, True, " B")

    with Segmentd() as server:
        client = server.client()
        session = client.open_session()
        client.create(session, "posix:/big", 1024 * MIB)
        before, most = server.resident() - shared(server), 0
        client.send("GET", "/v1/segments/posix:%2Fbig/data", Session_Id=session)
        left = 1024 * MIB
        while left > 0:
            left -= len(client.socket.recv(4 * MIB))
            most = max(most, server.resident() - shared(server))
        more = max(0, most - before)
        rows.append(["a read of 1 GiB, beyond the segment's own pages", f"{more / MIB:.1f} MiB"])
        report.goal("memory", "a read of 1 GiB", more / MIB, 4, True, " MiB")

    with Segmentd() as server:
        client = server.client()
        holder = client.open_session()
        client.create(holder, "posix:/w", 4096)
        client.ask("PUT", "/v1/segments/posix:%2Fw/lock", Session_Id=holder)
        ids = open_many(client, 1100)
        client.many([Client.bytes("PUT", "/v1/segments/posix:%2Fw/attachment", Session_Id=one)
                     for one in ids])

        def wait(one):
            waiter = server.client()
            waiter.ask("GET", "/livez")  # a kept connection, whose memory has been used before
            waiter.send("PUT", "/v1/segments/posix:%2Fw/lock?wait_ms=300000", Session_Id=one)
            return waiter

        waiters = [wait(one) for one in ids[:100]]
        settled(server, client, "/v1/segments/posix:%2Fw/lock", 100)
        before = server.resident()
        waiters += [wait(one) for one in ids[100:]]
        settled(server, client, "/v1/segments/posix:%2Fw/lock", 1100)
        each = (server.resident() - before) / 1000
        rows.append(["a waiter", f"{each / 1024:.1f} KiB"])
        report.goal("memory", "a waiter", each / 1024, 24, True, " KiB")
        for one in waiters:
            one.close()

        def hold(one):
            stream = server.client()
            stream.send("GET", f"/v1/sessions/{one}/hold")
            stream.more()
            return stream

        time.sleep(0.5)
        streams = [hold(one) for one in ids[:100]]
        before = server.resident()
        streams += [hold(one) for one in ids[100:600]]
        each = (server.resident() - before) / 500
        rows.append(["a stream", f"{max(0, each) / 1024:.1f} KiB"])
        for one in streams:
            one.close()
    report.facts("Memory", rows)


def shared(server):
    """Bytes of shared memory among the resident ones: the segment that is looked at."""
    for line in open(f"/proc/{server.process.pid}/status"):
        if line.startswith("RssShmem:"):
            return int(line.split()[1]) * 1024
    return 0


def settled(server, client, path, count):
    deadline = time.monotonic() + 60
    while f'"waiting":{count}'.encode() not in client.ask("GET", path):
        if time.monotonic() > deadline:
            raise SystemExit(f"{count} waiters never came: {client.ask('GET', path)}")
        time.sleep(0.02)


# -- Growth -------------------------------------------------------------------------------------

def growth(report, rounds):
    few, many = Segmentd("--max-sessions", "200000"), Segmentd(
        "--max-sessions", "300000", "--max-segments", "20000",
        "--max-attachments-per-session", "20000")
    with few, many:
        for server in (few, many):
            client = server.client()
            server.session = client.open_session()
            client.create(server.session, "posix:/one", MIB)
            client.create(server.session, "one", MIB, native=False)
            client.close()
        client = many.client()
        before = time.monotonic()
        open_many(client, 100_000)
        opening = time.monotonic() - before
        requests = []
        for number in range(4_000):
            requests.append(Client.bytes(
                "POST", "/v1/segments", f'{{"key":"s{number}","size":4096}}'.encode(),
                Session_Id=many.session))
        for number in range(10_000):
            requests.append(Client.bytes(
                "POST", "/v1/segments",
                f'{{"native_key":"posix:/p{number}","size":4096,"on_last_detach":"keep"}}'.encode(),
                Session_Id=many.session))
            # An attachment takes two descriptors, of which the system has not enough for all.
            if number >= 4_000:
                requests.append(Client.bytes(
                    "DELETE", f"/v1/segments/posix:%2Fp{number}/attachment",
                    Session_Id=many.session))
        # A few key files may share a System V key with another, as their numbers on the disk want it.
        answers = client.many(requests, expect=(200, 201, 204, 409))
        refused = [one for one in answers if b'"/problems/' in one]
        if len(refused) > 40 or not all(b"key-collision" in one for one in refused):
            raise AssertionError(f"{len(refused)} refused: {refused[:3]}")
        for kind, path in (("POSIX", "posix:%2Fone"), ("System V", "one")):
            def read(server, named, path=path):
                headers = ["Range: bytes=0-63"]
                if named:
                    headers.append(f"Session-Id: {server.session}")
                return lambda: wrk(server, f"/v1/segments/{path}/data", 1, 32, headers=headers)

            found = interleave({
                "one": read(few, False), "many": read(many, False),
                "one, session": read(few, True), "many, session": read(many, True)}, rounds)
            report.section(
                f"Read 64 B, {kind}, with 100,000 sessions and 14,000 segments or one", found)
            for with_session in ("", ", session"):
                report.goal(
                    f"growth, {kind}{with_session}", "CPU ÷ CPU with one",
                    ratio(found["many" + with_session], found["one" + with_session], "cpu"), 1.15, True)

    with Segmentd("--max-sessions", "200000") as server:
        client, prober = server.client(), server.client()
        session = client.open_session()
        client.create(session, "posix:/one", MIB)
        # Each lives only as long as is left until one moment, so that all end then.
        start = time.monotonic()
        moment = start + 3 * opening + 2
        for _ in range(100_000 // 64):
            left = moment - time.monotonic()
            if left < 1:
                raise SystemExit("this machine is too busy to open 100,000 sessions in that time")
            open_many(client, 64, b'{"ttl_ms":%d}' % (left * 1000))
        opened = time.monotonic() - start
        time.sleep(max(0, moment - 1 - time.monotonic()))
        times, usual = [], []
        while (before := time.monotonic()) < moment + 6:
            prober.ask("GET", "/v1/segments/posix:%2Fone/data?length=64", Session_Id=session)
            (times if before > moment - 0.1 else usual).append(time.monotonic() - before)
        longest = max(times)
        left = client.ask("GET", "/v1/sessions").count(b'"id"') - 1
        report.facts("100,000 sessions that expire at one moment", [
            ["opened in", f"{opened:.1f} s"],
            ["left six seconds later", str(left)],
            ["the longest request in that time", f"{longest * 1000:.1f} ms"],
            ["the longest in the second before", f"{max(usual) * 1000:.1f} ms"]])
        report.goal("100,000 sessions expire", "longest request", longest * 1000, 20, True, " ms")


# -- Waiting ------------------------------------------------------------------------------------

def waiting(report, count=10_000):
    """So many requests wait for one lock; then all are served."""
    with Segmentd("--max-connections", str(count + 100),
                  "--max-connections-per-address", str(count + 100), "--idle-timeout", "600") as server:
        client = server.client()
        holder = client.open_session()
        client.create(holder, "posix:/w", 4096)
        lock = "/v1/segments/posix:%2Fw/lock"
        client.ask("PUT", lock, Session_Id=holder)
        ids = open_many(client, count)
        client.many([Client.bytes("PUT", "/v1/segments/posix:%2Fw/attachment", Session_Id=one)
                     for one in ids])
        cpu, start = server.cpu(), time.monotonic()
        waiters = []
        for one in ids:
            waiter = server.client()
            waiter.send("PUT", lock + "?wait_ms=300000", Session_Id=one)
            waiters.append(waiter)
        settled(server, client, lock, count)
        came = (server.cpu() - cpu) / count / 1000
        time.sleep(1)
        cpu = server.cpu()
        time.sleep(5)
        idle = (server.cpu() - cpu) / 5e9
        cpu = server.cpu()
        client.ask("DELETE", lock, Session_Id=holder)
        for waiter, one in zip(waiters, ids):
            waiter.receive()
            waiter.ask("DELETE", lock, Session_Id=one)
        served = (server.cpu() - cpu) / count / 1000
        for one in waiters:
            one.close()
        report.facts(f"{count:,} requests that wait for one lock", [
            ["CPU for each to come and wait", f"{came:.1f} µs"],
            ["CPU while all wait", f"{idle * 100:.2f} %"],
            ["CPU for each grant and unlock", f"{served:.1f} µs"]])
        report.goal(f"{count:,} waiting locks", "CPU", idle * 100, 0.5, True, " %")


# -- Start --------------------------------------------------------------------------------------

def start(report, count):
    times = []
    for _ in range(count):
        server = Segmentd()
        before = time.monotonic()
        server.start()
        client = server.client()
        client.ask("GET", "/readyz")
        times.append((time.monotonic() - before) * 1000)
        client.close()
        server.stop()
    found = statistics.median(times)
    rows = [["ready, with namespaces, exec and the first answer", f"p50 {found:.0f} ms"]]
    report.goal("start", "ready", found, 50, True, " ms")
    recovered = recovery()
    if recovered is not None:
        rows.append(["ready, with 10,000 sessions to recover", f"{recovered:.0f} ms"])
        report.goal("start", "10,000 sessions recovered", recovered, 500, True, " ms")
    report.facts("Start", rows)


def recovery():
    """How long a start takes after a kill with 10,000 sessions; None where none are recovered."""
    server = Segmentd()
    with server:
        client = server.client()
        ids = open_many(client, 10_000)
        again = Segmentd()
        again.home, again.port = server.home, server.port
        # In the same namespaces, which end with the last process in them.
        keeper = subprocess.Popen(
            ["nsenter", "--ipc", "--mount", "--target", str(server.process.pid), "sleep", "60"])
        try:
            time.sleep(1)
            server.process.kill()
            server.process.wait()
            before = time.monotonic()
            again.process = subprocess.Popen(
                ["nsenter", "--ipc", "--mount", "--target", str(keeper.pid), *again.command()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env=dict(os.environ, TMPDIR=str(again.home), XDG_RUNTIME_DIR=str(again.home / "run")))
            while True:
                try:
                    client = again.client()
                    break
                except OSError:
                    if time.monotonic() > before + 20:
                        raise SystemExit("did not start again") from None
                    time.sleep(0.001)
            client.ask("GET", "/readyz")
            took = (time.monotonic() - before) * 1000
            client.send("GET", f"/v1/sessions/{ids[0]}")
            status, _ = client.receive()
            server.process = again.process
            return took if status == 200 else None
        finally:
            keeper.kill()
            keeper.wait()
