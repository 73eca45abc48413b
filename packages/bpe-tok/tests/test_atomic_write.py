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


@pytest.mark.skipif(os.name != "posix", reason="no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_is_that_of_any_new_file(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "file.json", "one")
    finally:
        os.umask(before)
    assert (tmp_path / "file.json").stat().st_mode & 0o777 == mode


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_text(path, "one")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "x" * 1_000_000 + "\ud800")
    assert path.read_text() == "one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"]
