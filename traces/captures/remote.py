"""Where captures live besides files: objects in S3, Google Cloud Storage and whatever else pyarrow.fs opens, by URL.

A URL's query holds options: `endpoint_override`, `scheme`, `region` and `anonymous=true` of S3 and `gs`, those of
`pyarrow.fs.FileSystem.from_uri` of the others. Credentials come from where the vendor's own tools take them. pyarrow is
imported when the first URL is met.
"""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from segcast.traces.errors import InputError

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_GLOB: Final = re.compile(r"[*\[]")
_READ_BYTES: Final = 8 << 20
_READS: Final = 4  # under way at once
_MOST_BYTES: Final = 1 << 50  # no store has larger objects
_THREAD: Final = "segcast-range"
_ATTEMPTS: Final = 3
_CONNECT_S: Final = 5.0
_RETRY_S: Final = 30.0
_ANSWER_S: Final = 45.0
_ENVIRONMENT: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE")
_CREDENTIALS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

T = TypeVar("T")


def is_url(path: str | Path) -> bool:
    """Whether `path` is a URL (`scheme://…`) rather than a file's name."""
    return isinstance(path, str) and _URL.match(path) is not None


def expand(path: str) -> list[str]:
    """The URLs that a URL stands for, sorted: with `*` those that match (it spans no `/`), with a `/` at its end the
    objects directly in that folder, else itself. Raises InputError if there are none.
    """
    located = _Located(path)
    if path.split("?", 1)[0].endswith("/"):
        folder, pattern = located.key.rstrip("/"), "*"
    elif match := _GLOB.search(located.key):
        folder = located.key[: match.start()].rpartition("/")[0]
        pattern = located.key[len(folder) :].lstrip("/")
    else:
        return [path]
    from pyarrow.fs import FileSelector, FileType

    try:
        found = _answer(lambda: located.open().get_file_info(FileSelector(folder, recursive="/" in pattern)))
    except OSError as error:
        raise InputError(f"{path}: {_reason(error)}") from None
    wanted = pattern.split("/")
    names = []
    for info in found:
        parts = info.path[len(folder) :].lstrip("/").split("/")
        fits = len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))
        if info.type == FileType.File and fits:
            names.append(located.url_of(info.path))
    if not names:
        raise InputError(f"{path}: nothing is there by this name; check the bucket and the key")
    return sorted(names)


def identity(path: str | Path) -> tuple[int, str]:
    """Size in bytes of a file or a URL's object, and what changes when it is written: its ETag or modification time."""
    if not is_url(path):
        try:
            state = Path(path).stat()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}; check the path") from None
        return state.st_size, str(state.st_mtime_ns)
    file = RemoteInput(str(path))
    try:
        return file.total_bytes, file.version
    finally:
        file.close()


def located(url: str) -> tuple[Any, str, Callable[[str], str]]:
    """The file system that a URL names, its key there, and the URL of other keys. Raises InputError."""
    place = _Located(url)
    try:
        return place.open(), place.key, place.url_of
    except OSError as error:
        raise InputError(f"{url}: {_reason(error)}") from None


def reason_of(error: Exception) -> str:
    """What went wrong with an object, and how to mend it, in one line."""
    return _reason(error)


class RemoteInput:
    """An object read from its beginning, ranges of 8 MiB ahead of the reader, four at a time."""

    def __init__(self, path: str) -> None:
        """Open the object of a URL; raises InputError saying what is wrong with it."""
        located = _Located(path)
        try:
            info, self._file = _answer(lambda: _open(located))
        except OSError as error:
            raise InputError(f"{path}: {_reason(error)}") from None
        if self._file is None:
            raise InputError(f"{path}: a folder, not a capture; end it with / to take the captures in it")
        self.total_bytes = int(self._file.size())
        if self.total_bytes > _MOST_BYTES:
            raise InputError(f"{path}: the server says that it has {self.total_bytes:,} bytes, which no object has")
        tag = (self._file.metadata() or {}).get("ETag")
        self.version = tag.decode() if tag else str(info.mtime_ns)
        self._ranges: deque[Future[bytes]] = deque()
        self._asked = 0
        self._piece = memoryview(b"")

    def readinto(self, view: memoryview) -> int:
        """Fill `view` as far as the object goes; raises OSError with a reason of one line."""
        filled = 0
        while filled < len(view):
            if not self._piece:
                while self._asked < self.total_bytes and len(self._ranges) < _READS:
                    count = min(_READ_BYTES, self.total_bytes - self._asked)
                    self._ranges.append(_later(partial(self._range, self._asked, count)))
                    self._asked += count
                if not self._ranges:
                    break
                self._piece = memoryview(_result(self._ranges.popleft()))
            count = min(len(self._piece), len(view) - filled)
            view[filled : filled + count] = self._piece[:count]
            self._piece = self._piece[count:]
            filled += count
        return filled

    def read_at(self, offset: int, count: int) -> bytes:
        """Bytes from `offset` on, fewer at the end."""
        return _answer(partial(self._range, offset, max(0, min(count, self.total_bytes - offset))))

    def _range(self, offset: int, count: int) -> bytes:
        try:
            piece: bytes = self._file.read_at(count, offset)
        except OSError as error:
            raise OSError(_reason(error)) from None
        if len(piece) < count:
            raise OSError("the object became shorter while it was read")
        return piece

    def close(self) -> None:
        """Stop reading; requests under way end by themselves."""
        self._ranges.clear()


def _open(located: _Located) -> tuple[Any, Any]:
    """What is known of an object, and the object opened; None for a folder."""
    filesystem = located.open()
    info = filesystem.get_file_info(located.key)
    return info, None if info.type.name == "Directory" else filesystem.open_input_file(located.key)


def _later(ask: Callable[[], T]) -> Future[T]:
    """Ask in a thread that the process does not wait for: the library itself waits for a silent server for ever."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(ask())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name=_THREAD, daemon=True).start()
    return future


def waiting() -> bool:
    """Whether a server has yet to answer; the library that asked waits for it when the process ends."""
    return any(thread.name == _THREAD for thread in threading.enumerate())


def _result(future: Future[T]) -> T:
    try:
        return future.result(_ANSWER_S)
    except TimeoutError:
        raise OSError(
            f"the server does not answer within {_ANSWER_S:.0f} s; check the endpoint and the network"
        ) from None


def _answer(ask: Callable[[], T]) -> T:
    return _result(_later(ask))


class _Located:
    """A URL taken apart: the file system it names and the key in it, bucket first."""

    def __init__(self, url: str) -> None:
        split = urlsplit(url)
        if "@" in split.netloc:
            bare = url.replace(split.netloc.rpartition("@")[0] + "@", "", 1)
            raise InputError(f"{bare}: credentials do not belong in a URL; set {_CREDENTIALS[0]} and {_CREDENTIALS[1]}")
        self.scheme, self.host, self.query = split.scheme.lower(), split.netloc, split.query
        self.key = self.host + unquote(split.path) if self.scheme in ("s3", "gs") else ""
        self._bare = f"{self.scheme}://{self.host}{split.path}" + (f"?{self.query}" if self.query else "")
        if self.scheme in ("s3", "gs") and not self.host:
            raise InputError(f"{url}: names no bucket; write {self.scheme}://BUCKET/KEY")
        if not self.key:
            self._other, self.key = _from_uri(self._bare)

    def open(self) -> Any:
        """The file system."""
        if self.scheme == "s3":
            state = tuple(os.environ.get(name) for name in (*_ENVIRONMENT, *_CREDENTIALS))
            return _s3(self.host, self.query, state)
        return _gcs(self.query) if self.scheme == "gs" else self._other

    def url_of(self, key: str) -> str:
        """The URL of another key of the same file system."""
        start = "" if self.scheme in ("s3", "gs") else self.host + ("" if key.startswith("/") else "/")
        text = f"{self.scheme}://{start}{quote(key, safe='/:@!$&+,;=()~ ')}"
        return f"{text}?{self.query}" if self.query else text


@lru_cache(maxsize=8)
def _s3(bucket: str, query: str, _state: tuple[str | None, ...]) -> Any:
    """The file system of a bucket; the environment that it depends on is part of the key."""
    from pyarrow import fs

    options = dict(parse_qsl(query))
    endpoint = options.get("endpoint_override") or next(filter(None, map(os.environ.get, _ENVIRONMENT[:2])), None)
    scheme = options.get("scheme")
    if endpoint and "://" in endpoint:
        scheme, endpoint = scheme or endpoint.split("://")[0], endpoint.split("://")[1].rstrip("/")
    region = options.get("region") or next(filter(None, map(os.environ.get, _ENVIRONMENT[2:4])), None)
    if region is None and endpoint is None and not os.environ.get("AWS_PROFILE"):
        try:
            region = fs.resolve_s3_region(bucket)
        except OSError as error:
            raise OSError(f"bucket {bucket}: {error}") from None
    return fs.S3FileSystem(
        anonymous=options.get("anonymous", "").lower() in ("true", "1"),
        region=region,
        scheme=scheme or "https",
        endpoint_override=endpoint,
        connect_timeout=_CONNECT_S,
        request_timeout=_RETRY_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
    )


@lru_cache(maxsize=8)
def _gcs(query: str) -> Any:
    from pyarrow import fs

    options = dict(parse_qsl(query))
    return fs.GcsFileSystem(
        anonymous=options.get("anonymous", "").lower() in ("true", "1"),
        scheme=options.get("scheme", "https"),
        endpoint_override=options.get("endpoint_override"),
        retry_time_limit=timedelta(seconds=_RETRY_S),
    )


def _from_uri(url: str) -> tuple[Any, str]:
    from pyarrow import fs

    try:
        filesystem, key = fs.FileSystem.from_uri(url)
    except (OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{url}: no such kind of location ({_first_line(error)}); s3:// and gs:// are read") from None
    return filesystem, key


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(". ") if str(error).strip() else type(error).__name__


def _reason(error: Exception) -> str:
    """What went wrong with an object, and how to mend it, in one line."""
    text = _first_line(error)
    if text.startswith(("the server does not answer", "no such object", "access refused")):
        return text
    upper = text.upper()
    if isinstance(error, FileNotFoundError) or "NO_SUCH" in upper or "NOT_FOUND" in upper or "NOT FOUND" in upper:
        return "no such object; check the bucket and the key"
    if any(word in upper for word in ("ACCESS_DENIED", "SIGNATURE", "ACCESS_KEY", "FORBIDDEN", "CREDENTIAL", "TOKEN")):
        return f"access refused; check the credentials and the region ({text})"
    if any(word in upper for word in ("NETWORK", "CURL", "CONNECT", "RESOLVE", "TIMEOUT", "TIMED OUT", "UNAVAILABLE")):
        return f"the server does not answer; check the endpoint and the network ({text})"
    return f"cannot be read: {text}"
