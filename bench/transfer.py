"""How quickly 90 MB reach a board over a long link, against scp, sftp and rsync on the same link; then one layer of the network changes.

    sudo python bench/transfer.py [ROUNDS] [--rate MB_PER_S] [--rtt MS]

Needs root and /dev/net/tun for the link (`tests.integration.link`: delay and rate in user space, which this machine's CPUs must keep up
with; its own speed is printed first), OpenSSH, rsync, and all-MiniLM-L6-v2 in the folder that EDGEKIT_MADE_DATA names: a trained network
of 90.4 MB. One layer of it is "retrained": each of its weights moves a little. Tools run in turn, each to a fresh folder, each with its own
connection. Bytes are those that left this end, all heads and repetitions included.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from edgekit.chunks import cut
from edgekit.device import Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.devices.transfer import send
from edgekit.digest import sha256_file
from tests.integration.conftest import Lab, make_lab
from tests.integration.link import Conditions, Link, linked

LAYER, MATRICES_PER_LAYER = 3, 6


@dataclass(frozen=True)
class Way:
    """A way of sending a file: the first time, and again when a part of it has changed."""

    name: str
    send: Callable[[Path, Path], None]
    fresh: bool = True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--rtt", type=float, default=50.0)
    words = parser.parse_args()
    conditions = Conditions(delay_s=words.rtt / 2000, rate_bytes_s=words.rate * 1e6, queue_bytes=1 << 20)
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as name, linked(conditions) as link:
        folder = Path(name)
        lab = make_lab(folder)
        os.environ["EDGEKIT_SSH_CONFIG"] = str(lab.config)
        server = lab.serve(within=link.within, host=link.address)
        try:
            run(folder, lab, server.port, link, words.rounds)
        finally:
            lab.stop()


def run(folder: Path, lab: Lab, port: int, link: Link, rounds: int) -> None:
    model, changed = folder / "model.onnx", folder / "changed.onnx"
    shutil.copy(Path(os.environ["EDGEKIT_MADE_DATA"]) / "models" / "all_minilm_l6_v2.onnx", model)
    retrain(model, changed)
    size = model.stat().st_size
    print(f"{size / 1e6:.1f} MB, round trip {2000 * link.conditions.delay_s:.0f} ms, {link.conditions.rate_bytes_s / 1e6:g} MB/s")
    print(f"the link itself, one TCP connection: {raw(link, size):.2f} MB/s")
    ways = [
        Way("edgekit", lambda source, there: ours(lab.device(port, host=link.address, root=there), source)),
        Way("scp", lambda source, there: scp(lab, port, link, source, there)),
        Way("sftp", lambda source, there: sftp(lab, port, link, source, there)),
        Way("rsync", lambda source, there: rsync(lab, port, link, source, there, [])),
        Way("rsync -z", lambda source, there: rsync(lab, port, link, source, there, ["-z"])),
    ]
    first: dict[str, list[float]] = {way.name: [] for way in ways}
    again: dict[str, list[float]] = {way.name: [] for way in ways}
    moved: dict[str, list[tuple[int, int]]] = {way.name: [] for way in ways}
    for round_ in range(rounds):
        for way in ways:
            there = folder / f"there-{round_}-{way.name.replace(' ', '')}"
            there.mkdir(mode=0o755)
            seconds, counted = [], []
            for source in (model, changed):
                before, start_s = sent_bytes(), time.perf_counter()
                way.send(source, there)
                seconds.append(time.perf_counter() - start_s)
                counted.append(sent_bytes() - before)
            first[way.name].append(seconds[0])
            again[way.name].append(seconds[1])
            moved[way.name].append((counted[0], counted[1]))
            shutil.rmtree(there)
            print(f"  round {round_} {way.name:<9} {seconds[0]:6.2f} s {seconds[1]:6.2f} s", file=sys.stderr)
    report(size, first, again, moved)


def report(size: int, first: dict[str, list[float]], again: dict[str, list[float]], moved: dict[str, list[tuple[int, int]]]) -> None:
    print("\n| | the file: s (median) | MB/s | against scp | bytes sent | one layer changed: s | bytes sent |")
    print("|---|---|---|---|---|---|---|")
    for name, values in first.items():
        # Round by round: a machine whose speed drifts treats both alike.
        ratio = statistics.median(peer / own for peer, own in zip(first["scp"], values, strict=True))
        whole, part = (statistics.median(pair[which] for pair in moved[name]) / size for which in (0, 1))
        speed = size / 1e6 / statistics.median(values)
        print(
            f"| {name} | {statistics.median(values):.2f} | {speed:.2f} | {100 * ratio:.0f} % | {100 * whole:.1f} % "
            f"| {statistics.median(again[name]):.2f} | {100 * part:.1f} % |"
        )


def retrain(model: Path, changed: Path) -> None:
    """Move every weight of one layer by about a hundredth of how far they spread."""
    network, dice = onnx.load(model), np.random.default_rng(1)
    matrices = [tensor for tensor in network.graph.initializer if tensor.name.startswith("onnx::MatMul")]
    layer = matrices[LAYER * MATRICES_PER_LAYER : (LAYER + 1) * MATRICES_PER_LAYER]
    layer += [tensor for tensor in network.graph.initializer if f"encoder.layer.{LAYER}." in tensor.name]
    for tensor in layer:
        values = numpy_helper.to_array(tensor)
        tensor.raw_data = (values + dice.normal(0, 0.01 * values.std(), values.shape)).astype(np.float32).tobytes()
    onnx.save(network, changed)


def ours(device: Device, source: Path) -> None:
    """Everything that a first deployment would do for its files: connect, put the agent there, cut, send, verify, make durable."""
    cut.cache_clear()
    with connect(device) as connection, AgentSession(connection, device) as session:
        send(session, {sha256_file(source): source})


def scp(lab: Lab, port: int, link: Link, source: Path, there: Path) -> None:
    subprocess.run(["scp", "-q", "-F", lab.config, "-P", str(port), source, f"{link.address}:{there}/model.onnx"], check=True)


def sftp(lab: Lab, port: int, link: Link, source: Path, there: Path) -> None:
    words = ["sftp", "-q", "-F", str(lab.config), "-P", str(port), "-b", "-", link.address]
    subprocess.run(words, input=f"put {source} {there}/model.onnx\n".encode(), check=True, stdout=subprocess.DEVNULL)


def rsync(lab: Lab, port: int, link: Link, source: Path, there: Path, options: list[str]) -> None:
    shell = f"ssh -F {lab.config} -p {port}"
    subprocess.run(["rsync", *options, "-e", shell, source, f"{link.address}:{there}/model.onnx"], check=True)


def raw(link: Link, size: int) -> float:
    """Return the megabytes per second of a plain TCP connection."""
    server = "import socket;s=socket.create_server(('',9999));print(flush=True);c=s.accept()[0]\nwhile c.recv(1<<16):pass\nc.sendall(b'.')"
    with subprocess.Popen([*link.within, sys.executable, "-c", server], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with socket.create_connection((link.address, 9999)) as sock:
            start_s = time.perf_counter()
            sock.sendall(bytes(size))
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1)
            return size / 1e6 / (time.perf_counter() - start_s)


def sent_bytes() -> int:
    """Return what has gone into this end of the link since it was made."""
    return int(Path(f"/sys/class/net/ekn{os.getpid()}/statistics/tx_bytes").read_text())


if __name__ == "__main__":
    main()
