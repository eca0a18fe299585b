"""The memory for the bodies of all requests together."""
import os

import pytest

from harness.client import Api, Pending, connect, exchange, raw
from harness.server import run
from harness.waiting import wait_until
from harness.watch import Watch

MIB = 1 << 20


@pytest.fixture
def small(start_server):
    """A server with room for four million bytes."""
    server = start_server("--max-body-memory", str(4 * MIB))
    watch = Watch(server)
    yield server
    assert watch.is_clean()


@pytest.fixture
def scene(small, posix):
    """A client of it, and a session that holds the lock of a segment of three million bytes."""
    api = Api(small.address)
    session = api.session()
    session.create(posix, 3 * MIB)
    session.lock(posix)
    yield api, session
    api.end_sessions()
    api.close()


def patch(api, name, size, expect, **query):
    return api.patch(name.href + "/data", body=b"b" * size, query={"offset": 0, **query},
                     expect=expect)


def metrics(api):
    return api.get("/metrics").body.decode()


def test_the_limit_is_shown_and_bounds_the_largest_body(small, environment, tmp_path):
    limits = Api(small.address).get("/v1", expect=200).json["limits"]
    assert limits["max_body_memory"] == limits["max_body_bytes"] == 4 * MIB
    ended = run("--state-dir", str(tmp_path / "state"), "--max-body-memory", "1000",
                "--max-body-bytes", "1001", environment=environment)
    assert ended.returncode == 64 and "--max-body-memory" in ended.stderr, ended


def test_bodies_that_wait_leave_room_for_as_many_as_fit(small, scene, posix):
    api, session = scene
    octets = os.urandom(3 * MIB)
    waiting = Pending(small.address, "PUT", posix.href + "/data?wait_ms=60000", {}, octets)
    wait_until(lambda: api.lock_state(posix)["waiting"] == 1, 10)
    refused = patch(api, posix, 2 * MIB, (503, "too-many-bodies"), lock="false")
    assert refused.headers["Retry-After"] == "1" and str(4 * MIB) in refused.json["detail"]
    # Told before it sends anything, where it asks; told on the way, where nobody knew.
    asking = exchange(small.address, raw(
        "PATCH", posix.href + "/data?offset=0&lock=false", f"Content-Length: {2 * MIB}",
        "Expect: 100-continue"))
    assert (asking.status, asking.code) == (503, "too-many-bodies")
    chunks = b"".join(b"40000\r\n" + b"c" * 0x40000 + b"\r\n" for _ in range(6)) + b"0\r\n\r\n"
    chunked = exchange(small.address, raw(
        "PATCH", posix.href + "/data?offset=0&lock=false", "Transfer-Encoding: chunked",
        body=chunks))
    assert (chunked.status, chunked.code) == (503, "too-many-bodies")
    assert posix.bytes() == bytes(3 * MIB), "what is refused changes nothing"
    # What fits is taken, and what is small always.
    patch(api, posix, MIB // 2, 204, lock="false")
    for _ in range(20):
        patch(api, posix, 64 * 1024, 204, lock="false")
    session.unlock(posix)
    waiting.answer(expect=204)
    assert posix.bytes() == octets
    patch(api, posix, 2 * MIB, 204)
    assert 'segmentd_http_requests_refused_total{reason="too-many-bodies"} 3' in metrics(api)
    log = [line for line in small.log().splitlines() if " 503 " in line]
    assert len(log) == 3 and all("/v1/segments/{segment}/data" in line for line in log)


def test_a_promise_takes_no_room_and_who_leaves_gives_it_back(small, scene, posix):
    api, session = scene
    session.unlock(posix)
    head = raw("PUT", posix.href + "/data", f"Content-Length: {3 * MIB}")
    promising = [connect(small.address) for _ in range(10)]
    for client in promising:
        client.sendall(head + b"x" * 100_000)
    patch(api, posix, 2 * MIB, 204)
    for _ in range(10):
        with connect(small.address) as client:
            client.sendall(head + b"x" * (2 * MIB))
    for client in promising:
        client.close()
    # All of it is there again, which one body needs.
    wait_until(lambda: api.patch(
        posix.href + "/data", body=b"w" * (3 * MIB), query={"offset": 0}).status == 204, 10)
    for _ in range(5):
        patch(api, posix, 3 * MIB, 204)
        patch(api, posix, 3 * MIB + 1, 416)


def test_a_promise_holds_no_memory_that_other_bodies_have_warmed(start_server, posix):
    server = start_server("--max-body-memory", str(8 * MIB), "--threads", "1")
    api = Api(server.address)
    session = api.session()
    session.create(posix, 3 * MIB)
    head = raw("PUT", posix.href + "/data", f"Content-Length: {3 * MIB}")
    promising = []
    before = private_bytes(server.pid)
    for _ in range(20):
        patch(api, posix, 3 * MIB, 204)
        client = connect(server.address)
        promising.append(client)
        client.sendall(head + b"x")
        api.get("/v1", expect=200)  # the loop has seen the promise by then
    assert private_bytes(server.pid) - before < 16 * MIB
    for client in promising:
        client.close()
    # What was lent comes back, and what nobody wants goes back to the system.
    wait_until(lambda: private_bytes(server.pid) - before < MIB, 20)
    api.end_sessions()
    api.close()


def private_bytes(pid):
    """How much memory a process has for itself."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) * 1024
