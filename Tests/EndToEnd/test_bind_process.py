"""Sessions that are bound to the process that opened them, over a Unix socket."""
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time

import pytest

from harness.client import Api, connect
from harness.waiting import stays, wait_until

# Opens sessions that are bound to it, as many as asked for, creates a segment with the first and
# locks it, then sleeps. Tells their ids.
CLIENT = """
import http.client, json, socket, sys, time

class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])

connection = Connection("unix")

def request(method, path, body=None, **headers):
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    octets = answer.read()
    assert answer.status < 300, octets
    return json.loads(octets)

ids = [request("POST", "/v1/sessions", '{"bind": "process", "ttl_ms": 200}')["id"]
       for _ in range(int(sys.argv[2]))]
if len(sys.argv) > 3:
    request("POST", "/v1/segments", sys.argv[3], **{"Session-Id": ids[0]})
    request("PUT", sys.argv[4] + "/lock", **{"Session-Id": ids[0]})
connection.close()
print(json.dumps(ids), flush=True)
time.sleep(600)
"""


class Process:
    """A client's process with sessions bound to it."""

    def __init__(self, path, count=1, *segment):
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, path, str(count), *segment], stdout=subprocess.PIPE,
            text=True)
        self.ids = json.loads(self.process.stdout.readline())

    @property
    def pid(self):
        return self.process.pid

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "s")


@pytest.fixture
def server(start_server, path):
    return start_server(listen=("127.0.0.1:0", f"unix:{path}"))


@pytest.fixture
def api(server):
    client = Api(server.address)
    yield client
    client.close()


@pytest.fixture
def processes():
    """Clients that are killed at the end, if they are not dead by then."""
    started = []
    yield started
    for one in started:
        if one.process.returncode is None:
            one.kill()


def sessions(api):
    return {session["id"] for session in api.get("/v1/sessions", expect=200).json["sessions"]}


def test_a_killed_client_s_locks_and_segments_go_within_100_ms(api, path, processes, name):
    spans = []
    for _ in range(10):
        client = Process(path, 1, json.dumps({**name.body, "size": 64}), name.href)
        processes.append(client)
        assert api.lock_state(name)["state"] == "session"
        started = time.monotonic()
        client.process.kill()
        wait_until(lambda: not sessions(api), 10, "the end of the session")
        wait_until(lambda: not name.exists(), 10, "the end of the segment")
        spans.append(time.monotonic() - started)
        client.kill()
    print(f"\ngone after {statistics.median(spans) * 1000:.1f} ms, at worst "
          f"{max(spans) * 1000:.1f} ms")
    assert statistics.median(spans) < 0.1


def test_the_session_outlives_its_time_to_live_and_its_connection(api, path, processes):
    client = Process(path)
    processes.append(client)
    assert stays(lambda: len(sessions(api)) == 1, 0.7)
    shown = api.get("/v1/sessions/" + client.ids[0], expect=200).json
    assert shown["bind"] == "process" and shown["ttl_ms"] == 200
    client.kill()
    wait_until(lambda: not sessions(api), 10)
    api.get("/v1/sessions/" + client.ids[0], expect=(410, "session-gone"))


def test_a_session_may_end_before_its_process(server, api, path, processes):
    client = Process(path)
    processes.append(client)
    api.delete("/v1/sessions/" + client.ids[0], expect=200)
    assert not sessions(api)
    client.kill()


def test_a_stream_that_closes_does_not_end_it(api, path, processes):
    client = Process(path)
    processes.append(client)
    stream = api.stream(f"/v1/sessions/{client.ids[0]}/hold")
    stream.close()
    assert stays(lambda: len(sessions(api)) == 1, 0.5)
    other = api.stream(f"/v1/sessions/{client.ids[0]}/hold")
    client.kill()
    assert other.has_ended(10)
    other.close()


def test_a_stopped_process_is_not_gone_and_one_that_becomes_another_program_stays(api, path):
    # The process that connects and asks goes on as another program.
    code = CLIENT.replace("time.sleep(600)", "import os; os.execvp('sleep', ['sleep', '600'])")
    client = subprocess.Popen([sys.executable, "-c", code, path, "1"], stdout=subprocess.PIPE,
                              text=True)
    try:
        client.stdout.readline()
        wait_until(lambda: "sleep" in open(f"/proc/{client.pid}/cmdline", encoding="ascii").read(),
                   10)
        os.kill(client.pid, signal.SIGSTOP)
        assert stays(lambda: len(sessions(api)) == 1, 0.5)
    finally:
        client.kill()
        client.wait()
        client.stdout.close()
    wait_until(lambda: not sessions(api), 10)


def test_who_connected_counts_and_not_who_was_left_the_connection(api, path):
    """A parent connects and asks; its child keeps the connection open when the parent has gone."""
    code = CLIENT.replace("connection.close()\n", "").replace(
        "time.sleep(600)", "import os\nif os.fork() == 0: time.sleep(600)")
    parent = subprocess.Popen([sys.executable, "-c", code, path, "1"], stdout=subprocess.PIPE,
                              text=True, start_new_session=True)
    try:
        parent.stdout.readline()
        assert parent.wait(10) == 0
        wait_until(lambda: not sessions(api), 10)
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.stdout.close()


def test_curl_has_a_session_for_as_long_as_it_runs(api, path):
    answer = subprocess.run(
        ["curl", "-sS", "--unix-socket", path, "--json", '{"bind": "process"}',
         "http://unix/v1/sessions"], capture_output=True, text=True, timeout=10, check=True)
    assert json.loads(answer.stdout)["bind"] == "process"
    wait_until(lambda: not sessions(api), 10)


def test_a_thousand_sessions_go_with_their_ten_processes(server, api, path, processes, no_debris):
    Process(path).kill()
    wait_until(lambda: not sessions(api), 10)
    descriptors, threads = server.descriptors(), server.threads()
    for _ in range(10):
        processes.append(Process(path, 100))
    assert len(sessions(api)) == 1000
    assert server.threads() == threads and server.descriptors() <= descriptors + 20
    started = time.monotonic()
    for client in processes:
        client.process.kill()
    wait_until(lambda: not sessions(api), 10)
    print(f"\n1000 sessions gone {(time.monotonic() - started) * 1000:.1f} ms after the kills")
    wait_until(lambda: server.descriptors() <= descriptors, 10, "the descriptors")


def test_over_tcp_there_is_no_process_to_bind_to(api):
    answer = api.post("/v1/sessions", json={"bind": "process"}, expect=(400, "invalid-request"))
    assert answer.json["pointer"] == "/bind" and "Unix socket" in answer.json["detail"]
    assert not sessions(api)


def test_a_process_that_is_gone_is_nothing_to_bind_to(api, path):
    """The connection is made by a process that exits, and used by another."""
    mine, its = socket.socketpair(socket.AF_UNIX)
    mine.settimeout(10)
    child = os.fork()
    if child == 0:
        try:
            connection = connect(path)
            socket.send_fds(its, [b"x"], [connection.fileno()])
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    _, descriptors, _, _ = socket.recv_fds(mine, 1, 1)
    with socket.socket(fileno=descriptors[0]) as left:
        body = b'{"bind": "process"}'
        left.sendall(b"POST /v1/sessions HTTP/1.1\r\nContent-Type: application/json\r\n"
                     b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        left.settimeout(10)
        answer = left.recv(65536)
    mine.close()
    its.close()
    # A kernel may still have a word for the process: then the session ends at once.
    assert answer.split()[1] in (b"400", b"201"), answer
    wait_until(lambda: not sessions(api), 10)


def test_a_client_of_another_process_namespace_is_refused_clearly(start_server, path):
    """The server is in a namespace of its own, from which the client cannot be seen."""
    server = start_server(
        listen=(f"unix:{path}",),
        wrapper=("unshare", "--pid", "--fork", "--kill-child=TERM"))
    inner = int(open(f"/proc/{server.pid}/task/{server.pid}/children", encoding="ascii").read())
    api = Api(path)
    answer = api.post("/v1/sessions", json={"bind": "process"}, expect=(400, "invalid-request"))
    assert answer.json["pointer"] == "/bind" and "namespace" in answer.json["detail"]
    api.post("/v1/sessions", expect=201)
    api.end_sessions()
    api.close()
    os.kill(inner, signal.SIGTERM)
    assert server.wait() == 0


def test_a_restarted_server_finds_the_processes_again(start_server, server, api, path, processes):
    stays_on, dies, ends = (Process(path) for _ in range(3))
    processes += [stays_on, dies, ends]
    ends.process.kill()
    wait_until(lambda: len(sessions(api)) == 2, 10)
    server.crash()
    dies.kill()
    again = start_server.restart(server, api)
    assert sessions(api) == {stays_on.ids[0][:8]}
    assert stays(lambda: sessions(api), 0.7), "its time to live was 200 ms"
    stays_on.kill()
    wait_until(lambda: not sessions(api), 10)
    assert again.is_running
