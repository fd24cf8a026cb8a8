"""Turn sentences into tokens, in the environment ``text``, which has the package tokenizers. ``sets`` starts it.

python -m bench.quantization.tokenise TOKENIZER.json TEXTS.json LENGTH OUT.npz
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer


def main() -> None:
    tokenizer, texts, length, out = (
        Tokenizer.from_file(sys.argv[1]),
        json.loads(Path(sys.argv[2]).read_text("utf-8")),
        int(sys.argv[3]),
        sys.argv[4],
    )
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    encoded = tokenizer.encode_batch(texts)
    ids, mask = ([getattr(one, field) for one in encoded] for field in ("ids", "attention_mask"))
    np.savez(out, input_ids=np.array(ids, np.int64), attention_mask=np.array(mask, np.int64))


if __name__ == "__main__":
    main()
