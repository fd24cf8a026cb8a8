"""The living board: its address, what it is called here, and the facts it tells about itself.

Used by every floor above. ``Facts`` is the answer of the agent's ``facts`` job, field for field.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from edgekit.errors import InputError

__all__ = ["Address", "Device", "Facts", "GpuFact", "JetsonFact", "RuntimeFact", "SensorFact"]

# Letters, digits and what IPv4, IPv6 (with a zone), DNS names and ssh_config aliases hold besides.
_HOST = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:%\-]*")
# A leading "-" would turn the name into an option of the ssh command that error messages show.
# What a shell would act on is refused, as OpenSSH refuses it (ssh.c, valid_ruser): a ProxyCommand may hold the name as %r.
_USER = re.compile(r"""[^-\s:'"`$\\;&<>|(){}][^\s:'"`$\\;&<>|(){}]*""")
_PORT_MAX = 65535


class Address(msgspec.Struct, frozen=True):
    """Where a board is: ``local``, or an SSH destination.

    Attributes
    ----------
    host
        A name, an IP address without brackets, or an alias of the user's ssh_config.
    user, port
        None leaves the choice to ssh_config, then to the login name and 22.
    """

    host: str
    user: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``local``, ``host``, ``user@host``, ``user@host:2222``, ``[::1]:22`` or a bare IPv6 address.

        Raises
        ------
        InputError
            The text is none of these.
        """

        def refuse(why: str) -> InputError:
            return InputError(f"{text!r} is not a device address: {why}", fix="write it as user@host, user@host:port, [ipv6]:port or local")

        user, at, rest = text.rpartition("@")
        if at and not (_USER.fullmatch(user) and user.isprintable()):
            raise refuse("the user name is empty or has characters that no user name has")
        host, port = rest, ""
        if rest.startswith("["):
            host, closed, port = rest[1:].partition("]")
            if not closed or ":" not in host or (port and not port.startswith(":")):
                raise refuse("the brackets must hold an IPv6 address, then an optional :port")
        elif rest.count(":") == 1:
            host, _, port = rest.partition(":")
            port = f":{port}"
        if not _HOST.fullmatch(host):
            raise refuse("the host is empty or has characters that no host name has")
        if not port:
            return cls(host=host, user=user if at else None)
        if not re.fullmatch(r":[0-9]{1,5}", port) or not 1 <= int(port[1:]) <= _PORT_MAX:
            raise refuse(f"the port must be a number from 1 to {_PORT_MAX}")
        return cls(host=host, user=user if at else None, port=int(port[1:]))

    @property
    def is_local(self) -> bool:
        """Whether this is the machine edgekit itself runs on, reached without SSH."""
        return self.host == "local" and self.user is None and self.port is None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and self.port is not None else self.host
        return f"{f'{self.user}@' if self.user else ''}{host}{f':{self.port}' if self.port is not None else ''}"


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One living board as the host knows it.

    Attributes
    ----------
    name
        What the project calls it; the address when the project does not name it.
    target
        The kind of board it is said to be.
    python
        Its interpreter; None looks for ``python3`` (on ``local``: the interpreter edgekit runs in).
    root
        edgekit's folder there: absolute, or starting with ``~/``.
    site
        Where it stands: from there it is reached by the workers of that site.
    ssh_config
        The file that says how to reach it, where that is not the user's own: a virtual board has one.
    """

    name: str
    address: Address
    target: str | None = None
    python: str | None = None
    root: str = "~/.edgekit"
    site: str | None = None
    ssh_config: str | None = None

    def __post_init__(self) -> None:
        parts = self.root.split("/")
        inside = self.root.startswith("/") or (self.root.startswith("~/") and len(self.root) > len("~/"))
        if not inside or ".." in parts or any(ord(letter) < ord(" ") for letter in self.root) or not self.root.strip("/"):
            raise InputError(f"device {self.name!r}: root {self.root!r} must be an absolute folder or start with ~/, without '..'")


_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Text = Annotated[str, msgspec.Meta(max_length=4096)]
_Bytes = Annotated[int, msgspec.Meta(ge=0, le=1 << 56)]


class RuntimeFact(msgspec.Struct, frozen=True, kw_only=True):
    """An inference runtime on the board.

    Attributes
    ----------
    kind
        What it runs, as targets name it: ``tflite``, ``onnxruntime``, ``tensorrt``.
    name
        Of the package, or of a program: ``trtexec`` builds engines and times them, and gives no answers.
    lock
        The set of wheels it came from; None when it is the system's.
    error
        Why it does not run.
    """

    kind: _Word
    name: _Word
    version: _Text
    lock: _Word | None = None
    error: _Text | None = None


class SensorFact(msgspec.Struct, frozen=True, kw_only=True):
    """One reading: a temperature, a clock, a rail."""

    name: _Word
    kind: _Word
    value: float
    unit: _Text


class GpuFact(msgspec.Struct, frozen=True, kw_only=True):
    """An NVIDIA GPU, as its driver describes it.

    Attributes
    ----------
    compute_capability
        The architecture, as in ``8.7``.
    cuda
        The newest CUDA that the driver knows, as in ``12.6``.
    """

    name: _Word
    compute_capability: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+\.[0-9]+\Z", max_length=16)]
    cuda: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+\.[0-9]+\Z", max_length=16)] | None
    memory_total_bytes: _Bytes


class JetsonFact(msgspec.Struct, frozen=True, kw_only=True):
    """A Jetson's module and system.

    Attributes
    ----------
    l4t, jetpack
        Releases of Jetson Linux and of JetPack, as in ``36.4.0`` and ``6.1``; None where they cannot be told.
    module
        Part number of the module, as in ``p3767-0003``.
    power_mode
        Name of the mode that nvpmodel holds it in.
    """

    l4t: _Word | None
    jetpack: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,4}(\.[0-9]{1,4}){0,3}\Z")] | None
    module: _Word | None
    power_mode: _Word | None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a board says about itself; fields of newer agents are ignored.

    Attributes
    ----------
    machine
        As the kernel names it: ``aarch64``, ``armv7l``, ``x86_64``.
    glibc
        Version of the C library, e.g. ``2.36``; None when it is another one.
    board
        Model line of the device tree; None where there is none.
    simulated
        The board is emulated: figures from it say nothing about a real one.
    gpu
        The first NVIDIA GPU, or None.
    gpu_error
        Why an NVIDIA driver that is there shows none.
    jetson
        None on any other board.
    """

    machine: _Word
    system: _Text
    kernel: _Text
    glibc: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+\.[0-9]+\Z", max_length=32)] | None
    python: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+\.[0-9]+[0-9A-Za-z.+~-]*\Z", max_length=64)]
    python_path: _Text
    board: _Text | None
    cpu: _Text
    cpu_features: Annotated[tuple[_Word, ...], msgspec.Meta(max_length=1024)]
    cores: Annotated[int, msgspec.Meta(ge=1, le=65536)]
    memory_total_bytes: _Bytes
    memory_available_bytes: _Bytes
    disk_free_bytes: _Bytes
    runtimes: Annotated[tuple[RuntimeFact, ...], msgspec.Meta(max_length=64)]
    numpy: _Text | None
    sensors: Annotated[tuple[SensorFact, ...], msgspec.Meta(max_length=1024)]
    simulated: bool
    gpu: GpuFact | None = None
    gpu_error: _Text | None = None
    jetson: JetsonFact | None = None

    @property
    def lasting(self) -> Facts:
        """The facts without what changes from one moment to the next: free memory, free disk, sensors' readings."""
        return msgspec.structs.replace(self, memory_available_bytes=0, disk_free_bytes=0, sensors=())

    @property
    def python_tag(self) -> str:
        """The interpreter as wheels name it, e.g. ``cp311`` (PEP 425)."""
        major, minor = self.python.split(".")[:2]
        return f"cp{int(major)}{int(re.match(r'[0-9]+', minor)[0])}"  # type: ignore[index]  # the field's pattern has a digit there
