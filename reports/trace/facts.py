"""What `segcast inspect` and `segcast ingest` print: what a trace holds, and how far it can be trusted."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from segcast.reports import text
from segcast.reports.console import print_table
from segcast.reports.text import counted
from segcast.traces.reasons import FILTERED, REASONS

if TYPE_CHECKING:
    from rich.console import Console

_TALKERS: Final = 5
_CAPTURES: Final = 10
_SECOND_NS: Final = 10**9
_MOST_TENANTS: Final = 5


def print_facts(facts: dict[str, Any], console: Console) -> None:
    """The document of `segcast.traces.quality.describe`, in sections; findings come last, worst first."""
    sources = facts["sources"]
    where = f" of {len(sources)} captures" if len(sources) > 1 else ""
    _say(
        console,
        f"{counted(facts['packets'], 'packet')} of {counted(facts['flows'], 'flow')}, "
        f"{text.size(facts['wire_bytes'])} on the wire, {text.size(facts['captured_bytes'])} captured{where}",
    )
    if facts["first_ns"] is not None:
        span = text.duration(facts["duration_ns"])
        _say(console, f"{moment(facts['first_ns'])} to {moment(facts['last_ns'])} UTC, {span}")
    if facts["mean_bps"] is not None:
        interval = text.duration(facts["peak_interval_ns"])
        _say(
            console,
            f"{text.rate(facts['mean_bps'])} on average, {text.rate(facts['peak_bps'])} in the busiest {interval}",
        )
    _say(console, f"addresses of the {facts['layer']} IP header; {_details(facts)}")
    _print_protocols(facts, console)
    _print_talkers(facts, console)
    _print_captures(sources, console)
    filtered = {name: count for name, count in facts["skipped"].items() if name == REASONS[FILTERED]}
    without_ip = {name: count for name, count in facts["skipped"].items() if name not in filtered}
    left = {name.replace("_", " "): count for name, count in facts["left_out"].items()}
    left |= {f"packets by the filter {facts['filter']!r}": count for count in filtered.values()}
    for title, counts in (
        ("link types", _by_name(facts["link_types"])),
        ("not IP", without_ip),
        ("looked through", facts["tunnels"]),
        ("not looked through", facts["tunnels_unread"]),
        ("tenants", _tenants(facts["tenants"])),
        ("segment lists unread", facts["segment_lists_unread"]),
        ("left out", left),
    ):
        if any(counts.values()):
            _say(console, f"{title}: {_counts(counts)}")
    if any(entry["name"] == "tcp" for entry in facts["protocols"]):
        _say(console, _tcp(facts))
    for finding in facts["findings"]:
        _print_finding(finding, console)
    _print_verdict(facts, console)
    if "cross_check" in facts:
        _print_cross_check(facts["cross_check"], facts["anonymized"] is not None, console)


def _tenants(tenants: list[dict[str, Any]]) -> dict[str, int]:
    """Packets of the largest tenants by name, and of the others together."""
    named = {entry["tenant"]: entry["packets"] for entry in tenants[:_MOST_TENANTS]}
    others = tenants[_MOST_TENANTS:]
    return named | ({f"{len(others):,} more": sum(entry["packets"] for entry in others)} if others else {})


def moment(time_ns: int) -> str:
    """A time in UTC to the nanosecond; where no calendar has it, nanoseconds since 1970."""
    seconds, rest = divmod(time_ns, _SECOND_NS)
    try:
        whole = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    except OverflowError:
        return f"{time_ns:,} ns"
    return f"{whole:%Y-%m-%d %H:%M:%S}.{rest:09}"


def _by_name(link_types: list[dict[str, Any]]) -> dict[str, int]:
    """Packets by name: several link types are called alike."""
    sums: dict[str, int] = {}
    for entry in link_types:
        sums[entry["name"]] = sums.get(entry["name"], 0) + entry["packets"]
    return sums


def _details(facts: dict[str, Any]) -> str:
    """What was changed on the way, or that nothing was."""
    done = []
    if facts["anonymized"]:
        done.append(f"anonymized by {facts['anonymized']['method']}, key {facts['anonymized']['key_fingerprint']}")
    if facts["offload_split"]:
        done.append(f"super-frames split, segment size {facts['offload_split']['mss']}")
    if facts["truncated_packets"]:
        done.append(f"{text.percent(facts['truncated_share'])} of the frames captured in part")
    if facts["packets_without_time"]:
        done.append(f"{counted(facts['packets_without_time'], 'frame')} without a time")
    if facts["fragments_without_first"]:
        done.append(f"{counted(facts['fragments_without_first'], 'fragment')} without the first")
    if facts["segment_lists"]:
        done.append(counted(facts["segment_lists"], "SRv6 segment list"))
    return "; ".join(done or ["all frames whole"])


def _print_protocols(facts: dict[str, Any], console: Console) -> None:
    _print_traffic("protocol", "name", [*facts["ip_versions"], *facts["protocols"]], console)


def _print_talkers(facts: dict[str, Any], console: Console) -> None:
    _print_traffic("sends most", "src", facts["top_talkers"][:_TALKERS], console)


def _print_traffic(title: str, name: str, entries: list[dict[str, Any]], console: Console) -> None:
    rows = [[e[name], f"{e['flows']:,}", f"{e['packets']:,}", text.size(e["wire_bytes"])] for e in entries]
    if rows:
        _section([[title, "flows", "packets", "bytes"], *rows], console)


def _print_captures(sources: list[dict[str, Any]], console: Console) -> None:
    """A line each; of many the damaged ones first."""
    ordered = sorted(sources, key=lambda source: not (source["damages"] or source["drops"]))
    shown = sources if len(sources) <= _CAPTURES else ordered[:_CAPTURES]
    rows = [["capture", "packets", "clock", "snaplen", "from", ""]]
    for source in shown:
        kind = source["format"] if source["compression"] == "none" else f"{source['format']}, {source['compression']}"
        notes = [f"damaged at byte {damage['offset']:,}" for damage in source["damages"]]
        notes += [f"dropped {count:,} ({who})" for who, count in source["drops"].items()]
        unit = source["clock_unit_seen_ns"]
        rows.append(
            [
                source["path"],
                f"{source['packets']:,}",
                text.NO_VALUE if unit is None else text.duration(unit),
                text.NO_VALUE if source["snaplen_bytes"] is None else f"{source['snaplen_bytes']:,}",
                text.NO_VALUE if source["first_ns"] is None else moment(source["first_ns"]),
                "; ".join([kind, *notes]),
            ]
        )
    _section(rows, console, left=(0, 4, 5))
    if len(shown) < len(sources):
        _say(console, f"... and {counted(len(sources) - len(shown), 'more capture')}, listed by --json")
    console.print()


def _tcp(facts: dict[str, Any]) -> str:
    trips = f"round trips of {counted(facts['flows_with_rtt'], 'flow')}"
    if facts["flows_with_rtt"]:
        trips += (
            f": least {text.duration(facts['rtt_min_ns'])}, median of medians {text.duration(facts['rtt_median_ns'])}"
        )
    return (
        f"TCP: {counted(facts['retransmissions'], 'retransmission')}, {facts['out_of_order']:,} out of order; {trips}; "
        f"{counted(facts['one_sided_tcp_flows'], 'flow')} without the other direction"
    )


def _print_finding(finding: dict[str, Any], console: Console) -> None:
    """Two lines: what was found, and what it does to a forecast."""
    style = {"error": "bold red", "warning": "yellow"}.get(finding["severity"], "")
    head = f"{finding['severity']}: {finding['code'].replace('_', ' ')} ({finding['count']:,}): {finding['detail']}"
    console.print(head, style=style, markup=False, highlight=False)
    _say(console, f"  effect: {finding['effect']}")


_VERDICTS: Final = {
    "fit": "fit to ask what flowlets would do to it",
    "usable": "usable, with this in mind",
    "unfit": "unfit to ask what flowlets would do to it",
}


def _print_verdict(facts: dict[str, Any], console: Console) -> None:
    """Whether the trace can be asked, and why it can not, or not wholly."""
    reasons = facts["reasons"]
    only = f": {reasons[0]}" if len(reasons) == 1 else ""
    style = {"fit": "green", "usable": "yellow", "unfit": "bold red"}[facts["verdict"]]
    console.print(f"verdict: {_VERDICTS[facts['verdict']]}{only}", style=style, markup=False, highlight=False)
    for reason in reasons if not only else ():
        _say(console, f"  {reason}")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)


def _section(rows: list[list[str]], console: Console, left: Iterable[int] = (0,)) -> None:
    console.print()
    print_table(console, rows, tuple(left))


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False)


def _print_cross_check(compared: dict[str, Any], anonymized: bool, console: Console) -> None:
    """How many frames dpkt reads as Segcast does, and what differs."""
    left_out = sum(compared["not_compared"].values())
    line = f"cross-check with dpkt: {compared['agreed']:,} of {counted(compared['frames'], 'frame')} agree"
    if anonymized:
        line += " but for their addresses, which are anonymized"
    if left_out:
        line += f"; {left_out:,} not compared: {_counts(compared['not_compared'])}"
    _say(console, line)
    for entry in compared["differences"]:
        _say(
            console,
            f"differs: {entry['file']}, frame {entry['frame_number']}, {entry['field']}: "
            f"{entry['segcast']} by Segcast, {entry['dpkt']} by dpkt",
        )
    if (more := compared["difference_count"] - len(compared["differences"])) > 0:
        _say(console, f"{more:,} more differences")
