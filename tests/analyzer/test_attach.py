"""Flow lists on networks: rows become flows as a slow twin says, hosts have addresses, the rest is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from segcast.analyzer.traffic.prepare import flow_words, prepare
from segcast.analyzer.workload.attach import AttachedWorkload, attach
from segcast.analyzer.workload.table import streams
from segcast.traces.errors import InputError
from tests.support.workloads import PLAIN, TWO_LEAVES, WHOLE, listed, scenario
from tests.twins import workloads as twin

DOCS = Path(__file__).parents[2] / "docs" / "workloads.md"


def test_the_list_in_the_docs_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```csv\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    found = attach(listed(tmp_path, text), scenario(tmp_path, TWO_LEAVES))
    assert found.flow_of_row.tolist() == [0, 1, 1, 2]
    assert found.workload.after_row.tolist() == [0, 1, 2, 1]
    assert found.pin.tolist() == [-1, -1, 2, 2]


def test_rows_become_flows_as_the_twin_says(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    lines = [WHOLE]
    for number in range(300):
        src = int(rng.integers(16))
        dst = (src + int(rng.integers(1, 16))) % 16
        pair = f"{min(src, dst)}-{max(src, dst)}" if number % 3 == 0 else ""
        path = "" if pair or src // 8 == dst // 8 else number % 4 - 1
        lines.append(f"f{number},{number * 10},{src},{dst},{1000 + number},{path},,,{pair}")
    text = "\n".join(lines)
    for network in (TWO_LEAVES, TWO_LEAVES.replace('"leaf-spine"', '"leaf-spine"\nparallel = 2')):
        found = attach(listed(tmp_path, text), scenario(tmp_path, network))
        compare(found, twin.attached(twin.read((tmp_path / "flows.csv").read_text()), 8))
    assert len(found.plan.keys) == 2 * (1 + found.connection.max())
    assert found.hosts[found.plan.host[0]] == found.addresses[found.ends[0, 0]]


def compare(found: AttachedWorkload, expected: list[dict[str, Any]]) -> None:
    assert found.plan.attachment is not None
    assert found.plan.uplink is not None and found.plan.downlink is not None
    names = [link.name for link in found.network.links]
    for row, flow in enumerate(found.flow_of_row.tolist()):
        want = expected[row]
        assert (flow, int(found.plan.keys[flow]), int(found.plan.keys[flow ^ 1])) == (
            want["flow"],
            want["key"],
            want["back"],
        )
        assert found.pin[flow] == found.pin[flow ^ 1] == want["pin"]
        assert found.groups[found.plan.group[flow]] == tuple(f"leaf{end}" for end in want["ends"])
        assert found.groups[found.plan.group[flow ^ 1]] == tuple(f"leaf{end}" for end in want["ends"][::-1])
        assert found.plan.attachment[flow] == want["ends"][0]
        assert found.hosts[found.plan.host[flow]] == want["hosts"][0]
        assert names[found.plan.uplink[flow]] == f"host-{want['hosts'][0]}"
        assert names[found.plan.downlink[flow]] == f"host-{want['hosts'][1]}-back"
    assert np.array_equal(found.flow_of_row, streams(found.workload))


def test_addresses_are_placed_as_those_of_a_trace(tmp_path: Path) -> None:
    """A packet a flow, prepared as a trace's, is put at the same attachments, hosts and links."""
    pairs = [("10.0.0.1", "10.0.0.9"), ("10.0.0.9", "10.1.0.1"), ("10.2.0.1", "10.0.0.1"), ("10.1.0.1", "10.2.0.1")]
    text = PLAIN + "".join(f"\nf{n},{n},{src},{dst},100" for n, (src, dst) in enumerate(pairs))
    leaves = TWO_LEAVES.replace("hosts_per_leaf = 8\n", "")
    prefixes = '[[attachments]]\nname = "leaf1"\nprefixes = ["10.0.0.8/29"]\n[steering]\nhosts = ["10.1.0.0/16"]\n'
    paths = '[network]\nkind = "parallel"\npaths = [{ links = [{ name = "a", rate = "1Gbps" }] }]\n'
    for network in (leaves, leaves + prefixes, paths + 'host_links = { rate = "1Gbps" }'):
        flows = pl.DataFrame(
            {
                "src": [src for src, _ in pairs],
                "dst": [dst for _, dst in pairs],
                "src_port": pl.Series([10000] * 4, dtype=pl.UInt16),
                "dst_port": pl.Series([5001] * 4, dtype=pl.UInt16),
                "protocol": [6] * 4,
                "bytes": [100] * 4,
                "ip_version": [4] * 4,
                "reverse_flow_id": pl.Series([None] * 4, dtype=pl.UInt32),
            }
        )
        packets = pl.DataFrame(
            {"time_ns": range(4), "flow_id": range(4), "ip_bytes": [100] * 4, "tcp_flags": [2] * 4, "file": [0] * 4}
        ).with_columns(pl.lit(1).alias("frame_number"))
        traffic = prepare(packets.to_arrow(), flows.to_arrow(), scenario(tmp_path, network))
        found = attach(listed(tmp_path, text), scenario(tmp_path, network))
        assert [found.groups[g] for g in found.plan.group[::2]] == [traffic.groups[g] for g in traffic.plan.group]
        assert np.array_equal(found.plan.keys[::2], traffic.plan.keys)
        assert found.plan.words is not None
        assert np.array_equal(found.plan.words[::2], flow_words(flows))
        assert [found.hosts[h] for h in found.plan.host[::2]] == [traffic.hosts[h] for h in traffic.plan.host]
        for side in ("uplink", "downlink"):
            mine, theirs = getattr(found.plan, side), getattr(traffic.plan, side)
            assert [found.network.links[link].name for link in mine[::2]] == [
                traffic.network.links[link].name for link in theirs
            ]


@pytest.mark.parametrize(
    ("network", "row", "message"),
    [
        (TWO_LEAVES, "a,0,3,16,5,,,,", "2: column dst: there is no host 16; the network of {s} has 16, from 0 on"),
        (TWO_LEAVES, "a,0,3,9,5,4,,,", "2: column path: there is no slot 4: 4 paths lead there, numbered from 0"),
        (TWO_LEAVES, "a,0,3,4,5,1,,,", "2: column path: there is no slot 1: 1 paths lead there, numbered from 0"),
        (
            TWO_LEAVES.replace("hosts_per_leaf = 8\n", ""),
            "a,0,3,9,5,,,,",
            "2: column src: hosts are numbers, and {s} does not say how many there are; give network.hosts_per_leaf",
        ),
        (
            TWO_LEAVES.replace("host_links", "#"),
            "a,0,3,4,5,,,,",
            "2: column dst: 10.0.0.4 and 10.0.0.5 are both at leaf0, so this would cross no link; give",
        ),
        (
            TWO_LEAVES + '[traffic]\nonly = ["10.0.0.0/8"]\n',
            "a,0,3,9,5,,,,",
            "{s}:10: traffic.only: chooses packets of a trace, and a flow list is sent whole: leave it out",
        ),
        (
            'unassigned = "exclude"\n' + TWO_LEAVES,
            "a,0,10.0.0.1,11.0.0.1,5,,,,",
            "2: column dst: 11.0.0.1 is in no prefix of an attachment of {s}",
        ),
    ],
)
def test_what_a_network_cannot_carry_is_refused(tmp_path: Path, network: str, row: str, message: str) -> None:
    workload = listed(tmp_path, f"{WHOLE}\n{row}\n")
    with pytest.raises(InputError) as caught:
        attach(workload, scenario(tmp_path, network))
    expected = message.replace("{s}", str(tmp_path / "s.toml"))
    assert str(caught.value).startswith(
        expected if message.startswith("{s}") else f"{tmp_path / 'flows.csv'}:{expected}"
    )


def test_hosts_of_other_topologies_are_numbered_and_have_their_prefixes(tmp_path: Path) -> None:
    links = 'links = { rate = "1Gbps" }'
    cases = {
        f'kind = "fat-tree"\nk = 4\n{links}': (15, "10.0.7.2", "edge3.1"),
        f'kind = "fat-tree"\nk = 4\nhosts_per_edge = 3\n{links}': (23, "10.0.7.3", "edge3.1"),
        'kind = "parallel"\nhosts_per_side = 3\npaths = [{ links = [{ name = "a", rate = "1Gbps" }] }]': (
            5,
            "10.0.1.3",
            "right",
        ),
        'kind = "graph"\nhosts_per_attachment = 2\nlinks = [{ name = "x", ends = ["a", "b"], rate = "1Gbps" }]\n'
        '[[attachments]]\nname = "a"\n[[attachments]]\nname = "b"\nprefixes = ["172.16.0.0/16"]': (
            3,
            "172.16.0.2",
            "b",
        ),
        f'kind = "leaf-spine"\nleaves = 300\nspines = 1\nhosts_per_leaf = 1\n{links}': (299, "10.1.43.1", "leaf299"),
    }
    for network, (last, address, place) in cases.items():
        chosen = scenario(tmp_path, f"[network]\n{network}")
        found = attach(listed(tmp_path, f"{PLAIN}\na,0,0,{last},5\n"), chosen)
        assert (found.addresses[1], found.groups[found.plan.group[0]][1]) == (address, place)
        if "hosts_per" in network:  # so a trace of these addresses is put at the same places
            by_address = attach(listed(tmp_path, f"{PLAIN}\na,0,{found.addresses[0]},{address},5\n"), chosen)
            assert by_address.groups[by_address.plan.group[0]] == found.groups[found.plan.group[0]]
            assert np.array_equal(by_address.plan.keys, found.plan.keys)
