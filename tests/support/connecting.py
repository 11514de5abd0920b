"""Cells whose senders react, made of the twin's cases, and their packets as the twin notes them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from segcast.analyzer.detectors.registry import find_detector
from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.engine.transport.cell import Messages, Piece, Transport, TransportCell
from segcast.analyzer.network.model import Change, Network, Path
from segcast.analyzer.packets import DROPPED, MARKED, RECEIVED
from segcast.analyzer.policies.registry import find_policy
from tests.support.simulating import links_of, parameters_of, traffic_of, with_records
from tests.support.transport import Case
from tests.twins.tcp_settings import Counts, Result, Sent

KINDS = ("data", "ack", "syn", "syn-ack", "recorded")
NUMBERED = (0, 1, 4)
COUNTS = ("retransmissions", "timeouts_all", "recoveries", "needless", "echoes")


def network_of(case: Case) -> Network:
    """The product's network for a case."""
    options = case.options
    return Network(
        tuple(links_of(case.links)),
        tuple(Path(p.group, p.links, p.srv6_bytes, p.ack_delay_ns) for p in case.paths),
        options["minimum_frame_bytes"],
        options["tiers"] or (),
        tuple(Change(c.time_ns, c.link, c.rate_bps) for c in options["changes"]),
        options["detection_ns"],
        bool(options["hosts"]),
    )


def steering_of(options: dict[str, Any]) -> Steering:
    """What hosts know, of a case's options."""
    return Steering(
        options["loss_timeout_ns"],
        options.get("ack", "modelled"),
        options["scope"],
        options["suspect_after"],
        options["suspect_for_ns"],
    )


def connected(case: Case) -> TransportCell:
    """The product's cell for a case."""
    options = case.options
    detector = find_detector(options["detector"])
    recorded, plan = traffic_of(case.recorded, case.flows, options["hosts"])
    after = [message.after for message in case.messages]
    messages = Messages(
        np.array([2 * m.connection + m.half for m in case.messages], np.int64),
        np.array([m.bytes for m in case.messages], np.int64),
        np.array([m.start_ns for m in case.messages], np.int64),
        np.array([m.think_ns for m in case.messages], np.int64),
        np.cumsum([0, *(len(rows) for rows in after)]).astype(np.int64),
        np.array([row for rows in after for row in rows], np.int64),
    )
    pins = [-1 if connection.pinned is None else connection.pinned for connection in case.connections]
    return TransportCell(
        network_of(case),
        find_policy(options["policy"]),
        plan,
        steering_of(options),
        Transport(**dataclasses.asdict(case.settings)),
        messages,
        pin=np.concatenate([np.repeat(pins, 2), np.full(len(case.flows) - 2 * len(pins), -1)]).astype(np.int64),
        recorded=recorded,
        timeout_ns=options["timeout_ns"],
        seed=options["seed"],
        detector=detector,
        detector_parameters=parameters_of(detector.parameters, options["detector_parameters"]),
    )


def run_cell(case: Case, *, compiled: bool = True) -> tuple[list[Sent], list[Result], list[Counts]]:
    """What the product makes of a case, in the twin's terms; not `compiled`: under NUMBA_DISABLE_JIT."""
    cell = connected(case)
    if not compiled:
        for state in ("state", "policy_state", "detector_state", "connections", "_headers"):
            setattr(cell, state, with_records(getattr(cell, state)))
    sent = [packet for piece in cell.pieces() for packet in _sent(piece)]
    results = [
        Result(*(None if time_ns < 0 else int(time_ns) for time_ns in (m["asked_ns"], m["complete_ns"])))
        for m in cell.messages
    ]
    counts = [Counts(int(h["segments"] + h["retransmissions"]), *(int(h[n]) for n in COUNTS)) for h in cell.halves]
    return sent, results, counts


def _sent(piece: Piece) -> list[Sent]:
    packets, fates, headers = piece.packets, piece.fates, piece.headers
    return [
        Sent(
            int(packets.send_ns[row]),
            int(packets.flow[row]),
            KINDS[headers["kind"][row]],  # type: ignore[arg-type]
            int(headers["number"][row]) if headers["kind"][row] in NUMBERED else 0,
            int(packets.ip_bytes[row]),
            int(fates.path[row]),
            int(fates.flowlet[row]),
            int(fates.receive_ns[row]) if fates.state[row] & RECEIVED else None,
            int(fates.queue_ns[row]),
            bool(fates.state[row] & MARKED),
            bool(fates.state[row] & DROPPED),
        )
        for row in range(len(packets.flow))
    ]
