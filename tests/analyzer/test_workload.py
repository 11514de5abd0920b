"""Flow lists: read as a slow twin reads them, written and read back, refused by line and column, put on networks."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.prepare import flow_words, prepare
from segcast.analyzer.workload.attach import AttachedWorkload, attach
from segcast.analyzer.workload.reading import is_workload, read_workload
from segcast.analyzer.workload.table import Workload, streams, workload_of
from segcast.analyzer.workload.writing import write_workload
from segcast.traces.errors import InputError
from tests.twins import workloads as twin

DOCS = Path(__file__).parents[2] / "docs" / "workloads.md"
PLAIN = "flow,start_ns,src,dst,bytes"
WHOLE = f"{PLAIN},path,after,think_ns,connection"
TWO_LEAVES = """
[network]
kind = "leaf-spine"
leaves = 2
spines = 4
hosts_per_leaf = 8
links = { rate = "10Gbps", delay = "10us" }
host_links = { rate = "10Gbps", delay = "10us" }
"""


def listed(folder: Path, text: str | bytes, name: str = "flows.csv") -> Workload:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_workload(folder / name)


def refused(folder: Path, text: str | bytes, name: str = "flows.csv") -> str:
    with pytest.raises(InputError) as caught:
        listed(folder, text, name)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(f"{folder / name}"), message
    return message.removeprefix(f"{folder / name}").removeprefix(":")


def scenario(folder: Path, text: str = TWO_LEAVES) -> ValidScenario:
    (folder / "s.toml").write_text(text, "utf-8")
    return read_scenario(folder / "s.toml")


def as_twin(workload: Workload) -> list[dict[str, Any]]:
    """A workload's rows as the twin has them, but for their lines."""
    names = workload.connection_name.take(pa.array(workload.connection)).to_pylist()
    return [
        {
            "flow": workload.name(row),
            "start_ns": workload.start_ns[row],
            "src": workload.host(int(workload.source[row])),
            "dst": workload.host(int(workload.target[row])),
            "bytes": workload.bytes[row],
            "path": workload.path[row],
            "after": tuple(
                workload.name(other)
                for other in workload.after_row[workload.after_first[row] : workload.after_first[row + 1]]
            ),
            "think_ns": workload.think_ns[row],
            "connection": names[row],
        }
        for row in range(len(workload))
    ]


def without_lines(flows: list[twin.Flow]) -> list[dict[str, Any]]:
    return [{name: value for name, value in vars(flow).items() if name != "line"} for flow in flows]


# Random lists, with quotes, quoted line ends, empty lines and CRLF; hosts are numbers, or addresses.

NAMES = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters='"'), min_size=1, max_size=6)


@st.composite
def lists(draw: st.DrawFn) -> list[dict[str, str]]:
    names = draw(st.lists(NAMES, min_size=1, max_size=8, unique=True))
    hosts = draw(
        st.sampled_from([["0", "1", "2", "7"], ["10.0.0.1", "10.9.0.1", "192.0.2.7"], ["2001:db8::1", "fd00::7"]])
    )
    rows = []
    for number, name in enumerate(names):
        src, dst = draw(st.permutations(hosts))[:2]
        after = draw(st.lists(st.sampled_from(names[:number]), max_size=2, unique=True)) if number else []
        row = {"flow": name, "start_ns": str(draw(st.integers(0, 10**15))), "src": src, "dst": dst}
        row |= {"bytes": str(draw(st.integers(1, 2**50))), "path": draw(st.sampled_from(["", "-1", "0", "3"]))}
        row |= {"after": draw(st.sampled_from([" ", "\n", "\r\n"])).join(after)}
        row |= {"think_ns": draw(st.sampled_from(["", "0", "77"])), "connection": ""}
        if after and draw(st.booleans()):
            row["start_ns"] = ""
        rows.append(row)
    if len(hosts) == 2 and draw(st.booleans()):
        for row in rows:
            row |= {"connection": "a, b", "path": ""}
    return rows


def written(rows: list[dict[str, str]], draw: st.DataObject) -> str:
    out = io.StringIO()
    columns = draw.draw(st.permutations(WHOLE.split(",")))
    end = draw.draw(st.sampled_from(["\n", "\r\n"]))
    style = draw.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer = csv.DictWriter(out, columns, quoting=style, lineterminator=end)
    writer.writeheader()
    for row in rows:
        out.write(draw.draw(st.sampled_from(["", "", end])))
        writer.writerow(row)
    return out.getvalue()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lists(), st.data())
def test_what_is_read_is_what_the_twin_reads_and_comes_back(
    tmp_path: Path, rows: list[dict[str, str]], data: st.DataObject
) -> None:
    text = written(rows, data)
    workload = listed(tmp_path, text)
    assert as_twin(workload) == without_lines(twin.read(text))
    for name in ("again.csv", "again.parquet"):
        write_workload(workload, tmp_path / name)
        assert as_twin(read_workload(tmp_path / name)) == as_twin(workload)
        assert (tmp_path / name).read_bytes().startswith(b"PAR1" if name.endswith("parquet") else PLAIN.encode())


BAD = ["", "x", "-7", "1.0", "1e3", "٣", " 1", "99999999999999999999", "4611686018427387905", "0x10", "a b", "nobody"]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lists(), st.data())
def test_one_wrong_cell_is_named_by_line_and_column(
    tmp_path: Path, rows: list[dict[str, str]], data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.sampled_from(["flow", "start_ns", "src", "dst", "bytes", "path", "think_ns", "after"]))
    others = [each["flow"] for each in rows]
    rows[row][column] = data.draw(st.sampled_from([*BAD, *others, f"{others[0]} {others[0]}"]))
    if rows[0]["connection"] and column in ("src", "dst", "path"):
        return
    text = written(rows, data)
    try:
        expected = without_lines(twin.read(text))
    except twin.WrongError as wrong:
        found = re.match(r"(\d+): column (\w+): ", refused(tmp_path, text))
        assert found is not None
        if column in ("src", "dst"):  # where numbers and addresses are mixed, another row may be at fault
            assert found[2] in ("src", "dst")
        elif column == "flow":  # those that wait for it come after it
            assert (int(found[1]), found[2]) == (wrong.line, wrong.column) or found[2] in ("flow", "after")
        else:
            assert (int(found[1]), found[2]) == (wrong.line, wrong.column)
        return
    try:
        workload = listed(tmp_path, text)
    except InputError as error:
        assert column in ("src", "dst"), error  # numbers and addresses in one list, which the twin does not mind
        return
    assert as_twin(workload) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", " is empty; docs/workloads.md has the format"),
        (f"{PLAIN}\n", " has a header and no flows"),
        (PLAIN, " has a header and no flows"),
        ("flow,start_ns,src,dst\n", "1: column bytes is missing; a flow list has flow, start_ns, src, dst, bytes"),
        (f"{PLAIN},pth\n", "1: unknown column 'pth'; did you mean path? Known are flow, start_ns, src, dst, bytes"),
        (f"{PLAIN},colour\n", "1: unknown column 'colour'; known are flow, start_ns, src, dst, bytes, path, after"),
        (f"{PLAIN},bytes\n", "1: column bytes is there twice"),
        (f"{PLAIN},path,spine\n", "1: column spine is there twice, which is another name of path"),
        (f"{PLAIN}\na,0,0,1\n", "2: has 4 fields, and the header 5"),
        (f"{PLAIN}\na,0,0,1,5\n\n\nb,0,0,1,5,6\n", "5: has 6 fields, and the header 5"),
        (f'{PLAIN}\n"a,0,0,1,5\n', "2: not CSV: unexpected end of data"),
        (f'{PLAIN}\na,0,0,1,5\nb,0,0,1,"5"6\n', "3: not CSV: ',' expected after '\"'"),
        (f"{PLAIN}\na,0,0,1,-5\n", "2: column bytes: -5 is less than 1"),
        (f"{PLAIN}\na,0,0,1,{10**30}\n", f"2: column bytes: {10**30} is more than 1,125,899,906,842,624"),
        (f"{PLAIN}\na,,0,1,5\n", "2: column start_ns: is empty"),
        (f"{PLAIN},after\na,,0,1,5,\nb,,0,1,5,a\n", "2: column start_ns: is empty, and the flow waits for none"),
        (f"{PLAIN}\na,1e3,0,1,5\n", "2: column start_ns: '1e3' is not a whole number"),
        (f"{PLAIN}\na,{2**62},0,1,5\n", "2: column start_ns: with all think times the list goes beyond 2^62 ns"),
        (f"{PLAIN}\na,0,3,3,5\n", "2: column dst: is src, too: 3 cannot send to itself through a network"),
        (f"{PLAIN}\na,0,0,10.0.0.1,5\n", "2: column dst: '10.0.0.1' is no number of a host, as the first src is"),
        (
            f"{PLAIN}\na,0,fd00::1,fd00::2,5\nb,0,fd00::1,7,5\n",
            "3: column dst: '7' is the number of a host, and the first src an",
        ),
        (
            f"{PLAIN}\na,0,fd00::1,10.0.0.1,5\n",
            "2: column dst: 10.0.0.1 is of another IP version than src fd00::1; give both",
        ),
        (f"{PLAIN}\na,0,fe80::1%x,::2,5\n", "2: column src: 'fe80::1%x' is neither the IP address of one host nor"),
        (
            f"{PLAIN}\na,0,10.0.0.1,224.0.0.1,5\n",
            "2: column dst: '224.0.0.1' is neither the IP address of one host nor",
        ),
        (f"{PLAIN}\na,0,0,1,5\nb,0,0,1,5\na,0,0,1,5\n", "4: column flow: 'a' is there twice, first at {file}:2"),
        (f'{PLAIN}\n"a\nb",0,0,1,5\n', "2: column flow: 'a\\nb' holds spaces or signs that cannot be seen"),
        (f"{PLAIN}\n{'x' * 201},0,0,1,5\n", "2: column flow: is longer than 200 characters"),
        (f"{PLAIN},after\na,0,0,1,5,zz\n", "2: column after: there is no flow 'zz'"),
        (f'{PLAIN},after\na,0,0,1,5,"\n\n"\nb,0,0,1,5,zz\n', "5: column after: there is no flow 'zz'"),
        (f"{PLAIN},after\na,0,0,1,5,a\n", "2: column after: flow a waits for itself: a after a;"),
        (
            f"{PLAIN},after\nz,0,0,1,5,\na,0,0,1,5,b\nb,0,0,1,5,c\nc,0,0,1,5,a\n",
            "3: column after: flow a waits for itself: a after b after c after a;",
        ),
        (
            f"{PLAIN},after,connection\na,0,0,1,5,b,x\nb,0,0,1,5,,x\n",
            "2: column after: flow a waits for itself: a after b after a; a flow of a connection is also after those",
        ),
        (
            f"{PLAIN},connection\na,0,0,1,5,x\nb,0,0,2,5,x\n",
            "3: column connection: flow b is between other hosts than a of its connection 'x'",
        ),
        (
            f"{PLAIN},connection,path\na,0,0,1,5,x,1\nb,0,1,0,5,x,2\n",
            "3: column path: flow b is pinned otherwise than a",
        ),
        (PLAIN.encode() + b"\na,0,0,1,\xff\n", "2: column bytes: is not UTF-8 text"),
        (b"\x00" * 100, " is neither CSV nor Parquet: it holds zero bytes"),
        (b"\xff" * 100, "1: is not UTF-8 text"),
        (b"x" * 20_000, "1: the header is longer than 16,384 bytes; is this a flow list?"),
        (f'{PLAIN}\na,0,0,1,"{"1" * 140_000}"\n', "2: not CSV: field larger than field limit"),
        (b"PAR1" + b"x" * 100, " unreadable (Parquet magic bytes not found in footer"),
    ],
)
def test_what_is_no_flow_list_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    expected = message.replace("{file}", str(tmp_path / "flows.csv"))
    assert refused(tmp_path, text).startswith(expected)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("bytes", [5.0, 6.0], " column bytes is double, not whole numbers"),
        ("bytes", ["5", "6"], " column bytes is string, not whole numbers"),
        ("bytes", [5, None], " row 2: column bytes: is empty"),
        ("bytes", [5, -1], " row 2: column bytes: -1 is less than 1"),
        ("flow", [[1], [2]], " column flow is list<"),
        ("after", [[1], []], " column after is list<"),
        ("after", [["a"], ["zz"]], " row 2: column after: there is no flow 'zz'"),
        ("colour", [1, 2], " unknown column 'colour'; known are"),
    ],
)
def test_a_parquet_file_of_other_columns_is_refused(
    tmp_path: Path, column: str, values: list[Any], message: str
) -> None:
    columns: dict[str, Any] = {"flow": ["a", "b"], "start_ns": [0, 1], "src": [0, 1], "dst": [1, 0], "bytes": [5, 6]}
    columns["after"] = [[], []] if column == "flow" else None
    made = {name: value for name, value in (columns | {column: values}).items() if value is not None}
    pq.write_table(pa.table(made), tmp_path / "w.parquet")
    assert refused(tmp_path, (tmp_path / "w.parquet").read_bytes(), "w.parquet").startswith(message)


def test_a_parquet_file_may_number_flows_and_list_what_they_wait_for(tmp_path: Path) -> None:
    columns = {"flow": [7, 8, 9], "start_ns": [0, 1, None], "src": [0, 1, 0], "dst": [1, 0, 2], "bytes": [5, 6, 7]}
    pq.write_table(pa.table(columns | {"after": [[], None, ["8", "7"]]}), tmp_path / "w.parquet")
    workload = read_workload(tmp_path / "w.parquet")
    assert (workload.flow.to_pylist(), workload.after_row.tolist()) == (["7", "8", "9"], [1, 0])
    assert [column.tolist() for column in workload.followers()] == [[0, 1, 2, 2], [2, 2]]
    assert workload.start_ns.tolist() == [0, 1, 0]


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "no.csv", "not found"),
        ("/dev/null", "not a regular"),
    ):
        with pytest.raises(InputError, match=message):
            read_workload(path)
        assert not is_workload(path)
    workload = workload_of(["a"], *(np.array([n]) for n in (0, 0, 1, 5)))
    with pytest.raises(InputError, match=r"name a file that ends in \.csv or \.parquet"):
        write_workload(workload, tmp_path / "w.txt")


def test_flow_lists_are_told_from_captures(tmp_path: Path) -> None:
    for name, content, is_list in (
        ("a.csv", b"anything", True),
        ("a.dat", b"\xef\xbb\xbfflow,start_ns,src,dst,bytes\r\n", True),
        ("a.bin", b"PAR1", True),
        ("a.pcap", b"\xd4\xc3\xb2\xa1" + bytes(20), False),
    ):
        (tmp_path / name).write_bytes(content)
        assert is_workload(tmp_path / name) == is_list


# On a network.


def test_the_list_in_the_docs_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```csv\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    found = attach(listed(tmp_path, text), scenario(tmp_path))
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
