import hashlib
from pathlib import Path

import pytest
from tlm_data.checksum import sha256_file, xxh3_file


def test_checksums_are_those_of_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 10_000)
    assert sha256_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    read: list[bytes] = []
    xxh3_file(path, read.append)
    assert b"".join(read) == path.read_bytes() and len(read) == 3


# Known values of XXH3_128bits with seed 0, in the order of digits of `xxh128sum`.
@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", "99aa06d3014798d86001c324468d497f"), (b"abc", "06b05ab6733a618578af5f94892f3950")],
)
def test_xxh3_is_the_published_one(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "file").write_bytes(content)
    assert xxh3_file(tmp_path / "file") == expected
