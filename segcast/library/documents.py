"""The documents that Segcast writes and prints, by name, each with the shape that declares it."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.resources import files
from typing import Any, Final

from segcast.traces.disk.documents import Shape
from segcast.traces.errors import InputError
from segcast.traces.refusals import meant

SCENARIO: Final = "scenario"
_SHAPES: Final = {
    "trace.json": "traces.document:TraceDocument",
    "inspect": "traces.quality.document:InspectDocument",
    "flowlets": "analyzer.flowlets.document:FlowletsDocument",
    "policies": "analyzer.policies.document:PoliciesDocument",
    "forecast.json": "analyzer.forecast.document:ForecastDocument",
    "compare.json": "analyzer.compare.document:CompareDocument",
    "compare-plans.json": "analyzer.compare.plan_document:PlanCompareDocument",
    "plan.json": "analyzer.plan.document:PlanDocument",
    "failures.json": "analyzer.plan.failures.document:FailuresDocument",
    "sweep.json": "analyzer.sweep.document:SweepDocument",
    "advice.json": "analyzer.advice.document:AdviceDocument",
    "rewrite.json": "replay.rewrite.summary:RewriteSummary",
    "run.json": "replay.measure.run_folder:Run",
    "measurement.json": "replay.measure.document:MeasurementDocument",
    "validation.json": "replay.validate.document:ValidationDocument",
    "live.json": "replay.live.document:LiveDocument",
    "live-validation.json": "replay.validate.live.document:LiveValidationDocument",
    "probes.json": "replay.calibrate.document:ProbesDocument",
    "calibrate": "replay.calibrate.document:CalibrationDocument",
    "synth": "analyzer.workload.document:SynthDocument",
    "workload": "analyzer.workload.document:WorkloadDocument",
    "export": "replay.export.document:ExportDocument",
    "replay-plan": "replay.inject.printed:ReplayPlanDocument",
    "replay-commands": "replay.inject.printed:ReplayCommandsDocument",
    "replay-clean": "replay.inject.printed:ReplayCleanDocument",
    "calibrate-probes": "replay.calibrate.document:WrittenProbesDocument",
    "testbed-status": "replay.testbed.document:TestbedStatusDocument",
    "testbed-plan": "replay.testbed.document:TestbedPlanDocument",
    "testbed-down": "replay.testbed.document:TestbedDownDocument",
    "live-plan": "replay.testbed.document:LivePlanDocument",
    "steer-check": "replay.steer.document:SteerCheckDocument",
    "steer-plan": "replay.steer.document:SteerPlanDocument",
    "steer-attach": "replay.steer.document:SteerAttachDocument",
    "steer-status": "replay.steer.document:SteerStatusDocument",
    "steer-detach": "replay.steer.document:SteerDetachDocument",
}
NAMES: Final = (SCENARIO, *_SHAPES)


PRINTED_BY: Final = {
    "ingest": ("inspect",),
    "inspect": ("inspect",),
    "flowlets": ("flowlets",),
    "forecast": ("forecast.json",),
    "sweep": ("sweep.json",),
    "compare": ("compare.json",),
    "plan": ("plan.json", "failures.json"),
    "advise": ("advice.json",),
    "policies": ("policies",),
    "synth": ("synth",),
    "workload": ("workload",),
    "export": ("export",),
    "rewrite": ("rewrite.json",),
    "replay": ("replay-plan", "replay-commands", "replay-clean", "run.json"),
    "measure": ("measurement.json",),
    "calibrate": ("calibrate-probes", "calibrate"),
    "validate": ("validation.json", "live-validation.json"),
    "testbed up": ("testbed-status",),
    "testbed plan": ("testbed-plan",),
    "testbed status": ("testbed-status",),
    "testbed down": ("testbed-down",),
    "testbed run": ("run.json",),
    "testbed live": ("live-plan", "live.json"),
    "steer check": ("steer-check",),
    "steer plan": ("steer-plan",),
    "steer attach": ("steer-plan", "steer-attach"),
    "steer status": ("steer-status",),
    "steer detach": ("steer-detach",),
}
"""The documents that each command with `--json` prints, some with `page` or `run` beside it: what was written."""


_SAID: Final = {
    "segcast": {"type": "string", "description": "version of Segcast"},
    "schema_version": {"type": "integer", "minimum": 0, "description": "version of this document"},
}
"""What each document says that a command prints, also where the file of the same name does not."""


def shape_of(name: str) -> type[Shape]:
    """The shape of a document. Raises InputError naming those there are."""
    if name not in _SHAPES:
        raise InputError(f"{name[:60]!r} is no document; there are {', '.join(NAMES)}{meant(name, NAMES)}")
    module, _, shape = _SHAPES[name].partition(":")
    found: type[Shape] = getattr(import_module(f"segcast.{module}"), shape)
    return found


def schema_of(name: str) -> dict[str, Any]:
    """The JSON Schema of scenario files, or of a document. Raises InputError naming those there are."""
    if name == SCENARIO:
        text = (files("segcast.analyzer.scenario") / "scenario.schema.json").read_text(encoding="utf-8")
        found: dict[str, Any] = json.loads(text)
        return found
    schema = shape_of(name).model_json_schema(by_alias=True)
    schema["properties"] = {**_SAID, **schema["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
