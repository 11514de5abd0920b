"""Every SID of a network, and the segment list of every path: what whoever configures the nodes has to type.

Names of behaviours: RFC 8986 section 10.2; where SIDs are compressed, those that RFC 9800 calls NEXT-C-SID, under their
common names uN, uA and uDT.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydantic import Field

from segcast.analyzer.network.fabric import Assembled, Assembly, Attachment, Fabric, Segments
from segcast.traces.disk.documents import Count, Shape
from segcast.traces.disk.names import visible

SIDS_BEGIN: Final = "# SIDs of this network."

_MOST_LINES: Final = 200
_COMPRESSED: Final = {"End": "uN", "End.X": "uA"}


class LocatorEntry(Shape):
    """The prefix under which a node's SIDs are reached."""

    node: str = Field(description="the node")
    prefix: str = Field(description="its locator")


class SidEntry(Shape):
    """A SID that a node has."""

    node: str = Field(description="the node that has to know it")
    behavior: str = Field(description="what it does there, such as `End`, `End.X`, `End.DT6`, or `uN`, `uA`, `uDT6`")
    sid: str = Field(description="the SID")
    link: str | None = Field(None, description="of an End.X: the link that it sends over, as that direction is named")
    neighbor: str | None = Field(None, description="of an End.X: the node behind that link")
    attachment: str | None = Field(None, description="of one that unpacks: the attachment whose hosts are sent to")


class SegmentListEntry(Shape):
    """The segment list of a path, in the order of travel."""

    path_id: Count = Field(description="number of the path, as tables have it")
    a: str = Field(alias="from", description="attachment where its packets enter")
    b: str = Field(alias="to", description="attachment where they leave")
    segments: list[str] = Field([], description="the SIDs on the way, without the one that unpacks")
    ipv4: list[str] = Field([], description="the addresses in the headers of IPv4 packets: SIDs, or carriers of uSIDs")
    ipv6: list[str] = Field([], description="the same of IPv6 packets")


class SidTable(Shape):
    """Every SID of the network, and the segment list of every path."""

    block: str = Field("", description="`srv6.block`")
    mode: str = Field("", description="`srv6.mode`")
    locators: list[LocatorEntry] = Field([], description="locators of the nodes; none where paths name their SIDs")
    sids: list[SidEntry] = Field([], description="the SIDs, node by node")
    lists: list[SegmentListEntry] = Field([], description="the segment lists, in order of `path_id`")
    pairs_left_out: Count = Field(0, description="pairs of attachments whose lists are left out, as they are too many")

    def sid_lines(self) -> list[str]:
        """The SIDs and locators as aligned text: node, behaviour, SID, and what it is for."""
        rows = [(entry.node, entry.behavior, entry.sid, _purpose(entry)) for entry in self.sids]
        rows += [(entry.node, "locator", entry.prefix, "") for entry in self.locators]
        plain = [[visible(part) for part in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
        return ["  ".join(f"{part:{width}}" for part, width in zip(row, widths, strict=True)).rstrip() for row in plain]

    def list_lines(self) -> list[str]:
        """The segment lists as text, in the headers of IPv4 | IPv6 packets."""
        return [_list_line(entry) for entry in self.lists]

    def as_comment(self, elsewhere: str) -> str:
        """The table as comments for the end of a scenario; of many rows the first, and where the others are."""
        lines = [
            "Nothing below is read back: it is for whoever configures the nodes.",
            *_first(self.sid_lines(), elsewhere),
            "Segment lists in the order of travel, as they stand in the headers of IPv4 | IPv6 packets:",
            *_first(self.list_lines(), elsewhere),
        ]
        return f"{SIDS_BEGIN}\n" + "".join(f"# {line}\n" for line in lines)


def _purpose(entry: SidEntry) -> str:
    if entry.link is not None:
        return f"over {entry.link} to {entry.neighbor}"
    return "" if entry.attachment is None else f"hosts at {entry.attachment}"


def _list_line(entry: SegmentListEntry) -> str:
    four, six = " ".join(entry.ipv4), " ".join(entry.ipv6)
    return visible(f"path {entry.path_id}, {entry.a} to {entry.b}: {four}" + (f" | {six}" if six != four else ""))


def _first(lines: list[str], elsewhere: str) -> list[str]:
    more = len(lines) - _MOST_LINES
    return [f"  {line}" for line in lines[:_MOST_LINES]] + (
        [f"  and {more:,} more, in {elsewhere}"] if more > 0 else []
    )


def sid_table(fabric: Fabric, assembly: Assembly, assembled: Assembled, pairs_left_out: int = 0) -> SidTable:
    """The table of a fabric; its segment lists are those of the assembled network. Raises InputError."""
    segments = Segments(fabric, assembly)
    nodes = fabric.nodes()
    order = {node: place for place, node in enumerate(nodes)}
    rows = [*_on_the_way(fabric, segments), *_unpacking(fabric, segments)]
    rows.sort(key=lambda row: order.get(row.node, len(order)))
    if assembly.mode.compressed:
        rows = [row.model_copy(update={"behavior": _compressed(row.behavior)}) for row in rows]
    lists = []
    for number, path in enumerate(assembled.network.paths):
        a, b = assembled.groups[path.group]
        if a == b:
            continue
        ends = ((), ()) if assembly.mode.inserts else tuple((sid,) for sid in assembled.decapsulate[path.group])
        four, six = (list(assembly.layout.on_the_wire((*path.segments, *end))) for end in ends)
        lists.append(
            SegmentListEntry.model_validate(
                {"path_id": number, "from": a, "to": b, "segments": list(path.segments), "ipv4": four, "ipv6": six}
            )
        )
    return SidTable(
        block=assembly.layout.block,
        mode=assembly.mode.value,
        locators=[
            LocatorEntry(node=node, prefix=str(segments.sids.locator(node)))
            for node in nodes
            if not fabric.names_its_sids()
        ],
        sids=rows,
        lists=lists,
        pairs_left_out=pairs_left_out,
    )


def chain_node(slot: int, number: int, links: int) -> str:
    """The node of a SID that a path names: the path's own, one for each hop, where a testbed has it."""
    return f"path{slot}.{min(number, max(links - 1, 1) - 1)}"


def _on_the_way(fabric: Fabric, segments: Segments) -> Iterator[SidEntry]:
    """The End and End.X SIDs of all nodes, whether a path uses them or not."""
    if fabric.names_its_sids():
        routes = fabric.routes(0, 1)
        for slot, own in enumerate(routes.segments or ()):
            for number, sid in enumerate(own):
                node = chain_node(slot, number, len(routes.paths[slot]))
                yield SidEntry(node=node, behavior="End", sid=sid, link=None, neighbor=None, attachment=None)
        return
    for node in fabric.nodes():
        sid = segments.sids.end(node)
        yield SidEntry(node=node, behavior="End", sid=sid, link=None, neighbor=None, attachment=None)
    for edge in fabric.edges:
        for link, neighbor in ((edge.forward, edge.ends[1]), (edge.back, edge.ends[0])):
            node, number = segments.ways[link]
            sid, name = segments.sids.adjacency(node, number), fabric.links[link].name
            yield SidEntry(node=node, behavior="End.X", sid=sid, link=name, neighbor=neighbor, attachment=None)


def _unpacking(fabric: Fabric, segments: Segments) -> Iterator[SidEntry]:
    """The SIDs that unpack at each attachment."""
    for number, place in enumerate(fabric.attachments):
        four, six = segments.decapsulate(number)
        if segments.mode.inserts:
            continue
        for sid, behavior in _unpackers(four, six, segments.mode.layer_2):
            yield _unpacker(place, sid, behavior)


def _unpackers(four: str, six: str, layer_2: bool) -> list[tuple[str, str]]:
    if layer_2:
        return [(four, "End.DX2")]
    return [(four, "End.DT46")] if four == six else [(four, "End.DT4"), (six, "End.DT6")]


def _unpacker(place: Attachment, sid: str, behavior: str) -> SidEntry:
    return SidEntry(node=place.node, behavior=behavior, sid=sid, link=None, neighbor=None, attachment=place.name)


def _compressed(behavior: str) -> str:
    return _COMPRESSED.get(behavior, behavior.replace("End.", "u"))
