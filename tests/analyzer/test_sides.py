"""Sides of parallel paths: hosts that talk are across from each other, whoever opened what."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.analyzer.forecast.findings import side_findings
from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.network.attachments import host_names
from segcast.analyzer.network.sides import LEFT, Sides, choose_sides
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.short import short_scenario
from segcast.traces.ingest.opening import open_trace
from segcast.traces.ingest.run import ingest
from tests.support.strategies import Seeded
from tests.twins import writing
from tests.twins.sides import Talk, sides
from tests.twins.writing import Captured


def chosen(flows: list[Talk], hosts: Sequence[str] = ()) -> Sides:
    table = pl.DataFrame([{"src": f.src, "dst": f.dst, "bytes": f.bytes} for f in flows])
    opens = np.array([flow.opens for flow in flows], np.bool_)
    return choose_sides(table, np.arange(len(flows)), opens, host_names(table, hosts))


def names(found: Sides) -> dict[str, str]:
    return {address: "left" if place == LEFT else "right" for address, place in found.places.items()}


def both_ways(a: str, b: str, size: int = 100) -> list[Talk]:
    """A conversation that `a` began."""
    return [Talk(a, b, size, opens=True), Talk(b, a, size, opens=False)]


HOSTS = [f"10.0.{net}.{host}" for net in range(3) for host in range(1, 5)] + ["fd00::1", "fd00::2", "fd00:1::1"]
FLOW = st.builds(Talk, st.sampled_from(HOSTS), st.sampled_from(HOSTS), st.integers(1, 9), opens=st.booleans())


@settings(deadline=None)
@given(st.lists(FLOW, min_size=1, max_size=30))
def test_sides_are_those_of_the_twin(flows: list[Talk]) -> None:
    assert names(chosen(flows)) == sides(flows)


def test_sides_are_those_of_the_twin_on_larger_traffic() -> None:
    for seed in range(20):
        c = Seeded(seed)
        flows = [Talk(c.pick(HOSTS), c.pick(HOSTS), c.integer(1, 10**6), c.pick((True, False))) for _ in range(300)]
        assert names(chosen(flows)) == sides(flows)


@settings(deadline=None)
@given(st.lists(FLOW, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_the_order_of_flows_does_not_matter(flows: list[Talk], random: object) -> None:
    shuffled = list(flows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert chosen(shuffled) == chosen(flows)


def test_two_sides_never_share_a_direction() -> None:
    """Uploads opened from both ends, between two hosts and between hosts of two subnets."""
    pair = [*both_ways("10.0.0.1", "10.1.0.1"), *both_ways("10.1.0.1", "10.0.0.1"), *both_ways("10.1.0.1", "10.0.0.1")]
    assert names(chosen(pair)) == {"10.0.0.1": "right", "10.1.0.1": "left"}
    crossed = [*both_ways("10.0.0.1", "10.1.0.1"), *both_ways("10.1.0.2", "10.0.0.2")]
    found = chosen(crossed)
    assert names(found) == {"10.0.0.1": "left", "10.0.0.2": "left", "10.1.0.1": "right", "10.1.0.2": "right"}
    assert found[1:] == (1, 1, 0, 0, 400, ("10.0.0.0/30",), 0)


def test_a_ring_of_three_leaves_out_the_pair_with_the_fewest_bytes() -> None:
    ring = [*both_ways("10.0.0.1", "10.0.0.2", 500), *both_ways("10.0.0.1", "10.0.0.3", 400)]
    ring += both_ways("10.0.0.3", "10.0.0.2", 300)
    found = chosen(ring)
    assert names(found) == {"10.0.0.1": "left", "10.0.0.2": "right", "10.0.0.3": "right"}
    assert (found.together, found.together_bytes, found.bytes) == (2, 600, 2400)
    warning, *others = side_findings(found)
    assert (warning.code, warning.severity, warning.count, others) == ("hosts_together", "warning", 2, [])
    assert "25 % of the bytes" in warning.detail
    assert 'network.left.prefixes = ["10.0.0.1/32"]' in warning.effect


def test_hosts_move_across_if_more_of_their_bytes_then_cross() -> None:
    """Pairs that close odd rings are light, but many: still no host loses most of its bytes."""
    hosts = [f"10.{n}.0.1" for n in range(1, 12)]
    flows = [Talk(a, b, 100 + n, opens=True) for n, (a, b) in enumerate((a, b) for a in hosts for b in hosts if a < b)]
    found = chosen(flows)
    for host in hosts:
        mine = [flow for flow in flows if host in (flow.src, flow.dst)]
        across = sum(f.bytes for f in mine if found.places[f.src] != found.places[f.dst])
        assert 2 * across >= sum(f.bytes for f in mine)


def test_groups_without_traffic_between_them_are_said() -> None:
    apart = [*both_ways("10.0.0.1", "10.1.0.1"), *both_ways("10.2.0.1", "10.3.0.1"), *both_ways("10.3.0.1", "10.2.0.1")]
    found = chosen(apart)
    assert (found.groups, found.undecided, found.loose_bytes) == (2, 1, 200)
    assert chosen(apart[:4]).loose_bytes == 0
    (finding,) = side_findings(found)
    assert (finding.code, finding.severity, finding.count) == ("sides_chosen", "warning", 2)
    assert [f.severity for f in side_findings(chosen(apart[:4]))] == ["info"]
    assert side_findings(chosen(apart[:2])) == []
    assert side_findings(None) == []


def test_who_sends_most_is_what_others_may_be_against() -> None:
    """Turning all around changes nothing: of two groups, the lighter is loose, whichever of them is undecided."""
    heavy = [*both_ways("10.2.0.1", "10.3.0.1", 5000), *both_ways("10.3.0.1", "10.2.0.1", 5000)]
    assert chosen([*heavy, *both_ways("10.0.0.1", "10.1.0.1")]).loose_bytes == 200
    assert chosen(heavy).loose_bytes == 0


def test_prefixes_hold_the_left_and_nothing_else() -> None:
    c = Seeded(5)
    for _ in range(50):
        hosts = sorted({f"10.{c.integer(0, 3)}.{c.integer(0, 9)}.{c.integer(0, 255)}" for _ in range(30)})
        flows = [talk for host in hosts for talk in both_ways(host, c.pick(hosts))]
        found = chosen(flows)
        left = [ipaddress.ip_network(prefix) for prefix in found.left]
        for host, place in found.places.items():
            assert any(ipaddress.ip_address(host) in prefix for prefix in left) == (place == LEFT)


def test_a_host_of_several_addresses_is_at_one_side() -> None:
    flows = [*both_ways("10.0.0.1", "10.9.0.1"), *both_ways("10.9.0.2", "10.0.0.2")]
    found = chosen(flows, ("10.0.0.0/24",))
    assert found.places["10.0.0.1"] == found.places["10.0.0.2"]
    assert found.left == ("10.0.0.0/24",)


@pytest.fixture(scope="module")
def two_way(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Between two hosts 1 Gbit/s in each direction, in conversations opened from both ends."""
    frames = []
    for n in range(4000):
        ends = (b"\x0a\0\0\1", b"\x0a\0\1\1") if n % 2 else (b"\x0a\0\1\1", b"\x0a\0\0\1")
        ports = (5000 + n % 8, 80) if n % 4 < 2 else (80, 5000 + n % 8)
        packet = writing.ipv4(writing.udp(*ports, payload=bytes(972)), 17, src=ends[0], dst=ends[1])
        frames.append(Captured(10**18 + n * 4_000, 1014, writing.ethernet(packet, 0x0800)))
    folder = tmp_path_factory.mktemp("sides")
    (folder / "c.pcap").write_bytes(writing.pcap(frames, 1, nanoseconds=True))
    ingest([folder / "c.pcap"], folder / "c.trace")
    return folder


def test_both_directions_fit_a_full_duplex_path(two_way: Path, tmp_path: Path) -> None:
    """2 Gbit/s in all, 1.2 Gbit/s each way: nothing is lost, and the prefixes that are told change nothing."""
    scenario = short_scenario(paths="1x1200Mbps", policies=["ecmp"], seeds=[1])
    document = forecast(open_trace(str(two_way / "c.trace")), scenario, tmp_path / "chosen")
    assert document["sides"]["left"] == ["10.0.0.1/32"]
    summary = pl.read_parquet(tmp_path / "chosen" / "summary.parquet")
    assert summary["dropped"].sum() == 0
    links = pl.read_parquet(tmp_path / "chosen" / "links.parquet")
    assert links["carried_bytes"].n_unique() == 1
    text = (tmp_path / "chosen" / "scenario.toml").read_text("utf-8")
    assert text.count("prefixes = []") == 2
    text = text.replace("prefixes = []", f"prefixes = {document['sides']['left']}", 1)
    text = text.replace("prefixes = []", 'prefixes = ["0.0.0.0/0", "::/0"]', 1)
    (tmp_path / "told.toml").write_text(text, "utf-8")
    told = forecast(open_trace(str(two_way / "c.trace")), read_scenario(tmp_path / "told.toml"), tmp_path / "told")
    assert told["sides"] is None
    for table in ("summary", "links", "flows"):
        ours, theirs = (pl.read_parquet(tmp_path / name / f"{table}.parquet") for name in ("chosen", "told"))
        assert ours.equals(theirs)
