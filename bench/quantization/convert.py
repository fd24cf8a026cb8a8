"""Make a float .tflite of an ONNX model with onnx2tf, in the environment of that name. ``float_model`` starts it.

    python -m bench.quantization.convert MODEL.onnx FOLDER

The model is simplified first: shapes computed in the graph, which exporters write, end as files that LiteRT refuses.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import onnxsim
from onnx2tf import convert

if __name__ == "__main__":
    source, folder = sys.argv[1], Path(sys.argv[2])
    simplified, _ = onnxsim.simplify(onnx.load(source))
    onnx.save(simplified, folder / "simplified.onnx")
    convert(
        input_onnx_file_path=str(folder / "simplified.onnx"),
        output_folder_path=str(folder),
        copy_onnx_input_output_names_to_tflite=True,
    )
