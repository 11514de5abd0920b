"""A real S3 server on loopback for the tests: SeaweedFS, as its wheel brings it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import fs

WEED = Path(sys.executable).with_name("weed")
KEY, SECRET = "key", "secret"
_START_S, _ATTEMPTS = 20, 4


@dataclass
class Store:
    """A running server."""

    port: int
    ports: list[int]
    process: subprocess.Popen[bytes]
    files: Any
    log: Path

    def url(self, key: str) -> str:
        """The URL of a key, bucket first."""
        return f"s3://{key}?endpoint_override=127.0.0.1:{self.port}&scheme=http"

    def put(self, key: str, data: bytes) -> str:
        """Store an object; its URL."""
        with self.files.open_output_stream(key, compression=None) as out:
            out.write(data)
        return self.url(key)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class _Failed(Exception):
    """The server ended while it started; its parts begin at once, and now and then miss each other."""


@contextmanager
def serving(folder: Path) -> Iterator[Store]:
    """A server that keeps its objects in `folder`, with one bucket, `captures`."""
    for attempt in range(_ATTEMPTS):
        store = _start(folder / str(attempt))
        try:
            _wait(store)
            yield store
            return
        except _Failed as failure:
            if attempt == _ATTEMPTS - 1:
                raise AssertionError(str(failure)) from None
        finally:
            store.process.kill()
            store.process.wait()
            for port in store.ports:
                for left in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{port}.sock"):
                    left.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path) -> Store:
    identity = {"accessKey": KEY, "secretKey": SECRET}
    actions = ["Admin", "Read", "Write", "List"]
    folder.mkdir(parents=True)
    (folder / "s3.json").write_text(
        json.dumps({"identities": [{"name": "tests", "credentials": [identity], "actions": actions}]})
    )
    names = [name + part for name in ("master", "volume", "filer", "s3") for part in (".port", ".port.grpc")]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    command = [str(WEED), "server", "-s3", "-s3.config", str(folder / "s3.json"), "-dir", str(folder)]
    command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-volume.max=20"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += ["-master.volumeSizeLimitMB=64", *(f"-{name}={port}" for name, port in ports.items())]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    files = fs.S3FileSystem(
        access_key=KEY,
        secret_key=SECRET,
        endpoint_override=f"127.0.0.1:{ports['s3.port']}",
        scheme="http",
        allow_bucket_creation=True,
    )
    return Store(ports["s3.port"], list(ports.values()), process, files, folder / "log")


def _wait(store: Store) -> None:
    """Until objects can be written."""
    until = time.monotonic() + _START_S
    while True:
        try:
            store.files.create_dir("captures")
            store.put("captures/ready", b"ready")
            return
        except OSError:
            if time.monotonic() > until or store.process.poll() is not None:
                raise _Failed(store.log.read_text("utf-8", "replace")[-2000:]) from None
            time.sleep(0.2)
