import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tlm_data import atomic


def test_write_file_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic.write_file(path, "old")
    atomic.write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_write_file_that_fails_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic.write_file(path, "old")
    with pytest.raises(UnicodeEncodeError):
        atomic.write_file(path, "\ud800")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_new_folder_appears_at_the_end(tmp_path: Path) -> None:
    with atomic.new_folder(tmp_path / "deep" / "folder") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text("x")
        assert not (tmp_path / "deep" / "folder").exists()
    assert (tmp_path / "deep" / "folder" / "inner" / "file").read_text() == "x"
    assert os.listdir(tmp_path / "deep") == ["folder"]


def test_new_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), atomic.new_folder(tmp_path / "folder") as folder:
        (folder / "file").write_text("x")
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_new_folder_refuses_a_name_in_use(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(FileExistsError, match="folder exists already"),
        atomic.new_folder(tmp_path / "folder"),
    ):
        pass
    with (
        pytest.raises(FileExistsError, match="made by another process"),
        atomic.new_folder(tmp_path / "late") as folder,
    ):
        (folder / "ours").write_text("x")
        (tmp_path / "late").mkdir()
        (tmp_path / "late" / "theirs").write_text("x")
    assert os.listdir(tmp_path / "late") == ["theirs"]


def test_a_kill_in_the_middle_publishes_nothing(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from tlm_data import atomic
with atomic.new_folder(Path(sys.argv[1])) as folder:
    (folder / "file").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""
    target = tmp_path / "folder"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(target)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not target.exists()
    assert len(os.listdir(tmp_path)) == 1
    with atomic.new_folder(target) as folder:
        (folder / "file").write_text("whole")
    assert (target / "file").read_text() == "whole"
    assert os.listdir(tmp_path) == ["folder"]  # what the killed process left is gone


def test_the_folder_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".folder.notes").mkdir()  # nor what only looks like one
    (tmp_path / ".folder.0123abcd").touch()
    with pytest.raises(FileExistsError), atomic.new_folder(tmp_path / "folder") as first:
        with atomic.new_folder(tmp_path / "folder") as second:
            assert first.exists() and second.exists()
            (first / "file").write_text("first")
            (second / "file").write_text("second")
        assert first.exists()
    assert sorted(os.listdir(tmp_path)) == [".folder.0123abcd", ".folder.notes", "folder"]


def test_reserved_space_is_there(small_disk: Path) -> None:
    with (small_disk / "a").open("wb") as file:
        atomic.reserve(file, 1 << 20)
        assert (small_disk / "a").stat().st_size == 1 << 20
        atomic.reserve(file, 10)  # is there already
        assert (small_disk / "a").stat().st_size == 1 << 20
        with pytest.raises(
            OSError, match=r"needs 1,951,424 more bytes, 1,04\d,\d\d\d are free"
        ) as e:
            atomic.reserve(file, 3_000_000)
    assert e.value.errno == errno.ENOSPC
    assert e.value.filename == str(small_disk / "a")


def test_write_file_on_a_full_disk_keeps_the_old_one(small_disk: Path) -> None:
    atomic.write_file(small_disk / "a", "old")
    with pytest.raises(OSError, match=r"no space left on .* 3,000,000 more bytes, 2,09\d,\d+ are"):
        atomic.write_file(small_disk / "a", b"x" * 3_000_000)
    assert (small_disk / "a").read_text() == "old"
    assert os.listdir(small_disk) == ["a"]


def test_other_errors_are_not_called_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic.naming_a_full_disk(tmp_path, 1):
        (tmp_path / "no" / "file").touch()
