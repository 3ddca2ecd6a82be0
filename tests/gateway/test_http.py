"""The three pages over real sockets: what they say, and that slow, many or broken clients harm nobody."""

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest
import structlog

import gateway.http as pages
from gateway.http import Condition, Heartbeat, HttpListenError, HttpServer
from gateway.metrics import Metrics

REMEDY = (
    "Another process may have the port (`ss -ltnp`), or the host is none of this machine's: "
    "set [http] host and port."
)


class TestClock:
    """Time as a number that the test sets."""

    __test__ = False

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time_us(self) -> int:
        return int(self.now * 1_000_000)


class World:
    """A server, and what its callbacks say."""

    def __init__(self) -> None:
        self.clock = TestClock()
        self.heartbeat = Heartbeat(self.clock)
        self.conditions = [
            Condition("evidence_room", True, "12 GiB free"),
            Condition("link_bound", True, "2 of 2"),
        ]
        self.metrics = Metrics()
        self.exposition: Callable[[], bytes] = self.metrics.exposition
        self.server = HttpServer(
            "127.0.0.1", 0, self.heartbeat, lambda: self.exposition(), lambda: self.conditions
        )

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=5)

    def ask(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=5)
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, dict(response.getheaders()), body

    def exchange(self, request: bytes) -> bytes:
        with self.connect() as client:
            client.sendall(request)
            return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.fixture(autouse=True)
def poll_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `stop` waits for the next poll."""
    monkeypatch.setattr(pages, "_POLL_S", 0.01)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.server.stop()


@pytest.mark.parametrize(
    ("method", "path", "status", "content_type", "body"),
    [
        (
            "GET",
            "/healthz",
            200,
            "text/plain; charset=utf-8",
            b"ok: event loop: last turn 0.0 s ago, limit 5.0 s\n",
        ),
        ("GET", "/healthz?verbose=1", 200, "text/plain; charset=utf-8", b"ok: event loop"),
        ("GET", "/readyz", 200, "application/json", b'{\n  "ready": true,'),
        ("GET", "/metrics", 200, "text/plain; version=0.0.4; charset=utf-8", b"# HELP process_"),
        ("GET", "/", 404, "text/plain; charset=utf-8", b"404 see /metrics, /healthz, /readyz\n"),
        ("GET", "/metrics/", 404, "text/plain; charset=utf-8", b"404 see"),
        ("GET", "/../etc/passwd", 404, "text/plain; charset=utf-8", b"404 see"),
        ("POST", "/healthz", 405, "text/plain; charset=utf-8", b"405 only GET and HEAD\n"),
        ("DELETE", "/metrics", 405, "text/plain; charset=utf-8", b"405 only GET and HEAD\n"),
        ("BREW", "/metrics", 501, "text/plain; charset=utf-8", b"501 Unsupported method"),
    ],
)
def test_pages(world: World, method: str, path: str, status: int, content_type: str, body: bytes) -> None:
    answered_status, headers, answered_body = world.ask(method, path)
    assert (answered_status, headers["Content-Type"]) == (status, content_type)
    assert answered_body.startswith(body)
    assert headers["Content-Length"] == str(len(answered_body))
    assert headers["Connection"] == "close"
    assert headers["Server"] == "jingxin"
    assert headers.get("Allow") == ("GET, HEAD" if status == 405 else None)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/nothing"])
def test_head_is_get_without_the_body(world: World, path: str) -> None:
    get_status, get_headers, _ = world.ask("GET", path)
    head_status, head_headers, head_body = world.ask("HEAD", path)
    assert (head_status, head_headers["Content-Length"]) == (get_status, get_headers["Content-Length"])
    assert head_body == b""


def test_a_loop_that_stands_is_neither_healthy_nor_ready(world: World) -> None:
    script = [
        (5.0, 200, b"ok: event loop: last turn 5.0 s ago"),
        (0.1, 503, b"failed: event loop: last turn 5.1 s ago"),
    ]
    for passed_s, status, body in script:
        world.clock.now += passed_s
        answer = world.ask("GET", "/healthz")
        assert (answer[0], answer[2].startswith(body)) == (status, True)
    status, _, ready = world.ask("GET", "/readyz")
    assert status == 503
    assert msgspec.json.decode(ready)["conditions"][0]["name"] == "event_loop"
    world.heartbeat.beat()
    assert world.ask("GET", "/healthz")[0] == 200
    assert world.ask("GET", "/readyz")[0] == 200


def test_readiness_lists_every_condition_and_needs_all(world: World) -> None:
    world.conditions[0] = Condition("evidence_room", False, "证据盘已满")
    status, _, body = world.ask("GET", "/readyz")
    assert status == 503
    assert msgspec.json.decode(body) == {
        "ready": False,
        "conditions": [
            {"name": "event_loop", "met": True, "detail": "event loop: last turn 0.0 s ago, limit 5.0 s"},
            {"name": "evidence_room", "met": False, "detail": "证据盘已满"},
            {"name": "link_bound", "met": True, "detail": "2 of 2"},
        ],
    }
    assert world.ask("GET", "/healthz")[0] == 200


@pytest.mark.parametrize(
    "request_octets",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",  # a TLS ClientHello
        b"\x00\x00\x00\x10\x00\x00\x00\x15\x00\x00\x00\x00\x00\x00\x00\x01\n",  # an SMPP enquire_link
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"",
    ],
)
def test_what_is_no_request_is_refused_and_the_next_is_served(world: World, request_octets: bytes) -> None:
    with world.connect() as client:
        client.sendall(request_octets)
        client.shutdown(socket.SHUT_WR)
        try:
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        except ConnectionResetError:
            answer = b""  # the server closed with octets of ours unread
    assert not answer.startswith(b"HTTP/1.1 200")
    assert world.ask("GET", "/healthz")[0] == 200


def test_a_callback_that_fails_is_logged_and_ends_that_request_only(world: World) -> None:
    def broken() -> bytes:
        raise RuntimeError("no such gauge")

    world.exposition = broken
    with structlog.testing.capture_logs() as logs:
        assert world.exchange(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("http_request_failed", "error")]
    assert world.ask("GET", "/healthz")[0] == 200


def test_requests_beyond_the_bound_are_closed_and_room_comes_back(world: World) -> None:
    idle = [world.connect() for _ in range(pages.REQUESTS_MAX)]
    _until(lambda: len(world.server._server._open) == pages.REQUESTS_MAX)
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            with world.connect() as refused:
                assert refused.recv(1) == b""
    assert [entry["event"] for entry in logs] == ["http_requests_refused"]
    for client in idle:
        client.close()
    _until(lambda: not world.server._server._open)
    assert world.ask("GET", "/healthz")[0] == 200


def test_a_client_that_drips_is_cut_at_the_deadline(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "REQUEST_TIMEOUT_S", 0.3)
    began = time.monotonic()
    with world.connect() as client:

        def refused() -> bool:
            try:
                client.sendall(b"X")
            except ConnectionError:
                return True
            return False

        _until(refused)
    assert 0.2 < time.monotonic() - began < 2


def test_a_client_that_does_not_read_is_cut_at_the_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "REQUEST_TIMEOUT_S", 0.3)
    world.exposition = lambda: bytes(20_000_000)
    with world.connect() as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        _until(lambda: bool(world.server._server._open))
        assert world.ask("GET", "/healthz")[0] == 200
        _until(lambda: not world.server._server._open)


def test_a_port_in_use_is_an_error_with_a_remedy(world: World) -> None:
    with pytest.raises(HttpListenError) as caught:
        HttpServer("127.0.0.1", world.server.port, world.heartbeat, bytes, list)
    assert (caught.value.host, caught.value.port) == ("127.0.0.1", world.server.port)
    assert str(caught.value) == (
        f"[http] cannot listen on 127.0.0.1 port {world.server.port}: Address already in use. {REMEDY}"
    )


def test_a_host_of_another_machine_is_an_error_with_a_remedy(world: World) -> None:
    with pytest.raises(HttpListenError, match=r"192\.0\.2\.1 port 0: Cannot assign requested address"):
        HttpServer("192.0.2.1", 0, world.heartbeat, bytes, list)


def test_stop_frees_the_port_and_cuts_what_is_open() -> None:
    world = World()
    idle = world.connect()
    _until(lambda: bool(world.server._server._open))
    world.server.stop()
    assert idle.recv(1) == b""
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        world.connect()
    _until(lambda: not any(thread.name == "http" for thread in threading.enumerate()))


def _until(reached: Callable[[], bool]) -> None:
    """Waits for another thread, five seconds at most."""
    pause = threading.Event()
    for _ in range(500):
        if reached():
            return
        pause.wait(0.01)
    raise AssertionError("not reached in 5 s")
