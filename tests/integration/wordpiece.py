"""Sentences to tokens, as a BERT tokenizer.json without accents in the text asks for: enough for the test sets."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["tokens"]

Array = np.ndarray[Any, np.dtype[Any]]

_LONGEST_WORD = 100


def tokens(tokenizer: Path, texts: Sequence[str], length: int) -> tuple[Array, Array]:
    """Return (ids, mask), int64 [texts, length]: lower case, longest pieces first, cut and padded."""
    vocabulary: dict[str, int] = json.loads(tokenizer.read_text(encoding="utf-8"))["model"]["vocab"]
    ids = np.full((len(texts), length), vocabulary["[PAD]"], np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        pieces = [piece for word in _words(text) for piece in _pieces(word, vocabulary)][: length - 2]
        found = [vocabulary[piece] for piece in ("[CLS]", *pieces, "[SEP]")]
        ids[row, : len(found)], mask[row, : len(found)] = found, 1
    return ids, mask


def _words(text: str) -> list[str]:
    plain = (c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    return "".join(f" {c} " if _stands_alone(c) else c for c in plain).split()


def _stands_alone(character: str) -> bool:
    """Tell whether a character is a word of its own: punctuation, and of the other symbols those of ASCII."""
    ascii_symbol = character.isascii() and character.isprintable() and not character.isalnum() and character != " "
    return ascii_symbol or unicodedata.category(character).startswith("P")


def _pieces(word: str, vocabulary: dict[str, int]) -> list[str]:
    found: list[str] = []
    start = 0
    while start < len(word):
        prefix = "##" if start else ""
        ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in vocabulary)
        end = next(ends, None)
        if end is None or len(word) > _LONGEST_WORD:
            return ["[UNK]"]
        found.append(prefix + word[start:end])
        start = end
    return found
