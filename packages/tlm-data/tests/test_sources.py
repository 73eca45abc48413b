import functools
import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from tlm_data import ReadOptions, find_files, read_documents, sources, streams
from tlm_data.slices import plan_slices
from tlm_data.sources import local_file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "b/2.txt",
        "b/10.txt",
        "a.jsonl",
        "c.parquet",
        "b/x/n.txt.gz",
        "b/.hidden",
        ".git/x",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"text")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(found: list[sources.SourceFile], folder: Path) -> list[str]:
    return [Path(file.url).relative_to(folder).as_posix() for file in found]


def test_a_folder_is_all_that_is_below_it_but_hidden_files(folder: Path) -> None:
    skipped = []
    found = find_files([folder], on_skipped=lambda name, why: skipped.append((name, why)))
    assert names(found, folder) == ["a.jsonl", "b/10.txt", "b/2.txt", "b/x/n.txt.gz", "c.parquet"]
    assert skipped == [(str(folder / ".git"), "hidden"), (str(folder / "b/.hidden"), "hidden")]
    assert all(file.size_bytes == 4 for file in found)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["b/2.txt", "a.jsonl"], ["b/2.txt", "a.jsonl"]),
        (["b/*.txt"], ["b/10.txt", "b/2.txt"]),
        (["**/*.txt"], ["b/10.txt", "b/2.txt"]),
        (["b/?.txt", "b/*.txt"], ["b/2.txt", "b/10.txt"]),
        (["b/../a.jsonl", "./a.jsonl"], ["a.jsonl"]),
        ([".git"], [".git/x"]),
        (["file://b/2.txt"], ["b/2.txt"]),
        (["[bc]*"], ["b/10.txt", "b/2.txt", "b/x/n.txt.gz", "c.parquet"]),
    ],
)
def test_sources_are_found_in_order_and_once(
    folder: Path, given: list[str], expected: list[str]
) -> None:
    skipped = []
    found = find_files(given, on_skipped=lambda name, why: skipped.append(why))
    assert [os.path.relpath(file.url, folder) for file in found] == expected
    assert set(skipped) <= {"hidden", "named twice"}
    assert all(Path(file.url).is_absolute() for file in found)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.txt", ("text", "none")),
        ("a", ("text", "none")),
        ("a.py.gz", ("text", "gzip")),
        ("A.JSONL", ("jsonl", "none")),
        ("a.ndjson.zst", ("jsonl", "zstd")),
        ("a.jsonl.gz", ("jsonl", "gzip")),
        ("a.parquet", ("parquet", "none")),
    ],
)
def test_the_name_tells_the_format(tmp_path: Path, name: str, expected: tuple[str, str]) -> None:
    (tmp_path / name).write_bytes(b"")
    (file,) = find_files([tmp_path / name])
    assert (file.format, file.compression) == expected
    assert local_file(tmp_path / name, "jsonl").format == "jsonl"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.zip", r"a\.zip: \.zip files are not read; unpack it, or pack it as \.gz or \.zst"),
        ("a.tar.gz", r"\.tar files are not read"),
        ("a.txt.xz", r"\.xz files are not read"),
        ("a.parquet.gz", "a Parquet file is compressed inside"),
    ],
)
def test_what_is_not_read_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=message):
        find_files([tmp_path])


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "A.CSV", "a.tsv.zst", "a.npy", "a.bin"])
def test_a_name_that_may_mean_anything_needs_a_format(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"how to read a \.\w+ file must be said; give the format"):
        find_files([tmp_path])
    assert find_files([tmp_path], format="jsonl")[0].format == "jsonl"


def test_pipes_cannot_be_read_again(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "gone.txt").symlink_to("nothing")
    for source in (tmp_path / "pipe.txt", f"{tmp_path}/p*.txt", "/dev/null"):
        with pytest.raises(ValueError, match="is no regular file, so that it cannot be divided"):
            find_files([source])
    with pytest.raises(ValueError, match="standard input cannot be divided"):
        find_files(["-"])
    skipped = []
    found = find_files([tmp_path], on_skipped=lambda name, why: skipped.append((name, why)))
    assert names(found, tmp_path) == ["a.txt"]
    assert skipped == [(str(tmp_path / name), "not a file") for name in ("gone.txt", "pipe.txt")]


def test_links_that_go_round_are_followed_once(folder: Path) -> None:
    (folder / "b/again").symlink_to(folder)
    (folder / "b/x/up").symlink_to("..")
    (folder / "b/x/here").symlink_to(".")
    skipped = []
    found = find_files([folder], on_skipped=lambda name, why: skipped.append((name, why)))
    assert names(found, folder) == ["a.jsonl", "b/10.txt", "b/2.txt", "b/x/n.txt.gz", "c.parquet"]
    twice = [name for name, why in skipped if why == "named twice"]
    assert twice == [str(folder / name) for name in ("b/again", "b/x/here", "b/x/up")]
    assert len(find_files([folder, folder])) == 5


def test_a_corpus_that_was_prepared_is_no_source(folder: Path) -> None:
    corpus = folder / "corpus"
    (corpus / "train").mkdir(parents=True)
    (corpus / "train/shard-00000.bin").write_bytes(b"\0\1")
    (corpus / "prepare.json").write_text(json.dumps({"format": "tlm-corpus", "version": 1}))
    skipped = []
    found = find_files([folder], on_skipped=lambda name, why: skipped.append((name, why)))
    assert len(found) == 5
    assert (str(corpus), "a prepared corpus") in skipped
    with pytest.raises(ValueError, match="prepared corpora are left out"):
        find_files([corpus])
    (corpus / "prepare.json").write_text("{}")  # somebody else's
    with pytest.raises(ValueError, match=r"prepare\.json: how to read a \.json file must be said"):
        find_files([folder])


def test_nothing_found_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file or folder missing"):
        find_files(["missing.txt"])
    for name in (str(tmp_path), str(tmp_path / "*.txt")):
        with pytest.raises(ValueError, match=r"no file found in .*: hidden files and prepared"):
            find_files([name])
    with pytest.raises(ValueError, match="source='' must name something"):
        find_files([""])
    for lone in ("abc", tmp_path):
        with pytest.raises(TypeError, match=r"sources=.* must be a list: \["):
            find_files(lone)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="format='csv' must be one of text, jsonl, parquet"):
        find_files([], format="csv")  # type: ignore[arg-type]


def test_identity_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    first = local_file(path)
    assert local_file(path) == first
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert local_file(path) != first


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"s3:// needs another package: pip install 'tlm-data\[s3"):
        find_files(["s3://bucket/a.txt"])
    with pytest.raises(ValueError, match="nosuch://a cannot be opened: Protocol not known: nosuch"):
        find_files(["nosuch://a"])
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    for name, extra in (("a.zst", "zstd"), ("a.parquet", "parquet")):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(ValueError, match=rf"pip install 'tlm-data\[{extra}\]'"):
            find_files([tmp_path / name])


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    yield filesystem
    filesystem.store.clear()


def read(files: list[sources.SourceFile], separator: str, slice_bytes: int) -> list[bytes]:
    options = ReadOptions(separator=separator)
    found = []
    for ranges in plan_slices(files, slice_bytes=slice_bytes):
        for batch in read_documents(ranges, options):
            found += batch
    return found


def test_urls_of_files_folders_and_globs(memory: fsspec.AbstractFileSystem) -> None:
    for name in ("/d/x.txt", "/d/b.txt", "/d/a.jsonl", "/d/x/c.txt", "/d/.hidden"):
        memory.pipe(name, b"one|two")
    (file,) = find_files(["memory://d/b.txt"])
    assert (file.url, file.size_bytes, file.format) == ("memory:///d/b.txt", 7, "text")
    assert file.identity
    folder = find_files(["memory://d"])
    assert [file.url for file in folder] == [
        "memory:///d/a.jsonl",
        "memory:///d/b.txt",
        "memory:///d/x/c.txt",
        "memory:///d/x.txt",
    ]
    memory.rm("/d/x.txt")
    assert [file.url for file in find_files(["memory://d/*.txt"])] == ["memory:///d/b.txt"]
    memory.pipe("/d/.x.txt", b"hidden")
    skipped = []
    globbed = find_files(["memory://d/*.txt"], on_skipped=lambda name, why: skipped.append(name))
    assert [file.url for file in globbed] == ["memory:///d/b.txt"]
    assert skipped == ["memory:///d/.x.txt"]
    assert read(find_files(["memory://d/**/*.txt"]), "|", 3) == [b"one", b"two"] * 2
    with pytest.raises(FileNotFoundError, match="nothing is at memory://d/none"):
        find_files(["memory://d/none"])


def test_a_web_server_is_read_from_any_place(web_server: Any) -> None:
    url = web_server.url
    parts = [b"%d " % number * 500 for number in range(100)]
    (web_server.folder / "a.txt").write_bytes(b"|".join(parts))
    files = find_files([f"{url}/a.txt"])
    assert files[0].identity
    assert read(files, "|", 30_000) == parts
    (queried,) = find_files([f"{url}/a.txt?download=true"])
    assert (queried.format, queried.size_bytes) == ("text", files[0].size_bytes)
    with pytest.raises(FileNotFoundError, match=f"nothing is at {url}/none"):
        find_files([f"{url}/none"])


def test_a_broken_connection_is_tried_again(
    web_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_RETRY_DELAYS_SECONDS", (0.0, 0.0))
    (web_server.folder / "a.txt").write_bytes(b"text " * 1000)
    files = find_files([f"{web_server.url}/a.txt"])
    web_server.breaks = 2
    assert read(files, "|", 1 << 20) == [b"text " * 1000]
    web_server.breaks = 100
    with pytest.raises(OSError, match=r"/a\.txt cannot be read at byte [0-9]+: "):
        read(files, "|", 1 << 20)


@pytest.fixture
def listing_server(tmp_path: Path) -> Iterator[str]:
    """Python's own server, which answers for a folder with a page that lists it."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            if self.path == "/closed":
                self.send_error(403)
            else:
                super().do_HEAD()

        def do_GET(self) -> None:
            if self.path == "/closed":
                self.send_error(403)
            else:
                super().do_GET()

    for name in ("d/b.txt", "d/a b.txt", "d/x/c.txt", "d/.h.txt", "page.html"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}")
    make = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), make) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_pattern_on_a_web_server(listing_server: str) -> None:
    skipped = []
    files = find_files(
        [f"{listing_server}/d/*.txt"], on_skipped=lambda name, why: skipped.append(name)
    )
    assert [file.url for file in files] == [
        f"{listing_server}/d/a%20b.txt",
        f"{listing_server}/d/b.txt",
    ]
    assert skipped == [f"{listing_server}/d/.h.txt"]
    assert all(file.identity for file in files)
    assert read(files, "|", 1 << 20) == [b"text of d/a b.txt", b"text of d/b.txt"]
    assert len(find_files([f"{listing_server}/d/**/*.txt"])) == 3
    with pytest.raises(ValueError, match="no file found in"):
        find_files([f"{listing_server}/d/*.parquet"])
    with pytest.raises(FileNotFoundError, match=r"nothing is at http://.*/none/$"):
        find_files([f"{listing_server}/none/*.txt"])


@pytest.mark.parametrize("name", ["", "/", "/d", "/d/"])
def test_the_listing_of_a_folder_is_no_text(listing_server: str, name: str) -> None:
    for format in (None, "text"):
        with pytest.raises(ValueError, match=r"a web page or the listing of a folder: .*/\*\.txt$"):
            find_files([listing_server + name], format=format)
    assert find_files([f"{listing_server}/page.html"])[0].size_bytes == 17


def test_a_server_that_refuses_is_not_one_without_the_file(listing_server: str) -> None:
    with pytest.raises(OSError, match=r"/closed cannot be reached: 403") as raised:
        find_files([f"{listing_server}/closed"])
    assert not isinstance(raised.value, FileNotFoundError)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/a.txt", "http://127.0.0.1:9/*.txt", "http://nowhere.invalid/a.txt"]
)
def test_a_server_that_is_not_there_is_named(url: str) -> None:
    with pytest.raises(OSError, match=r"http://.* cannot be reached: Cannot connect") as raised:
        find_files([url])
    assert not isinstance(raised.value, FileNotFoundError)
