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
    from segcast.library.asking import advise, forecast, open, plan, scenario, synth  # noqa: A004
    from segcast.library.compared import Comparison, compare
    from segcast.library.forecasts import Forecast
    from segcast.library.networks import Network, leaf_spine, paths
    from segcast.library.plans import Plan
    from segcast.traces.errors import DamagedCapture, InputError, SegcastError
    from segcast.traces.ingest.opening import open_trace
    from segcast.traces.ingest.run import ingest
    from segcast.traces.trace import Trace

__version__: Final = VERSION

__all__ = [
    "Comparison",
    "DamagedCapture",
    "Forecast",
    "InputError",
    "Network",
    "Plan",
    "Scenario",
    "SegcastError",
    "Trace",
    "ValidScenario",
    "WorkloadFile",
    "__version__",
    "advise",
    "compare",
    "forecast",
    "ingest",
    "leaf_spine",
    "load_plugin",
    "open",
    "open_trace",
    "paths",
    "plan",
    "read_scenario",
    "register",
    "scenario",
    "short_scenario",
    "synth",
]

_MODULES: Final = {
    "Comparison": "library.compared",
    "DamagedCapture": "traces.errors",
    "Forecast": "library.forecasts",
    "InputError": "traces.errors",
    "Network": "library.networks",
    "Plan": "library.plans",
    "Scenario": "analyzer.scenario.model",
    "SegcastError": "traces.errors",
    "Trace": "traces.trace",
    "ValidScenario": "analyzer.scenario.valid",
    "WorkloadFile": "analyzer.workload.source",
    "advise": "library.asking",
    "compare": "library.compared",
    "forecast": "library.asking",
    "ingest": "traces.ingest.run",
    "leaf_spine": "library.networks",
    "load_plugin": "analyzer.plugins",
    "open": "library.asking",
    "open_trace": "traces.ingest.opening",
    "paths": "library.networks",
    "plan": "library.asking",
    "read_scenario": "analyzer.scenario.reading",
    "register": "analyzer.policies.registry",
    "scenario": "library.asking",
    "short_scenario": "analyzer.scenario.short",
    "synth": "library.asking",
}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if sys.platform != "linux":
        raise ImportError("segcast runs on Linux only")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
