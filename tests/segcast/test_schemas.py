"""Documents that commands print: each has its versions, fits its schema, and says no key that the schema does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from segcast.library.documents import NAMES, schema_of, shape_of
from segcast.traces.schema import FLOWS, PACKETS
from segcast.traces.trace import Trace
from segcast.traces.version import VERSION
from tests.conftest import Run


def keys(value: Any, before: str = "") -> set[str]:
    if isinstance(value, dict):
        return {f"{before}.{key}" for key in value} | {
            k for key, v in value.items() for k in keys(v, f"{before}.{key}")
        }
    if isinstance(value, list):
        return {key for each in value for key in keys(each, f"{before}[]")}
    return set()


@pytest.mark.parametrize(
    ("name", "words"), [("inspect", ["inspect"]), ("flowlets", ["flowlets"]), ("policies", ["policies"])]
)
def test_what_is_printed_is_what_is_declared(name: str, words: list[str], cluster: Trace, run: Run) -> None:
    trace = [] if name == "policies" else [str(cluster.folder)]
    done = run(*words, *trace, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["segcast"], found["schema_version"]) == (VERSION, 1)
    assert list(found)[:2] == ["segcast", "schema_version"]
    declared = shape_of(name).model_validate(found)
    assert declared.stated() == found
    assert keys(found) == keys(declared.stated())


@pytest.mark.parametrize("name", NAMES)
def test_every_name_has_a_schema_with_meanings(name: str, run: Run) -> None:
    done = run("schema", name)
    assert done.code == 0, done.err
    schema = json.loads(done.out)
    assert schema == schema_of(name)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert all("description" in field or "$ref" in field for field in schema["properties"].values())


def test_a_name_that_there_is_not_lists_those_there_are(run: Run) -> None:
    done = run("schema", "forcast.json")
    assert done.code == 2
    assert "'forcast.json' is no document; there are scenario, trace.json, " in done.err
    assert done.err.endswith("; did you mean 'forecast.json'?\n")


def test_without_a_name_it_is_that_of_scenarios(run: Run) -> None:
    docs = Path(__file__).parents[2] / "docs" / "scenario.schema.json"
    assert json.loads(run("schema").out) == json.loads(docs.read_text("utf-8"))


def test_files_say_what_their_columns_mean(cluster: Trace) -> None:
    for table, file in ((FLOWS, "flows.parquet"), (PACKETS, "packets/part-0.parquet")):
        found = cluster.folder / file
        found = found if found.is_file() else next(iter(sorted((cluster.folder / "packets").glob("*.parquet"))))
        schema = pq.read_schema(found)
        assert schema.metadata[b"row"].decode() == table.row
        for column in table.columns:
            assert schema.field(column.name).metadata[b"meaning"].decode() == column.meaning
