import io
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tlm_data import records, separator
from tlm_data.records import NO_END, Block, RecordReader
from tlm_data.separator import Separator

MARKS = [b"\n", b"\n\n", b"aa", b"aba", b"abab", b"aabaa", b"abcabc", b"<|e|>", "é".encode()]


def uncovered_runs(data: bytes, mark: bytes) -> list[bytes]:
    """The definition, byte by byte: the runs of bytes that lie in no occurrence of the mark."""
    covered = [False] * len(data)
    at = data.find(mark)
    while at >= 0:
        covered[at : at + len(mark)] = [True] * len(mark)
        at = data.find(mark, at + 1)
    runs = [bytearray()]
    for byte, is_covered in zip(data, covered, strict=True):
        if is_covered:
            runs.append(bytearray())
        else:
            runs[-1].append(byte)
    return [bytes(run) for run in runs if run]


def read_range(data: bytes, mark: Separator, start: int, end: int, long_bytes: int) -> list[bytes]:
    stream = io.BytesIO(data)
    stream.seek(max(0, start - len(mark)))
    found = []
    for item in RecordReader(stream, mark, start, end, long_bytes):
        if isinstance(item, Block):
            for index, record in enumerate(item.records):
                offset = item.offset_of(index)
                assert data[offset : offset + len(record)] == record
            found += item.records
        else:
            record = b"".join(item.pieces)
            assert data[item.offset : item.offset + len(record)] == record
            found.append(record)
    return found


@settings(max_examples=500)
@given(st.data())
def test_records_are_the_same_wherever_ranges_are_cut(draw: st.DataObject) -> None:
    mark = draw.draw(st.sampled_from(MARKS))
    alphabet = [b"a", b"b", b"c", b"\n", b"<", mark, mark[:-1], mark[1:]]
    data = b"".join(draw.draw(st.lists(st.sampled_from(alphabet), max_size=40)))
    cuts = draw.draw(st.lists(st.integers(0, len(data)), max_size=5))
    ends = sorted({0, *cuts, len(data)})
    long_bytes = draw.draw(st.integers(len(mark), 30))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "CHUNK_BYTES", draw.draw(st.integers(1, 20)))
        patch.setattr(records, "_OVERREAD_BYTES", draw.draw(st.integers(1, 20)))
        patch.setattr(separator, "_RARE_BYTES", draw.draw(st.sampled_from([1, 10, 1000])))
        patch.setattr(separator, "_MIN_BYTES", 30)
        found = []
        for start, end in pairwise(ends):
            found += read_range(data, Separator(mark), start, end, long_bytes)
    assert found == uncovered_runs(data, mark)


@given(st.binary(max_size=200), st.sampled_from(MARKS))
def test_a_mark_that_cannot_overlap_splits_as_bytes_do(data: bytes, mark: bytes) -> None:
    if mark in (b"\n", b"<|e|>", "é".encode()):
        parts = [part for part in Separator(mark).split(data) if part]
        assert parts == [part for part in data.split(mark) if part]


def test_no_mark_means_one_record() -> None:
    assert read_range(b"a\n\nb", Separator(b""), 0, NO_END, 100) == [b"a\n\nb"]


def test_pieces_that_nobody_asked_for_are_passed_over() -> None:
    data = b"x" * 50 + b"|" + b"short" + b"|" + b"y" * 50 + b"|end"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "CHUNK_BYTES", 8)
        found = []
        for item in RecordReader(io.BytesIO(data), Separator(b"|"), 0, NO_END, 10):
            if isinstance(item, Block):
                found += item.records
            else:
                found.append(next(iter(item.pieces)))
    assert found[1::2] == [b"short", b"end"]
    assert all(10 < len(piece) < 30 for piece in found[::2])
