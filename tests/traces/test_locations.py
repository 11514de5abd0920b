"""Captures in object stores: read whole, listed, and refused or broken off with one clear line."""

from __future__ import annotations

import gzip
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import xxhash

from segcast.traces.captures import remote as locations
from segcast.traces.captures.reader import read_frames
from segcast.traces.captures.remote import expand, identity, is_url
from segcast.traces.errors import DamagedCapture, InputError
from tests.support.captures import rows_of, some_capture
from tests.support.objectstore import KEY, SECRET, WEED, Store, free_ports, serving
from tests.support.strategies import Seeded
from tests.twins import captures as twin
from tests.twins import writing
from tests.twins.writing import Captured

pytestmark = pytest.mark.skipif(not WEED.is_file(), reason="the S3 server of requirements-dev.txt is not installed")


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with serving(tmp_path_factory.mktemp("weed") / "data") as running:
        yield running


def test_what_is_a_url() -> None:
    assert is_url("s3://bucket/key") and is_url("gs://bucket/key")
    assert not is_url("-") and not is_url("a/b.pcap") and not is_url(Path("s3://x")) and not is_url("C:\\x")


def test_reads_objects_plain_and_compressed(store: Store) -> None:
    data = some_capture()
    for stored in (data, gzip.compress(data)):
        url = store.put("captures/in/c.pcap", stored)
        assert rows_of(url) == (twin.read_all(data)[0], None)
        with read_frames(url, digest=True) as reader:
            list(reader)
            assert reader.hexdigest() == xxhash.xxh3_128(stored).hexdigest()
            assert reader.bytes_read == reader.total_bytes == len(stored)


def test_reads_a_large_object_in_ranges(store: Store) -> None:
    data = writing.pcap([Captured(i, 1500, bytes([i % 256]) * 1500) for i in range(15_000)], 1)
    with read_frames(store.put("captures/large.pcap", data), digest=True) as reader:
        assert sum(len(batch.start) for batch in reader) == 15_000
        assert reader.hexdigest() == xxhash.xxh3_128(data).hexdigest()


def test_a_damaged_object_keeps_what_precedes_to_the_byte(store: Store, tmp_path: Path) -> None:
    stored = bytearray(
        gzip.compress(writing.pcap([Captured(i, 99, Seeded(i).random.randbytes(90)) for i in range(999)], 1))
    )
    stored[len(stored) // 2] ^= 0xFF
    (tmp_path / "c").write_bytes(stored)
    assert rows_of(store.put("captures/bad.pcap.gz", bytes(stored))) == rows_of(tmp_path / "c")


def test_the_endpoint_may_come_from_the_environment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("captures/here.pcap", some_capture())
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{store.port}")
    assert len(rows_of("s3://captures/here.pcap")[0]) == 500


def test_globs_and_folders(store: Store) -> None:
    for name in ("b.pcap", "a.pcap", "a.txt", "deep/d.pcap", "with space%.pcap"):
        store.put(f"captures/many/{name}", name.encode())

    def names(pattern: str) -> list[str]:
        urls = expand(store.url(f"captures/{pattern}"))
        assert [identity(url)[0] > 0 for url in urls] == [True] * len(urls)
        return [url.split("?")[0].removeprefix("s3://captures/many/") for url in urls]

    assert names("many/*.pcap") == ["a.pcap", "b.pcap", "with space%25.pcap"]
    assert names("many/") == ["a.pcap", "a.txt", "b.pcap", "with space%25.pcap"]
    assert names("many/*/*.pcap") == ["deep/d.pcap"]
    assert names("m*/a.*") == ["a.pcap", "a.txt"]
    assert names("many/b.pcap") == ["b.pcap"]
    with pytest.raises(InputError, match="nothing is there by this name"):
        names("many/*.nothing")


def test_identity_changes_with_the_content(store: Store, tmp_path: Path) -> None:
    one = identity(store.put("captures/i", b"one"))
    assert one == identity(store.url("captures/i")) and one[0] == 3
    assert identity(store.put("captures/i", b"two")) != one
    (tmp_path / "f").write_bytes(b"four")
    assert identity(tmp_path / "f") == (4, str((tmp_path / "f").stat().st_mtime_ns))
    with pytest.raises(InputError, match="check the path"):
        identity(tmp_path / "absent")


def refused(url: str) -> str:
    with pytest.raises(InputError) as raised:
        read_frames(url)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_cannot_be_opened_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("captures/folder/x.pcap", some_capture())
    assert "no such object; check the bucket and the key" in refused(store.url("captures/absent"))
    assert "no such object; check the bucket and the key" in refused(store.url("no-bucket/absent"))
    assert "a folder, not a capture" in refused(store.url("captures/folder"))
    assert "names no bucket" in refused("s3:///key")
    secret = refused("s3://user:hush@captures/key")
    assert "credentials do not belong in a URL" in secret and "hush" not in secret
    assert "no such kind of location" in refused("nonsense://a/b")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "access refused; check the credentials" in refused(store.url("captures/folder/x.pcap"))
    with pytest.raises(InputError, match="access refused"):
        expand(store.url("captures/*"))


def test_a_server_that_is_not_there_or_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locations, "_ANSWER_S", 8.0)
    (port,) = free_ports(1)
    begin = time.monotonic()
    url = f"s3://captures/x?endpoint_override=127.0.0.1:{port}&scheme=http"
    assert "the server does not answer" in refused(url)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"s3://captures/x?endpoint_override=127.0.0.1:{silent.getsockname()[1]}&scheme=http"
        assert "the server does not answer" in refused(url)
    assert time.monotonic() - begin < 60


def test_a_command_ends_though_a_server_never_answers(tmp_path: Path) -> None:
    """The library waits for each of its requests for 30 s when the process ends; the command does not."""
    script = (
        "import sys; from segcast.traces.captures import remote; from segcast.cli import main; "
        "remote._ANSWER_S = 2.0; sys.argv = ['segcast', *sys.argv[1:]]; main()"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"s3://captures/x?endpoint_override=127.0.0.1:{silent.getsockname()[1]}&scheme=http"
        ran = subprocess.run(
            [sys.executable, "-c", script, "ingest", url, "--out", tmp_path / "t.trace"],
            capture_output=True,
            text=True,
            timeout=28,
            check=False,
        )
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert "the server does not answer within 2 s" in ran.stderr
    assert not list(tmp_path.iterdir())


class _Boundless(BaseHTTPRequestHandler):
    """Says of each object that it has almost 2^63 bytes."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(2**63 - 1))
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing is printed."""


def test_an_object_without_bounds_is_refused() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Boundless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"s3://captures/x?endpoint_override=127.0.0.1:{server.server_port}&scheme=http"
        assert "9,223,372,036,854,775,807 bytes, which no object has" in refused(url)
        server.shutdown()


def test_a_server_that_dies_midway_leaves_what_was_read(tmp_path: Path) -> None:
    data = writing.pcap([Captured(i, 1500, bytes(1500)) for i in range(60_000)], 1)
    with serving(tmp_path / "weed") as dying:
        url = dying.put("captures/c.pcap", data)
        with read_frames(url, batch_frames=1000, digest=True) as reader:
            frames = len(next(reader).start)
            dying.process.kill()
            with pytest.raises(DamagedCapture, match="cannot be read further: the server does not answer") as raised:
                for batch in reader:
                    frames += len(batch.start)
        assert 1000 <= frames < 60_000
        assert raised.value.offset == 24 + frames * 1516
