"""Options, their environment variables, and every mention of one in a text that tells people what to type."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edgekit.cli.root import cli
from tests.unit.cli.commands import contexts, run

ROOT = Path(__file__).resolve().parents[3]
CONTEXTS = {ctx.command_path: ctx for ctx in contexts()}
OPTIONS = [(path, option) for path, ctx in CONTEXTS.items() for option in ctx.command.params if isinstance(option, click.Option)]


def flag_of(option: click.Option) -> str:
    return max(option.opts, key=len)


@pytest.mark.parametrize(("path", "option"), OPTIONS, ids=lambda value: flag_of(value) if isinstance(value, click.Option) else value)
def test_the_environment_variable_follows_the_flag(path: str, option: click.Option, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = re.sub(r"[ -]+", "_", f"{path} {flag_of(option)}").upper()
    monkeypatch.setenv(variable, "from here")
    assert option.resolve_envvar_value(CONTEXTS[path]) == "from here", f"{variable} does not reach {path} {flag_of(option)}"


def test_every_command_but_completion_has_json() -> None:
    without = {path for path, ctx in CONTEXTS.items() if not any("--json" in param.opts for param in ctx.command.params)}
    assert without == {"edgekit completion"}
    assert {"edgekit build", "edgekit probe latency", "edgekit device facts"} <= set(CONTEXTS)


def test_a_version_in_the_environment_is_not_asked_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_VERSION", "1")
    text, code = run(monkeypatch, "targets", "list")
    assert code == 0
    assert "rpi4" in text


# Programs of others that our texts tell people to run; what follows their name is theirs.
OTHERS = re.compile(
    r"\b(pip|systemctl|systemd-run|tf2onnx|ssh-keygen|ssh-keyscan|python|pytest|scripts/\w+|docker|apt-get|dask|du|usermod)\b.*"
)
# What edgekit's plugin adds to pytest.
PLUGIN = {"--edgekit-device", "--edgekit-bundle"}
WORD = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def fixes() -> Iterator[tuple[str, str]]:
    """Yield every literal text given as ``fix``, with its place; a part that is computed stands as NAME."""
    for path in sorted((ROOT / "edgekit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "fix":
                for part in ast.walk(node.value):
                    if isinstance(part, ast.JoinedStr):
                        yield str(path), "".join(str(v.value) if isinstance(v, ast.Constant) else "NAME" for v in part.values)
                    elif isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield str(path), part.value


def documents() -> Iterator[tuple[str, str]]:
    for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for line in path.read_text(encoding="utf-8").splitlines():
            yield str(path), line


def unknown_words(text: str) -> list[str]:
    """Return what a text tells people to type that no command takes."""
    found = []
    known = {flag for _, option in OPTIONS for flag in option.opts} | {"--help", "--version"}
    # A command ends where the next sentence, alternative or code span begins.
    for piece in re.split(r"[;`:,]|\bor\b|  +", OTHERS.sub("", text)):
        flags = WORD.findall(piece)
        called = re.search(r"\bedgekit((?: [a-z]+)*)", piece)
        words = called[1].split() if called else []
        command, ctx = click.Context(cli, info_name="edgekit").command, click.Context(cli, info_name="edgekit")
        for depth, word in enumerate(words):
            below = command.get_command(ctx, word) if isinstance(command, click.Group) else None
            if below is None:
                # "edgekit writes the file": prose, unless the words before it already named a command.
                found += [f"edgekit {word}"] if isinstance(command, click.Group) and depth else []
                break
            command = below
        takes = {flag for option in command.params for flag in option.opts} | (known if isinstance(command, click.Group) else set())
        found += [flag for flag in flags if flag not in takes | PLUGIN | {"--help"}]
    return found


@pytest.mark.parametrize("source", [fixes, documents])
def test_what_people_are_told_to_type_exists(source: object) -> None:
    assert callable(source)
    wrong = [f"{Path(place).relative_to(ROOT)}: {text!r}: {words}" for place, text in source() if (words := unknown_words(text))]
    assert not wrong


def test_the_test_above_finds_what_does_not_exist() -> None:
    assert unknown_words("name it with --onto: a name under [devices]") == ["--onto"]
    assert unknown_words("edgekit deploy --target rpi4") == ["--target"]
    assert unknown_words("edgekit device fcats") == ["edgekit fcats"]
    assert unknown_words("edgekit build --target rpi4; pip install --upgrade onnx") == []
