import hashlib
from itertools import chain, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tlm_data import SourceFile
from tlm_data.slices import content_hash, plan_slices
from tlm_data.sources import local_file
from tlm_data.splits import split_within_files


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.booleans()), max_size=20),
    st.integers(1, 1200),
)
def test_slices_cover_each_file_once(sizes: list[tuple[int, bool]], slice_bytes: int) -> None:
    files = [
        SourceFile(str(number), size, "", compression="gzip" if packed else "none")
        for number, (size, packed) in enumerate(sizes)
    ]
    slices = plan_slices(files, slice_bytes=slice_bytes)
    ranges = list(chain.from_iterable(slices))
    assert all(slices)
    assert [part.file for part in ranges] == sorted(
        (part.file for part in ranges), key=lambda file: int(file.url)
    )
    for file in files:
        own = [part for part in ranges if part.file == file]
        assert sum(part.num_bytes for part in own) == file.size_bytes
        assert all(one.end == next_.start for one, next_ in pairwise(own))
        assert not own or (own[0].start == 0 and own[-1].end == file.size_bytes)
        assert file.compression == "none" or len(own) <= 1
    for one in slices:
        assert sum(part.num_bytes for part in one) <= slice_bytes or len(one) == 1
    # Small files share a slice: it ends where the next file does not fit any more.
    for one, next_ in pairwise(slices):
        together = sum(part.num_bytes for part in one) + next_[0].file.size_bytes
        assert together > slice_bytes or one[-1].file.size_bytes > slice_bytes


@pytest.mark.parametrize(
    ("total", "slices"), [(1, 1), (100 << 20, 7), (50 << 30, 400), (10 << 40, 10240)]
)
def test_slices_grow_with_the_text(total: int, slices: int) -> None:
    assert len(plan_slices([SourceFile("text", total, "")])) == slices


def test_slice_bytes_is_checked() -> None:
    with pytest.raises(ValueError, match="slice_bytes=0 must be at least 1"):
        plan_slices([], slice_bytes=0)


def test_content_hash_is_of_bytes_and_boundaries(tmp_path: Path) -> None:
    for name, data in (("a", b"ab"), ("b", b"c"), ("c", b"abc"), ("d", b"ab")):
        (tmp_path / name).write_bytes(data)
    a, b, c, d = (local_file(tmp_path / name) for name in "abcd")
    assert content_hash([a, b]) != content_hash([c])
    assert content_hash([a, b]) == content_hash([d, b])
    expected = hashlib.sha256((2).to_bytes(8, "little") + b"ab").hexdigest()
    assert content_hash([a]) == expected
    (first,), (second,) = split_within_files([c], 0.4, None)
    assert content_hash([first]) == expected
    assert second.offset_bytes == 2
