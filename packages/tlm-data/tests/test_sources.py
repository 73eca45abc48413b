from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tlm_data import (
    TextSlice,
    read_documents,
    sources,
    split_files,
    split_within_files,
    stdlib_files,
)

MARK = "<|endoftext|>"


@given(
    pieces=st.lists(
        st.one_of(st.text(alphabet="ab\n é漢🙂", max_size=9), st.sampled_from([MARK, "<|endof"])),
        max_size=20,
    ),
    chunk_bytes=st.integers(1, 12),
)
def test_documents_are_the_parts_between_marks(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str], chunk_bytes: int
) -> None:
    text = "".join(pieces)
    path = tmp_path_factory.mktemp("texts") / "a.txt"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_CHUNK_BYTES", chunk_bytes)
        found = list(read_documents([TextSlice.whole(path)], MARK))
    assert found == [part for part in text.split(MARK) if part.strip()]


def test_line_ends_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\r\nb\rc\n")
    assert list(read_documents([TextSlice.whole(path)], MARK)) == ["a\r\nb\rc\n"]


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (b"abc\xffdef", 3),
        (b"\xc3", 0),
        (b"ab\xe6\xbc", 2),
        (b"\xed\xa0\x80", 0),
        (b"12345\xc3(", 5),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [1, 2, 100])
def test_invalid_utf8_names_file_and_offset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, offset: int, chunk_bytes: int
) -> None:
    monkeypatch.setattr(sources, "_CHUNK_BYTES", chunk_bytes)
    path = tmp_path / "a.txt"
    path.write_bytes(b"fine\n" + data)
    with pytest.raises(ValueError, match=rf"a\.txt is not UTF-8: byte {offset + 5} \(0x"):
        list(read_documents([TextSlice.whole(path)], MARK))
    # Offsets count from the start of the file, also in a slice of it.
    with pytest.raises(ValueError, match=rf"byte {offset + 5} "):
        list(read_documents([TextSlice(path, 5, path.stat().st_size)], MARK))


def test_a_file_that_shrank_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abc")
    piece = TextSlice(path, 0, 10)
    with pytest.raises(ValueError, match="shorter than 10 bytes: it changed"):
        list(piece.chunks())


@given(
    text=st.text(alphabet=st.sampled_from("ab\n é漢🙂"), min_size=1, max_size=200),
    fraction=st.floats(0.05, 0.95),
)
def test_splitting_within_files_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, text: str, fraction: float
) -> None:
    path = tmp_path_factory.mktemp("texts") / "a.txt"
    path.write_bytes(text.encode())
    (train,), (val,) = split_within_files([path], fraction, MARK)
    assert (train.start, val.end) == (0, len(text.encode()))
    assert "".join(train.text()) + "".join(val.text()) == text


@pytest.mark.parametrize(
    ("text", "val"),
    [
        ("0123456789\nabc\n" * 5, "0123456789\nabc\n"),
        (f"one{MARK}two{MARK}three\nmore{MARK}four", f"three\nmore{MARK}four"),
        ("x" * 98 + "漢漢", "漢"),
    ],
)
def test_where_a_file_is_cut(tmp_path: Path, text: str, val: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    fraction = {"0": 0.2, "o": 0.5, "x": 0.04}[text[0]]
    _, (held_out,) = split_within_files([path], fraction, MARK)
    assert "".join(held_out.text()) == val


def test_whole_files_are_held_out_by_name(tmp_path: Path) -> None:
    files = []
    for number in range(400):
        files.append(tmp_path / f"{number}.txt")
        files[-1].write_text("x")
    train, val = split_files(files, 0.1, tmp_path)
    assert 20 < len(val) < 60 and len(train) + len(val) == 400
    # A file more or less moves no other.
    _, fewer = split_files(files[50:], 0.1, tmp_path)
    assert set(fewer) == {piece for piece in val if piece.path in files[50:]}


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, float("nan")])
def test_val_fraction_is_checked(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"val_fraction=.* must lie between 0 and 1"):
        split_files([], fraction)
    with pytest.raises(ValueError, match=r"val_fraction=.* must lie between 0 and 1"):
        split_within_files([], fraction, MARK)


def test_the_standard_library_is_there() -> None:
    files = stdlib_files()
    names = {path.name for path in files}
    assert {"argparse.py", "tarfile.py", "typing.py"} <= names
    assert files == sorted(files)
    assert not any("site-packages" in path.parts for path in files)
    assert sum(path.stat().st_size for path in files) > 5_000_000
