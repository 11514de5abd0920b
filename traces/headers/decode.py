"""Decodes a batch of frames to header columns: finds each IP header, then reads it and the transport header."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.captures.reader import FrameBatch
from segcast.traces.errors import InputError
from segcast.traces.headers import ip, link, tunnel_headers, tunnels
from segcast.traces.headers.fragments import Fragments, FragmentTable, Passed, no_passed
from segcast.traces.headers.ip import (
    HAS_FRAGMENT,
    HAS_ID,
    HAS_IP,
    HAS_PAYLOAD,
    HAS_PORTS,
    HAS_SEGMENTS,
    HAS_TCP,
    Headers,
)
from segcast.traces.headers.segment_lists import SegmentLists, SegmentTable
from segcast.traces.headers.tenants import MOST_PARTS, Tenants
from segcast.traces.headers.tunnels import TUNNELS
from segcast.traces.reasons import IP_FOUND, NUMBERED, OTHER_MPLS, REASONS

__all__ = [
    "HAS_FRAGMENT",
    "HAS_ID",
    "HAS_IP",
    "HAS_PAYLOAD",
    "HAS_PORTS",
    "HAS_SEGMENTS",
    "HAS_TCP",
    "INNER",
    "LAYERS",
    "OUTER",
    "REASONS",
    "Decoder",
    "Headers",
    "Numbered",
    "allocate",
    "decode_batch",
]

OUTER: Final = "outer"
INNER: Final = "inner"
LAYERS: Final = (OUTER, INNER)
"""Which IP header counts: the outermost, or the innermost that tunnels lead to."""

_DEEPER: Final = f"more than {tunnels.MOST_LAYERS} layers"


def allocate(rows: int) -> Headers:
    """Columns for at most `rows` frames, to be handed to `decode_batch` again and again."""
    return ip.allocate(rows)


def decode_batch(
    batch: FrameBatch, into: Headers | None = None, layer: str = OUTER, tenants: Tenants | None = None
) -> Headers:
    """The headers of a batch's frames, row by row: an IP header, by `layer`, and what it carries.

    VLAN tags, MPLS labels, SNAP and PPPoE are looked through. `into` (at least as many rows as frames) is overwritten,
    and the result is a view of it; without it columns are allocated. Never raises on a frame's bytes. Fragments are
    left as they are, and `segment_list_id` as it was: see `Decoder`. Numbers of tenants are those of `tenants`.
    """
    tally, tenants = _Tally(), Tenants() if tenants is None else tenants
    found = _outermost(batch, into, layer, tally, tenants)
    if layer == INNER:
        _descend(found, tally, tenants)
    return found.headers


class Numbered(NamedTuple):
    """Frames of a batch without IP whose reason comes with a number: `row` int64, `reason` uint8, `number` uint32."""

    row: npt.NDArray[np.int64]
    reason: npt.NDArray[np.uint8]
    number: npt.NDArray[np.uint32]


_NONE_NUMBERED: Final = Numbered(np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0, np.uint32))


class _Found(NamedTuple):
    """The frames of a batch up to where headers on the way say they stop, what their IP headers say, and the rest."""

    batch: FrameBatch
    headers: Headers
    numbered: Numbered


class Decoder:
    """Decodes the frames of a trace batch after batch: fragments find their flows, segment lists are kept."""

    def __init__(self, layer: str = OUTER, *, by_tenant: bool = True) -> None:
        """Nothing decoded yet; without `by_tenant` all packets are of one tenant.

        Raises InputError unless `layer` is one of LAYERS.
        """
        if layer not in LAYERS:
            raise InputError(f"layer {layer}: not known; use {' or '.join(LAYERS)}")
        self.layer = layer
        self.by_tenant = by_tenant
        self.tenants = Tenants()
        self.segment_lists = SegmentLists()
        self.numbered = _NONE_NUMBERED
        self._fragments = Fragments()
        self._tally = _Tally()

    def decode(self, batch: FrameBatch, into: Headers | None = None) -> Headers:
        """As `decode_batch`; besides, later fragments have the addresses, protocol and ports of their first.

        `numbered` are then those of this batch.
        """
        batch, out, self.numbered = found = _outermost(batch, into, self.layer, self._tally, self.tenants)
        self.segment_lists.add(batch.data, batch.start, batch.captured, out)
        passed = _descend(found, self._tally, self.tenants) if self.layer == INNER else no_passed()
        self._fragments.add(batch.data, batch.start, batch.time_ns, out, passed)
        if not self.by_tenant:
            out.tenant.fill(0)
        return out

    def findings(self) -> dict[str, Any]:
        """What was counted since the last call, as it stands in `trace.json`."""
        found = {
            **self._tally.findings(),
            "segment_lists_unread": self.segment_lists.counts(),
            "fragments_without_first": self._fragments.without_first,
        }
        self.segment_lists.table_now.counts.fill(0)
        self._fragments.without_first = 0
        self._tally = _Tally()
        return found

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that later frames depend on, by name; `restore` goes on from there."""
        return {
            **{f"lists_{name}": array for name, array in self.segment_lists.table_now._asdict().items()},
            **{f"fragments_{name}": array for name, array in self._fragments.table._asdict().items()},
            **{f"tenants_{name}": array for name, array in self.tenants.state().items()},
            "layers": self._tally.layers,
            "counts": np.array(
                [self._tally.deeper, self._tally.beyond_frame, self._tally.aggregated, self._fragments.without_first]
            ),
        }

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from a `state`."""
        self.segment_lists.table_now = SegmentTable._make(state[f"lists_{name}"] for name in SegmentTable._fields)
        self._fragments.table = FragmentTable._make(state[f"fragments_{name}"] for name in FragmentTable._fields)
        self.tenants.restore({"chains": state["tenants_chains"]})
        self._tally.layers = state["layers"]
        tally = self._tally
        tally.deeper, tally.beyond_frame, tally.aggregated, self._fragments.without_first = map(int, state["counts"])


class _Tally:
    """Counts of layers: by tunnel and by what became of it (0: looked through)."""

    def __init__(self) -> None:
        self.layers = np.zeros((len(TUNNELS), len(REASONS)), np.int64)
        self.deeper = 0
        self.beyond_frame = 0  # packets longer, by their headers, than their frames
        self.aggregated = 0  # packets behind the first in aggregates of 802.11

    def add(self, tunnel: npt.NDArray[np.uint8], reason: npt.NDArray[np.uint8]) -> None:
        are = reason != tunnel_headers.NOT_A_TUNNEL
        np.add.at(self.layers, (tunnel[are], reason[are]), 1)

    def findings(self) -> dict[str, Any]:
        through = {tunnel.name: int(n) for tunnel, n in zip(TUNNELS, self.layers[:, 0], strict=True) if n}
        unread = {
            f"{TUNNELS[tunnel].name}: {REASONS[reason]}": int(self.layers[tunnel, reason])
            for tunnel, reason in np.argwhere(self.layers)
            if reason
        }
        return {
            "tunnels": through,
            "tunnels_unread": unread | ({_DEEPER: self.deeper} if self.deeper else {}),
            "packets_beyond_frame": self.beyond_frame,
            "packets_in_aggregates": self.aggregated,
        }


def _outermost(batch: FrameBatch, into: Headers | None, layer: str, tally: _Tally, tenants: Tenants) -> _Found:
    """The outermost IP headers; for the inner layer those in pseudowires too."""
    frames = len(batch.start)
    if into is None:
        into = ip.allocate(frames)
    out = into if len(into.valid) == frames else Headers._make(column[:frames] for column in into)
    detail, parts = np.zeros(frames, np.uint32), np.zeros(MOST_PARTS + 1, np.uint64)
    located = link.Located(out.ip_start, out.version, out.reason, detail, out.tenant, parts)
    known = tenants.with_room(frames)
    detailed, aggregated = link.locate(
        batch.data, batch.start, batch.captured, batch.wire, batch.linktype, known, located
    )
    tally.aggregated += aggregated
    numbered, stopped = _NONE_NUMBERED, np.empty(0, np.int64)
    if detailed:
        batch, numbered, stopped = _details(batch, located)
    wires = np.empty(0, np.int64)
    if layer == INNER:
        wires = np.flatnonzero((out.reason == OTHER_MPLS) & (out.ip_start >= 0))
        if len(wires):
            known = tenants.with_room(len(wires))
            tunnels.find_pseudowires(batch.data, batch.start, batch.captured, batch.wire, wires, known, out)
            wires = wires[out.reason[wires] == IP_FOUND]
    tally.beyond_frame += ip.decode_ip(batch.data, batch.start, batch.captured, batch.wire, out)
    if len(stopped):  # what lies behind is padding, whatever the IP header says
        beyond = out.ip_start[stopped] + out.ip_bytes[stopped].astype(np.int64) - batch.wire[stopped]
        out.payload_bytes[stopped] = np.maximum(out.payload_bytes[stopped] - np.maximum(beyond, 0), 0)
    if len(wires):
        wrong = out.valid[wires] == 0
        out.reason[wires[wrong]] = OTHER_MPLS  # so it was none
        tally.layers[tunnels.PSEUDOWIRE, 0] += len(wires) - int(wrong.sum())
    return _Found(batch, out, numbered)


def _details(batch: FrameBatch, located: link.Located) -> tuple[FrameBatch, Numbered, npt.NDArray[np.int64]]:
    """The frames as long as headers within them say, numbered reasons, and the rows that stop elsewhere than frames."""
    rows = np.flatnonzero(located.detail)
    reason, detail = located.code[rows], located.detail[rows]
    named = np.isin(reason, NUMBERED)
    stopped, stop = rows[~named], detail[~named]
    captured, wire = batch.captured.copy(), batch.wire.copy()
    captured[stopped] = np.minimum(captured[stopped], stop)
    wire[stopped] = stop
    numbered = Numbered(rows[named], reason[named], detail[named] & np.uint32(0xFFFF))
    return batch._replace(captured=captured, wire=wire), numbered, stopped


def _descend(found: _Found, tally: _Tally, tenants: Tenants) -> Passed:
    """Replace the headers of tunnel packets by the innermost that can be read; the first fragments passed."""
    batch, out, passed = found.batch, found.headers, []
    rows = np.arange(len(batch.start), dtype=np.int64)
    limit = batch.captured.copy()  # where the layers so far end
    cut = np.full(len(rows), 1 << 32, np.int64)  # where the fragments so far end, captured or not
    for _ in range(tunnels.MOST_LAYERS):
        rows = _tunnelled(out, rows)
        if not len(rows):
            break
        rows, fragments = _enter(batch, out, rows, limit, cut, tally, tenants)
        if len(fragments.row):
            passed.append(fragments)
    else:
        tally.deeper += len(_tunnelled(out, rows))
    if not passed:
        return no_passed()
    joined = [np.concatenate(columns) for columns in zip(*passed, strict=True)]
    order = np.argsort(joined[0], kind="stable")
    return Passed._make(column[order] for column in joined)


def _tunnelled(out: Headers, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    into = np.empty(len(rows), np.int64)
    return into[: tunnels.tunnelled(out, rows, into)]


def _enter(
    batch: FrameBatch,
    out: Headers,
    rows: npt.NDArray[np.int64],
    limit: npt.NDArray[np.uint32],
    cut: npt.NDArray[np.int64],
    tally: _Tally,
    tenants: Tenants,
) -> tuple[npt.NDArray[np.int64], Passed]:
    """Go one layer inwards: the rows where that worked, and which of them were first fragments before.

    A packet in a first fragment has the bytes of it that are there; later fragments have the others.
    """
    start = batch.start[rows]
    end = out.ip_start[rows].astype(np.int64) + out.ip_bytes[rows]
    captured = limit[rows] = np.minimum(limit[rows], end).astype(np.uint32)
    wire = np.minimum(end, 0xFFFFFFFF).astype(np.uint32)
    inside = ip.allocate(len(rows))
    tunnel = np.empty(len(rows), np.uint8)
    found = tunnels.Found(inside.ip_start, inside.version, inside.reason, tunnel, inside.tenant)
    tunnels.enter(batch.data, start, captured, out, rows, tenants.with_room(len(rows)), found)
    ip.decode_ip(batch.data, start, captured, wire, inside)
    tally.add(found.tunnel, inside.reason)
    (good,) = np.nonzero(inside.valid)
    entered = rows[good]
    is_first = (out.valid[entered] & HAS_FRAGMENT) != 0
    first = entered[is_first]
    cut[first] = np.minimum(cut[first], end[good][is_first])
    inside.ip_bytes[good] = np.minimum(inside.ip_bytes[good], cut[entered] - inside.ip_start[good])
    passed = Passed(first, *(column[first] for column in (out.ip_start, out.version, out.ip_id, out.tenant)))
    inside.valid[good] |= out.valid[entered] & HAS_SEGMENTS
    inside.segment_list_id[good] = out.segment_list_id[entered]
    for name in Headers._fields:
        getattr(out, name)[entered] = getattr(inside, name)[good]
    return entered, passed
