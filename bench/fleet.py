"""A roll-out to many boards against eight loops of plain ``ssh`` and ``sftp`` with the same bytes.

    sudo python -m bench.fleet --boards 50 --rate 10mbit --megabytes 4

Each board is a network namespace with an OpenSSH server of its own (`tests.integration.rack`). They share this machine's processor with
the host, so a rate limit stands for the links that a real rack has; without one, the processor alone is measured. The plain loop makes
folders, sends every file of the bundle, compares their digests and switches one link: what a careful shell script does, without facts,
golden samples, proof, lease, journal or a way back.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from edgekit.bundle import Bundle, list_files, open_bundle, write_bundle
from tests.integration.rack import Rack

WIDTH = 8


def padded(source: Path, folder: Path, size_bytes: int) -> Path:
    """Return a copy of a bundle with bytes that no compressor shrinks, as the weights of a bigger model would be."""
    with open_bundle(source) as bundle:
        files = {entry.path: (bundle.folder / entry.path).read_bytes() for entry in bundle.manifest.files}
        files["weights.bin"] = os.urandom(size_bytes)
        return write_bundle(msgspec.structs.replace(bundle.manifest, files=list_files(files)), files, folder)


def by_hand(rack: Rack, name: str, bundle: Bundle) -> None:
    """Bring a bundle to a board as a shell script would."""
    where, ssh = rack.host(name), ["-F", str(rack.config)]
    folder = f"{rack.home(name)}/plain"
    sums = "".join(f"{entry.sha256}  {entry.path}\n" for entry in bundle.entries)
    parents = sorted({str(Path(entry.path).parent) for entry in bundle.entries} - {"."})
    subprocess.run(["ssh", *ssh, where, "mkdir", "-p", folder, *(f"{folder}/{parent}" for parent in parents)], check=True)
    puts = "".join(f"put {bundle.folder / entry.path} {folder}/{entry.path}\n" for entry in bundle.entries)
    subprocess.run(["sftp", "-q", *ssh, "-b", "-", where], input=puts.encode(), stdout=subprocess.DEVNULL, check=True)
    switch = f"cd {folder} && sha256sum --quiet -c - && sync . && ln -sfn plain ../current"
    subprocess.run(["ssh", *ssh, where, switch], input=sums.encode(), check=True)


def wipe(rack: Rack) -> None:
    for name in rack.names:
        for left in (rack.root(name), rack.home(name) / "plain"):
            shutil.rmtree(left, ignore_errors=True)


def plain(rack: Rack, bundle: Bundle) -> float:
    """Return the seconds of eight such loops."""
    wipe(rack)
    begun_s = time.monotonic()
    with ThreadPoolExecutor(WIDTH) as pool:
        list(pool.map(lambda name: by_hand(rack, name, bundle), rack.names))
    return time.monotonic() - begun_s


def rolled_out(rack: Rack, bundle: Path, words: list[str]) -> float:
    """Return the seconds of ``edgekit deploy --to rack``."""
    wipe(rack)
    env = {**os.environ, "EDGEKIT_SSH_CONFIG": str(rack.config), "XDG_STATE_HOME": str(rack.folder / "state")}
    command = [sys.executable, "-m", "edgekit", "deploy", "--to", "rack", "--bundle", str(bundle), "--json", *words]
    begun_s = time.monotonic()
    done = subprocess.run(command, cwd=rack.project, env=env, capture_output=True, text=True)
    seconds = time.monotonic() - begun_s
    states = [board["state"] for board in json.loads(done.stdout).get("boards", ())]
    if done.returncode or states != ["done"] * len(rack.names):
        raise SystemExit(f"the roll-out failed:\n{done.stderr[-4000:]}\n{done.stdout[-4000:]}")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=int, default=50)
    parser.add_argument("--rate", default="10mbit", help="of each board's link, as tc(8) writes it; none for no limit")
    parser.add_argument("--megabytes", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--bundle", type=Path, required=True, help="a bundle that this machine can run (edgekit build --target local)")
    parser.add_argument("words", nargs="*", help="options of edgekit deploy --to, after --")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgekit-rack-")))
        path = padded(given.bundle, folder / "build", int(given.megabytes * 1e6))
        bundle = stack.enter_context(open_bundle(path))
        rack = Rack(folder / "rack", given.boards, rate=None if given.rate == "none" else given.rate)
        stack.callback(rack.close)
        size = sum(entry.bytes for entry in bundle.entries) / 1e6
        print(f"{given.boards} boards, links of {given.rate}, {size:.1f} MB each, {WIDTH} at once, {os.cpu_count()} cores for all")
        for _ in range(given.rounds):
            loops, ours = plain(rack, bundle), rolled_out(rack, path, given.words)
            print(f"plain ssh + sftp {loops:.1f} s, edgekit deploy --to {ours:.1f} s: {ours / loops:.2f} times", flush=True)


if __name__ == "__main__":
    main()
