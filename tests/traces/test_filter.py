"""`segcast ingest --filter`: what expressions mean, as their makers know it and as tcpdump reads them."""

from __future__ import annotations

import ipaddress
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from segcast.traces.captures.reader import read_frames
from segcast.traces.errors import InputError
from segcast.traces.headers.decode import decode_batch
from segcast.traces.ingest.filter import HIDDEN, Filter
from segcast.traces.ingest.intake import choose
from segcast.traces.ingest.run import ingest
from tests.conftest import Run
from tests.support.strategies import Seeded
from tests.twins import writing
from tests.twins.writing import Captured

ADDRESSES = (
    "10.0.0.1",
    "10.0.1.2",
    "192.168.7.9",
    "172.16.5.255",
    "224.0.0.251",
    "2001:db8::1",
    "2001:db8:1::2",
    "ff02::fb",
)
VLANS = (1, 5, 4095)
PORTS = (22, 53, 80, 443, 1000, 1023, 1024, 65_535)
NUMBERS = {"tcp": 6, "udp": 17, "icmp": 1, "icmp6": 58}


class Packet(NamedTuple):
    """A frame's meaning; `src` is empty where it holds no IP packet."""

    src: str
    dst: str
    protocol: str
    ports: tuple[int, int] | None
    tags: tuple[tuple[int, int], ...] = ()
    padding: int = 0

    @property
    def version(self) -> int:
        return ipaddress.ip_address(self.src).version if self.src else 0


Meaning = Callable[[Packet], bool]


def frame(packet: Packet) -> bytes:
    if not packet.src:
        return writing.ethernet(bytes(46 + packet.padding), 0x0806, packet.tags)
    a, b = packet.ports or (0, 0)
    body = {"tcp": writing.tcp(a, b), "udp": writing.udp(a, b)}.get(packet.protocol, bytes([8, 0, *bytes(30)]))
    src, dst = (ipaddress.ip_address(end).packed for end in (packet.src, packet.dst))
    write, ether_type = (writing.ipv4, 0x0800) if packet.version == 4 else (writing.ipv6, 0x86DD)
    packet_bytes = write(body, NUMBERS[packet.protocol], src=src, dst=dst)
    return writing.ethernet(packet_bytes + bytes(packet.padding), ether_type, packet.tags)


def some_packets(c: Seeded, count: int) -> list[Packet]:
    made = []
    for _ in range(count):
        src = c.pick(ADDRESSES)
        mine = [a for a in ADDRESSES if (":" in a) == (":" in src)]
        protocol = c.pick(("tcp", "udp", "icmp6" if ":" in src else "icmp"))
        ports = (c.pick(PORTS), c.pick(PORTS)) if protocol in ("tcp", "udp") else None
        made.append(Packet("", "", "", None) if c.integer(0, 19) == 0 else Packet(src, c.pick(mine), protocol, ports))
    return made


def some_tagged(c: Seeded, count: int) -> list[Packet]:
    """The same with up to three tags, of either kind and any priority, and of many lengths."""
    made = []
    for packet in some_packets(c, count):
        tags = tuple((c.pick((0x8100, 0x88A8)), c.pick(VLANS) | c.integer(0, 15) << 12) for _ in range(c.integer(0, 3)))
        made.append(packet._replace(tags=tags, padding=c.integer(0, 60)))
    return made


def some_tag_filter(c: Seeded) -> tuple[str, Meaning]:
    """`vlan` up to twice, each for the tag behind the one before, with terms about lengths between."""
    text, meaning = some_sized(c)
    for place in range(c.integer(0, 2)):
        number = c.pick((None, *VLANS))
        text += " and vlan" if number is None else f" and vlan {number}"
        meaning = both(meaning, is_tagged(place, number))
        more, other = some_sized(c)
        text, meaning = f"{text} and {more}", both(meaning, other)
    return text, meaning


def some_sized(c: Seeded) -> tuple[str, Meaning]:
    limit, word = c.integer(50, 120), c.pick(("less", "greater"))
    return f"{word} {limit}", (lambda p: len(frame(p)) <= limit if word == "less" else len(frame(p)) >= limit)


def is_tagged(place: int, number: int | None) -> Meaning:
    return lambda p: len(p.tags) > place and (number is None or p.tags[place][1] & 0xFFF == number)


def at(ends: str, source: bool, target: bool) -> bool:
    return {"src": source, "dst": target, "src and dst": source and target}.get(ends, source or target)


def some_term(c: Seeded) -> tuple[str, Meaning]:
    ends = c.pick(("", "src", "dst", "src or dst", "src and dst"))
    kind = c.pick(("address", "port", "range", "protocol", "version", "multicast"))
    if kind == "address":
        network = ipaddress.ip_network((c.pick(ADDRESSES), c.pick((8, 16, 20, 32))), strict=False)
        word, most = ("host", network.max_prefixlen), network.prefixlen
        if most == network.max_prefixlen:
            text = f"{word[0]} {network.network_address}"
        else:
            text = f"net {network}"
        return (
            f"{ends} {text}",
            lambda p: bool(p.src) and at(ends, *(ipaddress.ip_address(a) in network for a in (p.src, p.dst))),
        )
    if kind in ("port", "range"):
        protocol, low = c.pick(("", "tcp", "udp")), c.pick(PORTS)
        high = low if kind == "port" else max(low, c.pick(PORTS))
        text = f"port {low}" if kind == "port" else f"portrange {low}-{high}"
        return (
            f"{protocol} {ends} {text}",
            lambda p: (
                p.ports is not None
                and protocol in ("", p.protocol)
                and at(ends, *(low <= port <= high for port in p.ports))
            ),
        )
    if kind == "protocol":
        name = c.pick(tuple(NUMBERS))
        return name, lambda p: p.protocol == name
    if kind == "version":
        version = c.pick((4, 6))
        return {4: "ip", 6: "ip6"}[version], lambda p: p.version == version
    family = c.pick((4, 6))
    return {4: "ip multicast", 6: "ip6 multicast"}[
        family
    ], lambda p: p.version == family and ipaddress.ip_address(p.dst).is_multicast


def some_filter(c: Seeded, depth: int) -> tuple[str, Meaning]:
    """Terms one after the other; `and` and `or` bind alike, from the left."""
    text, meaning = some_operand(c, depth)
    for _ in range(c.integer(0, 2)):
        more, other = some_operand(c, depth)
        if c.integer(0, 1):
            text, meaning = f"{text} {c.pick(('and', '&&'))} {more}", both(meaning, other)
        else:
            text, meaning = f"{text} {c.pick(('or', '||'))} {more}", either(meaning, other)
    return text, meaning


def some_operand(c: Seeded, depth: int) -> tuple[str, Meaning]:
    if depth and c.integer(0, 1):
        text, meaning = some_filter(c, depth - 1)
        text = f"({text})"
    else:
        text, meaning = some_term(c)
    return (f"{c.pick(('not', '!'))} {text}", lambda p: not meaning(p)) if c.integer(0, 2) == 0 else (text, meaning)


def both(one: Meaning, other: Meaning) -> Meaning:
    return lambda p: one(p) and other(p)


def either(one: Meaning, other: Meaning) -> Meaning:
    return lambda p: one(p) or other(p)


def written(folder: Path, packets: list[Packet]) -> Path:
    capture = folder / "c.pcap"
    frames = [frame(packet) for packet in packets]
    capture.write_bytes(writing.pcap([Captured(10**15 + n, len(f), f) for n, f in enumerate(frames)], 1))
    return capture


def kept_of(capture: Path, text: str) -> list[int]:
    with read_frames(capture) as reader:
        kept = [Filter(text).keeps(decode_batch(batch), batch) for batch in reader]
    return [int(row) for row in np.flatnonzero(np.concatenate(kept))]


def test_filters_keep_what_they_mean(tmp_path: Path) -> None:
    c = Seeded(11)
    packets = some_packets(c, 400)
    capture = written(tmp_path, packets)
    partial = 0
    for _ in range(300):
        text, meaning = some_filter(c, 2)
        wanted = [n for n, packet in enumerate(packets) if meaning(packet)]
        assert kept_of(capture, text) == wanted, text
        partial += 0 < len(wanted) < len(packets)
    assert partial > 150


def test_tags_and_lengths_of_frames(tmp_path: Path) -> None:
    """Also of those without IP; `and` leads to the next tag, `or` and `not` begin with the outermost again."""
    c = Seeded(17)
    packets = some_tagged(c, 400)
    capture = written(tmp_path, packets)

    def check(text: str, meaning: Meaning) -> bool:
        wanted = [n for n, packet in enumerate(packets) if meaning(packet)]
        assert kept_of(capture, text) == wanted, text
        return 0 < len(wanted) < len(packets)

    assert sum(check(*some_tag_filter(c)) for _ in range(60)) > 20
    one, five, inner = is_tagged(0, 1), is_tagged(0, 5), is_tagged(1, 5)
    for text, meaning in (
        ("vlan 1 or vlan 5", either(one, five)),
        ("not vlan 1 and vlan 5", both(lambda p: not one(p), five)),
        ("vlan 1 and (vlan 5 or vlan 1)", both(one, either(inner, is_tagged(1, 1)))),
        ("(vlan 1 or vlan 5) and vlan 5", both(either(one, five), inner)),
        ("vlan and tcp", both(is_tagged(0, None), lambda p: p.protocol == "tcp")),
        ("vlan 5 and not tcp", both(five, lambda p: p.protocol != "tcp")),
        ("vlan and vlan and vlan", is_tagged(2, None)),
    ):
        assert check(text, meaning)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("net 10", "net 10.0.0.0/8"),
        ("src net 192.168.7", "src net 192.168.7.0/24"),
        ("net 10.0.0.0 mask 255.255.0.0", "net 10.0.0.0/16"),
        ("port 80 or 443", "port 80 or port 443"),
        ("tcp dst port 80 or 22", "tcp dst port 80 or tcp dst port 22"),
        ("host 10.0.0.1 and not 10.0.1.2", "host 10.0.0.1 and not host 10.0.1.2"),
        ("10.0.0.1", "src or dst host 10.0.0.1"),
        ("src 10.0.0.1", "src host 10.0.0.1"),
        ("TCP AND PORT 80", "tcp and port 80"),
        ("ip proto \\tcp", "ip and tcp"),
        ("proto 17", "udp"),
        ("not not tcp", "tcp"),
        ("tcp or udp and port 53", "(tcp or udp) and port 53"),
    ],
)
def test_other_ways_to_say_it(text: str, same: str, tmp_path: Path) -> None:
    capture = written(tmp_path, some_packets(Seeded(12), 300))
    assert 0 < len(kept_of(capture, text)) < 300
    assert kept_of(capture, text) == kept_of(capture, same)


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not there")
def test_tcpdump_keeps_the_same(tmp_path: Path) -> None:
    c = Seeded(13)
    packets = some_packets(c, 300)
    capture = written(tmp_path, packets)
    for text in ["not not tcp or udp port 53", "tcp dst port 80 or 22", *(some_filter(c, 2)[0] for _ in range(40))]:
        said = subprocess.run(
            ["tcpdump", "-r", str(capture), "-w", "-", "--", text], capture_output=True, check=False, timeout=20
        )
        if said.returncode == 0:  # what can never match, it refuses
            (tmp_path / "of.pcap").write_bytes(said.stdout)
            times = [t for p in read_all(tmp_path / "of.pcap") for t in p]
            assert [(t - 10**18) // 1000 for t in times] == kept_of(capture, text), text


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not there")
def test_tcpdump_keeps_the_same_of_tags_and_lengths(tmp_path: Path) -> None:
    c = Seeded(18)
    capture = written(tmp_path, some_tagged(c, 300))
    for text in ("vlan", "vlan 0", "vlan 1 and vlan 5 and vlan 4095", *(some_tag_filter(c)[0] for _ in range(40))):
        said = subprocess.run(
            ["tcpdump", "-r", str(capture), "-w", "-", "--", text], capture_output=True, check=True, timeout=20
        )
        (tmp_path / "of.pcap").write_bytes(said.stdout)
        times = [t for p in read_all(tmp_path / "of.pcap") for t in p]
        assert [(t - 10**18) // 1000 for t in times] == kept_of(capture, text), text


def read_all(capture: Path) -> list[list[int]]:
    with read_frames(capture) as reader:
        return [batch.time_ns.tolist() for batch in reader]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("tcp and", "ends too early: a term is missing"),
        ("(tcp", "ends too early: a parenthesis is not closed"),
        ("tcp)", "')' at character 4: no operator stands before it"),
        ("tcp udp", "'udp' at character 5: no operator stands before it"),
        ("ether 3", "'ether' at character 1: not known; words of a filter are host"),
        ("vlan 4096", "'4096' at character 6: a VLAN is a number up to 4095"),
        ("vlan tcp", "'tcp' at character 6: no operator stands before it"),
        ("less", "ends too early: less needs a number of bytes"),
        ("greater 4294967296", "greater needs a number of bytes, below 2^32"),
        ("vlan and " * 16 + "vlan 5", "more than 16 tags of a frame are asked for"),
        ("tcp[13] & 2 != 0", "'tcp[13]' at character 1: not known"),
        ("port http", "'http' at character 6: give a port by its number"),
        ("port 65536", "ports lie between 0 and 65535"),
        ("portrange 9-1", "ports lie between 0 and 65535"),
        ("portrange 9", "give a range of numbers"),
        ("icmp port 80", "icmp has no ports"),
        ("host example.net", "'example.net' at character 6: not an address or a prefix"),
        ("net 10.0.0.1/8", "not an address or a prefix"),
        ("host 10.0.0.0/8", "a host has no length; write net"),
        ("ip6 host 10.0.0.1", "is no address of ip6"),
        ("tcp host 10.0.0.1", "write tcp and host 10.0.0.1"),
        ("ip proto 256", "give a number below 256"),
        ("src", "src needs a value"),
        ("(" * 5000, "more than 200 parentheses are open"),
        ("\x1b[31m", "'\\x1b[31m' at character 1: not known"),
        ("tcp or " * 20_000 + "tcp", "characters; at most 100,000 are read"),
    ],
)
def test_what_is_not_understood_is_named(text: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        Filter(text)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)


def test_long_filters_need_no_deep_stack() -> None:
    assert Filter("tcp or " * 14_000 + "tcp").text
    assert Filter("not " * 20_000 + "tcp").text


def test_a_filtered_trace_is_as_if_the_rest_was_not_captured(tmp_path: Path) -> None:
    packets = some_packets(Seeded(14), 500)
    capture = written(tmp_path, packets)
    trace = ingest([capture], tmp_path / "t.trace", choices=choose(filter_text="tcp port 80 or 443"))
    wanted = [n for n, p in enumerate(packets) if p.protocol == "tcp" and {80, 443} & set(p.ports or ())]
    assert trace.packet_table()["frame_number"].to_pylist() == [n + 1 for n in wanted]
    assert sum(trace.flows["packets"]) == trace.packet_count == len(wanted)
    others = sum(bool(p.src) for p in packets) - len(wanted)
    skipped = trace.info["skipped"]
    assert skipped == {"arp": 500 - others - len(wanted), "left out by the filter": others}
    assert trace.sources[0].packets == 500
    assert trace.info["filter"] == "tcp port 80 or 443"
    assert {f["code"]: (f["severity"], f["count"]) for f in trace.info["findings"]}["filtered"] == (
        "info",
        500 - len(wanted),
    )


def test_a_filter_is_not_told_with_anonymized_addresses(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(range(32)))
    choices = choose(filter_text="host 10.0.0.1", anonymize=tmp_path / "key")
    trace = ingest([written(tmp_path, some_packets(Seeded(15), 100))], tmp_path / "t.trace", choices=choices)
    assert trace.packet_count > 5
    assert trace.info["filter"] == HIDDEN
    assert "10.0.0.1" not in (tmp_path / "t.trace" / "trace.json").read_text()


def test_the_command_line(run: Run, tmp_path: Path) -> None:
    capture = written(tmp_path, some_packets(Seeded(16), 200))
    ingesting = ("ingest", capture, "--out", tmp_path / "t.trace", "--filter")
    said = run(*ingesting, "ip6 and udp", "--json")
    assert said.code == 0, said.err
    facts = json.loads(said.out)
    assert facts["filter"] == "ip6 and udp"
    assert {entry["name"] for entry in facts["protocols"]} == {"udp"}
    assert facts["packets_without_ip"] < 30 < facts["skipped"]["left out by the filter"]
    assert "left out: packets by the filter 'ip6 and udp'" in run("inspect", tmp_path / "t.trace").out
    said = run(*ingesting, "sctp")
    assert said.code == 0
    assert "warning: filtered (200): frames: the filter leaves none of them" in said.out
    said = run(*ingesting, "udp and ether")
    assert said.code == 2
    assert said.err.count("\n") == 1
    assert "'ether' at character 9" in said.err
