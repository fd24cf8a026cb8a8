"""A virtual board that is a userland: this machine's sshd, whose every session enters the board.

Commands, the SFTP server, Python, NumPy and the inference runtime are the board's real binaries; the kernel, the core count and all times
are this machine's. The server is the first process of a process namespace: all that ever runs on the board ends with it. A session lives in
user and mount namespaces of its own.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from edgekit.devices.shell import quote
from edgekit.devices.virtual.emulation import registration
from edgekit.devices.virtual.kind import Kind, furnish
from edgekit.devices.virtual.process import user_name
from edgekit.devices.virtual.userland import SFTP_SERVER
from edgekit.errors import DeviceError

__all__ = ["can_serve", "server"]

# The host's /sys and /proc/cpuinfo describe another processor; LiteRT's cpuinfo crashes on the mixture. The system is shared by all boards
# and cannot be written to: a board has its home and its /tmp. Of this machine's devices it has those that harm nobody: where root runs
# it, what it runs is root to the files of devices and to the kernel's settings.
_ENTER = """\
#!/bin/sh
set -e
if [ "${{1:-}}" != inside ]; then exec unshare --user --map-root-user --mount "$0" inside; fi
{register}
cd {folder}
mount --bind {userland} root
mount -o remount,bind,ro root
mount --rbind /proc root/proc
mount --bind cpuinfo root/proc/cpuinfo
mount --bind root/proc/sys root/proc/sys
mount -o remount,bind,ro root/proc/sys
mount -t tmpfs -o mode=755 tmpfs root/dev
for name in null zero full random urandom tty; do
    : >root/dev/$name
    mount --bind /dev/$name root/dev/$name
done
mkdir -m 1777 root/dev/shm
mkdir root/dev/pts
mount --rbind /dev/pts root/dev/pts
ln -s /proc/self/fd root/dev/fd
mount --bind sys root/sys
mount --bind home root/root
mount --bind tmp root/tmp
enter() {{ exec env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM="${{TERM:-dumb}}" QEMU_CPU={cpu} chroot root /bin/sh "$@"; }}
if [ -n "${{SSH_ORIGINAL_COMMAND:-}}" ]; then enter -c "cd; $SSH_ORIGINAL_COMMAND"; else enter -c "cd; exec /bin/sh -i"; fi
"""
_SSHD = """\
Port {port}
ListenAddress 127.0.0.1
HostKey "{folder}/host_key"
AuthorizedKeysFile "{folder}/key.pub"
AllowUsers {user}
AuthenticationMethods publickey
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding no
AllowAgentForwarding no
X11Forwarding no
PermitUserRC no
UsePAM no
UseDNS no
StrictModes no
PidFile none
LogLevel VERBOSE
MaxStartups 100
Subsystem sftp {sftp}
ForceCommand {enter}
"""
# A server of root's lets its helpers live in /run/sshd, and takes nobody whose account is locked, as root's is on many systems (sshd(8);
# without PAM it looks into the shadow file). Both are arranged where nobody else sees it.
_AS_ROOT = """\
if [ ! -d /run/sshd ]; then mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/sshd || exit 1; fi
if [ -e /etc/shadow ]; then mount --bind "$1/shadow" /etc/shadow || exit 1; fi
exec "$2" -D -e -f "$1/sshd_config"
"""
_AS_USER = 'exec "$2" -D -e -f "$1/sshd_config"'


def can_serve(kind: Kind) -> str:
    """Refuse where such a board cannot run; returns what `server` needs to know (`edgekit.devices.virtual.emulation.registration`).

    Raises
    ------
    DeviceError
        With the command that mends it.
    """
    if _sshd() is None or shutil.which("ssh-keygen") is None:
        raise DeviceError("no OpenSSH server here, which virtual boards are reached by", fix="sudo apt install openssh-server")
    return registration(kind)


def server(kind: Kind, folder: Path, *, port: int, userland: Path, register: str) -> list[str]:
    """Furnish a board in ``folder``, where its keys are, and return the command that runs it."""
    furnish(kind, folder, cores=os.cpu_count() or 1)
    for name in ("root", "home", "tmp"):
        (folder / name).mkdir()
    words = {
        "register": register,
        "folder": quote(str(folder)),
        "userland": quote(str(userland)),
        "cpu": kind.qemu_cpu,
    }
    enter = folder / "enter"
    enter.write_text(_ENTER.format(**words))
    enter.chmod(0o700)
    user = user_name()
    (folder / "sshd_config").write_text(_SSHD.format(port=port, folder=folder, user=user, sftp=SFTP_SERVER, enter=quote(str(enter))))
    (folder / "shadow").write_text("root:*:::::::\n")
    (folder / "shadow").chmod(0o600)
    alone = ["unshare", *(() if os.geteuid() == 0 else ("--user", "--map-current-user"))]
    alone += ["--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
    return [*alone, "/bin/sh", "-c", _AS_ROOT if os.geteuid() == 0 else _AS_USER, "sh", str(folder), str(_sshd())]


def _sshd() -> str | None:
    """Return the server's absolute path, which it wants to be called by."""
    return shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
