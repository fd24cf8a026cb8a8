"""HTTP for one small service: the standard library's server with bounds on what a client may take. Used by `edgekit.ondevice.serve`.

A request is bounded in bytes (head and body) and in time from its first byte to its last; connections are bounded in number, and who
comes after that is told to come again. Answers have a length, so that connections are kept.
"""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import socket
import socketserver
import sys
import threading
import time
import traceback
from typing import Any, Callable, ClassVar, Dict, NamedTuple, Tuple

from .metrics import Metrics

__all__ = ["Answer", "Handler", "Refusal", "Server"]

HEAD_BYTES_MAX, BODY_BYTES_MAX = 16 << 10, 16 << 20  # the pixels of 5 megapixels
READ_AHEAD_BYTES = 4096  # of a body, while the head is read
REQUEST_S = 30.0  # for a request to arrive, the wait for it included, and for its answer to be taken
LINGER_S = 1.0
DRAIN_S = 5.0  # for requests under way when the service ends
CONNECTIONS_MAX = 16
HOSTS = ("127.0.0.1", "localhost", "[::1]")
FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Answer(NamedTuple):
    code: int
    kind: str
    body: bytes


class Refusal(Exception):  # noqa: N818  # an answer like another
    """A request that is not served, and what would be."""

    def __init__(self, code: int, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.fix = code, message, fix


class Gone(Exception):  # noqa: N818  # no error of ours
    """The client hung up, or took too long: nobody is there to be answered."""


class Bounded(io.RawIOBase):
    """What comes from a socket, until so many bytes or so much time are used up; the bytes end as if the client had hung up."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self.allow(HEAD_BYTES_MAX)

    def allow(self, count: int) -> None:
        self.left, self._end_s = count, time.monotonic() + REQUEST_S

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(max(0.001, self._end_s - time.monotonic()))
        got = self._socket.recv_into(buffer, min(len(buffer), self.left)) if self.left else 0
        self.left -= got
        return got


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection. ``routes`` gives each path its method and its function of a body's type and bytes."""

    routes: ClassVar[Dict[str, Tuple[str, Callable[[str, bytes], Answer]]]]
    metrics: ClassVar[Metrics]
    protocol_version, server_version, sys_version = "HTTP/1.1", "edgekit", ""
    server: Server

    def setup(self) -> None:
        super().setup()
        self._input = Bounded(self.connection)
        self.rfile = io.BufferedReader(self._input, READ_AHEAD_BYTES)

    def handle_one_request(self) -> None:
        self._input.allow(HEAD_BYTES_MAX)
        super().handle_one_request()

    def handle_expect_100(self) -> bool:
        return True  # whether the body may come is told once the head has been looked at

    def do_GET(self) -> None:
        """Serve one request, of any method."""
        path = self.path.partition("?")[0]
        with self.server.busy():
            try:
                answer = self._answer(path)
            except Refusal as refusal:
                self.close_connection = True  # its body may still be on its way
                answer = _told(refusal)
            except Gone:
                self.close_connection = True
                return
            except Exception as error:  # noqa: BLE001  # the boundary of one request: the service goes on
                traceback.print_exc()
                self.close_connection = True
                answer = _told(Refusal(500, "%s: %s" % (type(error).__name__, error)))
            self.metrics.request(path if path in self.routes else "other", answer.code)
            self._send(answer)

    do_POST = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = do_GET  # noqa: N815

    def _answer(self, path: str) -> Answer:
        if not self._input.left:
            raise Refusal(431, "the head of the request is longer than %d bytes" % HEAD_BYTES_MAX)
        host = self.headers.get("Host", HOSTS[0]).rpartition(":")
        if (host[0] or host[2]) not in HOSTS and self.headers.get("Host") not in HOSTS:
            raise Refusal(421, "this service answers to %s alone" % ", ".join(HOSTS))  # not to a page that resolves its name to us
        if path not in self.routes:
            raise Refusal(404, "there is nothing at this path", "use one of: %s" % ", ".join(self.routes))
        method, function = self.routes[path]
        if self.command != method:
            raise Refusal(405, "%s takes %s" % (path, method))
        return function(self.headers.get_content_type(), self._body() if method == "POST" else self._nothing())

    def _nothing(self) -> bytes:
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # what nobody reads is not to be taken for the next request
        return b""

    def _body(self) -> bytes:
        lengths = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers or len(lengths) != 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
            raise Refusal(411, "the body needs one Content-Length")
        if len(lengths[0]) > len(str(BODY_BYTES_MAX)) or int(lengths[0]) > BODY_BYTES_MAX:
            raise Refusal(413, "the body may have %d bytes" % BODY_BYTES_MAX)
        if self.headers.get("Expect", "").lower() == "100-continue" and self.request_version >= "HTTP/1.1":
            super().handle_expect_100()
        self._input.allow(int(lengths[0]))
        try:
            body = self.rfile.read(int(lengths[0]))
        except OSError as error:
            raise Gone from error
        if len(body) != int(lengths[0]):
            raise Gone
        return body

    def _send(self, answer: Answer) -> None:
        self.connection.settimeout(REQUEST_S)
        self.request_version = self.protocol_version  # where the request line told none, the base class would send no head
        try:
            self.send_response(answer.code)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
            self.send_header("Cache-Control", "no-store")
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
        except OSError:
            self.close_connection = True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the base class itself refuses, in our words."""
        self.close_connection = True
        self.metrics.request("other", code)
        self._send(_told(Refusal(code, message or "the request is refused")))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay silent: the metrics count, and what goes wrong is said where it is handled."""


class Server(http.server.ThreadingHTTPServer):
    """A thread for each connection, and no more than `CONNECTIONS_MAX` of them."""

    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[Handler]) -> None:
        self._slots, self._changed, self._under_way = threading.Semaphore(CONNECTIONS_MAX), threading.Condition(), 0
        super().__init__(address, handler)

    @contextlib.contextmanager
    def busy(self) -> Any:
        """Tell that a request is under way."""
        with self._changed:
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def server_bind(self) -> None:
        """Bind without asking the name service what this host is called, as the base class does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        with contextlib.suppress(OSError):
            request.setblocking(False)  # here nobody waits: it is the thread that takes connections
            request.send(FULL)
        self.close_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def shutdown_request(self, request: Any) -> None:
        """Close once the client has, or after a moment: with bytes unread the kernel would drop our last answer (RFC 1122, 4.2.2.13)."""
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_WR)
            request.settimeout(LINGER_S)
            end_s = time.monotonic() + LINGER_S
            while time.monotonic() < end_s and request.recv(1 << 16):
                pass
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong outside any request; a client that hung up is no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()

    def server_close(self) -> None:
        """Stop listening, and let the requests under way end."""
        self.socket.close()
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, DRAIN_S)


def _told(refusal: Refusal) -> Answer:
    told = {"error": refusal.message, **({"fix": refusal.fix} if refusal.fix else {})}
    return Answer(refusal.code, "application/json", json.dumps(told).encode("ascii") + b"\n")
