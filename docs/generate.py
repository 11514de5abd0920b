"""Writes what of docs/ follows from the code, and the demo's output in the README. A test keeps them true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import click

from docs.headline_figure import headline_figure
from docs.live_figure import live_figure
from segcast.analyzer.advice.document import AdviceDocument
from segcast.analyzer.advice.run import CANDIDATES
from segcast.analyzer.compare.document import CompareDocument
from segcast.analyzer.compare.plan_document import PlanCompareDocument
from segcast.analyzer.detectors.registry import Detector, detectors
from segcast.analyzer.forecast.document import ForecastDocument
from segcast.analyzer.metrics.tables import FORECAST_TABLES, REACTING_TABLES, RESAMPLES
from segcast.analyzer.plan.document import PlanDocument
from segcast.analyzer.plan.failures.document import FailuresDocument
from segcast.analyzer.plan.failures.tables import FAILURES, LINKS_AT_WORST, STAGES
from segcast.analyzer.plan.run import PROBES
from segcast.analyzer.policies.registry import Policy, policies
from segcast.analyzer.scenario.choices import FIXED
from segcast.analyzer.scenario.model import Scenario
from segcast.analyzer.schema import FLOWLETS
from segcast.analyzer.sweep.document import SweepDocument
from segcast.analyzer.sweep.tables import SWEEP_TABLES, SWEPT
from segcast.analyzer.workload.synthesis.published import PUBLISHED
from segcast.analyzer.workload.table import WORKLOAD
from segcast.cli import cli
from segcast.library.documents import shape_of
from segcast.replay.calibrate.document import CalibrationDocument, ProbesDocument
from segcast.replay.live.document import LiveDocument
from segcast.replay.live.tables import LIVE_TABLES
from segcast.replay.measure.document import MeasurementDocument
from segcast.replay.measure.run_folder import Run
from segcast.replay.rewrite.summary import RewriteSummary
from segcast.replay.schema import COMPARISONS, CURVES, DEPARTURES, MEASURED
from segcast.replay.steer.flowlets import STEERED_FLOWLETS
from segcast.replay.validate.document import ValidationDocument
from segcast.replay.validate.live.document import LiveValidationDocument
from segcast.replay.validate.live.tables import LIVE_FIGURES
from segcast.traces.disk.documents import Shape
from segcast.traces.document import TraceDocument
from segcast.traces.schema import FLOWS, PACKETS, SEGMENT_LISTS, Table
from segcast.traces.units import write_duration, write_rate, write_size

_FOLDER, _WIDTH = Path(__file__).resolve().parent, 100
_DEMO_BEGINS, _DEMO_ENDS = "<!-- demo -->", "<!-- /demo -->"
_KEYS_BEGIN = "<!-- keys -->"


def _table_lines(table: Table, where: str) -> Iterator[str]:
    yield f"### {table.name}"
    yield f"{where}. A row is {table.row}.\n"
    yield "| column | type | null | meaning |"
    yield "|---|---|---|---|"
    for column in table.columns:
        yield f"| `{column.name}` | {column.type} | {'yes' if column.nullable else ''} | {column.meaning} |"
    yield ""


def _document_lines(document: type[Shape], where: str) -> Iterator[str]:
    yield f"### {where}"
    yield f"{(document.__doc__ or '').splitlines()[0]} JSON; `[]` stands for each entry of a list, `*` for each name.\n"
    yield "| field | type | unit | null | meaning |"
    yield "|---|---|---|---|---|"
    yield from _field_lines(document, "")
    yield ""


def _field_lines(shape: type[Shape], before: str) -> Iterator[str]:
    """A line for each field, those of an object after it."""
    for name, field in shape.model_fields.items():
        place = before + (field.alias or name)
        kind, null, steps, inner = _json_type(field.annotation)
        unit = next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "")
        yield f"| `{place}` | {kind} | {unit} | {'yes' if null else ''} | {field.description} |"
        if inner is not None:
            yield from _field_lines(inner, f"{place}{steps}.")


_UNITS: Final = {"_ns": "ns", "bytes": "bytes", "snaplens": "bytes", "_bps": "bit/s"}
_JSON_TYPES: Final = {int: "integer", float: "number", str: "text", bool: "true or false"}


def _json_type(annotation: Any) -> tuple[str, bool, str, type[Shape] | None]:
    """The type in words, whether it may be null, how to step into it, and the object there, if there is one."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _json_type(parts[0])
    if origin in (Union, UnionType):
        found = [_json_type(part) for part in parts if part is not NoneType]
        kinds = list(dict.fromkeys(kind for kind, _, _, _ in found))
        if {"integer", "number"} <= set(kinds):
            kinds.remove("integer")
        _, _, steps, inner = found[0]
        return " or ".join(kinds), NoneType in parts, steps, inner
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in parts), False, "", None
    if origin is list:
        kind, _, steps, inner = _json_type(parts[0])
        return f"list of {_plural(kind)}", False, f"[]{steps}", inner
    if origin is dict:
        kind, _, steps, inner = _json_type(parts[1])
        return f"{_plural(kind)} by name" if "," not in kind else "object", False, f".*{steps}", inner
    if isinstance(annotation, type) and issubclass(annotation, Shape):
        return "object", False, "", annotation
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(f"`{member.value}`" for member in annotation), False, "", None
    return _JSON_TYPES.get(annotation, "value"), False, "", None


def _plural(kind: str) -> str:
    if " or " in kind:
        return "values"
    return {"text": "texts", "list of texts": "lists of texts"}.get(kind, f"{kind}s")


PRINTED: Final = {
    "inspect": "segcast ingest --json and segcast inspect --json",
    "flowlets": "segcast flowlets --json",
    "policies": "segcast policies --json",
    "synth": "segcast synth --json",
    "workload": "segcast workload --json",
    "export": "segcast export --json",
    "replay-plan": "segcast replay --json, without --send",
    "replay-commands": "segcast replay --print-commands --json",
    "replay-clean": "segcast replay --clean --json",
    "calibrate-probes": "segcast calibrate probes --json",
    "testbed-status": "segcast testbed up --json and segcast testbed status --json",
    "testbed-plan": "segcast testbed plan --json",
    "testbed-down": "segcast testbed down --json",
    "live-plan": "segcast testbed live --json, without --send",
    "steer-check": "segcast steer check --json",
    "steer-plan": "segcast steer plan --json and segcast steer attach --json without --attach",
    "steer-attach": "segcast steer attach --attach --json",
    "steer-status": "segcast steer status --json",
    "steer-detach": "segcast steer detach --json",
}
DOCUMENTS: Final[dict[str, type[Shape]]] = {
    **{name: shape_of(name) for name in PRINTED},
    "trace.json": TraceDocument,
    "forecast.json": ForecastDocument,
    "rewrite.json": RewriteSummary,
    "run.json": Run,
    "measurement.json": MeasurementDocument,
    "live.json": LiveDocument,
    "validation.json": ValidationDocument,
    "live-validation.json": LiveValidationDocument,
    "probes.json": ProbesDocument,
    "plan.json": PlanDocument,
    "sweep.json": SweepDocument,
    "advice.json": AdviceDocument,
    "failures.json": FailuresDocument,
    "compare.json": CompareDocument,
    "compare-plans.json": PlanCompareDocument,
    "calibrate --json": CalibrationDocument,
}


_PRINTED_NOTE: Final = """
One document on stdout, and nothing else there. Each has `segcast`, the version of Segcast, and `schema_version`,
which rises when a key is taken away or changes its meaning; keys may be added without. `forecast`, `compare`,
`plan`, `advise`, `rewrite`, `measure`, `calibrate` and `validate` print the document of their folder, above, some
with `page` beside it: the page written. `segcast schema NAME` prints the JSON Schema of a document. Parquet files
carry the meaning of each column, as metadata `meaning` of its field, and what a row is, as metadata `row`.
"""


def tables_page() -> str:
    """docs/tables.md"""

    def document(name: str) -> Iterator[str]:
        return _document_lines(DOCUMENTS[name], name)

    lines = ["# Tables and documents", ""]
    lines += [
        "Generated from the tables in each `schema.py`, and from the models of the documents, by `make docs`.",
        "",
    ]
    lines += ["## A trace: a folder `NAME.trace`", ""]
    lines += _table_lines(PACKETS, "`packets/*.parquet`")
    lines += _table_lines(FLOWS, "`flows.parquet`")
    lines += _table_lines(SEGMENT_LISTS, "`segment_lists.parquet`")
    lines += document("trace.json")
    lines += ["## A forecast: a folder", ""]
    for table in FORECAST_TABLES:
        where = "`packets/CELL.parquet`" if table.name == "packets" else f"`{table.name}.parquet`"
        lines += _table_lines(table, where)
    for table in REACTING_TABLES:
        where = "`packets/CELL.parquet` of senders that react" if table.name == "packets" else f"`{table.name}.parquet`"
        lines += _table_lines(table, where)
    lines += _table_lines(RESAMPLES, "`resamples.parquet`, with `--resamples`")
    lines += document("forecast.json")
    lines += ["## A rewrite: a folder of captures", ""]
    lines += document("rewrite.json")
    lines += ["## A run: a folder of captures", ""]
    lines += document("run.json")
    lines += ["## A measurement: a folder", ""]
    lines += _table_lines(MEASURED, "`packets.parquet`")
    lines += document("measurement.json")
    lines += ["## A live run: a folder", ""]
    for table in LIVE_TABLES:
        lines += _table_lines(table, f"`{table.name}.parquet`")
    lines += document("live.json")
    lines += ["## A validation: a folder", ""]
    for table in (DEPARTURES, COMPARISONS, CURVES):
        lines += _table_lines(table, f"`{table.name}.parquet`")
    lines += document("validation.json")
    lines += ["## A validation against live runs: a folder", ""]
    lines += _table_lines(LIVE_FIGURES, f"`{LIVE_FIGURES.name}.parquet`")
    lines += document("live-validation.json")
    lines += ["## A calibration: probes, and what they show", ""]
    lines += document("probes.json")
    lines += document("calibrate --json")
    lines += ["## A plan: a folder", ""]
    lines += ["### probes", f"`probes.parquet`. A row is {PROBES.row}: `value`, float64, then its columns.", ""]
    lines += document("plan.json")
    lines += ["## A sweep: a folder", ""]
    for table in SWEEP_TABLES:
        if table is SWEPT:
            lines += [
                f"### {table.name}",
                f"`{table.name}.parquet`. A row is {table.row}: `variant`, string, then the ",
            ]
            lines[-1] += "columns of a forecast's `summary`.\n"
        else:
            lines += _table_lines(table, f"`{table.name}.parquet`")
    lines += document("sweep.json")
    lines += ["## Advice: a folder", ""]
    lines += [
        "### candidates",
        f"`candidates.parquet`. A row is {CANDIDATES.row}: `role`, string, then its columns.",
        "",
    ]
    lines += document("advice.json")
    lines += ["## A failure study: a folder", ""]
    for table in (FAILURES, STAGES, LINKS_AT_WORST):
        lines += _table_lines(table, f"`{table.name}.parquet`")
    lines += document("failures.json")
    lines += ["## A comparison: a folder", ""]
    lines += document("compare.json")
    lines += document("compare-plans.json")
    lines += ["## What commands print with `--json`", _PRINTED_NOTE, ""]
    for name, where in PRINTED.items():
        lines += _document_lines(DOCUMENTS[name], where)
    lines += ["## Flowlets: a file", ""]
    lines += _table_lines(FLOWLETS, "What `segcast flowlets --out` names")
    lines += _table_lines(STEERED_FLOWLETS, "What `segcast steer attach --log` names ([steer.md](steer.md))")
    lines += ["## A workload: a file", ""]
    lines += _table_lines(WORKLOAD, "A flow list, CSV or Parquet ([workloads.md](workloads.md))")
    return "\n".join(lines)


def _commands(title: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield title, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from _commands(f"{title} {name}", command.commands[name])


_SHELLS: Final = r"""
## In a shell
Tab completes commands, flags, choices and files once the shell has been told, in its start-up file:

| shell | file | line |
|---|---|---|
| bash | `~/.bashrc` | `eval "$(_SEGCAST_COMPLETE=bash_source segcast)"` |
| zsh | `~/.zshrc` | `eval "$(_SEGCAST_COMPLETE=zsh_source segcast)"` |
| fish | `~/.config/fish/completions/segcast.fish` | `_SEGCAST_COMPLETE=fish_source segcast \| source` |

Results go to stdout, all else to stderr: in a terminal a bar, elsewhere a line every 10 s or so while something
takes long. `--quiet` leaves progress and notes away, `--verbose` has a line every second. The exit status is 0 if
all is done, 1 if a check did not hold (budgets, a validation), 2 if the input or the usage is wrong, with one line
that says what, and 130 if interrupted.

In help, DURATION is such as 100us, SIZE such as 512KiB or 10kB, RATE such as 25Gbps; what is in brackets at the end
of a line is the default. `NUMBA_CACHE_DIR` names another place for compiled kernels, in a folder `segcast` of its
own there; else they are in the user's cache (`XDG_CACHE_HOME`).
"""


def commands_page() -> str:
    """docs/commands.md"""
    parts = ["# Commands\n\nGenerated from `segcast/commands/` by `make docs`.\n", _SHELLS]
    for title, command in _commands("segcast", cli):
        # A context of its own, so that the page does not depend on the terminal's width.
        context = click.Context(
            command, info_name=title, terminal_width=_WIDTH, **cli.context_settings | {"max_content_width": _WIDTH}
        )
        parts.append(f"## {title}\n\n```\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


_SIZES_BEGIN: Final = "<!-- sizes -->"
_SIZES_END: Final = "<!-- /sizes -->"


def workloads_page() -> str:
    """docs/workloads.md: by hand, but for the table of published sizes."""
    head, _, rest = (_FOLDER / "workloads.md").read_text(encoding="utf-8").partition(_SIZES_BEGIN)
    _, _, tail = rest.partition(_SIZES_END)
    lines = ["| kind | sizes |", "|---|---|", "| `fixed` | `--bytes` |"]
    lines += [f"| `{name}` | {found.source} |" for name, found in PUBLISHED.items()]
    return "\n".join([head + _SIZES_BEGIN, *lines, _SIZES_END + tail])


_WRITERS = {"100us": write_duration, "512KiB": write_size, "25Gbps": write_rate}


def _scenario_schema() -> dict[str, Any]:
    """The schema of scenarios, its defaults in the units that a file writes."""

    def written(part: Any) -> Any:
        if isinstance(part, list):
            return [written(item) for item in part]
        if not isinstance(part, dict):
            return part
        found = {key: written(value) for key, value in part.items() if key not in ("minimum", "maximum")}
        if part.get("type") in ("integer", "number"):
            found = part
        example = (part.get("examples") or [None])[0]
        if example in _WRITERS and isinstance(part.get("default"), int):
            found["default"] = _WRITERS[example](part["default"])
        if isinstance(part.get("default"), dict | list) and part["default"] and part.get("title") != "Seeds":
            found.pop("default")
        return found

    schema = written(Scenario.model_json_schema())
    assert isinstance(schema, dict)
    return schema


def _name_parameters(items: dict[str, Any], known: Mapping[str, Policy | Detector]) -> None:
    """A table for each policy or timeout with its parameters; other names, which a user registers, may have any."""
    *others, table = items["anyOf"]
    tables = []
    for name, entry in known.items():
        if name == FIXED:
            continue
        parameters = entry.parameters.model_json_schema().get("properties", {})
        properties = {**table["properties"], "name": {"const": name}, **parameters}
        tables.append({**table, "properties": properties, "description": entry.summary, "additionalProperties": False})
    strangers = {"type": "string", "not": {"enum": list(known)}}
    tables.append({**table, "properties": {**table["properties"], "name": strangers}})
    items["anyOf"] = [*others, *tables]


def schema_page() -> str:
    """docs/scenario.schema.json"""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_scenario_schema()}
    schema["title"] = "A Segcast scenario"
    for key, known in (("policies", policies()), ("timeouts", detectors())):
        _name_parameters(schema["properties"][key]["items"], known)
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def scenario_page() -> str:
    """docs/scenario.md: its head by hand, the keys from the models."""
    text = (_FOLDER / "scenario.md").read_text(encoding="utf-8")
    head, _, _ = text.partition(_KEYS_BEGIN)
    schema = _scenario_schema()
    tables = schema["$defs"]
    lines = [head + _KEYS_BEGIN, "", "## Keys", "", "Generated from the models by `make docs`.", ""]
    lines += _key_lines("At the top", schema)
    names = {"FlapSpec": "events[].flap", "EventSpec": "events[]", "AttachmentSpec": "attachments[]"}
    names |= {
        "SteeringSpec": "steering",
        "Srv6Spec": "srv6",
        "NodeSidsSpec": "srv6.sids.NODE",
        "HmacSpec": "srv6.hmac",
        "LinkShape": "links, core_links, host_links, link",
    }
    names |= {"Override": "network.overrides[]", "PathSpec": "network.paths[]", "LinkSpec": "network.paths[].links[]"}
    names |= {"SideSpec": "network.left, network.right", "GraphLinkSpec": "network.links[] of a graph"}
    networks = [name for name in tables if "kind" in tables[name].get("properties", {})]
    for name in sorted(networks):
        lines += _key_lines(f"network: {tables[name]['properties']['kind']['const']}", tables[name])
    for name, title in names.items():
        lines += _key_lines(title, tables[name])
    return "\n".join(lines)


def _key_lines(title: str, table: dict[str, Any]) -> Iterator[str]:
    yield f"### {title}\n"
    yield f"{table['description'].splitlines()[0]}\n"
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for key, value in table["properties"].items():
        kind = _type_of(value).replace("|", "\\|")
        default = "required" if key in table.get("required", ()) else _default_of(value.get("default"))
        yield f"| `{key}` | {kind} | {default} | {value.get('description', '')} |"
    yield ""


def _type_of(value: dict[str, Any]) -> str:
    if "enum" in value:
        return ", ".join(f'`"{option}"`' for option in value["enum"])
    if "const" in value:
        return f'`"{value["const"]}"`'
    if "$ref" in value:
        return "table"
    if "oneOf" in value:
        return "table"
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_type_of(part) for part in value["anyOf"] if part.get("type") != "null"))
    if value.get("type") == "array":
        item = value.get("items") or value.get("prefixItems", [{}])[0]
        return f"list of {_type_of(item)}"
    if value.get("type") == "object":
        return "table"
    if value.get("examples"):
        return f'such as `"{value["examples"][0]}"`'
    return str(value.get("type", "table"))


def _default_of(value: Any) -> str:
    if value is None or value in ([], {}):
        return ""
    text = json.dumps(value)
    return f"`{text}`"


def demo_output() -> str:
    """What `make demo` prints, as a block for the README."""
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(
            [sys.executable, "-m", "segcast", "demo", "--out", "out/demo"],
            cwd=folder,
            env=os.environ | {"COLUMNS": str(_WIDTH), "PYTHONPATH": str(_FOLDER.parent)},
            capture_output=True,
            text=True,
            check=True,
        )
    return f"```\n{ran.stdout.strip()}\n```"


def readme(text: str, demo: str) -> str:
    """README.md with that demo output in its place."""
    head, _, rest = text.partition(_DEMO_BEGINS)
    _, _, tail = rest.partition(_DEMO_ENDS)
    return f"{head}{_DEMO_BEGINS}\n{demo}\n{_DEMO_ENDS}{tail}"


PAGES = {
    "tables.md": tables_page,
    "commands.md": commands_page,
    "scenario.md": scenario_page,
    "workloads.md": workloads_page,
    "images/headline.svg": headline_figure,
    "images/live.svg": live_figure,
    "scenario.schema.json": schema_page,
    "../segcast/analyzer/scenario/scenario.schema.json": schema_page,  # where an installation has it
}


if __name__ == "__main__":
    for name, page in PAGES.items():
        (_FOLDER / name).write_text(page(), encoding="utf-8")
    _README = _FOLDER.parent / "README.md"
    _README.write_text(readme(_README.read_text(encoding="utf-8"), demo_output()), encoding="utf-8")
