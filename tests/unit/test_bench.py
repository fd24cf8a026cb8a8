"""The arithmetic of bench/quantization, and the conversion one of its models goes through."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper

from bench.quantization import result, table, tflite_onnx
from bench.quantization.case import CASES
from bench.quantization.environment import ENVIRONMENTS, versions
from bench.quantization.feed import Samples
from bench.quantization.peer import PEERS, RUNTIMES
from bench.quantization.result import Cost, Result
from bench.quantization.runtimes.litert import as_taken, entry_of
from bench.quantization.score import Score, ratio, score, sqnr_db
from edgekit import lazy
from edgekit.plan import QuantPlan
from edgekit.quantize.calibrate import calibrate
from edgekit.quantize.normalise import normalise
from edgekit.runtimes import RUNTIMES as OURS


def test_score_counts_what_changed_and_what_is_right() -> None:
    reference = np.array([[9.0, 0.0], [9.0, 0.0], [0.0, 9.0], [0.0, 9.0]], np.float32)
    got = np.array([[9.0, 0.0], [0.0, 9.0], [0.0, 9.0], [9.0, 0.0]], np.float32)
    judged = score(reference, got, np.array([0, 0, 0, 1]))
    assert (judged.samples, judged.float_top1, judged.top1, judged.disagreement) == (4, 75.0, 25.0, 50.0)
