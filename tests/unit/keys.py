"""SSH keys and allowed-signers files for tests that sign."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_key(folder: Path, name: str, kind: str = "ed25519", passphrase: str = "") -> Path:
    """Make a key pair; returns the private half."""
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", name, "-f", str(path)], check=True)
    return path


def allow(folder: Path, **keys: Path) -> Path:
    """Write an allowed-signers file: name -> private key."""
    path = folder / "allowed_signers"
    path.write_text("".join(f'{name} namespaces="edgekit" {Path(f"{key}.pub").read_text()}' for name, key in keys.items()))
    return path
