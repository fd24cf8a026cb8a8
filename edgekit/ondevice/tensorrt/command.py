"""Engines by way of NVIDIA's program ``trtexec``, for boards whose Python lacks TensorRT. Used by `work`.

What the program can do is read from its own ``--help``. Options and output are those of TensorRT's samples (trtexec.cpp,
sampleOptions.cpp, sampleReporting.cpp, from 8.5 on) and of "Migrating trtexec Usage from TensorRT 10.x to 11.x"; not proven on hardware.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any, Mapping

from ..wire import IMPORT_TIMEOUT_S, AgentError, Progress
from .adapter import FLAGS, died, explain, refused
from .engines import ENGINE, LAYERS, TIMING
from .key import typing_of

STAMP = re.compile(r"^\[[0-9/]+-[0-9:]+\] \[([FEWIV])\] ?(?:\[TRT\] )?(.*)$")  # logging.h
# What it says when a step begins, and how we call the step.
STAGES = (("Start parsing network model", "parse the network"), ("Finish", "build the engine"), ("Engine built in", "save the engine"))
LEFT_DLA = re.compile(r"[Ll]ayer '?(.+?)'? (?:\(\w+\): Unsupported on DLA|is not (?:supported|running) on DLA)")
KEPT_LINES = 200


def options_of(program: str) -> frozenset[str]:
    """Return the options that the program lists."""
    try:
        done = subprocess.run([program, "--help"], stdin=subprocess.DEVNULL, capture_output=True, timeout=IMPORT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AgentError("runtime-failed", "%s does not run: %s" % (program, error)) from error
    return frozenset(re.findall(r"--[A-Za-z0-9]+", done.stdout.decode("utf-8", "replace")))


def words_for(
    options: frozenset[str], onnx: str, folder: str, recipe: Mapping[str, Any], version: str, workspace_bytes: int | None
) -> list[str]:
    """Return the arguments that build an engine into ``folder``."""
    words = [
        "--onnx=" + onnx,
        "--saveEngine=" + os.path.join(folder, ENGINE),
        "--timingCacheFile=" + os.path.join(folder, TIMING),
        "--exportLayerInfo=" + os.path.join(folder, LAYERS),
        "--profilingVerbosity=detailed",
        "--skipInference" if "--skipInference" in options else "--buildOnly",  # renamed in 8.6; 10 knows only the new name
    ]
    if workspace_bytes is not None:
        words.append("--memPoolSize=workspace:%d" % max(1, workspace_bytes >> 20))  # in MiB
    if recipe["dla_core"] is not None:
        if "--useDLACore" not in options:
            raise AgentError("input", "DLA core %d is asked for; trtexec of TensorRT %s knows no DLA" % (recipe["dla_core"], version))
        words += ["--useDLACore=%d" % recipe["dla_core"], "--allowGPUFallback"]
    if typing_of(version) == "strong":
        return words
    words += ["--" + flag.lower() for flag in FLAGS[recipe["precision"]]]
    nodes = recipe["float32_nodes"] if "FP16" in FLAGS[recipe["precision"]] else ()
    odd = [name for name in nodes if re.search(r"[,:*]", name)]
    if odd:
        raise AgentError("input", "trtexec cannot name node %r, which must stay float32" % odd[0], "install TensorRT's Python package")
    if nodes:
        held = ",".join("%s:fp32" % name for name in nodes)
        words += ["--precisionConstraints=obey", "--layerPrecisions=" + held, "--layerOutputTypes=" + held]
    return words


def run(program: str, words: list[str], folder: str, version: str, progress: Progress, lock: int) -> tuple[list[str], list[str]]:
    """Run the program; return its warnings and the layers that a DLA left to the GPU. Descriptor ``lock`` stays open in it.

    Its output goes to stderr, line by line.
    """
    errors: list[str] = []
    warnings: list[str] = []
    fallback: list[str] = []
    try:
        process = subprocess.Popen(
            [program, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=(lock,)
        )
    except OSError as error:
        raise AgentError("runtime-failed", "%s does not run: %s" % (program, error)) from error
    with process:
        for line in process.stdout or ():
            text = line.decode("utf-8", "replace").rstrip()
            sys.stderr.write(text + "\n")
            stamped = STAMP.match(text)
            level, said = stamped.groups() if stamped else (None, text)
            for mark, stage in STAGES:
                if said.startswith(mark):
                    progress(stage, 0, 1)
            if level in ("E", "F") or (level is None and errors):  # what the parser says of a node takes several lines
                _keep(errors, said)
            elif level == "W":
                _keep(warnings, said)
            left = LEFT_DLA.search(said)
            if left:
                _keep(fallback, left.group(1))
    if process.returncode < 0:
        raise died(-process.returncode, errors)
    # From 10 an engine that cannot be opened is no failure to it: only its layers are missing then.
    if process.returncode or not os.path.isfile(os.path.join(folder, LAYERS)):
        raise refused(explain(line for line in errors if not line.startswith("&&&& ")), version)
    return warnings, fallback


def _keep(lines: list[str], line: str) -> None:
    if line not in lines:
        lines.append(line)
        del lines[:-KEPT_LINES]
