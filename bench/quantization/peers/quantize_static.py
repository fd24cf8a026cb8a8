"""ONNX Runtime's ``quantize_static``, after the preprocessing its manual asks for; Q/DQ, per channel."""

from __future__ import annotations

from pathlib import Path

from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from bench.quantization.feed import Feed
from bench.quantization.job import Job

METHODS = {"MinMax": CalibrationMethod.MinMax, "Entropy": CalibrationMethod.Entropy, "Percentile": CalibrationMethod.Percentile}


class Reader(CalibrationDataReader):  # type: ignore[misc]  # without the package, Any
    def __init__(self, job: Job) -> None:
        self._samples = iter(job.samples)

    def get_next(self) -> Feed | None:
        return next(self._samples, None)


def quantize(job: Job) -> Path:
    symmetric, prepared, target = job.options["symmetric"], Path(job.folder) / "prepared.onnx", job.output(".onnx")
    quant_pre_process(job.model, str(prepared))
    quantize_static(
        str(prepared),
        str(target),
        Reader(job),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
        calibrate_method=METHODS[job.options["method"]],
        extra_options={"ActivationSymmetric": True} if symmetric else {},
    )
    return target
