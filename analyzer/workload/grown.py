"""Growth of flow lists: copies of what belongs together, between new hosts (docs/model.md, Growth)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.fresh import FreshAddresses
from segcast.analyzer.traffic.growth import Growth, Spans, fitting, grow
from segcast.analyzer.workload.table import MOST_FLOWS, Workload, streams


class Copies(NamedTuple):
    """Connections that are copies, by number of the copy, then of connection, int64 all: the connection each `origin`
    copies, the number of the `copy`, from 1 on, and how much later it is.
    """

    origin: NDArray[np.int64]
    copy: NDArray[np.int64]
    shift_ns: NDArray[np.int64]


class Ends(NamedTuple):
    """Hosts and connections: `addresses` and the attachment (`place` int64) of each host, the steering host that
    `names` gives an address; `ends` int64[connections, 2] are two hosts, `ports` int64[connections, 2] theirs.
    """

    addresses: tuple[str, ...]
    place: NDArray[np.int64]
    names: dict[str, str]
    ends: NDArray[np.int64]
    ports: NDArray[np.int64]


def trees(workload: Workload) -> NDArray[np.int64]:
    """What each connection belongs to, int64[connections]: the lowest of those that wait for each other, in any way."""
    number = np.arange(int(workload.connection.max()) + 1)
    waiting = workload.connection[np.repeat(np.arange(len(workload)), np.diff(workload.after_first))]
    awaited = workload.connection[workload.after_row]
    while True:
        lowest = np.minimum(number[waiting], number[awaited])
        found = number.copy()
        for ends in (waiting, awaited):
            np.minimum.at(found, number[ends], lowest)
        found = found[found]
        if (found == number).all():
            return found
        number = found


def growth_of(workload: Workload, words: NDArray[np.uint64], scenario: ValidScenario) -> Growth:
    """The growth of a list up to the highest factor of the scenario, by flow: two of each connection.

    `words` uint64[flows, 5] are their five-tuples. A copy is of a whole tree, and begins within the time in which trees
    do. Raises InputError.
    """
    tree, first = trees(workload), ~workload.waits
    begins = np.full(len(tree), np.iinfo(np.int64).max)
    np.minimum.at(begins, tree[workload.connection[first]], workload.start_ns[first])
    begin_ns = np.repeat(begins[tree], 2)
    # A direction that sends no data has acknowledgements.
    size = np.maximum(np.bincount(streams(workload), workload.bytes, len(begin_ns)).astype(np.int64), 1)
    version = np.array([6 if ":" in address else 4 for address in workload.addresses or ("0.0.0.0",)], np.uint8)
    of_flow = np.where(words[:, 0] == 0, version.min(), 6).astype(np.uint8)
    spec = scenario.growth_spec
    grows = fitting(spec.groups, words, of_flow)
    if not grows.any():
        raise scenario.wrong(("growth", "groups"), "no connection of the list is of them")
    most = max(one.flows for one in scenario.offered)
    spans = Spans(size, begin_ns, begin_ns)
    growth = grow(spec, most, spans, np.arange(len(begin_ns)) ^ 1, grows, np.repeat(2 * tree, 2))
    rows = len(workload) + int(np.bincount(workload.connection)[copies_of(growth).origin].sum())
    if rows > MOST_FLOWS:
        raise scenario.wrong(
            ("growth", "factor"),
            f"{float(most):g} times the list is {rows:,} flows; at most {MOST_FLOWS:,} are supported: give a smaller "
            'factor, or by = "rate" for part of it',
        )
    return growth


def copies_of(growth: Growth) -> Copies:
    """The copies of a list's growth, by connection."""
    first = len(growth.bytes)
    return Copies(growth.origin[first::2] // 2, growth.copy[first::2], growth.shift_ns[first::2])


def with_copies(workload: Workload, copies: Copies) -> Workload:
    """The list with rows of copies behind its own, by number of the copy, then in its order.

    They have the hosts that they copy; a copied row waits for the rows of its own copy, and starts later by the shift.
    """
    count, connections = len(workload), int(workload.connection.max()) + 1
    lengths = np.bincount(workload.connection, minlength=connections)
    order = np.argsort(workload.connection, kind="stable")
    row = order[_runs((np.cumsum(lengths) - lengths)[copies.origin], lengths[copies.origin])]
    made = np.repeat(np.arange(len(copies.origin)), lengths[copies.origin])
    key = copies.copy[made] * count + row
    order = np.argsort(key, kind="stable")
    key, row, made = key[order], row[order], made[order]

    waits = np.diff(workload.after_first)[row]
    awaited = workload.after_row[_runs(workload.after_first[row], waits)]
    awaited = count + np.searchsorted(key, np.repeat(key - row, waits) + awaited)
    taken = {name: getattr(workload, name)[row] for name in ("source", "target", "bytes", "path", "think_ns")}
    numbers = pa.array(copies.copy[made]).cast(pa.string())
    taken |= {
        "start_ns": np.maximum(workload.start_ns[row] + copies.shift_ns[made], 0),
        "after_first": workload.after_first[-1] + np.cumsum(waits),
        "after_row": awaited,
        "connection": connections + made,
    }
    whole: dict[str, Any] = {name: np.concatenate([getattr(workload, name), more]) for name, more in taken.items()}
    copied = pc.binary_join_element_wise(workload.flow.take(pa.array(row)), "copy", numbers, " ")
    named = workload.connection_name.take(pa.array(copies.origin))
    return replace(
        workload,
        flow=pa.concat_arrays([workload.flow, copied]),
        connection_name=pa.concat_arrays([workload.connection_name, named]),
        **whole,
    )


def with_their_ends(at: Ends, copies: Copies, seed: int) -> Ends:
    """The hosts with new ones for copies, at the same attachments: for each host of a copy, another."""
    count = len(at.addresses)
    population = 2 * copies.copy - 1
    code = population[:, None] * count + at.ends[copies.origin]
    used, inverse = np.unique(code, return_inverse=True)
    fresh = FreshAddresses(at.names, int(population.max(initial=0)), seed)
    numbers = {kind: np.array([fresh.number[text] for text in texts], np.int64) for kind, texts in _texts(at).items()}
    addresses, names = (fresh.texts(used // count, numbers[kind][used % count]) for kind in ("address", "name"))
    return Ends(
        (*at.addresses, *addresses),
        np.concatenate([at.place, at.place[used % count]]),
        at.names | dict(zip(addresses, names, strict=True)),
        np.concatenate([at.ends, count + inverse.reshape(code.shape)]),
        np.concatenate([at.ports, at.ports[copies.origin]]),
    )


def _texts(at: Ends) -> dict[str, list[str]]:
    return {"address": list(at.addresses), "name": [at.names[address] for address in at.addresses]}


def _runs(begins: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers from each of `begins` on, so many of each."""
    return np.repeat(begins - np.cumsum(lengths) + lengths, lengths) + np.arange(int(lengths.sum()))
