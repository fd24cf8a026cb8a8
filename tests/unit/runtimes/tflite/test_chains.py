"""Random chains of moves, products and reductions: wherever the emitter leaves values in another order, the result is ONNX's."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from edgekit.plan import NodePrecision
from edgekit.quantize.normalise import normalise
from edgekit.runtimes.tflite import TfliteRuntime
from tests.unit.quantize.networks import needs_onnxruntime, run
from tests.unit.runtimes.tflite.emitting import Runner, minmax_plan
from tests.unit.runtimes.tflite.nets import Net

Shape = tuple[int, ...]


class Chain:
    """A network that grows by one random step at a time."""

    def __init__(self, seed: int) -> None:
        self.random, self.net = random.Random(seed), Net(seed)
        self.shape: Shape = (1, *(self.random.choice([1, 2, 3, 4]) for _ in range(self.random.choice([2, 3, 3, 4]))))
        self.entry = f"float[{','.join(map(str, self.shape))}] x"
        self.at = "x"

    def axis(self) -> int:
        return self.random.randrange(len(self.shape))

    def to(self, name: str, shape: Shape) -> None:
        self.at, self.shape = name, shape

    def transpose(self) -> None:
        perm = list(range(len(self.shape)))
        self.random.shuffle(perm)
        self.to(self.net.transpose(self.at, *perm), tuple(self.shape[axis] for axis in perm))

    def reshape(self) -> None:
        shape = list(self.shape)
        place = self.random.randrange(len(shape))
        if self.random.random() < 0.5 and place:
            shape[place - 1 : place + 1] = [shape[place - 1] * shape[place]]
        elif len(shape) < 6:
            part = self.random.choice([size for size in range(1, shape[place] + 1) if shape[place] % size == 0])
            shape[place : place + 1] = [part, shape[place] // part]
        self.to(self.net.reshape(self.at, *shape), tuple(shape))

    def softmax(self) -> None:
        self.to(self.net.op("Softmax", self.at, attributes=f"axis={self.axis()}"), self.shape)

    def reduce(self) -> None:
        axes, keep = (
            sorted(self.random.sample(range(len(self.shape)), self.random.randint(1, len(self.shape) - 1))),
            self.random.randint(0, 1),
        )
        shape = tuple(1 if axis in axes else size for axis, size in enumerate(self.shape) if keep or axis not in axes)
        self.to(self.net.op(self.random.choice(["ReduceMean", "ReduceMax"]), self.at, attributes=f"axes={axes}, keepdims={keep}"), shape)

    def matrix(self) -> None:
        width = self.random.choice([2, 3, 5])
        self.to(self.net.dense(self.at, self.shape[-1], width), (*self.shape[:-1], width))

    def rows(self) -> None:
        flat = self.net.op("Flatten", self.at)
        self.to(self.net.op("Gemm", flat, self.net.normal(math.prod(self.shape[1:]), 4)), (self.shape[0], 4))

    def convolution(self) -> None:
        if len(self.shape) == 4:
            self.to(self.net.conv(self.at, self.shape[1], 3, 3, 3, norm=False), (self.shape[0], 3, *self.shape[2:]))

    def join(self) -> None:
        axis = self.axis()
        joined = self.net.concat(self.at, self.net.op("Sigmoid", self.at), axis=axis)
        self.to(joined, tuple(2 * size if one == axis else size for one, size in enumerate(self.shape)))

    def pick(self) -> None:
        axis = self.axis()
        places = [self.random.randrange(self.shape[axis]) for _ in range(2)]
        picked = self.net.op("Gather", self.at, self.net.whole(*places), attributes=f"axis={axis}")
        self.to(picked, tuple(2 if one == axis else size for one, size in enumerate(self.shape)))

    def mixed(self) -> None:
        """Add the tensor to itself in another order."""
        perm = list(range(len(self.shape)))
        self.random.shuffle(perm)
        turned = self.net.reshape(self.net.transpose(self.at, *perm), *self.shape)
        self.to(self.net.op("Add", self.at, turned), self.shape)

    def square(self) -> None:
        """Multiply by its own transpose."""
        if 2 <= len(self.shape) <= 5:
            perm = [*range(len(self.shape) - 2), len(self.shape) - 1, len(self.shape) - 2]
            self.to(self.net.op("MatMul", self.at, self.net.transpose(self.at, *perm)), (*self.shape[:-1], self.shape[-2]))


STEPS: tuple[Callable[[Chain], None], ...] = (
    *(Chain.transpose, Chain.transpose, Chain.reshape, Chain.reshape, Chain.softmax, Chain.reduce, Chain.matrix, Chain.rows),
    *(Chain.convolution, Chain.join, Chain.pick, Chain.mixed, Chain.square),
)


@pytest.mark.parametrize("seed", range(100))
def test_chain(seed: int) -> None:
    if seed == 19:
        needs_onnxruntime((1, 24), "folds this chain into shapes that contradict each other")
    chain = Chain(seed)
    for step in chain.random.choices(STEPS, k=chain.random.randint(4, 8)):
        if len(chain.shape) > 1 and math.prod(chain.shape) < 2000:
            step(chain)
    proto = chain.net.proto(chain.entry, chain.net.named("y", chain.net.op("Tanh", chain.at)))
    graph = TfliteRuntime().prepare(normalise(proto))
    (entry,) = graph.inputs
    sample = np.random.default_rng(seed).standard_normal(entry.shape).astype(np.float32)
    plan = minmax_plan(graph, [sample])
    in_float = {node.name: NodePrecision("float32", "asked") for node in graph.nodes}
    artifact = TfliteRuntime().emit(graph, msgspec.structs.replace(plan, nodes=in_float), io_dtype="float32", layout="nhwc")
    # NHWC of an image; of a model that is channels last already, as it is.
    turned = artifact.layouts["x"] == "nhwc" and artifact.inputs[0].shape != sample.shape
    (reference,) = run(proto, x=sample)
    got = Runner(artifact.data).run({"x": sample.transpose(0, 2, 3, 1) if turned else sample})[0]
    expected = reference.transpose(0, 2, 3, 1) if artifact.layouts["y"] == "nhwc" else reference
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4)
