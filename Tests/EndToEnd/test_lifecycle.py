"""Start, flags and stop of the program."""
import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from harness.client import Api, raw
from harness.server import START, program, run
from harness.waiting import wait_until
from harness.watch import promptly


def one_clear_line(result):
    """What a start that fails prints: one line, and no traceback or dump."""
    assert result.returncode not in (0, -6, -11), result
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    return lines[0]


def refuses_connections(address):
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return True
    return False


# Start

def test_the_start_line_tells_version_and_address(start_server):
    server = start_server()
    lines = [line for line in server.log().splitlines() if "listening on" in line]
    assert len(lines) == 1
    assert server.address[1] != 0
    api = Api(server.address)
    body = api.get("/v1", expect=200).json
    assert (body["name"], body["version"]) == ("segmentd", server.version)
    assert body["default_key_type"] == "systemv"
    api.close()


def test_help_tells_of_every_flag_that_the_tests_use(environment):
    result = run("--help", environment=environment)
    assert result.returncode == 0
    for flag in ("--listen", "--state-dir", "--default-key-type", "--version"):
        assert flag in result.stdout


def test_version_prints_the_version_and_nothing_else(environment, start_server):
    result = run("--version", environment=environment)
    assert result.returncode == 0
    version = re.fullmatch(r"segmentd (\d+\.\d+\.\d+\S*) \(libmicrohttpd \S+\)\n", result.stdout)
    assert version, result.stdout
    assert start_server().version == version[1]


@pytest.mark.parametrize("arguments", [
    ("--no-such-flag",),
    ("--listen",),
    ("--listen", "127.0.0.1:65536"),
    ("--listen", "127.0.0.1:many"),
    ("--listen", "nowhere"),
    ("--default-key-type", "windows"),
    ("--log-level", "loud"),
    ("--log-format", "xml"),
    ("--threads", "0"),
    ("--max-segment-bytes", "99999999999999999999"),
    ("--max-sessions", "none"),
    ("--max-connections", "+5"),
    ("--max-connections-per-address", "0"),
    ("--max-body-bytes", "1G"),
    ("--max-header-bytes", "100"),
    ("--request-timeout", "0"),
    ("--idle-timeout", "1.5"),
    ("surplus",),
], ids=" ".join)
def test_a_bad_flag_is_named_and_nothing_is_started(environment, tmp_path, arguments):
    result = run("--state-dir", str(tmp_path), *arguments, environment=environment)
    assert result.returncode == 64
    assert arguments[0] in one_clear_line(result)


@pytest.mark.parametrize("variable", [
    "LISTEN", "DEFAULT_KEY_TYPE", "LOG_LEVEL", "LOG_FORMAT", "THREADS", "MAX_SEGMENT_BYTES",
    "MAX_SESSIONS", "MAX_CONNECTIONS", "MAX_CONNECTIONS_PER_ADDRESS", "MAX_BODY_BYTES",
    "MAX_HEADER_BYTES", "REQUEST_TIMEOUT", "IDLE_TIMEOUT", "SOCKET_MODE", "INSECURE"])
def test_a_bad_variable_is_named_and_nothing_is_started(environment, tmp_path, variable):
    result = run("--state-dir", str(tmp_path),
                 environment={**environment, f"SEGMENTD_{variable}": "nonsense"})
    assert result.returncode == 64
    assert f"SEGMENTD_{variable}" in one_clear_line(result)


def test_a_flag_wins_over_its_variable_and_a_variable_over_the_default(environment, start_server):
    server = start_server("--log-format", "text", environment={
        **environment, "SEGMENTD_LOG_FORMAT": "json", "SEGMENTD_DEFAULT_KEY_TYPE": "posix",
        "SEGMENTD_LISTEN": "nonsense"})
    assert not server.log().startswith("{")
    api = Api(server.address)
    assert api.get("/v1", expect=200).json["default_key_type"] == "posix"
    api.close()


def test_a_port_that_is_taken_is_said_in_one_line(environment, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("--listen", f"127.0.0.1:{port}", "--state-dir", str(tmp_path),
                     environment=environment)
    assert str(port) in one_clear_line(result)


@pytest.mark.parametrize("address", ["192.0.2.1:0", "0.0.0.0:0", "[::]:0"])
def test_an_address_that_others_can_reach_is_refused_in_one_line(environment, tmp_path, address):
    result = run("--listen", address, "--state-dir", str(tmp_path), environment=environment)
    assert address in one_clear_line(result)


def test_a_state_directory_that_cannot_be_written_is_said_in_one_line(environment, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    result = run("--listen", "127.0.0.1:0", "--state-dir", str(blocked / "state"),
                 environment=environment)
    assert str(blocked) in one_clear_line(result)


def test_a_state_directory_that_everyone_may_write_is_refused(environment, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    result = run("--listen", "127.0.0.1:0", "--state-dir", str(shared), environment=environment)
    assert str(shared) in one_clear_line(result)
    assert not list(shared.iterdir())


def test_a_second_server_on_a_state_directory_does_not_start(environment, start_server):
    server = start_server()
    result = run("--listen", "127.0.0.1:0", "--state-dir", server.state, environment=environment)
    assert result.returncode == 1
    assert server.state in one_clear_line(result)


def test_a_state_directory_outlives_a_crash_but_not_an_orderly_stop(start_server, tmp_path):
    made, found = tmp_path / "made", tmp_path / "found"
    found.mkdir(0o700)

    def serve(path, number):
        server = start_server(state=str(path))
        assert path.stat().st_mode & 0o777 == 0o700
        server.send(number)
        server.wait()

    serve(made, signal.SIGTERM)
    assert not made.exists()
    serve(found, signal.SIGTERM)
    assert not list(found.iterdir())
    serve(found, signal.SIGKILL)
    assert sorted(entry.name for entry in found.iterdir()) == ["lock", "state"]
    serve(found, signal.SIGTERM)
    assert not list(found.iterdir())


# Log

def test_a_log_of_json_has_an_object_a_line(start_server):
    server = start_server("--log-format", "json")
    api = Api(server.address)
    api.get("/livez", expect=200)
    api.close()

    def requests():
        lines = [json.loads(line) for line in server.log().splitlines()]
        assert all({"time", "level", "message"} <= line.keys() for line in lines)
        return [line for line in lines if "route" in line]

    wait_until(requests, 2)
    line = requests()[0]
    assert (line["method"], line["route"], line["status"]) == ("GET", "/livez", 200)
    assert line["bytes"] == 3
    assert line["duration_ms"] >= 0
    assert line["request_id"]


def test_a_quiet_log_has_the_start_line_only(start_server):
    server = start_server("--log-level", "warning")
    api = Api(server.address)
    api.get("/livez", expect=200)
    api.close()
    server.send(signal.SIGTERM)
    assert server.wait() == 0
    assert len(server.log().splitlines()) == 1


def test_a_log_that_nobody_reads_holds_up_neither_requests_nor_the_stop(environment, tmp_path):
    reader, writer = os.pipe()
    server = subprocess.Popen(
        [program(), "--listen", "127.0.0.1:0", "--state-dir", str(tmp_path)], env=environment,
        stderr=writer)
    os.close(writer)
    try:
        start = b""
        while not START.search(start.decode()):
            start += os.read(reader, 4096)
        api = Api(("127.0.0.1", int(START.search(start.decode())[3])))
        # More than the pipe and the queue behind it hold.
        asked = 0

        def ask():
            nonlocal asked
            asked += 1
            api.get("/livez", expect=200)

        for _ in range(20000):
            ask()
        promptly(ask)
        api.close()
        rest = b""
        os.set_blocking(reader, False)

        def said_what_is_missing():
            nonlocal rest
            try:
                rest += os.read(reader, 1 << 20)
            except BlockingIOError:
                pass
            return re.search(rb"lines of this log were dropped count=(\d+)", rest)

        dropped = int(wait_until(said_what_is_missing, 5)[1])
        assert dropped + rest.count(b" /livez ") + start.count(b" /livez ") == asked
        server.send_signal(signal.SIGTERM)
        assert server.wait(5) == 0
    finally:
        server.kill()
        server.wait()
        os.close(reader)


def test_a_log_whose_reader_left_does_no_harm(environment, tmp_path):
    reader, writer = os.pipe()
    server = subprocess.Popen(
        [program(), "--listen", "127.0.0.1:0", "--state-dir", str(tmp_path)], env=environment,
        stderr=writer)
    os.close(writer)
    try:
        start = b""
        while not START.search(start.decode()):
            start += os.read(reader, 4096)
        os.close(reader)
        api = Api(("127.0.0.1", int(START.search(start.decode())[3])))
        for _ in range(10):
            api.get("/livez", expect=200)
        api.close()
        server.send_signal(signal.SIGTERM)
        assert server.wait(5) == 0
    finally:
        server.kill()
        server.wait()


def test_the_log_names_requests_but_no_session_ids(start_server):
    server = start_server()
    api = Api(server.address)
    session = api.session()
    api.get(session.href, expect=200)
    session.request("GET", "/v1/segments", expect=200)
    session.end()
    api.close()
    assert session.id not in server.log()


def test_two_servers_live_side_by_side(start_server, posix):
    first, second = Api(start_server().address), Api(start_server().address)
    one, other = first.session(), second.session()
    one.create(posix, 8)
    other.attach(posix)
    one.write(posix, b"between", offset=0)
    assert other.read(posix, length=7).body == b"between"
    assert one.detach(posix).json["destroyed"] is False
    assert posix.exists()
    assert other.detach(posix).json["destroyed"] is True


def test_the_lock_excludes_the_sessions_of_another_server(start_server, name):
    first, second = Api(start_server().address), Api(start_server().address)
    one, other = first.session(), second.session()
    one.create(name, 8)
    other.attach(name)
    one.lock(name)
    other.lock(name, wait_ms=50, expect=(423, "locked"))
    assert second.lock_state(name)["state"] == "external"
    one.unlock(name)
    other.lock(name, wait_ms=1000)
    other.detach(name)
    assert one.detach(name).json["destroyed"] is True


# Health

@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_a_healthy_server_says_ok(api, path):
    answer = api.get(path, expect=200)
    assert answer.body == b"ok\n"
    assert answer.headers["Content-Type"].split(";")[0] == "text/plain"


def test_limits_are_whole_numbers_and_features_are_words(api):
    body = api.get("/v1", expect=200).json
    assert all(isinstance(limit, int) and limit > 0 for limit in body["limits"].values())
    assert all(isinstance(feature, str) for feature in body["features"])


# Stop

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_stops_the_server_cleanly(start_server, number):
    server = start_server()
    Api(server.address).get("/livez", expect=200)
    server.stop(number)
    assert refuses_connections(server.address)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_the_stop_ends_every_session_by_the_rule_of_the_last_reference(
        start_server, names, no_debris, number):
    server = start_server()
    api = Api(server.address)
    session = api.session()
    for name in names.values():
        session.create(name)
        session.lock(name)
    assert no_debris.new()
    server.stop(number)
    assert not no_debris.new()


def test_the_stop_leaves_to_qt_what_qt_uses(start_server, peer, name, no_debris):
    server = start_server()
    session = Api(server.address).session()
    session.create(name, 8)
    session.write(name, b"handover")
    segment = peer.segment(name).attach()
    session.lock(name)
    server.stop()
    assert segment.read() == b"handover"
    segment.lock()
    segment.unlock()
    segment.destroy()
    no_debris.clean()


def test_the_stop_answers_waiters_and_ends_holds(start_server, posix):
    server = start_server()
    api = Api(server.address)
    holder, waiter = api.session(), api.session()
    holder.create(posix)
    waiter.attach(posix)
    holder.lock(posix)
    stream = api.stream(holder.href + "/hold")
    pending = waiter.begin_lock(posix, 300000)
    wait_until(lambda: api.lock_state(posix)["waiting"] == 1, 2)
    server.send(signal.SIGTERM)
    pending.answer(5, expect=(503, "shutting-down"))
    assert stream.has_ended(5)
    assert server.wait() == 0
    stream.close()


def test_a_stop_is_not_held_up_by_a_lock_that_qt_holds(start_server, peer, posix, no_debris):
    server = start_server()
    api = Api(server.address)
    segment = peer.segment(posix).create(8)
    session = api.session()
    session.attach(posix)
    segment.lock()
    server.send(signal.SIGTERM)
    seen = []

    def ended():
        try:
            seen.append(api.get("/readyz", deadline=1).status)
        except OSError:
            pass
        return not server.is_running

    wait_until(ended, 5.5, "the end of the server")
    assert server.wait() == 0
    assert set(seen) <= {200, 503}
    segment.unlock()
    segment.destroy()
    no_debris.clean()


def test_the_stop_is_not_held_up_by_idle_or_stalled_clients(start_server):
    server = start_server()
    idle = Api(server.address)
    idle.get("/livez", expect=200)
    stalled = socket.create_connection(server.address)
    stalled.sendall(raw("PUT", "/v1/segments/a/data", "Content-Length: 10", body=b"half"))
    silent = socket.create_connection(server.address)
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 5
    for connection in (stalled, silent):
        connection.close()
    idle.close()


def test_a_second_signal_ends_the_server_at_once(start_server):
    server = start_server()
    stalled = socket.create_connection(server.address)
    stalled.sendall(raw("PUT", "/v1/segments/a/data", "Content-Length: 10", body=b"half"))
    server.send(signal.SIGTERM)
    # Two that come together may be taken for one, or the server may have ended.
    for _ in range(100):
        if not server.is_running:
            break
        server.send(signal.SIGINT)
        time.sleep(0.01)
    assert server.wait(1) in (0, 128 + signal.SIGTERM, 128 + signal.SIGINT)
    stalled.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_the_first_process_of_a_container_stops_cleanly(start_server, number):
    wrapper = ("unshare", "--pid", "--fork", "--kill-child")
    if os.geteuid() != 0:
        wrapper += ("--user", "--map-root-user")
    if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no process namespaces here")
    server = start_server(wrapper=wrapper)
    inside = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text(encoding="ascii")
    os.kill(int(inside), number)
    assert server.wait() == 0


def test_a_client_that_vanishes_does_not_stop_the_server(start_server, name):
    server = start_server()
    api = Api(server.address)
    session = api.session()
    session.create(name, 1 << 20)
    for _ in range(20):
        connection = socket.create_connection(server.address)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.sendall(f"GET {name.href}/data HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        connection.close()
    assert session.read(name).status == 200
    api.end_sessions()
    server.stop()


def test_descriptors_and_threads_do_not_grow_with_use(server, api, name):
    def use():
        session = api.session()
        session.create(name)
        session.lock(name)
        session.read(name)
        api.segment_ids()
        session.end()

    use()
    descriptors, threads = server.descriptors(), server.threads()
    for _ in range(30):
        use()
    wait_until(lambda: server.descriptors() <= descriptors + 2, 2, "the descriptors' return")
    assert server.threads() <= threads + 2
