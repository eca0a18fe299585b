"""Loads, what they measure, and the table of it."""
import csv
import io
import os
import pathlib
import statistics
import subprocess

HERE = pathlib.Path(__file__).parent


class Figures:
    """The medians of a contestant's rounds."""

    def __init__(self):
        self.rounds = []

    def add(self, **figures):
        self.rounds.append(figures)

    def __getattr__(self, name):
        values = [one[name] for one in self.rounds if one.get(name) is not None]
        return statistics.median(values) if values else None


def ratio(one, other, figure):
    """How two contestants stand to each other in a figure: the median of the rounds' ratios.

    The clock of a machine may change from one minute to the next; within a round it seldom does.
    """
    pairs = zip(one.rounds, other.rounds, strict=True)
    return statistics.median(mine[figure] / theirs[figure] for mine, theirs in pairs)


def wrk(server, path, seconds, connections, method="GET", body=0, headers=(), alternate=None):
    """One run of wrk against a server."""
    environment = dict(
        os.environ, METHOD=method, BODY_BYTES=str(body), HEADERS="\n".join(headers))
    if alternate:
        environment["ALTERNATE"] = alternate
    before = server.cpu()
    run = subprocess.run(
        ["wrk", "--threads", "1", "--connections", str(connections), "--duration",
         f"{seconds}s", "--timeout", "20s", "--script", str(HERE / "load.lua"), server.url + path],
        env=environment, capture_output=True, text=True)
    cpu = server.cpu() - before
    lines = [line for line in run.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise SystemExit(f"wrk failed: {run.stdout}{run.stderr}")
    requests, micros, byte_count, p50, p99, longest, errors = map(int, lines[0].split()[1:])
    # A lock whose grant a client did not hear of, since it stopped, is given back a little later.
    if errors > (2 if alternate else 0) or requests == 0:
        raise SystemExit(f"{server.name} {method} {path}: {errors} errors, {requests} requests")
    return dict(
        rate=requests / micros * 1e6, cpu=cpu / requests / 1000, p50=p50, p99=p99, max=longest,
        bandwidth=byte_count / micros * 1e6)


def redis_benchmark(server, count, connections, *command, body=None):
    """One run of redis-benchmark; `body` is sent as the last argument."""
    arguments = ["redis-benchmark", "-p", str(server.port), "-c", str(connections), "-n",
                 str(count), "-P", "1", "--csv"]
    if body:
        arguments.append("-x")
    before = server.cpu()
    run = subprocess.run(
        [*arguments, *command], capture_output=True, check=True,
        input=b"x" * body if body else None)
    cpu = server.cpu() - before
    row = next(csv.DictReader(io.StringIO(run.stdout.decode())))
    return dict(
        rate=float(row["rps"]), cpu=cpu / count / 1000, p50=float(row["p50_latency_ms"]) * 1000,
        p99=float(row["p99_latency_ms"]) * 1000, max=float(row["max_latency_ms"]) * 1000,
        bandwidth=None)


def interleave(contestants, rounds):
    """Runs each contestant's load once a round, in turns.

    `contestants` maps a name to a function that runs its load and returns figures.
    """
    found = {name: Figures() for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            found[name].add(**run())
    return found


class Report:
    """The table: what was measured, and how it stands to the goals."""

    def __init__(self):
        self.sections = []
        self.goals = []

    def section(self, title, found):
        rows = [
            [name, f"{one.rate:,.0f}", f"{one.cpu:.2f}", f"{one.p50:,.0f}", f"{one.p99:,.0f}",
             f"{one.bandwidth / 1e9:.2f}" if one.bandwidth else ""]
            for name, one in found.items()]
        text = self.table(
            ["", "requests/s", "CPU µs/request", "p50 µs", "p99 µs", "GB/s"], rows)
        self.say(f"\n### {title}\n\n{text}")

    def facts(self, title, rows):
        self.say(f"\n### {title}\n\n" + self.table(["", "measured"], rows))

    def goal(self, work, what, value, limit, at_most, unit=""):
        met = value <= limit if at_most else value >= limit
        self.goals.append([
            work, what, f"{'≤' if at_most else '≥'} {limit:g}{unit}", f"{value:.3g}{unit}",
            "yes" if met else "**no**"])

    def finish(self):
        if self.goals:
            self.say("\n### Goals\n\n" + self.table(
                ["work", "figure", "goal", "measured", "met"], self.goals))

    @staticmethod
    def table(head, rows):
        lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join(lines)

    @staticmethod
    def say(text):
        print(text, flush=True)
