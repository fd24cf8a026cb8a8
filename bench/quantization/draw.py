"""Draw the points that ``plot`` lists, in the environment of the same name.

python -m bench.quantization.draw PANELS.json OUT.svg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot, ticker

COLUMNS = 3
MARKERS = "osD^vPX<>hd*8p"


def main() -> None:
    panels = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    # The same points give the same bytes.
    matplotlib.rcParams.update({"svg.hashsalt": "edgekit", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    peers = list(dict.fromkeys(point["peer"] for panel in panels for point in panel["points"]))
    ours = {point["peer"] for panel in panels for point in panel["points"] if point["edgekit"]}
    theirs = [peer for peer in peers if peer not in ours]
    colours = {peer: matplotlib.colormaps["tab20"](theirs.index(peer) % 20) if peer in theirs else "black" for peer in peers}
    rows = -(-len(panels) // COLUMNS)
    figure, grid = pyplot.subplots(rows, COLUMNS, figsize=(12, 3.4 * rows + 1.6), squeeze=False)
    handles = {}
    for axes, panel in zip(grid.flat, panels, strict=False):
        for point in panel["points"]:
            handles[point["peer"]] = axes.scatter(
                point["seconds"],
                point["disagreement"],
                s=point["peak_mib"] / 4,
                marker=MARKERS[peers.index(point["peer"]) % len(MARKERS)],
                color=colours[point["peer"]],
                alpha=0.75,
                linewidths=0.5,
                zorder=2 + point["edgekit"],
            )
        seconds, lost = ([point[key] for point in panel["points"]] for key in ("seconds", "disagreement"))
        axes.set(title=panel["title"], xlabel="seconds to calibrate and quantize", ylabel="disagreement with float, %")
        axes.set_xscale("log")
        axes.set_xlim(min(seconds) / 1.5, max(seconds) * 1.5)
        axes.set_yscale("symlog", linthresh=1.0)
        axes.set_ylim(0, 1.4 * max(1.0, *lost))
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 3)))
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
        axes.set_yticks([tick for tick in (0, 0.5, 1, 3, 10, 30, 100) if tick < 1.4 * max(1.0, *lost)])
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axes.grid(alpha=0.3, linewidth=0.5)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    legend = figure.legend(handles.values(), handles, loc="lower center", ncols=4, frameon=False, title="area: peak memory")
    for handle in legend.legend_handles:
        handle.set_sizes([40])
    figure.tight_layout(rect=(0, 1.4 / (3.4 * rows + 1.6), 1, 1))
    figure.savefig(sys.argv[2], metadata={"Date": None})


if __name__ == "__main__":
    main()
