"""The builder itself: job `engine.work`, started by `build` in a session of its own. No link's end reaches it; its stderr is ``build.log``.

One process builds, for TensorRT may abort or be killed; one waits for it, finishes its engine or writes down why there is none. Both
hold the engine's lock.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import signal
import time
import traceback
from typing import Any

from ..disk import blob_path, regular_bytes
from ..wire import AgentError, Progress
from . import adapter, command, engines, weights
from .key import digest_of, typing_of

STATE, FAILURE, RESULT, NETWORK = "state.json", "failure.json", "result.json", "network.onnx"
STATE_PERIOD_S = 0.25
LOG_TAIL_BYTES = 16 << 10


def work(job: dict[str, Any], root: str, _progress: Progress) -> dict[str, Any]:
    """Build the engine of ``key`` in its work folder, which is there; see `build._start` for the other fields."""
    folder = engines.work_path(root, digest_of(job["key"]))
    child = os.fork()
    if child == 0:
        os._exit(_child(job, root, folder))
    try:
        status = os.waitpid(child, 0)[1]
    except BaseException:  # told to stop: nothing may go on without us
        _fail(folder, AgentError("stopped", "the builder was told to stop"))
        os.killpg(0, signal.SIGKILL)
        raise
    told = engines.read_json(os.path.join(folder, RESULT))
    if status == 0 and told is not None:
        try:
            engines.finish(root, job["key"], told)
        except OSError as error:
            _fail(folder, _translated(error))
    elif engines.read_json(os.path.join(folder, FAILURE)) is None:
        lines = _log_tail(folder)
        if os.WIFSIGNALED(status):
            _fail(folder, adapter.died(os.WTERMSIG(status), lines))
        else:
            why = "the builder ended with status %d: %s" % (os.WEXITSTATUS(status), adapter.said_of(lines))
            _fail(folder, AgentError("runtime-failed", why))
    return {}


def _child(job: dict[str, Any], root: str, folder: str) -> int:
    os.environ.setdefault("CUDA_MODULE_LOADING", "LAZY")  # as CUDA 12.2 has it by default: less memory (CUDA C++ Programming Guide)
    with contextlib.suppress(OSError):  # when memory runs out, the kernel ends the one that uses it, and we can tell (proc(5))
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    try:
        engines.write_json(os.path.join(folder, RESULT), _build(job, root, folder))
    except AgentError as error:
        _fail(folder, error)
    except OSError as error:
        _fail(folder, _translated(error))
    except BaseException:  # noqa: BLE001  # nothing may leave the fork; its parent reads the end of the log
        traceback.print_exc()
    else:
        return 0
    return 1


def _translated(error: OSError) -> AgentError:
    return AgentError("no-space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "state", "%s: %s" % (type(error).__name__, error))


def _fail(folder: str, error: AgentError) -> None:
    with contextlib.suppress(FileNotFoundError):  # half an engine: on a full disk its room is needed to say so
        os.unlink(os.path.join(folder, engines.ENGINE))
    engines.write_json(os.path.join(folder, FAILURE), {"kind": error.kind, "message": error.message, "fix": error.fix})


def _log_tail(folder: str) -> list[str]:
    with open(os.path.join(folder, engines.LOG), "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
        return file.read().decode("utf-8", "replace").splitlines()


def _build(job: dict[str, Any], root: str, folder: str) -> dict[str, Any]:
    """Write the engine's files but the log; return its account."""
    started, key = time.monotonic(), job["key"]
    last = [started - STATE_PERIOD_S]

    def progress(stage: str, done: int, total: int) -> None:
        if time.monotonic() - last[0] >= STATE_PERIOD_S:
            last[0] = time.monotonic()
            with contextlib.suppress(OSError):  # TensorRT calls this, and no exception may pass through it
                engines.write_json(os.path.join(folder, STATE), {"stage": stage, "done": done, "total": total})

    onnx = _network(blob_path(root, key["onnx_sha256"]), key["tensorrt"], folder)
    if job["program"] is None:
        warnings, fallback = _in_python(job, onnx, folder, progress)
    else:
        words = command.words_for(command.options_of(job["program"]), onnx, folder, key, key["tensorrt"], job["workspace_bytes"])
        warnings, fallback = command.run(job["program"], words, folder, key["tensorrt"], progress, job["lock"])
    if not regular_bytes(os.path.join(folder, engines.ENGINE)):
        raise AgentError("runtime-failed", "the builder says that all went well, and wrote no engine")
    return {
        "seconds": time.monotonic() - started,
        "builder": "trtexec" if job["program"] else "tensorrt",
        "fallback": fallback,
        "warnings": [*job["warnings"], *warnings],
    }


def _network(onnx: str, version: str, folder: str) -> str:
    """Return the path of the file as this release of TensorRT reads it."""
    if weights.takes_int8(version):
        return onnx
    path = os.path.join(folder, NETWORK)
    with open(onnx, "rb") as source, open(path, "wb") as file:
        file.write(weights.with_float_weights(source.read()))
    return path


def _in_python(job: dict[str, Any], onnx: str, folder: str, progress: Progress) -> tuple[list[str], list[str]]:
    key = job["key"]
    trt = importlib.import_module("tensorrt")
    version = adapter.load(trt)
    progress("parse the network", 0, 1)
    network = adapter.open_network(trt, onnx, typing_of(version))
    if network.errors:
        raise adapter.refused(network.errors[0], version)
    timing = os.path.join(folder, engines.TIMING)
    known = b""
    if os.path.exists(timing):
        with open(timing, "rb") as file:
            known = file.read()
    plan, timed, fallback = adapter.build(network, key, job["workspace_bytes"], known, progress, {})
    with open(timing + ".new", "wb") as file:
        file.write(timed)
    os.replace(timing + ".new", timing)
    if plan is None:
        raise adapter.refused(adapter.explain(network.log.errors), version)
    with open(os.path.join(folder, engines.ENGINE), "wb") as file:
        file.write(plan)
    warnings = network.log.warnings
    del network, plan  # their memory, for the engine
    progress("look at the engine", 0, 1)
    with open(os.path.join(folder, engines.ENGINE), "rb") as file:
        layers = adapter.layer_information(trt, file.read())
    with open(os.path.join(folder, engines.LAYERS), "w", encoding="utf-8") as file:
        file.write(layers)
    return warnings, fallback
