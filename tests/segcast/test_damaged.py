"""Damaged traces and forecasts: every reader says in one line which file is wrong and how to mend it."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from segcast.analyzer.flowlets.report import flowlet_report
from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.metrics.tables import SUMMARY
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.schema import PACKET_FATES
from segcast.replay.rewrite.of_forecast import rewrite_forecast
from segcast.reports.forecast.content import ForecastContent
from segcast.reports.forecast.data import Forecast
from segcast.reports.forecast.page import write_report
from segcast.reports.forecast.terminal import print_forecast
from segcast.traces.errors import InputError
from segcast.traces.ingest.opening import open_trace
from segcast.traces.ingest.run import ingest
from segcast.traces.quality.describe import describe
from segcast.traces.schema import FLOWS, PACKETS
from segcast.traces.trace import Trace
from tests.support.forecasts import cells, make_forecast, make_reacting
from tests.support.ingesting import conversations

NUMBERS = (1, -1, 1.5, 10**400, float("nan"))
WRONG: tuple[Any, ...] = (None, True, *NUMBERS, "", "x", "\ud800", [], [1], [[]], {}, {"a": "b"})
DEEP = '{"a":' * 50_000 + "1" + "}" * 50_000
AGAIN = "segcast forecast again"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace of a few hundred packets, as `t.trace`, and a forecast of it, as `f`."""
    home = tmp_path_factory.mktemp("whole")
    (home / "c.pcap").write_bytes(conversations(21))
    scenario = short_scenario(paths="2x10Mbps", seeds=[1, 2], policies=["ecmp", "inflight"])
    forecast(ingest([home / "c.pcap"], home / "t.trace"), scenario, home / "f")
    return home


@pytest.fixture
def home(whole: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    shutil.copytree(whole, tmp_path / "copy")
    file = tmp_path / "copy" / "f" / "forecast.json"
    file.write_text(file.read_text().replace(str(whole.resolve()), str(tmp_path / "copy")))
    return tmp_path / "copy"


def read_trace(folder: Path) -> None:
    """As every command that reads a trace does."""
    trace = open_trace(folder)
    describe(trace)
    assert trace.sources
    for _ in trace.packet_batches():
        pass
    flowlet_report(trace, [1000])


def read_forecast(folder: Path) -> None:
    """As the report and the terminal do, but for laying out the page."""
    content = ForecastContent(Forecast(folder))
    content.drawings()
    names = (
        "tiles",
        "tables",
        "senders",
        "recovery",
        "first_cell",
        "changes",
        "changes_against",
        "sources",
        "title",
        "size_bins",
    )
    for name in (*names, "paths", "links", "hidden", "changes_of_links", "scenario", "chips"):
        getattr(content, name)
    print_forecast(folder, Console(file=io.StringIO()))


def refused(read: Callable[[], object], *words: str) -> None:
    """It raises InputError, one printable line with these words."""
    with pytest.raises(InputError) as caught:
        read()
    text = str(caught.value)
    text.encode()
    assert "\n" not in text
    assert len(text) < 600
    for word in words:
        assert word in text


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place of a JSON document, but only the first of a list."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else list(enumerate(value))[:1] if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def changed(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A copy with another value there; without the key if `value` is Ellipsis."""
    copy = json.loads(json.dumps(document))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copy


def sweep(file: Path, read: Callable[[], object]) -> tuple[int, int]:
    """Put every wrong value in every place; how often that was read all the same, and how often refused."""
    document = json.loads(file.read_text())
    fine = wrong = 0
    for path in places(document):
        for value in (..., *WRONG):
            file.write_text(json.dumps(changed(document, path, value)))
            try:
                read()
                fine += 1
            except InputError as error:
                text = str(error)
                text.encode()
                assert "\n" not in text, (path, value)
                wrong += 1
            except Exception as error:
                raise AssertionError(f"{path} = {value!r}: {error!r}") from error
    return fine, wrong


TEXTS = {
    "nested": (DEEP, "unreadable (nested too deeply)"),
    "cut": ('{"trace": ', "unreadable"),
    "empty": ("", "unreadable"),
    "list": ("[]", "holds no JSON object"),
    "number": ("5", "holds no JSON object"),
    "half a character": ('{"trace": {"name": "\\ud800"}}', "unreadable"),
    "long number": ('{"schema_version": ' + "9" * 5000 + "}", "unreadable"),
}


# --- traces ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEXTS)
def test_a_damaged_trace_document(home: Path, name: str) -> None:
    text, word = TEXTS[name]
    (home / "t.trace" / "trace.json").write_text(text)
    refused(lambda: read_trace(home / "t.trace"), "trace.json: ", word, "; ingest the captures again")


def test_a_trace_document_that_is_not_utf8(home: Path) -> None:
    (home / "t.trace" / "trace.json").write_bytes(b'{"schema_version": 1, "layer": "\xff"}')
    refused(lambda: read_trace(home / "t.trace"), "trace.json: unreadable", "ingest the captures again")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("schema_version",), ..., "states no schema version"),
        (("schema_version",), True, "states no schema version"),
        (("parts",), 1, "parts: must be a list"),
        (("parts",), [], "parts: must have 1 or more elements"),
        (("parts", 0, "name"), "../flows.parquet", "parts.0.name: String should match pattern"),
        (("parts", 0, "rows"), 399, "part-00000.parquet: has 400 rows, trace.json says 399"),
        (("packets",), 401, "trace.json: its parts do not hold 401 packets together"),
        (("flows",), 3, " rows, trace.json says 3"),
        (("sources",), [], "sources: must have 1 or more elements"),
        (("sources", 0, "damages"), [{}], "sources.0.damages.0.offset: missing"),
        (("skipped",), {"a": "b"}, "skipped.a: must be a whole number"),
    ],
)
def test_a_trace_document_of_another_shape(home: Path, path: tuple[str | int, ...], value: Any, words: str) -> None:
    file = home / "t.trace" / "trace.json"
    file.write_text(json.dumps(changed(json.loads(file.read_text()), path, value)))
    refused(lambda: read_trace(home / "t.trace"), words, "; ingest the captures again")


def test_any_wrong_value_in_a_trace_document(home: Path) -> None:
    fine, wrong = sweep(home / "t.trace" / "trace.json", lambda: describe(open_trace(home / "t.trace")))
    assert wrong > 300
    assert fine < 150  # another text, or another number where any will do


def parts(home: Path) -> list[Path]:
    return [home / "t.trace" / "packets" / "part-00000.parquet", home / "t.trace" / "flows.parquet"]


@pytest.mark.parametrize("which", [0, 1])
def test_damaged_tables_of_a_trace(home: Path, which: int) -> None:
    file, other = parts(home)[which], parts(home)[1 - which]
    data, table = file.read_bytes(), pq.read_table(file)

    def check(*words: str) -> None:
        refused(lambda: read_trace(home / "t.trace"), file.name, *words, "; ingest the captures again")

    for text in (b"", b"PAR1 nonsense", data[:100], data[:-1], data[:-8] + b"\xff\xff\xff\x7fPAR1"):
        file.write_bytes(text)
        check("unreadable")
    file.write_bytes(other.read_bytes())
    check("column", "is missing")
    pq.write_table(table.drop_columns(["flow_id"]), file)
    check("column flow_id is missing")
    pq.write_table(table.set_column(0, table.column_names[0], pa.nulls(len(table), pa.string())), file)
    check(f"column {table.column_names[0]} is string, not ")
    names = list(table.column_names)
    pq.write_table(pa.table([pa.nulls(len(table), f.type) for f in table.schema], names), file)
    check("holds nulls")
    pq.write_table(table.slice(1), file)
    check("rows, trace.json says")
    file.unlink()
    check("missing from the trace")
    file.mkdir()
    check("missing from the trace")


def test_tables_that_name_what_is_not_there(home: Path) -> None:
    """Kernels index by these numbers."""
    flows = pq.read_table(parts(home)[1]).num_rows
    for file, name, words in (
        (parts(home)[0], "flow_id", f"column flow_id holds numbers beyond {flows - 1}"),
        (parts(home)[0], "file", "column file holds numbers beyond 0"),
        (parts(home)[1], "reverse_flow_id", f"column reverse_flow_id holds numbers beyond {flows - 1}"),
        (parts(home)[1], "flow_id", "column flow_id does not count up from 0"),
    ):
        table = pq.read_table(file)
        place = table.column_names.index(name)
        numbers = pa.array([flows] * len(table), table.schema.field(name).type)
        pq.write_table(table.set_column(place, table.schema.field(name), numbers), file)
        refused(lambda: read_trace(home / "t.trace"), file.name, words)
        pq.write_table(table, file)
    read_trace(home / "t.trace")


def test_text_that_is_not_utf8(home: Path) -> None:
    file = parts(home)[1]
    table = pq.read_table(file)
    bad = pa.array([b"10.0.0.\xff"] * len(table), pa.binary()).view(pa.string())
    place = table.column_names.index("src")
    pq.write_table(table.set_column(place, table.schema.field("src"), bad), file)
    refused(lambda: describe(open_trace(home / "t.trace")), "flows.parquet: unreadable", "ingest the captures again")


def test_every_flip_of_a_byte_is_read_or_named(home: Path) -> None:
    """Pages carry no checksum, so that a number may change; nothing else may come of it than a line."""
    for file in parts(home):
        data = file.read_bytes()
        for place in range(0, len(data), max(1, len(data) // 150)):
            file.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
            try:
                trace = open_trace(home / "t.trace")
                trace.packet_table()
                describe(trace)
            except InputError as error:
                assert "ingest the captures again" in str(error)
        file.write_bytes(data)


def test_columns_come_in_the_order_asked_for_and_nothing_is_filled_in(home: Path) -> None:
    trace = Trace(home / "t.trace", open_trace(home / "t.trace").document)
    assert trace.packet_table(["tos", "file"]).column_names == ["tos", "file"]
    assert next(trace.packet_batches(["tos", "file"], rows=7)).schema.names == ["tos", "file"]
    assert trace.flow_table().schema.equals(FLOWS.arrow_schema())
    assert trace.packet_table().schema.equals(PACKETS.arrow_schema())
    special = home / "[t]*.trace"
    (home / "t.trace").rename(special)
    assert open_trace(special).packets.collect().height == 400


# --- forecasts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEXTS)
def test_a_damaged_document_is_named_by_both_readers(home: Path, name: str) -> None:
    text, word = TEXTS[name]
    (home / "f" / "forecast.json").write_text(text)
    refused(lambda: write_report(home / "f"), "forecast.json: ", word, AGAIN)
    refused(lambda: rewrite_forecast(home / "f", home / "out", policy="ecmp"), "forecast.json: ", word, AGAIN)


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("trace",), 1, "trace"),
        (("trace",), None, "trace"),
        (("trace", "sources"), "abc", "trace.sources"),
        (("trace", "packets"), "many", "trace.packets"),
        (("trace", "folder"), 5, "trace.folder"),
        (("comparisons",), 5, "comparisons"),
        (("comparisons",), [1], "comparisons.0"),
        (("network",), {"paths": 1}, "network.paths"),
        (("network", "links", 0, "rate_bps"), 10**400, "network.links.0.rate_bps"),
        (("excluded",), {"a": "b"}, "excluded.a"),
        (("baseline",), None, "baseline"),
        (("answer",), ["x"], "answer"),
        (("answered",), ["x"], "answered"),
    ],
)
def test_a_document_of_another_shape(home: Path, path: tuple[str | int, ...], value: Any, place: str) -> None:
    file = home / "f" / "forecast.json"
    file.write_text(json.dumps(changed(json.loads(file.read_text()), path, value)))
    refused(lambda: write_report(home / "f"), f"forecast.json: {place}: ", AGAIN)
    refused(lambda: rewrite_forecast(home / "f", home / "o", policy="ecmp"), f"forecast.json: {place}: ", AGAIN)


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("trace",), ..., "trace: missing"),
        (("trace",), {}, "trace.folder: missing"),
        (("trace", "sources", 0, "xxh128"), ..., "trace.sources.0.xxh128: missing"),
    ],
)
def test_a_rewrite_needs_to_know_the_trace(home: Path, path: tuple[str | int, ...], value: Any, place: str) -> None:
    file = home / "f" / "forecast.json"
    file.write_text(json.dumps(changed(json.loads(file.read_text()), path, value)))
    refused(lambda: rewrite_forecast(home / "f", home / "o", policy="ecmp"), f"forecast.json: {place}", AGAIN)
    read_forecast(home / "f")
    assert not (home / "o").exists()


@pytest.mark.parametrize("make", [make_forecast, make_reacting])
def test_any_wrong_value_in_a_forecast_document(tmp_path: Path, make: Callable[..., Path]) -> None:
    folder = make(tmp_path / "f", cells(("inflight",)), seeds=2, paths=2)
    for name in ("distributions", "series", "sizes"):  # quicker to draw
        pq.write_table(pq.read_table(folder / f"{name}.parquet").slice(0, 20), folder / f"{name}.parquet")
    fine, wrong = sweep(folder / "forecast.json", lambda: read_forecast(folder))
    assert wrong > 300
    assert fine > 40  # what is absent is not shown


def test_any_wrong_value_stops_a_rewrite_or_does_not_matter(home: Path) -> None:
    def read() -> None:
        rewrite_forecast(home / "f", home / "o", policy="ecmp")

    def write(**changes: Any) -> None:
        file.write_text(json.dumps({"trace": document["trace"], "network": network | changes}))

    file = home / "f" / "forecast.json"
    document = json.loads(file.read_text())
    network = {key: document["network"][key] for key in ("groups", "paths")}
    network["links"] = [{"name": link["name"]} for link in document["network"]["links"]]
    write()
    read()
    for groups in ([], network["groups"][1:]):
        write(groups=groups)
        refused(read, "forecast.json: network.groups: must be numbered from 0 on", AGAIN)
    for key in ("links", "paths"):
        write(**{key: network[key][1:]})
        refused(read, "scenario.toml: is of another network than", "forecast.json", AGAIN)
    write()
    fine, wrong = sweep(file, read)
    assert wrong > 60
    assert fine > 0


@pytest.mark.parametrize("name", ["summary", "distributions", "series", "sizes", "profile"])
def test_damaged_tables_of_a_forecast(home: Path, name: str) -> None:
    file = home / "f" / f"{name}.parquet"
    data, table = file.read_bytes(), pq.read_table(file)

    def check(*words: str) -> None:
        refused(lambda: read_forecast(home / "f"), file.name, *words, AGAIN)
        if name == "summary":
            refused(lambda: rewrite_forecast(home / "f", home / "o", policy="ecmp"), file.name, *words, AGAIN)

    for text in (b"", b"PAR1 nonsense", data[:-1], data[: len(data) // 2]):
        file.write_bytes(text)
        check("unreadable")
    shutil.copy(home / "f" / "flows.parquet", file)
    check("column", "is missing")
    pq.write_table(table.set_column(1, table.column_names[1], pa.nulls(len(table), pa.time32("ms"))), file)
    check(f"column {table.column_names[1]} is time32[ms], not ")
    file.unlink()
    check("not found")


def test_a_summary_without_cells(home: Path) -> None:
    pq.write_table(SUMMARY.arrow_schema().empty_table(), home / "f" / "summary.parquet")
    refused(lambda: read_forecast(home / "f"), "summary.parquet: holds no cell", AGAIN)
    refused(lambda: rewrite_forecast(home / "f", home / "o", policy="ecmp"), "summary.parquet: holds no cell", AGAIN)


def test_a_damaged_schedule(home: Path) -> None:
    file = home / "f" / "packets" / "ecmp-s1.parquet"
    data, table = file.read_bytes(), pq.read_table(file)

    def check(*words: str) -> None:
        refused(lambda: rewrite_forecast(home / "f", home / "o", policy="ecmp"), *words)
        assert not (home / "o").exists()

    for text in (b"", data[:-1], b"PAR1 nonsense"):
        file.write_bytes(text)
        check("ecmp-s1.parquet: unreadable", AGAIN)
    pq.write_table(table.drop_columns(["dropped"]), file)
    check("ecmp-s1.parquet: column dropped is missing", AGAIN)
    shutil.copy(home / "f" / "summary.parquet", file)
    check("ecmp-s1.parquet: column", "is missing", AGAIN)
    for name, words in (("flow_id", "names flow"), ("file", "source file"), ("frame_number", "frame")):
        kind = PACKET_FATES.arrow_schema().field(name)
        numbers = pa.array([60_000] * len(table), kind.type)
        pq.write_table(table.set_column(table.column_names.index(name), kind, numbers), file)
        check(words)
