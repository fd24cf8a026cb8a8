"""Operators that change an image's size without weights: resizing, and moving channels into pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from edgekit.graph import Node
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.operator import Operator, Unsupported

__all__ = ["OPERATORS"]

# (coordinate_transformation_mode, nearest_mode) that equal TFLite's floor(x * in / out) for every size, and
# those that do when each pixel is repeated a whole number of times: (x + 0.5) / n is never whole.
_NEAREST = frozenset({("asymmetric", "floor")})
_NEAREST_REPEAT = _NEAREST | {
    (mode, rule) for mode in ("half_pixel", "pytorch_half_pixel") for rule in ("round_prefer_floor", "round_prefer_ceil")
}


def _resize(e: Emission, node: Node) -> None:
    name, out = node.inputs[0], node.outputs[0]
    before, after = e.graph.shapes[name], e.graph.shapes[out]
    if len(before) != 4 or before[:2] != after[:2]:
        raise Unsupported("it resizes other axes than those of an image", fix="resize the last two of four dimensions only")
    _check_scales(e, node)
    transformation = str(node.attrs.get("coordinate_transformation_mode", "half_pixel"))
    mode = node.attrs.get("mode", "nearest")
    if mode == "nearest":
        rule = str(node.attrs.get("nearest_mode", "round_prefer_floor"))
        repeats = all(a % b == 0 for a, b in zip(after[2:], before[2:], strict=True))
        if (transformation, rule) not in (_NEAREST_REPEAT if repeats else _NEAREST):
            raise Unsupported(
                f"nearest by {transformation!r} and {rule!r} is not what TFLite does",
                fix="export with coordinate_transformation_mode 'asymmetric' and nearest_mode 'floor'",
            )
        code, options, half, corners = "RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions", False, False
    elif mode == "linear" and transformation in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
        code, options = "RESIZE_BILINEAR", "ResizeBilinearOptions"
        half, corners = transformation.endswith("half_pixel"), transformation == "align_corners"
    else:
        raise Unsupported(f"{mode} interpolation by {transformation!r}", fix="resize by 'linear' or 'nearest'")
    inputs = [e.read(name, "nhwc"), e.integers("size", after[2:])]
    e.op(code, inputs, [e.declare(out, "nhwc")], options, halfPixelCenters=half, alignCorners=corners)


def _check_scales(e: Emission, node: Node) -> None:
    """Refuse what is not a plain resize: a window on the input, antialiasing, sizes rounded from the scales."""
    before, after = e.graph.shapes[node.inputs[0]], e.graph.shapes[node.outputs[0]]
    if node.attrs.get("antialias") or node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        raise Unsupported("it crops or antialiases", fix="export a plain resize")
    if len(node.inputs) > 2 and node.inputs[2]:
        scales = e.weight(node.inputs[2]).tolist()
        # ONNX samples by the scale as given, TFLite by the ratio of the sizes.
        if scales and any(abs(b * s - a) > 1e-3 for a, b, s in zip(after, before, scales, strict=True)):
            raise Unsupported(f"its scales {scales} do not give whole sizes", fix="export the model with sizes instead of scales")


def _blocks(code: str, options: str) -> Callable[[Emission, Node], None]:
    def lower(e: Emission, node: Node) -> None:
        if node.attrs.get("mode", "DCR") != "DCR":
            raise Unsupported(
                "its mode is CRD (a pixel shuffle)", fix="reorder the channels of the convolution in front and export mode DCR"
            )
        source = e.read(node.inputs[0], "nhwc")
        e.op(code, [source], [e.declare(node.outputs[0], "nhwc")], options, blockSize=int(node.attrs["blocksize"]))

    return lower


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "DepthToSpace": Operator(_blocks("DEPTH_TO_SPACE", "DepthToSpaceOptions"), same_scale=True, moves=True),
        "Resize": Operator(_resize, same_scale=True),
        "SpaceToDepth": Operator(_blocks("SPACE_TO_DEPTH", "SpaceToDepthOptions"), same_scale=True, moves=True),
    }
)
