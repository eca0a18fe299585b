"""TLS at TCP addresses, and certificates of clients."""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import threading

import pytest

from harness.certificates import Authority
from harness.client import Api, connect, raw
from harness.server import run
from harness.waiting import wait_until

SIZE = 64 << 20


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="module")
def identity(authority):
    """The server's certificate and key."""
    return authority.sign("server", "serverAuth")


class Secure:
    """Requests over TLS, each on a connection of its own."""

    def __init__(self, server, authority, client=None, version=None):
        self.address = ("127.0.0.1", int(server.places[0].rsplit(":", 1)[1]))
        self.context = ssl.create_default_context(cafile=authority.certificate)
        if client:
            self.context.load_cert_chain(*client)
        if version:
            self.context.minimum_version = self.context.maximum_version = version

    def connect(self, timeout=10):
        return self.context.wrap_socket(
            socket.create_connection(self.address, timeout=timeout), server_hostname="127.0.0.1")

    def request(self, method, path, body=None, **headers):
        connection = http.client.HTTPSConnection(
            *self.address, timeout=20, context=self.context)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, fields)
        answer = connection.getresponse()
        octets = answer.read()
        connection.close()
        return answer.status, octets

    def json(self, method, path, status, body=None, **headers):
        if body is not None:
            headers["Content_Type"] = "application/json"
            body = json.dumps(body)
        found, octets = self.request(method, path, body, **headers)
        assert found == status, octets
        return json.loads(octets)


@pytest.fixture
def start_secure(start_server, identity):
    def start(*arguments, **how):
        return start_server("--tls-cert", identity[0], "--tls-key", identity[1], *arguments, **how)
    return start


@pytest.fixture
def server(start_secure):
    return start_secure()


@pytest.fixture
def secure(server, authority):
    return Secure(server, authority)


def is_well(secure):
    return secure.request("GET", "/livez") == (200, b"ok\n")


# Serving

@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_requests_are_answered_over_tls(server, authority, version):
    assert server.places[0].startswith("https://127.0.0.1:")
    assert is_well(Secure(server, authority, version=version))


def test_old_versions_of_tls_are_not_spoken(server, authority):
    secure = Secure(server, authority)
    secure.context.set_ciphers("ALL:@SECLEVEL=0")
    secure.context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    secure.context.options |= ssl.OP_NO_TLSv1_2 | ssl.OP_NO_TLSv1_3
    with pytest.raises((ssl.SSLError, ConnectionError)):
        secure.connect()


def test_everything_works_over_tls_at_every_size(secure, posix):
    session = secure.json("POST", "/v1/sessions", 201)["id"]
    size = 3 << 20
    secure.json("POST", "/v1/segments", 201, {**posix.body, "size": size}, Session_Id=session)
    octets = os.urandom(size)
    data = posix.href + "/data"
    assert secure.request("PUT", data, octets, Session_Id=session)[0] == 204
    assert posix.bytes() == octets
    for offset, length in [(0, size), (1, 64 * 1024), (5, 64 * 1024 + 1), (size - 1, 1),
                           (4095, 1 << 20), (0, 0)]:
        status, body = secure.request(
            "GET", f"{data}?offset={offset}&length={length}", Session_Id=session)
        assert status == 200 and body == octets[offset:offset + length]
    assert secure.request("PUT", data, b"too short", Session_Id=session)[0] == 422
    assert secure.json("GET", f"{data}?format=json&length=70000", 200)["length"] == 70000
    secure.json("DELETE", "/v1/sessions/" + session, 200)


def test_a_unix_socket_beside_it_speaks_plainly(start_secure, authority, tmp_path):
    path = str(tmp_path / "s")
    server = start_secure(listen=("127.0.0.1:0", f"unix:{path}"))
    assert is_well(Secure(server, authority))
    api = Api(path)
    api.get("/livez", expect=200)
    api.close()
    environment = server.start[0]
    health = ("health", "--listen", f"unix:{path}", "--tls-cert", "any")
    assert run(*health, environment=environment).returncode == 0


def test_a_stream_waits_over_tls_and_ends_with_its_client(secure):
    session = secure.json("POST", "/v1/sessions", 201, {"bind": "connection"})["id"]
    stream = secure.connect()
    stream.sendall(raw("GET", f"/v1/sessions/{session}/hold"))
    received = b""
    while b": the session is held" not in received:
        received += stream.recv(4096)
    stream.close()
    wait_until(lambda: not secure.json("GET", "/v1/sessions", 200)["sessions"], 10)


def test_a_body_that_is_refused_early_gets_its_answer(start_secure, authority):
    secure = Secure(start_secure("--max-body-bytes", "5000"), authority)
    with secure.connect() as connection:
        connection.sendall(raw("PATCH", "/v1/segments/a/data", "Content-Length: 99999999"))
        connection.sendall(b"x" * 5000)
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413 ")
    assert is_well(secure)


# Faults

def test_a_peer_that_truncates_under_a_download_ends_one_answer_and_no_server(
        server, secure, posix, no_debris):
    session = secure.json("POST", "/v1/sessions", 201)["id"]
    secure.json("POST", "/v1/segments", 201, {**posix.body, "size": SIZE}, Session_Id=session)
    for left in (4096, 0):
        os.truncate(posix.memory_file, SIZE)
        with secure.connect() as connection:
            connection.sendall(raw("GET", posix.href + "/data", f"Session-Id: {session}"))
            begun = connection.recv(4096)
            assert begun.startswith(b"HTTP/1.1 200 ") and f"Content-Length: {SIZE}".encode() in begun
            os.truncate(posix.memory_file, left)
            taken = len(begun)
            try:
                while octets := connection.recv(1 << 20):
                    taken += len(octets)
            except (ConnectionError, ssl.SSLError):
                pass
        assert taken < SIZE, "what is not there any more is not sent"
        assert server.is_running and is_well(secure)
    secure.json("DELETE", "/v1/sessions/" + session, 200)
    no_debris.clean()


def test_downloads_while_a_peer_truncates_all_the_time(server, secure, posix, no_debris):
    """Each gives the bytes or breaks off; the server sees no page fault."""
    session = secure.json("POST", "/v1/sessions", 201)["id"]
    size = 1 << 20
    secure.json("POST", "/v1/segments", 201, {**posix.body, "size": size}, Session_Id=session)
    is_done = threading.Event()

    def torment():
        while not is_done.is_set():
            os.truncate(posix.memory_file, 0)
            os.truncate(posix.memory_file, size)

    tormentor = threading.Thread(target=torment)
    tormentor.start()
    whole = 0
    try:
        for _ in range(60):
            try:
                status, body = secure.request("GET", posix.href + "/data", Session_Id=session)
                assert status in (200, 409)
                whole += status == 200 and len(body) == size
            except (http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionError,
                    ssl.SSLError):
                pass
    finally:
        is_done.set()
        tormentor.join()
    print(f"\n{whole} of 60 were whole")
    assert server.is_running and is_well(secure)
    secure.json("DELETE", "/v1/sessions/" + session, 200)
    no_debris.clean()


@pytest.mark.parametrize("octets", [
    b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\x01" * 500,
    bytes(range(256)) * 40, b"\x80", b"",
], ids=["plain HTTP", "a record that lies", "anything", "one byte", "nothing"])
def test_what_is_no_tls_harms_nobody(server, secure, octets):
    is_well(secure)
    before = server.descriptors()
    clients = [connect(secure.address) for _ in range(20)]
    for client in clients:
        try:
            client.sendall(octets)
        except ConnectionError:
            pass
    assert is_well(secure)
    for client in clients:
        client.close()
    wait_until(lambda: server.descriptors() <= before, 10, "the end of their connections")


def test_a_handshake_that_is_slow_is_cut_off_and_keeps_nobody_waiting(start_secure, authority):
    server = start_secure("--request-timeout", "1")
    secure = Secure(server, authority)
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500
    with connect(secure.address) as slow:
        slow.settimeout(0.05)
        sent = 0
        while sent < len(hello):
            try:
                slow.send(hello[sent:sent + 1])
                sent += 1
                if slow.recv(100) == b"":
                    break
            except TimeoutError:
                assert is_well(secure)
            except ConnectionError:
                break
        assert sent < len(hello), "one byte at a time"
    assert is_well(secure)


def test_clients_that_vanish_after_the_handshake_leave_nothing(server, secure):
    is_well(secure)
    before = server.descriptors()
    for request in (b"", b"GET /liv", raw("PUT", "/v1/segments/a/data", "Content-Length: 100")):
        for _ in range(5):
            connection = secure.connect()
            if request:
                connection.sendall(request)
            # Without a word of farewell.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
    assert is_well(secure)
    wait_until(lambda: server.descriptors() <= before, 10)


# Certificates of clients

def test_clients_need_a_certificate_where_an_authority_is_named(
        start_secure, authority, stranger):
    server = start_secure("--tls-client-ca", authority.certificate)
    known = authority.sign("client", "clientAuth")
    assert is_well(Secure(server, authority, known))
    strangers = [None, stranger.sign("client", "clientAuth"),
                 authority.sign("not-a-client", "serverAuth"),
                 (stranger.certificate, stranger.key)]
    for wrong in strangers:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
                Secure(server, authority, wrong, version).request("GET", "/livez")
    assert is_well(Secure(server, authority, known))
    wait_until(lambda: len(re.findall("/livez 200", server.log())) == 2, 10)
    assert server.log().count("/livez") == 2, "no request of a stranger came through"


# Files

def fails(environment, tmp_path, *arguments):
    result = run("--state-dir", str(tmp_path / "state"), "--listen", "127.0.0.1:0", *arguments,
                 environment=environment)
    assert result.returncode == 64, result
    assert len(result.stderr.splitlines()) == 1, result.stderr
    return result.stderr


def test_files_that_do_not_fit_are_named(environment, tmp_path, identity, authority):
    certificate, key = identity
    other = authority.sign("other", "serverAuth")[1]
    nonsense, nothing = tmp_path / "nonsense", str(tmp_path / "nothing")
    nonsense.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    nonsense.chmod(0o600)
    nonsense = str(nonsense)
    for arguments, words in [
            (("--tls-cert", certificate), "--tls-key"),
            (("--tls-key", key), "--tls-cert"),
            (("--tls-client-ca", certificate), "--tls-cert"),
            (("--tls-cert", nothing, "--tls-key", key), "--tls-cert"),
            (("--tls-cert", certificate, "--tls-key", nothing), "--tls-key"),
            (("--tls-cert", str(tmp_path), "--tls-key", key), "--tls-cert"),
            (("--tls-cert", "/dev/zero", "--tls-key", key), "--tls-cert"),
            (("--tls-cert", nonsense, "--tls-key", key), "--tls-cert"),
            (("--tls-cert", certificate, "--tls-key", nonsense), "--tls-key"),
            (("--tls-cert", certificate, "--tls-key", other), "--tls-key is not the key"),
            (("--tls-cert", certificate, "--tls-key", key, "--tls-client-ca", nonsense),
             "--tls-client-ca")]:
        assert words in fails(environment, tmp_path, *arguments), arguments


# Renewal

def serial(connection):
    return connection.getpeercert()["serialNumber"]


def is_served(connection):
    connection.sendall(raw("GET", "/livez"))
    received = b""
    while not received.endswith(b"ok\n"):
        received += connection.recv(4096)
    return received.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("count", [1, 2], ids=lambda count: f"{count} threads")
def test_a_renewed_certificate_is_taken_by_new_connections_and_the_old_ones_go_on(
        start_server, authority, stranger, tmp_path, count):
    first, second = authority.sign("first", "serverAuth"), authority.sign("second", "serverAuth")
    files = str(tmp_path / "certificate"), str(tmp_path / "key")

    def put(*pair):
        for source, target in zip(pair, files):
            shutil.copy(source, target + ".new")  # with its mode
            os.rename(target + ".new", target)

    put(*first)
    trusted = str(tmp_path / "clients")
    shutil.copy(authority.certificate, trusted)
    server = start_server("--tls-cert", files[0], "--tls-key", files[1], "--tls-client-ca", trusted,
                          "--threads", str(count))
    client, foreigner = authority.sign("client", "clientAuth"), stranger.sign("client", "clientAuth")
    secure = Secure(server, authority, client)
    descriptors = server.descriptors()
    kept = [secure.connect() for _ in range(3)]
    before = {serial(connection) for connection in kept}
    assert len(before) == 1

    def reload(words, times):
        server.send(signal.SIGHUP)
        wait_until(lambda: server.log().count(words) == times, 10, words)

    put(*second)
    shutil.copy(stranger.certificate, trusted)
    reload("read the certificate again", 1)
    now_known = Secure(server, authority, foreigner)
    fresh = [now_known.connect() for _ in range(3)]
    after = {serial(connection) for connection in fresh}
    assert len(after) == 1 and after != before
    assert all(is_served(connection) for connection in [*kept, *fresh])
    # Whom to let in is read again too.
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        secure.request("GET", "/livez")

    # What does not fit together changes nothing.
    put(first[0], second[1])
    reload("the certificate stays as it was", 1)
    (tmp_path / "certificate").unlink()
    reload("the certificate stays as it was", 2)
    assert " error " in server.log() and "is not the key of" in server.log()
    with now_known.connect() as another:
        assert serial(another) in after and is_served(another)
    assert all(is_served(connection) for connection in [*kept, *fresh])
    for connection in [*kept, *fresh]:
        connection.close()
    wait_until(lambda: server.descriptors() <= descriptors, 10)


def test_certificates_renewed_all_the_time_lose_no_request_and_no_memory(
        start_server, authority, identity):
    server = start_server("--tls-cert", identity[0], "--tls-key", identity[1], "--log-level",
                          "notice", "--threads", "2")
    secure = Secure(server, authority)

    def memory():
        with open(f"/proc/{server.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * 4096

    def renew(times, done):
        for turn in range(times):
            server.send(signal.SIGHUP)
            assert is_well(secure)
            wait_until(lambda: server.log().count("read the certificate again") > done + turn, 10)

    renew(30, 0)
    before = memory()
    renew(100, 30)
    assert memory() - before < 4 << 20


# Files with the wrong mode

def test_a_key_that_every_user_can_read_is_refused(environment, tmp_path, identity):
    certificate, key = identity
    shared = tmp_path / "key"
    shared.write_bytes(open(key, "rb").read())
    shared.chmod(0o644)
    assert str(shared) in fails(environment, tmp_path, "--tls-cert", certificate, "--tls-key",
                                str(shared))
