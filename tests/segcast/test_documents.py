"""Documents: what is written is what their models declare, field by field, and reads back to the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from segcast.analyzer.forecast.document import ForecastDocument
from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.short import short_scenario
from segcast.replay.calibrate.document import ProbesDocument
from segcast.replay.calibrate.run import probes
from segcast.replay.inject.document import Document
from segcast.replay.inject.plan import plan_replay
from segcast.replay.inventory import Inventory, Receiver, Sender, Transit
from segcast.replay.measure.document import MeasurementDocument
from segcast.replay.measure.run import measure
from segcast.replay.measure.run_folder import Run
from segcast.replay.rewrite.of_forecast import Wanted, rewrite_forecast
from segcast.replay.rewrite.summary import RewriteSummary
from segcast.replay.validate.document import ValidationDocument
from segcast.replay.validate.run import validate
from segcast.traces.disk.documents import Shape, json_text
from segcast.traces.document import TraceDocument
from segcast.traces.ingest.intake import choose
from segcast.traces.ingest.run import ingest
from tests.support.beds import udp
from tests.support.measuring import Net, run_folder, write_pcap

INVENTORY = Inventory(
    senders={"a": Sender(interface="lo", prefixes=("0.0.0.0/0", "::/0"))},
    receivers={"b": Receiver(interface="lo", attachment="right")},
    transit={"c": Transit(interface="lo", node="n", link="path0")},
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every document: of two captures, one of them cut, whose packets were sent, measured and judged."""
    home = tmp_path_factory.mktemp("documents")
    for name, port in (("a", 9000), ("b", 9001)):
        frames = [
            bytes(12)
            + b"\x08\x00"
            + udp("10.20.1.1", "10.20.2.1", number.to_bytes(2) * (50 + 600 * (number % 3 == 1)), port)
            for number in range(150)
        ]
        write_pcap(home / f"{name}.pcap", [(10**18 + 20_000 * number, frame) for number, frame in enumerate(frames)])
    captures = [home / "a.pcap", home / "b.pcap"]
    trace = ingest(captures, home / "t")
    cut = home / "cut.pcap"
    cut.write_bytes(captures[0].read_bytes()[:-7])
    ingest([cut], home / "cut", keep_going=True, choices=choose(split_offload="auto", drop_duplicates=True))
    scenario = short_scenario(paths="2x300Mbps", policies=["ecmp", "inflight"], seeds=[1, 2])
    forecast(trace, scenario, home / "f")
    wanted = Wanted(mtu=1300, oversize="drop", speed="2")
    rewrite_forecast(home / "f", home / "faster", policy="inflight", wanted=wanted)
    summary = rewrite_forecast(home / "f", home / "rewrite", policy="inflight")
    Document(plan_replay(home / "rewrite", INVENTORY, transit=True), home).write()
    folder = run_folder(home / "run", scenario, summary, home / "f", lambda frame: 0, Net(receiver_clock="far"))
    measure(folder, home / "m")
    validate(home / "f", [home / "m", home / "m"], home / "v")
    (home / "probed.toml").write_text(scenario.to_toml())
    probes(home / "probed.toml", home / "probes")
    return home


def absent(shape: Shape, before: str = "") -> Iterator[str]:
    """Fields that the document did not state, by their place."""
    for name in type(shape).model_fields:
        value = getattr(shape, name)
        if name not in shape.model_fields_set:
            yield before + name
        entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        for entry in entries:
            if isinstance(entry, Shape):
                yield from absent(entry, f"{before}{name}.")


@pytest.mark.parametrize(
    ("file", "shape", "indent", "left_out"),
    [
        ("t/trace.json", TraceDocument, 2, []),
        ("cut/trace.json", TraceDocument, 2, []),
        ("f/forecast.json", ForecastDocument, 1, []),
        ("rewrite/rewrite.json", RewriteSummary, 1, ["speed"]),
        ("faster/rewrite.json", RewriteSummary, 1, []),
        ("run.json", Run, 1, []),
        ("m/measurement.json", MeasurementDocument, 1, []),
        ("v/validation.json", ValidationDocument, 1, []),
        ("probes/probes.json", ProbesDocument, None, []),
    ],
)
def test_what_is_written_is_what_is_declared(
    made: Path, file: str, shape: type[Shape], indent: int | None, left_out: list[str]
) -> None:
    text = (made / file).read_text("utf-8")
    document = shape.model_validate(json.loads(text))
    assert list(absent(document)) == left_out
    assert json_text(document, indent) == text


def test_the_documents_above_have_something_in_every_list(made: Path) -> None:
    """An empty list would hide what its entries hold."""
    cut = json.loads((made / "cut" / "trace.json").read_text())
    assert cut["sources"][0]["damages"]
    assert cut["offload_split"]
    assert json.loads((made / "f" / "forecast.json").read_text())["comparisons"]
    assert json.loads((made / "faster" / "rewrite.json").read_text())["refusals"]
    assert json.loads((made / "run.json").read_text())["transit"]
    assert json.loads((made / "m" / "measurement.json").read_text())["clocks"]["fits"]
    validation = json.loads((made / "v" / "validation.json").read_text())
    assert validation["policies"][0]["base_delay_ns"]
    assert validation["ranking"]
