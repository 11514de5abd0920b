"""The registry of formats: a planned network as the configuration of its nodes, for one kind of router each.

A format is one file: what it is called, and functions that write a node, or the whole network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from segcast.analyzer.network.sid_table import SidEntry, SidTable
from segcast.analyzer.network.sids import Layout
from segcast.analyzer.registry import Registry
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.testbed.plan import DEFAULT_BURST_BYTES, Bed, Interface, Route, Space, plan_bed
from segcast.traces.disk.names import visible
from segcast.traces.errors import InputError

_ANY_RATE_BPS: Final = 10**13  # printing builds nothing


class BedPlan(NamedTuple):
    """A network as a testbed has it, its SIDs, how they are laid out, and the flavours of End and End.X."""

    bed: Bed
    sids: SidTable
    layout: Layout
    flavors: tuple[str, ...]

    def nodes(self, *, hosts: bool) -> dict[str, Space]:
        """The nodes by their labels; with `hosts`, those of attachments after them, as `host-ATTACHMENT`."""
        return {label_of(self.bed, space): space for space in self.bed.spaces if hosts or not space.host}

    def sids_of(self, space: Space) -> list[SidEntry]:
        """The SIDs of a node."""
        return [row for row in self.sids.sids if row.node == space.place and not space.host]

    def way_of(self, space: Space, row: SidEntry) -> tuple[str, str]:
        """The interface and the next hop of a SID that has them."""
        prefix, _ = self.layout.matched(row.sid)
        route = next(route for route in space.routes if route.sid is not None and route.prefix == prefix)
        assert route.sid is not None
        return route.ways[0][0], route.sid.next_hop or ""

    def plain_routes(self, space: Space) -> list[Route]:
        """The routes of a node that are no SIDs."""
        return [route for route in space.routes if route.sid is None]

    def behind(self, space: Space, interface: Interface) -> str:
        """In words, where an interface leads."""
        end = (space.namespace, interface.name)
        far = next(b if a == end else a for a, b in self.bed.wires if end in (a, b))
        other = next(label_of(self.bed, space) for space in self.bed.spaces if space.namespace == far[0])
        link = "" if interface.shaper is None else f"{interface.shaper.link} "
        return visible(f"{link}to {other}")


class Rendering(NamedTuple):
    """Lines of a configuration, and in words what of the plan the format has no words for."""

    lines: list[str]
    left_out: list[str]


@dataclass(frozen=True, slots=True)
class Format:
    """A way to write the configuration of nodes.

    `summary`: what takes it, for the help. `node` writes one node, as it is typed there. `whole` writes all, None if
    that is the nodes one after the other, each below a `heading` with its name. `hosts`: the hosts of attachments are
    configured, too.
    """

    name: str
    summary: str
    node: Callable[[BedPlan, Space], Rendering]
    heading: str = "# ---- {} ----"
    whole: Callable[[BedPlan], Rendering] | None = field(default=None)
    hosts: bool = False


_FORMATS: Final[Registry[Format]] = Registry("segcast.replay.testbed.formats", "format")


def register(added: Format) -> None:
    """Add a format."""
    _FORMATS.add(added.name, added)


def formats() -> dict[str, Format]:
    """All formats, in the order of their names."""
    return _FORMATS.all()


def label_of(bed: Bed, space: Space) -> str:
    """What a node is called in output: its name with the signs that a namespace can have."""
    return space.namespace.removeprefix(f"{bed.name}-")


def planned(scenario: ValidScenario, name: str, *, burst_bytes: int = DEFAULT_BURST_BYTES) -> BedPlan:
    """The plan of a scenario's network, with links of any rate. Raises InputError if namespaces could not show it."""
    bed = plan_bed(scenario, name, max_rate_bps=_ANY_RATE_BPS, burst_bytes=burst_bytes)
    return BedPlan(bed, scenario.whole_sid_table(), scenario.srv6.layout(), scenario.srv6.flavors)


def configuration(plan: BedPlan, name: str, node: str | None = None) -> Rendering:
    """The configuration of a node or, without one, of all. Raises InputError for a format or node that is not there."""
    chosen = _FORMATS.find(name)
    nodes = plan.nodes(hosts=chosen.hosts)
    if node is not None:
        found = nodes.get(node) or next(
            (space for space in nodes.values() if node == space.place and not space.host), None
        )
        if found is None:
            raise InputError(f"--node {node!r}: with --format {name} there are {_some(nodes)}")
        return chosen.node(plan, found)
    if chosen.whole is not None:
        return chosen.whole(plan)
    lines: list[str] = []
    left_out: list[str] = []
    for label, space in nodes.items():
        made = chosen.node(plan, space)
        lines += [chosen.heading.format(label), *made.lines, ""]
        left_out += made.left_out
    return Rendering(lines, left_out)


def as_document(plan: BedPlan, name: str, node: str | None = None) -> dict[str, Any]:
    """The same as JSON values: the whole as `text`, and what is left out."""
    made = configuration(plan, name, node)
    return {"format": name, "node": node, "text": "\n".join(made.lines), "left_out": made.left_out}


def not_said(space: Space, rows: Iterable[SidEntry], why: str) -> list[str]:
    """What to say of SIDs that a format has no words for."""
    behaviors = [row.behavior for row in rows]
    if not behaviors:
        return []
    kinds = ", ".join(f"{behaviors.count(kind)} {kind}" for kind in dict.fromkeys(behaviors))
    return [f"{visible(space.place)}: left out {kinds}: {why}"]


def _some(names: Iterable[str]) -> str:
    known = list(names)
    return ", ".join(known[:8]) + (f" and {len(known) - 8} more" if len(known) > 8 else "")
