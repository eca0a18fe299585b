"""The servers that are measured, each on a port and in namespaces of its own."""
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

WORK = pathlib.Path(os.environ["BENCH_WORK"])
MIB = 1024 * 1024


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A process in IPC and mount namespaces of its own, with a /dev/shm of its own."""

    name = "server"

    def __init__(self, size="4g"):
        self.port = free_port()
        self.home = pathlib.Path(tempfile.mkdtemp(prefix=self.name + "-", dir=WORK))
        (self.home / "run").mkdir(mode=0o700)
        self.size = size

    def command(self):
        raise NotImplementedError

    def prepare(self):
        """Shell commands to be run inside the namespaces first."""
        return ":"

    def start(self):
        environment = dict(
            os.environ, TMPDIR=str(self.home), XDG_RUNTIME_DIR=str(self.home / "run"))
        inside = f'mount -t tmpfs -o size={self.size} tmpfs /dev/shm && {self.prepare()} && exec "$@"'
        self.process = subprocess.Popen(
            ["unshare", "--ipc", "--mount", "sh", "-c", inside, "sh", *self.command()],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=open(self.home / "stderr", "wb"), cwd=self.home)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise SystemExit(
                        f"{self.name} did not start: {(self.home / 'stderr').read_text()}")
                time.sleep(0.0005)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def cpu(self):
        """Nanoseconds of processor time so far, of all threads, living or dead."""
        clock = (~self.process.pid << 3) | 2  # the kernel's number for that clock
        return time.clock_gettime_ns(clock)

    def resident(self):
        """Bytes of memory."""
        for line in open(f"/proc/{self.process.pid}/smaps_rollup"):
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no Rss")


class Segmentd(Server):
    name = "segmentd"

    def __init__(self, *flags, threads=1):
        super().__init__()
        self.flags = ["--threads", str(threads), *flags]

    def command(self):
        return [
            os.environ["SEGMENTD"], "--listen", f"127.0.0.1:{self.port}",
            "--state-dir", str(self.home / "state"), *self.flags]

    def client(self):
        return Client(self.port)


class Floor(Server):
    name = "floor"

    def command(self):
        return [str(WORK / "floor"), str(self.port)]


class Nginx(Server):
    name = "nginx"

    def prepare(self):
        return (
            "mkdir -p /dev/shm/root/dav /dev/shm/body"
            " && head -c 134217728 /dev/zero >/dev/shm/root/segment")

    def command(self):
        configuration = self.home / "nginx.conf"
        configuration.write_text(f"""
            worker_processes 1; daemon off; master_process off;
            pid {self.home}/pid; error_log stderr crit;
            events {{ worker_connections 4096; }}
            http {{
                access_log off; sendfile on; tcp_nopush off; keepalive_requests 1000000000;
                client_max_body_size 1g; client_body_buffer_size 128k;
                client_body_temp_path /dev/shm/body; proxy_temp_path {self.home}/p;
                fastcgi_temp_path {self.home}/f; uwsgi_temp_path {self.home}/u;
                scgi_temp_path {self.home}/s; default_type application/octet-stream;
                server {{
                    listen 127.0.0.1:{self.port} backlog=4096; root /dev/shm/root;
                    location /dav {{ dav_methods PUT DELETE; }}
                }}
            }}""")
        return ["nginx", "-p", str(self.home), "-c", str(configuration)]


class Redis(Server):
    name = "redis"

    def command(self):
        return [
            "redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
            "--appendonly", "no", "--dir", str(self.home)]


class Client:
    """One kept connection, for set-up and for what wrk cannot do: bytes out, bytes in."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def close(self):
        self.socket.close()

    @staticmethod
    def bytes(method, path, body=b"", **headers):
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def send(self, *request, **headers):
        self.socket.sendall(self.bytes(*request, **headers))

    def receive(self):
        while b"\r\n\r\n" not in self.rest:
            self.more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        lower = head.lower()
        start = lower.find(b"content-length:")
        length = int(lower[start + 15:].split(b"\r\n", 1)[0]) if start >= 0 else 0
        while len(self.rest) < length:
            self.more()
        body, self.rest = self.rest[:length], self.rest[length:]
        return int(head[9:12]), body

    def more(self):
        chunk = self.socket.recv(1 << 20)
        if not chunk:
            raise ConnectionError("closed by the server")
        self.rest += chunk

    def ask(self, *request, expect=(200, 201, 204, 206), **headers):
        self.send(*request, **headers)
        status, body = self.receive()
        if status not in expect:
            raise AssertionError(f"{request}: {status} {body[:300]}")
        return body

    def many(self, requests, expect=(200, 201, 204)):
        """Sends requests without waiting in between, and gives the bodies of the answers."""
        bodies = []
        for start in range(0, len(requests), 64):
            part = requests[start:start + 64]
            self.socket.sendall(b"".join(part))
            for _ in part:
                status, body = self.receive()
                if status not in expect:
                    raise AssertionError(f"{status} {body[:300]}")
                bodies.append(body)
        return bodies

    def open_session(self, body=b'{"ttl_ms":3600000}'):
        return self.ask("POST", "/v1/sessions", body).split(b'"')[3].decode()

    def create(self, session, name, size, native=True, keep=False):
        key = "native_key" if native else "key"
        last = ',"on_last_detach":"keep"' if keep else ""
        body = f'{{"{key}":"{name}","size":{size},"if_exists":"attach"{last}}}'.encode()
        self.ask("POST", "/v1/segments", body, Session_Id=session)
