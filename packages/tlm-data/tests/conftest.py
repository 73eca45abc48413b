import contextlib
import dataclasses
import functools
import http.server
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB that can really be filled; the test is skipped where none can be mounted."""
    path = tmp_path / "small-disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(path)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


@dataclasses.dataclass
class WebServer:
    """A real server on this machine, and what is wrong with it."""

    folder: Path
    url: str = ""
    ranges: bool = True
    breaks: int = 0  # answers that are still to break off in the middle
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    redirects: dict[str, tuple[str, dict[str, str]]] = dataclasses.field(default_factory=dict)
    bytes_sent: int = 0


class _Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, server: WebServer, *args: object) -> None:
        self._server = server
        super().__init__(*args)  # type: ignore[arg-type]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        server = self._server
        name = self.path.partition("?")[0]
        if name in server.redirects:
            target, headers = server.redirects[name]
            return self._answer(302, {"Location": target, "Content-Length": "0", **headers}, b"")
        path = server.folder / name.lstrip("/")
        if not path.is_file():
            return self._answer(404, {"Content-Length": "0"}, b"")
        data = path.read_bytes()
        modified = {"Last-Modified": str(path.stat().st_mtime_ns), **server.headers}
        wanted = self.headers.get("Range")
        if not (server.ranges and wanted):
            ranges = {"Accept-Ranges": "bytes"} if server.ranges else {}
            return self._answer(200, {"Content-Length": str(len(data)), **ranges, **modified}, data)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(data)) + 1, len(data))
        place = {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}
        length = {"Content-Length": str(end - start)}
        return self._answer(206, {**length, **place, **modified}, data[start:end])

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self._server.breaks and body:
            self._server.breaks -= 1
            body = body[: len(body) // 2]
            self.close_connection = True
        self._server.bytes_sent += len(body)
        with contextlib.suppress(ConnectionError):  # the reader has enough
            self.wfile.write(body)


@pytest.fixture(params=[True, False], ids=["ranges", "no ranges"])
def web_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WebServer]:
    """A server of the files in a folder, one that sends parts of files and one that does not."""
    server = WebServer(tmp_path / "served", ranges=request.param)
    server.folder.mkdir()
    make = functools.partial(_Handler, server)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), make) as running:
        server.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield server
        running.shutdown()
        thread.join()
