"""Segcast: forecast what captured traffic would experience under host-driven flowlets over SRv6, and prove it.

What `__all__` names is for use from Python, see docs/python.md; it is imported when first asked for.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

try:
    from segcast.traces.version import VERSION
except ModuleNotFoundError:
    raise ImportError(
        "segcast/traces, analyzer, replay and reports must be links to the folders beside segcast/; "
        "this copy of the sources has lost them: make it with git clone, where links can be made"
    ) from None

if TYPE_CHECKING:
    from segcast.analyzer.plugins import load_plugin
    from segcast.analyzer.policies.registry import register
    from segcast.analyzer.scenario.model import Scenario
    from segcast.analyzer.scenario.reading import read_scenario
    from segcast.analyzer.scenario.short import short_scenario
    from segcast.analyzer.scenario.valid import ValidScenario
    from segcast.analyzer.workload.source import WorkloadFile
    from segcast.library import lab, steer, testbed
    from segcast.library.asking import advise, failures, forecast, plan, report, sweep
    from segcast.library.compared import Comparison, PlanComparison, compare
    from segcast.library.explaining import policies, schema
    from segcast.library.failures import Failures
    from segcast.library.forecasts import Forecast
    from segcast.library.networks import Network, leaf_spine, paths
    from segcast.library.plans import Plan
    from segcast.library.scenarios import scenario, scenario_from_flags
    from segcast.library.sources import cross_check, flowlets, ingest, inspect, open, sample  # noqa: A004
    from segcast.library.sweeps import Sweep
    from segcast.library.workloads import synth, workload
    from segcast.traces.errors import CheckFailed, DamagedCapture, InputError, SegcastError
    from segcast.traces.ingest.opening import open_trace
    from segcast.traces.quality.cross_check import CrossCheck
    from segcast.traces.trace import Trace

__version__: Final = VERSION

__all__ = [
    "CheckFailed",
    "Comparison",
    "CrossCheck",
    "DamagedCapture",
    "Failures",
    "Forecast",
    "InputError",
    "Network",
    "Plan",
    "PlanComparison",
    "Scenario",
    "SegcastError",
    "Sweep",
    "Trace",
    "ValidScenario",
    "WorkloadFile",
    "__version__",
    "advise",
    "compare",
    "cross_check",
    "failures",
    "flowlets",
    "forecast",
    "ingest",
    "inspect",
    "lab",
    "leaf_spine",
    "load_plugin",
    "open",
    "open_trace",
    "paths",
    "plan",
    "policies",
    "read_scenario",
    "register",
    "report",
    "sample",
    "scenario",
    "scenario_from_flags",
    "schema",
    "short_scenario",
    "steer",
    "sweep",
    "synth",
    "testbed",
    "workload",
]

_MODULES: Final = {
    "CheckFailed": "traces.errors",
    "Comparison": "library.compared",
    "CrossCheck": "traces.quality.cross_check",
    "DamagedCapture": "traces.errors",
    "Failures": "library.failures",
    "Forecast": "library.forecasts",
    "InputError": "traces.errors",
    "Network": "library.networks",
    "Plan": "library.plans",
    "PlanComparison": "library.compared",
    "Scenario": "analyzer.scenario.model",
    "SegcastError": "traces.errors",
    "Sweep": "library.sweeps",
    "Trace": "traces.trace",
    "ValidScenario": "analyzer.scenario.valid",
    "WorkloadFile": "analyzer.workload.source",
    "advise": "library.asking",
    "compare": "library.compared",
    "cross_check": "library.sources",
    "failures": "library.asking",
    "flowlets": "library.sources",
    "forecast": "library.asking",
    "ingest": "library.sources",
    "inspect": "library.sources",
    "lab": "library",
    "leaf_spine": "library.networks",
    "load_plugin": "analyzer.plugins",
    "open": "library.sources",
    "open_trace": "traces.ingest.opening",
    "paths": "library.networks",
    "plan": "library.asking",
    "policies": "library.explaining",
    "read_scenario": "analyzer.scenario.reading",
    "register": "analyzer.policies.registry",
    "report": "library.asking",
    "sample": "library.sources",
    "scenario": "library.scenarios",
    "scenario_from_flags": "library.scenarios",
    "schema": "library.explaining",
    "short_scenario": "analyzer.scenario.short",
    "steer": "library",
    "sweep": "library.asking",
    "synth": "library.workloads",
    "testbed": "library",
    "workload": "library.workloads",
}
_NAMESPACES: Final = "library"  # what comes from there are modules of it


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if sys.platform != "linux":
        raise ImportError("segcast runs on Linux only")
    module = _MODULES[name]
    if module == _NAMESPACES:
        value: Any = import_module(f"{__name__}.{module}.{name}")
    else:
        value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
