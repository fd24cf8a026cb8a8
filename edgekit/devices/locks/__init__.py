"""Which inference runtime fits which board, and the wheels it is made of, each by version and digest.

Called by `edgekit.devices.provision`. A lock is a file ``<runtime>-<version>-<python>-<machine>.txt`` here, in pip's
requirement format with one digest per wheel; ``scripts/lock_device_runtimes.py`` writes them from `ROWS`.

Only what running a model imports is in a lock. ``ai_edge_litert.interpreter``, ``tflite_runtime.interpreter`` and
``onnxruntime`` need numpy and nothing else (found by importing them with a path of these two folders alone); the wheels'
metadata asks for more packages, which serve converters and tools.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgekit.device import Facts
from edgekit.errors import DeviceError, InputError
from edgekit.ondevice.wheels import folder_name

__all__ = ["FOLDER", "ROWS", "Lock", "Pin", "Row", "choose_runtime", "pip_platform", "read_lock"]

FOLDER = Path(__file__).parent

_LINE = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9a-z.]+) --hash=sha256:(?P<sha256>[0-9a-f]{64})")
# Names of the wheel tags (PEP 600) that the wheels in use carry; a wheel is picked by its digest anyway.
_MANYLINUX = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
_PACKAGES = {"litert": "ai-edge-litert", "onnxruntime": "onnxruntime", "tflite": "tflite-runtime"}
_KINDS = {"litert": "tflite", "onnxruntime": "onnxruntime", "tflite": "tflite"}
_SPELLED = {"onnxruntime": "ONNX Runtime", "tflite": "TFLite runtime"}


@dataclass(frozen=True)
class Row:
    """One runtime version on one machine type.

    Attributes
    ----------
    glibc_min
        The newest GLIBC symbol version that its shared objects ask for (read with ``readelf -V``), which is not what the
        wheels' tags say: ai-edge-litert 2.3.0 is tagged 2.27 and needs 2.34 on aarch64, tflite-runtime 2.14.0 the reverse.
    tags
        Pythons for which there is a wheel.
    numpy
        Version by Python tag; empty where there are no wheels of it and the board's own serves.
    """

    runtime: str
    version: str
    machine: str
    glibc_min: tuple[int, int]
    tags: tuple[str, ...]
    numpy: dict[str, str]

    @property
    def kind(self) -> str:
        """What the runtime runs, as targets name it."""
        return _KINDS[self.runtime]

    def lock_name(self, tag: str) -> str:
        """Name the lock for a Python, e.g. ``litert-2.3.0-cp311-aarch64``."""
        return f"{self.runtime}-{self.version}-{tag}-{self.machine}"

    def packages(self, tag: str) -> list[tuple[str, str]]:
        """Return names and versions of the wheels for a Python."""
        found = [(_PACKAGES[self.runtime], self.version)]
        return [*found, ("numpy", self.numpy[tag])] if self.numpy else found


# The last numpy for each Python that the runtime takes: tflite-runtime 2.14.0 was built against numpy 1 and fails with 2,
# though its metadata does not say so.
_NUMPY_2 = {"cp310": "2.2.6", "cp311": "2.4.6", "cp312": "2.4.6", "cp313": "2.4.6", "cp314": "2.4.6"}
_NUMPY_1 = {"cp38": "1.24.4", "cp39": "1.26.4", "cp310": "1.26.4", "cp311": "1.26.4"}

# The first row that fits is taken.
ROWS = (
    Row("litert", "2.3.0", "aarch64", (2, 34), tuple(_NUMPY_2), _NUMPY_2),
    Row("litert", "2.3.0", "x86_64", (2, 28), tuple(_NUMPY_2), _NUMPY_2),
    Row("litert", "2.1.0", "aarch64", (2, 30), ("cp310", "cp311", "cp312", "cp313"), _NUMPY_2),
    Row("tflite", "2.14.0", "aarch64", (2, 27), tuple(_NUMPY_1), _NUMPY_1),
    Row("tflite", "2.14.0", "x86_64", (2, 29), tuple(_NUMPY_1), _NUMPY_1),
    Row("tflite", "2.14.0", "armv7l", (2, 27), tuple(_NUMPY_1), {}),
    # The last versions for a Python, of the two machines alike.
    *(
        Row("onnxruntime", version, machine, glibc, tags, numpy)
        for machine in ("aarch64", "x86_64")
        for version, glibc, tags, numpy in (
            ("1.32.0", (2, 28), ("cp311", "cp312", "cp313", "cp314"), _NUMPY_2),
            ("1.23.2", (2, 27), ("cp310",), _NUMPY_2),
            ("1.19.2", (2, 27), ("cp38", "cp39"), _NUMPY_1),
        )
    ),
)


@dataclass(frozen=True)
class Pin:
    """One wheel: package, version and the digest of the only file that will do."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Lock:
    """The wheels of one runtime for one Python on one machine type."""

    name: str
    tag: str
    machine: str
    pins: tuple[Pin, ...]

    @property
    def path(self) -> Path:
        """The requirement file."""
        return FOLDER / f"{self.name}.txt"

    @property
    def folder(self) -> str:
        """What the runtime is called on a board: another wheel is another folder."""
        return folder_name(self.name, [pin.sha256 for pin in self.pins])

    def is_in(self, facts: Facts) -> bool:
        """Tell whether a board has the runtime, and it runs; the edgekit before this one named its folder by the lock alone."""
        return any(runtime.lock in (self.folder, self.name) and runtime.error is None for runtime in facts.runtimes)


def read_lock(row: Row, tag: str) -> Lock:
    """Read the lock of a row for a Python.

    Raises
    ------
    InputError
        The file is not in the installed package, or a line of it is not a pin.
    """
    name = row.lock_name(tag)
    path = FOLDER / f"{name}.txt"
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}", fix="install edgekit again") from error
    found = [_LINE.fullmatch(line) for line in lines]
    pins = tuple(Pin(match["name"], match["version"], match["sha256"]) for match in found if match)
    if not pins or len(pins) != len(lines):
        raise InputError(f"{path}: a line is not NAME==VERSION --hash=sha256:DIGEST", fix="install edgekit again")
    return Lock(name=name, tag=tag, machine=row.machine, pins=pins)


def choose_runtime(facts: Facts, kind: str, where: str = "the device") -> Lock:
    """Choose a runtime of a kind by the live board: its machine, its C library, its Python.

    Parameters
    ----------
    kind
        ``"tflite"`` or ``"onnxruntime"``.
    where
        The device's address, for messages.

    Raises
    ------
    DeviceError
        No runtime fits; the message says which of the three is in the way.
    """
    tag, name = facts.python_tag, _SPELLED[kind]
    of_kind = [row for row in ROWS if row.kind == kind]
    here = [row for row in of_kind if row.machine == facts.machine]
    if not here:
        machines = ", ".join(sorted({row.machine for row in of_kind}))
        raise DeviceError(f"{where}: there is no {name} for a {facts.machine}, only for {machines}")
    if facts.glibc is None:
        raise DeviceError(f"{where}: its C library is not glibc, which every {name} needs", fix="use a system like Debian or Ubuntu")
    glibc = tuple(int(part) for part in facts.glibc.split(".")[:2])
    with_python = [row for row in here if tag in row.tags]
    if not with_python:
        known = ", ".join(sorted({known for row in here for known in row.tags}, key=lambda word: int(word[3:])))
        raise DeviceError(
            f"{where}: there is no {name} for Python {facts.python} on {facts.machine}, only for {known}",
            fix="install one of these and name it: python = ... under [devices.NAME]",
        )
    for row in with_python:
        if glibc >= row.glibc_min:
            return _with_numpy(row, facts, where)
    needed = min(row.glibc_min for row in with_python)
    raise DeviceError(
        f"{where}: its glibc is {facts.glibc}; the {name} for Python {facts.python} on {facts.machine} needs {needed[0]}.{needed[1]}",
        fix="use a newer system image",
    )


def _with_numpy(row: Row, facts: Facts, where: str) -> Lock:
    if not row.numpy and (facts.numpy is None or not facts.numpy.startswith("1.")):
        has = "it has none" if facts.numpy is None else f"it has {facts.numpy}"
        raise DeviceError(
            f"{where}: the {_SPELLED[row.kind]} for {facts.machine} needs the system's numpy 1, and {has}",
            fix="on the board: sudo apt install python3-numpy",
        )
    return read_lock(row, facts.python_tag)


def pip_platform(tag: str, machine: str) -> list[str]:
    """Return the options by which pip looks for another machine's wheels."""
    options = ["--implementation", "cp", "--python-version", f"{tag[2]}.{tag[3:]}", "--abi", tag]
    return options + [word for level in _MANYLINUX for word in ("--platform", f"{level}_{machine}")]
