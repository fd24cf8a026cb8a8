"""``unroll``: LSTM, GRU and RNN become the steps they take, as products, sums and activation functions.

TFLite's own recurrent operators in int8 ask for 16-bit states and scales of inner tensors that a plan does not
speak of; unrolled, every step has ranges of its own and is quantized like everything else. What does not depend on the
state is computed for all steps at once, and the weights of the state are one constant for all steps. Called by ``restate``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.draft import Draft
from edgekit.graph import Array, Graph, Node

__all__ = ["STEPS_MAX", "unroll", "why_not"]

STEPS_MAX = 256
"""Unrolled steps are about a dozen operators each; past this many a file holds more steps than work."""

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_KNOWN = frozenset({"Relu", "Sigmoid", "Tanh"})


def unroll(graph: Graph) -> Graph:
    """Replace every recurrent node that can be unrolled; what its outputs hold stays the same."""
    if not any(node.op in _GATES for node in graph.nodes):
        return graph
    draft = Draft(graph)
    for node in graph.nodes:
        if node.op in _GATES and why_not(graph, node) is None:
            _Recurrence(draft, node).write()
        else:
            draft.nodes.append(node)
    return draft.finish()


def why_not(graph: Graph, node: Node) -> tuple[str, str] | None:
    """Return why a recurrent node cannot be unrolled and what the user can do; None where it can."""
    steps = graph.shapes[node.inputs[0]][0]
    inputs = [*node.inputs, *[""] * 8]
    if steps > STEPS_MAX:
        return f"it takes {steps} steps, and at most {STEPS_MAX} are unrolled", "feed shorter sequences, or use convolutions over time"
    if any(name not in graph.weights for name in inputs[1:4] if name):
        return "its weights are computed", "export the model with its weights fixed"
    lengths = graph.weights.get(inputs[4])
    if inputs[4] and (lengths is None or (lengths != steps).any()):
        return "its sequences have lengths of their own (sequence_lens)", "export the model for sequences of one length"
    if inputs[7] or node.attrs.get("input_forget") or node.attrs.get("layout") or node.attrs.get("clip"):
        return "it has peepholes, coupled gates, a clip or the batch in front", "export a plain recurrent layer"
    if not _KNOWN.issuperset(_activations(node)):
        return f"its activation functions are {', '.join(_activations(node))}", "use Sigmoid, Tanh or Relu"
    return None


def _activations(node: Node) -> list[str]:
    return [str(name).capitalize() for name in node.attrs.get("activations", _ACTIVATIONS[node.op] * 2)]


@dataclass(frozen=True)
class _Parameters:
    """Weights of one direction: of the input [in, gates], of the state [hidden, gates], and both biases."""

    input: Array
    state: Array
    input_bias: Array
    state_bias: Array

    def gates(self, first: int, last: int, hidden: int) -> _Parameters:
        """Return those of some gates."""
        cut = slice(first * hidden, last * hidden)
        return _Parameters(self.input[:, cut], self.state[:, cut], self.input_bias[cut], self.state_bias[cut])


class _Recurrence:
    """One node on its way into steps."""

    def __init__(self, draft: Draft, node: Node) -> None:
        self.draft, self.node = draft, node
        self.steps, self.batch, self.depth = draft.shapes[node.inputs[0]]
        self.hidden = int(node.attrs["hidden_size"])
        self.inputs = [*node.inputs, *[""] * 8]
        self.base = next(name for name in node.outputs if name)

    def write(self) -> None:
        direction = str(self.node.attrs.get("direction", "forward"))
        backwards = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[direction]
        rows = self.draft.reshape(self.inputs[0], f"{self.base}/rows", (self.steps * self.batch, self.depth))
        whole: list[str] = []
        last: list[list[str]] = []
        for number, reverse in enumerate(backwards):
            states, final = self._direction(number, rows, reverse=reverse)
            joined = self._joined(states, f"{self.base}/{number}/all", 0)
            whole.append(self.draft.reshape(joined, f"{self.base}/{number}/steps", (self.steps, 1, self.batch, self.hidden)))
            last.append([self.draft.reshape(name, f"{name}/last", (1, self.batch, self.hidden)) for name in final if name])
        outputs = [*self.node.outputs, "", "", ""]
        if outputs[0]:
            self._joined(whole, outputs[0], 1)
        for slot, name in enumerate(outputs[1:3]):
            if name:
                self._joined([final[slot] for final in last], name, 0)

    def _joined(self, names: Sequence[str], output: str, axis: int) -> str:
        shape = list(self.draft.shapes[names[0]])
        shape[axis] = sum(self.draft.shapes[name][axis] for name in names)
        if len(names) == 1:
            return self.draft.reshape(names[0], output, shape)
        return self.draft.add("Concat", names, output, shape, axis=axis)

    def _direction(self, number: int, rows: str, *, reverse: bool) -> tuple[list[str], list[str]]:
        """Write one direction; return its state after each place in the sequence, and its last state (and cell)."""
        parameters, base = self._parameters(number), f"{self.base}/{number}"
        start = _CELLS[self.node.op](self, number, parameters, rows, base)
        state, cell = self._initial(self.inputs[5], number, "h"), self._initial(self.inputs[6], number, "c")
        states = [""] * self.steps
        for place in range(self.steps)[:: -1 if reverse else 1]:
            state, cell = start(place, state, cell)
            states[place] = state
        return states, [state, cell]

    def _parameters(self, number: int) -> _Parameters:
        weights = self.draft.source.weights
        size = _GATES[self.node.op] * self.hidden
        biases = weights[self.inputs[3]][number] if self.inputs[3] else np.zeros(2 * size, np.float32)
        return _Parameters(weights[self.inputs[1]][number].T, weights[self.inputs[2]][number].T, biases[:size], biases[size:])

    def _initial(self, name: str, number: int, which: str) -> str:
        """Return the state before the first step; the empty name is one of zeros."""
        values = self.draft.source.weights.get(name)
        if not name or (values is not None and not values.any()):
            return ""
        own = f"{self.base}/{number}/{which}"
        if values is not None:
            return self.draft.constant(own, values[number])
        bounds = [
            self.draft.constant(f"{own}/{key}", [value], "int64") for key, value in (("from", number), ("to", number + 1), ("axis", 0))
        ]
        part = self.draft.add("Slice", (name, *bounds), f"{own}/part", (1, self.batch, self.hidden))
        return self.draft.reshape(part, own, (self.batch, self.hidden))

    # -- what the cells are made of

    def projected(self, rows: str, weight: Array, bias: Array, name: str) -> list[str]:
        """Multiply the input of all steps by a matrix; return the result of each step."""
        width = weight.shape[1]
        inputs = (rows, self.draft.constant(f"{name}/weight", weight), self.draft.constant(f"{name}/bias", bias))
        product = self.draft.add("Gemm", inputs, f"{name}/product", (self.steps * self.batch, width))
        parts = [f"{name}/{step}" for step in range(self.steps)]
        if self.steps == 1:
            return [product]
        sizes = self.draft.constant(f"{name}/sizes", [self.batch] * self.steps, "int64")
        for part in parts:
            self.draft.shapes[part], self.draft.dtypes[part] = (self.batch, width), "float32"
        self.draft.nodes.append(Node(f"{name}/split", "Split", (product, sizes), tuple(parts), {"axis": 0}))
        return parts

    def product(self, state: str, weight: str, bias: str, output: str) -> str:
        """Multiply a state by a constant matrix."""
        if state in self.draft.weights:
            values = self.draft.weights[state].astype(np.float64) @ self.draft.weights[weight]
            return self.draft.constant(output, values + (self.draft.weights[bias] if bias else 0.0))
        inputs = (state, weight, bias) if bias else (state, weight)
        return self.draft.add("Gemm", inputs, output, (self.batch, self.draft.shapes[weight][1]))

    def value(self, op: str, output: str, *inputs: str) -> str:
        """Add an operator that works value by value."""
        return self.draft.add(op, inputs, output, self.draft.shapes[inputs[0]])

    def parts(self, source: str, count: int, output: str) -> list[str]:
        """Cut gates apart."""
        names = [f"{output}/{number}" for number in range(count)]
        if count == 1:
            return [source]
        for name in names:
            self.draft.shapes[name], self.draft.dtypes[name] = (self.batch, self.hidden), "float32"
        sizes = self.draft.constant(f"{output}/sizes", [self.hidden] * count, "int64")
        self.draft.nodes.append(Node(f"{output}/split", "Split", (source, sizes), tuple(names), {"axis": 1}))
        return names


_Step = Callable[[int, str, str], tuple[str, str]]
"""(place, state, cell) before a step -> (state, cell) after it; the empty name is a state of zeros."""


def _lstm(r: _Recurrence, number: int, p: _Parameters, rows: str, base: str) -> _Step:
    """ONNX operator LSTM: gates in the order input, output, forget, cell."""
    squash, bend, show = _activations(r.node)[3 * number : 3 * number + 3]
    gates, new = p.gates(0, 3, r.hidden), p.gates(3, 4, r.hidden)
    of_gates = r.projected(rows, gates.input, gates.input_bias + gates.state_bias, f"{base}/gates")
    of_new = r.projected(rows, new.input, new.input_bias + new.state_bias, f"{base}/new")
    matrices = [r.draft.constant(f"{base}/{key}", matrix) for key, matrix in (("gates/state", gates.state), ("new/state", new.state))]

    def step(place: int, state: str, cell: str) -> tuple[str, str]:
        own = f"{base}/step{place}"
        sums = [of_gates[place], of_new[place]]
        if state:
            products = [
                r.product(state, matrix, "", f"{own}/{key}/product") for key, matrix in zip(("gates", "new"), matrices, strict=True)
            ]
            sums = [r.value("Add", f"{own}/{key}/sum", a, b) for key, a, b in zip(("gates", "new"), sums, products, strict=True)]
        let_in, let_out, keep = r.parts(r.value(squash, f"{own}/gates", sums[0]), 3, f"{own}/gate")
        cell_after = r.value("Mul", f"{own}/taken", let_in, r.value(bend, f"{own}/new", sums[1]))
        if cell:
            cell_after = r.value("Add", f"{own}/cell", r.value("Mul", f"{own}/kept", keep, cell), cell_after)
        return r.value("Mul", f"{own}/state", let_out, r.value(show, f"{own}/shown", cell_after)), cell_after

    return step


def _gru(r: _Recurrence, number: int, p: _Parameters, rows: str, base: str) -> _Step:
    """ONNX operator GRU: gates in the order update, reset, hidden; the new state as h + z (H - h)."""
    squash, bend = _activations(r.node)[2 * number : 2 * number + 2]
    late = bool(r.node.attrs.get("linear_before_reset"))
    gates, new = p.gates(0, 2, r.hidden), p.gates(2, 3, r.hidden)
    of_gates = r.projected(rows, gates.input, gates.input_bias + gates.state_bias, f"{base}/gates")
    of_new = r.projected(rows, new.input, new.input_bias if late else new.input_bias + new.state_bias, f"{base}/new")
    matrices = [r.draft.constant(f"{base}/{key}", matrix) for key, matrix in (("gates/state", gates.state), ("new/state", new.state))]
    # Behind the reset it is multiplied, so it cannot join the input's.
    bias = r.draft.constant(f"{base}/new/state/bias", new.state_bias) if late else ""

    def step(place: int, state: str, _: str) -> tuple[str, str]:
        own = f"{base}/step{place}"
        sums = of_gates[place]
        if state:
            sums = r.value("Add", f"{own}/gates/sum", sums, r.product(state, matrices[0], "", f"{own}/gates/product"))
        update, reset = r.parts(r.value(squash, f"{own}/gates", sums), 2, f"{own}/gate")
        proposed = of_new[place]
        if state and late:
            scaled = r.value("Mul", f"{own}/reset", reset, r.product(state, matrices[1], bias, f"{own}/new/product"))
            proposed = r.value("Add", f"{own}/new/sum", proposed, scaled)
        elif state:
            product = r.product(r.value("Mul", f"{own}/reset", reset, state), matrices[1], "", f"{own}/new/product")
            proposed = r.value("Add", f"{own}/new/sum", proposed, product)
        elif late:
            scaled = r.draft.add("Mul", (reset, bias), f"{own}/reset", (r.batch, r.hidden))
            proposed = r.value("Add", f"{own}/new/sum", proposed, scaled)
        new_state = r.value(bend, f"{own}/new", proposed)
        if not state:
            # h + z (0 - h) = h - z h
            return r.value("Sub", f"{own}/state", new_state, r.value("Mul", f"{own}/mixed", update, new_state)), ""
        mixed = r.value("Mul", f"{own}/mixed", update, r.value("Sub", f"{own}/change", state, new_state))
        return r.value("Add", f"{own}/state", new_state, mixed), ""

    return step


def _rnn(r: _Recurrence, number: int, p: _Parameters, rows: str, base: str) -> _Step:
    """ONNX operator RNN."""
    bend = _activations(r.node)[number]
    of_input = r.projected(rows, p.input, p.input_bias + p.state_bias, f"{base}/new")
    matrix = r.draft.constant(f"{base}/state", p.state)

    def step(place: int, state: str, _: str) -> tuple[str, str]:
        own, total = f"{base}/step{place}", of_input[place]
        if state:
            total = r.value("Add", f"{own}/sum", total, r.product(state, matrix, "", f"{own}/product"))
        return r.value(bend, f"{own}/state", total), ""

    return step


_CELLS: dict[str, Callable[[_Recurrence, int, _Parameters, str, str], _Step]] = {"GRU": _gru, "LSTM": _lstm, "RNN": _rnn}
