"""The service: a deployed model over HTTP, for programs on the same board. Job `serve`, which `service` lets systemd run.

    POST /predict   one sample: JSON, or an array as .npy
    GET  /health    200 with the release that answers; 503 with what keeps the current one from it
    GET  /metrics   for Prometheus

It listens on 127.0.0.1 alone. A client is given a part of a small board's memory and no more: what it may send is bounded in size and in
time, and so are the clients. The standard library's server does that with the few lines of `server`; a board needs nothing besides.
"""

from __future__ import annotations

import io
import json
import math
import threading
import time
from typing import Any

from .client import RETRY_S, Model, load
from .library import agent_file
from .metrics import CONTENT_TYPE, Metrics
from .samples import ALONE, REFUSED, read_npy
from .server import Answer, Handler, Refusal, Server
from .wire import NAME, AgentError, Progress, integer, matching, strict_json

__all__ = ["HOST", "Service", "serve"]

HOST = "127.0.0.1"
JSON_BYTES_MAX = 8 << 20
NPY = ("application/x-npy", "application/octet-stream")
# What the board's own decoding would need is not there: the sample travels as the numbers it is.
PIXELS = "send its pixels, uint8 [height, width, 3] in RGB order: as JSON, or as what numpy.save writes (Content-Type: application/x-npy)"


def serve(job: dict[str, Any], root: str, progress: Progress) -> dict[str, Any]:
    """Serve an app's model until a signal says to end; the one line of progress tells the port."""
    app, port = matching(job.get("app"), NAME, "app"), integer(job, "port", 0, 65535)
    threads = None if job.get("threads") is None else integer(job, "threads", 1, 256)
    with Server((HOST, port), Service(app, root, threads).handler()) as server:
        progress("serve", server.server_address[1], 65535)
        server.serve_forever()
    return {}


class Service:
    """The three answers. A model that does not open yet is no reason to be silent: /health says why."""

    def __init__(self, app: str, root: str, threads: int | None) -> None:
        self.app, self.metrics = app, Metrics()
        self._root, self._threads = root, threads
        self._lock, self._retry_s = threading.Lock(), 0.0
        self._model: Model | None = None
        self._why = AgentError("state", "nothing was opened yet")

    def handler(self) -> type[Handler]:
        """Return the class whose objects answer one connection each."""
        routes = {"/predict": ("POST", self.predict), "/health": ("GET", self.health), "/metrics": ("GET", self.show)}
        return type("Handler", (Handler,), {"routes": routes, "metrics": self.metrics})

    def predict(self, kind: str, body: bytes) -> Answer:
        """Answer one sample."""
        sample = _decoded(kind, body)
        try:
            started = time.perf_counter()
            model = self._opened()
            scores, release = model.answer(sample)
            self.metrics.predicted(time.perf_counter() - started)
        except AgentError as error:
            raise Refusal(400 if error.kind in ("input", "usage") else 503, error.message, error.fix) from error
        return _json(200, {"app": self.app, "release": release, "scores": _finite(scores.tolist())})

    def health(self, _kind: str, _body: bytes) -> Answer:
        """Tell whether the current release is the one that answers; takes it up first."""
        try:
            model = self._opened(now=True)
        except AgentError as error:
            return _json(503, {"app": self.app, "status": "failing", "error": error.message, "release": None})
        why = model.follow()
        known = {"app": self.app, "release": model.release, "runtime": model.runtime, "since": _utc(model.since_s), "agent": agent_file()}
        if why:
            return _json(503, {"status": "failing", "error": why, **known})
        return _json(200, {"status": "ok", **known})

    def show(self, _kind: str, _body: bytes) -> Answer:
        """Tell the counts."""
        try:
            model = self._opened()
        except AgentError:
            return Answer(200, CONTENT_TYPE, self.metrics.text({}, False, 0.0).encode())
        ready = model.follow(now=False) is None
        runtime = {"runtime": str(model.runtime["name"]), "runtime_version": str(model.runtime["version"])}
        text = self.metrics.text({"app": self.app, "release": model.release, **runtime}, ready, model.since_s)
        return Answer(200, CONTENT_TYPE, text.encode())

    def _opened(self, now: bool = False) -> Model:
        with self._lock:
            if self._model is None and (now or time.monotonic() >= self._retry_s):
                try:
                    self._model = load(self.app, self._root, self._threads)
                except (AgentError, OSError) as error:
                    self._retry_s = time.monotonic() + RETRY_S
                    self._why = error if isinstance(error, AgentError) else AgentError("state", str(error))
            if self._model is None:
                raise AgentError("state", self._why.message, self._why.fix)
            return self._model


def _decoded(kind: str, body: bytes) -> Any:
    """Return the sample that a body holds."""
    import numpy as np

    try:
        if kind == "application/json":
            value = strict_json(body, "the body", JSON_BYTES_MAX)
            sample = {name: _array(value[name]) for name in value} if isinstance(value, dict) else {ALONE: _array(value)}
        elif kind in NPY:
            sample = {ALONE: read_npy(io.BytesIO(body), len(body))}
        else:
            image = kind.startswith("image/")
            fix = PIXELS if image else "Content-Type: application/json, or application/x-npy"
            raise Refusal(415, "no image is decoded here" if image else "the body's type %.100r is none that is read here" % kind, fix)
    except AgentError as error:
        raise Refusal(400, error.message) from error
    except (OverflowError, MemoryError, *REFUSED) as error:
        raise Refusal(400, "the body holds no array: %s" % error) from error
    for name, array in sample.items():
        if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
            raise Refusal(400, "%s must hold numbers, and no more than its type holds" % name)
    return sample


def _array(value: Any) -> Any:
    """Return nested lists as an array; whole numbers of a picture are its pixels."""
    import numpy as np

    array = np.array(value)
    pixels = array.ndim == 3 and array.dtype.kind in "iu" and array.size and 0 <= array.min() <= array.max() <= 255
    return array.astype(np.uint8) if pixels else array


def _finite(value: Any) -> Any:
    """Return numbers that JSON can say: what is none becomes null."""
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None


def _json(code: int, value: dict[str, Any]) -> Answer:
    return Answer(code, "application/json", json.dumps(value, allow_nan=False).encode("ascii") + b"\n")


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
