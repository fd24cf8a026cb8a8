"""The border: outside data (TOML, JSON, a device's answer) becomes a noun here or is refused with a reason."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from edgekit.errors import InputError
from edgekit.nearest import did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["BundlePath", "Sha256", "from_json", "into", "read_toml"]

T = TypeVar("T")

Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
# Plain relative paths of one or two parts: nothing that could climb, hide or surprise a shell.
BundlePath = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99})?\Z")]

# How msgspec words its two commonest findings; the tests hold these to the installed version.
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<key>[^`]*)`(?: - at `\$\.?(?P<at>[^`]*)`)?")
_ELSEWHERE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<at>[^`]*)`)?$", re.DOTALL)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    InputError
        The file is missing, unreadable or not TOML; the message has the line.
    """
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML: {error}") from error
    return data


def into(data: object, noun: type[T], where: str) -> T:
    """Turn plain data into a noun, every key and type checked.

    Parameters
    ----------
    data
        Dicts, lists, strings and numbers, as a TOML or JSON reader leaves them.
    where
        The file or device the data came from, for the message.

    Raises
    ------
    InputError
        An unknown key (with the nearest known one), a missing key or a wrong type, with its place.
    """
    try:
        return msgspec.convert(data, noun)
    except msgspec.ValidationError as error:
        raise _explain(error, noun, where) from error


def from_json(data: bytes, noun: type[T], where: str, *, max_bytes: int = 64 << 20) -> T:
    """Decode JSON bytes into a noun; as strict as `into`, and bounded in size.

    Raises
    ------
    InputError
        The bytes are too many, not JSON, nested too deeply, or not what the noun says.
    """
    if len(data) > max_bytes:
        raise InputError(f"{where}: {len(data)} bytes are more than the {max_bytes} allowed here")
    try:
        return msgspec.json.decode(data, type=noun)
    except msgspec.ValidationError as error:
        raise _explain(error, noun, where) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON: {error}") from error


def _explain(error: msgspec.ValidationError, noun: Any, where: str) -> InputError:
    text = str(error)
    if unknown := _UNKNOWN.match(text):
        key, at = unknown["key"], unknown["at"] or ""
        known = sorted(_fields_at(noun, at))
        near = did_you_mean(key, known)
        place = f"{at}.{key}" if at else key
        fix = f"did you mean {near!r}?" if near else f"known keys: {', '.join(known)}"
        return InputError(f"{where}: unknown key {place!r}", fix=fix)
    found = _ELSEWHERE.match(text)
    what, at = (found["what"], found["at"]) if found else (text, None)
    return InputError(f"{where}: {at}: {what}" if at else f"{where}: {what}")


def _fields_at(noun: Any, path: str) -> set[str]:
    """Walk ``calibration.dataset``-like paths through the noun's types to the keys known there."""
    kinds = [msgspec.inspect.type_info(noun)]
    for step in filter(None, re.split(r"\.|(\[(?:\.\.\.|[0-9]+)\])", path)):
        kinds = [inner for kind in kinds for inner in _step(kind, step)]
    return {field.encode_name for kind in kinds for field in getattr(kind, "fields", ())}


def _step(kind: Any, step: str) -> list[Any]:
    if isinstance(kind, msgspec.inspect.UnionType):
        return [inner for option in kind.types for inner in _step(option, step)]
    if isinstance(kind, msgspec.inspect.DictType):
        found = [kind.value_type]
    elif isinstance(kind, (msgspec.inspect.ListType, msgspec.inspect.VarTupleType)):
        found = [kind.item_type]
    else:
        found = [field.type for field in getattr(kind, "fields", ()) if field.encode_name == step]
    return [option for inner in found for option in getattr(inner, "types", (inner,))]
