"""What limits a forecast, in words. Plain ASCII; `text.typeset` adorns it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from segcast.analyzer.answers.evidence import FLOWS_FOR_P999, PACKETS_FOR_P999, PERIODS_BEYOND
from segcast.reports import text
from segcast.reports.forecast.data import Forecast, Variant
from segcast.reports.forecast.drops import dead_link_share

OVERLOAD: Final = 0.01  # Above this share of drops, queues are full and the delay's tail is that of the buffers.
_FEW_FLOWS: Final = 1_000
_BY_TIME: Final = "a segment is lost if one sent a while later is received (RACK), which forgives some reordering"
_RECORDED: Final = (
    "Packets leave when the capture says. Senders do not slow down, retransmit or speed up in answer to the "
    "forecast network, so heavy loss or queueing is overstated against real senders."
)
_OF_SCENARIO: Final = {"late_events", "hosts_dealt", "hosts_together", "sides_chosen", "mtu_unchecked", "one_path"}
_COUNTED: Final = {"hosts_dealt", "late_events", "load_of_network", "one_path"}  # their words have the count
_ALSO: Final = {"sides_chosen", "open_loop", "load_of_network"}  # told though they are no warnings
_WHY: Final = {
    "no_ip": "without IP",
    "link_scope": "of link scope, such as multicast",
    "deselected": "not of the traffic chosen",
    "unassigned": "of hosts without an attachment",
}
_REORDERED: Final = {
    False: "Reordered packets are counted, not punished: their effect on TCP is not part of the delays.",
    True: "Reordered and delays are of all packets, acknowledgements and handshakes among them.",
}


def idle(forecast: Forecast) -> str | None:
    """What to know where links never fill under any policy: then no policy can be better than another."""
    longest = [value for v in forecast.variants for value in forecast.values(v, "queue_p999_ns") if value is not None]
    if not longest or max(longest) > 0:
        return None
    return (
        "Not one packet in a thousand waits in a queue, so nothing tells policies apart but the lengths of paths: give "
        "slower links, or a higher load."
    )


_OF_LOADS: Final = ("load_of_network", "compressed_gaps", "uneven_growth", "copies_beyond_end")


def loads_of(forecast: Forecast) -> Iterator[str]:
    """What to know of loads other than the trace's own."""
    if any(v.growth not in (None, 1) for v in forecast.variants):
        yield "Growth copies whole connections, between new hosts beside the old, and shifted in time."
    for finding in forecast.section("trace").get("findings") or []:
        if finding["code"] in _OF_LOADS:
            yield f"{finding['detail'][:1].upper()}{finding['detail'][1:]}; {finding['effect']}."


def _finding(forecast: Forecast, finding: Mapping[str, Any]) -> str:
    what = "Flow list" if forecast.of_list else "Capture"
    what = "Scenario" if finding["code"] in _OF_SCENARIO else "Loads" if finding["code"] in _OF_LOADS else what
    number = "" if finding["code"] in _COUNTED else f" ({text.count(finding['count'])})"
    return f"{what}: {finding['detail']}{number}. Effect: {finding['effect']}."


def _told(forecast: Forecast) -> list[dict[str, Any]]:
    """The findings to be told: warnings and errors, and who sits where for want of prefixes before all else."""
    findings = forecast.section("trace").get("findings") or []
    told = [f for f in findings if f["severity"] in ("warning", "error") or f["code"] in _ALSO]
    return sorted(told, key=lambda finding: finding["code"] != "hosts_dealt")


def of_scenario(forecast: Forecast) -> list[str]:
    """What findings say of the scenario, but for what the decision card says already."""
    return [
        _finding(forecast, finding)
        for finding in _told(forecast)
        if finding["code"] in _OF_SCENARIO - {"hosts_dealt", "sides_chosen", "hosts_together", "one_path"}
    ]


def why_excluded(forecast: Forecast, reason: str) -> str:
    """What packets that are left out are, in a few words."""
    if reason == "same_attachment":
        return f"between hosts of one {_place(forecast)}"
    return _WHY.get(reason, reason.replace("_", " "))


def _place(forecast: Forecast) -> str:
    return "attachment" if forecast.section("network").get("kind") not in (None, "", "parallel") else "side"


def caveats(forecast: Forecast) -> list[str]:
    """What limits the forecast, most of all first."""
    found = [_finding(forecast, finding) for finding in _told(forecast)]
    excluded = forecast.section("excluded")
    reasons = {
        "no_ip": "have no readable IP header",
        "link_scope": "are of link scope (multicast, broadcast, link-local, loopback, or without an address), which no "
        "router forwards; traffic.link_scope includes them",
        "deselected": "are not of the traffic that was chosen (traffic.only, traffic.without)",
        "too_large": "are larger than 16 MiB, which no network carries",
        "unassigned": "have an address that no attachment's prefix holds",
        "same_attachment": f"have both ends at one {_place(forecast)} of the network, so they do not cross it",
    }
    for key, number in excluded.items():
        if isinstance(number, int) and number > 0:
            reason = reasons.get(key, key.replace("_", " "))
            found.append(f"{text.count(number)} packets are left out: they {reason}.")
    if forecast.most_seeds == 1:
        found.append("Every cell was run with one seed: how much hash or draws of luck matter is not known.")
    elif forecast.comparisons:
        found.append(forecast.decision.covers)
    found += _of_senders(forecast) if forecast.reacts else [_RECORDED]
    if (nothing := idle(forecast)) is not None:
        found.append(nothing)
    found += _of_drops(forecast)
    if not forecast.reacts:
        found += _of_received(forecast)
    if any(path.get("srv6_bytes") for path in forecast.section("network").get("paths", [])):
        sizes = sorted({path.get("srv6_bytes", 0) for path in forecast.section("network")["paths"]})
        extra = text.span(str(sizes[0]), str(sizes[-1])) if len(sizes) > 1 else str(sizes[0])
        found.append(f"Steered packets carry {extra} bytes of SRv6 headers on every link; ECMP packets do not.")
    found.append(_REORDERED[forecast.reacts])
    return found


def _of_drops(forecast: Forecast) -> Iterator[str]:
    """Where packets are lost: at full queues, or at dead links."""
    dead = {v: dead_link_share(forecast, v, "dropped_dead_link") for v in forecast.variants}
    full = {v: (forecast.estimate(v, "drop_ratio").mean or 0.0) - dead[v] for v in forecast.variants}
    if max(full.values(), default=0.0) > OVERLOAD:
        yield (
            f"Up to {text.percent(max(full.values()))} of packets are dropped at full queues: the tail of the delay is "
            "that of the buffers. Compare drops and flow completion, or give more capacity."
        )
    if most := max(dead.values(), default=0.0):
        late = max(dead[v] - dead_link_share(forecast, v, "dropped_undetected") for v in forecast.variants)
        yield (
            f"Up to {text.percent(most)} of packets are lost at links that are down, up to {text.percent(late)} after "
            "routing knew: by hosts that steer until they suspect a path (steering.suspect_after; 0 is never), or for "
            "want of another. No queue is to blame, and capacity does not help."
        )


def _of_received(forecast: Forecast) -> Iterator[str]:
    """What limits times of received packets."""
    drops = {v: forecast.estimate(v, "drop_ratio").mean or 0.0 for v in forecast.variants}
    if max(drops.values(), default=0.0) > 0:
        yield (
            "Delays and flow completion are those of received packets. A policy that drops more can look quicker, and "
            "a flow that loses its first or last packets seems quick, even below 1x slowdown: read both beside drops."
        )
    if not forecast.decision.knows_p999:
        yield (
            "p99.9 is grey: it rests on the luck of a few flows or busy periods. It takes at least "
            f"{text.count(FLOWS_FOR_P999)} flows of one size (effective_flows of summary), "
            f"{text.count(PACKETS_FOR_P999)} packets received and, where packets wait, {PERIODS_BEYOND} separate busy "
            "periods beyond it (busy_periods_p999)."
        )
    yield (
        "Slowdown compares with an empty network in which all packets of a flow take its fastest path: a flow that is "
        "spread over several can be quicker, below 1x. Flow completion of recorded packets is hardly more than the "
        "time that their sender took, over the load."
    )


def _of_senders(forecast: Forecast) -> Iterator[str]:
    """What limits times of flows whose senders react."""
    said = forecast.senders
    recovery = (
        "three segments received above a missing one make it lost" if said.get("receiver") == "dupack" else _BY_TIME
    )
    rules = "ns-3" if said.get("rules") == "ns-3" else "the RFCs"
    of = "list" if forecast.of_list else "trace"
    yield (
        f"Senders are a model of TCP after {rules}, with {said.get('control', 'cubic')}; {recovery}. Hosts "
        f"take no time of their own, receivers read at once, and applications ask for what the {of} says and no more."
    )
    done = [n - (left or 0) for v in forecast.variants for n, left in _flows(forecast, v) if n is not None]
    if 0 < min(done, default=0) < _FEW_FLOWS:
        yield "Fewer than 1 000 flows finish in a cell: p99 rests on fewer than ten of them, p99.9 on none or one."
    if any(left for v in forecast.variants for _, left in _flows(forecast, v)):
        yield (
            "Flows that did not finish are in no completion time: percentiles of a policy that leaves more of them are "
            "those of the luckier flows. The figures of all flows show them as slower than anything."
        )


def _flows(forecast: Forecast, variant: Variant) -> list[tuple[float | None, float | None]]:
    """Of each seed, the flows and how many of them are unfinished."""
    return list(zip(forecast.values(variant, "messages"), forecast.values(variant, "unfinished"), strict=True))
