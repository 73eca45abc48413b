import os
from pathlib import Path

import pytest
from bpe_tok.atomic_write import write_text


def test_replaces_whole_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_text(path, "one")
    write_text(path, "two\r\n…")
    assert path.read_bytes() == "two\r\n…".encode()
    assert os.listdir(tmp_path) == ["file.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_text(path, "one")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "x" * 1_000_000 + "\ud800")
    assert path.read_text() == "one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"]
