"""Every row of the table of errors: status, code and Qt's word for it."""
import os
import signal

import pytest

from harness import kernel
from harness.client import Api, exchange, raw
from harness.waiting import wait_until
from harness.watch import Watch, promptly

# A server whose root has none of root's powers.
POWERLESS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")


def with_small_shm(size):
    """A wrapper that gives the server a /dev/shm of this size."""
    return ("unshare", "--mount", "sh", "-c",
            f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"', "sh")


def refused(answer, status, code, qt_error=None):
    """The answer is this problem, and says what Qt would."""
    answer.expecting((status, code))
    assert answer.json.get("qt_error") == qt_error, answer
    return answer


def create(api, body, size=8):
    return api.session().request("POST", "/v1/segments", json={**body, "size": size})


# Keys and sizes

@pytest.mark.parametrize("body", [
    {"key": ""},
    {"native_key": ""},
    {"native_key": "posix:"},
    {"native_key": "posix:/"},
    {"native_key": "posix:/a/b"},
    {"native_key": "posix:/" + "x" * 252},
    {"native_key": "posix:/.."},
    {"native_key": "systemv:"},
    {"native_key": "systemv-0:/tmp/x"},
    {"native_key": "systemv-256:/tmp/x"},
    {"native_key": "windows:x"},
    {"native_key": "nonsense:/x"},
    {"native_key": "no colon"},
    {"native_key": "posix:/x?unknown=1"},
    {"native_key": "posix:/x%00y"},
    {"key": "x" * 300},
], ids=str)
def test_a_bad_key_is_a_key_error(api, body):
    refused(create(api, body), 400, "key-error", "KeyError")


@pytest.mark.parametrize("component", [
    "posix:", "posix:%2F", "posix:%2Fa%2Fb", "systemv:", "shmid:x", "shmid:", "shmid:-1", "key:",
])
def test_a_bad_key_in_a_path_is_a_key_error(api, component):
    refused(api.get(f"/v1/segments/{component}"), 400, "key-error", "KeyError")


def test_a_key_of_the_greatest_length_works(api):
    name = kernel.posix_name("x" * 251)
    session = api.session()
    session.create(name)
    session.lock(name)


@pytest.mark.parametrize("size", [0, -1, 1.5, 2**46, 2**62])
def test_a_bad_size_is_an_invalid_size(api, names, size):
    for name in names.values():
        answer = api.session().create(name, size, expect=None)
        refused(answer, 422, "invalid-size", "InvalidSize")
        assert not name.exists()


def test_a_size_over_the_server_s_limit_is_an_invalid_size(api, name):
    limit = api.get("/v1").json["limits"]["max_segment_bytes"]
    answer = api.session().create(name, limit + 1, expect=None)
    refused(answer, 422, "invalid-size", "InvalidSize")


# Segments

def test_creating_what_exists_is_already_exists(api, name):
    api.session().create(name)
    refused(api.session().create(name, expect=None), 409, "already-exists", "AlreadyExists")


@pytest.mark.parametrize("method, suffix", [
    ("GET", ""), ("DELETE", ""), ("PUT", "/attachment"), ("GET", "/attachment"),
    ("DELETE", "/attachment"), ("PUT", "/lock"), ("GET", "/lock"), ("DELETE", "/lock"),
    ("GET", "/data"), ("PUT", "/data"), ("PATCH", "/data"),
])
def test_what_is_not_there_is_not_found(api, name, method, suffix):
    answer = api.request(method, name.href + suffix, session=api.session(),
                         body=b"x" if suffix == "/data" and method != "GET" else None)
    refused(answer, 404, "not-found", "NotFound")


@pytest.mark.parametrize("path", ["/", "/v2", "/v1/", "/v1/segment", "/v1/segments/a/b",
                                  "/v1/segments/posix:/x/data", "/livez/",
                                  "/v1/sessions/x/y", "//v1", "/V1"])
def test_a_path_that_is_none_is_not_found_with_a_title_of_its_own(api, path, posix):
    answer = refused(api.get(path), 404, "not-found")
    assert answer.json["title"] != api.segment(posix, expect=404).json["title"]


def test_what_the_kernel_refuses_is_permission_denied(start_server, posix, no_debris):
    api = Api(start_server(wrapper=POWERLESS).address)
    with open(posix.memory_file, "wb") as file:
        file.write(b"secret")
    os.chmod(posix.memory_file, 0)
    refused(api.get(posix.href + "/data"), 403, "permission-denied", "PermissionDenied")
    refused(api.session().attach(posix, expect=None), 403, "permission-denied", "PermissionDenied")
    api.end_sessions()
    no_debris.clean()


def test_a_full_shm_is_out_of_resources(start_server, posix):
    server = start_server(wrapper=with_small_shm("256k"))
    watch = Watch(server)
    api = Api(server.address)
    session = api.session()
    refused(promptly(lambda: session.create(posix, 1 << 20, expect=None)), 507, "out-of-resources",
            "OutOfResources")
    assert api.segment_ids() == [], "what was begun is gone"
    session.create(posix, 4096)
    session.write(posix, b"goes on", offset=0)
    api.end_sessions()
    api.close()
    assert watch.is_clean()


def test_a_shm_that_fills_up_under_a_sparse_segment_breaks_nothing(start_server, posix, stem):
    """A segment that another made without reserving its memory."""
    server = start_server(wrapper=with_small_shm("256k"))
    watch = Watch(server)
    api = Api(server.address)
    root = f"/proc/{server.pid}/root/dev/shm"
    with open(f"{root}/{stem}", "wb") as file:
        file.truncate(1 << 20)
    session = api.session()
    session.attach(posix)
    answer = promptly(lambda: session.write(posix, b"x" * (1 << 20), expect=None))
    refused(answer, 507, "out-of-resources", "OutOfResources")
    assert watch.is_prompt()
    api.end_sessions()
    api.close()
    assert watch.is_clean()


def test_the_kernel_s_limit_of_segments_is_out_of_resources(start_server, systemv):
    server = start_server()
    watch = Watch(server)
    api = Api(server.address)
    limit = "/proc/sys/kernel/shmmni"
    with open(limit, encoding="ascii") as file:
        before = file.read()
    held = kernel.create_shared_memory(0, 1)
    try:
        with open(limit, "w", encoding="ascii") as file:
            file.write("1")
        answer = promptly(lambda: api.session().create(systemv, expect=None))
        refused(answer, 507, "out-of-resources", "OutOfResources")
    finally:
        with open(limit, "w", encoding="ascii") as file:
            file.write(before)
        kernel.remove_shared_memory(held)
    api.end_sessions()
    api.close()
    assert watch.is_clean()


# Attachments and locks

@pytest.fixture
def two(api, name):
    """Two sessions, both attached."""
    first, second = api.session(), api.session()
    first.create(name)
    second.attach(name)
    return first, second


def test_attaching_twice_is_already_attached(name, two):
    refused(two[0].attach(name, expect=None), 409, "already-attached")


def test_removing_what_is_attached_is_in_use(api, name, two):
    refused(api.delete(name.href), 409, "in-use")


def test_who_is_not_attached_is_told_so(api, name, two):
    stranger = api.session()
    for method, suffix in [("GET", "/attachment"), ("DELETE", "/attachment"), ("PUT", "/lock"),
                           ("GET", "/data"), ("PUT", "/data"), ("PATCH", "/data")]:
        body = b"x" * 64 if suffix == "/data" and method != "GET" else None
        answer = stranger.request(method, name.href + suffix, body=body)
        refused(answer, 409, "not-attached", "LockError")


def test_unlocking_what_is_not_locked_is_told_so(name, two):
    refused(two[0].unlock(name, expect=None), 409, "not-locked", "LockError")


def test_a_segment_without_a_key_file_has_no_lock(api):
    shmid = kernel.create_shared_memory(0, 8)
    session = api.session()
    session.request("PUT", f"/v1/segments/shmid:{shmid}/attachment", expect=201)
    for method in ("PUT", "DELETE"):
        answer = session.request(method, f"/v1/segments/shmid:{shmid}/lock")
        refused(answer, 409, "lock-unsupported", "LockError")


def test_a_lock_that_another_holds_is_locked(name, two):
    two[0].lock(name)
    answer = refused(two[1].lock(name, expect=None), 423, "locked", "LockError")
    assert int(answer.headers["Retry-After"]) >= 0
    two[0].unlock(name)


def test_two_key_files_with_one_ftok_value_collide(start_server, environment, stem):
    """Only 16 bits of an inode's number count; on a tmpfs they come round after 65,536 files."""
    directory = f"/dev/shm/{stem}"
    os.mkdir(directory, 0o700)
    first, second = f"{directory}/first", f"{directory}/second"
    open(first, "wb").close()
    for number in range(70_000):
        open(second, "wb").close()
        if kernel.ftok(second) == kernel.ftok(first):
            break
        os.unlink(second)
    else:
        pytest.fail("no collision came about")
    try:
        server = start_server(environment={**environment, "TMPDIR": directory})
        api = Api(server.address)
        session = api.session()
        session.create(kernel.systemv_name("first", directory))
        answer = session.create(kernel.systemv_name("second", directory), expect=None)
        answer.expecting((409, "key-collision"))
        session.attach(kernel.systemv_name("second", directory), expect=(409, "key-collision"))
        assert os.path.exists(second), "and the other's key file stays"
        session.end()
        server.stop()
    finally:
        for path in (first, second):
            if os.path.exists(path):
                os.unlink(path)
        os.rmdir(directory)


# Sessions

def test_no_session_where_one_is_needed_is_told_so(api, name):
    api.session().create(name)
    for method, suffix in [("PUT", "/attachment"), ("GET", "/attachment"),
                           ("DELETE", "/attachment"), ("PUT", "/lock"), ("DELETE", "/lock")]:
        refused(api.request(method, name.href + suffix), 400, "session-required")
    answer = api.post("/v1/segments", json={"key": "x", "size": 8})
    refused(answer, 400, "session-required")


def test_a_session_that_ended_is_gone(api, posix):
    session = api.session()
    session.end()
    refused(session.create(posix, expect=None), 410, "session-gone")
    refused(api.get(session.href), 410, "session-gone")


def test_more_sessions_than_there_may_be_are_refused(start_server):
    api = Api(start_server("--max-sessions", "20").address)
    limit = api.get("/v1").json["limits"]["max_sessions"]
    assert limit == 20
    for _ in range(limit):
        api.post("/v1/sessions", expect=201)
    refused(api.post("/v1/sessions"), 429, "too-many-sessions")
    api.get("/livez", expect=200)


# Requests

def test_a_request_that_makes_no_sense_is_invalid(api):
    answer = refused(api.post("/v1/sessions", json={"ttl": 1}), 400, "invalid-request")
    assert answer.json["pointer"] == "/ttl"
    answer = refused(api.get("/v1/segments", query={"size": 1}), 400, "invalid-request")
    assert answer.json["parameter"] == "size"


def test_a_method_that_a_path_does_not_have_is_not_allowed(api):
    answer = refused(api.delete("/v1"), 405, "method-not-allowed")
    assert "GET" in answer.headers["Allow"]


def test_no_fitting_representation_is_not_acceptable(api):
    answer = api.get("/v1", headers={"Accept": "text/html"})
    refused(answer, 406, "not-acceptable")


def test_a_body_over_the_limit_is_too_large_and_is_not_read(server, api, name):
    session = api.session()
    session.create(name)
    limit = api.get("/v1").json["limits"]["max_body_bytes"]
    for method, target in [("PUT", name.href + "/data"), ("POST", "/v1/sessions")]:
        octets = raw(method, target, f"Session-Id: {session.id}", f"Content-Length: {limit + 1}",
                     "Content-Type: application/json", "Expect: 100-continue")
        answer = exchange(server.address, octets, finish=False, method=method, target=target)
        refused(answer.check(), 413, "content-too-large")


def test_a_target_that_is_too_long_is_refused(server, api):
    limit = api.get("/v1").json["limits"]["max_header_bytes"]
    answer = exchange(server.address, raw("GET", "/v1/segments/" + "x" * (limit + 1000)),
                      finish=False)
    assert answer is None or answer.status in (414, 431)
    api.get("/livez", expect=200)


def test_a_header_that_is_too_large_is_refused(server, api):
    limit = api.get("/v1").json["limits"]["max_header_bytes"]
    answer = exchange(server.address, raw("GET", "/v1", "X-Filler: " + "x" * (limit + 1000)),
                      finish=False)
    assert answer is None or answer.status == 431
    api.get("/livez", expect=200)


def test_a_body_of_the_wrong_type_is_unsupported(api):
    answer = api.post("/v1/sessions", body=b"{}", headers={"Content-Type": "text/plain"})
    refused(answer, 415, "unsupported-media-type")
    assert "curl --json" in answer.json["detail"]


def test_past_the_end_is_out_of_range(name, two):
    first, _ = two
    refused(first.read(name, offset=65, expect=None), 416, "out-of-range")
    refused(first.write(name, b"x", offset=64, expect=None), 416, "out-of-range")


def test_a_body_of_another_size_is_a_size_mismatch(name, two):
    refused(two[0].write(name, b"x", expect=None), 422, "size-mismatch")


def test_writing_through_a_read_only_attachment_is_refused(api, name, two):
    reader = api.session()
    reader.attach(name, mode="read_only")
    refused(reader.write(name, b"x", offset=0, expect=None), 403, "read-only-attachment")


def test_a_stale_token_is_refused(name, two):
    answer = two[0].write(name, b"x", offset=0, token=1, expect=None)
    refused(answer, 412, "stale-fencing-token")


def test_a_segment_that_shrank_is_truncated(api, posix):
    session = api.session()
    session.create(posix, 8192)
    os.truncate(posix.memory_file, 0)
    refused(session.read(posix, expect=None), 409, "segment-truncated")


def test_a_server_that_stops_is_shutting_down(start_server, posix):
    server = start_server()
    api = Api(server.address)
    holder, waiter = api.session(), api.session()
    holder.create(posix)
    waiter.attach(posix)
    holder.lock(posix)
    pending = waiter.begin_lock(posix, 60000)
    wait_until(lambda: api.lock_state(posix)["waiting"] == 1, 2)
    server.send(signal.SIGTERM)
    refused(pending.answer(5), 503, "shutting-down")
    assert server.wait() == 0


def test_what_nobody_planned_for_names_the_errno(api, posix, stem, no_debris):
    os.symlink(f"{stem}target", posix.memory_file)
    answer = refused(api.session().attach(posix, expect=None), 500, "unknown-error", "UnknownError")
    assert "ELOOP" in answer.json["detail"]
    os.unlink(posix.memory_file)
    assert not no_debris.new()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "directory"])
def test_what_is_no_regular_file_hangs_nobody(api, posix, make, no_debris):
    make(posix.memory_file)
    try:
        for answer in (api.get(posix.href + "/data"), api.session().attach(posix, expect=None)):
            assert 400 <= answer.status <= 500
    finally:
        if os.path.isdir(posix.memory_file):
            os.rmdir(posix.memory_file)
        no_debris.clean()
