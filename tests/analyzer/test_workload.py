"""Flow lists: read as a slow twin reads them, written and read back, refused by line and column, put on networks."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segcast.analyzer.workload.reading import is_workload, read_workload
from segcast.analyzer.workload.table import Workload, workload_of
from segcast.analyzer.workload.writing import write_workload
from segcast.traces.errors import InputError
from tests.support.workloads import PLAIN, WHOLE, listed
from tests.twins import workloads as twin


def refused(folder: Path, text: str | bytes, name: str = "flows.csv") -> str:
    with pytest.raises(InputError) as caught:
        listed(folder, text, name)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(f"{folder / name}"), message
    return message.removeprefix(f"{folder / name}").removeprefix(":")


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
        (f"{PLAIN},pth\n", "1: unknown column 'pth'; did you mean 'path'? Known are flow, start_ns, src, dst, bytes"),
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
