"""An application and segmentd beside it, in containers that share nothing but shared memory.

Containers are made of namespaces here, which takes no engine; scripts/test-image runs the same with
podman and the image.
"""
import os
import signal
import tempfile

import pytest

from harness import kernel, podman
from harness.client import Api
from harness.pod import Pod
from harness.waiting import wait_until

APPLICATION, STRANGER = 0, 30003

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="other users take root to act as")


@pytest.fixture
def make_pod(no_debris):
    """A function that makes a pod; containers and pods are gone after the test."""
    made = []
    # Not where pytest keeps its files, for other users have to get there.
    base = tempfile.mkdtemp(prefix="segmentd-pods-")
    os.chmod(base, 0o755)

    def make(**how):
        kind = podman.PodmanPod if podman.IMAGE else Pod
        pod = kind(os.path.join(base, f"pod{len(made)}"), **how)
        made.append(pod)
        return pod

    yield make
    for pod in made:
        pod.end()
    os.rmdir(base)


@pytest.fixture
def pod(make_pod):
    return make_pod()


@pytest.fixture
def started():
    """Keeps containers, and ends those that are left, the last one first."""
    containers = []

    def keep(container):
        containers.append(container)
        return container

    yield keep
    for container in reversed(containers):
        container.kill()


@pytest.fixture(params=["posix", "systemv", "legacy"])
def key(request, pod, stem):
    return kernel.make_name(request.param, stem, pod.directory)


def test_the_same_user_shares_everything(pod, started, key):
    application = started(pod.application()).segment(key).create(64)
    application.write(b"from Qt")
    api = Api(started(pod.sidecar()).address)
    status = api.segment(key).json
    assert (status["size"], status["origin"], status["orphaned"]) == (64, "qt", False)
    assert api.get(key.href + "/data", query={"length": 7}).body == b"from Qt"

    session = api.session()
    session.attach(key)
    session.lock(key)
    application.begin_lock()
    session.write(key, b"by HTTP", offset=0)
    session.unlock(key)
    application.await_lock()
    assert application.read(0, 7) == b"by HTTP"
    session.lock(key, expect=(423, "locked"))
    application.unlock()
    # The last to go destroys it, whichever side that is.
    application.detach()
    assert session.detach(key).json["destroyed"] is True


def test_who_made_a_segment_cannot_be_seen_from_another_process_namespace(pod, started, stem):
    key = kernel.systemv_name(stem, pod.directory)
    started(pod.application()).segment(key).create(64)
    api = Api(started(pod.sidecar()).address)
    assert "creator_pid" not in api.segment(key).json
    listed = [one for one in api.get("/v1/segments", expect=200).json["segments"]
              if one["type"] == "systemv"]
    assert len(listed) == 1 and "creator_pid" not in listed[0]
    assert listed[0]["attachments"] == 1


def test_another_user_sees_what_it_may_not_read(pod, started, key):
    started(pod.application()).segment(key).create(64).write(b"private").lock()
    api = Api(started(pod.sidecar(user=STRANGER)).address)
    listed = api.get("/v1/segments", expect=200).json["segments"]
    mine = next(one for one in listed if one["size"] == 64)
    assert (mine["owner"]["uid"], mine["owner"]["mode"]) == (APPLICATION, "0600")
    api.get(mine["href"] + "/data", expect=(403, "permission-denied"))
    api.get(key.href + "/data", expect=(403, "permission-denied"))
    api.session().attach(key, expect=(403, "permission-denied"))


def test_a_group_may_read_what_its_mode_allows(pod, started, stem):
    """The application gave its group the right to read; the sidecar is of that group."""
    key = kernel.posix_name(stem)
    application = started(pod.application())
    application.segment(key).create(64).write(b"for the group")
    pod.run("chgrp", "20002", key.memory_file)
    pod.run("chmod", "0640", key.memory_file)
    api = Api(started(pod.sidecar(user=STRANGER, groups=[20002])).address)
    assert api.get(key.href + "/data", query={"length": 13}).body == b"for the group"
    api.patch(key.href + "/data", body=b"x", expect=(403, "permission-denied"))
    assert api.session().attach(key, mode="read_only").json["mode"] == "read_only"


def test_outside_nothing_is_seen(pod, start_server, started, key):
    started(pod.application()).segment(key).create(64)
    side, outside = Api(started(pod.sidecar()).address), Api(start_server().address)
    assert len(side.get("/v1/segments", expect=200).json["segments"]) == 1
    assert outside.get("/v1/segments", expect=200).json["segments"] == []
    assert not os.path.exists(f"/dev/shm/{key.path.rpartition('/')[2]}")
    assert not [one for one in kernel.table("shm") if one["size"] == 64]
    inside, here = (api.get("/v1", expect=200).json["shared_memory"] for api in (side, outside))
    assert inside["ipc_namespace"] != here["ipc_namespace"]
    assert inside["dev_shm"]["device"] != here["dev_shm"]["device"]


def test_the_application_crashes_and_comes_back(pod, started, key):
    first = started(pod.application())
    first.segment(key).create(64).write(b"kept")
    api = Api(started(pod.sidecar()).address)
    session = api.session()
    session.attach(key)
    first.kill()
    assert session.read(key, length=4).body == b"kept"
    second = started(pod.application()).segment(key).attach()
    assert second.read(0, 4) == b"kept"
    session.write(key, b"more", offset=0)
    assert second.read(0, 4) == b"more"
    second.detach()
    assert session.detach(key).json["destroyed"] is True


def test_what_a_crash_leaves_is_seen_as_an_orphan(pod, started, key):
    application = started(pod.application())
    application.segment(key).create(64)
    api = Api(started(pod.sidecar()).address)
    assert api.segment(key).json["orphaned"] is False
    application.kill()
    wait_until(lambda: api.segment(key).json["orphaned"], 10, "the orphan")
    page = api.get("/metrics", expect=200).body.decode()
    kind = "posix" if key.is_posix else "systemv"
    assert f'segmentd_host_segments_orphaned{{type="{kind}"}} 1\n' in page
    api.delete(key.href, expect=204)
    api.segment(key, expect=404)


def test_segmentd_crashes_and_comes_back(pod, started, key):
    """The kill -9 of the sidecar costs nobody anything: its sessions are where they were."""
    application = started(pod.application()).segment(key).create(64)
    application.write(b"kept")
    first = started(pod.sidecar())
    session = Api(first.address).session(name="worker")
    session.attach(key)
    token = session.lock(key).json["fencing_token"]
    first.send(signal.SIGKILL)
    first.process.wait(10)

    session.api = Api(started(pod.sidecar()).address)
    assert session.attachment(key).json["fencing_token"] == token
    application.begin_lock()
    session.write(key, b"more", offset=0, token=token)
    session.unlock(key)
    application.await_lock()
    assert application.read(0, 4) == b"more"
    application.unlock()
    application.detach()
    assert session.detach(key).json["destroyed"] is True


def test_the_first_process_of_a_container_obeys_sigterm(pod, started):
    sidecar = started(pod.sidecar())
    assert Api(sidecar.address).get("/readyz").status == 200
    sidecar.send(signal.SIGTERM)
    assert sidecar.wait(10) == 0
    assert pod.run("ls", "/dev/shm") == ""


def test_a_full_dev_shm_is_told(make_pod, started, stem):
    pod = make_pod(size="1m")
    key = kernel.posix_name(stem)
    api = Api(started(pod.sidecar()).address)
    assert api.get("/v1", expect=200).json["shared_memory"]["dev_shm"]["size"] == 1 << 20
    session = api.session()
    session.create(key, size=2 << 20, expect=(507, "out-of-resources"))
    session.create(key, size=1 << 19)
    session.end()


def test_a_sidecar_that_stayed_behind_can_be_told(make_pod, started, stem):
    """An application that is restarted in a new pod leaves its old sidecar where it was."""
    old, new = make_pod(), make_pod()
    started(new.application()).segment(kernel.posix_name(stem)).create(64)
    behind = Api(started(old.sidecar()).address).get("/v1", expect=200).json["shared_memory"]
    assert behind["ipc_namespace"] != os.stat(f"/proc/{new.holder}/ns/ipc").st_ino
    assert behind["ipc_namespace"] == os.stat(f"/proc/{old.holder}/ns/ipc").st_ino
    inode = int(old.run("stat", "-c", "%i", "/dev/shm"))
    assert behind["dev_shm"]["inode"] == inode


@pytest.mark.parametrize("mode, group, is_taken", [
    (0o440, STRANGER, True), (0o400, STRANGER, False), (0o444, STRANGER, False),
    (0o460, STRANGER, False), (0o440, STRANGER + 1, False)])
def test_a_secret_is_taken_that_the_group_alone_may_read(pod, started, mode, group, is_taken):
    """As Kubernetes mounts one: root's, with the group of the pod."""
    path = os.path.join(pod.directory, "tokens")
    with open(path, "w", encoding="ascii") as file:
        file.write("correct-horse-battery-staple inspect\n")
    os.chown(path, 0, group)
    os.chmod(path, mode)
    try:
        sidecar = started(pod.sidecar(user=STRANGER, arguments=["--token-file", path]))
    except AssertionError as problem:
        assert not is_taken and "token file" in str(problem), problem
        return
    assert is_taken
    assert Api(sidecar.address).get("/v1").status == 401
    assert Api(sidecar.address, token="correct-horse-battery-staple").get("/v1").status == 200
