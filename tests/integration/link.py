"""A bad link in user space: two TUNs, a process between them that delays, drops and meters packets, a network namespace at its end.

A kernel without netem is enough. Nothing stays behind: the devices live as long as the process that holds them, the namespace as long as
the process that waits in it. Needs root and ``/dev/net/tun``. Used by the link tests and by ``bench/transfer.py``.

Run as a program it is the process between: ``link.py NEAR FAR CONDITIONS`` with the conditions as JSON, then commands on stdin: more
conditions, which replace those before. Its stdout says ``ready`` and, at the end, how many bytes passed each way.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

__all__ = ["Conditions", "Link", "linked"]

# linux/if_tun.h: TUNSETIFF; IFF_TUN | IFF_NO_PI: a packet per read, without a head.
_TUNSETIFF, _TUN_WITHOUT_HEAD = 0x400454CA, 0x1001
_PACKET_BYTES = 1 << 16
_END_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Conditions:
    """What a link does to packets, in each direction.

    Attributes
    ----------
    delay_s
        On the way, one way.
    rate_bytes_s
        0: no limit. Packets that the queue before the link has no room for are dropped.
    queue_bytes
        What waits for its turn.
    loss
        The share of packets that vanish; which, is the same in each run.
    cut
        All of them do.
    reset
        Something on the way ends every connection: each packet of TCP is answered with a reset.
    flap_s
        For so long all goes well, then for as long nothing comes through, and so on; 0: never.
    """

    delay_s: float = 0.0
    rate_bytes_s: float = 0.0
    queue_bytes: int = 512 << 10
    loss: float = 0.0
    cut: bool = False
    reset: bool = False
    flap_s: float = 0.0


class _Way:
    """One direction: packets with the time at which each is through."""

    def __init__(self, source: int, target: int) -> None:
        self.source, self.target = source, target
        self.under_way: deque[tuple[float, bytes]] = deque()
        self.free_s = 0.0
        self.passed = 0

    def take(self, now_s: float, conditions: Conditions, dice: random.Random, cut: bool) -> None:
        """Read what has come; it is through when those before it are, and the delay has passed."""
        for _ in range(64):
            try:
                packet = os.read(self.source, _PACKET_BYTES)
            except BlockingIOError:
                return
            if conditions.reset:
                if packet[9] == socket.IPPROTO_TCP:
                    os.write(self.source, _reset(packet))
                continue
            waiting_s = max(0.0, self.free_s - now_s)
            if cut or dice.random() < conditions.loss or waiting_s * conditions.rate_bytes_s > conditions.queue_bytes:
                continue
            if conditions.rate_bytes_s:
                self.free_s = now_s + waiting_s + len(packet) / conditions.rate_bytes_s
            self.under_way.append((max(now_s, self.free_s) + conditions.delay_s, packet))

    def give(self, now_s: float, cut: bool) -> None:
        while self.under_way and self.under_way[0][0] <= now_s:
            packet = self.under_way.popleft()[1]
            if not cut:
                try:
                    os.write(self.target, packet)
                except OSError:  # the far end goes down before we do
                    continue
                self.passed += len(packet)


def _reset(packet: bytes) -> bytes:
    """Return what ends the connection of a packet of TCP over IPv4, as if its other end had said it (RFC 9293, 3.5.2)."""
    head = (packet[0] & 15) * 4
    near, far, (source, target, seq, ack) = packet[12:16], packet[16:20], struct.unpack_from(">HHII", packet, head)
    acknowledges = packet[head + 13] & 0x10
    words = (ack, 0, 0x5004) if acknowledges else (0, seq + 1 & 0xFFFFFFFF, 0x5014)  # RST, or RST with ACK
    answer = struct.pack(">HHIIHHHH", target, source, *words, 0, 0, 0)
    sums = _sum(far + near + struct.pack(">HH", socket.IPPROTO_TCP, len(answer)) + answer)
    answer = answer[:16] + struct.pack(">H", sums) + answer[18:]
    ip = struct.pack(">BBHIBBH", 0x45, 0, 20 + len(answer), 0, 64, socket.IPPROTO_TCP, 0) + far + near
    return ip[:10] + struct.pack(">H", _sum(ip)) + ip[12:] + answer


def _sum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def _pump(near: int, far: int, conditions: Conditions) -> list[int]:
    """Move packets until stdin ends; return the bytes that passed from near to far and back."""
    ways, dice, begin_s = (_Way(near, far), _Way(far, near)), random.Random(1), time.monotonic()
    poll = select.poll()
    for handle in (0, near, far):
        poll.register(handle, select.POLLIN)
    while True:
        now_s = time.monotonic()
        due = [way.under_way[0][0] for way in ways if way.under_way]
        ready = {handle for handle, _ in poll.poll(max(0.0, min(due) - now_s) * 1000 if due else 100)}
        if 0 in ready:
            line = os.read(0, 1 << 12)
            if not line:
                return [way.passed for way in ways]
            conditions, begin_s = Conditions(**json.loads(line)), time.monotonic()
        now_s = time.monotonic()
        cut = conditions.cut or bool(conditions.flap_s and (now_s - begin_s) % (2 * conditions.flap_s) >= conditions.flap_s)
        for way in ways:
            way.give(now_s, cut)
            if way.source in ready:
                way.take(now_s, conditions, dice, cut)


def _tun(name: str) -> int:
    handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(handle, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TUN_WITHOUT_HEAD))
    return handle


class Link:
    """A running link.

    Attributes
    ----------
    address
        The far end's, where a server listens; this end is reached from there under the one before it.
    within
        Words before a command that make it run at the far end.
    passed
        After the end: bytes with their IP heads that came through, there and back.
    """

    def __init__(self, process: subprocess.Popen[str], address: str, within: list[str], conditions: Conditions) -> None:
        self.address, self.within, self.conditions = address, within, conditions
        self.passed = (0, 0)
        self._process = process

    def change(self, conditions: Conditions) -> None:
        """Let other conditions hold from now on."""
        self.conditions = conditions
        _stdin(self._process).write(json.dumps(asdict(conditions)) + "\n")
        _stdin(self._process).flush()

    def cut(self) -> None:
        """Let nothing through any more."""
        self.change(replace(self.conditions, cut=True))

    def heal(self) -> None:
        """Let packets through again."""
        self.change(replace(self.conditions, cut=False, reset=False))

    def reset(self) -> None:
        """End every connection that says a word, until `heal`."""
        self.change(replace(self.conditions, reset=True))

    def end(self) -> None:
        """Stop, and count."""
        there, back = json.loads(self._process.communicate(timeout=_END_TIMEOUT_S)[0])
        self.passed = (there, back)


def _stdin(process: subprocess.Popen[str]) -> IO[str]:
    if process.stdin is None:
        raise ValueError("the process has no stdin")
    return process.stdin


@contextmanager
def linked(conditions: Conditions) -> Iterator[Link]:
    """Make a namespace and a link to it. Its addresses are of 198.18.0.0/15, which is for such tests (RFC 2544, appendix C.2.2)."""
    number = os.getpid() % (1 << 15) * 4
    here, there = (f"198.{18 + (number >> 16)}.{number >> 8 & 255}.{(number & 255) + end}" for end in (1, 2))
    near, far = f"ekn{os.getpid()}", f"ekf{os.getpid()}"
    with ExitStack() as stack:
        # It lives until its stdin ends, however we end.
        room = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        stack.callback(_finish, room)
        assert room.stdout is not None
        stack.callback(room.stdout.close)
        room.stdout.readline()  # from now on the namespace is its own
        stack.callback(_empty, room.pid)
        words = [sys.executable, __file__, near, far, json.dumps(asdict(conditions))]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stack.callback(_finish, process)
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the link did not come up")
        within = ["nsenter", f"--net=/proc/{room.pid}/ns/net"]
        for line in (
            f"ip link set {far} netns {room.pid}",
            f"ip addr add {here} peer {there} dev {near}",
            f"ip link set {near} up",
            f"{' '.join(within)} ip addr add {there} peer {here} dev {far}",
            f"{' '.join(within)} ip link set {far} up",
            f"{' '.join(within)} ip link set lo up",
        ):
            subprocess.run(line.split(), check=True)
        link = Link(process, there, within, conditions)
        yield link
        link.end()


def _empty(room: int) -> None:
    """End what is left in the namespace: sessions of a server wait for ever for a peer whose link has gone."""
    space = Path(f"/proc/{room}/ns/net").readlink()
    for pid in [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and int(path.name) != room]:
        with suppress(FileNotFoundError, PermissionError, ProcessLookupError):
            if Path(f"/proc/{pid}/ns/net").readlink() == space:
                os.kill(pid, signal.SIGKILL)


def _finish(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(_END_TIMEOUT_S)
    for pipe in (process.stdin, process.stdout):
        if pipe and not pipe.closed:
            pipe.close()


if __name__ == "__main__":
    ends = _tun(sys.argv[1]), _tun(sys.argv[2])
    print("ready", flush=True)  # noqa: T201
    print(json.dumps(_pump(*ends, Conditions(**json.loads(sys.argv[3])))))  # noqa: T201
