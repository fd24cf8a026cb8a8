from __future__ import annotations

import subprocess
from pathlib import Path

import paramiko
import pytest

from edgekit.devices.hostkeys import known_keys


def _key(path: Path) -> tuple[str, bytes]:
    """Make a key; return its known_hosts words and its bytes."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    kind, text, *_ = Path(f"{path}.pub").read_text().split()
    return f"{kind} {text}", paramiko.Ed25519Key.from_private_key_file(str(path)).asbytes()


@pytest.mark.parametrize(
    ("names", "name", "found"),
    [
        ("board", "board", True),
        ("board,10.0.0.7", "10.0.0.7", True),
        ("Board", "bOARD", True),
        ("board", "board2", False),
        ("board", "[board]:2222", False),
        ("[board]:2222", "[board]:2222", True),
        ("[10.0.0.*]:2222", "[10.0.0.7]:2222", True),
        ("*.lab,!bad.lab", "good.lab", True),
        ("*.lab,!bad.lab", "bad.lab", False),
        ("b?ard", "board", True),
        ("[ab]oard", "aoard", False),
    ],
)
def test_names(tmp_path: Path, names: str, name: str, found: bool) -> None:
    words, data = _key(tmp_path / "key")
    (tmp_path / "known").write_text(f"{names} {words}\n")
    assert [entry.key.asbytes() for entry in known_keys(name, [tmp_path / "known"])] == ([data] if found else [])


def test_several_keys_of_one_kind_and_several_files(tmp_path: Path) -> None:
    one, two = _key(tmp_path / "one"), _key(tmp_path / "two")
    (tmp_path / "a").write_text(f"# comment\n\nboard {one[0]}\nboard {two[0]} with a comment\n")
    (tmp_path / "b").write_text(f"@revoked board {one[0]}\n@cert-authority *.lab {two[0]}\n")
    found = known_keys("board", [tmp_path / "a", tmp_path / "missing", tmp_path / "b"])
    assert [(entry.key.asbytes(), entry.path.name, entry.revoked) for entry in found] == [
        (one[1], "a", False),
        (two[1], "a", False),
        (one[1], "b", True),
    ]


def test_unreadable_lines_are_skipped(tmp_path: Path) -> None:
    words, data = _key(tmp_path / "key")
    (tmp_path / "known").write_bytes(
        b"board ssh-ed25519 !!!\nboard\nboard ssh-dss AAAA\nboard ssh-ed25519 AAAA\n\xff\xfe\n|1|x|y " + words.encode() + b"\n"
    )
    with (tmp_path / "known").open("a") as file:
        file.write(f"board {words}\n")
    assert [entry.key.asbytes() for entry in known_keys("board", [tmp_path / "known"])] == [data]
