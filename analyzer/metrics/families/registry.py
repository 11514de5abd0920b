"""The families of metrics, in the order of their columns: one more is a file, and a name here."""

from __future__ import annotations

from typing import Final

from segcast.analyzer.metrics.families.busy_periods import BusyPeriodFamily
from segcast.analyzer.metrics.families.delays import DelayFamily
from segcast.analyzer.metrics.families.flowlets import FlowletFamily
from segcast.analyzer.metrics.families.path_load import PathLoadFamily
from segcast.analyzer.metrics.families.reordering import ReorderingFamily
from segcast.analyzer.metrics.families.slowdown import SlowdownFamily
from segcast.analyzer.metrics.families.tally import TallyFamily
from segcast.analyzer.metrics.families.utilisation import UtilisationFamily
from segcast.analyzer.metrics.family import Family

FAMILIES: Final[tuple[type[Family], ...]] = (
    TallyFamily,
    DelayFamily,
    BusyPeriodFamily,
    SlowdownFamily,
    ReorderingFamily,
    PathLoadFamily,
    UtilisationFamily,
    FlowletFamily,
)
