"""What is in deploy/, held against the tools that will read it."""
import gzip
import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness.client import Api
from harness.server import ROOT, program, run

DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").iterdir())
TOOLS = Path(sys.executable).parent


def tool(*command, deadline=60, **how):
    """Run a checker; what it says is in the failure."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=deadline, check=False,
                          **how)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done


def documents(path):
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


# What holds for all of them

@pytest.mark.parametrize("path", [*MANIFESTS, *UNITS, DEPLOY / "compose.yaml",
                                  DEPLOY / "prometheus/alerts.yaml",
                                  DEPLOY / "prometheus/prometheus.yml"], ids=lambda one: one.name)
def test_it_says_what_to_change(path):
    comment = path.read_text().split("\n\n", 4)
    assert any("To change" in part and part.startswith("#") for part in comment)


@pytest.mark.parametrize("path", [*MANIFESTS, DEPLOY / "compose.yaml"], ids=lambda one: one.name)
def test_the_flags_that_it_sets_are_flags_of_the_program(path, environment):
    known = set(re.findall(r"--([a-z-]+)", run("--help", environment=environment).stdout))
    named = {name.removeprefix("SEGMENTD_").lower().replace("_", "-")
             for name in re.findall(r"\bSEGMENTD_[A-Z_]+\b", path.read_text())}
    assert named
    assert named <= known


# Container

def test_the_dockerfile_is_clean():
    tool(TOOLS / "hadolint", ROOT / "Dockerfile")


@pytest.mark.parametrize("word", ["<<EOF", "--link", "--mount", "--chmod", "# syntax"])
def test_the_dockerfile_takes_no_particular_builder(word):
    assert word not in (ROOT / "Dockerfile").read_text()


def test_nothing_else_is_sent_to_the_builder():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = set(re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.M))
    named = {name for line in copied for name in line.split()}
    assert "*" in ignored
    assert {"!" + name for name in named} == {line for line in ignored if line.startswith("!")}


# Compose and Kubernetes

def test_the_compose_file_is_one():
    tool(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec",
         DEPLOY / "compose.yaml")


def test_in_compose_the_memory_outlives_the_application():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert services["memory"]["ipc"] == "shareable"
    for name in ("application", "segmentd"):
        assert services[name]["ipc"] == "service:memory"
        assert services[name]["volumes"] == services["segmentd"]["volumes"]
        assert services[name]["user"] == services["segmentd"]["user"]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda one: one.name)
def test_kubernetes_takes_it(path):
    tool(TOOLS / "kubernetes-validate", "--strict", path)


def pod_specs():
    for path in MANIFESTS:
        for document in documents(path):
            if "template" in document.get("spec", {}):
                yield pytest.param(document["spec"]["template"]["spec"], id=path.name)


def containers(spec):
    return spec.get("initContainers", []) + spec["containers"]


@pytest.mark.parametrize("spec", list(pod_specs()))
def test_every_container_is_confined(spec):
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    for container in containers(spec):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("spec", list(pod_specs()))
def test_segmentd_is_probed_and_sees_the_shared_memory(spec):
    segmentd = next(one for one in containers(spec) if one["name"] == "segmentd")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert segmentd[probe]["exec"]["command"][:2] == ["/usr/bin/segmentd", "health"]
    mounts = {mount["mountPath"]: mount["name"] for mount in segmentd["volumeMounts"]}
    assert {"/dev/shm", "/tmp"} <= set(mounts)
    assert {mount["name"] for mount in segmentd["volumeMounts"]} <= {
        volume["name"] for volume in spec["volumes"]}


def test_the_sidecar_is_a_native_one_and_shares_its_volumes():
    spec = documents(DEPLOY / "kubernetes/sidecar.yaml")[0]["spec"]["template"]["spec"]
    sidecar, = spec["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["volumeMounts"] == spec["containers"][0]["volumeMounts"]
    assert all(volume["emptyDir"]["medium"] == "Memory" for volume in spec["volumes"])


def test_who_listens_for_others_takes_tokens():
    for path in [*MANIFESTS, DEPLOY / "compose.yaml"]:
        text = path.read_text()
        if re.search(r"SEGMENTD_LISTEN\W+(value: )?\"?(0\.0\.0\.0|\[::\])", text):
            assert "SEGMENTD_TOKEN_FILE" in text
        else:
            assert re.search(r"SEGMENTD_LISTEN\W+(value: )?\"?(127\.0\.0\.1|unix:)", text)


# systemd

@pytest.fixture(scope="module")
def units(tmp_path_factory):
    """The units, with the program where it is now."""
    directory = tmp_path_factory.mktemp("units")
    for unit in UNITS:
        text = unit.read_text().replace("/usr/bin/segmentd", program())
        (directory / unit.name).write_text(text)
    return directory


@pytest.mark.parametrize("name", [unit.name for unit in UNITS])
def test_systemd_has_nothing_to_say_against_a_unit(units, name):
    done = tool("systemd-analyze", "verify", "--man=no", str(units / name))
    assert done.stderr == ""


def test_the_service_is_not_exposed():
    tool("systemd-analyze", "security", "--offline=true", "--threshold=20",
         str(DEPLOY / "systemd/segmentd.service"))


@pytest.fixture
def activated(tmp_path, environment, no_debris):
    """A function that has systemd start the program at the first connection."""
    started = []

    def start(place):
        command = ["systemd-socket-activate", "--listen", place,
                   *(f"--setenv={name}" for name in environment),
                   program(), "--state-dir", str(tmp_path / "state")]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
        started.append(process)
        assert b"Listening on" in process.stderr.readline()
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def test_a_connection_starts_the_service_at_a_port(activated):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    process = activated("{}:{}".format(*address))
    assert Api(address).get("/readyz", expect=200).body == b"ok\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_a_connection_starts_the_service_at_a_unix_socket(activated, tmp_path, environment):
    path = str(tmp_path / "s")
    activated(path)
    checked = run("health", "--listen", f"unix:{path}", environment=environment)
    assert checked.returncode == 0, checked.stderr


# Prometheus and Grafana

def test_promtool_takes_the_rules():
    tool("promtool", "check", "rules", DEPLOY / "prometheus/alerts.yaml")
    tool("promtool", "test", "rules", "alerts-test.yaml", cwd=DEPLOY / "prometheus")
    tool("promtool", "check", "config", "prometheus.yml", cwd=DEPLOY / "prometheus")


def dashboard():
    return json.loads((DEPLOY / "grafana/segmentd.json").read_text())


def expressions():
    """Every expression of the dashboard, as Prometheus would be sent it."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"].replace("$__rate_interval", "1m")


def test_every_expression_of_the_dashboard_can_be_read(tmp_path):
    rules = [{"record": f"one:{index}", "expr": one} for index, one in enumerate(expressions())]
    path = tmp_path / "rules.yaml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    tool("promtool", "check", "rules", path)


def test_what_is_asked_for_is_there(server, posix, api):
    """Every metric that a rule or a panel names is one that a server in use has."""
    session = api.session()
    session.create(posix)
    session.read(posix)
    page = api.get("/metrics", expect=200).body.decode()
    there = set(re.findall(r"^([a-z_]+)", page, re.M))
    rules = documents(DEPLOY / "prometheus/alerts.yaml")[0]["groups"][0]["rules"]
    asked = " ".join([*expressions(), *(rule["expr"] for rule in rules)])
    named = set(re.findall(r"\b(?:segmentd|process)_[a-z_]+\b", asked))
    assert len(named) > 25
    assert named <= there


def test_panels_stand_beside_each_other():
    cells, numbers = set(), set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        own = {(x, y) for x in range(place["x"], place["x"] + place["w"])
               for y in range(place["y"], place["y"] + place["h"])}
        assert not own & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= own
        assert panel["id"] not in numbers
        numbers.add(panel["id"])


# Debian

@pytest.fixture(scope="module")
def package(tmp_path_factory):
    directory = tmp_path_factory.mktemp("deb")
    done = tool(ROOT / "scripts/deb", "--binary", program(), "--output", directory, deadline=120)
    return Path(done.stdout.splitlines()[-1])


def test_the_same_program_makes_the_same_package(package, tmp_path):
    """scripts/deb --check has the program built twice, too."""
    tool(ROOT / "scripts/deb", "--binary", program(), "--output", tmp_path, deadline=120)
    assert (tmp_path / package.name).read_bytes() == package.read_bytes()


def test_lintian_takes_the_package(package):
    done = tool("lintian", "--allow-root", "--fail-on", "error,warning", package)
    assert "E:" not in done.stdout and "W:" not in done.stdout


def test_the_package_has_what_it_should(package, tmp_path):
    tool("dpkg-deb", "--extract", package, tmp_path)
    installed = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert installed == {
        "etc/default/segmentd", "lib/systemd/system/segmentd.service",
        "lib/systemd/system/segmentd.socket", "usr/bin/segmentd",
        "usr/share/doc/segmentd/changelog.gz", "usr/share/doc/segmentd/copyright",
        "usr/share/man/man8/segmentd.8.gz"}
    depends = tool("dpkg-deb", "--field", package, "Depends").stdout
    assert "libmicrohttpd12" in depends and "libstdc++6" in depends
    told = subprocess.run([tmp_path / "usr/bin/segmentd", "--version"], capture_output=True,
                          text=True, timeout=10, check=True).stdout
    assert told.startswith("segmentd ")


def test_the_manual_has_every_flag(package, tmp_path, environment):
    tool("dpkg-deb", "--extract", package, tmp_path)
    manual = gzip.decompress((tmp_path / "usr/share/man/man8/segmentd.8.gz").read_bytes()).decode()
    flags = set(re.findall(r"^  (--[a-z-]+)", run("--help", environment=environment).stdout, re.M))
    assert len(flags) > 10
    assert {flag for flag in flags if flag.replace("-", r"\-") not in manual} == set()
    for section in ("SYNOPSIS", "ENVIRONMENT", "SIGNALS", "FILES", "EXAMPLES"):
        assert f'.SH {section}' in manual or f'.SH "{section}' in manual
    assert "segmentd-0" not in manual
