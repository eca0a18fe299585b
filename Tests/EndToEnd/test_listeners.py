"""Where the server listens: TCP, Unix sockets, sockets it was started with; and who may use them."""
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest

from harness.client import Api, Stream, connect, exchange, raw
from harness.server import program, run
from harness.waiting import wait_until


def error_line(result):
    """The one line of a start that fails."""
    assert result.returncode not in (0, -6, -11), result
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


def answers(address):
    api = Api(address)
    try:
        return api.get("/livez").body == b"ok\n"
    finally:
        api.close()


def port(place):
    return int(place.rsplit(":", 1)[1])


# Several

def test_every_listener_is_served_and_named_in_the_start_line(start_server, tmp_path):
    path = str(tmp_path / "s")
    server = start_server(listen=("127.0.0.1:0", f"unix:{path}", "[::1]:0", "127.0.0.2:0"))
    first, unix, six, second = server.places
    assert first.startswith("http://127.0.0.1:") and second.startswith("http://127.0.0.2:")
    assert unix == f"unix:{path}" and six.startswith("http://[::1]:")
    for address in [("127.0.0.1", port(first)), path, ("::1", port(six)),
                    ("127.0.0.2", port(second))]:
        assert answers(address)


def test_a_variable_names_several_listeners(start_server, environment, tmp_path):
    paths = [str(tmp_path / name) for name in "abc"]
    text = f"unix:{paths[0]}, unix:{paths[1]} unix:{paths[2]}"
    server = start_server(listen=(), environment={**environment, "SEGMENTD_LISTEN": text})
    assert server.places == [f"unix:{path}" for path in paths]
    assert all(map(answers, paths))


@pytest.mark.parametrize("place", [
    "unix:relative", "unix:", "unix:@abstract", "127.0.0.1", "example.org:80", "*:80", "::1:80",
    "fe80::1%lo:80", "[127.0.0.1]:80"])
def test_what_is_no_place_to_listen_at_is_named(environment, tmp_path, place):
    result = run("--listen", place, "--state-dir", str(tmp_path / "s"), environment=environment)
    assert result.returncode == 64
    assert f"--listen: '{place}'" in error_line(result)


def test_a_start_that_fails_at_the_second_listener_leaves_nothing(environment, tmp_path):
    path = tmp_path / "s"
    result = run("--listen", f"unix:{path}", "--listen", "192.0.2.1:0", "--insecure",
                 "--state-dir", str(tmp_path / "state"), environment=environment)
    assert "192.0.2.1:0" in error_line(result)
    assert not path.exists() and not (tmp_path / "state").exists()


def test_the_stop_is_prompt_with_clients_at_every_listener(start_server, tmp_path):
    path = str(tmp_path / "s")
    server = start_server(listen=("127.0.0.1:0", f"unix:{path}", "[::1]:0"))
    addresses = [server.address, path, ("::1", port(server.places[2]))]
    streams = []
    for address in addresses:
        api = Api(address)
        session = api.session()
        streams.append(Stream(address, session.href + "/hold"))
    idle = [connect(address) for address in addresses]
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 5
    assert all(stream.has_ended(1) for stream in streams)
    assert not os.path.exists(path)
    for connection in idle:
        connection.close()


# Unix sockets

@pytest.mark.parametrize("arguments, mode", [((), 0o600), (("--socket-mode", "660"), 0o660),
                                             (("--socket-mode", "0666"), 0o666)])
def test_a_unix_socket_has_the_mode_asked_for(start_server, tmp_path, arguments, mode):
    path = tmp_path / "s"
    start_server(*arguments, listen=(f"unix:{path}",))
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("mode", ["rw", "0o600", "1777", "8", ""])
def test_a_mode_that_is_none_is_named(environment, tmp_path, mode):
    result = run("--socket-mode", mode, "--state-dir", str(tmp_path), environment=environment)
    assert result.returncode == 64 and "--socket-mode" in error_line(result)


def test_a_stale_socket_is_replaced(start_server, tmp_path):
    path = str(tmp_path / "s")
    first = start_server(listen=(f"unix:{path}",))
    first.send(signal.SIGKILL)
    first.wait()
    assert os.path.exists(path)
    start_server(listen=(f"unix:{path}",))
    assert answers(path)


def test_a_live_socket_is_refused(start_server, environment, tmp_path):
    path = str(tmp_path / "s")
    start_server(listen=(f"unix:{path}",))
    result = run("--listen", f"unix:{path}", "--state-dir", str(tmp_path / "other"),
                 environment=environment)
    assert path in error_line(result)
    assert answers(path)


def test_a_live_socket_whose_queue_is_full_is_refused_at_once(environment, tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(path)
        busy.listen(0)
        waiting = []
        while True:
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            waiting.append(client)
            if client.connect_ex(path):
                break
        result = run("--listen", f"unix:{path}", "--state-dir", str(tmp_path / "state"),
                     environment=environment)
        assert path in error_line(result) and os.path.exists(path)
        for client in waiting:
            client.close()


@pytest.mark.parametrize("make", [
    lambda path: path.write_text("mine"), lambda path: path.mkdir(),
    lambda path: path.symlink_to("/nowhere")], ids=["file", "directory", "link"])
def test_another_file_is_left_alone(environment, tmp_path, make):
    path = tmp_path / "s"
    make(path)
    before = path.lstat()
    result = run("--listen", f"unix:{path}", "--state-dir", str(tmp_path / "state"),
                 environment=environment)
    assert str(path) in error_line(result)
    assert path.lstat() == before


def test_a_socket_that_was_replaced_meanwhile_is_not_removed_at_the_stop(start_server, tmp_path):
    path = tmp_path / "s"
    server = start_server(listen=(f"unix:{path}",))
    path.unlink()
    path.write_text("somebody else's")
    server.stop()
    assert path.read_text() == "somebody else's"


def test_a_unix_socket_needs_no_host_and_tcp_does(start_server, tmp_path):
    path = str(tmp_path / "s")
    server = start_server(listen=("127.0.0.1:0", f"unix:{path}"))
    request = b"GET /livez HTTP/1.1\r\n\r\n"
    assert exchange(path, request).status == 200
    refused = exchange(server.address, request)
    assert (refused.status, refused.code) == (400, "invalid-request")
    refused.check()


def test_a_path_that_is_too_long_is_named(environment, tmp_path):
    path = tmp_path / ("x" * 120)
    result = run("--listen", f"unix:{path}", "--state-dir", str(tmp_path / "state"),
                 environment=environment)
    assert str(path) in error_line(result)


# Strangers

@pytest.mark.parametrize("place", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"])
def test_an_address_that_others_can_reach_takes_tokens_or_insecure(environment, tmp_path, place):
    result = run("--listen", "127.0.0.1:0", "--listen", place, "--state-dir", str(tmp_path),
                 environment=environment)
    assert result.returncode == 64
    line = error_line(result)
    assert place in line and "--insecure" in line and "--token-file" in line


@pytest.mark.parametrize("place", ["0.0.0.0:0", "[::]:0"])
def test_insecure_is_a_word_for_it(start_server, environment, place):
    host = "127.0.0.1" if place[0] == "0" else "::1"
    for how in ({"environment": {**environment, "SEGMENTD_INSECURE": "true"}}, None):
        server = start_server(*([] if how else ["--insecure"]), listen=(place,), **(how or {}))
        assert answers((host, port(server.places[0])))
        server.stop()


# Sockets the server is started with

LAUNCHER = """
import os, sys
count, program, *arguments = sys.argv[1:]
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count}
os.execv(program, [program, *arguments])
"""


class Launcher:
    """Starts the server as a service manager would: its sockets are descriptors 3, 4, …"""

    def __init__(self, start_server, environment):
        self.start_server, self.environment = start_server, environment

    def wrapper(self, sockets, count=None):
        moves = "; ".join(f"os.dup2({one.fileno()}, {number + 100})"
                          for number, one in enumerate(sockets))
        places = "; ".join(f"os.dup2({number + 100}, {number + 3}); os.close({number + 100})"
                           for number in range(len(sockets)))
        count = len(sockets) if count is None else count
        code = f"import os; {moves}; {places}\n{LAUNCHER}" if sockets else LAUNCHER
        return (sys.executable, "-c", code, str(count))

    def start(self, sockets, *arguments, listen=(), **variables):
        return self.start_server(
            *arguments, listen=listen, wrapper=self.wrapper(sockets),
            pass_fds=[one.fileno() for one in sockets],
            environment={**self.environment, **variables})

    def fail(self, sockets, tmp_path, *arguments, count=None, **variables):
        return subprocess.run(
            [*self.wrapper(sockets, count), program(), "--state-dir", str(tmp_path / "state"),
             *arguments],
            pass_fds=[one.fileno() for one in sockets], env={**self.environment, **variables},
            capture_output=True, text=True, timeout=10, check=False)


@pytest.fixture
def launcher(start_server, environment):
    return Launcher(start_server, environment)


def listening(address=("127.0.0.1", 0), family=socket.AF_INET):
    one = socket.socket(family)
    one.bind(address)
    one.listen(16)
    return one


def test_sockets_of_all_kinds_are_taken_over_and_outlive_the_server(launcher, tmp_path):
    path = str(tmp_path / "s")
    with listening() as four, listening(("::1", 0), socket.AF_INET6) as six, \
            listening(path, socket.AF_UNIX) as unix:
        for _ in range(2):
            server = launcher.start([four, six, unix], LISTEN_FDNAMES="four:six:unix")
            assert server.places == [f"http://127.0.0.1:{four.getsockname()[1]}",
                                     f"http://[::1]:{six.getsockname()[1]}", f"unix:{path}"]
            assert all(map(answers, [four.getsockname(), six.getsockname()[:2], path]))
            environ = open(f"/proc/{server.pid}/environ", "rb").read()
            assert b"LISTEN_FDS" in environ, "the kernel shows what the process was started with"
            server.stop()
        assert os.path.exists(path), "it is not ours"
        # The kernel keeps who comes between two servers.
        with connect(four.getsockname()) as early:
            early.sendall(raw("GET", "/livez"))
            launcher.start([four])
            assert early.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_flag_adds_to_the_sockets_taken_over(launcher):
    with listening() as one:
        server = launcher.start([one], listen=("127.0.0.1:0",))
        assert len(server.places) == 2
        assert all(answers(("127.0.0.1", port(place))) for place in server.places)


def test_the_variables_of_another_process_are_not_meant(start_server, environment):
    server = start_server(environment={**environment, "LISTEN_PID": "1", "LISTEN_FDS": "1"})
    assert len(server.places) == 1


@pytest.mark.parametrize("make", [
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    lambda: socket.socket(socket.AF_INET),
    lambda: socket.socketpair()[0],
], ids=["datagrams", "not listening", "connected"])
def test_what_does_not_listen_is_not_taken_over(launcher, tmp_path, make):
    with make() as wrong:
        result = launcher.fail([wrong], tmp_path, LISTEN_FDNAMES="web")
    assert "descriptor 3 is not a listening stream socket" in error_line(result)


def test_descriptors_that_are_not_there_are_not_taken_over(launcher, tmp_path):
    with listening() as one:
        assert "descriptor 5" in error_line(launcher.fail([one, one], tmp_path, count=3))


@pytest.mark.parametrize("count", ["many", "-1", "99999999999"])
def test_a_count_that_is_none_is_named(launcher, tmp_path, count):
    assert "LISTEN_FDS" in error_line(launcher.fail([], tmp_path, count=count))


def test_a_socket_taken_over_that_others_can_reach_takes_insecure(launcher, tmp_path):
    with listening(("0.0.0.0", 0)) as wide:
        line = error_line(launcher.fail([wide], tmp_path, LISTEN_FDNAMES="web"))
        assert "web (descriptor 3)" in line and "--insecure" in line
        server = launcher.start([wide], "--insecure")
        assert answers(("127.0.0.1", port(server.places[0])))


def test_systemd_activates_the_server_at_the_first_connection(environment, tmp_path):
    """The real systemd-socket-activate, over TCP and over a Unix socket."""
    activate = shutil.which("systemd-socket-activate")
    assert activate, "scripts/bootstrap --tests installs it"
    path = str(tmp_path / "s")
    with listening() as probe:
        number = probe.getsockname()[1]
    process = subprocess.Popen(
        [activate, "-l", f"127.0.0.1:{number}", "-l", path, "--fdname=web:local",
         *(f"-E{name}={value}" for name, value in environment.items()),
         program(), "--state-dir", str(tmp_path / "state")],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: os.path.exists(path), 10, "the socket")
        wait_until(lambda: answers(("127.0.0.1", number)), 10)
        assert answers(path)
        process.send_signal(signal.SIGTERM)  # it has become the server
        assert process.wait(5) == 0
        assert f"listening on http://127.0.0.1:{number}, unix:{path}" in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


# Limits

def test_every_limit_of_the_transport_is_shown(start_server):
    server = start_server(
        "--max-connections", "300", "--max-connections-per-address", "200", "--max-body-bytes",
        "5000", "--max-header-bytes", "9000", "--request-timeout", "7", "--idle-timeout", "9")
    api = Api(server.address)
    shown = api.get("/v1", expect=200).json["limits"]
    expected = {"max_connections": 300, "max_connections_per_address": 200, "max_body_bytes": 5000,
                "max_header_bytes": 9000, "request_timeout_ms": 7000, "idle_timeout_ms": 9000}
    assert expected.items() <= shown.items()
    api.close()


def test_a_body_beyond_the_limit_is_refused_declared_or_not(start_server, posix):
    server = start_server("--max-body-bytes", "5000")
    api = Api(server.address)
    session = api.session()
    session.create(posix, 100_000)
    session.write(posix, b"x" * 5000, offset=0)
    session.write(posix, b"y" * 5001, offset=0, expect=(413, "content-too-large"))
    chunks = b"1389\r\n" + b"z" * 5001 + b"\r\n0\r\n\r\n"
    answer = exchange(server.address, raw(
        "PATCH", posix.href + "/data?offset=0", f"Session-Id: {session.id}",
        "Transfer-Encoding: chunked", body=chunks), finish=False, method="PATCH",
        target=posix.href + "/data")
    answer.check().expecting((413, "content-too-large"))
    assert session.read(posix, length=5000).body == b"x" * 5000
    session.end()


def test_a_head_beyond_the_limit_is_refused(start_server):
    server = start_server("--max-header-bytes", "8192")
    for length, status in ((4000, 200), (9000, 431)):
        answer = exchange(server.address, raw("GET", "/livez", "X: " + "x" * length), finish=False)
        assert answer.status == status


def test_a_client_with_too_many_connections_is_told_and_others_are_served(start_server, tmp_path):
    path = str(tmp_path / "s")
    server = start_server("--max-connections-per-address", "3",
                          listen=("127.0.0.1:0", f"unix:{path}"))
    clients = [Api(server.address) for _ in range(3)]
    for client in clients:
        client.get("/livez", expect=200)
    surplus = Api(server.address)
    answer = surplus.get("/v1", expect=(429, "too-many-connections"))
    assert answer.headers["Connection"] == "close" and answer.headers["Retry-After"]
    assert answers(path), "another user's, so to speak"
    for client in clients:
        client.get("/livez", expect=200)
    clients[0].close()
    wait_until(lambda: Api(server.address).get("/v1").status == 200, 5)
    for client in clients:
        client.close()


def test_one_connection_too_many_is_told_and_those_that_are_in_are_served(start_server):
    server = start_server("--max-connections", "4", "--max-connections-per-address", "4")
    clients = [Api(server.address) for _ in range(4)]
    for client in clients:
        client.get("/livez", expect=200)
    # The limit of the address is reached with that of all, and is the more telling.
    Api(server.address).get("/v1", expect=(429, "too-many-connections"))
    other = start_server("--max-connections", "4", "--max-connections-per-address", "9")
    crowd = [Api(other.address) for _ in range(4)]
    for client in crowd:
        client.get("/livez", expect=200)
    Api(other.address).get("/v1", expect=(503, "too-many-connections"))
    for client in clients + crowd:
        client.get("/livez", expect=200)
        client.close()
