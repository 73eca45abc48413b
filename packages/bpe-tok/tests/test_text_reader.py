from pathlib import Path

import pytest
from bpe_tok.text_reader import check_utf8, read_chunks


@pytest.mark.parametrize("data", [b"", b"one\r\ntwo\rthree\n", bytes(range(256))])
@pytest.mark.parametrize("chunk_bytes", [1, 3, 1000])
def test_chunks_joined_are_the_file(tmp_path: Path, data: bytes, chunk_bytes: int) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    chunks = list(read_chunks(path, chunk_bytes))
    assert b"".join(chunks) == data
    assert all(0 < len(chunk) <= chunk_bytes for chunk in chunks)
    assert b"".join(read_chunks(str(path))) == data


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(read_chunks(tmp_path / "none.txt"))


@pytest.mark.parametrize(
    ("data", "offset"),
    [(b"abc\xffdef", 103), ("é中".encode() + b"\xe4\xb8x", 105), ("é中".encode()[:-1], 102)],
)
def test_bad_bytes_are_named(data: bytes, offset: int) -> None:
    check_utf8("é中".encode(), "good.txt")
    with pytest.raises(ValueError, match=rf"bad\.txt: not UTF-8 at byte {offset}: .*; read it as"):
        check_utf8(data, "bad.txt", 100)
