"""The server takes what the contract describes and nothing else, and survives the rest."""
import re
import socket
import time

import pytest

from harness.client import Api, connect, conversation, exchange, raw, receive
from harness.contract import CONTRACT

METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY", "BREW")
PATHS = {
    template: (template.replace("{session_id}", "0123456789abcdef0123456789abcdef")
               .replace("{segment}", "posix:%2Fnobody-made-this"))
    for template in CONTRACT.document["paths"]
}
JSON = {"Content-Type": "application/json"}


def send_json(api, text, method="POST", path="/v1/sessions", **how):
    body = text if isinstance(text, bytes) else text.encode()
    return api.request(method, path, body=body, headers=JSON, **how)


# JSON

@pytest.mark.parametrize("text, pointer", [
    ('{"nmae": "x"}', "/nmae"),
    ('{"name": "a", "name": "b"}', "/name"),
    ('{"name": "a", "n\\u0061me": "b"}', "/name"),
    ('{"name": "a", "": 1}', "/"),
    ('{"a/b~c": 1}', "/a~1b~0c"),
    ('{"name": 5}', "/name"),
    ('{"name": null}', "/name"),
    ('{"name": "a\\u0000b"}', "/name"),
    ('{"name": "\\u001b[2J"}', "/name"),
    ('{"name": "a\\u0085b"}', "/name"),
    ('{"ttl_ms": "1000"}', "/ttl_ms"),
    ('{"ttl_ms": true}', "/ttl_ms"),
    ('{"ttl_ms": [1000]}', "/ttl_ms"),
    ('{"ttl_ms": {}}', "/ttl_ms"),
    ('{"bind": 1}', "/bind"),
    ('{"bind": "TTL"}', "/bind"),
    ('{"ttl_ms": 18446744073709551616}', "/ttl_ms"),
    ('{"ttl_ms": 9223372036854775808}', "/ttl_ms"),
    ('{"ttl_ms": -9223372036854775809}', "/ttl_ms"),
    ('{"ttl_ms": 1e400}', "/ttl_ms"),
    ('{"ttl_ms": 1' + "0" * 400 + "}", "/ttl_ms"),
])
def test_a_member_that_is_not_as_described_is_refused_by_name(api, text, pointer):
    answer = send_json(api, text, expect=(400, "invalid-request"))
    assert answer.json["pointer"] == pointer


@pytest.mark.parametrize("text", [
    "{", "}", "null", "[]", '"text"', "1", "{}{}", "{} x", '{"name"}', '{"name":}',
    '{"name": "a",}', "{'name': 'a'}", '{"name": "\t"}', '{"name": "\\ud800"}', '{"name": "\\x"}',
    '{"ttl_ms": 01000}', '{"ttl_ms": +1000}', '{"ttl_ms": 1000.}', '{"ttl_ms": NaN}',
    '{"name": tru}', '{"name": "unended', "{\"name\": \"a\"} // why", "[" * 100_000,
    '{"a":' * 50_000, b'{"name": "\xff"}', b'{"name": "\xc0\x80"}', b'{"name": "\xed\xa0\x80"}',
    b"\xff\xfe{\x00}\x00", b'{"name": "a\x00"}',
], ids=lambda text: repr(text)[:24])
def test_what_is_no_json_object_is_refused(api, text):
    send_json(api, text, expect=(400, "invalid-request"))
    api.get("/livez", expect=200)


@pytest.mark.parametrize("text, name", [
    ('{"name": "\\u00e9\\ud83d\\ude00"}', "\u00e9\U0001f600"),
    (' \r\n\t{ "name" : "\\"\\\\\\/" } \n', '"\\/'),
    ('{"name": "\\u0061"}', "a"),
])
def test_what_is_json_is_taken_however_it_is_spelt(api, text, name):
    answer = send_json(api, text, expect=201)
    assert answer.json["name"] == name
    api.delete("/v1/sessions/" + answer.json["id"], expect=200)


@pytest.mark.parametrize("body, pointer", [
    ({"size": 8}, None),
    ({"key": "a", "native_key": "posix:/a", "size": 8}, None),
    ({"key": "a"}, None),
    ({"key": "a", "size": "8"}, "/size"),
    ({"key": "a", "size": None}, "/size"),
    ({"key": 1, "size": 8}, "/key"),
    ({"key": "a", "size": 8, "if_exists": "maybe"}, "/if_exists"),
    ({"key": "a", "size": 8, "mode": "rw"}, "/mode"),
    ({"key": "a", "size": 8, "wait_ms": 1}, "/wait_ms"),
])
def test_a_creation_that_is_not_as_described_is_refused(api, body, pointer):
    answer = api.session().request("POST", "/v1/segments", json=body,
                                   expect=(400, "invalid-request"))
    if pointer:
        assert answer.json["pointer"] == pointer


@pytest.mark.parametrize("size", [2**63 - 1, 2**63, 2**64, 10**40])
def test_a_size_beyond_all_numbers_is_refused(api, names, size):
    answer = api.session().create(names["posix"], size, expect=None)
    assert (answer.status, answer.code) in [(422, "invalid-size"), (400, "invalid-request")]


# Media types

@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON",
                                          "application/json; charset=utf-8",
                                          'application/json;charset="UTF-8"'])
def test_json_may_be_declared_in_these_ways(api, content_type):
    answer = api.post("/v1/sessions", body=b"{}", headers={"Content-Type": content_type},
                      expect=201)
    api.delete("/v1/sessions/" + answer.json["id"], expect=200)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded",
                                          "application/jsonp", "text/json"])
def test_json_must_be_declared(api, content_type):
    headers = {"Content-Type": content_type} if content_type else None
    answer = api.post("/v1/sessions", body=b"{}", headers=headers,
                      expect=(415, "unsupported-media-type"))
    assert "curl --json" in answer.json["detail"]


@pytest.mark.parametrize("path", ["/v1", "/v1/sessions", "/v1/segments", "/v1/keys?key=a",
                                  "/livez", "/metrics", "/openapi.yaml"])
def test_what_cannot_be_had_in_the_form_asked_for_is_not_acceptable(api, path):
    api.get(path, headers={"Accept": "image/png"}, expect=(406, "not-acceptable"))


@pytest.mark.parametrize("accept", ["*/*", "application/*", "application/json;q=0.1, image/png",
                                    "application/JSON"])
def test_json_is_acceptable_in_these_ways(api, accept):
    api.get("/v1", headers={"Accept": accept}, expect=200)


# Methods

def known_methods(template):
    return {one.upper() for one in CONTRACT.document["paths"][template] if one != "parameters"}


@pytest.mark.parametrize("template, method", [
    (template, method) for template in PATHS for method in METHODS
    if method not in known_methods(template)
])
def test_a_method_that_a_path_does_not_have_is_refused_with_those_it_has(api, template, method):
    known = known_methods(template)
    answer = api.request(method, PATHS[template], expect=(405, "method-not-allowed"))
    allowed = {one.strip() for one in answer.headers["Allow"].split(",")}
    expected = known | ({"HEAD"} if "GET" in known else set())
    assert allowed - {"OPTIONS"} == expected


@pytest.mark.parametrize("path", ["/v1", "/v1/sessions", "/v1/segments", "/v1/keys?key=a",
                                  "/livez", "/readyz", "/healthz", "/metrics", "/openapi.yaml"])
def test_head_is_get_without_the_body(api, path):
    got, head = api.get(path, expect=200), api.head(path, expect=200)
    assert head.body == b""
    assert head.headers["Content-Type"] == got.headers["Content-Type"]
    if path != "/metrics":
        assert head.headers["Content-Length"] == got.headers["Content-Length"]


def test_head_of_what_is_not_there_has_no_body(api):
    assert api.head("/v1/segments/nobody-made-this", expect=404).body == b""


# Targets

@pytest.mark.parametrize("component", ["%", "%4", "%zz", "a%", "a%2", "%00", "a%00b", "%ff",
                                       "%c0%af", "%ed%a0%80"])
def test_a_path_that_is_badly_encoded_is_refused(api, component):
    answer = api.get(f"/v1/segments/{component}")
    assert (answer.status, answer.code) in [(400, "invalid-request"), (400, "key-error")]


@pytest.mark.parametrize("spelling", ["posix:%2F{0}", "posix:%2f{0}", "posix%3A%2F{0}",
                                      "%70osix:%2F{0}"])
def test_a_path_may_be_encoded_in_these_ways(api, posix, stem, spelling):
    api.session().create(posix)
    assert api.get("/v1/segments/" + spelling.format(stem), expect=200).json["id"] == posix.id


@pytest.mark.parametrize("query", ["unknown=1", "limit=1&unknown=1", "Limit=1", "unknown", "=1"])
def test_an_unknown_parameter_is_refused(api, query):
    answer = api.get(f"/v1/segments?{query}", expect=(400, "invalid-request"))
    assert "parameter" in answer.json


@pytest.mark.parametrize("query", ["key=%", "key=%zz", "key=%ff", "key=a%00b"])
def test_a_query_that_is_badly_encoded_is_refused(api, query):
    answer = api.get(f"/v1/keys?{query}")
    assert (answer.status, answer.code) in [(400, "invalid-request"), (400, "key-error")]


def test_a_query_is_decoded(api):
    assert api.get("/v1/keys?key=%C3%A9%26%3D%25", expect=200).json["key"] == "\u00e9&=%"


@pytest.mark.parametrize("method, target", [
    ("POST", "/v1/sessions?x=1"), ("GET", "/v1?x=1"), ("GET", "/livez?x=1"),
    ("GET", "/v1/segments/a/data?x=1"), ("DELETE", "/v1/segments/a?x=1"),
    ("PUT", "/v1/segments/a/lock?x=1"),
])
def test_an_unknown_parameter_is_refused_everywhere(api, method, target):
    answer = api.request(method, target, session=api.session(), expect=(400, "invalid-request"))
    assert answer.json["parameter"] == "x"


@pytest.mark.parametrize("value", ["1", "True", "yes", "", "TRUE"])
def test_a_flag_is_true_or_false(api, value):
    answer = api.delete(f"/v1/segments/a?force={value}", expect=(400, "invalid-request"))
    assert answer.json["parameter"] == "force"


def test_numbers_beyond_all_numbers_are_refused(api, posix):
    session = api.session()
    session.create(posix)
    for offset in (2**63, 2**64, 10**40):
        answer = session.write(posix, b"x", offset=offset, expect=None)
        assert answer.status in (400, 416)
    session.lock(posix, wait_ms=2**64, expect=(400, "invalid-request"))


# Messages

def test_an_expectation_that_cannot_be_met_is_refused_before_the_body(server, api):
    limit = api.get("/v1").json["limits"]["max_body_bytes"]
    octets = raw("POST", "/v1/sessions", f"Content-Length: {limit + 1}",
                 "Content-Type: application/json", "Expect: 100-continue")
    with socket.create_connection(server.address, timeout=5) as connection:
        connection.sendall(octets)
        assert connection.recv(64).startswith(b"HTTP/1.1 413 ")


def test_an_expectation_is_met_and_then_the_body_is_read(server, api, posix):
    session = api.session()
    session.create(posix, 4)
    octets = raw("PUT", posix.href + "/data", f"Session-Id: {session.id}", "Content-Length: 4",
                 "Expect: 100-continue")
    with socket.create_connection(server.address, timeout=5) as connection:
        connection.sendall(octets)
        assert connection.recv(64).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"body")
        assert receive(connection, "PUT").status == 204
    assert session.read(posix).body == b"body"


def test_a_json_body_may_come_in_chunks(server, api):
    octets = raw("POST", "/v1/sessions", "Content-Type: application/json",
                 "Transfer-Encoding: chunked", body=b'8\r\n{"name":\r\n4\r\n"c"}\r\n0\r\n\r\n')
    answer = exchange(server.address, octets, finish=False)
    assert answer.expecting(201).json["name"] == "c"
    api.delete("/v1/sessions/" + answer.json["id"], expect=200)


@pytest.mark.parametrize("lines, body", [
    (("Content-Length: 2", "Transfer-Encoding: chunked"), b"0\r\n\r\n"),
    (("Transfer-Encoding: chunked", "Content-Length: 2"), b"0\r\n\r\n"),
    (("Content-Length: 2", "Content-Length: 5"), b"{}"),
    (("Content-Length: -2",), b"{}"),
    (("Content-Length: two",), b"{}"),
    (("Content-Length: 99999999999999999999",), b"{}"),
    (("Transfer-Encoding: gzip, chunked",), b"0\r\n\r\n"),
    (("Transfer-Encoding: identity",), b"{}"),
    (("Host: a", "Host: b"), b""),
])
def test_a_message_of_doubtful_length_is_refused_and_its_connection_closed(server, api, lines,
                                                                         body):
    octets = raw("POST", "/v1/sessions", "Content-Type: application/json", *lines, body=body)
    smuggled = raw("GET", "/livez")
    stream = conversation(server.address, octets + smuggled, finish=False)
    assert not stream or stream.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501")), stream
    assert b"ok\n" not in stream, "nothing of the rest is answered"
    api.get("/livez", expect=200)


def test_a_request_without_a_host_is_refused(server):
    answer = exchange(server.address, b"GET /livez HTTP/1.1\r\n\r\n", finish=False)
    assert answer is None or answer.status == 400


@pytest.mark.parametrize("octets", [
    b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"GET /livez\r\n\r\n", b"GET /livez HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), b"\x00" * 1000,
    b"GET http://example.com/livez HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET livez HTTP/1.1\r\nHost: a\r\n\r\n", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: a\r\nbroken header\r\n\r\n",
], ids=lambda octets: repr(octets)[:32])
def test_what_is_no_request_is_refused_or_cut_off(server, api, octets):
    stream = conversation(server.address, octets)
    assert b" 200 OK" not in stream
    api.get("/livez", expect=200)


def test_requests_in_a_pipeline_are_answered_in_order(server):
    octets = raw("GET", "/livez") + raw("GET", "/v2") + raw("GET", "/readyz")
    stream = conversation(server.address, octets)
    # A body need not end in a line feed, so a status line need not begin a line.
    assert re.findall(rb"HTTP/1\.1 (\d+) ", stream) == [b"200", b"404", b"200"]
    assert stream.count(b"ok\n") == 2


def test_a_connection_is_kept_alive(api):
    api.get("/livez", expect=200)
    first = api.connection.sock.getsockname()
    for _ in range(10):
        api.get("/v1", expect=200)
        api.get("/v2", expect=404)
    assert api.connection.sock.getsockname() == first


def test_stalled_clients_delay_nobody(server, api):
    stalled = [socket.create_connection(server.address, timeout=5) for _ in range(50)]
    for number, connection in enumerate(stalled):
        connection.sendall(raw("PUT", "/v1/segments/a/data", "Content-Length: 10")[:5 + 2 * number])
    started = time.monotonic()
    other = Api(server.address)
    for _ in range(20):
        other.get("/livez", expect=200)
    assert time.monotonic() - started < 2.0
    other.close()
    for connection in stalled:
        connection.close()


def test_each_request_of_a_kept_connection_is_judged_by_itself(server, api, posix, legacy):
    """What the one before said and what was found out about it counts for nothing."""
    one, two = api.session(), api.session()
    one.create(posix)
    two.create(legacy, size=32)
    window = "Range: bytes=0-0"
    steps = [
        (raw("GET", f"{posix.href}/data", window, f"Session-Id: {one.id}"), 206),
        (raw("GET", f"{posix.href}/data", window, f"Session-Id: {one.id}"), 206),
        (raw("GET", f"{posix.href}/data", window, f"Session-Id: {two.id}"), 409),
        (raw("GET", f"{legacy.href}/data", window, f"Session-Id: {two.id}"), 206),
        (raw("GET", f"{legacy.href}/data", window, f"Session-Id: {one.id}"), 409),
        (raw("GET", f"{legacy.href}/data", window, "Host: evil.example"), 421),
        (raw("GET", f"{legacy.href}/data", window), 206),
        (raw("GET", f"{legacy.href}/data", window, "Origin: http://evil.example"), 403),
        (raw("GET", f"{legacy.href}/lock"), 200),
        (raw("POST", f"{legacy.href}/lock"), 405),
        (raw("GET", f"{legacy.href}/data/", window), 404),
        (raw("GET", f"{posix.href}/data", window, f"Session-Id: {one.id}"), 206),
    ]
    with connect(server.address) as connection:
        for octets, status in steps:
            connection.sendall(octets)
            answer = receive(connection)
            assert answer is not None and answer.status == status, (octets, answer)
        one.detach(posix)
        connection.sendall(steps[0][0])
        assert receive(connection).status == 404
        two.create(posix, size=16)
        connection.sendall(steps[0][0])
        assert receive(connection).status == 409
        connection.sendall(raw("GET", f"{posix.href}/data", window, f"Session-Id: {two.id}"))
        assert receive(connection).headers["Content-Range"] == "bytes 0-0/16"
        two.end()
        connection.sendall(raw("GET", f"{posix.href}/data", window, f"Session-Id: {two.id}"))
        assert receive(connection).status == 410


def test_every_answer_is_named(api):
    names = {api.get("/livez").headers["X-Request-Id"] for _ in range(10)}
    assert len(names) == 10
