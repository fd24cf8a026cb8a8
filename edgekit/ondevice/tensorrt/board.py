"""What of a board's facts an engine depends on. Used by the builder and the runner there, and by the host, which looks engines up."""

from __future__ import annotations

from typing import Any

from ..wire import AgentError

__all__ = ["board_of"]

# JetPack's packages (JetPack documentation, "How to Install JetPack"); with them come trtexec and the Python package.
_INSTALL = "on the board: sudo apt install tensorrt python3-libnvinfer; on a desktop, NVIDIA's TensorRT packages of the same names"
_NO_GPU = "see on the board: nvidia-smi; on a Jetson the user must be in the group video: sudo usermod -aG video $USER"


def board_of(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the `key.BOARD_FIELDS` of a board by its ``facts``.

    The Python package's version comes before trtexec's, which may leave out the build number.

    Raises `AgentError`: no GPU, no TensorRT, or none that runs; all that is missing is named.
    """
    gpu, jetson = facts["gpu"], facts["jetson"] or {"l4t": None}
    found = sorted((entry for entry in facts["runtimes"] if entry["kind"] == "tensorrt"), key=lambda entry: entry["name"] == "trtexec")
    running = [entry for entry in found if entry["error"] is None]
    missing = []
    if gpu is None:
        missing.append(("there is no NVIDIA GPU for TensorRT: %s" % (facts["gpu_error"] or "no driver with a GPU answers there"), _NO_GPU))
    if not found:
        missing.append(("there is no TensorRT: neither its Python package nor trtexec", _INSTALL))
    elif not running:
        missing.append(("TensorRT does not run there: %s" % "; ".join("%(name)s: %(error)s" % entry for entry in found), _INSTALL))
    if missing:
        texts, fixes = zip(*missing)
        kind = "runtime-missing" if gpu is None or not found else "runtime-failed"
        raise AgentError(kind, ", and ".join(texts), "; ".join(fixes))
    return {
        "tensorrt": running[0]["version"],
        "compute_capability": gpu["compute_capability"],
        "board": facts["board"] or gpu["name"],
        "l4t": jetson["l4t"],
        "cuda": gpu["cuda"],
    }
