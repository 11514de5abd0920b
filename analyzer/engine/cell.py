"""The engine's driver: validates a cell, lays out its state, and runs packets through it in batches."""

from __future__ import annotations

import functools
import hashlib
from typing import Any, NamedTuple

import numpy as np

from segcast.analyzer.detectors.registry import Detector, find_detector
from segcast.analyzer.engine import calendar, rings
from segcast.analyzer.engine import link_changes as changes
from segcast.analyzer.engine.layout import lay_out
from segcast.analyzer.engine.loop import Run, specialise
from segcast.analyzer.engine.state import ALWAYS_NS, BAD_SLOT, BUCKET_IS_FULL, DONE, SCHEDULED, State
from segcast.analyzer.engine.steering import Steering, Ties
from segcast.analyzer.engine.ties import break_ties
from segcast.analyzer.network.model import Network
from segcast.analyzer.packets import Fates, FlowPlan, Packets, Releases, empty_fates
from segcast.analyzer.policies.registry import Policy, Setting
from segcast.traces.errors import InputError, PolicyError
from segcast.traces.units import NANOSECOND_BITS

MAX_IP_BYTES = 1 << 24
_TRIAL_PACKETS = 1 << 13

LATEST_NS = 1 << 62
"""No time of a cell is later, so that sums of times stay within 64 bits."""


@functools.cache
def _loop(policy: Policy, detector: Detector) -> Run:
    return specialise(policy, detector)


class HeldByCell(NamedTuple):
    """What a cell holds between batches; `steps_left` changes of links and of what routing knows are still to come."""

    state: State
    policy: Any
    detector: Any
    steps_left: int


class Cell:
    """One policy, flowlet timeout and seed on one network: keeps everything between batches.

    Packets come in send order. `run` may be called with any split of them; the fates are the same. `detector` is that
    of the timeout (None: `fixed` at `timeout_ns`). `reacts` is for senders that do (`engine.transport`). `ties` says in
    which order frames arrive from several links at one instant.
    """

    def __init__(
        self,
        network: Network,
        policy: Policy,
        flows: FlowPlan,
        steering: Steering,
        *,
        timeout_ns: int | None,
        seed: int,
        parameters: Any = None,
        detector: Detector | None = None,
        detector_parameters: Any = None,
        reacts: bool = False,
        ties: Ties = "hash",
    ) -> None:
        if policy.granularity == "flowlet" and detector is None and (timeout_ns is None or timeout_ns < 0):
            raise InputError(f"policy {policy.name!r} needs a flowlet timeout of at least 0 ns")
        detector = detector or find_detector("fixed")
        if not reacts and steering.ack != "modelled" and (policy.learns or detector.learns or steering.suspect_after):
            raise InputError(
                f"policy {policy.name!r} with timeout {detector.name!r} learns from acknowledgements; "
                'that needs ack = "modelled"'
            )
        if not reacts and steering.ack == "timeout" and detector.awaits:
            raise InputError(f'timeout {detector.name!r} awaits acknowledgements; with ack = "timeout" there are none')
        self.network = network
        self._policy = policy
        self.detector = detector
        self._steering = steering
        self._run = _loop(policy, detector)
        self.rules, self.state, setting = lay_out(network, policy, detector, flows, steering, seed, reacts)
        if ties == "hash":
            break_ties(self.state.calendar.row, seed)
        chosen: dict[str, Any] = {"seed": seed, "timeout_ns": -1 if timeout_ns is None else timeout_ns}
        self.policy_state = policy.make_state(
            Setting(**setting, **chosen, parameters=parameters or policy.parameters())
        )
        self.detector_state = detector.make_state(
            Setting(**setting, **chosen, parameters=detector_parameters or detector.parameters())
        )
        self._steps = changes.steps(network.changes, network.detection_ns)
        self._flows = flows
        chosen_parameters = (parameters or policy.parameters(), detector_parameters or detector.parameters())
        self._made_of = (
            network,
            steering,
            (policy.name, policy.digest, detector.name, detector.digest),
            chosen,
            chosen_parameters,
            ties,
        )

    @property
    def identity(self) -> str:
        """What the cell is made of: a text that two cells share if and only if they compute the same."""
        digest = hashlib.sha256()
        for values in self._flows:
            digest.update(b"-" if values is None else np.ascontiguousarray(values).tobytes())
        return f"{self._made_of!r} {digest.hexdigest()}"

    @property
    def own(self) -> HeldByCell:
        """All that it holds between batches but packets; a new cell of the same identity may be given it."""
        return HeldByCell(self.state, self.policy_state, self.detector_state, len(self._steps))

    @own.setter
    def own(self, held: HeldByCell) -> None:
        self.state, self.policy_state, self.detector_state = held.state, held.policy, held.detector
        self._steps = self._steps[len(self._steps) - held.steps_left :]

    @property
    def loss_timeout_ns(self) -> int:
        """After what time without acknowledgement a host takes a packet for lost."""
        return self._steering.loss_timeout_ns

    @property
    def schedules_releases(self) -> bool:
        """Whether `Releases` must be given with the packets."""
        return bool(self.rules.ack == SCHEDULED)

    def check(self, packets: Packets) -> None:
        """Raise InputError if the packets cannot be sent through this network; see `check_packets`."""
        check_packets(self.network, packets, self.loss_timeout_ns)

    def run(self, packets: Packets, fates: Fates, stop: int, releases: Releases | None = None) -> None:
        """Send packets up to `stop` (exclusive) and let the network advance to the last of them."""
        self._advance(packets, fates, releases, stop, ALWAYS_NS)

    def drain(self, packets: Packets, fates: Fates, releases: Releases | None = None) -> None:
        """Send what is left and let everything in the network arrive."""
        self._advance(packets, fates, releases, len(packets.send_ns), calendar.NEVER_NS)

    def _advance(self, packets: Packets, fates: Fates, releases: Releases | None, stop: int, until_ns: int) -> None:
        releases = no_releases() if releases is None else releases
        last_ns = int(packets.send_ns[stop - 1]) if stop else ALWAYS_NS
        if stop and self.state.calendar.row["tie_from_ns"][0] == ALWAYS_NS:
            self.state.calendar.row["tie_from_ns"] = packets.send_ns[0]
        while self._steps and self._steps[0].time_ns <= max(last_ns, until_ns):
            step = self._steps.pop(0)
            before = int(np.searchsorted(packets.send_ns[:stop], step.time_ns))
            self._go(packets, fates, releases, before, step.time_ns - 1)
            self.state = changes.apply(step, self.state, self.rules, packets.flow, fates)
        begin = int(self.state.progress["next_packet"][0])
        if begin == 0 and stop > 2 * _TRIAL_PACKETS:  # how wide buckets should be shows soon
            self._go(packets, fates, releases, _TRIAL_PACKETS, ALWAYS_NS)
            self._tune()
        self._go(packets, fates, releases, stop, until_ns)
        self._tune()

    def _tune(self) -> None:
        """Choose how wide the calendar's buckets are, and how many."""
        self.state = self.state._replace(calendar=calendar.tuned(self.state.calendar))

    def _go(self, packets: Packets, fates: Fates, releases: Releases, stop: int, until_ns: int) -> None:
        while True:
            status = self._run(
                self.state,
                self.rules,
                self.policy_state,
                self.detector_state,
                packets,
                fates,
                releases,
                stop,
                until_ns,
            )
            if status == DONE:
                return
            self._make_way(status, 1)

    def _make_way(self, status: int, events: int) -> None:
        """Give a loop that stopped what it asks for, so many free `events` among it. Raises PolicyError."""
        days = self.state.calendar
        if status == BAD_SLOT:
            raise PolicyError(
                f"policy {self._policy.name!r} chose a slot that its flow's group does not have, which is a fault "
                "of the policy: its choose must return 0 to decision.path_count - 1"
            )
        if status == BUCKET_IS_FULL:
            self.state = self.state._replace(calendar=calendar.narrower(days))
            return
        if int(days.row["pending"][0]) + events > len(days.events):
            self.state = self.state._replace(calendar=calendar.grown(days))
        if self.state.rings.wanted.max() >= 0:
            self.state = self.state._replace(rings=rings.grown(self.state.rings))


def no_releases() -> Releases:
    """No schedule of releases."""
    return Releases(np.empty(0, np.int64), np.empty(0, np.int64))


def check_packets(network: Network, packets: Packets, loss_timeout_ns: int) -> None:
    """Raise InputError unless `send_ns` ascends and no time or size can leave 64 bits, even if every queue is full."""
    count = len(packets.send_ns)
    if count == 0:
        return
    if count > 1 and bool((packets.send_ns[1:] < packets.send_ns[:-1]).any()):
        raise InputError("packets are not in send order; sort them by time first")
    if int(packets.ip_bytes.max()) > MAX_IP_BYTES:
        raise InputError(f"a packet of {packets.ip_bytes.max()} bytes; at most {MAX_IP_BYTES} are modelled")
    first_ns, last_ns = int(packets.send_ns[0]), int(packets.send_ns[-1])
    extra = max(path.srv6_bytes for path in network.paths) + max(link.overhead_bytes for link in network.links)
    total_bytes = int(packets.ip_bytes.sum(dtype=np.int64)) + count * (14 + extra + network.minimum_frame_bytes)
    hops = max(len(path.links) for path in network.paths) + 2 * network.host_links
    rates = [link.rate_bps for link in network.links] + [change.rate_bps for change in network.changes]
    slowest_bps = min(rate for rate in rates if rate)
    busy_ns = hops * (total_bytes * NANOSECOND_BITS // slowest_bps + count)
    delay_ns = 2 * hops * max(link.delay_ns for link in network.links)
    if max(abs(first_ns), abs(last_ns)) + busy_ns + delay_ns + loss_timeout_ns > LATEST_NS:
        raise InputError(
            f"times would leave 64 bits: packets from {first_ns} to {last_ns} ns, and {busy_ns // 10**9} s to send all "
            f"of them over a link of {slowest_bps} bit/s; check the capture's clock and the rates"
        )


def simulate(
    cell: Cell,
    packets: Packets,
    batch_packets: int = 1 << 20,
    releases: Releases | None = None,
    room: Fates | None = None,
) -> Fates:
    """Fates of all packets, in their order; in `room`, if given, which other cells have used for as many packets.

    Raises InputError as `check_packets`.
    """
    cell.check(packets)
    count = len(packets.send_ns)
    fates = empty_fates(count) if room is None else room
    if room is not None:
        fates.congestion[:] = 0  # all else is written when a packet is sent or its fate known
    for stop in range(batch_packets, count, batch_packets):
        cell.run(packets, fates, stop, releases)
    cell.drain(packets, fates, releases)
    return fates
