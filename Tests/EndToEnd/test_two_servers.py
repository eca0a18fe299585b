"""Two servers with state of their own on one host: to each other they are two processes."""
import pytest

from harness.client import Api
from harness.waiting import wait_until


@pytest.fixture
def pair(start_server):
    """Clients of two servers."""
    apis = [Api(start_server().address) for _ in range(2)]
    yield apis
    for api in apis:
        api.end_sessions()
        api.close()


def test_they_share_segments_and_the_last_reference(pair, name):
    here, there = (api.session() for api in pair)
    here.create(name, 64)
    here.write(name, b"shared", offset=0)
    there.attach(name)
    assert there.read(name, length=6).body == b"shared"
    there.create(name, expect=(409, "already-exists"))
    assert not here.detach(name).json["destroyed"]
    assert name.exists()
    assert there.detach(name).json["destroyed"]
    assert not name.exists()


def test_they_keep_each_other_out(pair, name):
    here, there = (api.session() for api in pair)
    here.create(name)
    there.attach(name)
    here.lock(name)
    assert pair[1].lock_state(name)["state"] == "external"
    there.lock(name, expect=(423, "locked"))
    waiting = there.begin_lock(name, 10000)
    wait_until(lambda: pair[1].lock_state(name)["waiting"] == 1)
    here.unlock(name)
    token = waiting.answer(expect=200).json["fencing_token"]
    there.write(name, b"mine", offset=0, token=token)
    here.write(name, b"not mine", offset=0, token=token, expect=(412, "stale-fencing-token"))
    there.unlock(name)
    here.lock(name)
    here.unlock(name)


def test_one_that_is_killed_takes_nothing_from_the_other(start_server, name):
    servers = [start_server() for _ in range(2)]
    apis = [Api(server.address) for server in servers]
    here, there = (api.session() for api in apis)
    here.create(name)
    there.attach(name)
    there.write(name, b"kept", offset=0)
    token = there.lock(name).json["fencing_token"]
    servers[0] = start_server.restart(servers[0], apis[0])
    assert apis[1].lock_state(name)["state"] == "session"
    there.write(name, b"mine", offset=0, token=token)
    assert here.read(name, length=4).body == b"mine"
    there.unlock(name)
    here.lock(name)
    servers[0] = start_server.restart(servers[0], apis[0])
    there.lock(name, expect=(423, "locked"))
    here.unlock(name)
    assert not there.detach(name).json["destroyed"]
    assert here.detach(name).json["destroyed"]
    for api in apis:
        api.end_sessions()
        api.close()
