"""Small deployed models for the client and the service, on a stand-in for LiteRT that any Python runs."""

from __future__ import annotations

import io
import json
import os
import subprocess
import zipfile
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any, Iterator

from .conftest import Agent

# Answers, int8, with the pixels' mean and the byte that follows the file's identifier; scale 0.5, zero point -1.
INTERPRETER = """
import numpy as np


class OpResolverType:
    AUTO, BUILTIN_WITHOUT_DEFAULT_DELEGATES = 0, 1


class Interpreter:
    def __init__(self, model_path, num_threads, experimental_op_resolver_type):
        with open(model_path, "rb") as file:
            self.number = file.read()[8]
        if self.number == 255:
            raise ValueError("this model does not open")

    def allocate_tensors(self):
        pass

    def _details(self, name, shape, scales, points):
        quantization = {"scales": np.array(scales), "zero_points": np.array(points)}
        return [{"name": name, "index": 0, "dtype": np.int8, "shape": np.array(shape), "quantization_parameters": quantization}]

    def get_input_details(self):
        return self._details("image", [1, 2, 2, 3], [1.0], [-128])

    def get_output_details(self):
        return self._details("scores", [1, 2], [0.5], [-1])

    def set_tensor(self, index, value):
        self.mean = int(value.astype(int).mean()) + 128

    def invoke(self):
        self.output = np.array([[self.mean, self.number]], np.int8)

    def get_tensor(self, index):
        return self.output.copy()
"""
RUNTIME = {
    "ai_edge_litert/__init__.py": "",
    "ai_edge_litert/interpreter.py": INTERPRETER,
    "ai_edge_litert-2.3.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: ai-edge-litert\nVersion: 2.3.0\n",
}
GOLDEN = {"samples": "a.npz", "outputs": "b.npz", "builtin_outputs": "c.npz", "tolerance": 2}


def install(agent: Agent, lock: str = "litert-2.3.0", members: dict[str, str] = RUNTIME) -> str:
    """Give the board its runtime; return its folder's name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in members.items():
            archive.writestr(path, text)
    digest = agent.push(buffer.getvalue())
    wheel = {"name": "a-1-py3-none-any.whl", "sha256": digest, "bytes": len(buffer.getvalue())}
    name: str = agent.ask("runtime.install", lock=lock, wheels=[wheel])["lock"]
    return name


def deploy(agent: Agent, number: int, app: str = "meter", current: bool = True) -> str:
    """Stage a release whose answers tell its number, and make it current."""
    files = {"model.tflite": b"\0\0\0\0TFL3" + bytes([number]), "a.npz": b"", "b.npz": b"", "c.npz": b""}
    release = agent.deploy(app, files, artifact="model.tflite", preprocess={"layout": "nhwc"}, golden=GOLDEN, threads=1)
    if current:
        agent.make_current(app, release)
    return release


@contextmanager
def serving(agent: Agent, app: str = "meter") -> Iterator[int]:
    """Run the service and yield its port."""
    job = {"schema": "edgekit.job/1", "job": "serve", "root": str(agent.root), "app": app, "port": 0}
    process = subprocess.Popen(agent.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(job).encode() + b"\n")
    process.stdin.flush()
    try:
        said = json.loads(process.stdout.readline())
        assert said["stage"] == "serve", said
        yield said["done"]
    finally:
        process.terminate()
        process.stdin.close()
        process.stdout.close()
        assert process.wait(30) == 128 + 15


def ask(port: int, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> tuple[int, Any]:
    """Ask once over a connection of its own."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": kind} if body is not None else {})
        answer = connection.getresponse()
        data = answer.read()
        return answer.status, json.loads(data) if answer.headers.get_content_type() == "application/json" else data.decode()
    finally:
        connection.close()


def environment(agent: Agent) -> dict[str, str]:
    """Return what a program of the user's sees: no edgekit but the board's."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "PYTHONPATH": agent.command[1]}


def python(agent: Agent, code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the user's on the board."""
    command = [agent.command[0], "-W", "error", "-c", code, *words]
    return subprocess.run(command, env=environment(agent), cwd="/", capture_output=True, text=True, timeout=60)
