"""What the service does with requests that nobody should send: refuse them, stay, and answer the next one."""

from __future__ import annotations

import io
import json
import random
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Iterator

import pytest

from edgekit.ondevice import serve, server

from .conftest import Agent
from .served import ask, deploy, install, serving

np = pytest.importorskip("numpy")

GOOD = json.dumps([[[4] * 3] * 2] * 2).encode()
NPY = "application/x-npy"


def npy(array: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def served(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    agent = Agent(sys.executable, archive, tmp_path_factory.mktemp("served") / "root")
    install(agent)
    deploy(agent, 3)
    with serving(agent) as port:
        yield port


@pytest.fixture
def port(served: int) -> Iterator[int]:
    """The service, which answers after the test as before."""
    yield served
    assert ask(served, "POST", "/predict", GOOD)[0] == 200


def raw(port: int, data: bytes) -> bytes:
    """Send bytes and return all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_requests_are_judged(port: int) -> None:
    bodies = [
        (b"", "application/json", 400, "not JSON"),
        (b"{", "application/json", 400, "not JSON"),
        (b"[1, [2]]", "application/json", 400, "no array"),
        (b"[NaN]", "application/json", 400, "not JSON"),
        (b"[1e999]", "application/json", 400, "numbers"),
        (b'["a"]', "application/json", 400, "numbers"),
        (b"null", "application/json", 400, "numbers"),
        (b"{}", "application/json", 400, "the samples hold"),
        (b'{"a": [1], "b": [2]}', "application/json", 400, "the samples hold"),
        (b"[" * 100 + b"]" * 100, "application/json", 400, "levels deep"),
        (b"[1, 2]", "application/json", 400, "the model wants"),
        (b"[99999999999999999999999]", "application/json", 400, "not JSON"),
        (b"[99999999999999999999]", "application/json", 400, "numbers"),
        (b"x", "text/plain", 415, "none that is read here"),
        (b"\xff\xd8\xff", "image/jpeg", 415, "no image is decoded here"),
        (b"x", NPY, 400, "no array"),
        (npy(np.zeros((2, 2, 3), np.uint8))[:-1], NPY, 400, "no array"),
        (npy(np.array([{}])), NPY, 400, "no array"),
        (npy(np.array(["a"])), NPY, 400, "numbers"),
        (npy(np.array([1j])), NPY, 400, "numbers"),
        (npy(np.full((2, 2, 3), np.nan)), NPY, 400, "numbers"),
        (b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f8', 'fortran_order': False, 'shape': (99999999,)}      \n", NPY, 400, "no array"),
        (b"\x93NUMPY\x01\x00\x46\x00" + b"(" * 69 + b"\n", NPY, 400, "no array"),
    ]
    for body, kind, code, words in bodies:
        answer = ask(port, "POST", "/predict", body, kind)
        assert (answer[0], words in answer[1]["error"]) == (code, True), (body[:80], answer)
    for method, path, code in [("GET", "/predict", 405), ("POST", "/health", 405), ("GET", "/", 404), ("PUT", "/predict", 405)]:
        assert ask(port, method, path)[0] == code


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"GET /health HTTP/1.1\r\nHost: board.example\r\n\r\n", b" 421 "),
        (b"GET /health HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", b" 200 "),
        (b"GET /health HTTP/1.0\r\n\r\n", b" 200 "),
        (b"POST /predict HTTP/1.1\r\nHost: localhost\r\n\r\n", b" 411 "),
        (b"POST /predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b" 411 "),
        (b"POST /predict HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", b" 411 "),
        (b"POST /predict HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b" 411 "),
        (b"POST /predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (server.BODY_BYTES_MAX + 1), b" 413 "),
        (b"POST /predict HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", b" 413 "),
        (b"POST /predict HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n", b" 413 "),
        (b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 90 + b"Long: " + b"z" * server.HEAD_BYTES_MAX + b"\r\n\r\n", b" 431 "),
        (b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", b" 431 "),
        (b"GET /" + b"a" * (server.HEAD_BYTES_MAX + 10), b" 4"),
        (b"NONSENSE\r\n\r\n", b" 400 "),
        (b"BREW /health HTTP/1.1\r\n\r\n", b" 501 "),
        (b"GET /health HTTP/9.9\r\n\r\n", b" 505 "),
        (b"POST /predict HTTP/1.1\r\nContent-Length: 100\r\n\r\nshort", b""),
        (b"\x16\x03\x01\x02\x00\x01\x00", b""),
        (b"", b""),
    ],
    ids=lambda value: repr(bytes(value[:24])),
)
def test_heads_are_judged(port: int, head: bytes, code: bytes) -> None:
    answer = raw(port, head)
    assert (code in answer.split(b"\r\n")[0]) if code else not answer.startswith(b"HTTP/1.1 200"), answer[:200]


def test_a_body_is_invited_once_the_head_was_looked_at(port: int) -> None:
    head = b"POST /predict HTTP/1.1\r\nExpect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(GOOD)
    answer = raw(port, head + GOOD)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_noise(port: int) -> None:
    """Requests of random bytes and of good ones, bent: each is answered or dropped, none is taken for good, none ends the service."""
    dice = random.Random(5)
    good = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD
    for _ in range(150):
        data = bytearray(good)
        for _ in range(dice.randint(1, 6)):
            at = dice.randrange(len(data))
            data[at : at + dice.randint(0, 3)] = bytes(dice.randrange(256) for _ in range(dice.randint(0, 3)))
        answer = raw(port, bytes(data))
        assert b" 500 " not in answer.split(b"\r\n")[0], (bytes(data), answer)


def test_arrays_of_any_kind(port: int) -> None:
    dice = np.random.default_rng(5)
    for kind in ("u1", "i1", "i8", "u8", "f2", "f4", "f8", "?", ">i4", "c8", "U3", "S2", "M8[s]", "i4,f4"):
        for shape in ((), (0,), (1,), (2, 2), (2, 2, 3), (2, 2, 4), (0, 2, 3), (1, 2, 2, 3), (1,) * 20):
            array = np.zeros(shape, kind)
            if array.dtype.kind in "iuf" and array.size:
                array += dice.integers(0, 100, shape).astype(array.dtype)
            code, answer = ask(port, "POST", "/predict", npy(array), NPY)
            assert code == (200 if shape == (2, 2, 3) and array.dtype.kind in "biuf" else 400), (kind, shape, answer)


def test_connections_are_bounded_and_free_again(port: int) -> None:
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(server.CONNECTIONS_MAX)]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as one_more:  # it says nothing: it is told before
        assert one_more.recv(1 << 16).startswith(b"HTTP/1.1 503 ")
    for connection in held:
        connection.close()
    end = time.monotonic() + 30
    while ask_or_none(port) != 200:
        assert time.monotonic() < end


def ask_or_none(port: int) -> int | None:
    try:
        return ask(port, "GET", "/health")[0]
    except (OSError, ValueError):
        return None


def dawdle(connection: socket.socket) -> None:
    for _ in range(1000):
        connection.sendall(b"X: y\r\n")
        time.sleep(0.01)


def test_who_dawdles_is_dropped(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """A byte now and then does not keep a connection: the time is for the whole request."""
    monkeypatch.setattr(server, "REQUEST_S", 0.5)
    with server.Server(("127.0.0.1", 0), serve.Service("meter", str(tmp_path), None).handler()) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            with socket.create_connection(("127.0.0.1", running.server_address[1]), timeout=30) as connection:
                connection.sendall(b"GET /health HTTP/1.1\r\n")
                with pytest.raises((ConnectionResetError, BrokenPipeError)):
                    dawdle(connection)
            code, body = ask(running.server_address[1], "GET", "/health")
            assert (code, "no current release" in body["error"]) == (503, True)
            assert ask(running.server_address[1], "POST", "/predict", GOOD)[0] == 503
            assert "edgekit_ready 0" in ask(running.server_address[1], "GET", "/metrics")[1]
        finally:
            running.shutdown()
            thread.join()
