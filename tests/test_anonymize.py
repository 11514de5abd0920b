"""Address mapping: the published vectors, a slow twin, prefixes, and keys that are none."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import numpy as np
import pytest

from traces.anonymize import AddressKey, read_key
from traces.errors import InputError

KEY = bytes.fromhex("1522178d33a4cf80130a5b1649907d10d8988f837979652762574c2d2a842202")
# The sample trace of the reference implementation.
VECTORS = """
128.11.68.132 135.242.180.132
129.118.74.4 134.136.186.123
130.132.252.244 133.68.164.234
141.223.7.43 141.167.8.160
141.233.145.108 141.129.237.235
152.163.225.39 151.140.114.167
156.29.3.236 147.225.12.42
165.247.96.84 162.9.99.234
166.107.77.190 160.132.178.185
192.102.249.13 252.138.62.131
192.215.32.125 252.43.47.189
192.233.80.103 252.25.108.8
192.41.57.43 252.222.221.184
193.150.244.223 253.169.52.216
195.205.63.100 255.186.223.5
198.200.171.101 249.199.68.213
198.26.132.101 249.36.123.202
198.36.213.5 249.7.21.132
198.51.77.238 249.18.186.254
199.217.79.101 248.38.184.213
"""


def words(addresses: list[str]) -> tuple[np.ndarray, np.ndarray]:
    numbers = [int(ipaddress.ip_address(address)) for address in addresses]
    return np.array([n >> 64 for n in numbers], np.uint64), np.array([n & 2**64 - 1 for n in numbers], np.uint64)


def twin(number: int, bits: int) -> int:
    """One address, bit by bit."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    def aes(block: int) -> int:
        cipher = Cipher(algorithms.AES(KEY[:16]), modes.ECB()).encryptor()
        return int.from_bytes(cipher.update(block.to_bytes(16, "big")), "big")

    pad = aes(int.from_bytes(KEY[16:], "big"))
    result = 0
    for n in range(bits):
        known = number >> (bits - n) << (128 - n) if n else 0
        result = result << 1 | aes(known | pad & ((1 << (128 - n)) - 1)) >> 127
    return number ^ result


def test_the_published_vectors() -> None:
    pairs = [line.split() for line in VECTORS.split("\n") if line]
    mapped = AddressKey(KEY).map4(words([a for a, _ in pairs])[1])
    assert [str(ipaddress.IPv4Address(int(n))) for n in mapped] == [b for _, b in pairs]


def test_like_the_twin_and_prefixes_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("traces.anonymize._AT_ONCE", 7)
    rng = np.random.default_rng(1)
    four = rng.integers(0, 2**32, 40).astype(np.uint64)
    four[:20] = four[0] ^ (np.uint64(1) << np.arange(20).astype(np.uint64))
    mapped = AddressKey(KEY).map4(four)
    assert mapped.tolist() == [twin(n, 32) for n in four.tolist()]
    high, low = (rng.integers(0, 2**63, 12).astype(np.uint64) for _ in range(2))
    high[:6] = high[0]
    pairs = list(zip(high.tolist(), low.tolist(), strict=True))
    six = [a << 64 | b for a, b in zip(*(c.tolist() for c in AddressKey(KEY).map6(high, low)), strict=True)]
    assert six == [twin(a << 64 | b, 128) for a, b in pairs]
    for i in range(40):
        for j in range(i):
            assert int(four[i] ^ four[j]).bit_length() == int(mapped[i] ^ mapped[j]).bit_length()


def test_keys(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.touch(0o600)
    for content in (KEY, KEY.hex().encode(), KEY.hex().upper().encode() + b"\n"):
        path.write_bytes(content)
        assert read_key(path) == AddressKey(KEY)
        assert KEY.hex() not in repr(read_key(path)) + str(read_key(path).about())
    path.chmod(0o644)
    (finding,) = read_key(path).findings()
    assert (finding["code"], finding["severity"]) == ("exposed_key", "warning")
    assert AddressKey(KEY).fingerprint() != AddressKey(KEY[::-1]).fingerprint()
    for content in (b"", KEY[1:], b"zz" * 32, KEY.hex().encode()[2:]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="are no key; it takes 32 bytes or 64 hexadecimal digits"):
            read_key(path)
    with pytest.raises(InputError, match=r"the key cannot be read \(No such file"):
        read_key(tmp_path / "none")
