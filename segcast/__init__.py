"""Segcast: forecast what captured traffic would experience under host-driven flowlets over SRv6, and prove it.

What `__all__` names is for use from Python, see docs/python.md; it is imported when first asked for.
"""

from __future__ import annotations

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
    from segcast.analyzer.forecast.run import forecast
    from segcast.analyzer.scenario.model import Scenario
    from segcast.analyzer.scenario.reading import read_scenario
    from segcast.analyzer.scenario.short import short_scenario
    from segcast.analyzer.scenario.valid import ValidScenario
    from segcast.reports.forecast.data import Forecast
    from segcast.traces.errors import DamagedCapture, InputError, SegcastError
    from segcast.traces.ingest.opening import open_trace
    from segcast.traces.ingest.run import ingest
    from segcast.traces.trace import Trace

__version__: Final = VERSION

__all__ = [
    "DamagedCapture",
    "Forecast",
    "InputError",
    "Scenario",
    "SegcastError",
    "Trace",
    "ValidScenario",
    "__version__",
    "forecast",
    "ingest",
    "open_trace",
    "read_scenario",
    "short_scenario",
]

_MODULES: Final = {
    "DamagedCapture": "traces.errors",
    "Forecast": "reports.forecast.data",
    "InputError": "traces.errors",
    "Scenario": "analyzer.scenario.model",
    "SegcastError": "traces.errors",
    "Trace": "traces.trace",
    "ValidScenario": "analyzer.scenario.valid",
    "forecast": "analyzer.forecast.run",
    "ingest": "traces.ingest.run",
    "open_trace": "traces.ingest.opening",
    "read_scenario": "analyzer.scenario.reading",
    "short_scenario": "analyzer.scenario.short",
}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
