"""What the flags of `segcast rewrite` change: lengths, addresses, tags, times, files; and what they refuse."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from fractions import Fraction
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segcast.replay.rewrite.admit import Mtu
from segcast.replay.rewrite.interfaces import by_interface
from segcast.replay.rewrite.run import RewriteChoices
from segcast.replay.srv6.ethernet import Vlan, parse_macs
from segcast.replay.srv6.remap import parse_prefixes
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace
from tests.conftest import Run
from tests.support.rewriting import (
    CAPTURED_MACS,
    DESTINATION_MAC,
    EPOCH_NS,
    PROTOCOLS,
    SCTP,
    SOURCE_MAC,
    TCP,
    UDP,
    UDP_LITE,
    Case,
    encapsulation,
    fragment,
    make,
    rewrite,
)
from tests.support.verifying import packets
from tests.twins.srv6 import BadPacketError, Frame, check_packet, folded_sum, parse_frame, read_pcap


def timed(cases: list[Case], **changes: Any) -> list[Case]:
    return [
        replace(case, flow=case.version // 6, send_ns=EPOCH_NS + 1000 * n, **changes) for n, case in enumerate(cases)
    ]


def written(folder: Path, cases: list[Case], mode: str, **choices: Any) -> tuple[Any, list[Frame]]:
    """The summary, and the frames in order of time."""
    done = rewrite(folder, cases, encapsulation(mode, [3]), [0, 0], choices=RewriteChoices(**choices))  # type: ignore[arg-type]
    records = [record for file in done.files for record in read_pcap(Path(file.path))]
    records.sort(key=lambda record: record.time_ns)
    return done, [parse_frame(record.frame, mode) for record in records]


# --- lengths -------------------------------------------------------------------------------------------------------


AROUND = {"encaps": 96, "reduced": 80, "insert": 72, "l2": 110, "none": 0}


@pytest.mark.parametrize(("mode", "around"), AROUND.items())
def test_an_mtu_is_exact(tmp_path: Path, mode: str, around: int) -> None:
    rng = random.Random(1)
    case = make(rng, 6, TCP, 1000)
    largest = len(case.packet) + around
    many = timed([make(rng, 6, UDP, 600), *[case] * 4])
    mtu = max(1280, largest)
    done, _ = written(tmp_path, many, mode, mtu=Mtu(mtu))
    assert done.largest_bytes == largest
    assert done.skipped == {}


def test_what_is_too_long_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    rng = random.Random(2)
    cases = timed([make(rng, 4, 253, size) for size in (1000, 1204, 1205, 1400)])  # 96 bytes of SRv6, 20 of IPv4
    with pytest.raises(InputError) as refused:
        written(tmp_path, cases, "encaps", mtu=Mtu(1320))
    assert str(refused.value) == (
        "2 of 4 packets are longer than an MTU of 1320 bytes with SRv6 around them: --mtu 1516 would do, or "
        "--oversize shorten or drop"
    )
    assert not (tmp_path / "out").exists()
    done, frames = written(tmp_path, cases, "encaps", mtu=Mtu(1516))
    assert (done.packets, done.largest_bytes, len(frames)) == (4, 1516, 4)


def test_what_is_too_long_is_dropped_and_counted(tmp_path: Path) -> None:
    rng = random.Random(3)
    cases = timed([make(rng, 4, 253, size) for size in (1000, 1204, 1205, 1400)])
    done, frames = written(tmp_path, cases, "encaps", mtu=Mtu(1320, "drop"))
    assert done.skipped == {"longer_than_mtu": 2}
    assert [refusal.frame_number for refusal in done.refusals] == [3, 4]
    assert [frame.inner for frame in frames] == [case.packet for case in cases[:2]]


@pytest.mark.parametrize("mode", ["encaps", "reduced", "insert", "l2-reduced", "none"])
@pytest.mark.parametrize("captured", [10_000, 100])
def test_what_is_shortened_is_valid(tmp_path: Path, mode: str, captured: int) -> None:
    rng = random.Random(4)
    versions = (6,) if mode == "insert" else (4, 6)
    cases = [make(rng, version, p, 1900) for version in versions for p in PROTOCOLS[version] for _ in range(3)]
    cases = [case for case in cases if len(case.packet) > 1400]
    cases = [replace(case, captured=min(captured, len(case.packet))) for case in timed(cases)]
    done, frames = written(tmp_path, cases, mode, mtu=Mtu(1400, "shorten"))
    assert done.mended["shortened"] == done.packets == len(cases)
    assert done.skipped == {}
    assert 1396 < done.largest_bytes <= 1400
    for frame, case in zip(frames, cases, strict=True):
        found = check_packet(frame.inner)
        assert found.protocol == case.protocol
        if case.protocol in (TCP, UDP, SCTP, UDP_LITE):
            assert found.checksum in ("good", "none")
        begin = case.transport + (12 if case.protocol == SCTP else 8)
        if case.protocol not in (TCP, UDP_LITE, SCTP) and not case.cut:
            assert frame.inner[begin:] == case.packet[begin : len(frame.inner)]


def test_an_mtu_that_ipv6_cannot_use() -> None:
    with pytest.raises(InputError, match=r"MTU 1279: IPv6 needs 1280 to 65575 bytes"):
        Mtu(1279)


# --- addresses -----------------------------------------------------------------------------------------------------

MAPPED = ("10.0.0.0/8=172.0.0.0/8", "10.128.0.0/9=198.128.0.0/9", "fd00::/8=2400::/8", "fd80::/11=20a0::/11")


def moved(address: bytes, pairs: tuple[str, ...]) -> bytes:
    """The address after a map, one bit at a time from the text."""
    here = ip_address(address)
    best = -1
    result = address
    for pair in pairs:
        old, new = map(ip_network, pair.split("="))
        if here in old and old.prefixlen > best:
            best = old.prefixlen
            host = int(here) - int(old.network_address)
            result = type(here)(int(new.network_address) + host).packed
    return result


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_addresses_are_mapped_and_checksums_follow(data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(("encaps", "insert-reduced", "l2", "none")))
    flows = (1,) if mode.startswith("insert") else (0, 1)
    cases = [data.draw(packets(data.draw(st.sampled_from(flows)))) for _ in range(data.draw(st.integers(1, 5)))]
    cases = timed(cases)
    with TemporaryDirectory() as name:
        _, frames = written(Path(name), cases, mode, prefixes=parse_prefixes(MAPPED))
        (Path(name) / "again").mkdir()
        _, plain = written(Path(name) / "again", cases, mode)
    for frame, unmapped, case in zip(frames, plain, cases, strict=True):
        first, width = (12, 4) if case.version == 4 else (8, 16)
        for at in (first, first + width):
            assert frame.inner[at : at + width] == moved(case.packet[at : at + width], MAPPED)
        try:
            before = check_packet(unmapped.inner)
        except (BadPacketError, IndexError):
            continue
        assert check_packet(frame.inner) == before
        assert len(frame.inner) == len(unmapped.inner)
        changed = {at for at in range(len(frame.inner)) if frame.inner[at] != unmapped.inner[at]}
        assert changed <= {10, 11, *range(first, first + 2 * width), *range(before.transport, len(frame.inner))}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [TCP, UDP, UDP_LITE, 58])
def test_first_fragments_keep_a_checksum_of_the_whole(tmp_path: Path, version: int, protocol: int) -> None:
    if (version, protocol) == (4, 58):
        return
    rng = random.Random(protocol)
    whole = make(rng, version, protocol, 200)
    while protocol == UDP and whole.packet[whole.transport + 6 : whole.transport + 8] == b"\0\0":
        whole = make(rng, version, protocol, 200)
    first, later = (fragment(rng, whole, offset) for offset in (0, 24))
    done, frames = written(tmp_path, timed([first, later]), "none", prefixes=parse_prefixes(MAPPED))
    assert done.mended["mapped"] == 2
    head, piece = (
        frames[0].inner[first.transport :],
        whole.packet[whole.transport + len(first.packet) - first.transport :],
    )
    ends = slice(12, 20) if version == 4 else slice(8, 40)
    body = head + piece
    size = int.from_bytes(body[4:6], "big") if protocol == UDP else len(body)
    covered = int.from_bytes(body[4:6], "big") or len(body) if protocol == UDP_LITE else size
    pseudo = frames[0].inner[ends] + (size.to_bytes(4, "big") + protocol.to_bytes(4, "big"))
    assert folded_sum(pseudo + body[:covered]) == 0xFFFF


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (("10.0.0.0/8",), "--map 10.0.0.0/8: write it like 10.20.1.0/24=192.0.2.0/24"),
        (("10.0.0.1/8=11.0.0.0/8",), "--map 10.0.0.1/8=11.0.0.0/8: write it like .*has host bits set"),
        (("10.0.0.0/8=11.0.0.0/9",), "both must be of one IP version and length"),
        (("10.0.0.0/8=fd00::/8",), "both must be of one IP version and length"),
        (("10.0.0.0/8=11.0.0.0/8", "10.0.0.0/8=12.0.0.0/8"), "10.0.0.0/8 is mapped to two prefixes"),
    ],
)
def test_maps_that_cannot_be(pairs: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_prefixes(pairs)


# --- Ethernet ------------------------------------------------------------------------------------------------------

TAGS = bytes.fromhex("88a8 2064 8100 a0c8")
NEW = bytes.fromhex("02aabbccddee")


@pytest.mark.parametrize("mode", ["encaps", "l2", "insert", "none"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [("strip", b""), ("keep", TAGS), ("7", bytes.fromhex("81000007")), ("7.4094", bytes.fromhex("88a8000781000ffe"))],
)
def test_vlan_tags(tmp_path: Path, mode: str, text: str, expected: bytes) -> None:
    rng = random.Random(5)
    cases = timed([make(rng, 6, TCP, 50), make(rng, 6, UDP, 50)], tags=TAGS)
    done, frames = written(tmp_path, cases, mode, vlan=Vlan.parse(text))
    for frame, case in zip(frames, cases, strict=True):
        assert frame.inner == case.packet
        if mode == "l2":
            assert (frame.tags, frame.inside) == (b"", CAPTURED_MACS + expected)
        else:
            assert (frame.tags, frame.inside) == (expected, b"")
    around = AROUND[mode] + (len(expected) if mode == "l2" else 0)
    assert done.largest_bytes == max(len(case.packet) for case in cases) + around


@pytest.mark.parametrize("text", ["0", "4095", "1.2.3", "1.", "a", ""])
def test_tags_that_cannot_be(text: str) -> None:
    with pytest.raises(InputError, match="give keep, strip, an ID of 1 to 4094"):
        Vlan.parse(text)


@pytest.mark.parametrize("mode", ["encaps", "l2", "none"])
def test_macs_are_mapped_where_they_stand(tmp_path: Path, mode: str) -> None:
    cases = timed([make(random.Random(6), 4, TCP, 50)])
    _, frames = written(tmp_path, cases, mode, macs=((CAPTURED_MACS[6:], NEW),))
    if mode == "l2":
        assert frames[0].inside == CAPTURED_MACS[:6] + NEW
        assert (frames[0].destination_mac, frames[0].source_mac) == (DESTINATION_MAC, SOURCE_MAC)
    else:
        assert (frames[0].destination_mac, frames[0].source_mac) == (DESTINATION_MAC, NEW)


def test_macs_on_the_command_line() -> None:
    pairs = ("52:54:00:00:00:01=02:00:00:00:00:01", "FF:FF:FF:FF:FF:FF=33:33:00:00:00:01")
    assert [new.hex(":") for _, new in parse_macs(pairs)] == ["02:00:00:00:00:01", "33:33:00:00:00:01"]
    for bad, message in (
        (("52:54:00:00:00:01",), "write it like"),
        (("52:54:00:00:00:01=03:00:00:00:00:01",), "is a group address"),
        ((pairs[0], "52:54:00:00:00:01=02:00:00:00:00:02"), "is mapped to two addresses"),
    ):
        with pytest.raises(InputError, match=message):
            parse_macs(bad)


# --- times and files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [Fraction(2), Fraction(1, 2), Fraction(3, 7)])
def test_times_are_divided(tmp_path: Path, speed: Fraction) -> None:
    rng = random.Random(7)
    cases = [replace(make(rng, 4, TCP, 10), send_ns=EPOCH_NS + n * 123_457) for n in range(50)]
    done = rewrite(tmp_path, cases, encapsulation("encaps", [2]), [0], choices=RewriteChoices(speed=speed))
    times = [record.time_ns for record in read_pcap(Path(done.files[0].path))]
    exact = [EPOCH_NS + Fraction(case.send_ns - EPOCH_NS) / speed for case in cases]
    assert all(abs(time - wanted) < 1 for time, wanted in zip(times, exact, strict=True))
    assert times == sorted(times)


INTERFACES = """
[interfaces.eth1]
prefixes = ["10.0.0.0/8", "fd00::/16"]
source_mac = "02:00:00:00:01:01"
destination_mac = "02:00:00:00:01:02"

[interfaces."rack 2"]
prefixes = ["0.0.0.0/0", "fc00:2::/32"]

[hosts."fd00:0:0:1::/64"]
source_mac = "02:00:00:00:09:09"
"""


def test_hosts_are_grouped_by_interface(tmp_path: Path) -> None:
    (tmp_path / "i.toml").write_text(INTERFACES)
    names = ("10.1.2.3", "192.0.2.1", "10.64.0.0/10", "fd00:0:0:1::7", "fd00:0:0:2::7", "fc00:2::1")
    outputs = by_interface(tmp_path / "i.toml", names, SOURCE_MAC, DESTINATION_MAC)
    assert outputs.names == ("eth1", "rack 2")
    assert outputs.of_host.tolist() == [0, 1, 0, 0, 0, 1]
    rows = [row.tobytes().hex() for row in outputs.macs]
    one, two, own = "020000000102020000000101", "020000000002020000000001", "020000000102020000000909"
    assert rows == [one, two, one, own, one, two]


def test_a_file_per_interface_holds_all_its_hosts_in_order_of_time(tmp_path: Path) -> None:
    rng = random.Random(8)
    cases = [
        replace(make(rng, 4, TCP, rng.randint(0, 99)), flow=n % 4, file=n % 2, send_ns=EPOCH_NS + rng.randint(0, 10**6))
        for n in range(400)
    ]
    (tmp_path / "i.toml").write_text(
        '[interfaces.a]\nprefixes = ["fc00:1::/32", "fc00:3::/32"]\n[interfaces.b]\nprefixes = ["::/0"]\n'
    )
    hosts = [0, 1, 2, 3]
    outputs = by_interface(tmp_path / "i.toml", [f"fc00:{n + 1:x}::1" for n in hosts], SOURCE_MAC, DESTINATION_MAC)
    around = encapsulation("encaps", [2], hosts=4)
    done = rewrite(tmp_path, cases, around, hosts, chunk_bytes=5000, outputs=outputs)
    assert [(file.host, file.interface, file.hosts) for file in done.files] == [
        ("a", "a", ["fc00:1::1", "fc00:3::1"]),
        ("b", "b", ["fc00:2::1", "fc00:4::1"]),
    ]
    for file, mine in zip(done.files, ((0, 2), (1, 3)), strict=True):
        records = read_pcap(Path(file.path))
        expected = sorted((c for c in cases if c.flow in mine), key=lambda case: case.send_ns)
        assert [record.time_ns for record in records] == [case.send_ns for case in expected]
        assert file.packets == len(records)
        frames = [parse_frame(record.frame, "encaps") for record in records]
        found = sorted((frame.inner, frame.outer.source.packed) for frame in frames if frame.outer)
        assert found == sorted((case.packet, around.source[case.flow]) for case in expected)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.pcap", "b.pcap", "rewrite.json"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read the interfaces: No such file"),
        ("interfaces = [", "not TOML"),
        ("", "i.toml: interfaces: missing"),
        ('[interfaces.a]\nprefixes = ["10.0.0.0/8", "1"]', r"i.toml: interfaces.a.prefixes.1: '1' does not appear"),
        ('[interfaces.a]\nprefixes = ["10.0.0.0/8"]\nsource_mac = "x"', "interfaces.a.source_mac: 'x' is not a MAC"),
        (
            '[interfaces.a]\nprefixes = ["10.0.0.0/8"]\nsource_mac = "01:00:00:00:00:01"',
            "a: source MAC address .*group",
        ),
        ('[interfaces.a]\nprefixes = ["10.0.0.0/8"]\n[interfaces.b]\nprefixes = ["10.0.0.0/8"]', "prefix of two"),
        ('[interfaces.a]\nprefixes = ["10.0.0.0/8"]', "host 11.0.0.1 is in no prefix of an interface"),
    ],
)
def test_interface_files_that_cannot_be(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "i.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        by_interface(tmp_path / "i.toml", ["11.0.0.1"], SOURCE_MAC, DESTINATION_MAC)


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forecast_folder(cluster: Trace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from segcast.analyzer.forecast.run import forecast
    from segcast.analyzer.scenario.short import short_scenario

    folder = tmp_path_factory.mktemp("choices") / "f"
    forecast(cluster, short_scenario(paths="4x300Mbps", seeds=[1], policies=["ecmp", "inflight"]), folder)
    return folder


def test_ecmp_is_steered_along_its_forecast(run: Run, forecast_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "i.toml").write_text('[interfaces.all]\nprefixes = ["0.0.0.0/0", "::/0"]\n')
    flags = ("--policy", "ecmp", "--steer-all", "--interfaces", tmp_path / "i.toml", "--speed", "2.5")
    ran = run("rewrite", forecast_folder, *flags, "--out", tmp_path / "o", "--json")
    assert ran.code == 0, ran.err
    summary = json.loads(ran.out)
    assert (summary["mode"], summary["packets"]) == ("encaps", 38_976)
    (file,) = summary["files"]
    frames = [parse_frame(record.frame, "encaps") for record in read_pcap(Path(file["path"]))]
    firsts = {frame.outer.segments[0] for frame in frames if frame.outer}
    assert firsts == {IPv6Address(f"fd00:0:{number:x}::1") for number in range(0x1000, 0x1004)}
    forecast = json.loads((forecast_folder / "forecast.json").read_text())
    assert summary["sids"] == forecast["sids"]
    listed = {tuple(map(IPv6Address, entry["ipv4"])) for entry in summary["sids"]["lists"]}
    assert {frame.outer.segments for frame in frames if frame.outer and frame.inner[0] >> 4 == 4} == listed
    assert "SIDs of this network" in (forecast_folder / "scenario.toml").read_text()
    plain = json.loads(run("rewrite", forecast_folder, "--policy", "ecmp", "--out", tmp_path / "p", "--json").out)
    assert plain["sids"] is None
    assert (plain["mode"], plain["last_node"]) == ("none", "nothing")
    spans = [max(f["last_ns"] for f in s["files"]) - min(f["first_ns"] for f in s["files"]) for s in (plain, summary)]
    assert abs(spans[0] / 2.5 - spans[1]) <= 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--mtu", "1500"), ("longer than an MTU of 1500 bytes", "would do, or --oversize shorten or drop")),
        (("--mtu", "100"), ("MTU 100: IPv6 needs 1280",)),
        (("--oversize", "drop"), ("--oversize drop needs an MTU",)),
        (("--speed", "0"), ("--speed 0: give",)),
        (("--speed", "fast"), ("--speed 'fast' is not a number",)),
        (("--vlan", "5000"), ("--vlan 5000",)),
        (("--map", "10.0.0.0/8"), ("--map 10.0.0.0/8",)),
        (("--map-mac", "1"), ("--map-mac 1",)),
        (("--interfaces", "nowhere.toml"), ("nowhere.toml: cannot read the interfaces",)),
    ],
)
def test_flags_that_are_refused_leave_nothing(
    run: Run, forecast_folder: Path, tmp_path: Path, flags: tuple[str, ...], words: tuple[str, ...]
) -> None:
    ran = run("rewrite", forecast_folder, "--policy", "inflight", *flags, "--out", tmp_path / "o")
    assert (ran.code, ran.out) == (2, "")
    assert len(ran.err.splitlines()) == 1
    for word in words:
        assert word in ran.err
    assert not (tmp_path / "o").exists()


# --- what cannot be replayed -----------------------------------------------------------------------------------------


def test_packets_that_the_next_router_drops_are_counted(tmp_path: Path) -> None:
    rng = random.Random(5)
    cases = timed([make(rng, version, UDP, 100) for version in (4, 6, 4, 6, 6)])
    for number, limit in ((0, 1), (3, 1), (4, 0)):
        case = cases[number]
        packet = bytearray(case.packet)
        packet[8 if case.version == 4 else 7] = limit
        cases[number] = replace(case, packet=bytes(packet))
    for number in (1, 2):
        assert cases[number].packet[8 if cases[number].version == 4 else 7] > 1
    done, _ = written(tmp_path, cases, "encaps")
    assert done.hop_limit_1 == 3


def test_a_rewrite_of_nothing_fails(tmp_path: Path) -> None:
    cases = timed([make(random.Random(6), 4, 253, 1204) for _ in range(3)])
    with pytest.raises(InputError) as refused:
        written(tmp_path, cases, "encaps", mtu=Mtu(1280, "drop"))
    assert str(refused.value) == (
        "none of the 3 packets can be written, so there is nothing to replay: longer than mtu 3"
    )
    assert not list(tmp_path.glob("out/*"))
