"""TensorRT among the runtimes: the Python package and trtexec, by what they say of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.ondevice import runtimes

# Of public logs: NVIDIA/TensorRT threads 2350, 4036 (10.2) and OE4T/meta-tegra thread 2243 (10.16 of Jetson Linux 39.2); v8502 and
# v110401 follow the rule that these show.
BANNERS = [
    ("[TensorRT v8001]", "8.0.1"),
    ("[TensorRT v8502]", "8.5.2"),
    ("[TensorRT v100200]", "10.2.0"),
    ("[TensorRT v100300] [b17]", "10.3.0.17"),
    ("[TensorRT v101602] [b10]", "10.16.2.10"),
    ("[TensorRT v110401]", "11.4.1"),
    ("[TensorRT v11.1.0.106] [b48]", "11.1.0.106"),
]


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = folder / "trtexec"
    path.write_text("#!/bin/sh\n" + text + "\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize(("banner", "version"), BANNERS)
def test_the_version_of_trtexec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, banner: str, version: str) -> None:
    program(tmp_path, monkeypatch, "echo '&&&& RUNNING TensorRT.trtexec " + banner + " # trtexec --help'; echo '=== Model Options ==='")
    assert runtimes.programs() == [{"kind": "tensorrt", "name": "trtexec", "version": version, "lock": None, "error": None}]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("echo 'error while loading shared libraries: libnvinfer.so.10' >&2; exit 127", "libnvinfer.so.10"),
        ("kill -SEGV $$", "killed by signal 11"),
        ("echo usage", "does not say which TensorRT it is of: 'usage"),
    ],
)
def test_a_broken_trtexec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, error: str) -> None:
    program(tmp_path, monkeypatch, text)
    (found,) = runtimes.programs()
    assert found["version"] == "unknown"
    assert error in found["error"]


def test_a_trtexec_of_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, monkeypatch, "")
    (tmp_path / "trtexec").write_bytes(b"\x7fELF of nobody")
    (found,) = runtimes.programs()
    assert "Exec format error" in found["error"]


def test_trtexec_beside_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, monkeypatch, "")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(runtimes, "TRTEXEC", str(tmp_path / "trtexec"))
    assert runtimes.trtexec() == str(tmp_path / "trtexec")
    monkeypatch.setattr(runtimes, "TRTEXEC", str(tmp_path / "missing"))
    assert runtimes.trtexec() is None
    assert runtimes.programs() == []


@pytest.mark.parametrize(
    ("code", "version", "error"),
    [
        ("print('[TRT] chatter'); __version__ = '8.5.2.2'", "8.5.2.2", None),
        ("", "unknown", None),
        ("raise ImportError('libnvinfer.so.8: cannot open shared object file')", "unknown", "libnvinfer.so.8: cannot open"),
        ("import os; os.abort()", "unknown", "killed by signal 6"),
    ],
)
def test_the_python_package(tmp_path: Path, code: str, version: str, error: str | None) -> None:
    (tmp_path / "tensorrt.py").write_text(code)
    (found,) = runtimes.runtimes_in(str(tmp_path))
    assert (found["kind"], found["name"], found["version"]) == ("tensorrt", "tensorrt", version)
    assert (error or "") in (found["error"] or "")
    assert (error is None) == (found["error"] is None)
