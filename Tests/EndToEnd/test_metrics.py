"""What /metrics tells, by Prometheus' own tools and by what was done before."""
import json
import os
import re
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request

import pytest

from harness.client import Api
from harness.contract import CONTRACT
from harness.server import ROOT
from harness.waiting import wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def samples(api):
    """Every sample by its name and labels."""
    found = {}
    for line in api.get("/metrics", expect=200).body.decode().splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            assert name not in found, f"{name} is there twice"
            found[name] = float(value)
    return found


class Difference:
    """How much the samples have grown since."""

    def __init__(self, api):
        self.api = api
        self.before = samples(api)

    def __getitem__(self, name):
        return self.after[name] - self.before.get(name, 0)

    def take(self):
        self.after = samples(self.api)
        return self


@pytest.fixture
def own(start_server):
    """A client of a server that nobody else asks."""
    api = Api(start_server().address)
    yield api
    api.end_sessions()
    api.close()


def requests(method, route, status):
    return f'segmentd_http_requests_total{{method="{method}",route="{route}",status="{status}"}}'


def test_promtool_has_nothing_to_complain_of(own, posix):
    session = own.session()
    session.create(posix)
    session.lock(posix)
    session.unlock(posix)
    own.get("/v1/segments/nobody", expect=404)
    page = own.get("/metrics", expect=200).body
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True,
                             timeout=20, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_head_of_the_metrics_has_their_headers(own):
    assert own.head("/metrics", expect=200).headers["Content-Type"].startswith("text/plain")


def test_requests_are_counted_by_method_route_and_status(own, posix):
    since = Difference(own)
    session = own.session()
    session.create(posix)
    session.read(posix)
    session.read(posix)
    own.head(posix.href, expect=200)
    own.request("PURGE", posix.href, expect=405)
    own.get("/nowhere", expect=404)
    since.take()
    data = "/v1/segments/{segment}/data"
    assert since[requests("GET", data, 200)] == 2
    assert since[f'segmentd_http_request_duration_seconds_count{{method="GET",route="{data}"}}'] == 2
    assert since[requests("POST", "/v1/segments", 201)] == 1
    assert since[requests("HEAD", "/v1/segments/{segment}", 200)] == 1
    assert since[requests("other", "/v1/segments/{segment}", 405)] == 1
    assert since[requests("GET", "none", 404)] == 1
    assert since['segmentd_http_requests_refused_total{reason="not-found"}'] == 1
    assert since['segmentd_http_requests_refused_total{reason="method-not-allowed"}'] == 1


def test_sessions_segments_and_bytes_are_counted(own, names):
    since = Difference(own)
    session, other = own.session(), own.session(ttl_ms=100)
    session.create(names["posix"], size=5000)
    session.create(names["systemv"], size=300)
    session.write(names["posix"], b"hello", offset=1)
    session.read(names["posix"], offset=0, length=7)
    since.take()
    assert since["segmentd_sessions"] >= 1
    assert since["segmentd_sessions_opened_total"] == 2
    for kind, size in (("posix", 5000), ("systemv", 300)):
        assert since[f'segmentd_segments{{type="{kind}"}}'] == 1
        assert since[f'segmentd_segment_bytes{{type="{kind}"}}'] == size
        assert since[f'segmentd_attachments{{type="{kind}"}}'] == 1
        assert since[f'segmentd_segments_created_total{{type="{kind}"}}'] == 1
        assert since[f'segmentd_host_segments{{type="{kind}"}}'] == 1
        assert since[f'segmentd_host_segment_bytes{{type="{kind}"}}'] == size
    assert since["segmentd_written_bytes_total"] == 5
    assert since["segmentd_read_bytes_total"] == 7
    wait_until(lambda: since.take()['segmentd_sessions_ended_total{reason="expired"}'], 10)
    own.get(other.href, expect=410)
    session.detach(names["posix"])
    session.end()
    since.take()
    assert since['segmentd_sessions_ended_total{reason="expired"}'] == 1
    assert since['segmentd_sessions_ended_total{reason="deleted"}'] == 1
    assert since['segmentd_segments_destroyed_total{reason="detached"}'] == 1
    assert since['segmentd_segments_destroyed_total{reason="session-ended"}'] == 1
    assert since['segmentd_segments{type="posix"}'] == 0
    assert since["segmentd_sessions"] == 0


def test_an_orphan_is_seen(own, posix):
    since = Difference(own)
    own.session().create(posix, on_last_detach="keep")
    own.end_sessions()
    since.take()
    assert since['segmentd_host_segments_orphaned{type="posix"}'] == 1
    own.delete(posix.href, expect=204)
    since.take()
    assert since['segmentd_segments_destroyed_total{reason="removed"}'] == 1
    assert since['segmentd_host_segments_orphaned{type="posix"}'] == 0


def test_locks_are_counted(own, name):
    since = Difference(own)
    holder, other = own.session(), own.session()
    holder.create(name)
    other.attach(name)
    holder.lock(name)
    waiting = other.begin_lock(name, wait_ms=30_000)
    wait_until(lambda: own.lock_state(name)["waiting"] == 1, 10)
    since.take()
    assert since["segmentd_locks_held"] == 1
    assert since["segmentd_lock_waiters"] == 1
    assert since["segmentd_lock_wait_seconds_count"] == 1
    holder.unlock(name)
    waiting.answer(expect=200)
    holder.lock(name, expect=(423, "locked"), wait_ms=20)
    own.delete(name.href + "/lock", query={"force": "true"}, expect=204)
    since.take()
    assert since["segmentd_lock_wait_seconds_count"] == 2
    assert since["segmentd_lock_wait_seconds_sum"] > 0
    assert since["segmentd_lock_hold_seconds_count"] == 2
    assert since["segmentd_lock_timeouts_total"] == 1
    assert since["segmentd_locks_lost_total"] == 1
    assert since["segmentd_locks_held"] == 0
    assert since['segmentd_http_requests_refused_total{reason="locked"}'] == 1


def test_connections_are_counted(own):
    before = samples(own)
    with socket.create_connection(own.address), socket.create_connection(own.address):
        wait_until(lambda: samples(own)["segmentd_http_connections"]
                   == before["segmentd_http_connections"] + 2, 10)
    wait_until(lambda: samples(own)["segmentd_http_connections"]
               == before["segmentd_http_connections"], 10)
    accepted = "segmentd_http_connections_accepted_total"
    assert samples(own)[accepted] == before[accepted] + 2


def test_a_client_that_leaves_is_counted(own, posix):
    holder, other = own.session(), own.session()
    holder.create(posix)
    other.attach(posix)
    holder.lock(posix)
    other.begin_lock(posix, wait_ms=30_000).hang_up()
    name = 'segmentd_http_requests_broken_off_total{reason="client-gone"}'
    wait_until(lambda: samples(own)[name] == 1, 10)


def test_the_process_figures_are_the_kernels(start_server):
    server = start_server()
    found = samples(Api(server.address))
    # The page is written by a thread lent for it, which may have ended since.
    assert server.threads() <= found["process_threads"] <= server.threads() + 1
    assert abs(found["process_open_fds"] - server.descriptors()) <= 2
    boot = next(int(line.split()[1]) for line in open("/proc/stat", encoding="ascii")
                if line.startswith("btime"))
    with open(f"/proc/{server.pid}/stat", encoding="ascii") as file:
        ticks = int(file.read().rsplit(")", 1)[1].split()[19])
    started = boot + ticks / os.sysconf("SC_CLK_TCK")
    assert found["process_start_time_seconds"] == pytest.approx(started, abs=0.02)
    assert found["process_resident_memory_bytes"] > 1 << 20


def test_the_shared_memory_seen_is_named(own):
    seen = own.get("/v1", expect=200).json["shared_memory"]
    assert seen["ipc_namespace"] == os.stat("/proc/self/ns/ipc").st_ino
    here, room = os.stat("/dev/shm"), os.statvfs("/dev/shm")
    device = f"{os.major(here.st_dev)}:{os.minor(here.st_dev)}"
    assert (seen["dev_shm"]["device"], seen["dev_shm"]["inode"]) == (device, here.st_ino)
    assert seen["dev_shm"]["size"] == room.f_blocks * room.f_frsize
    found = samples(own)
    assert found[f'segmentd_host_info{{ipc_namespace="{seen["ipc_namespace"]}",'
                 f'dev_shm="{device}"}}'] == 1
    assert found["segmentd_shm_size_bytes"] == seen["dev_shm"]["size"]


def test_labels_do_not_grow_with_keys_or_sessions(own, names):
    def series():
        return set(re.sub(r'ipc_namespace=.*', "", name) for name in samples(own))

    def use(size):
        session = own.session()
        for one in names.values():
            session.create(one, size=size)
            session.detach(one)
        session.end()

    use(1)
    samples(own)
    before = series()
    use(2)
    assert series() == before


def test_every_code_is_counted_under_its_name(own):
    counted = {match[1] for name in samples(own)
               if (match := re.match(r'segmentd_http_requests_refused_total\{reason="(.*)"\}', name))}
    # The last two are the parser's own: such a request never comes to us.
    assert CONTRACT.codes() - counted == {"uri-too-long", "header-too-large"}


def test_the_page_about_running_it_has_every_metric_and_reason(own):
    page = own.get("/metrics", expect=200).body.decode()
    lines = re.findall(r"^\| `segmentd_.*", (ROOT / "docs/operations.md").read_text(), re.M)
    assert set(re.findall(r"`(segmentd_\w+)", "\n".join(lines))) == set(
        re.findall(r"^# TYPE (segmentd_\w+)", page, re.M))
    for name, reason in re.findall(r'^(segmentd_\w+)\{reason="([a-z-]+)"\}', page, re.M):
        line, = (line for line in lines if f"`{name}`" in line)
        assert f"`{reason}`" in line or "by the problem's code" in line, (name, reason)


# Tracing

def test_a_trace_is_logged_and_returned(start_server):
    server = start_server("--log-format", "json")
    api = Api(server.address)
    answer = api.get("/v1", headers={"traceparent": TRACEPARENT}, expect=200)
    version, trace, span, flags = answer.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert re.fullmatch("[0-9a-f]{16}", span) and span != "b7ad6b7169203331"
    refused = api.get("/nowhere", headers={"traceparent": TRACEPARENT}, expect=404)
    assert refused.headers["traceparent"].split("-")[1] == TRACE

    def lines():
        logged = [json.loads(line) for line in server.log().splitlines()]
        return [line for line in logged if line.get("trace_id") == TRACE]

    wait_until(lambda: len(lines()) == 2, 10, "the access lines")
    assert lines()[0]["span_id"] == span
    assert lines()[0]["request_id"] == answer.headers["X-Request-Id"]


def test_a_trace_is_logged_as_text_too(start_server):
    server = start_server()
    Api(server.address).get("/livez", headers={"traceparent": TRACEPARENT}, expect=200)
    wait_until(lambda: f"trace={TRACE} span=" in server.log(), 10, "the access line")


@pytest.mark.parametrize("field", ["", "00-0-0-01", TRACEPARENT + "-", TRACEPARENT.upper(),
                                   TRACEPARENT.replace(TRACE, "0" * 32), "ff" + TRACEPARENT[2:]])
def test_a_trace_that_is_none_is_ignored(api, field):
    answer = api.get("/livez", headers={"traceparent": field}, expect=200)
    assert "traceparent" not in answer.headers


# Prometheus itself

def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


@pytest.fixture
def prometheus(tmp_path, own):
    """Prometheus, scraping one server; a function that asks it for an instant's values."""
    settings = tmp_path / "prometheus.yml"
    settings.write_text(json.dumps({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": "segmentd", "static_configs": [
            {"targets": ["{}:{}".format(*own.address)]}]}],
    }))
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [shutil.which("prometheus") or "/usr/bin/prometheus", f"--config.file={settings}",
         f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address={address}",
         "--storage.tsdb.retention.size=50MB", "--log.level=warn"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def query(text):
        url = f"http://{address}/api/v1/query?" + urllib.parse.urlencode({"query": text})
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)["data"]["result"]
        except OSError:
            assert process.poll() is None, process.stderr.read()
            return []

    yield query
    process.terminate()
    process.communicate(timeout=20)


def test_prometheus_scrapes_the_server(prometheus, own, posix):
    own.session().create(posix, size=777)
    found = wait_until(lambda: prometheus('segmentd_segment_bytes{type="posix"} == 777'), 60,
                       "a scrape of what was just made")
    assert found[0]["metric"]["job"] == "segmentd"
    assert prometheus("up")[0]["value"][1] == "1"
    assert prometheus("scrape_samples_scraped > 100")
    rate = 'histogram_quantile(0.9, sum by (le) (rate(segmentd_http_request_duration_seconds_bucket[1m])))'
    wait_until(lambda: [one for one in prometheus(rate) if one["value"][1] != "NaN"], 30, "a quantile")
