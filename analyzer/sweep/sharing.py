"""Traffic that is prepared once for variants that put it at the same places, whatever their links and steering are."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from segcast.analyzer.forecast.asked import Asked
from segcast.analyzer.forecast.asked_of_trace import asked_of_trace
from segcast.analyzer.forecast.reacting import ReactingRunner
from segcast.analyzer.forecast.run import larger_than_memory, prepared
from segcast.analyzer.forecast.runner import CellRunner, HeldRunner
from segcast.analyzer.keys import digest_of
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.prepare import TRAFFIC_COLUMNS, Traffic, prepare
from segcast.analyzer.workload.source import WorkloadFile
from segcast.traces.trace import Trace

Source = Trace | WorkloadFile


def places_key(scenario: ValidScenario) -> str | None:
    """A digest of all that traffic depends on, but for its network; None where that cannot be told apart.

    These are what is sent (the choice of traffic, growth), which host sends it, and where each host is attached.
    Events, recorded acknowledgements and frames that links may not carry (`mtu`) are looked up in the traffic itself.
    """
    if scenario.events or scenario.records or scenario.network.mtu is not None or scenario.traffic.resample:
        return None
    fabric = scenario.fabric()
    growth = [scenario.growth_spec.model_dump(mode="json"), *(str(one.flows) for one in scenario.offered)]
    return digest_of(
        scenario.traffic.model_dump(mode="json"),
        scenario.steering.hosts,
        scenario.transport is not None,
        growth if scenario.grows else None,
        [[one.name, one.node, one.prefixes] for one in fabric.attachments],
        [scenario.unassigned, fabric.deals, fabric.by_conversation, fabric.always],
        None if fabric.hosts is None else len(fabric.links),
    )


class SharedTraffic:
    """Makes the runners of variants over one source; keeps the traffic that was prepared last."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._key: str | None = None
        self._kept: Traffic | Asked | None = None
        self.prepared = 0
        """How often traffic was prepared."""

    def runner(self, scenario: ValidScenario, together: int, folder: Path) -> CellRunner:
        """What runs cells of a scenario, so many at a time. Raises InputError."""
        source = self._source
        key = None if isinstance(source, WorkloadFile) else places_key(scenario)
        reacts = scenario.transport is not None
        if isinstance(source, WorkloadFile) or key is None:
            return self._alone(scenario, together, folder)
        if not reacts and larger_than_memory(source, scenario, together):
            return self._alone(scenario, together, folder)
        if key == self._key and self._kept is not None:
            kept = _on_network(self._kept, scenario)
        else:
            self.prepared += 1
            self._key, self._kept = None, None  # one at a time: a trace's packets are large
            kept = asked_of_trace(source, scenario) if reacts else _traffic(source, scenario)
            self._key, self._kept = key, kept
        made: Any = partial(ReactingRunner, kept) if isinstance(kept, Asked) else partial(HeldRunner, kept)
        runner: CellRunner = made(scenario, folder)
        return runner

    def _alone(self, scenario: ValidScenario, together: int, folder: Path) -> CellRunner:
        self.prepared += 1
        return prepared(self._source, scenario, None, together)(scenario, folder)


def _traffic(trace: Trace, scenario: ValidScenario) -> Traffic:
    return prepare(trace.packet_table(TRAFFIC_COLUMNS), trace.flow_table(), scenario)


def _on_network(kept: Traffic | Asked, scenario: ValidScenario) -> Traffic | Asked:
    """The same on the network of another scenario of the same places."""
    traffic = kept.traffic if isinstance(kept, Asked) else kept
    assembled = scenario.assembled(traffic.pairs, traffic.host_ends)
    first_ns = kept.extent.first_ns
    network = scenario.changed(assembled, first_ns)
    traffic = replace(traffic, network=network, edges=assembled.edges, groups=assembled.groups)
    return replace(kept, traffic=traffic) if isinstance(kept, Asked) else traffic
