"""Address mapping: the published vectors, a slow twin, prefixes, and keys that are none."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import numpy as np
import pytest

from segcast.traces.errors import InputError
from segcast.traces.flows.anonymize import AddressKey, read_key

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

# IPv6, by key: what the tests or the documentation of other implementations state.
VECTORS_6 = {
    # the tests of the Go package Yawning/cryptopan, under the reference implementation's key
    KEY: """
::1 78ff:f001:9fc0:20df:8380:b1f1:704:ed
::2 78ff:f001:9fc0:20df:8380:b1f1:704:ef
::ffff 78ff:f001:9fc0:20df:8380:b1f1:704:f838
2001:db8::1 4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1e
2001:db8::2 4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1c
""",
    # the tests of the C library schoenw/libanon (anon-ipv6.1 and the key it makes of the word "testing")
    bytes.fromhex("d1c056a983786a38ca76a05cda240c7b86d7713693544000a0e6c4dd5b3dabdd"): """
31d6:1be5:41bd:663c:3e9e:1005:1eec:6f01 cc29:fb1a:b9fd:613c:e68:a03b:1efd:961f
5dc9:b9a:5699:45e4:3c33:2f50:a4d:2fca a3cf:3bda:5768:b87b:ac8c:cc56:a43:5235
2d70:77b8:119d:918:4165:78ae:2f24:1d00 dcce:77ba:d5ad:16df:c119:68b2:2f0a:2518
17a3:638e:1942:258e:c87:4416:5298:4071 f7a3:94a6:da41:21f1:8fa6:bbe9:aa59:c001
1c12:2019:e3f:648a:1689:65e9:1bcb:2436 fdf2:1602:ce3f:5a8a:5da9:597:e43b:1bce
2cc:5582:1702:485c:4a77:5077:575c:1035 eecc:4a6d:2f3d:775b:cb88:ae6f:a8a2:6fc1
bba:3c9d:5b3a:21de:2cf8:6578:2ae7:779f e7bd:c302:a5f5:d85e:3308:768:2570:fa5f
e22:869:6f4f:55f9:73d2:7795:3881:1671 e1ad:da60:80b0:bc67:c2c:7b50:3873:e40f
827:7f95:2fe6:531f:d63:7bdf:323f:3ef6 e527:7fea:c099:b4df:4e9d:73ac:2d3f:eb06
1e45:45f7:d60:36d0:1827:6b55:5dae:5741 fefb:a377:29d:3a2d:e8a6:eb59:a391:d621
fffe:638:709:861::3 1:ce05:ee9:971:7f1f:1f8:ec7:c05b
fffe:638:709:861::4 1:ce05:ee9:971:7f1f:1f8:ec7:c05f
ffff:638:709:861::1 0:e9f8:3928:f76e:3f:3fc6:135:ffa6
ffff:638:709:861::2 0:e9f8:3928:f76e:3f:3fc6:135:ffa5
2001:638:709:861::1 d0f1:f603:8e9:98c:3f5f:1f9:ffcf:bf9f
2001:638:709:861::2 d0f1:f603:8e9:98c:3f5f:1f9:ffcf:bf9d
2001:638:709:861::3 d0f1:f603:8e9:98c:3f5f:1f9:ffcf:bf9c
2001:638:709:861::4 d0f1:f603:8e9:98c:3f5f:1f9:ffcf:bf98
2001:638:709:4::1 d0f1:f603:8e9:6cb:803f:3e39:f134:3fbe
2001:638:709:4::2 d0f1:f603:8e9:6cb:803f:3e39:f134:3fbd
2001:638:709:4::3 d0f1:f603:8e9:6cb:803f:3e39:f134:3fbc
2001:638:709:4::4 d0f1:f603:8e9:6cb:803f:3e39:f134:3fbb
""",
    # the Python package yacryptopan: its own check, its README, its contributed tests
    bytes(range(32)): """
2001:db8::1 dd92:2c44:3fc0:ff1e:7ff9:c7f0:8180:7e00
""",
    b"32-char-str-for-AES-key-and-pad.": """
2001:db8::1 27fe:8bc7:fee:1e:1e1f:f0fe:f0e1:83fd
""",
    bytes.fromhex("8009ab3a605435bea0c385bea18485d8b0a1103d6590bdf48c968be5de53836e"): """
2a02:db8:85a3::8a2e:370:7344 1482:f447:75b3:f1f9:fbdf:622e:34f:ff7b
2a02:db8:85a3:8d3:1319:8a2e:370:7344 1482:f447:75b3:f904:c1d9:ba2e:489:1346
2001:b8:a3::2e:70:44 1f18:b37b:1cc3:8118:41f:9fd1:f875:fab8
""",
}


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


@pytest.mark.parametrize(("key", "vectors"), VECTORS_6.items(), ids=[key.hex()[:8] for key in VECTORS_6])
def test_the_published_ipv6_vectors(key: bytes, vectors: str) -> None:
    originals, published = zip(*(line.split() for line in vectors.split("\n") if line), strict=True)
    high, low = words(list(originals))
    mapped = [(a << 64) | b for a, b in zip(*(half.tolist() for half in AddressKey(key).map6(high, low)), strict=True)]
    assert mapped == [int(ipaddress.IPv6Address(address)) for address in published]


def test_like_the_twin_and_prefixes_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segcast.traces.flows.anonymize._AT_ONCE", 7)
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
