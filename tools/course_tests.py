"""Run the public tests of Stanford's CS336 assignment 1 on these packages.

    hatch run pip install einops
    hatch run python tools/course_tests.py PATH/TO/assignment1-basics [pytest arguments]

The course's folder is only read: its tests are copied aside, where `course_adapters.py` takes the
place of its own adapters.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ADAPTERS = Path(__file__).with_name("course_adapters.py")


def main(course: Path, arguments: list[str]) -> int:
    """Run the tests, and return pytest's exit code."""
    if not (course / "tests" / "adapters.py").is_file():
        sys.exit(f"{course} is not the course's folder: tests/adapters.py is missing")
    with tempfile.TemporaryDirectory() as name:
        shutil.copytree(course / "tests", Path(name) / "tests")
        shutil.copy(ADAPTERS, Path(name) / "tests" / "adapters.py")
        (Path(name) / "pytest.ini").write_text("[pytest]\n")
        command = [sys.executable, "-m", "pytest", "tests", *arguments]
        return subprocess.run(command, cwd=name).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
