"""Hides addresses but keeps their prefixes: Crypto-PAn with a key of the user's, for IPv4 and IPv6.

Xu, Fan, Ammar and Moon: Prefix-preserving IP address anonymization, ICNP 2002. Two addresses share exactly as many
leading bits afterwards as before. IPv6 is the same construction over 128 bits.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcast.traces.disk.bounded import read_bounded
from segcast.traces.errors import InputError

KEY_BYTES: Final = 32
METHOD: Final = "Crypto-PAn"
_AT_ONCE: Final = 1 << 12
_WORLD_READABLE: Final = 0o004

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, repr=False)
class AddressKey:
    """A key, and whether everyone on the machine could read its file."""

    key: bytes
    exposed: bool = False

    def fingerprint(self) -> str:
        """Tells keys apart without telling the key."""
        return hashlib.sha256(b"segcast address key" + self.key).hexdigest()[:16]

    def about(self) -> dict[str, str]:
        """What `trace.json` says of it."""
        return {"method": METHOD, "key_fingerprint": self.fingerprint()}

    def findings(self) -> list[dict[str, Any]]:
        """A finding if the key's file is exposed."""
        if not self.exposed:
            return []
        return [
            {
                "code": "exposed_key",
                "severity": "warning",
                "count": 1,
                "detail": "everyone on this machine can read the key file; chmod 600 it",
                "effect": "none on the forecast, but whoever has the key can undo the anonymization",
            }
        ]

    def map4(self, addresses: Words) -> Words:
        """IPv4 addresses (low 32 bits), mapped."""
        distinct, place = np.unique(addresses, return_inverse=True)
        high, _ = self._map(distinct << np.uint64(32), np.zeros_like(distinct), 32)
        return (high >> np.uint64(32))[place]

    def map6(self, high: Words, low: Words) -> tuple[Words, Words]:
        """IPv6 addresses as halves, mapped."""
        pairs, place = np.unique(np.stack([high, low], axis=1), axis=0, return_inverse=True)
        mapped = self._map(pairs[:, 0], pairs[:, 1], 128)
        place = place.reshape(-1)
        return mapped[0][place], mapped[1][place]

    def _map(self, high: Words, low: Words, bits: int) -> tuple[Words, Words]:
        """Map the first `bits` bits of each address; the others become 0.

        Bit n is flipped by the first bit of AES(first n bits of the address, the rest from the padding).
        """
        try:
            from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        except ImportError:
            raise InputError(
                "--anonymize needs the package cryptography; install it: pip install cryptography"
            ) from None

        def aes(blocks: bytes) -> bytes:
            return Cipher(algorithms.AES(self.key[:16]), modes.ECB()).encryptor().update(blocks)

        pad = np.frombuffer(aes(self.key[16:]), ">u8").astype(np.uint64)
        full = (1 << 128) - 1
        masks = [full ^ (full >> n) for n in range(bits)]
        mask_high = np.array([m >> 64 for m in masks], np.uint64)
        mask_low = np.array([m & 0xFFFFFFFFFFFFFFFF for m in masks], np.uint64)
        out_high, out_low = np.empty_like(high), np.empty_like(low)
        for begin in range(0, len(high), _AT_ONCE):
            part = slice(begin, begin + _AT_ONCE)
            blocks = np.empty((len(high[part]), bits, 2), ">u8")
            blocks[:, :, 0] = (high[part, None] & mask_high) | (pad[0] & ~mask_high)
            blocks[:, :, 1] = (low[part, None] & mask_low) | (pad[1] & ~mask_low)
            cipher = np.frombuffer(aes(blocks.tobytes()), np.uint8).reshape(-1, bits, 16)
            flips = np.zeros((len(cipher), 16), np.uint8)
            flips[:, : bits // 8] = np.packbits(cipher[:, :, 0] >> 7, axis=1)
            words = flips.view(">u8").astype(np.uint64)
            out_high[part] = high[part] ^ words[:, 0]
            out_low[part] = low[part] ^ words[:, 1]
        return out_high, out_low


_MOST_KEY_BYTES: Final = 4096  # digits, and white space around them


def read_key(path: Path) -> AddressKey:
    """The key in a file: 32 bytes, or 64 hexadecimal digits. Raises InputError."""
    try:
        content = read_bounded(path, _MOST_KEY_BYTES)
        exposed = bool(path.stat().st_mode & _WORLD_READABLE)
    except OSError as error:
        raise InputError(f"{path}: the key cannot be read ({error.strerror}); name a readable file") from None
    if len(content) == KEY_BYTES:
        return AddressKey(content, exposed)
    try:
        key = bytes.fromhex(content.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise InputError(
            f"{path}: {len(content)} bytes are no key; it takes {KEY_BYTES} bytes or {2 * KEY_BYTES} hexadecimal "
            f"digits: openssl rand -hex {KEY_BYTES} > {path.name}"
        )
    return AddressKey(key, exposed)
