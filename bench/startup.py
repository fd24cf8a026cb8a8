"""How long ``edgekit --help`` takes, against the smallest click program and against bare Python.

    python bench/startup.py [RUNS]

Runs the three in turn, so that a machine whose speed drifts treats them alike, and prints medians and
the median of the ratios pair by pair.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

CLICK = "import click\n@click.command()\ndef main():\n    'Say hello.'\nmain(['--help'])"
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "bare click --help": [sys.executable, "-c", CLICK],
    "edgekit --help": [sys.executable, "-m", "edgekit", "--help"],
}


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for run in range(runs + 1):
        for name, words in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            # The first round fills the page cache and the byte code.
            if run:
                seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        print(f"{name:<18} median {1000 * statistics.median(values):6.1f} ms  ({runs} runs)")
    ratios = [ours / bare for ours, bare in zip(seconds["edgekit --help"], seconds["bare click --help"], strict=True)]
    print(f"edgekit / bare click: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
