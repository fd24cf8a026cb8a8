"""``einsums``: an Einsum of one or two operands becomes transpositions, a MatMul or a Mul, and sums. Used by ``rewrite``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.draft import Draft
from edgekit.graph import Graph, Node

__all__ = ["einsums"]


def einsums(graph: Graph) -> Graph:
    """Spell out every Einsum but those of three or more operands and those that read a diagonal."""
    draft = Draft(graph)
    for node in graph.nodes:
        labels = _labels(graph, node) if node.op == "Einsum" else None
        if labels is None:
            draft.nodes.append(node)
        else:
            _Product(draft, node, *labels).write()
    return draft.finish()


def _labels(graph: Graph, node: Node) -> tuple[list[str], str] | None:
    """Return one letter per axis of each operand, and of the result; an ellipsis is spelled out in digits."""
    left, arrow, right = str(node.attrs["equation"]).replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) > 2:
        return None
    widths = [len(graph.shapes[name]) - len(term.replace("...", "")) for name, term in zip(node.inputs, terms, strict=True)]
    letters = "0123456789"[: max(widths)]
    if not arrow:
        # Without an arrow: the ellipsis, then the letters that occur once, sorted (ONNX operator Einsum).
        once = sorted(char for char in set(left) if char.isalpha() and left.count(char) == 1)
        right = "..." * ("..." in left) + "".join(once)
    spelled = [term.replace("...", letters[len(letters) - width :]) for term, width in zip(terms, widths, strict=True)]
    if any(len(set(term)) != len(term) for term in spelled):
        return None
    return spelled, right.replace("...", letters)


class _Product:
    """One Einsum on its way into plain operators."""

    def __init__(self, draft: Draft, node: Node, terms: list[str], result: str) -> None:
        self.draft, self.node, self.terms, self.result = draft, node, terms, result
        self.out = node.outputs[0]
        self.sizes: dict[str, int] = {}
        for name, term in zip(node.inputs, terms, strict=True):
            for letter, size in zip(term, draft.shapes[name], strict=True):
                self.sizes[letter] = max(self.sizes.get(letter, 1), size)

    def write(self) -> None:
        operands = [self._summed(number) for number in range(len(self.terms))]
        if len(operands) == 1:
            self._ordered(*operands[0], self.result, self.out)
            return
        (x, a), (y, b) = operands
        contracted = [letter for letter in a if letter in b and letter not in self.result]
        if contracted:
            self._matrices(x, a, y, b, contracted)
        else:
            aligned = [self._aligned(name, term, number) for number, (name, term) in enumerate(operands)]
            self.draft.add("Mul", aligned, self.out, name=self.node.name)

    def _summed(self, number: int) -> tuple[str, str]:
        """Sum an operand over the letters that only it has and the result has not."""
        name, term = self.node.inputs[number], self.terms[number]
        others = "".join(self.terms[:number] + self.terms[number + 1 :]) + self.result
        gone = [axis for axis, letter in enumerate(term) if letter not in others]
        if not gone:
            return name, term
        left = "".join(letter for letter in term if letter in others)
        axes = self.draft.constant(f"{self.out}/{number}/axes", gone, "int64")
        shape = [size for axis, size in enumerate(self.draft.shapes[name]) if axis not in gone]
        return self.draft.add("ReduceSum", (name, axes), f"{self.out}/{number}/sum", shape, keepdims=0), left

    def _ordered(self, name: str, term: str, wanted: Sequence[str], target: str) -> str:
        """Bring the axes of a tensor in another order; a constant at once."""
        perm = [term.index(letter) for letter in wanted]
        if name in self.draft.weights:
            return self.draft.constant(target, self.draft.weights[name].transpose(perm))
        return self.draft.transpose(name, target, perm)

    def _aligned(self, name: str, term: str, number: int) -> str:
        """Give an operand the axes of the result, for broadcasting."""
        present = [letter for letter in self.result if letter in term]
        ordered = self._ordered(name, term, present, f"{self.out}/{number}/ordered")
        sizes = dict(zip(present, self.draft.shapes[ordered], strict=True))
        return self._shaped(ordered, [sizes.get(letter, 1) for letter in self.result], f"{self.out}/{number}/aligned")

    def _shaped(self, name: str, shape: Sequence[int], target: str) -> str:
        if name in self.draft.weights:
            return self.draft.constant(target, self.draft.weights[name].reshape(shape))
        return self.draft.reshape(name, target, shape)

    def _matrices(self, x: str, a: str, y: str, b: str, contracted: list[str]) -> None:
        """Write batches of matrices [.., left, contracted] times [.., contracted, right]."""
        batch = [letter for letter in a if letter in b and letter in self.result]
        left = [letter for letter in a if letter not in b]
        right = [letter for letter in b if letter not in a]
        # Batches broadcast: each operand keeps its own sizes of them.
        batches = [[self.draft.shapes[name][term.index(letter)] for letter in batch] for name, term in ((x, a), (y, b))]
        rows, depth, columns = (int(np.prod([self.sizes[letter] for letter in group])) for group in (left, contracted, right))
        first = self._ordered(x, a, [*batch, *left, *contracted], f"{self.out}/0/ordered")
        second = self._ordered(y, b, [*batch, *contracted, *right], f"{self.out}/1/ordered")
        first = self._shaped(first, [*batches[0], rows, depth], f"{self.out}/0/matrix")
        second = self._shaped(second, [*batches[1], depth, columns], f"{self.out}/1/matrix")
        shape = [*(self.sizes[letter] for letter in batch), rows, columns]
        product = self.draft.add("MatMul", (first, second), f"{self.out}/product", shape, name=self.node.name)
        order = [*batch, *left, *right]
        apart = self._shaped(product, [self.sizes[letter] for letter in order], f"{self.out}/apart")
        self._ordered(apart, "".join(order), self.result, self.out)
