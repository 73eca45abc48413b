"""How much memory reading takes, seen from outside: in a process of its own."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

MIB = 1 << 20

READ = """
import json, re, sys
from tlm_data import ReadOptions, read_documents
from tlm_data.read_options import DroppedDocument
from tlm_data.slices import FileRange
from tlm_data.sources import local_file

def peak_bytes():
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1]) * 1024

path, options = sys.argv[1], json.loads(sys.argv[2])
if path.endswith(".parquet"):
    import pyarrow.parquet
before = peak_bytes()
num_documents = num_bytes = 0
drops = []
ranges = [FileRange.whole(local_file(path))]
for item in read_documents(ranges, ReadOptions(**options), drops.append):
    num_documents += len(item) if isinstance(item, list) else 1
    num_bytes += sum(map(len, item))
print(json.dumps([num_documents, num_bytes, drops, peak_bytes() - before]))
"""


def documents(path: Path) -> None:
    text = b"the cat sat on the mat, and the dog did not mind it; " * 40
    with path.open("wb") as file:
        for _ in range(100):
            file.write((text + b"\n\n") * 990)


def sparse(num_bytes: int) -> Callable[[Path], None]:
    """Make a file of zeros, which is one long document or line, and takes no room on the disk."""

    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(num_bytes)

    return make


def packed_line(path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(300):
            file.write(b"a long line. " * (MIB // 13))


def row_group(path: Path) -> None:
    texts = [f"{number} " * 300 for number in range(100_000)]
    table = pyarrow.table({"text": texts})
    pyarrow.parquet.write_table(table, path, row_group_size=len(texts), use_dictionary=False)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    ("name", "make", "options", "expected"),
    [
        ("documents.txt", documents, {"separator": "\n\n"}, (99_000, 210 * 10**6, [])),
        ("document.txt", sparse(600 * MIB), {"separator": "|"}, (1, 600 * MIB, [])),
        ("line.jsonl", sparse(1000 * MIB), {"errors": "skip"}, (0, 0, ["line too long"])),
        ("document.txt.gz", packed_line, {}, (1, 314 * 10**6, [])),
        ("rows.parquet", row_group, {}, (100_000, 176 * 10**6, [])),
    ],
)
def test_memory_does_not_grow_with_the_input(
    tmp_path: Path,
    name: str,
    make: Callable[[Path], None],
    options: dict[str, str],
    expected: tuple[int, int, list[str]],
) -> None:
    path = tmp_path / name
    make(path)
    command = [sys.executable, "-c", READ, str(path), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    num_documents, num_bytes, drops, peak_bytes = json.loads(done.stdout)
    assert (num_documents, drops) == (expected[0], expected[2])
    assert num_bytes == pytest.approx(expected[1], rel=0.01)
    # A line is held as long as it may become one that is short enough; Arrow holds some pages.
    limits = {"line.jsonl": 192 * MIB, "rows.parquet": 112 * MIB}
    assert peak_bytes < limits.get(name, 48 * MIB)
