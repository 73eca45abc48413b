import os
from pathlib import Path

import xxhash
from tlm_data.growing_file import GrowingFile


def test_it_appears_when_it_is_published(tmp_path: Path) -> None:
    file = GrowingFile(tmp_path / "file", 1 << 16)
    file.write(memoryview(b"one"))
    mark = file.mark()
    file.write(memoryview(b" is not" * 100_000))
    file.rewind(mark)
    file.write(memoryview(b" two"))
    assert file.size_bytes == 7
    assert file.finish() == xxhash.xxh3_128_hexdigest(b"one two")
    assert not (tmp_path / "file").exists()
    file.publish()
    file.abort()
    assert (tmp_path / "file").read_bytes() == b"one two"
    assert os.listdir(tmp_path) == ["file"]


def test_one_that_is_given_up_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    file = GrowingFile(tmp_path / "file", 1 << 16)
    file.write(memoryview(b"new"))
    file.abort()
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
