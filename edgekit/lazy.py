"""Plug points as tables ``name -> "module:attribute"``: listed without importing, loaded on use."""

from __future__ import annotations

import importlib
from typing import Any

from edgekit.errors import MissingExtraError

__all__ = ["load"]


def load(reference: str) -> Any:
    """Import ``"package.module:Name"`` and return what it names.

    Parameters
    ----------
    reference
        Module and attribute, separated by a colon.

    Raises
    ------
    MissingExtraError
        A package the module needs is not installed.
    """
    module_name, _, attribute = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "edgekit":
            raise
        raise MissingExtraError(f"the package {error.name!r} is not installed", fix=f"pip install {error.name}") from error
    return getattr(module, attribute)
