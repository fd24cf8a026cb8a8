"""Make a float .tflite of an ONNX model with onnx2tf, in the environment of that name. ``float_model`` starts it.

python -m bench.quantization.convert MODEL.onnx FOLDER
"""

from __future__ import annotations

import sys

from onnx2tf import convert

if __name__ == "__main__":
    convert(input_onnx_file_path=sys.argv[1], output_folder_path=sys.argv[2], copy_onnx_input_output_names_to_tflite=True)
