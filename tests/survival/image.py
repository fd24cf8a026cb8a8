"""Kernel and disk of a small whole machine: Debian's kernel and userland, busybox as init, sshd, Python, an ext4 root.

Made once per kind, as the arm64 userland of ``tests/integration/arm64.py`` is, and kept in the cache. Called by `tests.survival.machine`.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.integration.arm64 import mirror

__all__ = ["KINDS", "Image", "make_image", "missing"]

# Read before the tests move the home away.
_CACHE = Path(os.environ.get("EDGEKIT_VM_IMAGES") or Path.home() / ".cache" / "edgekit-tests" / "vm")
_SUITE = "bookworm"
_PACKAGES = ("base-files", "busybox-static", "coreutils", "dash", "libc-bin", "libgcc-s1", "libstdc++6", "openssh-server", "python3")
_DISK_BYTES = 1 << 30
# In the order in which they need each other (Debian's cloud kernels have ext4 built in, virtio as modules).
_MODULES = (
    *("virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_mmio", "virtio_blk"),
    *("failover", "net_failover", "virtio_net", "virtio-rng"),
)
KINDS = {"arm64": ("arm64", "linux-image-cloud-arm64"), "uml": ("amd64", "user-mode-linux")}
"""A whole emulated arm64 machine, and User-mode Linux: a kernel that is a process of this machine, at nearly its speed."""

_INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /$module.ko; done
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 200 ]; do /bin/busybox usleep 20000; tries=$((tries + 1)); done
/bin/busybox mount -t ext4 -o rw,noatime /dev/vda /disk
/bin/busybox mount --move /dev /disk/dev
exec /bin/busybox switch_root /disk /sbin/init
"""
_RC = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /dev/pts /dev/shm /run/sshd
mount -t devpts devpts /dev/pts
read words </proc/cmdline
for word in $words; do
    case $word in
    edgekit.net=*) device=${word#*=} address=${device#*,} device=${device%,*} ;;
    esac
done
ip link set lo up
ip addr add $address dev $device
ip link set $device up
case $words in *edgekit.boot*) export HOME=/root; if [ -e "$HOME/.edgekit/boot" ]; then sh "$HOME/.edgekit/boot"; fi ;; esac
"""
_FILES = {
    "etc/inittab": "::sysinit:/etc/edgekit-rc\n::respawn:/usr/sbin/sshd -D -e -f /etc/ssh/edgekit\n",
    "etc/edgekit-rc": _RC,
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nsshd:x:105:65534::/run/sshd:/bin/false\nnobody:x:65534:65534::/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/hostname": "edgekit-vm\n",
    "etc/ssh/edgekit": "HostKey /etc/ssh/edgekit_key\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nUseDNS no\n"
    "StrictModes no\nMaxStartups 100\nSubsystem sftp internal-sftp\nPidFile none\n",
}


@dataclass(frozen=True)
class Image:
    """What `make_image` has made: ``key`` lets root in, ``host_key`` is the server's public one."""

    folder: Path
    kind: str

    @property
    def kernel(self) -> Path:
        return self.folder / "kernel"

    @property
    def initramfs(self) -> Path:
        return self.folder / "initramfs"

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    @property
    def key(self) -> Path:
        return self.folder / "id_ed25519"

    @property
    def host_key(self) -> str:
        return (self.folder / "host.pub").read_text()


def missing() -> str | None:
    """Return what this machine lacks to make an image, None when it has all."""
    for tool, package in (("mmdebstrap", "mmdebstrap"), ("mke2fs", "e2fsprogs"), ("cpio", "cpio"), ("ssh-keygen", "openssh-client")):
        if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            return f"no {tool} here: sudo apt install {package}"
    return None


def make_image(kind: str) -> Image:
    """Return the image of a kind, made now unless it is there: about half a minute, 150 MB.

    Raises
    ------
    RuntimeError
        The packages cannot be fetched or unpacked.
    """
    image = Image(_CACHE / kind, kind)
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = image.folder / "stamp"
        if not stamp.is_file() or stamp.read_text() != _stamp(kind):
            shutil.rmtree(image.folder, ignore_errors=True)
            image.folder.mkdir()
            _make(image)
            stamp.write_text(_stamp(kind))
    return image


def _stamp(kind: str) -> str:
    return repr((_SUITE, KINDS[kind], _PACKAGES, _MODULES, _INIT, _FILES))


def _make(image: Image) -> None:
    root, archive = image.folder / "root", image.folder / "root.tar"
    root.mkdir()
    arch, kernel = KINDS[image.kind]
    words = ["mmdebstrap", "--quiet", f"--arch={arch}", "--variant=extract", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"]
    words += ["--aptopt=APT::Install-Recommends 0", "--aptopt=Acquire::Languages none", "--aptopt=Acquire::Retries 3"]
    words += [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "info", "locale", "man")]
    words += [f"--include={','.join((*_PACKAGES, kernel))}", _SUITE, str(archive), *mirror()]
    _run(words)
    _run(["tar", "--extract", "--no-same-owner", "--exclude=./dev/*", "--file", str(archive), "--directory", str(root)])
    archive.unlink()
    if image.kind == "uml":
        shutil.move(root / "usr" / "bin" / "linux.uml", image.kernel)
        shutil.rmtree(root / "usr" / "lib" / "uml")
    else:
        (packed,) = (root / "boot").glob("vmlinuz-*")
        shutil.copyfile(packed, image.kernel)
        _make_initramfs(image, root)
        shutil.rmtree(root / "usr" / "lib" / "modules")
    _furnish(image, root)
    with image.disk.open("wb") as disk:
        disk.truncate(_DISK_BYTES)
    _run(["/sbin/mke2fs", "-q", "-t", "ext4", "-d", str(root), str(image.disk)])
    shutil.rmtree(root)


def _make_initramfs(image: Image, root: Path) -> None:
    inside = image.folder / "initramfs.d"
    for folder in ("bin", "dev", "disk"):
        (inside / folder).mkdir(parents=True)
    shutil.copy(root / "bin" / "busybox", inside / "bin" / "busybox")
    (inside / "bin" / "sh").symlink_to("busybox")
    for module in _MODULES:
        (found,) = (root / "usr" / "lib" / "modules").rglob(f"{module}.ko")
        shutil.copy(found, inside / found.name)
    init = inside / "init"
    init.write_text(_INIT.format(modules=" ".join(_MODULES)))
    init.chmod(0o755)
    names = "\n".join(str(path.relative_to(inside)) for path in sorted(inside.rglob("*")))
    packed = subprocess.run(
        ["cpio", "--create", "--format=newc", "--quiet"], input=names.encode(), cwd=inside, stdout=subprocess.PIPE, check=True
    )
    image.initramfs.write_bytes(gzip.compress(packed.stdout, 1))
    shutil.rmtree(inside)


def _furnish(image: Image, root: Path) -> None:
    """Make a userland whose packages' scripts have not run a machine that lets root in by key."""
    shutil.rmtree(root / "boot", ignore_errors=True)
    for name in ("proc", "sys", "dev", "run", "tmp", "root"):
        (root / name).mkdir(exist_ok=True)
    for name, text in _FILES.items():
        (root / name).write_text(text)
    (root / "etc" / "edgekit-rc").chmod(0o755)
    for name in ("init", "ip"):
        link = root / "usr" / "sbin" / name
        link.unlink(missing_ok=True)
        link.symlink_to("/bin/busybox")
    for name in ("mount", "grep"):
        if not (root / "usr" / "bin" / name).exists():
            (root / "usr" / "bin" / name).symlink_to("/bin/busybox")
    for path in (image.key, root / "etc" / "ssh" / "edgekit_key"):
        _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)])
    shutil.copy(root / "etc" / "ssh" / "edgekit_key.pub", image.folder / "host.pub")
    (root / "root" / ".ssh").mkdir(mode=0o700)
    shutil.copy(f"{image.key}.pub", root / "root" / ".ssh" / "authorized_keys")


def _run(words: list[str]) -> None:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=600)
    if done.returncode:
        raise RuntimeError(f"{words[0]} failed with {done.returncode}:\n{done.stderr.strip()[-2000:]}")
