"""Round trips and the retransmission timer (RFC 6298)."""

from __future__ import annotations

from typing import Final

from segcast.analyzer.engine.calendar import NEVER_NS
from segcast.analyzer.engine.transport.state import UNKNOWN, Connections, TransportRules
from segcast.traces.jit import at, inlined, int64

_NO_SAMPLE_NS: Final = 1_000_000_000


@inlined
def sample(connections: Connections, rules: TransportRules, half: int, round_trip_ns: int) -> None:
    """A round trip was measured."""
    halves = connections.halves
    srtt, rttvar = int64(halves[at(half)].srtt), int64(halves[at(half)].rttvar)
    if srtt == UNKNOWN:
        srtt, rttvar = round_trip_ns, round_trip_ns // 2
    elif rules.ns3:
        off_ns = round_trip_ns - srtt
        srtt = ((srtt << 3) + off_ns) >> 3
        rttvar = ((rttvar << 2) + abs(off_ns) - rttvar) >> 2
    else:
        rttvar += (abs(srtt - round_trip_ns) - rttvar) >> 2
        srtt += (round_trip_ns - srtt) >> 3
    halves[at(half)].srtt = srtt
    halves[at(half)].rttvar = rttvar
    least = int64(halves[at(half)].min_rtt)
    halves[at(half)].min_rtt = round_trip_ns if least == 0 else min(least, round_trip_ns)
    halves[at(half)].rto = timeout_of(rules, srtt, rttvar)


@inlined
def known(srtt: int) -> int:
    """A smoothed round trip in ns; a second, if none was measured."""
    return int64(_NO_SAMPLE_NS) if srtt == UNKNOWN else srtt


@inlined
def timeout_of(rules: TransportRules, srtt: int, rttvar: int) -> int:
    """The retransmission timeout, before any backoff."""
    if srtt == UNKNOWN and not rules.ns3:
        return rules.initial_rto_ns
    srtt = known(srtt)
    timeout_ns = max(srtt + max(rules.granularity_ns, 4 * rttvar), rules.min_rto_ns)
    return timeout_ns if rules.ns3 else min(timeout_ns, rules.max_rto_ns)


@inlined
def restart(connections: Connections, rules: TransportRules, half: int, now_ns: int) -> None:
    """Set the retransmission timer anew, or stop it if nothing is outstanding; there is no backoff any more."""
    halves = connections.halves
    row = halves[at(half)]
    halves[at(half)].backoff = 0
    halves[at(half)].timeouts = 0
    if rules.ns3:
        halves[at(half)].rto = timeout_of(rules, int64(row.srtt), int64(row.rttvar))
    halves[at(half)].rto_ns = now_ns + backed_off(connections, rules, half) if row.una < row.nxt else int64(NEVER_NS)


@inlined
def backed_off(connections: Connections, rules: TransportRules, half: int) -> int:
    """How long the retransmission timer runs from now on."""
    row = connections.halves[at(half)]
    if rules.ns3:  # which keeps what it has doubled
        return int64(row.rto)
    return min(int64(row.rto) << min(int64(row.backoff), int64(16)), rules.max_rto_ns)
