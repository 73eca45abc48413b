import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from tlm_data import streams
from tlm_data.download import download, promised_sha256

DATA = bytes(range(256)) * 20_000  # 5 MB
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_RETRY_DELAYS_SECONDS", (0.0,))


@pytest.fixture
def url(web_server: Any) -> str:
    (web_server.folder / "a.bin").write_bytes(DATA)
    return f"{web_server.url}/a.bin"


def test_a_file_is_downloaded_once(web_server: Any, url: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    seen: list[tuple[int, int]] = []
    download(url, path, sha256=SHA256, on_progress=lambda *progress: seen.append(progress))
    assert path.read_bytes() == DATA
    assert seen[0] == (0, len(DATA)) and seen[-1] == (len(DATA), len(DATA))
    assert seen == sorted(seen)
    assert {file.name for file in path.parent.iterdir()} <= {"a.bin", ".a.bin.lock"}
    web_server.bytes_sent = 0
    download(url, path, sha256=SHA256)
    assert web_server.bytes_sent == 0


def broken_download(web_server: Any, url: str, path: Path) -> int:
    """Let all attempts break off after a while; return how many bytes came."""

    def stop(done: int, total: int) -> None:
        if done > 2_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(url, path, on_progress=stop)
    assert not path.exists()
    return path.with_name("a.bin.part").stat().st_size


def test_a_stopped_download_goes_on(web_server: Any, url: str, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    came = broken_download(web_server, url, path)
    assert 2_000_000 < came < len(DATA)
    starts: list[int] = []
    download(url, path, sha256=SHA256, on_progress=lambda done, total: starts.append(done))
    assert path.read_bytes() == DATA
    assert starts[0] == came


def test_a_changed_source_is_taken_from_its_start(
    web_server: Any, url: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.bin"
    broken_download(web_server, url, path)
    changed = DATA[::-1]
    (web_server.folder / "a.bin").write_bytes(changed)
    starts: list[int] = []
    download(url, path, on_progress=lambda done, total: starts.append(done))
    assert path.read_bytes() == changed
    assert starts[0] == 0


def test_a_source_without_a_mark_is_taken_from_its_start(
    web_server: Any, url: str, tmp_path: Path
) -> None:
    web_server.headers["Last-Modified"] = ""
    path = tmp_path / "a.bin"
    broken_download(web_server, url, path)
    starts: list[int] = []
    download(url, path, on_progress=lambda done, total: starts.append(done))
    assert path.read_bytes() == DATA
    assert starts[0] == 0


def test_a_broken_connection_is_mended(web_server: Any, url: str, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    web_server.breaks = 1
    download(url, path, sha256=SHA256)
    web_server.breaks = 100
    with pytest.raises(OSError, match=r"a\.bin cannot be read at byte "):
        download(url, tmp_path / "b.bin")
    assert not (tmp_path / "b.bin").exists()
    web_server.breaks = 0
    assert download(url, tmp_path / "b.bin").read_bytes() == DATA


def test_what_is_not_expected_is_refused(web_server: Any, url: str, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with pytest.raises(ValueError, match="has 5120000 bytes, not 7: it was changed"):
        download(url, path, size_bytes=7)
    with pytest.raises(ValueError, match=r"SHA-256 \w+, not 0000: it was damaged on its way"):
        download(url, path, sha256="0000")
    assert list(tmp_path.glob("a.bin*")) == []
    with pytest.raises(
        ValueError, match=rf"^{path} has the SHA-256 .* {url} was changed; download"
    ):
        download(url, path, sha256="0000")
    path.write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"has 4 bytes, not 5120000 as .*: remove it"):
        download(url, path)
    assert path.read_bytes() == b"mine"
    with pytest.raises(FileNotFoundError, match="nothing is at"):
        download(f"{web_server.url}/none", tmp_path / "none")


def test_two_downloads_of_one_file_are_refused(url: str, tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / ".a.bin.lock"),
        pytest.raises(ValueError, match="is being downloaded by another process"),
    ):
        download(url, tmp_path / "a.bin")


def test_a_full_disk_leaves_no_file(url: str, small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        download(url, small_disk / "a.bin")
    assert not (small_disk / "a.bin").exists()


def test_a_promised_checksum_is_held_to(web_server: Any, url: str, tmp_path: Path) -> None:
    right = base64.b64encode(bytes.fromhex(SHA256)).decode()
    web_server.headers["Repr-Digest"] = f"md5=:AAAA:, sha-256=:{right}:"
    assert promised_sha256(url) == SHA256
    download(url, tmp_path / "a.bin")
    wrong = base64.b64encode(bytes(32)).decode()
    web_server.headers["Repr-Digest"] = f"sha-256=:{wrong}:"
    with pytest.raises(ValueError, match="SHA-256"):
        download(url, tmp_path / "b.bin")
    web_server.headers["Repr-Digest"] = "sha-256=:***:"
    assert promised_sha256(url) is None
    # As Hugging Face does it: stated where the file is moved from.
    web_server.redirects["/linked"] = (url, {"X-Linked-ETag": f'"{SHA256}"'})
    assert promised_sha256(f"{web_server.url}/linked") == SHA256
    assert download(f"{web_server.url}/linked", tmp_path / "c.bin").read_bytes() == DATA
    assert promised_sha256("http://127.0.0.1:9/a") is None


def test_a_whole_file_needs_no_server(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    url = "http://127.0.0.1:9/a.zip"
    with pytest.raises(OSError, match=r"a\.zip cannot be reached: Cannot connect"):
        download(url, path)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(DATA)
    assert download(url, path) == path
    assert download(url, path, size_bytes=len(DATA), sha256=SHA256) == path
    with pytest.raises(ValueError, match=r"has 5120000 bytes, not 7"):
        download(url, path, size_bytes=7)
    with pytest.raises(ValueError, match=r"not 0000: .*; remove it to download it again"):
        download(url, path, sha256="0000")


def test_any_kind_of_file_is_downloaded(web_server: Any, tmp_path: Path) -> None:
    for name in ("a.zip", "a.json", "a.parquet.gz"):
        (web_server.folder / name).write_bytes(b"bytes")
        assert download(f"{web_server.url}/{name}", tmp_path / name).read_bytes() == b"bytes"
