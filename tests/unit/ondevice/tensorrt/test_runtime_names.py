"""The doubles of TensorRT's runtime and of CUDA have no name that the real packages lack, and take the same arguments.

TensorRT is asked in tensorrt-rtx, of the same API family; PyCUDA and cuda-bindings where they are installed, which needs no GPU.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

STANDIN = Path(__file__).resolve().parents[3] / "standin"
# What pybind11 writes of a function in its docstring: `name(self: ..., serialized_engine: ..., *, ...)`, once for each overload.
ASK = r"""
import json, re, sys, tensorrt_rtx as trt
told = {}
for name in ("Runtime", "ICudaEngine", "IExecutionContext", "EngineInspector", "IProfiler"):
    for method, found in vars(getattr(trt, name)).items():
        heads = re.findall(r"^(?:\d+\. )?%s\((.*)\) ->" % re.escape(method), found.__doc__ or "", re.MULTILINE)
        told[name + "." + method] = [re.findall(r"(\w+): ", head) for head in heads]
for name in ("TensorIOMode", "DataType", "LayerInformationFormat"):
    told[name] = sorted(getattr(trt, name).__members__)
told["profiler"] = isinstance(trt.IExecutionContext.profiler, property)
told["init_libnvinfer_plugins"] = hasattr(trt, "init_libnvinfer_plugins")
print(json.dumps(told))
"""


def arguments(path: Path) -> dict[str, list[str]]:
    """Return the arguments of each public function and method of a module."""
    found = {}
    for part in ast.parse(path.read_text(encoding="utf-8")).body:
        prefix, inside = (part.name + ".", part.body) if isinstance(part, ast.ClassDef) else ("", [part])
        for function in inside:
            if isinstance(function, ast.FunctionDef) and not function.name.startswith("_"):
                found[prefix + function.name] = [argument.arg for argument in function.args.args]
    return found


@pytest.mark.tensorrt
def test_the_runtime_of_tensorrt() -> None:
    python = os.environ.get("EDGEKIT_TENSORRT_RTX_PYTHON")
    if python is None:
        pytest.skip("set EDGEKIT_TENSORRT_RTX_PYTHON to an interpreter with tensorrt-rtx")
    told = json.loads(subprocess.run([python, "-c", ASK], stdout=subprocess.PIPE, check=True).stdout)
    double = arguments(STANDIN / "tensorrt" / "_run.py")
    classes = ("Runtime", "ICudaEngine", "IExecutionContext", "IProfiler")
    methods = {name: words for name, words in double.items() if name.partition(".")[0] in classes}
    assert sum(bool(told.get(name)) for name in methods) >= 10
    for name, words in methods.items():
        heads = told.get(name)
        assert heads is not None, "TensorRT has no " + name
        assert not heads or words in [head[: len(words)] for head in heads], (name, words, heads)
    assert {"INPUT", "OUTPUT"} <= set(told["TensorIOMode"])
    assert {"FLOAT", "HALF", "INT8", "UINT8", "INT32", "INT64", "BOOL"} <= set(told["DataType"])
    assert "JSON" in told["LayerInformationFormat"]
    assert told["profiler"]
    assert told["init_libnvinfer_plugins"]


def test_cuda_bindings() -> None:
    if importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.bindings") is None:
        pytest.skip("cuda-bindings is not installed")
    code = "import json, cuda.bindings.driver as d; print(json.dumps({n: (getattr(d, n).__doc__ or '').split('\\n')[0] for n in dir(d)}))"
    told = json.loads(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout)
    double = arguments(STANDIN / "cuda" / "bindings" / "driver.py")
    assert len(double) >= 15
    for name, words in double.items():
        head = re.fullmatch(re.escape(name) + r"\((.*)\)", told[name])
        assert head is not None
        assert [re.split(r"[:\s]", word.partition(":")[0].strip())[-1] for word in head.group(1).split(",") if word] == words
