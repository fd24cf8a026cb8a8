"""Kernel and disk of a small whole machine: the product's own for arm64, and one for User-mode Linux that is furnished alike.

Made once per kind and kept in the tests' cache. Called by `tests.survival.machine`.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from edgekit.devices.virtual import image as virtual
from edgekit.devices.virtual.userland import SUITE, made, unpack
from edgekit.pipeline import silent
from tests.integration.virtual import CACHE

__all__ = ["Image", "make_image", "missing"]

_PACKAGES = (*virtual.PACKAGES, "user-mode-linux")


@dataclass(frozen=True)
class Image(virtual.Image):
    """A machine's image, and what kind of machine runs it: ``arm64``, emulated whole, or ``uml``.

    User-mode Linux is a kernel that is a process of this machine, at nearly its speed.
    """

    kind: str


def missing() -> str | None:
    """Return what this machine lacks to make an image, None when it has all."""
    for tool, package in (("mmdebstrap", "mmdebstrap"), ("mke2fs", "e2fsprogs"), ("cpio", "cpio"), ("ssh-keygen", "openssh-client")):
        if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            return f"no {tool} here: sudo apt install {package}"
    return None


def make_image(kind: str) -> Image:
    """Return the image of a kind, made now unless it is there: about half a minute, 150 MB."""
    with mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(CACHE)}):
        return Image(virtual.make_image(silent).folder, kind) if kind == "arm64" else _make_uml()


def _make_uml() -> Image:
    def make(fresh: Path) -> None:
        image, root = Image(fresh, "uml"), fresh / "root"
        root.mkdir()
        unpack("amd64", _PACKAGES, root, silent)
        shutil.move(root / "usr" / "bin" / "linux.uml", image.kernel)
        shutil.rmtree(root / "usr" / "lib" / "uml")
        virtual.furnish_machine(image, root)
        virtual.pack_disk(image, root)

    return Image(made("uml", repr((SUITE, _PACKAGES, virtual.FILES)), make), "uml")
