"""Attachments: a session's hold on a segment."""
import time

import pytest

from harness import kernel


def test_attach_joins_what_another_session_created(api, name):
    creator, other = api.session(), api.session()
    creator.create(name, 100)
    attachment = other.attach(name).json
    assert attachment["segment"] == name.id
    assert (attachment["size"], attachment["mode"]) == (100, "read_write")
    assert (attachment["on_last_detach"], attachment["locked"]) == ("destroy", False)
    assert api.segment(name).json["sessions"] == 2


def test_attach_as_asked(api, name):
    creator, keeper = api.session(), api.session()
    creator.create(name)
    attachment = keeper.attach(name, mode="read_only", on_last_detach="keep").json
    assert (attachment["mode"], attachment["on_last_detach"]) == ("read_only", "keep")
    keeper.end()
    assert creator.detach(name).json["destroyed"] is True, "the last to detach decides"


def test_attach_to_what_is_not_there_leaves_no_trace(api, name, no_debris):
    answer = api.session().attach(name, expect=(404, "not-found"))
    assert answer.json["qt_error"] == "NotFound"
    assert not no_debris.new()


def test_attaching_twice_is_refused(api, name):
    session = api.session()
    session.create(name)
    session.attach(name, expect=(409, "already-attached"))
    assert session.detach(name).json["destroyed"] is True


def test_the_attachment_shows_the_lock_and_its_token(api, name):
    session = api.session()
    session.create(name)
    assert "fencing_token" not in session.attachment(name).json
    token = session.lock(name).json["fencing_token"]
    attachment = session.attachment(name).json
    assert (attachment["locked"], attachment["fencing_token"]) == (True, token)
    session.unlock(name)
    assert session.attachment(name).json["locked"] is False


def test_an_attachment_needs_a_session(api, name):
    api.session().create(name)
    for method in ("GET", "PUT", "DELETE"):
        api.request(method, name.href + "/attachment", expect=(400, "session-required"))


def test_who_is_not_attached_has_no_attachment(api, name):
    api.session().create(name)
    stranger = api.session()
    answer = stranger.attachment(name, expect=(409, "not-attached"))
    assert answer.json["qt_error"] == "LockError"
    stranger.detach(name, expect=(409, "not-attached"))


def test_detaching_twice_is_refused(api, name):
    keeper, session = api.session(), api.session()
    keeper.create(name)
    session.attach(name)
    session.detach(name)
    session.detach(name, expect=(409, "not-attached"))


def test_detach_says_whether_the_segment_was_destroyed(api, name):
    first, second = api.session(), api.session()
    first.create(name)
    second.attach(name)
    assert first.detach(name).json == {"segment": name.id, "destroyed": False}
    assert name.exists()
    assert second.detach(name).json == {"segment": name.id, "destroyed": True}
    assert not name.exists()


def test_detach_gives_up_the_lock(api, name):
    holder, other = api.session(), api.session()
    holder.create(name)
    other.attach(name)
    holder.lock(name)
    holder.detach(name)
    other.lock(name, wait_ms=0)


def test_detach_waits_for_a_lock_that_another_holds(api, name):
    holder, other = api.session(), api.session()
    holder.create(name)
    other.attach(name)
    holder.lock(name)
    started = time.monotonic()
    answer = other.detach(name, wait_ms=200, expect=(423, "locked"))
    assert 0.2 <= time.monotonic() - started < 1.0
    assert answer.headers["Retry-After"]
    assert other.attachment(name).status == 200, "still attached"


def test_detach_goes_on_when_the_lock_is_free(api, name):
    holder, other = api.session(), api.session()
    holder.create(name)
    other.attach(name)
    holder.lock(name)
    detach = api.begin("DELETE", name.href + "/attachment", session=other)
    time.sleep(0.1)
    assert not detach.is_answered, "detach waits five seconds by default"
    holder.unlock(name)
    assert detach.answer(expect=200).json["destroyed"] is False


def test_what_is_kept_stays_and_can_be_attached_again(api, name):
    first, second = api.session(), api.session()
    first.create(name, 16, on_last_detach="keep")
    first.write(name, b"for later", offset=0)
    assert first.detach(name).json["destroyed"] is False
    assert name.exists()
    second.attach(name)
    assert second.read(name, length=9).body == b"for later"
    assert second.detach(name).json["destroyed"] is True


def test_sessions_of_one_server_do_not_wear_out_the_kernel_s_tables(api, systemv):
    sessions = [api.session() for _ in range(20)]
    sessions[0].create(systemv)
    for session in sessions[1:]:
        session.attach(systemv)
    assert api.segment(systemv).json["sessions"] == 20
    assert len([one for one in kernel.table("shm")
                if one["key"] == kernel.ftok(systemv.memory_file)]) == 1


@pytest.mark.parametrize("member, value", [("mode", "rw"), ("on_last_detach", "maybe")])
def test_an_unknown_choice_is_refused(api, name, member, value):
    api.session().create(name)
    answer = api.session().attach(name, **{member: value}, expect=(400, "invalid-request"))
    assert answer.json["pointer"] == f"/{member}"
