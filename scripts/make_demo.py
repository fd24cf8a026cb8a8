"""Make the demo in ``calibration/demo``: data, network, ONNX file, config and card, from nothing but seeds.

Run from a checkout as ``python scripts/make_demo.py``. Everything is checked before the first file is
written: no picture is in two sets, onnxruntime agrees with torch, and the accuracy is where the demo
needs it (good, but with room to lose some, or quantizing it would show nothing).
"""

from __future__ import annotations

import hashlib
import io
import itertools
import platform
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

try:
    import numpy as np
    import onnx
    import onnxruntime
    import PIL
    import torch
    from render_digits import SIZE_PX, render_set
    from torch import Tensor, nn

    from edgekit.digest import sha256_bytes, write_atomic
except ImportError as error:
    raise SystemExit(f"make_demo: {error.name or error} is not installed\n  fix: pip install -e '.[torch]'") from error

Array = np.ndarray[Any, np.dtype[Any]]
Set = tuple[Array, Array]

FOLDER = Path(__file__).resolve().parent.parent / "calibration" / "demo"
COUNTS = {"training": 20_000, "calibration": 192, "evaluation": 1_000}
SEEDS = {"training": 101, "calibration": 202, "evaluation": 303, "network": 404}
EPOCHS, BATCH, PEAK_RATE = 10, 96, 4e-3
ACCURACY_MIN, ACCURACY_BELOW = 0.97, 1.0
SIZE_MAX_BYTES = 2_000_000
LOGIT_TOLERANCE = 1e-3  # float32 sums in another order, on logits of about ten
SCALE, MEAN, STD = 0.00392156862745098, 0.45, 0.25

CONFIG = f"""\
# The demo: reads one digit of a meter. How it was made is in CARD.md. Paths are relative to this file.
[model]
path = "demo.onnx"
name = "meter-digits"

[preprocess]
scale = {SCALE}
mean = [{MEAN}, {MEAN}, {MEAN}]
std = [{STD}, {STD}, {STD}]
layout = "nchw"

[calibration]
dataset = "calibration.npz"

[evaluation]
dataset = "evaluation.npz"

[budget]
accuracy_drop_max = 0.01
"""


class SqueezeExcite(nn.Module):
    """Weigh the channels by what the whole picture shows of each (Hu et al. 2018, gated as in MobileNetV3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(8, channels // 4)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1), nn.Hardsigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x * self.gate(x)
        return out


class Bottleneck(nn.Module):
    """Widen, filter each channel alone, narrow again; added to its input where the shapes allow (Howard et al. 2019)."""

    def __init__(self, entry: int, wide: int, leave: int, *, kernel: int, stride: int, excite: bool, act: type[nn.Module]) -> None:
        super().__init__()
        layers = [
            nn.Conv2d(entry, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            act(),
            nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            act(),
        ]
        if excite:
            layers.append(SqueezeExcite(wide))
        self.layers = nn.Sequential(*layers, nn.Conv2d(wide, leave, 1, bias=False), nn.BatchNorm2d(leave))
        self.adds = stride == 1 and entry == leave

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self.adds else out


def build_network() -> nn.Module:
    """Return a MobileNetV3 in small: every layer that INT8 is known to hurt, in 50 thousand weights."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.Hardswish(),
        Bottleneck(16, 48, 16, kernel=3, stride=1, excite=False, act=nn.ReLU6),
        Bottleneck(16, 64, 24, kernel=3, stride=2, excite=False, act=nn.ReLU6),
        Bottleneck(24, 72, 24, kernel=3, stride=1, excite=True, act=nn.Hardswish),
        Bottleneck(24, 96, 40, kernel=5, stride=2, excite=True, act=nn.Hardswish),
        Bottleneck(40, 120, 40, kernel=3, stride=1, excite=True, act=nn.Hardswish),
        nn.Conv2d(40, 96, 1, bias=False),
        nn.BatchNorm2d(96),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(96, 10),
    )


def preprocess(images: Array) -> Array:
    """Do what ``[preprocess]`` declares: uint8 [n, h, w, 3] to float32 [n, 3, h, w]."""
    pixels = (images.astype(np.float32) * np.float32(SCALE) - np.float32(MEAN)) / np.float32(STD)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def check_disjoint(sets: dict[str, Set]) -> None:
    """Stop where two sets share a picture."""
    digests = {name: {hashlib.sha256(image.tobytes()).digest() for image in images} for name, (images, _) in sets.items()}
    for (a, in_a), (b, in_b) in itertools.combinations(digests.items(), 2):
        if in_a & in_b:
            raise SystemExit(f"make_demo: {len(in_a & in_b)} pictures are in both the {a} and the {b} set")


def train(images: Array, digits: Array) -> nn.Module:
    """Train the network from ``SEEDS["network"]`` on one core, so that a machine always ends at the same weights."""
    torch.manual_seed(SEEDS["network"])
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    # Channels last is a third faster here, and the layers follow their input.
    x, y = torch.from_numpy(preprocess(images)).contiguous(memory_format=torch.channels_last), torch.from_numpy(digits)
    network = build_network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=0.02)
    steps = len(x) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=EPOCHS * steps, pct_start=0.2)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    for epoch in range(EPOCHS):
        started, total, right = time.monotonic(), 0.0, 0
        for batch in torch.randperm(len(x))[: steps * BATCH].reshape(steps, BATCH):
            logits = network(x[batch])
            loss = loss_of(logits, y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
            right += int((logits.argmax(1) == y[batch]).sum())
        figures = f"loss {total / steps:.4f}, training accuracy {right / steps / BATCH:.4f}"
        print(f"  epoch {epoch + 1:2}/{EPOCHS}: {figures}, {time.monotonic() - started:.0f} s", flush=True)
    return network.eval()


def export(network: nn.Module) -> bytes:
    """Write the network as ONNX, batch open, batch normalisation folded by the exporter."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the exporter by tracing, whose graphs are the plainer
        path = Path(folder, "demo.onnx")
        torch.onnx.export(
            network, (torch.zeros(1, 3, SIZE_PX, SIZE_PX),), path, opset_version=17, dynamo=False,
            input_names=["image"], output_names=["digits"], dynamic_axes={"image": {0: "N"}, "digits": {0: "N"}},
        )  # fmt: skip
        model = path.read_bytes()
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    return model


def evaluate(model: bytes, network: nn.Module, data: Set) -> tuple[int, float]:
    """Run the exported model in onnxruntime: how many digits it reads, and how far its logits are from torch's."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    x = preprocess(data[0])
    (logits,) = session.run(["digits"], {"image": x})
    with torch.no_grad():
        apart = float(np.abs(logits - network(torch.from_numpy(x)).numpy()).max())
    return int((logits.argmax(1) == data[1]).sum()), apart


def pack(data: Set) -> bytes:
    """Return the set as the bytes of a compressed .npz with ``x`` and ``y``."""
    file = io.BytesIO()
    np.savez_compressed(file, x=data[0], y=data[1])
    return file.getvalue()


def write_card(files: dict[str, bytes], correct: int, parameters: int) -> bytes:
    """Return CARD.md: what the demo is, how it came to be, and its figures."""
    rows = "\n".join(f"| `{name}` | {len(data):,} | `{sha256_bytes(data)}` |" for name, data in files.items())
    versions = {"Python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__, "Pillow": PIL.__version__}
    versions |= {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    seeds = ", ".join(f"{name} {seed}" for name, seed in SEEDS.items())
    counts = f"{COUNTS['training']:,} to train on (not shipped), {COUNTS['calibration']} to calibrate, {COUNTS['evaluation']:,} to evaluate"
    return f"""\
# Meter digits

A small network that reads one digit of a water, gas or electricity meter, and the data to quantize and judge it.
It is edgekit's demo: `edgekit build` on the `edgekit.toml` beside this card needs nothing else.

| | |
|---|---|
| input | `image`: {SIZE_PX} x {SIZE_PX} RGB, float32 [N, 3, {SIZE_PX}, {SIZE_PX}], normalised as `edgekit.toml` says |
| output | `digits`: ten logits, float32 [N, 10] |
| parameters | {parameters:,} |
| float accuracy | {correct / COUNTS["evaluation"]:.4f} ({correct} of {COUNTS["evaluation"]:,}, top-1 on `evaluation.npz`, onnxruntime) |
| licence | Apache-2.0, like edgekit: network and pictures are made by edgekit's own script |

## How it was made

    pip install -e '.[torch]'
    python scripts/make_demo.py

The command draws every picture (`scripts/render_digits.py`), trains the network on one CPU core, exports it (ONNX opset 17),
checks it and writes every file of this folder. Seeds: {seeds}.
The same versions on the same kind of CPU give the same bytes; others give a network as good, not the same.
Made with {", ".join(f"{name} {version}" for name, version in versions.items())}.

**Pictures.** Number wheels (about two thirds) with the neighbours' edges in view, four in ten caught between two digits;
liquid crystal and light emitting seven-segment displays. Perspective, blur, shake, uneven light, reflections, infrared
without colour, noise, JPEG, five bits a channel. Of two digits on a wheel the label is the one nearer to the middle of the window;
the closest calls are 0.43 of a digit away, which is why no reader gets them all. Glyphs are drawn by the script, or come from
the font inside Pillow (a cut of Aileron, which is in the public domain under CC0).
{counts}; the script checks that no picture is in two sets.

**Network.** A MobileNetV3 in small, with the layers that 8 bits hurt: depthwise convolutions, residual adds, squeeze-and-excite,
hard-swish, hard-sigmoid and ReLU6. {EPOCHS} epochs of AdamW in batches of {BATCH}, one-cycle rate up to {PEAK_RATE}, labels
smoothed by 0.05.

**Not for** reading meters that somebody is billed by: it has seen drawn digits only.

| file | bytes | sha256 |
|---|---|---|
{rows}
""".encode()


def main() -> None:
    sets: dict[str, Set] = {}
    for name, count in COUNTS.items():
        started = time.monotonic()
        sets[name] = render_set(SEEDS[name], count)
        print(f"drew {count:,} pictures for {name} in {time.monotonic() - started:.0f} s", flush=True)
    check_disjoint(sets)
    parameters = sum(weight.numel() for weight in build_network().parameters())
    print(f"training {parameters:,} parameters", flush=True)
    network = train(*sets["training"])
    model = export(network)
    correct, apart = evaluate(model, network, sets["evaluation"])
    accuracy = correct / COUNTS["evaluation"]
    print(f"float accuracy {accuracy:.4f} ({correct} of {COUNTS['evaluation']:,}), logits within {apart:.1e} of torch's")
    if apart > LOGIT_TOLERANCE:
        raise SystemExit(f"make_demo: onnxruntime and torch disagree by {apart:.1e}, more than {LOGIT_TOLERANCE:.0e}; nothing written")
    if not ACCURACY_MIN <= accuracy < ACCURACY_BELOW:
        raise SystemExit(f"make_demo: accuracy {accuracy:.4f} is outside [{ACCURACY_MIN}, {ACCURACY_BELOW}); nothing written")
    files = {"demo.onnx": model, "calibration.npz": pack(sets["calibration"]), "evaluation.npz": pack(sets["evaluation"])}
    files["edgekit.toml"] = CONFIG.encode()
    card = write_card(files, correct, parameters)
    total = len(card) + sum(map(len, files.values()))
    if total >= SIZE_MAX_BYTES:
        raise SystemExit(f"make_demo: the files are {total:,} bytes, {SIZE_MAX_BYTES:,} or more; nothing written")
    for name, data in {**files, "CARD.md": card}.items():
        write_atomic(FOLDER / name, data)
    print(f"wrote {len(files) + 1} files, {total:,} bytes, to {FOLDER}")


if __name__ == "__main__":
    main()
