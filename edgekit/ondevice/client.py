"""A deployed model, opened for a program on the board: it answers with the release that is current, and takes up the next one by itself.

`edgekit.runtime` shows `load` to applications, and the service answers with it. An application is no job: it runs in a process of the
user's, with whatever Python that has. What reading a release may need of the wing is imported at once: once a program runs, an upgrade may
remove the file that it came from.
"""

from __future__ import annotations

import concurrent.futures
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, NamedTuple, Union

from . import inputs, onnx, preprocess, runner, tflite
from .disk import hold
from .releases import read_link, standing, watched
from .samples import ALONE
from .store import release_path
from .tensorrt import release as _release
from .tensorrt import runner as _runner
from .wire import NAME, AgentError, matching

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Sample = Union[NDArray[Any], Dict[str, NDArray[Any]]]

__all__ = ["ROOT", "Model", "load"]

ROOT = "~/.edgekit"
RETRY_S = 5.0  # between attempts to open a release that did not open
OPENED_BY = (onnx, tflite, _release, _runner)

# CUDA's context belongs to a thread (CUDA driver API, "Context Management"): all engines of a process run in one.
_engines = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="edgekit-engines")
_log = logging.getLogger("edgekit")


class Opened(NamedTuple):
    """A release that can answer; ``handle`` tells others that it is in use, ``call`` runs a function where the runtime wants it."""

    release: str
    runner: runner.Runner
    steps: dict[str, Any]
    handle: int
    call: Callable[..., Any]
    since_s: float


class Model:
    """An application's model. Any thread may call it; one inference runs at a time.

    Before each prediction it looks which release is current, and opens that before it lets go of the one it has. One that does not open
    is told to the log and tried again every few seconds, while the old one goes on answering.
    """

    def __init__(self, app: str, root: str, threads: int | None) -> None:
        self.app = matching(app, NAME, "app")
        self.refused: str | None = None
        self._root, self._threads = os.path.realpath(os.path.expanduser(root)), threads
        self._lock, self._retry_s, self._closed = threading.Lock(), 0.0, False
        self._opened = self._open(self._wanted())

    @property
    def release(self) -> str:
        """Digest of the release that answered last."""
        return self._opened.release

    @property
    def runtime(self) -> dict[str, Any]:
        """Name and version of what runs it."""
        return self._opened.runner.runtime

    @property
    def since_s(self) -> float:
        """When the release was opened here, in seconds since the epoch."""
        return self._opened.since_s

    def predict(self, sample: Sample) -> NDArray[Any]:
        """Return the first output for one sample: as real numbers, in the artifact's shape without its batch axis of 1.

        A sample is what the project's datasets hold, without a batch axis: an array, say an image, uint8 ``[height, width, 3]`` in RGB
        order, or a table of arrays by the inputs' names. The bundle's preprocessing is applied here. `AgentError` of kind ``input`` tells
        what does not fit, of kind ``runtime-failed`` what the runtime says.
        """
        return self.answer(sample)[0]

    def answer(self, sample: Sample) -> tuple[NDArray[Any], str]:
        """Return what `predict` does, and the release that gave it."""
        with self._lock:
            self._follow()
            opened = self._opened
            return opened.call(_answer, opened, sample), opened.release

    def follow(self, now: bool = True) -> str | None:
        """Take up the current release; return why that cannot be, or None. Without ``now`` one that just failed is not tried again yet."""
        with self._lock:
            self._retry_s = 0.0 if now else self._retry_s
            self._follow()
            return self.refused

    def close(self) -> None:
        """Let go of the release and of its folder."""
        with self._lock:
            if not self._closed:
                self._closed = True
                _close(self._opened)

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wanted(self) -> str:
        """Return the release to open: the current one, or the one before where nobody is left to prove that.

        So it is after the power failed under a deployment: the next job puts the board in order, a program of the user's may be earlier.
        """
        now = standing(self._root, self.app)
        forsaken = now.state == "activated" and not watched(self._root, self.app)
        release = now.entry["previous"] if forsaken else now.current
        if release is None:
            why = "its only release was not proven" if forsaken else "it has no current release"
            raise AgentError("state", "%s in %s cannot be opened: %s" % (self.app, self._root, why), "deploy it")
        return str(release)

    def _follow(self) -> None:
        if self._closed:
            raise AgentError("state", "%s was closed by this program" % self.app, "load it again")
        if read_link(self._root, self.app, "current") == self._opened.release:
            self.refused = None
            return
        if time.monotonic() < self._retry_s:
            return
        try:
            wanted = self._wanted()
            if wanted == self._opened.release:
                raise AgentError("state", "the current release was not proven, and nobody looks after it")
            opened = self._open(wanted)
        except (AgentError, OSError) as error:
            self.refused, self._retry_s = str(error), time.monotonic() + RETRY_S
            _log.warning("%s goes on with release %.12s: %s", self.app, self._opened.release, error)
        else:
            old, self._opened, self.refused = self._opened, opened, None
            _close(old)

    def _open(self, release: str) -> Opened:
        try:
            handle = hold(release_path(self._root, self.app, release))
        except FileNotFoundError:
            raise AgentError("state", "release %.12s of %s is not there" % (release, self.app), "deploy it") from None
        try:
            found = runner.find_release({"app": self.app, "release": release}, self._root)
            steps = preprocess.check(found.preprocess)
            call: Callable[..., Any] = _in_engines_thread if runner.is_engine(found.artifact) else _here
            opened = call(runner.open_artifact, self._root, found.artifact, self._threads or found.threads, dla_core=found.dla_core)
        except BaseException:
            os.close(handle)
            raise
        return Opened(release, opened, steps, handle, call, time.time())


def load(name: str, root: str = ROOT, threads: int | None = None) -> Model:
    """Open the model that is deployed under a name; `AgentError` says what is missing.

    ``root`` is edgekit's folder on this board, ``threads`` how many the runtime uses: by default those that the bundle's target names.
    """
    return Model(name, root, threads)


def _here(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


def _in_engines_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return _engines.submit(function, *args, **kwargs).result()


def _close(opened: Opened) -> None:
    opened.call(opened.runner.close)
    os.close(opened.handle)


def _answer(opened: Opened, sample: Sample) -> Any:
    import numpy as np

    arrays = {name: np.asarray(array) for name, array in (sample if isinstance(sample, dict) else {ALONE: sample}).items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise AgentError("input", "%s is an array of %s and must be one of numbers" % (name, array.dtype))
    run = opened.runner
    run.set(preprocess.feed(opened.steps, arrays, inputs.shapes(run.inputs, arrays)))
    run.invoke()
    output, scale = run.get(), run.output["scale"]
    if scale is not None:
        output = (output.astype(np.float32) - np.float32(run.output["zero_point"])) * np.float32(scale)
    return output[0] if output.ndim and output.shape[0] == 1 else output
