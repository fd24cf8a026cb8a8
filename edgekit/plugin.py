"""``module:function`` of a project: datasets and metrics of the user's own. Called by ``sample`` and ``scoring``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekit.errors import InputError

__all__ = ["own_function"]


def own_function(word: str, folder: Path, fix: str) -> Callable[..., Any]:
    """Import what ``module:function`` names: a module beside ``edgekit.toml``, or one that is installed.

    Raises
    ------
    InputError
        There is none, or its import fails; with the fix that is given.
    """
    module_name, _, attribute = word.partition(":")
    # The user's own module lies beside their edgekit.toml, as with any project-local plug-in.
    if str(folder.resolve()) not in sys.path:
        sys.path.insert(0, str(folder.resolve()))
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:
        raise InputError(f"{word}: {type(error).__name__}: {error}", fix=fix) from error
    return function
