import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tlm_data.mapping import map_file

resource = pytest.importorskip("resource")


def test_a_part_of_a_file(tmp_path: Path) -> None:
    np.arange(10, dtype="<u4").tofile(tmp_path / "file")
    found = map_file(tmp_path / "file", np.dtype("<u4"), 3, 8)
    assert found.tolist() == [2, 3, 4]
    assert not found.flags.writeable


@pytest.mark.parametrize("hard", [200, 30])
def test_more_files_than_may_be_open(tmp_path: Path, hard: int) -> None:
    """In a process of its own, which may have 30 files open, and raise that to `hard` itself."""
    for number in range(100):
        (tmp_path / str(number)).write_bytes(bytes([number, 0]))
    script = """
import resource, sys
import numpy as np
from tlm_data.mapping import map_file
resource.setrlimit(resource.RLIMIT_NOFILE, (30, int(sys.argv[2])))
try:
    arrays = [map_file(f"{sys.argv[1]}/{n}", np.dtype("<u2"), 1) for n in range(100)]
except OSError as error:
    print(error)
else:
    print(sum(int(array[0]) for array in arrays))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), str(hard)], capture_output=True, text=True
    )
    if hard > 100 or sys.version_info >= (3, 13):
        assert done.stdout == "4950\n", done.stderr
    else:
        assert (
            "too many files are open at once, 30: raise the limit with `ulimit -n`" in done.stdout
        )
