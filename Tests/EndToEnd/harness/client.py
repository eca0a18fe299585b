"""A small strict HTTP client: each answer is checked for what holds everywhere."""
import http.client
import io
import json as json_module
import select
import socket
import time
from urllib.parse import urlencode

from harness.contract import CONTRACT

DEADLINE = 10.0
ABSENT = object()
JSON = "application/json"
OCTETS = "application/octet-stream"


def connect(address, timeout=DEADLINE):
    """A socket to a (host, port), or to the path of a Unix socket."""
    if not isinstance(address, str):
        return socket.create_connection(address, timeout=timeout)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    try:
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, timeout=DEADLINE):
        super().__init__("unix", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = connect(self.path, self.timeout)


def http_connection(address, timeout=DEADLINE):
    if isinstance(address, str):
        return UnixConnection(address, timeout)
    return http.client.HTTPConnection(*address, timeout=timeout)


class Answer:
    """One answer of the server."""

    def __init__(self, method, target, status, headers, body):
        self.method = method
        self.target = target
        self.status = status
        self.headers = headers
        self.body = body

    def __repr__(self):
        return f"<{self.method} {self.target} -> {self.status} {self.body[:400]!r}>"

    @property
    def json(self):
        """The body, a JSON object."""
        value = json_module.loads(self.body)
        assert isinstance(value, dict), f"{self}: not an object at the top"
        return value

    @property
    def code(self):
        """The problem's code."""
        return self.json["code"]

    def check(self):
        """What holds for every answer."""
        assert self.headers.get("X-Content-Type-Options") == "nosniff", self
        assert self.headers.get("Cache-Control") == "no-store", self
        assert self.headers.get("X-Request-Id"), self
        if self.status == 405:
            assert self.headers.get("Allow"), f"{self}: 405 without Allow"
        if self.status >= 400 and self.method != "HEAD":
            self.check_problem()
        if self.status == 204:
            assert not self.body, self
        CONTRACT.check(self.method, self.target, self)
        return self

    def check_problem(self):
        assert self.headers.get("Content-Type") == "application/problem+json", self
        problem = self.json
        assert problem["code"] in CONTRACT.codes(), self
        assert problem["type"] == "/problems/" + problem["code"], self
        assert problem["status"] == self.status, self
        assert problem["title"] and problem["detail"], self

    def expecting(self, expect):
        """The answer itself, if it is as expected: STATUS, (STATUS, CODE), or None for any."""
        if expect is None:
            return self
        status, code = expect if isinstance(expect, tuple) else (expect, None)
        assert self.status == status, f"expected {expect}, got {self!r}"
        if code:
            assert self.code == code, f"expected {expect}, got {self!r}"
        return self


def compose(*, session, token, json, body, headers):
    """Headers and body octets of a request."""
    fields = dict(headers or {})
    if session is not None:
        fields["Session-Id"] = getattr(session, "id", session)
    if token is not None:
        fields["Fencing-Token"] = str(token)
    if json is not ABSENT:
        body = json_module.dumps(json).encode()
        fields.setdefault("Content-Type", JSON)
    return fields, body


def with_query(path, query):
    return f"{path}?{urlencode(query)}" if query else path


class Pending:
    """A request whose answer is awaited; closing it is a client's hang-up."""

    def __init__(self, address, method, target, fields, body):
        self.method, self.target = method, target
        self.connection = http_connection(address)
        self.connection.request(method, target, body=body, headers=fields)
        self.socket = self.connection.sock

    @property
    def is_answered(self):
        return bool(select.select([self.socket], [], [], 0)[0])

    def answer(self, deadline=DEADLINE, expect=None):
        self.socket.settimeout(deadline)
        response = self.connection.getresponse()
        answer = Answer(self.method, self.target, response.status, response.headers,
                        response.read())
        self.connection.close()
        return answer.check().expecting(expect)

    def hang_up(self):
        self.connection.close()


class Stream:
    """An open event stream; closing it is a client's hang-up."""

    def __init__(self, address, target):
        self.socket = connect(address)
        self.socket.sendall(raw("GET", target))
        octets = b""
        while b"\r\n\r\n" not in octets:
            octets += self.socket.recv(4096) or b"\r\n\r\n"
        head, self.events = octets.split(b"\r\n\r\n", 1)
        line, fields = head.split(b"\r\n", 1)
        self.status = int(line.split()[1])
        self.headers = http.client.parse_headers(io.BytesIO(fields + b"\r\n\r\n"))

    def has_ended(self, deadline):
        """Whether the server ends the stream before the deadline: last chunk, or a closed line."""
        end = time.monotonic() + deadline
        while not self.events.endswith(b"0\r\n\r\n"):
            if not select.select([self.socket], [], [], max(0.0, end - time.monotonic()))[0]:
                return False
            try:
                octets = self.socket.recv(4096)
            except ConnectionError:
                return True
            if not octets:
                return True
            self.events += octets
        return True

    def close(self):
        self.socket.close()


class Session:
    """A session of the server and the requests made in its name."""

    def __init__(self, api, body):
        self.api = api
        self.id = body["id"]
        self.body = body

    @property
    def href(self):
        return "/v1/sessions/" + self.id

    def request(self, method, path, **how):
        return self.api.request(method, path, session=self, **how)

    def create(self, name, size=64, expect=201, **members):
        json = {**name.body, "size": size, **members}
        return self.request("POST", "/v1/segments", json=json, expect=expect)

    def attach(self, name, expect=201, **members):
        json = members or ABSENT
        return self.request("PUT", name.href + "/attachment", json=json, expect=expect)

    def attachment(self, name, expect=200):
        return self.request("GET", name.href + "/attachment", expect=expect)

    def detach(self, name, expect=200, **query):
        return self.request("DELETE", name.href + "/attachment", query=query, expect=expect)

    def lock(self, name, expect=200, **query):
        return self.request("PUT", name.href + "/lock", query=query, expect=expect)

    def begin_lock(self, name, wait_ms):
        """Ask for the lock and leave the answer for later."""
        return self.api.begin("PUT", name.href + "/lock", session=self,
                              query={"wait_ms": wait_ms})

    def unlock(self, name, expect=204):
        return self.request("DELETE", name.href + "/lock", expect=expect)

    def read(self, name, expect=200, headers=None, **query):
        return self.request("GET", name.href + "/data", query=query, headers=headers,
                            expect=expect)

    def write(self, name, octets, offset=None, expect=204, token=None, **query):
        """PATCH at the offset, or PUT of the whole when there is none."""
        if offset is not None:
            query["offset"] = offset
        method = "PUT" if offset is None else "PATCH"
        return self.request(method, name.href + "/data", query=query, body=octets, token=token,
                            headers={"Content-Type": OCTETS}, expect=expect)

    def end(self, expect=200):
        return self.api.delete(self.href, expect=expect)


class Api:
    """A client of one server, over one connection that is kept alive."""

    def __init__(self, address, token=None):
        """`token` goes with every request, as `Authorization: Bearer`."""
        self.address = address
        self.fields = {"Authorization": f"Bearer {token}"} if token else {}
        self.connection = None
        self.sessions = []

    def request(self, method, path, *, expect=None, session=None, token=None, json=ABSENT,
                body=None, headers=None, query=None, deadline=DEADLINE):
        target = with_query(path, query)
        fields, body = compose(session=session, token=token, json=json, body=body,
                               headers={**self.fields, **(headers or {})})
        if self.connection is None:
            self.connection = http_connection(self.address)
        self.connection.timeout = deadline
        if self.connection.sock:
            self.connection.sock.settimeout(deadline)
        try:
            self.connection.request(method, target, body=body, headers=fields)
            response = self.connection.getresponse()
            octets = response.read()
        except BaseException:
            self.close()
            raise
        answer = Answer(method, target, response.status, response.headers, octets)
        return answer.check().expecting(expect)

    def get(self, path, **how):
        return self.request("GET", path, **how)

    def head(self, path, **how):
        return self.request("HEAD", path, **how)

    def put(self, path, **how):
        return self.request("PUT", path, **how)

    def post(self, path, **how):
        return self.request("POST", path, **how)

    def patch(self, path, **how):
        return self.request("PATCH", path, **how)

    def delete(self, path, **how):
        return self.request("DELETE", path, **how)

    def begin(self, method, path, *, session=None, json=ABSENT, body=None, headers=None,
              query=None):
        """Send a request on a connection of its own; its answer is awaited later."""
        fields, body = compose(session=session, token=None, json=json, body=body,
                               headers={**self.fields, **(headers or {})})
        return Pending(self.address, method, with_query(path, query), fields, body)

    def stream(self, path):
        return Stream(self.address, path)

    def session(self, **members):
        """Open a session; the test's end is its end."""
        answer = self.post("/v1/sessions", json=members or ABSENT, expect=201)
        session = Session(self, answer.json)
        self.sessions.append(session)
        return session

    def segment(self, name, expect=200):
        return self.get(name.href, expect=expect)

    def lock_state(self, name):
        return self.get(name.href + "/lock", expect=200).json

    def segment_ids(self, **query):
        """The ids of all segments listed, page by page."""
        ids, cursor = [], None
        while True:
            page = {**query, **({"cursor": cursor} if cursor else {})}
            body = self.get("/v1/segments", query=page, expect=200).json
            ids += [segment["id"] for segment in body["segments"]]
            cursor = body.get("next_cursor")
            if not cursor:
                return ids

    def end_sessions(self):
        for session in self.sessions:
            session.end(expect=None)
        self.sessions.clear()

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def exchange(address, octets, deadline=DEADLINE, finish=True, method="RAW", target="-"):
    """Send octets as they stand; the answer, or None for a connection closed without one."""
    with connect(address, deadline) as connection:
        try:
            connection.sendall(octets)
            if finish:
                connection.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass
        return receive(connection, method, target)


def conversation(address, octets, deadline=DEADLINE, finish=True):
    """Send octets as they stand; all that comes back until the server closes the connection."""
    stream = b""
    with connect(address, deadline) as connection:
        try:
            connection.sendall(octets)
            if finish:
                connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65536):
                stream += more
        except ConnectionError:
            pass
    return stream


def receive(connection, method="RAW", target="-"):
    """Read one answer from a raw socket; None for a connection closed without one."""
    response = http.client.HTTPResponse(connection, method=method)
    try:
        response.begin()
        body = response.read()
    except (http.client.RemoteDisconnected, ConnectionResetError):
        return None
    return Answer(method, target, response.status, response.headers, body)


def raw(method, target, *lines, body=b""):
    """A request's octets; Host is there unless a line names it."""
    head = [f"{method} {target} HTTP/1.1"]
    if not any(line.lower().startswith("host:") for line in lines):
        head.append("Host: 127.0.0.1")
    head += lines
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
