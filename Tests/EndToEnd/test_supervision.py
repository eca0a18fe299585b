"""What looks after a running server: `segmentd health`, and a service manager's notifications."""
import os
import signal
import socket
import threading
import time

import pytest

from harness.client import Api
from harness.server import run
from harness.waiting import stays


def health(environment, *arguments, **variables):
    return run("health", *arguments, environment={**environment, **variables})


def address(server):
    return "{}:{}".format(*server.address)


# segmentd health

def test_a_server_that_is_ready_is_healthy(server, environment):
    result = health(environment, "--listen", address(server))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_health_asks_where_the_server_was_told_to_listen(server, environment):
    assert health(environment, SEGMENTD_LISTEN=address(server)).returncode == 0
    localhost = f"localhost:{server.address[1]}"
    assert health(environment, SEGMENTD_LISTEN=localhost).returncode == 0


def test_a_server_that_is_not_there_is_not_healthy(environment):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    result = health(environment, "--listen", f"127.0.0.1:{port}")
    assert result.returncode == 1
    assert "Connection refused" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_server_that_was_stopped_is_not_healthy(start_server, environment):
    server = start_server()
    assert health(environment, "--listen", address(server)).returncode == 0
    server.stop()
    assert health(environment, "--listen", address(server)).returncode == 1


@pytest.mark.parametrize("octets, words", [
    (b"", "hangs up"),
    (b"SSH-2.0-OpenSSH\r\n", "something else than HTTP"),
    (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "503"),
    (None, "too long"),
])
def test_a_strange_answer_is_no_health(environment, octets, words):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                if octets is None:
                    connection.recv(4096)  # until the other side gives up
                else:
                    connection.sendall(octets)

        thread = threading.Thread(target=answer)
        thread.start()
        result = health(environment, "--timeout", "1", "--listen",
                        f"127.0.0.1:{listener.getsockname()[1]}")
        thread.join(10)
    assert result.returncode == 1
    assert words in result.stderr


@pytest.mark.parametrize("arguments", [("--listen", "nowhere"), ("--timeout", "0"),
                                       ("--timeout", "soon"), ("--path", "x"), ("surplus",)])
def test_a_bad_flag_of_health_is_named(environment, arguments):
    result = health(environment, *arguments)
    assert result.returncode == 64
    assert arguments[0] in result.stderr


def test_another_path_can_be_asked_for(server, environment):
    assert health(environment, "--listen", address(server), "--path", "/livez").returncode == 0
    assert health(environment, "--listen", address(server), "--path", "/no").returncode == 1


# A service manager

class Manager:
    """The side of sd_notify(3) that listens."""

    def __init__(self, name):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(name)
        self.socket.settimeout(10)

    def next(self):
        return self.socket.recv(4096).decode().splitlines()

    def is_silent(self, seconds):
        self.socket.setblocking(False)
        try:
            while True:  # what is on its way already
                self.socket.recv(4096)
        except BlockingIOError:
            pass

        def is_empty():
            try:
                return not self.socket.recv(4096)
            except BlockingIOError:
                return True

        try:
            return stays(is_empty, seconds)
        finally:
            self.socket.settimeout(10)


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("n")
    name = str(directory / "notify") if request.param == "path" else f"\0segmentd-{os.urandom(8).hex()}"
    one = Manager(name)
    one.variable = name.replace("\0", "@")
    yield one
    one.socket.close()


def test_the_manager_hears_of_start_and_stop(manager, start_server, environment):
    server = start_server(environment={**environment, "NOTIFY_SOCKET": manager.variable})
    first = manager.next()
    assert "READY=1" in first
    assert any(line.startswith("STATUS=") and str(server.address[1]) in line for line in first)
    server.send(signal.SIGTERM)
    assert manager.next() == ["STOPPING=1"]
    assert server.wait() == 0


def test_the_manager_hears_of_a_reload(manager, start_server, environment):
    server = start_server(environment={**environment, "NOTIFY_SOCKET": manager.variable})
    assert "READY=1" in manager.next()
    for _ in range(2):
        before = time.monotonic()
        server.send(signal.SIGHUP)
        begun = dict(line.split("=") for line in manager.next())
        assert begun["RELOADING"] == "1"
        assert before <= int(begun["MONOTONIC_USEC"]) / 1e6 + 1e-6 <= time.monotonic()
        assert manager.next() == ["READY=1"]


def test_the_manager_hears_that_all_is_well(manager, start_server, environment):
    server = start_server(environment={
        **environment, "NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": "150000"})
    assert "READY=1" in manager.next()
    for _ in range(5):
        assert manager.next() == ["WATCHDOG=1"]
    server.send(signal.SIGSTOP)
    assert manager.is_silent(0.5)
    server.send(signal.SIGCONT)
    assert manager.next() == ["WATCHDOG=1"]


def test_no_watchdog_that_is_meant_for_another_process(manager, start_server, environment):
    start_server(environment={**environment, "NOTIFY_SOCKET": manager.variable,
                              "WATCHDOG_USEC": "50000", "WATCHDOG_PID": "1"})
    assert "READY=1" in manager.next()
    assert manager.is_silent(0.5)


@pytest.mark.parametrize("name", ["", "relative", "/nowhere/at/all", "@" + "x" * 200])
def test_a_manager_that_cannot_be_told_is_no_trouble(start_server, environment, name):
    server = start_server(environment={**environment, "NOTIFY_SOCKET": name})
    Api(server.address).get("/readyz", expect=200)
    server.stop()
