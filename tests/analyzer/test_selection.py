"""Which flows a forecast is about: nothing of link scope, and what prefixes pick."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.flags import scenario_of
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.scenario.traffic import TrafficSpec
from segcast.analyzer.traffic.prepare import TRAFFIC_COLUMNS, Traffic, flow_words, prepare
from segcast.analyzer.traffic.selection import select
from segcast.analyzer.traffic.streamed import survey
from segcast.replay.rewrite.of_forecast import rewrite_forecast
from segcast.traces.errors import InputError
from segcast.traces.ingest.run import ingest
from segcast.traces.trace import Trace
from tests.twins import writing
from tests.twins.writing import Captured

PACKETS = {
    ("10.0.0.1", "10.1.0.1"): 5,
    ("10.1.0.1", "10.0.0.1"): 4,
    ("10.0.0.2", "10.1.0.1"): 3,
    ("0.0.0.0", "255.255.255.255"): 1,
    ("10.0.0.1", "239.255.255.250"): 2,
    ("127.0.0.1", "127.0.0.2"): 2,
    ("169.254.7.7", "10.0.0.1"): 1,
    ("fe80::1", "fd00::2"): 2,
    ("fd00::1", "ff02::fb"): 3,
    ("::", "fd00::1"): 1,
    ("fd00::1", "fd00:1::1"): 6,
}


@pytest.fixture(scope="module")
def lan(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    frames = []
    for (src, dst), count in PACKETS.items():
        a, b = ipaddress.ip_address(src), ipaddress.ip_address(dst)
        write, kind = (writing.ipv4, 0x0800) if a.version == 4 else (writing.ipv6, 0x86DD)
        for _ in range(count):
            packet = write(writing.udp(payload=bytes(80)), 17, src=a.packed, dst=b.packed)
            frames.append(Captured(10**18 + 10**6 * len(frames), 14 + len(packet), writing.ethernet(packet, kind)))
    folder = tmp_path_factory.mktemp("lan")
    (folder / "c.pcap").write_bytes(writing.pcap(frames, 1, nanoseconds=True))
    return ingest([folder / "c.pcap"], folder / "c.trace")


def prepared(trace: Trace, **traffic: Any) -> Traffic:
    """The traffic, which is also what a survey of the trace's pieces finds."""
    scenario = short_scenario(paths="2x1Gbps", traffic=traffic)
    found = prepare(trace.packet_table(TRAFFIC_COLUMNS), trace.flow_table(), scenario)
    surveyed = survey(trace, scenario)
    assert surveyed.outline.excluded == found.excluded
    assert (surveyed.flow_bytes == found.flow_bytes).all()
    return found


def test_what_no_router_forwards_is_left_out(lan: Trace) -> None:
    traffic = prepared(lan)
    assert {key: n for key, n in traffic.excluded.items() if n} == {"link_scope": 12}
    assert len(traffic.packets.flow) == 18
    included = prepared(lan, link_scope="include")
    assert included.excluded["link_scope"] == 0
    assert len(included.packets.flow) + included.excluded["same_attachment"] == 30


def test_prefixes_pick_flows_by_either_end(lan: Trace) -> None:
    assert prepared(lan, only=["10.0.0.0/31"]).excluded["deselected"] == 3 + 6
    without = prepared(lan, without=["10.0.0.2/32", "fd00:1::/32"])
    assert (len(without.packets.flow), without.excluded["deselected"]) == (9, 9)
    both = prepared(lan, only=["10.0.0.0/8"], without=["10.0.0.2/32"])
    assert (len(both.packets.flow), both.excluded["link_scope"]) == (9, 12)
    with pytest.raises(InputError, match="12 of link scope, 18 not of the traffic that was chosen"):
        prepared(lan, only=["192.0.2.0/24"])


ADDRESS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@settings(deadline=None)
@given(
    st.lists(st.tuples(ADDRESS, ADDRESS).filter(lambda ends: ends[0].version == ends[1].version), min_size=1), st.data()
)
def test_prefixes_hold_what_the_library_says(ends: list[tuple[Any, Any]], data: st.DataObject) -> None:
    prefixes = []
    for _ in range(data.draw(st.integers(1, 3))):
        address = data.draw(st.sampled_from([end for pair in ends for end in pair]))
        length = data.draw(st.integers(0, address.max_prefixlen))
        prefixes.append(ipaddress.ip_network((address, length), strict=False))
    spec = TrafficSpec(link_scope="include", only=tuple(map(str, prefixes)))
    blank = {"src_port": None, "dst_port": None, "protocol": 17}
    flows = pl.DataFrame(
        [{"src": str(a), "dst": str(b)} | blank for a, b in ends],
        schema_overrides={"src_port": pl.UInt16, "dst_port": pl.UInt16},
    )
    versions = np.array([a.version for a, _ in ends], np.uint8)
    taken = select(flow_words(flows), versions, spec).taken
    assert taken.tolist() == [any(end in prefix for end in pair for prefix in prefixes) for pair in ends]


def test_link_scope_is_not_steered_by_its_own_addresses(lan: Trace, tmp_path: Path) -> None:
    scenario = short_scenario(paths="1Gbps", srv6={"mode": "insert"}, traffic={"link_scope": "include"}, seeds=[1])
    forecast(lan, scenario, tmp_path / "f")
    with pytest.raises(InputError, match="link_scope: mode insert would steer packets of link scope"):
        rewrite_forecast(tmp_path / "f", tmp_path / "out", policy="inflight")
    assert not (tmp_path / "out").exists()


def test_flags_name_prefixes(tmp_path: Path) -> None:
    scenario = scenario_of(None, {"paths": "1Gbps", "only": "10.0.0.0/8, fd00::/8", "without": "10.1.0.0/16"})
    assert scenario.traffic.only == ("10.0.0.0/8", "fd00::/8")
    assert scenario.traffic.without == ("10.1.0.0/16",)
    for wrong in ("10.0.0.1/8", "ten", ""):
        with pytest.raises(InputError, match=r"^--only: .*; give prefixes such as 10.0.0.0/8$"):
            scenario_of(None, {"paths": "1Gbps", "only": wrong})
