"""Kernel and disk of a small whole machine: Debian's kernel and userland, busybox as init, an SSH server, Python, an ext4 root.

Made once and kept in the cache; `edgekit.devices.virtual.machine` runs it.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgekit.devices import Progress
from edgekit.devices.virtual.process import run
from edgekit.devices.virtual.userland import SUITE, made, unpack
from edgekit.errors import DeviceError

__all__ = ["FILES", "PACKAGES", "Image", "furnish_machine", "make_image", "pack_disk"]

PACKAGES = ("base-files", "busybox-static", "coreutils", "dash", "libc-bin", "libgcc-s1", "libstdc++6", "openssh-server", "python3")
_KERNEL = "linux-image-cloud-arm64"
_DISK_BYTES = 1 << 30
# In the order in which they need each other (Debian's cloud kernels have ext4 built in, virtio as modules).
_MODULES = (
    *("virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_mmio", "virtio_blk"),
    *("failover", "net_failover", "virtio_net", "virtio-rng"),
)
_INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /$module.ko; done
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 200 ]; do /bin/busybox usleep 20000; tries=$((tries + 1)); done
/bin/busybox mount -t ext4 -o rw,noatime /dev/vda /disk
/bin/busybox mount --move /dev /disk/dev
exec /bin/busybox switch_root /disk /sbin/init
"""
# The words of the kernel's command line: what the network is, what the device tree should call the machine, whether what edgekit leaves for
# a board's start runs.
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
    edgekit.model=*)
        echo "${word#*=}" | tr '_\\n' ' \\0' >/run/model
        mount --bind /run/model /sys/firmware/devicetree/base/model
        ;;
    esac
done
ip link set lo up
ip addr add $address dev $device
ip link set $device up
case $words in *edgekit.boot*) export HOME=/root; if [ -e "$HOME/.edgekit/boot" ]; then sh "$HOME/.edgekit/boot"; fi ;; esac
"""
FILES = {
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
    """What `make_image` has made: ``key`` lets root in, ``host_key`` is the server's, whose public half lies beside it."""

    folder: Path

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
        return self.folder / "key"

    @property
    def host_key(self) -> Path:
        return self.folder / "host_key"


def make_image(progress: Progress) -> Image:
    """Return the image of an arm64 machine, made now unless it is there: about half a minute, 150 MB.

    Raises
    ------
    DeviceError
        The packages cannot be fetched or unpacked, or a program for it is missing.
    """

    def make(fresh: Path) -> None:
        image, root = Image(fresh), fresh / "root"
        root.mkdir()
        unpack("arm64", (*PACKAGES, _KERNEL), root, progress)
        (packed,) = (root / "boot").glob("vmlinuz-*")
        shutil.copyfile(packed, image.kernel)
        _make_initramfs(image, root)
        shutil.rmtree(root / "usr" / "lib" / "modules")
        furnish_machine(image, root)
        pack_disk(image, root)

    return Image(made("arm64-vm", repr((SUITE, _KERNEL, PACKAGES, _MODULES, _INIT, FILES)), make))


def _make_initramfs(image: Image, root: Path) -> None:
    if shutil.which("cpio") is None:
        raise DeviceError("no cpio here, which packs the machine's first files", fix="sudo apt install cpio")
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
    words = ["cpio", "--create", "--format=newc", "--quiet"]
    packed = subprocess.run(words, input=names.encode(), cwd=inside, stdout=subprocess.PIPE, check=True)
    image.initramfs.write_bytes(gzip.compress(packed.stdout, 1))
    shutil.rmtree(inside)


def furnish_machine(image: Image, root: Path) -> None:
    """Make a userland whose packages' scripts have not run a machine that lets root in by key."""
    shutil.rmtree(root / "boot", ignore_errors=True)
    for name in ("proc", "sys", "dev", "run", "tmp", "root"):
        (root / name).mkdir(exist_ok=True)
    for name, text in FILES.items():
        (root / name).write_text(text)
    (root / "etc" / "edgekit-rc").chmod(0o755)
    for name in ("init", "ip"):
        link = root / "usr" / "sbin" / name
        link.unlink(missing_ok=True)
        link.symlink_to("/bin/busybox")
    for name in ("mount", "grep"):
        if not (root / "usr" / "bin" / name).exists():
            (root / "usr" / "bin" / name).symlink_to("/bin/busybox")
    for path in (image.key, image.host_key):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "edgekit virtual", "-f", str(path)])
    shutil.copy(image.host_key, root / "etc" / "ssh" / "edgekit_key")
    (root / "root" / ".ssh").mkdir(mode=0o700)
    shutil.copy(f"{image.key}.pub", root / "root" / ".ssh" / "authorized_keys")


def pack_disk(image: Image, root: Path) -> None:
    """Make a folder the machine's disk, and remove it.

    Raises
    ------
    DeviceError
        There is no program for it here, or it fails.
    """
    program = shutil.which("mke2fs", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        raise DeviceError("no mke2fs here, which makes the machine's disk", fix="sudo apt install e2fsprogs")
    with image.disk.open("wb") as disk:
        disk.truncate(_DISK_BYTES)
    run([program, "-q", "-t", "ext4", "-d", str(root), str(image.disk)])
    shutil.rmtree(root)
