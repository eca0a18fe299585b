"""Sessions: each stands in for a process."""
import time
from datetime import datetime, timedelta, timezone

import pytest

from harness.client import Session
from harness.waiting import stays, wait_until


def moment(text):
    return datetime.fromisoformat(text)


def test_a_session_opens_with_defaults(api):
    answer = api.post("/v1/sessions", expect=201)
    session = Session(api, answer.json)
    assert answer.headers["Location"] == session.href
    assert session.body["ttl_ms"] == 60000
    assert session.body["bind"] == "ttl"
    assert session.body["attachments"] == []
    session.end()


def test_a_session_opens_as_asked(api):
    body = api.session(name="viewer \u00e9", ttl_ms=5000, bind="connection").body
    assert (body["name"], body["ttl_ms"], body["bind"]) == ("viewer \u00e9", 5000, "connection")


def test_times_are_utc_with_milliseconds_and_near_to_now(api):
    body = api.session(ttl_ms=5000).body
    created, expires = moment(body["created_at"]), moment(body["expires_at"])
    assert abs(datetime.now(timezone.utc) - created) < timedelta(seconds=2)
    assert expires - created == pytest.approx(timedelta(seconds=5), abs=timedelta(milliseconds=50))


def test_an_id_has_at_least_128_bits_and_is_never_given_twice(api):
    ids = {api.session().id for _ in range(20)}
    assert len(ids) == 20
    assert all(len(identifier) >= 22 for identifier in ids), "22 characters carry 128 bits at best"


def test_the_list_cuts_ids_to_eight_characters(api):
    session = api.session(name="listed")
    listed = api.get("/v1/sessions", expect=200).json["sessions"]
    mine = [one for one in listed if one["id"] == session.id[:8]]
    assert len(mine) == 1
    assert mine[0]["name"] == "listed"
    assert session.id not in api.get("/v1/sessions").body.decode()


def test_a_session_shows_its_attachments(api, name):
    session = api.session()
    session.create(name, 64)
    [attachment] = api.get(session.href, expect=200).json["attachments"]
    assert attachment["segment"] == name.id
    assert attachment == session.attachment(name).json


@pytest.mark.parametrize("renewal", ["get", "renew", "any request"])
def test_a_request_that_names_a_session_renews_it(api, posix, renewal):
    session = api.session(ttl_ms=10000)
    session.create(posix)

    def renewed():
        if renewal == "get":
            return api.get(session.href, expect=200).json
        if renewal == "renew":
            return api.post(session.href + "/renew", expect=200).json
        session.read(posix)
        [one] = [s for s in api.get("/v1/sessions").json["sessions"] if s["id"] == session.id[:8]]
        return one

    wait_until(lambda: moment(renewed()["expires_at"]) > moment(session.body["expires_at"]), 2)


def test_listing_sessions_renews_none(api):
    session = api.session(ttl_ms=10000)

    def expiry():
        sessions = api.get("/v1/sessions").json["sessions"]
        return next(s["expires_at"] for s in sessions if s["id"] == session.id[:8])

    first = expiry()
    assert stays(lambda: expiry() == first, 0.1)


def test_a_session_in_use_does_not_expire(api, posix):
    session = api.session(ttl_ms=300)
    session.create(posix)
    assert stays(lambda: session.read(posix).status == 200, 1.0)


def test_a_session_expires_when_nobody_renews_it(api):
    session = api.session(ttl_ms=100)
    time.sleep(0.25)
    api.get(session.href, expect=(410, "session-gone"))


def test_the_end_of_a_session_says_what_it_released(api, names):
    session = api.session()
    session.create(names["posix"])
    session.create(names["systemv"])
    session.lock(names["systemv"])
    released = {one.pop("segment"): one for one in session.end().json["released"]}
    assert released == {
        names["posix"].id: {"unlocked": False, "destroyed": True},
        names["systemv"].id: {"unlocked": True, "destroyed": True},
    }
    assert not names["posix"].exists()
    assert not names["systemv"].exists()


def test_the_end_of_a_session_leaves_what_others_use(api, name):
    first, second = api.session(), api.session()
    first.create(name)
    second.attach(name)
    [released] = first.end().json["released"]
    assert released == {"segment": name.id, "unlocked": False, "destroyed": False}
    second.read(name)


def test_a_session_that_ended_is_gone(api):
    session = api.session()
    session.end()
    session.end(expect=(410, "session-gone"))


UNKNOWN = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("method, path", [
    ("GET", "/v1/sessions/{id}"),
    ("DELETE", "/v1/sessions/{id}"),
    ("POST", "/v1/sessions/{id}/renew"),
    ("GET", "/v1/sessions/{id}/hold"),
])
def test_an_unknown_session_is_gone(api, method, path):
    api.request(method, path.format(id=UNKNOWN), expect=(410, "session-gone"))


@pytest.mark.parametrize("method, suffix", [
    ("PUT", "/attachment"),
    ("GET", "/attachment"),
    ("DELETE", "/attachment"),
    ("PUT", "/lock"),
    ("DELETE", "/lock"),
    ("GET", "/data"),
    ("PATCH", "/data"),
])
def test_an_unknown_session_is_gone_wherever_it_is_named(api, posix, method, suffix):
    api.session().create(posix)
    body = b"x" if method == "PATCH" else None
    api.request(method, posix.href + suffix, session=UNKNOWN, body=body,
                expect=(410, "session-gone"))
    api.get("/v1/segments", session=UNKNOWN, expect=(410, "session-gone"))


def test_the_first_eight_characters_are_no_id(api):
    session = api.session()
    api.get(f"/v1/sessions/{session.id[:8]}", expect=(410, "session-gone"))


@pytest.mark.parametrize("member, value", [
    ("ttl_ms", 99),
    ("ttl_ms", 86_400_001),
    ("ttl_ms", 1000.5),
    ("ttl_ms", -1),
    ("bind", "forever"),
    ("name", ""),
    ("name", "x" * 129),
])
def test_a_session_out_of_bounds_is_refused(api, member, value):
    answer = api.post("/v1/sessions", json={member: value}, expect=(400, "invalid-request"))
    assert answer.json["pointer"] == f"/{member}"


@pytest.mark.parametrize("ttl_ms", [100, 86_400_000])
def test_the_bounds_of_a_lifetime_are_allowed(api, ttl_ms):
    assert api.session(ttl_ms=ttl_ms).body["ttl_ms"] == ttl_ms


def test_a_name_of_128_characters_is_allowed(api):
    assert api.session(name="\u00e9" * 128).body["name"] == "\u00e9" * 128
