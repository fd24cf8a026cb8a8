"""Small networks with several inputs, written as files: an image beside a vector, and a text with its mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

__all__ = ["CLASSES", "TOKENS", "VOCABULARY", "fusion", "reader", "texts"]

CLASSES = 4
VOCABULARY, TOKENS = 50, 12


def fusion(path: Path) -> None:
    """Write a classifier of an image and a vector of facts: Conv, mean over the image, both concatenated, Gemm."""
    random = np.random.default_rng(3)
    weights = {"k": random.standard_normal((6, 3, 3, 3)) / 5, "w": random.standard_normal((11, CLASSES))}
    nodes = [
        helper.make_node("Conv", ["image", "k"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Concat", ["f", "facts"], ["all"], axis=1),
        helper.make_node("Gemm", ["all", "w"], ["y"]),
    ]
    floats = onnx.TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("facts", floats, ["N", 5]), helper.make_tensor_value_info("image", floats, ["N", 3, 8, 8])]
    _save(path, nodes, inputs, weights)


def reader(path: Path) -> None:
    """Write a classifier of token ids with a mask: embedding, mean of what the mask leaves, two dense layers."""
    random = np.random.default_rng(5)
    weights = {
        "table": random.standard_normal((VOCABULARY, 16)),
        "w": random.standard_normal((16, 24)) / 2,
        "v": random.standard_normal((24, CLASSES)) / 2,
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["real"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["real", "last"], ["column"]),
        helper.make_node("Mul", ["words", "column"], ["kept"]),
        helper.make_node("ReduceMean", ["kept"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Gemm", ["mean", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "v"], ["y"]),
    ]
    whole = onnx.TensorProto.INT64
    inputs = [helper.make_tensor_value_info(name, whole, ["N", "tokens"]) for name in ("input_ids", "attention_mask")]
    _save(path, nodes, inputs, weights, last=np.array([2]))


def texts(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return token ids and masks of texts of 3 to 12 tokens, filled up with zeros."""
    random = np.random.default_rng(seed)
    mask = np.arange(TOKENS) < random.integers(3, TOKENS + 1, (count, 1))
    return random.integers(1, VOCABULARY, (count, TOKENS)) * mask, mask.astype(np.int64)


def _save(
    path: Path, nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], weights: dict[str, np.ndarray], **whole: np.ndarray
) -> None:
    constants = {name: array.astype(np.float32) for name, array in weights.items()} | whole
    body = helper.make_graph(
        nodes,
        "net",
        inputs,
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
