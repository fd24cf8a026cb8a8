"""What the host keeps between runs, and what it fetches from a board that has built an engine."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
from hypothesis import strategies as st

from edgekit.errors import InputError
from edgekit.layers import layer_summary
from edgekit.pipeline.journal import Journal, _Line
from edgekit.quantize.sensitivity import Step
from edgekit.trial import Trial
from tests.fuzz.mutation import broken_bytes, broken_json
from tests.fuzz.surface import Surface

TENSOR = {"Name": "x", "Dimensions": [1, 3, 8, 8], "Format/Datatype": "Int8 NC/4HW4"}
LAYERS = {"Layers": [{"Name": "conv", "LayerType": "CaskConvolution", "Inputs": [TENSOR], "Outputs": [TENSOR]}, "relu"], "Bindings": ["x"]}
TRIAL = Trial(
    kept=("conv",),
    outcome="pass",
    delta=0.0,
    delta_low=-0.01,
    disagreement=0.0,
    sqnr_db=None,
    artifact_bytes=1,
    float_macs=0.5,
)
LINES = b"".join(msgspec.json.encode(line) + b"\n" for line in (_Line(trial=TRIAL), _Line(step=Step(("conv",), 0.5)), _Line(trial=TRIAL)))


def trials(data: bytes, folder: Path) -> None:
    """A torn or strange line ends what is taken; nothing else is refused."""
    shutil.rmtree(folder / "search", ignore_errors=True)
    path = Journal(folder / "search", {}, resume=False).path
    assert path is not None
    path.write_bytes(data)
    again = Journal(folder / "search", {}, resume=True)
    list(again.ranking(lambda: iter(())))


def lines() -> st.SearchStrategy[bytes]:
    one = broken_json(msgspec.to_builtins(_Line(trial=TRIAL))) | broken_json(msgspec.to_builtins(_Line(step=Step(("conv",), 0.5))))
    return broken_bytes(LINES) | st.lists(one | st.just(LINES[:-1]), max_size=3).map(b"\n".join).map(lambda text: text + b"\n")


KEPT: dict[str, Surface] = {
    "trials": Surface(5, lines, trials, (InputError,)),
    "layers": Surface(5, lambda: broken_json(LAYERS), lambda data, _: layer_summary(data, "layers.json"), (InputError,)),
}
