"""Segments: create, look, list, remove."""
import os
from urllib.parse import quote

import pytest

from harness import kernel
from harness.client import Api


@pytest.mark.parametrize("size", [1, 4096, 5000])
def test_a_created_segment_is_zero_filled_and_of_the_exact_size(api, name, size):
    session = api.session()
    attachment = session.create(name, size).json
    assert attachment["segment"] == name.id
    assert (attachment["size"], attachment["mode"]) == (size, "read_write")
    assert (attachment["on_last_detach"], attachment["locked"]) == ("destroy", False)
    assert name.size() == size
    assert session.read(name).body == bytes(size)


def test_what_is_created_is_attached_and_located(api, name):
    session = api.session()
    answer = session.create(name)
    assert answer.headers["Location"].startswith("/v1/segments/" + quote(name.id, safe=""))
    session.request("GET", answer.headers["Location"], expect=200)
    assert session.attachment(name).json == answer.json


def test_only_the_owner_may_touch_what_was_created(api, names):
    session = api.session()
    session.create(names["posix"])
    session.create(names["systemv"])
    assert names["posix"].mode() == 0o600
    assert kernel.shared_memory(kernel.ftok(names["systemv"].memory_file))["perms"] & 0o777 == 0o600
    for name in (names["posix"], names["systemv"]):
        owner = api.segment(name).json["owner"]
        assert owner == {"uid": os.geteuid(), "gid": os.getegid(), "mode": "0600"}


def test_create_refuses_an_existing_segment(api, name):
    api.session().create(name)
    answer = api.session().create(name, expect=(409, "already-exists"))
    assert answer.json["qt_error"] == "AlreadyExists"


def test_create_by_the_session_that_has_it_is_refused_too(api, name):
    session = api.session()
    session.create(name)
    session.create(name, expect=(409, "already-exists"))
    session.create(name, if_exists="attach", expect=(409, "already-attached"))


def test_a_refused_create_breaks_nobody_s_lock(api, name):
    holder, other = api.session(), api.session()
    holder.create(name)
    other.attach(name)
    holder.lock(name)
    api.session().create(name, expect=(409, "already-exists"))
    other.lock(name, wait_ms=0, expect=(423, "locked"))
    assert api.lock_state(name)["state"] == "session"
    holder.unlock(name)
    holder.lock(name)


def test_if_exists_attach_attaches_to_what_is_there(api, name):
    first, second = api.session(), api.session()
    first.create(name, 64, if_exists="attach", expect=201)
    first.write(name, b"mine", offset=0)
    attachment = second.create(name, 64, if_exists="attach", expect=200).json
    assert attachment["size"] == 64
    assert second.read(name, length=4).body == b"mine"


def test_a_segment_describes_itself(api, name):
    session = api.session(name="describer")
    session.create(name, 100)
    segment = api.segment(name).json
    assert segment["id"] == name.id
    assert segment["href"] == "/v1/segments/" + quote(name.id, safe="")
    assert segment["type"] == ("posix" if name.is_posix else "systemv")
    assert segment["size"] == 100
    assert segment["sessions"] == 1
    assert segment["attachments"] >= 1
    assert segment["origin"] == "service"
    assert segment["orphaned"] is False
    assert segment["lock"] == {"state": "free", "waiting": 0}
    assert segment.get("key") == (name.path if name.kind == "legacy" else None)
    assert api.get(segment["href"], expect=200).json["id"] == name.id


def test_the_lock_in_a_segment_is_the_lock_itself(api, name):
    session = api.session(name="holder")
    session.create(name)
    session.lock(name)
    lock = api.segment(name).json["lock"]
    assert lock == api.lock_state(name)
    assert lock == {"state": "session", "session_name": "holder", "waiting": 0}


def test_a_system_v_segment_has_the_kernel_s_count_and_id(api, systemv):
    session = api.session()
    session.create(systemv)
    entry = kernel.shared_memory(kernel.ftok(systemv.memory_file))
    segment = api.segment(systemv).json
    assert segment["shmid"] == entry["shmid"]
    assert segment["attachments"] == entry["nattch"]


def test_two_names_of_one_kernel_object_are_one_segment(api, systemv):
    session = api.session()
    session.create(systemv)
    shmid = api.segment(systemv).json["shmid"]
    by_number = f"/v1/segments/shmid:{shmid}"
    assert api.get(by_number, expect=200).json["id"] == systemv.id
    session.request("PUT", by_number + "/attachment", expect=(409, "already-attached"))
    session.request("GET", by_number + "/attachment", expect=200)
    assert api.segment(systemv).json["sessions"] == 1


def test_a_legacy_key_and_its_native_key_are_one_segment(api, names):
    legacy = names["legacy"]
    session = api.session()
    session.create(legacy)
    native = quote(f"systemv:{legacy.memory_file}", safe="")
    session.request("PUT", f"/v1/segments/{native}/attachment", expect=(409, "already-attached"))


def test_a_key_that_looks_like_a_native_key_is_written_with_its_own_prefix(api, stem):
    session = api.session()
    key = f"posix:/{stem}"
    session.request("POST", "/v1/segments", json={"key": key, "size": 8}, expect=201)
    path = "/v1/segments/" + quote("key:" + key, safe="")
    assert api.get(path, expect=200).json["key"] == key
    assert not os.path.exists(f"/dev/shm/{stem}")
    session.request("DELETE", path + "/attachment", expect=200)


def test_a_system_v_key_with_another_project_id_is_another_segment(api, stem, temporary_directory):
    session = api.session()
    path = f"{temporary_directory}/{stem}"
    session.request("POST", "/v1/segments", json={"native_key": f"systemv-66:{path}", "size": 8},
                    expect=201)
    assert kernel.shared_memory(kernel.ftok(path, 66))["size"] == 8
    assert kernel.shared_memory(kernel.ftok(path)) is None
    api.get("/v1/segments/" + quote(f"systemv-66:{path}", safe=""), expect=200)
    api.get("/v1/segments/" + quote(f"systemv:{path}", safe=""), expect=(404, "not-found"))


def test_the_default_key_type_decides_what_a_plain_key_is(start_server, stem):
    api = Api(start_server("--default-key-type", "posix").address)
    assert api.get("/v1", expect=200).json["default_key_type"] == "posix"
    session = api.session()
    session.request("POST", "/v1/segments", json={"key": stem, "size": 8}, expect=201)
    assert os.path.exists(f"/dev/shm/{kernel.legacy_stem('sharedmemory', stem)}")
    session.end()


def test_a_segment_without_a_key_file_goes_by_its_number(api):
    shmid = kernel.create_shared_memory(0, 32)
    path = f"/v1/segments/shmid:{shmid}"
    segment = api.get(path, expect=200).json
    assert (segment["id"], segment["origin"]) == (f"shmid:{shmid}", "other")
    assert segment["lock"] is None
    assert f"shmid:{shmid}" in api.segment_ids()
    session = api.session()
    session.request("PUT", path + "/attachment", expect=201)
    session.request("PATCH", path + "/data", body=b"number", expect=204)
    assert session.request("GET", path + "/data", query={"length": 6}).body == b"number"
    session.request("PUT", path + "/lock", expect=(409, "lock-unsupported"))
    detached = session.request("DELETE", path + "/attachment", expect=200).json
    assert detached == {"segment": f"shmid:{shmid}", "destroyed": True}


def test_a_segment_is_not_created_by_number(api):
    answer = api.session().request("POST", "/v1/segments",
                                   json={"native_key": "shmid:12", "size": 8})
    assert (answer.status, answer.code) in [(400, "key-error"), (409, "lock-unsupported")]


# Listing

def test_the_list_has_every_kind_of_segment(api, names):
    session = api.session()
    for name in names.values():
        session.create(name)
    ids = api.segment_ids()
    assert {name.id for name in names.values()} <= set(ids)
    assert len(ids) == len(set(ids))


def test_the_list_has_no_semaphores(api, posix):
    session = api.session()
    session.create(posix)
    session.lock(posix)
    assert os.path.exists(posix.lock_file)
    assert not [one for one in api.segment_ids() if "sem." in one]


def test_the_list_is_of_regular_files_only(api, stem, no_debris):
    os.mkfifo(f"/dev/shm/{stem}fifo")
    os.symlink("/etc/passwd", f"/dev/shm/{stem}link")
    with open(f"/dev/shm/{stem}file", "wb") as file:
        file.write(b"foreign")
    ids = api.segment_ids()
    assert [one for one in ids if stem in one] == [f"posix:/{stem}file"]
    no_debris.clean()


def test_the_list_can_be_had_by_origin(api, peer, names, stem, no_debris):
    api.session().create(names["posix"])
    qt = peer.segment(names["legacy"]).create(8)
    with open(f"/dev/shm/{stem}other", "wb") as file:
        file.write(b"foreign")
    # Nobody told the service the plain key behind Qt's legacy name, and a digest is one-way.
    made_by_qt = names["legacy"].id.partition("?")[0]
    for origin, expected in [("service", names["posix"].id), ("qt", made_by_qt),
                             ("other", f"posix:/{stem}other")]:
        found = api.segment_ids(origin=origin)
        assert [one for one in found if stem in one or one == made_by_qt] == [expected]
    qt.destroy()
    os.unlink(f"/dev/shm/{stem}other")


def test_what_was_made_here_and_kept_is_still_of_this_service(api, name, no_debris):
    session = api.session()
    session.create(name, on_last_detach="keep")
    session.end()
    segment = api.segment(name)
    assert (segment.json["origin"], segment.json["orphaned"]) == ("service", True)
    assert name.id in api.segment_ids(origin="service")
    api.delete(name.href, expect=204)


def test_the_list_comes_in_pages(api, stem):
    session = api.session()
    for number in range(5):
        session.create(kernel.posix_name(f"{stem}{number}"))
    first = api.get("/v1/segments", query={"limit": 2}, expect=200).json
    assert len(first["segments"]) == 2
    assert first["next_cursor"]
    ids = [one for one in api.segment_ids(limit=2) if stem in one]
    assert sorted(ids) == [f"posix:/{stem}{number}" for number in range(5)]


def test_paging_survives_the_removal_of_what_was_shown(api, stem):
    session = api.session()
    names = [kernel.posix_name(f"{stem}{number}") for number in range(4)]
    for name in names:
        session.create(name)
    page = api.get("/v1/segments", query={"limit": 1}, expect=200).json
    session.detach(next((n for n in names if n.id == page["segments"][0]["id"]), names[0]))
    rest = api.get("/v1/segments", query={"cursor": page["next_cursor"]}, expect=200).json
    shown = {one["id"] for one in page["segments"] + rest["segments"]}
    assert {name.id for name in names[1:]} <= shown


@pytest.mark.parametrize("query", [
    {"limit": 0}, {"limit": 1001}, {"limit": "many"}, {"origin": "mars"}, {"cursor": "\u2603"},
])
def test_a_bad_listing_is_refused(api, query):
    answer = api.get("/v1/segments", query=query, expect=(400, "invalid-request"))
    assert answer.json["parameter"] == next(iter(query))


# Removal

def test_removal_is_refused_while_anyone_is_attached(api, name):
    session = api.session()
    session.create(name)
    api.delete(name.href, expect=(409, "in-use"))
    assert name.exists()


def test_removal_is_refused_while_qt_is_attached(api, peer, name, no_debris):
    qt = peer.segment(name).create(8)
    api.delete(name.href, expect=(409, "in-use"))
    assert name.exists()
    qt.destroy()
    no_debris.clean()


def test_forced_removal_takes_the_name_from_those_who_are_attached(api, name):
    session = api.session()
    session.create(name)
    api.delete(name.href, query={"force": "true"}, expect=204)
    assert not name.exists()
    api.segment(name, expect=(404, "not-found"))


def test_an_orphan_is_shown_and_can_be_removed(api, name):
    session = api.session()
    session.create(name, on_last_detach="keep")
    assert session.detach(name).json == {"segment": name.id, "destroyed": False}
    segment = api.segment(name).json
    assert (segment["orphaned"], segment["sessions"], segment["attachments"]) == (True, 0, 0)
    api.delete(name.href, expect=204)
    assert not name.exists()


def test_what_is_not_there_cannot_be_looked_at_or_removed(api, name):
    for method in ("GET", "DELETE"):
        answer = api.request(method, name.href, expect=(404, "not-found"))
        assert answer.json["qt_error"] == "NotFound"


# Keys

@pytest.mark.parametrize("key", ["one", "N\u00ebl", "/slash/ed", "a b?c#d%e&f=g+h", "1"])
def test_keys_are_those_that_qt_derives(api, peer, key):
    body = api.get("/v1/keys", query={"key": key}, expect=200).json
    assert body["key"] == key
    for kind in ("systemv", "posix"):
        qt = peer.call("keys", key=key, type=kind)
        assert body["memory"]["legacy"][kind] == qt["shm"]["legacy"]["toString"]
        assert body["memory"]["platform_safe"][kind] == qt["shm"]["platformSafe"]["toString"]
        assert body["semaphore"]["legacy"][kind] == qt["sem"]["legacy"]["toString"]
        assert body["semaphore"]["platform_safe"][kind] == qt["sem"]["platformSafe"]["toString"]


def test_keys_need_a_key(api):
    assert api.get("/v1/keys", expect=(400, "invalid-request")).json["parameter"] == "key"
    api.get("/v1/keys", query={"key": ""}, expect=(400, "key-error"))
