"""The cases of Qt's own tests of QSharedMemory, each under Qt's name, over HTTP.

A QSharedMemory object is a session here, and the kinds of key are those that Qt's tests go through:
POSIX, System V with Qt's project id 'Q', and System V with another, 'T'.
"""
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness import kernel
from harness.client import Api
from harness.waiting import wait_until

KINDS = ["posix", "systemv", "systemv84"]
CONSUMER = Path(__file__).resolve().parent / "harness/consumer.py"


@pytest.fixture(params=KINDS)
def make(request, stem, temporary_directory):
    """A function that names segments of one kind of key."""
    return lambda plain="": kernel.make_name(request.param, stem + plain, temporary_directory)


@pytest.fixture
def name(make):
    return make()


def error(answer):
    """Qt's word for what is wrong."""
    assert answer.status >= 400, answer
    return answer.json["qt_error"]


def is_attached(session, name):
    return session.attachment(name, expect=None).status == 200


def test_constructor(api):
    """A session is attached to nothing, and has no fault."""
    session = api.session()
    assert api.get(session.href, expect=200).json["attachments"] == []


@pytest.mark.parametrize("key", ["one", "two", "a b", "key%with/odd?#&=+ signs", "N\u00ebl"])
def test_nativeKey(api, key, temporary_directory):
    """What a plain key becomes is told for every type; a native key is what it says."""
    keys = api.get("/v1/keys", query={"key": key}, expect=200).json
    assert keys["key"] == key
    for derived in (keys["memory"]["legacy"], keys["memory"]["platform_safe"],
                    keys["semaphore"]["legacy"], keys["semaphore"]["platform_safe"]):
        assert derived["posix"].startswith("posix:/")
        assert derived["systemv"].startswith("systemv:/")
    session = api.session()
    name = kernel.legacy_name(key, temporary_directory)
    session.attach(name, expect=(404, "not-found"))
    assert not is_attached(session, name)
    session.detach(name, expect=(404, "not-found"))
    session.create(name, 1)
    (shown,) = api.get(session.href).json["attachments"]
    assert shown["segment"] == keys["memory"]["legacy"]["systemv"]
    assert api.segment(name).json["key"] == key
    session.detach(name)


def test_legacyKey(api, legacy):
    """A plain key is shown again with the segment, and belongs to its native key."""
    session = api.session()
    session.create(legacy, 1)
    told = api.segment(legacy).json
    assert told["key"] == legacy.path
    assert told["native_key"] == legacy.id.split("?")[0]
    session.detach(legacy)


def test_create(api, name):
    session, other = api.session(), api.session()
    null = {"native_key": name.id.split(":")[0] + ":", "size": 1}
    assert error(session.request("POST", "/v1/segments", json=null)) == "KeyError"
    assert error(session.create(name, -1, expect=None)) == "InvalidSize"
    assert error(session.create(name, 0, expect=None)) == "InvalidSize"
    assert not is_attached(session, name)
    assert session.create(name, 1024).json["size"] == 1024
    assert error(other.create(name, 1024, expect=None)) == "AlreadyExists"
    assert not is_attached(other, name)
    session.detach(name)


def test_attach(api, name):
    session, other = api.session(), api.session()
    assert error(session.attach(name, expect=None)) == "NotFound"
    assert not is_attached(session, name)
    assert session.detach(name, expect=None).status == 404
    other.create(name, 64)
    for _ in range(2):
        assert session.attach(name).json["size"] == 64
        assert len(session.read(name).body) == 64
        assert session.detach(name).json["destroyed"] is False
    session.read(name, expect=(409, "not-attached"))
    other.detach(name)


def test_changeKeyType(api, stem, temporary_directory):
    """The same text in another type is another segment."""
    names = [kernel.make_name(kind, stem, temporary_directory) for kind in KINDS]
    session = api.session()
    for one in names:
        session.create(one, 8)
        for another in names:
            if another is not one:
                assert error(session.attach(another, expect=None)) == "NotFound"
        session.detach(one)


def test_lock(api, name):
    session = api.session()
    assert error(session.lock(name, expect=None)) == "NotFound"
    owner = api.session()
    owner.create(name, 8)
    assert error(session.lock(name, expect=None)) == "LockError"
    token = owner.lock(name).json["fencing_token"]
    assert owner.lock(name).json["fencing_token"] == token, "locked already"
    owner.unlock(name)
    assert error(owner.unlock(name, expect=None)) == "LockError"
    owner.lock(name)
    assert owner.end().json["released"] == [
        {"segment": name.id, "unlocked": True, "destroyed": True}]


@pytest.mark.parametrize("first", ["creator", "other"])
def test_removeWhileAttached(api, name, first):
    """Whoever goes first, the other goes on; when both are gone, so is the segment."""
    creator, other = api.session(), api.session()
    creator.create(name, 8)
    other.attach(name)
    order = [creator, other] if first == "creator" else [other, creator]
    assert order[0].end().json["released"][0]["destroyed"] is False
    order[1].write(name, b"goes on", offset=0)
    assert order[1].end().json["released"][0]["destroyed"] is True
    assert error(api.session().attach(name, expect=None)) == "NotFound"


def test_emptyMemory(api, name):
    session = api.session()
    session.create(name, 1024, mode="read_only")
    assert session.read(name).body == bytes(1024)
    session.detach(name)


def test_readOnly(api, name):
    """Where Qt's process dies of a signal, the request is refused."""
    session = api.session()
    session.create(name, 1024, mode="read_only")
    session.write(name, b"x", offset=0, expect=(403, "read-only-attachment"))
    assert session.read(name).body == bytes(1024)
    session.detach(name)


@pytest.mark.parametrize("mode", ["read_only", "read_write"])
def test_simpleProducerConsumer(api, name, mode):
    producer, consumer = api.session(), api.session()
    producer.create(name, 512)
    consumer.attach(name, mode=mode)
    for offset in range(0, 512, 16):
        byte = bytes([offset % 251])
        producer.write(name, byte, offset=offset)
        assert consumer.read(name, offset=offset, length=1).body == byte
    assert consumer.detach(name).json["destroyed"] is False
    assert producer.detach(name).json["destroyed"] is True


def test_simpleDoubleProducerConsumer(api, name):
    producer, consumer = api.session(), api.session()
    producer.create(name, 8)
    producer.write(name, b"first", offset=0)
    producer.detach(name)
    producer.create(name, 8)
    consumer.attach(name)
    assert consumer.read(name).body == bytes(8)
    consumer.detach(name)
    producer.detach(name)


ROUNDS = 5


def produce(session, name, consumers):
    """Write 'Q', wait until a consumer has counted up; at the end 'E' for all of them."""
    session.create(name, 16)
    for _ in range(ROUNDS):
        session.lock(name, wait_ms=20_000)
        session.write(name, b"Q", offset=0)
        session.unlock(name)
        wait_until(lambda: session.read(name, length=1).body != b"Q", 20)
    session.lock(name, wait_ms=20_000)
    session.write(name, b"E", offset=0)
    session.unlock(name)
    wait_until(lambda: session.read(name, offset=1, length=1).body == bytes([consumers]), 20)


def consume(session, name, counts):
    """Attach in a loop, for which only not-found is no failure; count each 'Q' up until 'E' comes."""
    wait_until(lambda: session.attach(name, expect=None).status == 201, 20)
    count = 0
    while True:
        session.lock(name, wait_ms=20_000)
        byte = session.read(name, length=1).body
        if byte == b"Q":
            count += 1
            session.write(name, bytes([count]), offset=0)
        elif byte == b"E":
            gone = session.read(name, offset=1, length=1).body[0]
            session.write(name, bytes([gone + 1]), offset=1)
        session.unlock(name)
        if byte == b"E":
            session.detach(name)
            counts.append(count)
            return


@pytest.mark.parametrize("is_own_thread", [False, True])
@pytest.mark.parametrize("consumers", [1, 5])
def test_simpleThreadedProducerConsumer(api, name, consumers, is_own_thread):
    """Consumers in threads, each with a session and a connection; the producer in one or in none."""
    counts, lines = [], [Api(api.address) for _ in range(consumers + 1)]
    sessions = [line.session() for line in lines]
    threads = [threading.Thread(target=consume, args=[session, name, counts])
               for session in sessions[1:]]
    if is_own_thread:
        threads.append(threading.Thread(target=produce, args=[sessions[0], name, consumers]))
    for thread in threads:
        thread.start()
    if not is_own_thread:
        produce(sessions[0], name, consumers)
    for thread in threads:
        thread.join(30)
    assert len(counts) == consumers and sum(counts) == ROUNDS
    assert sessions[0].detach(name).json["destroyed"] is True
    for line in lines:
        line.end_sessions()
        line.close()


@pytest.mark.parametrize("consumers", [1, 5])
def test_simpleProcessProducerConsumer(api, environment, name, consumers):
    """Consumers that are Qt processes; all of them exit with 0."""
    session = api.session()
    peers = [subprocess.Popen([sys.executable, str(CONSUMER), name.id], env=environment)
             for _ in range(consumers)]
    try:
        produce(session, name, consumers)
        assert [peer.wait(30) for peer in peers] == [0] * consumers
    finally:
        for peer in peers:
            peer.kill()
            peer.wait()
    assert session.detach(name).json["destroyed"] is True


def test_useTooMuchMemory(start_server, make):
    """A quota of the kernel's is met; who failed is not attached, and all the others go on."""
    api = Api(start_server("--max-segment-bytes", str(64 << 20)).address)
    session = api.session()
    made = []
    for number in range(64):
        name = make(f"much{number}")
        answer = session.create(name, 32 << 20, expect=None)
        if answer.status != 201:
            break
        made.append(name)
    if name.is_posix:
        assert error(answer) == "OutOfResources", "the tests' own /dev/shm is small"
        assert not is_attached(session, name)
        assert error(session.attach(name, expect=None)) == "NotFound"
        assert session.detach(name, expect=None).status == 404
    else:
        assert len(made) == 64, "System V memory is taken only when it is touched"
        too_large = make("larger")
        assert error(session.create(too_large, (64 << 20) + 1, expect=None)) == "InvalidSize"
    released = session.end().json["released"]
    assert len(released) == len(made) and all(one["destroyed"] for one in released)
    assert not any(os.path.exists(name.memory_file) for name in made)


def test_uniqueKey(api):
    """Native keys are equal exactly when the plain keys are."""
    plain = ["key", "key1", "ke1y", "N\u00ebl", "Nol", "Ne\u0308l"]
    for kind in ("legacy", "platform_safe"):
        derived = [api.get("/v1/keys", query={"key": key}).json["memory"][kind] for key in plain]
        for type_ in ("posix", "systemv"):
            assert len({one[type_] for one in derived}) == len(plain)
    api.get("/v1/keys", query={"key": ""}, expect=(400, "key-error"))


def test_createWithSameKey(api, legacy):
    """QTBUG-111855: the third create fails as the second did, and attaching works all the while."""
    first, second, third = api.session(), api.session(), api.session()
    first.create(legacy, 8)
    assert error(second.create(legacy, 8, expect=None)) == "AlreadyExists"
    second.attach(legacy)
    second.end()
    assert error(third.create(legacy, 8, expect=None)) == "AlreadyExists"
    third.attach(legacy)
    third.detach(legacy)
    assert first.detach(legacy).json["destroyed"] is True
