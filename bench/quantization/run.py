"""edgekit beside its peers: the same models, samples and machine.

    python bench/quantization/run.py [--models ...] [--peers ...] [--samples 100] [--docs]

What was measured is kept, and a run measures what is missing or has changed: edgekit's code, a peer's list, a model.
Prints the table; ``--docs`` writes it, with the plot, where the documents are.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.quantization import plot, process, table
from bench.quantization.case import CASES
from bench.quantization.data import AbsentError
from bench.quantization.environment import ROOT, NotInstalledError, cache_folder
from bench.quantization.measure import Bench
from bench.quantization.peer import PEERS, RUNTIMES
from bench.quantization.sets import Sets, prepare

DOCS = ROOT / "docs"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--samples", type=int, default=100, help="to calibrate on (default 100)")
    parser.add_argument(
        "--again", action="store_true", help="take all times anew; answers are asked for only of files that came out otherwise"
    )
    parser.add_argument("--repeats", type=int, default=1, help="how often each quantizes, for the median of the times (default 1)")
    parser.add_argument("--docs", action="store_true", help="write docs/quantization.md and docs/quantization.svg")
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="environments and prepared samples (EDGEKIT_BENCH_CACHE)")
    parser.add_argument("--out", type=Path, help="results (default: in the cache)")
    return parser.parse_args()


def measure(bench: Bench, model: str, peers: list[str], sets: Sets, wanted: argparse.Namespace) -> None:
    again = wanted.again
    found = {name: bench.measure(model, name, sets, again=again) for name in peers}
    # Rounds over all peers, not peer by peer: a machine whose speed drifts treats them alike.
    for _ in range(wanted.repeats - 1):
        for name, known in found.items():
            if len(known.costs) < wanted.repeats and known.error is None:
                found[name] = bench.repeat(model, name, sets)
    for known in found.values():
        if PEERS[known.peer].has_command and known.error is None and (again or "command" not in known.notes):
            bench.command(known, sets)
    for runtime in RUNTIMES:
        if any(PEERS[name].runtime == runtime for name in peers):
            bench.latency(model, runtime, sets, again=again)


def main() -> None:
    wanted = options()
    bench = Bench(wanted.cache, wanted.out or wanted.cache / "results", wanted.samples)
    for model in wanted.models:
        try:
            sets = prepare(model, CASES[model], wanted.cache)
        except (AbsentError, NotInstalledError, process.FailedError) as error:
            print(f"{model}: skipped, {error}", file=sys.stderr)
            continue
        peers = [name for name in wanted.peers if not PEERS[name].models or model in PEERS[name].models]
        measure(bench, model, peers, sets, wanted)
    text = table.document(bench.results, bench.samples)
    print(text)
    if wanted.docs:
        (DOCS / "quantization.md").write_text(text, encoding="utf-8")
        plot.draw(bench.results, bench.samples, DOCS / "quantization.svg", wanted.cache)


if __name__ == "__main__":
    main()
