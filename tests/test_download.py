import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchgen.download import DownloadError, begins_with, download, file_digest

CONTENT = bytes(range(256)) * 10_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PART = f".file.bin.{SHA256[:16]}.part"


@dataclass
class Remote:
    """A server of one file, with the faults of real ones."""

    content: bytes = CONTENT
    ranges: bool = True
    closes_after: list[int] = field(default_factory=list)  # bytes of each response, in turn
    slow: float = 0.0
    hangs: bool = False  # once it has sent what closes_after says, until it is told to go on
    goes_on: threading.Event = field(default_factory=threading.Event)
    asked: list[str | None] = field(default_factory=list)  # the Range of each request
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges else 0
        if start and start >= len(self.content):
            handler.send_error(416)
            return
        body = self.content[start:]
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body)))
        if start:
            last = len(self.content) - 1
            handler.send_header("Content-Range", f"bytes {start}-{last}/{len(self.content)}")
        handler.end_headers()
        time.sleep(self.slow)
        handler.wfile.write(body[: self.closes_after.pop(0)] if self.closes_after else body)
        if self.hangs:
            handler.wfile.flush()
            self.goes_on.wait(60)


@pytest.fixture
def remote() -> Iterator[Remote]:
    served = Remote()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}/file.bin"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder" / "file.bin"


def listed(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def left_from_before(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True)
    (target.parent / PART).write_bytes(content)


def test_a_download_arrives_whole_in_a_new_folder(remote: Remote, target: Path) -> None:
    download(remote.url, target, "sha256", SHA256.upper())
    assert target.read_bytes() == CONTENT
    assert listed(target) == ["file.bin"]
    assert file_digest(target, "md5") == hashlib.md5(CONTENT).hexdigest()
    assert target.stat().st_mode & 0o777 == 0o644
    assert remote.asked == [None]


def test_a_file_url_will_do(tmp_path: Path, target: Path) -> None:
    (tmp_path / "remote.bin").write_bytes(CONTENT)
    download((tmp_path / "remote.bin").as_uri(), target, "sha256", SHA256[:8])
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("old", [None, b"old"])
def test_another_hash_leaves_the_old_file_and_nothing_else(
    remote: Remote, target: Path, old: bytes | None
) -> None:
    target.parent.mkdir(parents=True)
    if old is not None:
        target.write_bytes(old)
    with pytest.raises(DownloadError, match=r"2,560,000 bytes with sha256 .*; expected 0000"):
        download(remote.url, target, "sha256", "0" * 64)
    assert listed(target) == ([] if old is None else ["file.bin"])
    assert old is None or target.read_bytes() == old


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "file:///absent", "http://no.invalid/x"])
def test_an_unreachable_url_is_one_error(url: str, target: Path) -> None:
    with pytest.raises(DownloadError, match="could not be fetched"):
        download(url, target, "md5", "0" * 32)
    assert listed(target) == []


def test_a_folder_that_cannot_be_made_is_one_error(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match="cannot be written"):
        download(remote.url, tmp_path / "file" / "x.bin", "md5", "0" * 32)


def test_a_connection_that_breaks_is_taken_up_again(remote: Remote, target: Path) -> None:
    remote.closes_after = [1_000_000, 500_000]
    download(remote.url, target, "sha256", SHA256)
    assert target.read_bytes() == CONTENT
    assert remote.asked == [None, "bytes=1000000-", "bytes=1500000-"]


def test_what_an_interrupted_try_left_is_kept_and_completed(remote: Remote, target: Path) -> None:
    remote.closes_after = [1_000_000, 0]
    with pytest.raises(DownloadError, match=r"1,000,000 bytes are kept; the next try goes on"):
        download(remote.url, target, "sha256", SHA256)
    assert listed(target) == [PART]
    assert (target.parent / PART).read_bytes() == CONTENT[:1_000_000]
    remote.asked.clear()
    download(remote.url, target, "sha256", SHA256)
    assert target.read_bytes() == CONTENT
    assert remote.asked == ["bytes=1000000-"]
    assert listed(target) == ["file.bin"]


def test_what_a_killed_process_left_is_completed(remote: Remote, target: Path) -> None:
    remote.closes_after = [2_000_000]
    remote.hangs = True
    code = "import sys, pathlib, benchgen.download as d; " + (
        "d.download(sys.argv[1], pathlib.Path(sys.argv[2]), 'sha256', sys.argv[3])"
    )
    command = [sys.executable, "-c", code, remote.url, str(target), SHA256]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        part = target.parent / PART
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (part.exists() and part.stat().st_size):
            time.sleep(0.05)
        process.kill()
    size = part.stat().st_size
    assert 0 < size < len(CONTENT)
    remote.hangs = False
    remote.goes_on.set()
    download(remote.url, target, "sha256", SHA256)
    assert target.read_bytes() == CONTENT
    assert remote.asked == [None, f"bytes={size}-"]


def test_a_server_without_ranges_starts_again(remote: Remote, target: Path) -> None:
    left_from_before(target, CONTENT[:1_000])
    remote.ranges = False
    download(remote.url, target, "sha256", SHA256)
    assert target.read_bytes() == CONTENT
    assert remote.asked == ["bytes=1000-"]


@pytest.mark.parametrize("left", [b"x" * 1_000, CONTENT + b"x"])
def test_a_damaged_part_is_fetched_afresh(remote: Remote, target: Path, left: bytes) -> None:
    left_from_before(target, left)
    download(remote.url, target, "sha256", SHA256)
    assert target.read_bytes() == CONTENT
    assert remote.asked[-1] is None


def test_a_part_that_was_complete_is_put_in_place(remote: Remote, target: Path) -> None:
    left_from_before(target, CONTENT)
    download(remote.url, target, "sha256", SHA256)
    assert target.read_bytes() == CONTENT
    assert listed(target) == ["file.bin"]


def test_a_part_of_other_content_is_let_alone(remote: Remote, target: Path) -> None:
    target.parent.mkdir(parents=True)
    other = target.parent / f".file.bin.{'0' * 16}.part"
    other.write_bytes(b"another version")
    download(remote.url, target, "sha256", SHA256)
    assert target.read_bytes() == CONTENT
    assert other.read_bytes() == b"another version"
    assert remote.asked == [None]


def test_several_at_once_fetch_it_once(remote: Remote, target: Path) -> None:
    remote.slow = 0.3
    with ThreadPoolExecutor(4) as pool:
        tries = [pool.submit(download, remote.url, target, "sha256", SHA256) for _ in range(4)]
        for one in tries:
            one.result()
    assert target.read_bytes() == CONTENT
    assert listed(target) == ["file.bin"]
    assert remote.asked == [None]


def test_the_next_in_line_goes_on_where_the_first_failed(remote: Remote, target: Path) -> None:
    remote.slow = 0.3
    remote.closes_after = [1_000_000, 0]
    with ThreadPoolExecutor(2) as pool:
        tries = [pool.submit(download, remote.url, target, "sha256", SHA256) for _ in range(2)]
        failures = [one.exception() for one in tries]
    assert sorted(failure is None for failure in failures) == [False, True]
    assert target.read_bytes() == CONTENT
    assert remote.asked == [None, "bytes=1000000-", "bytes=1000000-"]


def test_without_locks_nobody_writes_to_anothers_part(
    remote: Remote, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchgen.download.fcntl", None)
    left_from_before(target, b"another process is writing this")
    download(remote.url, target, "sha256", SHA256)
    assert target.read_bytes() == CONTENT
    assert (target.parent / PART).read_bytes() == b"another process is writing this"
    remote.closes_after = [10, 0]
    with pytest.raises(DownloadError):
        download(remote.url, target.with_name("second.bin"), "sha256", SHA256)
    assert listed(target) == [PART, "file.bin"]


def test_a_few_digits_are_a_hash_and_fewer_are_not() -> None:
    assert begins_with(SHA256, SHA256[:8].upper())
    assert not begins_with(SHA256, "0" * 8)
    with pytest.raises(ValueError, match="too short"):
        begins_with(SHA256, SHA256[:7])
