"""The states a power cut may leave of a recorded list of operations, and how to put one on a disk.

The model is weaker than the file systems that boards have, so what survives it survives them. Sure is only what was asked for: a file's
bytes once the file was synced, a folder's names once the folder was (fsync(2), NOTES: "does not necessarily ensure that the entry in the
directory [...] has also reached disk"). What was not synced may have reached the disk or not, each operation for itself, names before the
bytes they name: that reordering is what Pillai et al. found in use ("All File Systems Are Not Created Equal", OSDI 2014, section 3); ext4
mounted data=ordered with delayed allocation leaves a file of zero length after a rename that was not preceded by fsync (ext4(5),
auto_da_alloc). Of a write that was under way a part may stand, or its length with zeros in it. One assumption is made, which ext4, xfs,
btrfs and f2fs hold: a rename is one change; a cut leaves the old name or the new one.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tests.survival.recording import ROOT, Node, Operation, Recording

__all__ = ["Tree", "build", "crash_states", "digest", "replay"]

Tree = dict[int, Node]

_SUBSETS_MAX = 6
"""Up to so many pending operations every subset of them is tried: 64."""
_SUBSETS_DRAWN = 8
_CHANGES = ("enter", "leave", "move", "write", "cut", "mode")


def replay(before: Tree, operations: Iterable[Operation]) -> Tree:
    """Apply operations to a tree; one whose node or name is not there (what made it was lost) does nothing."""
    tree = {number: replace(node, names=dict(node.names)) for number, node in before.items()}
    for op in operations:
        node = tree.get(op.node)
        if op.what == "create" and op.made:
            tree[op.node] = replace(op.made, names={})
        elif node is None:
            continue
        elif op.what == "enter":
            node.names[op.name] = op.child
        elif op.what == "leave" and node.names.get(op.name) == op.child:
            del node.names[op.name]
        elif op.what == "move":
            if node.names.get(op.name) == op.child:
                del node.names[op.name]
            tree[op.into].names[op.as_name] = op.child
        elif op.what == "write":
            node.data = node.data[: op.offset].ljust(op.offset, b"\0") + op.data + node.data[op.offset + len(op.data) :]
        elif op.what == "cut":
            node.data = node.data[: op.offset].ljust(op.offset, b"\0")
        elif op.what == "mode":
            node.mode = op.mode
    return tree


def _pending(operations: Sequence[Operation]) -> list[int]:
    """Return the places of the operations that no sync has made sure."""
    synced: set[int] = set()
    found = []
    for place in range(len(operations) - 1, -1, -1):
        op = operations[place]
        if op.what == "sync":
            synced.add(op.node)
        elif op.what in _CHANGES and (op.into if op.what == "move" else op.node) not in synced:
            found.append(place)
    return found[::-1]


def crash_states(recording: Recording, seed: int = 0) -> Iterator[tuple[int, Tree]]:
    """Yield trees that a cut may leave, each once, with the number of operations that had been done.

    For every prefix: nothing that is not sure has survived; all of it has; all but one; one alone; the first so many (the order of a
    journal); where few are pending every subset, else some drawn; and for each with the last bytes torn, or zeros in their place.
    """
    seen: set[int] = set()
    draw = random.Random(seed)
    done: list[Operation] = []
    for op in [*recording.operations, Operation("end")]:
        pending = _pending(done)
        for kept in _subsets(pending, draw):
            lost = set(pending) - kept
            survivors = [one for place, one in enumerate(done) if place not in lost]
            for variant in _torn(survivors, kept, done):
                tree = replay(recording.before, variant)
                mark = digest(tree)
                if mark not in seen:
                    seen.add(mark)
                    yield len(done), tree
        done.append(op)


def _subsets(pending: list[int], draw: random.Random) -> Iterator[set[int]]:
    if len(pending) <= _SUBSETS_MAX:
        for size in range(len(pending) + 1):
            yield from map(set, itertools.combinations(pending, size))
        return
    every = set(pending)
    for count in range(len(pending) + 1):
        yield set(pending[:count])
    for place in pending:
        yield every - {place}
        yield {place}
    for _ in range(_SUBSETS_DRAWN):
        yield {place for place in pending if draw.random() < 0.5}


def _torn(survivors: list[Operation], kept: set[int], done: list[Operation]) -> Iterator[list[Operation]]:
    yield survivors
    for write in [done[place] for place in sorted(kept) if done[place].what == "write"][-1:]:
        for data in (write.data[: len(write.data) // 2], bytes(len(write.data))):
            torn = Operation("write", write.node, offset=write.offset, data=data)
            yield [torn if one is write else one for one in survivors]


def _reached(tree: Tree, number: int = ROOT, path: str = "") -> Iterator[tuple[str, int]]:
    for name, child in sorted(tree[number].names.items()):
        below = f"{path}/{name}" if path else name
        yield below, child
        if tree[child].kind == "folder":
            yield from _reached(tree, child, below)


def digest(tree: Tree) -> int:
    """Name a tree, within this process, by what can be reached in it: names, kinds, modes, bytes, and which names are one file."""
    order: dict[int, int] = {}
    nodes = ((path, order.setdefault(number, len(order)), tree[number]) for path, number in _reached(tree))
    return hash(tuple((path, number, node.kind, node.mode, node.data) for path, number, node in nodes))


def build(tree: Tree, root: Path) -> None:
    """Put a tree into an empty folder."""
    first: dict[int, Path] = {}
    for path, number in _reached(tree):
        node, place = tree[number], root / path
        if node.kind == "folder":
            place.mkdir()
            place.chmod(node.mode)
        elif node.kind == "link":
            place.symlink_to(node.data.decode())
        elif number in first:
            os.link(first[number], place)
        else:
            first[number] = place
            place.write_bytes(node.data)
            place.chmod(node.mode)
