"""Signs segment routing headers: HMAC TLVs with SHA-256 (RFC 8754 section 2.1.2)."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segcast.replay.srv6.encapsulate import InnerPackets
from segcast.replay.srv6.templates import HMAC_BYTES, IPV6_BYTES, Encapsulation, Key, Templates
from segcast.traces.disk.bounded import read_bounded
from segcast.traces.errors import InputError
from segcast.traces.jit import kernel

_MOST_KNOWN: Final = 1 << 18
_MOST_KEY_BYTES: Final = 64  # what Linux takes


def read_key(number: int, file: Path, flag: bool) -> Key:
    """The key in a file, without the newline at its end; see `Key`. Raises InputError."""
    try:
        secret = read_bounded(file, 2 + _MOST_KEY_BYTES)
    except OSError as error:
        raise InputError(f"{file}: cannot read the HMAC key: {error.strerror}") from None
    secret = secret.removesuffix(b"\n").removesuffix(b"\r")
    if not 1 <= len(secret) <= _MOST_KEY_BYTES:
        raise InputError(f"{file}: the HMAC key has {len(secret)} bytes: give 1 to {_MOST_KEY_BYTES}")
    return Key(number, secret, flag)


class Signer:
    """Writes HMACs; one is computed for each source and segment list, not for each packet."""

    def __init__(self, key: Key, encapsulation: Encapsulation) -> None:
        """Prepare to sign with the key of the encapsulation."""
        self._key = key
        self._inserts = encapsulation.mode.inserts
        self._known: dict[bytes, bytes] = {}

    def sign(
        self, packets: InnerPackets, headers: Templates, buffer: NDArray[np.uint8], hmac_end: NDArray[np.int64]
    ) -> None:
        """Set the HMACs of the finished packets in `buffer`; `hmac_end` int64[n]: where each SRH ends.

        They cover source address, Last Entry, Flags, HMAC Key ID and segment list (section 2.1.2.1).
        """
        size = headers.header_bytes[packets.family, packets.path]
        signed = np.flatnonzero(size > 0)
        if len(signed) == 0:
            return
        end, size = hmac_end[signed], size[signed]
        start = end - size
        if self._inserts:
            start = packets.inner[signed] - size
            ends = np.empty((len(signed), 5), np.uint64)
            ends[:, 0] = packets.path[signed]
            addresses = buffer[start[:, None] + np.arange(8, 24)].view(np.uint64)
            ends[:, 1:3] = addresses
            ends[:, 3:] = buffer[(end - size)[:, None] + np.arange(8, 24)].view(np.uint64)
            kinds = ends.view("V40").reshape(-1)
        else:
            paths = np.int64(headers.header_bytes.shape[1])
            kinds = (packets.host[signed] * 2 + packets.family[signed]) * paths + packets.path[signed]
        _, example, number = np.unique(kinds, return_index=True, return_inverse=True)
        srh = (end - size)[example] + (0 if self._inserts else IPV6_BYTES)
        digests = [
            self._digest(buffer[source : source + 16].tobytes(), buffer[at:stop].tobytes())
            for source, at, stop in zip((start + 8)[example].tolist(), srh.tolist(), end[example].tolist(), strict=True)
        ]
        table = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, HMAC_BYTES)
        _place(buffer, end - HMAC_BYTES, number.reshape(-1), table)

    def _digest(self, source: bytes, srh: bytes) -> bytes:
        text = _signed(self._key, source, srh)
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            found = hmac.digest(self._key.secret, text, "sha256")
            self._known[text] = found
        return found


def hmac_of(key: Key, source: bytes, srh: bytes) -> bytes:
    """The HMAC of an SRH that is sent from that address."""
    return hmac.digest(key.secret, _signed(key, source, srh), "sha256")


def _signed(key: Key, source: bytes, srh: bytes) -> bytes:
    return source + srh[4:6] + key.number.to_bytes(4) + srh[8 : 8 + 16 * (srh[4] + 1)]


@kernel
def _place(
    buffer: NDArray[np.uint8], at: NDArray[np.int64], number: NDArray[np.int64], table: NDArray[np.uint8]
) -> None:
    """Copy row `number` of the table to each place of the buffer."""
    for i in range(len(at)):
        for k in range(table.shape[1]):
            buffer[at[i] + k] = table[number[i], k]
