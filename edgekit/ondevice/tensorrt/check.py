"""Whether TensorRT takes a network, asked on the host and without a GPU: job `engine.check`.

TensorRT for RTX parses and compiles ahead of time, for a GPU that it is told of. Asked in a process of its own: a bad network may abort it.
"""

from __future__ import annotations

import importlib
import os
import time
from typing import Any

from ..wire import AgentError, Progress
from . import adapter

MODULES = ("tensorrt_rtx", "tensorrt")
TYPINGS = ("weak", "strong")
# What it compiles for, where it can be told: RTX 30, which has Orin's generation of tensor cores (CUDA C++ Programming Guide: 8.6, 8.7).
TARGET = "SM86"


def check(job: dict[str, Any], _root: str, progress: Progress) -> dict[str, Any]:
    """Parse and compile the file ``onnx`` with ``module``; say what was wrong, by node, and nothing when it was taken."""
    onnx, module, typing = job.get("onnx"), job.get("module"), job.get("typing")
    if not isinstance(onnx, str) or not os.path.isabs(onnx) or module not in MODULES or typing not in TYPINGS:
        message = "engine.check takes onnx, an absolute path, module (%s) and typing (%s)" % (" or ".join(MODULES), " or ".join(TYPINGS))
        raise AgentError("usage", message)
    if not os.path.isfile(onnx):
        raise AgentError("input", "%s is not a file" % onnx)
    try:
        trt = importlib.import_module(module)
    except ImportError as error:
        raise AgentError("runtime-missing", "%s cannot be imported: %s" % (module, error)) from error
    version, started = adapter.load(trt), time.monotonic()
    progress("parse the network", 0, 2)
    network = adapter.open_network(trt, onnx, typing)
    errors = network.errors
    if not errors:
        progress("compile the network", 1, 2)
        config = network.builder.create_builder_config()
        if hasattr(config, "set_compute_capability"):
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(trt.ComputeCapability, TARGET), 0)
        adapter.use_profiles(network, config, {})
        if network.builder.build_serialized_network(network.definition, config) is None:
            errors = [adapter.explain(network.log.errors)]
    return {"version": version, "seconds": time.monotonic() - started, "errors": errors, "warnings": network.log.warnings}
