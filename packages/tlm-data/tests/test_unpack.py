import gzip
import io
import tracemalloc
import zlib
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from tlm_data import ReadOptions, read_documents
from tlm_data.slices import FileRange
from tlm_data.sources import local_file
from tlm_data.unpack import Unpacked

TEXT = "".join(
    f"{n}: the cat sat on the mat, {n * n} times é漢🙂\n" for n in range(20_000)
).encode()
ZSTD = zstandard.ZstdCompressor(write_checksum=True).compress
PACKERS = {"gzip": gzip.compress, "zstd": ZSTD}
SKIPPABLE = b"\x50\x2a\x4d\x18\x05\x00\x00\x00notes"


def unpack(data: bytes, compression: str, size: int = 1 << 16) -> bytes:
    stream = Unpacked(io.BytesIO(data), compression, "a.txt")
    parts = []
    while part := stream.read(size):
        assert len(part) <= size
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("compression", PACKERS)
@given(parts=st.lists(st.binary(max_size=3000), max_size=4), size=st.integers(1, 5000))
def test_several_members_are_one_text(compression: str, parts: list[bytes], size: int) -> None:
    packed = b"".join(PACKERS[compression](part) for part in parts)
    assert unpack(packed, compression, size) == b"".join(parts)


@pytest.mark.parametrize("compression", PACKERS)
def test_padding_and_nothing_at_all(compression: str) -> None:
    assert unpack(b"", compression) == b""
    assert unpack(PACKERS[compression](TEXT) + bytes(5000), compression) == TEXT


def test_zstd_frames_without_text_are_passed_over() -> None:
    assert unpack(SKIPPABLE + ZSTD(TEXT) + SKIPPABLE + ZSTD(b"end"), "zstd") == TEXT + b"end"


@pytest.mark.parametrize("compression", PACKERS)
@pytest.mark.parametrize("share", [0.0001, 0.3, 0.999])
def test_a_file_that_was_cut_off_is_named(compression: str, share: float) -> None:
    packed = PACKERS[compression](TEXT)
    cut = packed[: max(1, int(len(packed) * share))]
    with pytest.raises(ValueError, match=rf"a\.txt ends in the middle of its {compression} data"):
        unpack(cut, compression)
    with pytest.raises(ValueError, match="ends in the middle"):
        unpack(packed[:-1], compression)
    with pytest.raises(ValueError, match="ends in the middle"):
        unpack(packed + cut, compression)


@pytest.mark.parametrize("compression", PACKERS)
def test_a_damaged_file_is_named(compression: str) -> None:
    packed = bytearray(PACKERS[compression](TEXT))
    packed[len(packed) // 2] ^= 16
    with pytest.raises(ValueError, match=rf"a\.txt cannot be unpacked: .*{compression} file is da"):
        unpack(bytes(packed), compression)
    with pytest.raises(ValueError, match="cannot be unpacked"):
        unpack(PACKERS[compression](TEXT) + b"something else", compression)
    with pytest.raises(ValueError, match="cannot be unpacked"):
        unpack(b"no such file", compression)


def test_a_zstd_window_that_is_too_large_is_no_damage() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = packer.compress(TEXT) + packer.flush()
    with pytest.raises(ValueError, match=r"too much memory .*; pack it again without --long$"):
        unpack(packed, "zstd")


def bomb(compression: str, num_bytes: int) -> bytes:
    block = bytes(1 << 20)
    out = io.BytesIO()
    packer = zlib.compressobj(9, wbits=31) if compression == "gzip" else None
    if packer is None:
        packer = zstandard.ZstdCompressor(level=3).compressobj()
    for _ in range(num_bytes >> 20):
        out.write(packer.compress(block))
    out.write(packer.flush())
    return out.getvalue()


@pytest.mark.parametrize("compression", PACKERS)
def test_a_bomb_is_unpacked_in_bounded_memory(compression: str) -> None:
    packed = bomb(compression, 1 << 29)
    assert len(packed) < 1 << 20
    stream = Unpacked(io.BytesIO(packed), compression, "a.txt")
    num_bytes = 0
    tracemalloc.start()
    try:
        while part := stream.read(1 << 19):
            num_bytes += len(part)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert num_bytes == 1 << 29
    assert peak_bytes < 80 << 20


@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt.zst", "a.jsonl.gz", "a.ndjson.zstd"])
def test_packed_files_read_as_plain_ones(tmp_path: Path, name: str) -> None:
    is_text = ".txt" in name
    text = TEXT if is_text else b'{"text": "a\\u00e9"}\n' * 5000
    plain = tmp_path / ("a.txt" if is_text else "a.jsonl")
    plain.write_bytes(text)
    packed = tmp_path / name
    packed.write_bytes((gzip.compress if ".gz" in name else ZSTD)(text))
    options = ReadOptions(separator="\n")

    def read(path: Path) -> list[bytes]:
        batches = read_documents([FileRange.whole(local_file(path))], options)
        return [document for batch in batches for document in batch]

    assert read(packed) == read(plain)
    assert len(read(plain)) > 4000


def test_offsets_are_those_of_the_unpacked_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"abc\xff"))
    with pytest.raises(ValueError, match=r"byte 3 of the unpacked file \(0xff\)"):
        list(read_documents([FileRange.whole(local_file(path))], ReadOptions()))
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "a"}\n{}\n'))
    with pytest.raises(
        ValueError, match=r"line 2 \(at byte 14 of the unpacked file\) has no field"
    ):
        list(read_documents([FileRange.whole(local_file(path))], ReadOptions()))
