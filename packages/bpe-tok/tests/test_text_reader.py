from pathlib import Path

import pytest
from bpe_tok.text_reader import read_text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(st.text(), st.integers(1, 5))
@same_folder
def test_chunks_joined_are_the_text(tmp_path: Path, text: str, chunk_bytes: int) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode())
    assert "".join(read_text(path, chunk_bytes)) == text


def test_line_ends_stay(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"one\r\ntwo\rthree\n")
    assert "".join(read_text(path)) == "one\r\ntwo\rthree\n"


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("data", "offset"),
    [(b"abc\xffdef", 3), ("é中".encode() + b"\xe4\xb8x", 5), ("é中".encode()[:-1], 2)],
)
def test_bad_bytes_are_named(tmp_path: Path, data: bytes, offset: int, chunk_bytes: int) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"bad\.txt: not UTF-8 at byte {offset}: "):
        list(read_text(path, chunk_bytes))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(read_text(tmp_path / "none.txt"))
