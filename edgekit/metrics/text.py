"""Word and character error rates. Decoded outputs hold ``text``, and so does the truth: UTF-8 as uint8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgekit.metrics import Array, Metric, ratio, ratio_total

__all__ = ["CER", "WER", "edits"]


def edits(said: Sequence[str], true: Sequence[str]) -> int:
    """Return how few insertions, deletions and substitutions make one of the other.

    V. I. Levenshtein, Soviet Physics Doklady 10, 1966, 707-710; by the rows of Wagner and Fischer's table.
    """
    numbers = {word: number for number, word in enumerate(dict.fromkeys([*said, *true]))}
    target = np.array([numbers[word] for word in true], np.int64)
    places = np.arange(len(true) + 1)
    row = places.copy()
    for word in said:
        best = np.minimum(row[1:] + 1, row[:-1] + (target != numbers[word]))
        # Insertions run along the row: each place is the least of what is before it, plus the way from there.
        row = np.minimum.accumulate(np.concatenate([[row[0] + 1], best]) - places) + places
    return int(row[-1])


def _words(outputs: Mapping[str, Array], truth: Mapping[str, Array]) -> Array:
    said, true = _text(outputs).split(), _text(truth).split()
    return ratio(edits(said, true), len(true))


def _characters(outputs: Mapping[str, Array], truth: Mapping[str, Array]) -> Array:
    said, true = _text(outputs), _text(truth)
    return ratio(edits(said, true), len(true))


def _text(arrays: Mapping[str, Array]) -> str:
    return arrays["text"].tobytes().decode("utf-8")


WER = Metric("wer", "text", _words, ratio_total, is_error=True)
CER = Metric("cer", "text", _characters, ratio_total, is_error=True)
