"""/metrics, /healthz and /readyz, for Prometheus, the load balancer and the operator at 3 a.m.

They are served from threads of the standard library's HTTP server and not from the event loop: a scraper
that reads slowly holds a thread, and a loop that stands still can still be reported, by a thread that does
not. What the loop pays is the interpreter's lock while a scrape is written out: 4 ms of CPU for 400 counters
and 20 histograms, of which a turn may wait for 5 ms at a time (`sys.getswitchinterval`).

Three limits keep strangers from holding it: requests at one time, seconds a request, octets a request line
and its headers (65,536 and 100, the standard library's own). The port is meant for the management network
and carries no numbers, texts or secrets.
"""

import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, cast

import msgspec
import structlog

from gateway.clock import Clock
from gateway.metrics import EXPOSITION_CONTENT_TYPE

# Two Prometheus servers, a load balancer and a person: four at one time, and the double of it.
REQUESTS_MAX: Final = 8

# From accept to the last octet. Prometheus gives up on a scrape after 10 s by default.
REQUEST_TIMEOUT_S: Final = 10.0

# How often deadlines and the wish to stop are looked at.
_POLL_S: Final = 0.2

# A turn of the loop takes milliseconds. Five seconds without one is a loop that stands, not one that is busy.
HEARTBEAT_AGE_MAX_S: Final = 5.0

_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"

_log = structlog.get_logger()


class Condition(msgspec.Struct, frozen=True):
    """One of the things that must hold before the gateway takes messages."""

    name: str
    met: bool
    detail: str
    """Why, in a few words, above all where it is not met; no numbers, texts or secrets."""


class Heartbeat:
    """The sign of life of the event loop: the loop calls `beat` once a second, any thread reads the age."""

    __slots__ = ("_beat_s", "_clock")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._beat_s = clock.monotonic()

    def beat(self) -> None:
        self._beat_s = self._clock.monotonic()

    def condition(self) -> Condition:
        """Met while the last beat is at most HEARTBEAT_AGE_MAX_S old."""
        age_s = self._clock.monotonic() - self._beat_s
        detail = f"event loop: last turn {age_s:.1f} s ago, limit {HEARTBEAT_AGE_MAX_S:.1f} s"
        return Condition("event_loop", age_s <= HEARTBEAT_AGE_MAX_S, detail)


class HttpListenError(Exception):
    """The address of [http] cannot be listened on. The text names address, reason and remedy."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(
            f"[http] cannot listen on {host} port {port}: {error.strerror or error}. Another process may "
            "have the port (`ss -ltnp`), or the host is none of this machine's: set [http] host and port."
        )
        self.host: Final = host
        self.port: Final = port


class HttpServer:
    """The pages, served from construction to `stop`.

    `exposition` and `conditions` are called by the threads of requests: they read numbers and copies only,
    and wait for nothing. What they raise is logged, and ends that request without an answer. Port 0 lets the
    system choose; `port` says which. Raises HttpListenError, so that a port in use ends the start of the
    gateway.
    """

    def __init__(
        self,
        host: str,
        port: int,
        heartbeat: Heartbeat,
        exposition: Callable[[], bytes],
        conditions: Callable[[], Sequence[Condition]],
    ) -> None:
        try:
            self._server: Final = _Server(host, port, _Pages(heartbeat, exposition, conditions))
        except OSError as error:
            raise HttpListenError(host, port, error) from error
        self.port: Final = self._server.server_port
        self._thread: Final = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="http", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stops listening, and cuts what is open. Blocks for up to 0.2 s: called when traffic has ended."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.cut_all()


class _Pages:
    """What stands on the pages: (status, content type, body) by path."""

    def __init__(
        self,
        heartbeat: Heartbeat,
        exposition: Callable[[], bytes],
        conditions: Callable[[], Sequence[Condition]],
    ) -> None:
        self._heartbeat: Final = heartbeat
        self._exposition: Final = exposition
        self._conditions: Final = conditions
        self.by_path: Final = {
            "/metrics": self._metrics,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
        }

    def _metrics(self) -> tuple[HTTPStatus, str, bytes]:
        return HTTPStatus.OK, EXPOSITION_CONTENT_TYPE, self._exposition()

    def _healthz(self) -> tuple[HTTPStatus, str, bytes]:
        alive = self._heartbeat.condition()
        return _ok_if(alive.met), _TEXT, f"{'ok' if alive.met else 'failed'}: {alive.detail}\n".encode()

    def _readyz(self) -> tuple[HTTPStatus, str, bytes]:
        # A loop that stands would leave the others as they were when it stopped.
        conditions = [self._heartbeat.condition(), *self._conditions()]
        ready = all(condition.met for condition in conditions)
        body = msgspec.json.encode({"ready": ready, "conditions": conditions})
        return _ok_if(ready), _JSON, msgspec.json.format(body) + b"\n"


def _ok_if(met: bool) -> HTTPStatus:
    return HTTPStatus.OK if met else HTTPStatus.SERVICE_UNAVAILABLE


class _Server(ThreadingHTTPServer):
    """The standard library's threading server with a bound on requests and on the time of each."""

    # A thread that hangs in a callback must not hold the exit of the process.
    daemon_threads = True

    # Beyond the backlog the kernel drops the connection's first packet, and the client tries again after a
    # second.
    request_queue_size = 4 * REQUESTS_MAX

    def __init__(self, host: str, port: int, pages: _Pages) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.pages: Final = pages
        # Open requests and when they began. Requests end in their own threads, hence the lock.
        self._open: dict[socket.socket, float] = {}
        self._refusing = False
        self._lock: Final = threading.Lock()
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks the resolver for the name of this host, which nobody reads, and the start
        # waits for it.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def verify_request(self, request: object, client_address: object) -> bool:
        """Called in the accepting thread; the caller closes what is refused, since an answer may block."""
        with self._lock:
            full = len(self._open) >= REQUESTS_MAX
            if not full:
                self._open[cast(socket.socket, request)] = time.monotonic()
        # One line for each time that it fills up, however many come meanwhile.
        if full and not self._refusing:
            _log.warning("http_requests_refused", requests_max=REQUESTS_MAX)
        self._refusing = full
        return not full

    def service_actions(self) -> None:
        """Called each _POLL_S: cuts what is older than REQUEST_TIMEOUT_S, however busily it drips."""
        self._cut_begun_before(time.monotonic() - REQUEST_TIMEOUT_S)

    def cut_all(self) -> None:
        self._cut_begun_before(float("inf"))

    def _cut_begun_before(self, moment: float) -> None:
        with self._lock:
            for request, begun in self._open.items():
                if begun < moment:
                    try:
                        # Wakes the request's thread, which then closes; closing here would free the
                        # descriptor under it.
                        request.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        continue  # the client has gone already

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        with self._lock:
            self._open.pop(cast(socket.socket, request), None)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Called within the `except` of a request's thread, in place of a traceback on stderr."""
        # A client that went away or was cut at its deadline is no event.
        if not isinstance(sys.exception(), OSError):
            _log.exception("http_request_failed")


class _Handler(BaseHTTPRequestHandler):
    """One request, one answer, then close: scrapes are seconds apart."""

    protocol_version = "HTTP/1.1"
    error_content_type = _TEXT
    error_message_format = "%(code)d %(message)s\n"
    timeout = REQUEST_TIMEOUT_S

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _refuse_method(self) -> None:
        body = b"405 only GET and HEAD\n"
        self._send(HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, body, {"Allow": "GET, HEAD"}, with_body=True)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse_method  # noqa: N815

    def _answer(self, *, with_body: bool) -> None:
        page = cast(_Server, self.server).pages.by_path.get(self.path.partition("?")[0])
        if page is None:
            status, content_type, body = HTTPStatus.NOT_FOUND, _TEXT, b"404 see /metrics, /healthz, /readyz\n"
        else:
            status, content_type, body = page()
        self._send(status, content_type, body, {}, with_body=with_body)

    def _send(
        self, status: HTTPStatus, content_type: str, body: bytes, headers: dict[str, str], *, with_body: bool
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def version_string(self) -> str:
        return "jingxin"  # strangers need not learn which Python this is

    def log_message(self, format: str, *args: object) -> None:
        """Silent: a line for each scrape tells nobody anything."""
