"""The Q/DQ emitters: a float graph and its plan become an ONNX file that says its roundings explicitly.

``emit`` is the face. ``prepare``, ``support``, ``precision`` and ``runtimes.scales`` decide; ``stored`` places roundings for
onnxruntime's CPU kernels, ``fused`` for TensorRT; ``emission`` and ``weights`` write; ``half`` turns what is not integers into float16.
"""

from __future__ import annotations

from edgekit.runtimes.qdq.emit import OnnxRuntime, TensorRtQdq

__all__ = ["OnnxRuntime", "TensorRtQdq"]
