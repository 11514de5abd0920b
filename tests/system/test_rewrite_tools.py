"""Rewritten captures under other programs: tshark, dpkt, and tcpreplay between network namespaces."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path

import dpkt
import pytest

from segcast.replay.rewrite.summary import RewriteSummary
from segcast.replay.srv6.templates import Mode
from tests.support.rewriting import (
    CHECKED,
    EPOCH_NS,
    IGMP,
    NONE,
    OTHER,
    PROTOCOLS,
    SCTP,
    UDP_LITE,
    Case,
    encapsulation,
    fragment,
    make,
    rewrite,
)
from tests.support.tshark import CHECKSUMS, _run, tshark
from tests.twins.srv6 import parse_frame, read_pcap


def mixture(count: int, seed: int, largest: int = 1400) -> list[Case]:
    """Packets of every protocol and both versions (flow 0: IPv4, 1: IPv6), half of them cut."""
    rng = random.Random(seed)
    cases = []
    for number in range(count):
        version = rng.choice((4, 6))
        extensions = rng.sample((0, 43, 60, 51, 44), rng.randint(0, 3)) if rng.random() < 0.4 else ()
        protocol = rng.choice(PROTOCOLS[version])
        # tshark calls an extension header malformed that ends its packet, though No Next Header may (RFC 8200 4.7)
        size = rng.choice((20, 200, largest) if protocol in (NONE, OTHER) else (0, 20, 200, largest))
        case = make(rng, version, protocol, size, extensions)
        splits = protocol not in (UDP_LITE, SCTP) and len(case.packet) > case.transport + 24 and not extensions
        if splits and rng.random() < 0.1:  # chunks and coverage beyond a fragment look malformed, too
            case = fragment(rng, case, rng.choice((0, 8)))
        if rng.random() < 0.5:
            fixed = case.transport + 1 if protocol == IGMP else 20 if version == 4 else 40
            case = replace(case, captured=rng.randint(fixed, min(len(case.packet), 128)))
        elif not case.fragment:
            case = replace(case, spoilt=rng.random() < 0.3)
        path = rng.randrange(10)
        cases.append(replace(case, flow=version // 6, path=path, send_ns=EPOCH_NS + 20_000 * number))
    return cases


def rewritten(folder: Path, cases: list[Case], mode: Mode) -> RewriteSummary:
    """The cases, on paths of 1 to 10 SIDs, from one host."""
    return rewrite(folder, cases, encapsulation(mode, range(1, 11)), [0, 0])


@pytest.mark.parametrize("mode", ["encaps", "reduced", "none"])
def test_tshark_finds_no_fault(tmp_path: Path, only_transports: dict[str, str], mode: Mode) -> None:
    cases = mixture(1500, seed=len(mode))
    done = rewritten(tmp_path, cases, mode)
    path = Path(done.files[0].path)
    assert len(tshark(only_transports, path)) == len(cases)
    bad = " || ".join(["_ws.malformed", *(f"{name}.checksum.status == 0" for name in CHECKSUMS)])
    assert tshark(only_transports, path, "-Y", bad) == []
    good = {name: len(tshark(only_transports, path, "-Y", f"{name}.checksum.status == 1")) for name in CHECKSUMS}
    assert min(good.values()) > 20, good
    if mode != "none":
        with_srh = len(tshark(only_transports, path, "-Y", "ipv6.routing.type == 4"))
        assert with_srh >= sum(case.path > 0 for case in cases)


def test_tshark_reads_the_fields_that_were_asked_for(tmp_path: Path, only_transports: dict[str, str]) -> None:
    cases = [case for case in mixture(200, seed=5) if case.version == 4]
    done = rewritten(tmp_path, cases, "encaps")
    fields: tuple[str, ...] = ("ipv6.src", "ipv6.dst", "ipv6.hlim", "ipv6.flow", "ipv6.tclass", "ipv6.routing.segleft")
    fields += ("ipv6.routing.srh.last_entry", "ipv6.routing.srh.addr", "ip.len", "frame.time_epoch")
    around = encapsulation("encaps", range(1, 11))
    rows = tshark(
        only_transports, Path(done.files[0].path), "-T", "fields", *(part for name in fields for part in ("-e", name))
    )
    for row, case in zip(rows, cases, strict=True):
        source, there, hops, _, traffic_class, left, last, listed, length, when = row.split("\t")
        count = case.path + 1
        assert source == "fc00:1::1" and int(hops) == 63
        assert (int(left), int(last)) == (count - 1, count - 1)
        names = [str(IPv6Address(sid)) for sid in around.segments4[case.path]]
        assert listed.split(",") == names[::-1] and there == names[0]
        assert int(traffic_class, 0) == case.packet[1] and int(length) == len(case.packet)
        assert int(when.replace(".", "")) == case.send_ns


@pytest.mark.parametrize("mode", ["encaps", "reduced", "none"])
def test_dpkt_reads_the_same(tmp_path: Path, mode: Mode) -> None:
    # dpkt fails on a fragment header before destination options: packets without extension headers only
    cases = [case for case in mixture(300, seed=9) if case.version == 4 or case.transport == 40]
    cases = [case for case in cases if case.protocol in CHECKED[case.version] and not case.cut]
    done = rewritten(tmp_path, cases, mode)
    with Path(done.files[0].path).open("rb") as file:
        reader = dpkt.pcap.Reader(file)
        assert reader.datalink() == dpkt.pcap.DLT_EN10MB
        frames = [frame for _, frame in reader]
    assert len(frames) == len(cases)
    for frame, case in zip(frames, cases, strict=True):
        outer = dpkt.ethernet.Ethernet(frame).data
        if mode != "none":
            assert isinstance(outer, dpkt.ip6.IP6) and outer.hlim == 63 and outer.plen == len(frame) - 54
            routing = outer.extension_hdrs.get(43)
            assert (routing is None) == (mode == "reduced" and case.path == 0)
            if routing is not None:
                assert routing.segs_left == case.path
        inner = outer if mode == "none" else outer.data
        assert isinstance(inner, dpkt.ip.IP if case.version == 4 else dpkt.ip6.IP6)
        ends = (12, 16, 20) if case.version == 4 else (8, 24, 40)
        assert inner.src == case.packet[ends[0] : ends[1]] and inner.dst == case.packet[ends[1] : ends[2]]
        assert frame.endswith(case.packet)


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    """Two fresh network namespaces joined by a veth pair `near` - `far`, gone afterwards whatever happened."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    for tool in ("ip", "tcpreplay", "tcpdump"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    token = uuid.uuid4().hex[:8]
    sender, receiver = f"sg-{token}-s", f"sg-{token}-r"
    try:
        try:
            for name in (sender, receiver):
                _run("ip", "netns", "add", name)
            _run("ip", "-n", sender, "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", receiver)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        for name, link in ((sender, "near"), (receiver, "far")):
            _run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
            _run("ip", "-n", name, "link", "set", link, "mtu", "9000", "up")
        yield sender, receiver
    finally:
        for name in (sender, receiver):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.mark.parametrize("mode", ["encaps", "reduced", "none"])
def test_tcpreplay_sends_every_byte(tmp_path: Path, namespaces: tuple[str, str], mode: Mode) -> None:
    sender, receiver = namespaces
    cases = mixture(400, seed=11)
    done = rewritten(tmp_path, cases, mode)
    path = done.files[0].path
    arrived = tmp_path / "arrived.pcap"
    dump = ["ip", "netns", "exec", receiver, "tcpdump", "-Z", "root", "-i", "far", "-U", "-s", "0", "-w", str(arrived)]
    with subprocess.Popen(
        [*dump, "-Q", "in", "--time-stamp-precision=nano"], stderr=subprocess.PIPE, text=True
    ) as capture:
        try:
            assert capture.stderr is not None
            while "listening on" not in capture.stderr.readline():
                assert capture.poll() is None, "tcpdump did not start"
            said = _run("ip", "netns", "exec", sender, "tcpreplay", "--pps=20000", "-i", "near", path)
            time.sleep(2)
        finally:
            capture.send_signal(signal.SIGTERM)
            capture.wait(10)
    assert re.search(r"Failed packets:\s+0\b", said), said
    assert re.search(rf"Successful packets:\s+{len(cases)}\b", said), said
    sent = [record.frame for record in read_pcap(Path(path))]
    got = [record.frame for record in read_pcap(arrived)]
    assert got == sent
    assert all((parse_frame(frame, mode).outer is None) == (mode == "none") for frame in got)
