"""Networks of the shapes that people deploy, small and with random weights, as exporters write them."""

from __future__ import annotations

import math

import numpy as np
import onnx

from edgekit.graph import Array
from tests.unit.runtimes.tflite.nets import Net

__all__ = [
    "depthwise_keywords",
    "detector",
    "encoder",
    "grid_detector",
    "gru_classifier",
    "lstm_classifier",
    "segmenter",
    "sequence_keywords",
    "squeeze_excite",
    "super_resolution",
]


def depthwise_keywords() -> onnx.ModelProto:
    """A DS-CNN over mel features (Zhang et al. 2017, "Hello Edge")."""
    net = Net(1)
    x = net.op("Relu", net.conv("x", 1, 16, 9, 5, stride=2))
    for _ in range(3):
        x = net.op("Relu", net.conv(x, 16, 16, 3, 3, group=16))
        x = net.op("Relu", net.conv(x, 16, 16, 1, 1))
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    x = net.op("Gemm", x, net.normal(16, 12, scale=0.4), net.normal(12))
    return net.proto("float[N,1,49,10] x", net.named("y", net.op("Softmax", x)))


def sequence_keywords() -> onnx.ModelProto:
    """A residual network of one-dimensional convolutions (Choi et al. 2019, "Temporal Convolution ... Keyword Spotting")."""
    net = Net(2)
    x = net.conv("x", 12, 16, 3)
    for _ in range(2):
        branch = net.op("Relu", net.conv(x, 16, 24, 9, stride=2))
        branch = net.conv(branch, 24, 24, 9)
        x = net.op("Relu", net.op("Add", branch, net.op("Relu", net.conv(x, 16, 24, 1, stride=2))))
        x = net.conv(x, 24, 16, 1)
    x = net.op("Squeeze", net.op("GlobalAveragePool", x), net.whole(2))
    return net.proto("float[N,12,40] x", net.named("y", net.dense(x, 16, 10)))


def segmenter() -> onnx.ModelProto:
    """A U-Net: one way up by a transposed convolution, the other by interpolation."""
    net = Net(3)
    first = net.op("Relu", net.conv("x", 3, 8, 3, 3))
    second = net.op("Relu", net.conv(net.op("MaxPool", first, attributes="kernel_shape=[2,2], strides=[2,2]"), 8, 16, 3, 3))
    deep = net.op("Relu", net.conv(net.op("MaxPool", second, attributes="kernel_shape=[2,2], strides=[2,2]"), 16, 16, 3, 3))
    size = net.real([1, 1, 2, 2])
    up = net.op("Resize", deep, "", size, attributes='mode="linear", coordinate_transformation_mode="half_pixel"')
    x = net.op("Relu", net.conv(net.concat(up, second), 32, 16, 3, 3))
    up = net.op("ConvTranspose", x, net.normal(16, 8, 2, 2, scale=0.2), net.normal(8, scale=0.1), attributes="strides=[2,2]")
    x = net.op("Relu", net.conv(net.concat(up, first), 16, 8, 3, 3))
    return net.proto("float[N,3,16,24] x", net.named("y", net.op("Sigmoid", net.conv(x, 8, 2, 1, 1, norm=False))))


def detector() -> onnx.ModelProto:
    """A head without anchors: distances as expectations over bins, boxes and scores in one output (as YOLOv8)."""
    net, bins, classes = Net(4), 4, 3
    levels = _pyramid(net)
    flat, points, strides = [], [], []
    for level, (x, stride, (height, width)) in enumerate(levels):
        boxes = net.conv(net.silu(net.conv(x, 16, 16, 3, 3)), 16, 4 * bins, 1, 1, norm=False)
        scores = net.conv(net.silu(net.conv(x, 16, 16, 3, 3)), 16, classes, 1, 1, norm=False)
        flat.append(net.reshape(net.concat(boxes, scores), 1, 4 * bins + classes, height * width))
        points.append(_centres(height, width))
        strides.append(np.full(height * width, stride))
        assert level < 2
    whole = net.concat(*flat, axis=2)
    parts = net.op("Split", whole, net.whole(4 * bins, classes), attributes="axis=1", outputs=2)
    count = sum(len(one) for one in strides)
    odds = net.op("Softmax", net.transpose(net.reshape(f"{parts}_0", 1, 4, bins, count), 0, 2, 1, 3), attributes="axis=1")
    distance = net.op("Conv", odds, net.real(np.arange(bins).reshape(1, bins, 1, 1)))
    sides = net.op("Split", net.reshape(distance, 1, 4, count), net.whole(2, 2), attributes="axis=1", outputs=2)
    anchors = net.real(np.concatenate(points, axis=1)[None])
    top, bottom = net.op("Sub", anchors, f"{sides}_0"), net.op("Add", anchors, f"{sides}_1")
    centre = net.op("Div", net.op("Add", top, bottom), net.real(2.0))
    boxes = net.op("Mul", net.concat(centre, net.op("Sub", bottom, top)), net.real(np.concatenate(strides)[None, None]))
    return net.proto("float[N,3,32,48] x", net.named("y", net.concat(boxes, net.op("Sigmoid", f"{parts}_1"))))


def grid_detector() -> onnx.ModelProto:
    """A head with anchors: grid, powers and products on slices of one sigmoid (as YOLOv5)."""
    net, classes = Net(5), 3
    outputs = []
    for x, stride, (height, width) in _pyramid(net):
        raw = net.reshape(net.conv(x, 16, 2 * (5 + classes), 1, 1, norm=False), 1, 2, 5 + classes, height, width)
        odds = net.op("Sigmoid", net.transpose(raw, 0, 1, 3, 4, 2))
        parts = net.op("Split", odds, net.whole(2, 2, 1 + classes), attributes="axis=4", outputs=3)
        grid = net.real(_centres(height, width).T.reshape(1, 1, height, width, 2) - 1.0)
        place = net.op("Mul", net.op("Add", net.op("Mul", f"{parts}_0", net.real(2.0)), grid), net.real(float(stride)))
        anchors = net.real(np.array([[1.5, 2.0], [3.0, 2.5]]).reshape(1, 2, 1, 1, 2) * stride)
        size = net.op("Mul", net.op("Pow", net.op("Mul", f"{parts}_1", net.real(2.0)), net.real(2.0)), anchors)
        joined = net.concat(place, size, f"{parts}_2", axis=4)
        outputs.append(net.reshape(joined, 1, 2 * height * width, 5 + classes))
    return net.proto("float[N,3,32,48] x", net.named("y", net.concat(*outputs)))


def _pyramid(net: Net) -> list[tuple[str, int, tuple[int, int]]]:
    """Two levels of features of a 32 x 48 image: (tensor, stride, size)."""
    x = net.silu(net.conv("x", 3, 8, 3, 3, stride=2))
    fine = net.silu(net.conv(x, 8, 16, 3, 3, stride=2))
    coarse = net.silu(net.conv(fine, 16, 16, 3, 3, stride=2))
    pooled = net.op("MaxPool", coarse, attributes="kernel_shape=[5,5], pads=[2,2,2,2]")
    coarse = net.silu(net.conv(net.concat(coarse, pooled), 32, 16, 1, 1))
    up = net.op(
        "Resize",
        coarse,
        "",
        net.real([1, 1, 2, 2]),
        attributes='mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"',
    )
    fine = net.silu(net.conv(net.concat(up, fine), 32, 16, 1, 1))
    return [(fine, 4, (8, 12)), (coarse, 8, (4, 6))]


def _centres(height: int, width: int) -> Array:
    rows, columns = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    return np.stack([columns.reshape(-1), rows.reshape(-1)])


def super_resolution() -> onnx.ModelProto:
    """ESPCN (Shi et al. 2016): the image grows by a pixel shuffle at the end."""
    net = Net(6)
    x = net.op("Tanh", net.conv("x", 1, 16, 5, 5, norm=False))
    x = net.op("Tanh", net.conv(x, 16, 16, 3, 3, norm=False))
    x = net.op("DepthToSpace", net.conv(x, 16, 9, 3, 3, norm=False), attributes='blocksize=3, mode="CRD"')
    return net.proto("float[N,1,12,16] x", net.named("y", x))


def squeeze_excite() -> onnx.ModelProto:
    """Two blocks of MobileNetV3 (Howard et al. 2019), hard functions spelled out."""
    net = Net(7)
    x = net.hard_swish(net.conv("x", 3, 8, 3, 3, stride=2))
    for _ in range(2):
        wide = net.hard_swish(net.conv(x, 8, 24, 1, 1))
        wide = net.hard_swish(net.conv(wide, 24, 24, 5, 5, group=24))
        gate = net.op("Relu", net.conv(net.op("GlobalAveragePool", wide), 24, 8, 1, 1, norm=False))
        wide = net.op("Mul", net.hard_sigmoid(net.conv(gate, 8, 24, 1, 1, norm=False)), wide)
        x = net.op("Add", net.conv(wide, 24, 8, 1, 1), x)
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    return net.proto("float[N,3,16,16] x", net.named("y", net.op("Gemm", x, net.normal(8, 10), net.normal(10))))


def lstm_classifier() -> onnx.ModelProto:
    """Two LSTM layers over a window of sensor values, the class from the last step."""
    net, hidden = Net(8), 12
    x = net.transpose("x", 1, 0, 2)
    for width in (6, hidden):
        made = net.op("LSTM", x, *_recurrent(net, 1, 4, width, hidden), attributes=f"hidden_size={hidden}", outputs=3)
        x = net.op("Squeeze", f"{made}_0", net.whole(1))
    last = net.op("Gather", x, net.whole(-1), attributes="axis=0")
    return net.proto("float[N,10,6] x", net.named("y", net.dense(net.reshape(last, 1, hidden), hidden, 5)))


def gru_classifier() -> onnx.ModelProto:
    """A GRU in both directions over convolved features, as PyTorch has it; the class from the mean."""
    net, hidden = Net(9), 10
    x = net.op("Relu", net.conv("x", 6, 12, 3))
    attributes = f'hidden_size={hidden}, direction="bidirectional", linear_before_reset=1'
    made = net.op("GRU", net.transpose(x, 2, 0, 1), *_recurrent(net, 2, 3, 12, hidden), attributes=attributes, outputs=2)
    joined = net.reshape(net.transpose(f"{made}_0", 0, 2, 1, 3), 10, 1, 2 * hidden)
    mean = net.op("ReduceMean", joined, attributes="axes=[0], keepdims=0")
    return net.proto("float[N,6,10] x", net.named("y", net.dense(mean, 2 * hidden, 5)))


def _recurrent(net: Net, directions: int, gates: int, width: int, hidden: int) -> list[str]:
    scale = math.sqrt(1 / hidden)
    shapes = [(directions, gates * hidden, width), (directions, gates * hidden, hidden), (directions, 2 * gates * hidden)]
    return [net.uniform(-scale, scale, *shape) for shape in shapes]


def encoder() -> onnx.ModelProto:
    """Two layers of a BERT with its padding mask, mean pooling behind."""
    net, steps, width, heads = Net(10), 12, 24, 3
    deep = width // heads
    seen = net.op("Cast", net.op("Unsqueeze", "mask", net.whole(1, 2)), attributes="to=1")
    hidden = net.op("Mul", net.op("Sub", net.real(1.0), seen), net.real(-3.4028235e38))
    x = net.op("Add", net.op("Gather", net.normal(50, width), "tokens"), net.normal(steps, width, scale=0.3))
    x = net.layer_norm(x, width)
    for _ in range(2):
        queries, keys, values = (net.reshape(net.dense(x, width, width), 1, steps, heads, deep) for _ in range(3))
        scores = net.op("MatMul", net.transpose(queries, 0, 2, 1, 3), net.transpose(keys, 0, 2, 3, 1))
        scores = net.op("Add", net.op("Div", scores, net.real(math.sqrt(deep))), hidden)
        mixed = net.op("MatMul", net.op("Softmax", scores), net.transpose(values, 0, 2, 1, 3))
        mixed = net.reshape(net.transpose(mixed, 0, 2, 1, 3), 1, steps, width)
        x = net.layer_norm(net.op("Add", net.dense(mixed, width, width), x), width)
        x = net.layer_norm(net.op("Add", net.dense(net.gelu(net.dense(x, width, 2 * width)), 2 * width, width), x), width)
    weights = net.op("Cast", net.op("Unsqueeze", "mask", net.whole(2)), attributes="to=1")
    total = net.op("ReduceSum", net.op("Mul", x, weights), net.whole(1), attributes="keepdims=0")
    mean = net.op("Div", total, net.op("ReduceSum", weights, net.whole(1), attributes="keepdims=0"))
    return net.proto(f"int64[N,{steps}] tokens, int64[N,{steps}] mask", net.named("y", mean))
