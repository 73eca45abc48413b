"""Run the public tests of Stanford's CS336 assignment 1 on these packages.

    hatch run pip install einops
    hatch run python tools/course_tests.py PATH/TO/assignment1-basics [pytest arguments]

The course's folder is only read: its tests are copied aside, where `course_adapters.py` takes the
place of its own adapters. tiktoken finds GPT-2's files there and needs no network.
"""

import hashlib
import os
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
        fixtures = Path(name) / "tests" / "fixtures"
        environment = os.environ | {"TIKTOKEN_CACHE_DIR": str(tiktoken_cache(fixtures))}
        command = [sys.executable, "-m", "pytest", "tests", *arguments]
        return subprocess.run(command, cwd=name, env=environment).returncode


def tiktoken_cache(fixtures: Path) -> Path:
    """Lay the course's copy of GPT-2's files where tiktoken looks before it downloads them.

    tiktoken checks their SHA-256, so these are the very files or it says so.
    """
    cache = fixtures / "tiktoken"
    cache.mkdir()
    files = {
        "vocab.bpe": b"#version: 0.2\n" + (fixtures / "gpt2_merges.txt").read_bytes(),
        "encoder.json": (fixtures / "gpt2_vocab.json").read_bytes(),
    }
    for file, content in files.items():
        url = f"https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/{file}"
        (cache / hashlib.sha1(url.encode()).hexdigest()).write_bytes(content)
    return cache


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
