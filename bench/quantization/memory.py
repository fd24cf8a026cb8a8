"""Whether memory grows with the number of samples, and how far each is from one plain float pass over them.

    python bench/quantization/memory.py [--model mobilenetv2] [--samples 100 1000] [--peers ...]

Keeps what it measured for the document that ``run`` writes.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.quantization.case import CASES
from bench.quantization.environment import cache_folder
from bench.quantization.measure import Bench
from bench.quantization.peer import PEERS
from bench.quantization.sets import prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=CASES, default="mobilenetv2")
    parser.add_argument("--samples", type=int, nargs=2, default=[100, 1000])
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=["edgekit-tflite", "nncf-onnx", "nncf-openvino", "float-pass"])
    wanted = parser.parse_args()
    cache = cache_folder()
    bench, sets = Bench(cache, cache / "memory", wanted.samples[0]), prepare(wanted.model, CASES[wanted.model], cache)
    costs = {name: [asdict(bench.quantize(wanted.model, name, sets, count)[0]) for count in wanted.samples] for name in wanted.peers}
    held = {"model": wanted.model, "samples": wanted.samples, "costs": costs}
    (cache / "results").mkdir(exist_ok=True)
    (cache / "results" / "memory.json").write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
    for name, (few, many) in costs.items():
        print(
            f"{name:<20} {few['seconds']:7.1f} s {few['peak_mib']:6.0f} MiB   {many['seconds']:7.1f} s {many['peak_mib']:6.0f} MiB"
            f"   ratio {many['peak_mib'] / few['peak_mib']:.2f}"
        )


if __name__ == "__main__":
    main()
