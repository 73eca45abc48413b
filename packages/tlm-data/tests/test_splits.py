from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tlm_data import ReadOptions, SourceFile, read_documents
from tlm_data.slices import plan_slices
from tlm_data.sources import local_file
from tlm_data.splits import split_files, split_within_files

MARK = "<|endoftext|>"


def text_of(file: SourceFile, slice_bytes: int = 1 << 20) -> str:
    """Read a section as one document, whatever is in it."""
    found = []
    for ranges in plan_slices([file], slice_bytes=slice_bytes):
        for item in read_documents(ranges, ReadOptions()):
            found += item
    assert len(found) <= 1
    return b"".join(found).decode()


@given(
    text=st.text(alphabet=st.sampled_from("ab\n é漢🙂"), min_size=1, max_size=200),
    fraction=st.floats(0.05, 0.95),
    slice_bytes=st.integers(1, 300),
)
def test_splitting_within_files_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, text: str, fraction: float, slice_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("texts") / "a.txt"
    path.write_bytes(text.encode())
    whole = local_file(path)
    (train,), (val,) = split_within_files([whole], fraction, MARK)
    assert train.offset_bytes == 0 and val.offset_bytes == train.size_bytes
    assert train.size_bytes + val.size_bytes == whole.size_bytes
    for part in (train, val):
        data = path.read_bytes()[part.offset_bytes :][: part.size_bytes].decode()
        assert text_of(part, slice_bytes) == ("" if data.isspace() and data.isascii() else data)


@pytest.mark.parametrize(
    ("text", "val", "fraction"),
    [
        ("0123456789\nabc\n" * 5, "0123456789\nabc\n", 0.2),
        (f"one{MARK}two{MARK}three\nmore{MARK}four", f"three\nmore{MARK}four", 0.5),
        ("x" * 98 + "漢漢", "漢", 0.04),
    ],
)
def test_where_a_file_is_cut(tmp_path: Path, text: str, val: str, fraction: float) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    _, (held_out,) = split_within_files([local_file(path)], fraction, MARK)
    assert text_of(held_out) == val


def test_offsets_in_a_section_count_from_the_start_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"0123456789\n" * 4 + b"ab\xff")
    _, (val,) = split_within_files([local_file(path)], 0.5, MARK)
    with pytest.raises(ValueError, match=r"not UTF-8: byte 46 \(0xff\)"):
        text_of(val)


def test_whole_files_are_held_out_by_name() -> None:
    files = [SourceFile(f"/corpus/{number}.txt", 1, "") for number in range(400)]
    train, val = split_files(files, 0.1, "/corpus")
    assert 20 < len(val) < 60 and len(train) + len(val) == 400
    # A file more or less moves no other, nor does the folder.
    _, fewer = split_files(files[50:], 0.1, "/corpus")
    assert fewer == [file for file in val if file in files[50:]]
    moved = [replace(file, url="/elsewhere" + file.url) for file in files]
    assert len(split_files(moved, 0.1, "/elsewhere/corpus")[1]) == len(val)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, float("nan")])
def test_val_fraction_is_checked(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"val_fraction=.* must lie between 0 and 1"):
        split_files([], fraction)
    with pytest.raises(ValueError, match=r"val_fraction=.* must lie between 0 and 1"):
        split_within_files([], fraction, MARK)


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt.gz"])
def test_only_plain_text_is_cut(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=f"{name} cannot be cut in two"):
        split_within_files([local_file(tmp_path / name)], 0.5, MARK)
