"""What is true of the image only: how it was made, what it needs, and how it bears a load.

scripts/test-image runs this; it takes podman.
"""
import os
import re
import shlex
import shutil
import subprocess

import pytest
import yaml

from harness import kernel, podman
from harness.client import Api
from harness.server import ROOT
from harness.waiting import wait_until
from test_readme import block
from test_sidecar import make_pod, pod, started  # noqa: F401, fixtures

REQUESTS = re.compile(r"Requests/sec:\s+([0-9.]+)")


@pytest.fixture(scope="module")
def image():
    return podman.inspect(podman.IMAGE)


def tell(text):
    """A figure for whoever runs this."""
    print(f"\n    {text}", flush=True)


def test_the_image_says_what_it_is(image):
    labels = image["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "segmentd"
    printed = podman.podman("run", "--rm", "--network=none", *podman.CONFINED, podman.IMAGE, "--version")
    assert printed.startswith("segmentd " + labels["org.opencontainers.image.version"])
    assert re.fullmatch("[0-9a-f]{40}", labels["org.opencontainers.image.revision"])


def test_the_image_runs_as_nobody_in_particular(image):
    assert image["Config"]["User"] == "10001:10001"
    assert image["Config"]["StopSignal"] in ("SIGTERM", "15")
    assert image["Config"]["Entrypoint"] == ["/usr/bin/segmentd"]
    assert image["Healthcheck"]["Test"] == ["CMD", "/usr/bin/segmentd", "health"]


def test_the_image_is_small(image):
    base = podman.inspect("docker.io/library/debian:bookworm-slim")
    own = image["Size"] - base["Size"]
    tell(f"image {image['Size'] / 1e6:.1f} MB, {own / 1e6:.1f} MB without the base")
    assert own < 40_000_000


def test_only_the_base_and_what_is_needed_is_in_the_image():
    """No toolchain, no package lists, and nobody's setuid program of ours."""
    mounted = podman.podman("image", "mount", podman.IMAGE)
    try:
        assert not os.path.exists(mounted + "/src")
        assert not os.listdir(mounted + "/var/lib/apt/lists")
        facts = os.stat(mounted + "/usr/bin/segmentd")
        assert (facts.st_uid, facts.st_mode & 0o7777) == (0, 0o755)
        linked = subprocess.run(["ldd", mounted + "/usr/bin/segmentd"], capture_output=True,
                                text=True, check=True).stdout
        assert "libmicrohttpd.so" in linked
        assert "swift" not in linked
    finally:
        podman.podman("image", "unmount", podman.IMAGE)


def test_the_container_is_confined(pod, started):  # noqa: F811
    sidecar = started(pod.sidecar(user=10001))
    status = dict(line.split(":\t", 1) for line in
                  open(f"/proc/{sidecar.pid}/status", encoding="ascii").read().splitlines())
    assert status["CapEff"] == status["CapBnd"] == "0" * 16
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["Uid"].split()[0] == "10001"
    assert status["NSpid"].split()[-1] == "1"


def test_the_image_tells_its_own_health(pod, started):  # noqa: F811
    assert started(pod.sidecar(user=10001)).is_healthy()


def test_the_memory_limit_of_the_container_is_kept(pod, started, stem):  # noqa: F811
    """A body that would not fit is refused, and the server lives."""
    sidecar = started(pod.sidecar(
        user=10001, extra=["--memory=96m", "--memory-swap=96m"],
        arguments=["--max-body-bytes", str(16 << 20), "--max-segment-bytes", str(32 << 20)]))
    assert sidecar.memory_limit() == 96 << 20
    api = Api(sidecar.address)
    session, key = api.session(), kernel.posix_name(stem)
    session.create(key, size=64 << 20, expect=(422, "invalid-size"))
    session.create(key, size=20 << 20)
    session.write(key, bytes(20 << 20), expect=(413, "content-too-large"))
    for _ in range(20):
        session.write(key, os.urandom(15 << 20), offset=0)
    assert sidecar.is_healthy()
    session.end()


def test_the_image_bears_a_load(pod, started, stem):  # noqa: F811
    """64 clients read 4 KiB for ten seconds while Qt writes, in a container of 128 MiB."""
    key = kernel.systemv_name(stem, pod.directory)
    qt = started(pod.application(user=10001)).segment(key).create(4096)
    sidecar = started(pod.sidecar(user=10001, extra=["--memory=128m", "--memory-swap=128m"],
                                  arguments=["--log-level", "warning"]))
    api = Api(sidecar.address)
    session = api.session()
    session.attach(key)
    url = "http://{}:{}".format(*sidecar.address) + key.href + "/data"
    load = subprocess.Popen(
        ["wrk", "--threads", "2", "--connections", "64", "--duration", "10s", "--latency",
         "--timeout", "10s", "--header", f"Session-Id: {session.id}", url],
        stdout=subprocess.PIPE, text=True)
    written = 0
    while load.poll() is None:
        qt.lock()
        qt.write(bytes([written % 256]) * 4096)
        qt.unlock()
        written += 1
    report = load.stdout.read()
    rate = float(REQUESTS.search(report)[1])
    slowest = re.search(r"^\s+99%\s+(\S+)", report, re.M)[1]
    memory = [line for line in api.get("/metrics", expect=200).body.decode().splitlines()
              if line.startswith("process_resident_memory_bytes")][0].split()[1]
    tell(f"{rate:.0f} requests/s, 99 % within {slowest}, {written} writes by Qt meanwhile, "
         f"{int(memory) / 1e6:.1f} MB resident")
    assert "Non-2xx" not in report and "Socket errors" not in report, report
    assert rate > 1000
    assert written > 100
    assert int(memory) < 100e6
    session.detach(key)


# README's chapter, as it stands there

def test_the_sidecar_of_readme(tmp_path):
    own = ["memory", "app", "segmentd"]
    command = shlex.join([shutil.which(podman.PODMAN[0]), *podman.PODMAN[1:]])
    (tmp_path / "podman").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    (tmp_path / "podman").chmod(0o755)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/image").write_text(f"#!/bin/sh\necho {podman.IMAGE}\n")
    (tmp_path / "scripts/image").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    try:
        # Into a file, for what podman leaves running keeps the other end of a pipe.
        with open(tmp_path / "printed", "w+", encoding="ascii") as printed:
            subprocess.run(["bash", "-euc", block("sidecar")], cwd=tmp_path, check=True,
                           env={**os.environ, "PATH": path}, stdout=printed, timeout=60)
            printed.seek(0)
            assert printed.read().endswith("hello")
    finally:
        for name in reversed(own):
            podman.podman("rm", "--force", "--time=0", name, check=False)


# The manifest for Kubernetes, as podman can play it

def test_the_pod_of_the_manifest_runs(tmp_path, stem):
    """podman knows no native sidecars: here it is one container beside the other. Its volumes are
    root's alone, where those of Kubernetes are everybody's, so root it is, without capabilities."""
    manifest = yaml.safe_load((ROOT / "deploy/kubernetes/sidecar.yaml").read_text())
    template = manifest["spec"]["template"]
    spec = template["spec"]
    sidecar = spec.pop("initContainers")[0]
    sidecar.pop("restartPolicy")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        sidecar.pop(probe)
    spec["securityContext"].update(runAsUser=0, runAsGroup=0, runAsNonRoot=False)
    sidecar["image"] = podman.IMAGE
    spec["containers"][0].update(image=podman.APPLICATION, command=[
        "python3", "-c", "import time; open('/dev/shm/frames', 'wb').write(b'hello'); time.sleep(600)"])
    spec["containers"].insert(0, sidecar)
    name = "segmentd-test-" + stem[:8]
    played = {"apiVersion": "v1", "kind": "Pod", "spec": spec,
              "metadata": {"name": name, "labels": template["metadata"]["labels"]}}
    path = tmp_path / "pod.yaml"
    path.write_text(yaml.safe_dump(played))
    podman.podman("kube", "play", "--network=none", str(path))
    try:
        container = f"{name}-segmentd"

        def healthy():
            return subprocess.run([*podman.PODMAN, "exec", container, "/usr/bin/segmentd", "health"],
                                  check=False, timeout=20, capture_output=True).returncode == 0

        wait_until(healthy, 30, "health")
        process = podman.inspect(container)["State"]["Pid"]
        asked = wait_until(lambda: subprocess.run(
            ["nsenter", f"--target={process}", "--net", "curl", "--silent", "--fail",
             "http://127.0.0.1:7070/v1/segments/posix:%2Fframes/data"],
            capture_output=True, check=False, timeout=10).stdout, 20, "the application's bytes")
        assert asked == b"hello"
    finally:
        podman.podman("kube", "down", str(path))
