from array import array
from pathlib import Path
from typing import Any

import pytest
from bpe_tok import PATTERNS, Tokenizer, train
from bpe_tok.text_reader import read_chunks
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("engine")
DATA = st.lists(
    st.sampled_from(
        [b" ", b"  ", b"\n", b"the", b" self", "été".encode(), "中".encode(), b"'s", b"12", b"!",
         b"<|endoftext|>", b"<|end|>", b"<|end", b"|>", b"\xff", b"\xe4", b"\x80"]
    ),
    max_size=60,
).map(b"".join)  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files") / "text.txt"


def ids_of(chunks: Any) -> list[int]:
    return [token_id for chunk in chunks for token_id in chunk]


@given(DATA, st.integers(1, 30), st.integers(1, 3))
def test_ids_are_those_of_the_whole(
    trained: Tokenizer, path: Path, data: bytes, chunk_bytes: int, threads: int
) -> None:
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read_chunks, "__defaults__", (chunk_bytes,))
        for allowed in ("all", (), ["<|end|>"]):
            chunks = trained.encode_file(path, threads=threads, allowed_special=allowed)
            assert ids_of(chunks) == trained.encode(data, allowed_special=allowed)


@pytest.mark.parametrize("pattern", [*PATTERNS, r"\w+|\s"])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_pattern(
    path: Path, corpus: list[str], monkeypatch: pytest.MonkeyPatch, pattern: str, threads: int
) -> None:
    data = "<|end|>".join(corpus).encode()
    path.write_bytes(data)
    tokenizer = train(corpus, 400, ["<|end|>"], pattern=pattern)
    monkeypatch.setattr(read_chunks, "__defaults__", (5000,))
    chunks = list(tokenizer.encode_file(str(path), threads=threads))
    assert ids_of(chunks) == tokenizer.encode(data)
    assert len(chunks) > 3
    assert all(isinstance(chunk, array) and chunk.typecode == "H" for chunk in chunks)


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_special_tokens_lie_over_chunks(trained: Tokenizer, path: Path, threads: int) -> None:
    data = b"x<|end|><|end|><|end|>y<|pad 0|>"
    path.write_bytes(data * 20)
    ids = trained.encode(data * 20)
    for chunk_bytes in range(1, 40):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(read_chunks, "__defaults__", (chunk_bytes,))
            assert ids_of(trained.encode_file(path, threads=threads)) == ids


def test_random_bytes_and_none(trained: Tokenizer, path: Path) -> None:
    data = bytes(range(256)) * 5000
    path.write_bytes(data)
    chunks = list(trained.encode_file(path))
    assert len(chunks) > 1
    assert b"".join(map(trained.decode_bytes, chunks)) == data
    path.write_bytes(b"")
    assert list(trained.encode_file(path)) == []


def test_chunks_are_token_files(trained: Tokenizer, path: Path, tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    path.write_bytes(b"some text<|end|>" * 1000)
    with (tmp_path / "tokens.bin").open("wb") as file:
        for chunk in trained.encode_file(path):
            assert numpy.asarray(chunk).dtype == numpy.uint16
            chunk.tofile(file)
    ids = numpy.fromfile(tmp_path / "tokens.bin", numpy.uint16)
    assert ids.tolist() == trained.encode("some text<|end|>" * 1000)


def test_little_of_the_file_is_read_ahead(
    trained: Tokenizer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"some text " * 100_000)
    monkeypatch.setattr(read_chunks, "__defaults__", (1000,))
    for threads in (1, 3):
        chunks = trained.encode_file(path, threads=threads)
        first = next(chunks)
        assert len(trained.decode_bytes(first)) <= 1000
        chunks.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("threads", [1, 2])
def test_errors(trained: Tokenizer, path: Path, tmp_path: Path, threads: int) -> None:
    with pytest.raises(FileNotFoundError):
        trained.encode_file(tmp_path / "none.txt")
    with pytest.raises(ValueError, match="threads=0 must be at least 1"):
        trained.encode_file(path, threads=0)
    path.write_bytes("é words ".encode() * 200_000 + b"<|end|>")
    chunks = trained.encode_file(path, threads=threads, disallowed_special=["<|end|>"])
    with pytest.raises(
        ValueError, match=r"text\.txt has the special token '<\|end\|>' at index 1800000, which"
    ):
        list(chunks)
