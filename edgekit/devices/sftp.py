"""Files of a board opened over SFTP, by the names that `edgekit.devices.Connection` uses. Called by `edgekit.devices.ssh`."""

from __future__ import annotations

import paramiko

__all__ = ["open_to_read"]


def open_to_read(sftp: paramiko.SFTPClient, remote: str) -> paramiko.SFTPFile:
    """Open a file that is there."""
    return sftp.open(_path(remote), "rb")


def _path(remote: str) -> str:
    """Name a file for SFTP, whose working folder is the home folder."""
    return remote[2:] if remote.startswith("~/") else remote
