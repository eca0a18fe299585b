"""How much clients may have: segments, bytes, attachments, sessions."""
import os

import pytest

from harness import kernel
from harness.client import Api
from harness.server import run


def names_of(kind, stem, directory, count):
    return [kernel.make_name(kind, f"{stem}-{index}", directory) for index in range(count)]


def test_the_limits_are_shown(start_server):
    api = Api(start_server(
        "--max-segments", "3", "--max-total-bytes", "5000", "--max-attachments-per-session", "2",
        "--max-sessions", "7", "--max-segment-bytes", "4000").address)
    limits = api.get("/v1", expect=200).json["limits"]
    assert [limits[f"max_{name}"] for name in (
        "segments", "total_bytes", "attachments_per_session", "sessions", "segment_bytes")
            ] == [3, 5000, 2, 7, 4000]


def test_the_defaults_are_shown(api):
    limits = api.get("/v1", expect=200).json["limits"]
    assert 16 <= limits["max_segments"] <= 4096
    assert limits["max_attachments_per_session"] == 1024 and limits["max_total_bytes"] > 1 << 20


@pytest.mark.parametrize("kind", ["posix", "systemv", "legacy"])
def test_only_so_many_segments_exist_at_once(start_server, kind, stem, temporary_directory):
    api = Api(start_server("--max-segments", "2").address)
    first, second, third = names_of(kind, stem, temporary_directory, 3)
    session = api.session()
    session.create(first)
    # One that is kept counts, though nobody is attached to it.
    session.create(second, on_last_detach="keep")
    session.detach(second)
    refused = session.create(third, expect=(507, "out-of-resources"))
    assert "max_segments" in refused.json["detail"]
    assert refused.json["qt_error"] == "OutOfResources"
    assert not third.exists()
    # What exists says so, and can be attached to.
    session.create(first, expect=(409, "already-exists"))
    session.create(second, if_exists="attach", expect=200)
    session.detach(second)
    session.detach(first)
    session.create(third)
    session.end()


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "stopped"])
@pytest.mark.parametrize("kind", ["posix", "systemv", "legacy"])
def test_what_is_kept_counts_after_a_restart(start_server, kind, stem, temporary_directory, is_killed):
    server = start_server("--max-segments", "2", "--max-total-bytes", "10000")
    api = Api(server.address)
    first, second, third = names_of(kind, stem, temporary_directory, 3)
    session = api.session()
    session.create(first, size=6000, on_last_detach="keep")
    session.create(second, size=64)
    session.detach(first)
    # What exists counts on, though it is asked for once more.
    session.create(first, size=64, expect=(409, "already-exists"))

    def restart():
        nonlocal server
        if is_killed:
            server.crash()
        else:
            server.send(15)
            assert server.wait() == 0
            assert first.exists() and not second.exists()
        server = server.restart()
        start_server.started.append(server)
        api.close()
        api.address = server.address

    for _ in range(2):
        restart()
        if not is_killed:
            session = api.session()
            session.create(second, size=64)
        assert "max_segments" in session.create(
            third, size=64, expect=(507, "out-of-resources")).json["detail"]
        session.detach(second)
        assert "max_total_bytes" in session.create(
            second, size=5000, expect=(507, "out-of-resources")).json["detail"]
        session.create(second, size=64)
    # What others took away meanwhile counts no more.
    server.crash()
    api.close()
    if not first.is_posix:
        kernel.remove_shared_memory(kernel.shared_memory(first.memory_key())["shmid"])
        assert kernel.semaphore(first.lock_key()) is None, "nobody is attached"
    for path in filter(os.path.exists, {first.memory_file, first.lock_file}):
        os.unlink(path)
    server = server.restart()
    start_server.started.append(server)
    api.address = server.address
    session = api.session()
    session.create(first, size=9000)
    session.end()
    api.end_sessions()
    api.close()
    server.stop()


def test_a_segment_that_others_removed_counts_no_more(start_server, names):
    api = Api(start_server("--max-segments", "1").address)
    session = api.session()
    session.create(names["systemv"], on_last_detach="keep")
    session.detach(names["systemv"])
    session.create(names["posix"], expect=507)
    kernel.remove_shared_memory(
        kernel.shared_memory(kernel.ftok(names["systemv"].memory_file))["shmid"])
    session.create(names["posix"])
    session.end()
    os.unlink(names["systemv"].memory_file)


def test_only_so_many_bytes_exist_in_all(start_server, stem, temporary_directory):
    api = Api(start_server("--max-total-bytes", "1000").address)
    first, second = names_of("posix", stem, temporary_directory, 2)
    session = api.session()
    session.create(first, size=600)
    refused = session.create(second, size=401, expect=(507, "out-of-resources"))
    assert "max_total_bytes" in refused.json["detail"]
    session.create(second, size=400)
    session.detach(first)
    session.detach(second)
    session.create(first, size=1001, expect=(507, "out-of-resources"))
    session.create(first, size=1000)
    session.end()


def test_a_failed_creation_costs_nothing(start_server, posix, stem, temporary_directory):
    api = Api(start_server("--max-segments", "1").address)
    session = api.session()
    for _ in range(3):
        session.request("POST", "/v1/segments", expect=400,
                        json={"native_key": f"systemv:{temporary_directory}/{stem}/missing/x", "size": 8})
    session.create(posix)
    session.end()


def test_a_session_is_attached_to_only_so_many(start_server, stem, temporary_directory):
    api = Api(start_server("--max-attachments-per-session", "2").address)
    first, second, third = names_of("posix", stem, temporary_directory, 3)
    session, other = api.session(), api.session()
    session.create(first)
    session.create(second)
    other.create(third)
    for refused in (session.attach(third, expect=(507, "out-of-resources")),
                    session.create(kernel.posix_name(stem), expect=(507, "out-of-resources"))):
        assert "max_attachments_per_session" in refused.json["detail"]
    assert not kernel.posix_name(stem).exists()
    session.detach(first)
    session.attach(third)
    session.end()
    other.end()


@pytest.mark.parametrize("flag", ["--max-segments", "--max-total-bytes",
                                  "--max-attachments-per-session"])
def test_a_limit_is_a_number(environment, tmp_path, flag):
    for value in ("0", "-1", "many", ""):
        ended = run("--state-dir", str(tmp_path / "state"), f"{flag}={value}",
                    environment=environment)
        assert ended.returncode == 64 and flag in ended.stderr, ended
