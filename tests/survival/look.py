"""What a store holds, found without edgekit: run here on a folder, or on a board as a script (``python3 look.py ROOT``; Python 3.8).

An application's ``wrong`` is None only when ``current`` is a link to a release whose manifest has the digest that names it and whose every
listed file has its size and digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from typing import Any

_LINK = re.compile("releases/([0-9a-f]{64})")


def look(root: str) -> dict[str, Any]:
    """Return application -> current release, what is wrong with it, previous release."""
    apps = os.path.join(root, "apps")
    return {name: _app(os.path.join(apps, name)) for name in sorted(os.listdir(apps))} if os.path.isdir(apps) else {}


def _app(folder: str) -> dict[str, Any]:
    current, previous = (_release(os.path.join(folder, name)) for name in ("current", "previous"))
    wrong = _wrong(os.path.join(folder, "releases"), current) if current else None
    return {"current": current, "previous": previous, "wrong": wrong}


def _release(link: str) -> str | None:
    if not os.path.lexists(link):
        return None
    found = _LINK.fullmatch(os.readlink(link)) if os.path.islink(link) else None
    return found.group(1) if found else "no link to a release"


def _wrong(releases: str, release: str) -> str | None:
    try:
        data = _read(os.path.join(releases, release, "manifest.json"))
        if hashlib.sha256(data).hexdigest() != release:
            return "its manifest is another"
        for entry in json.loads(data.decode())["files"]:
            held = _read(os.path.join(releases, release, entry["path"]))
            if (len(held), hashlib.sha256(held).hexdigest()) != (entry["bytes"], entry["sha256"]):
                return "%s has %d bytes, %d are listed" % (entry["path"], len(held), entry["bytes"])
    except OSError as error:
        return "%s: %s" % (error.filename, error.strerror)
    return None


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


if __name__ == "__main__":
    print(json.dumps(look(os.path.expanduser(sys.argv[1]))))  # noqa: T201
