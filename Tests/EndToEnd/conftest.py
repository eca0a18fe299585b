"""Fixtures of the end-to-end tests."""
import os
import shutil
import tempfile
import uuid

import pytest

from harness import kernel
from harness.client import Api
from harness.differential import LEDGER
from harness.isolation import isolate
from harness.qt import QtPeer
from harness.server import Server
from harness.stage import Stage
from harness.waiting import wait_until

isolation = "not tried"


def pytest_configure(config):
    """One namespace for each worker; the one that only hands out tests needs none."""
    global isolation
    if not getattr(config.option, "numprocesses", None):
        isolation = isolate()


def pytest_report_header():
    return f"shared memory: {isolation}"


def pytest_terminal_summary(terminalreporter):
    """How often each known difference from Qt was met."""
    if LEDGER.steps:
        terminalreporter.section("against Qt")
        terminalreporter.write_line(str(LEDGER))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failed test shows the logs of the servers that it used."""
    report = (yield).get_result()
    if report.failed:
        for name in ("server", "start_server"):
            used = item.funcargs.get(name)
            servers = getattr(used, "started", [used] if used else [])
            for server in servers:
                lines = server.log().splitlines()[-60:]
                report.sections.append((f"log of server {server.pid}", "\n".join(lines)))


@pytest.fixture(scope="session")
def temporary_directory():
    """TMPDIR of the server and of the Qt processes: where key files lie."""
    path = tempfile.mkdtemp(prefix="segmentd-e2e-")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def runtime_directory(temporary_directory):
    """XDG_RUNTIME_DIR of the server and of the Qt processes."""
    path = os.path.join(temporary_directory, "run")
    os.mkdir(path, 0o700)
    return path


@pytest.fixture(scope="session")
def environment(temporary_directory, runtime_directory):
    names = ("PATH", "HOME", "LD_LIBRARY_PATH", "QTPEER_BINDING",
             "ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "TMPDIR": temporary_directory,
            "XDG_RUNTIME_DIR": runtime_directory}


@pytest.fixture(autouse=True)
def no_debris(temporary_directory, runtime_directory):
    """Fails a test that leaves a segment, a semaphore or a key file behind; cleans up after it.

    A test about leftovers calls `no_debris.clean()` itself.
    """
    world = kernel.World([temporary_directory, runtime_directory])
    yield world
    try:
        wait_until(lambda: not world.new(), 2.0)
    except AssertionError:
        pytest.fail(f"left behind: {sorted(map(str, world.clean()))}", pytrace=False)


@pytest.fixture(scope="session")
def server(environment):
    """The server that tests share; whoever stops, signals or starves one starts another."""
    shared = Server(environment)
    yield shared
    shared.stop()


@pytest.fixture
def api(server, no_debris):
    """A client of the shared server; the sessions it opened end with the test."""
    client = Api(server.address)
    yield client
    client.end_sessions()
    client.close()
    assert server.is_running, "the server is gone"


@pytest.fixture
def start_server(environment, no_debris):
    """A function that starts a server of the test's own."""
    def start(*arguments, environment=environment, **how):
        one = Server(environment, arguments, **how)
        start.started.append(one)
        return one

    def restart(one, api=None, **how):
        """kill -9, and start again with the same state; `api` follows to the new address."""
        one.crash()
        again = one.restart(**how)
        start.started.append(again)
        if api is not None:
            api.close()
            api.address = again.address
        return again

    start.restart = restart
    start.started = []
    yield start
    for one in start.started:
        if one.is_running:
            one.stop()


@pytest.fixture
def qt(environment, no_debris):
    """A function that starts a Qt process; it quits with the test."""
    peers = []

    def start():
        peers.append(QtPeer(environment))
        return peers[-1]

    yield start
    for peer in peers:
        peer.quit()


@pytest.fixture
def stage(environment, no_debris):
    one = Stage(environment)
    yield one
    one.close()


@pytest.fixture
def old_qt(environment, no_debris):
    """A process with Qt 5.15, which Debian's own Python has; it knows legacy keys only."""
    one = QtPeer({**environment, "QTPEER_BINDING": "PyQt5"}, python="/usr/bin/python3")
    yield one
    one.quit()


@pytest.fixture
def peer(qt):
    """One Qt process."""
    return qt()


@pytest.fixture
def stem():
    """A plain key that nobody else uses."""
    return "e" + uuid.uuid4().hex


@pytest.fixture
def names(stem, temporary_directory):
    """The unused names of all kinds: `names["posix"]`, `names["systemv"]`, `names["legacy"]`."""
    return {
        "posix": kernel.posix_name(stem),
        "systemv": kernel.systemv_name(stem, temporary_directory),
        "legacy": kernel.legacy_name(stem, temporary_directory),
    }


@pytest.fixture(params=["posix", "systemv", "legacy"])
def name(request, names):
    """An unused name; the test runs once for each kind of key."""
    return names[request.param]


@pytest.fixture(params=["systemv", "legacy"])
def systemv(request, names):
    """An unused System V name, native and legacy."""
    return names[request.param]


@pytest.fixture
def posix(names):
    """An unused POSIX name."""
    return names["posix"]


@pytest.fixture
def legacy(names):
    """An unused Qt key."""
    return names["legacy"]
