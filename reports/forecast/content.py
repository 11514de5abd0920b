"""The parts of the page, in the order in which they appear: what the template lays out."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, Final

from segcast.analyzer.answers.wording import TENFOLD
from segcast.analyzer.forecast.compare import load_label
from segcast.analyzer.network.sid_table import SIDS_BEGIN
from segcast.reports import text
from segcast.reports.forecast import distributions, figures
from segcast.reports.forecast.caveats import caveats
from segcast.reports.forecast.data import Comparison, Forecast, Variant
from segcast.reports.forecast.distributions import DELAY, FCT, SLOWDOWN, bin_label, by_size
from segcast.reports.forecast.drops import Drops, drops_by_cause
from segcast.reports.forecast.load_curve import LoadCurve
from segcast.reports.forecast.matrices import MANY, Matrices, unclear, words
from segcast.reports.forecast.metrics import BY_COLUMN, FLOW_TIMES, METRICS, PACKET_TIMES, TCP_COSTS, UNFINISHED
from segcast.reports.forecast.network.link_loads import LinkLoads
from segcast.reports.forecast.network.path_loads import PathLoads, group_names, path_loads
from segcast.reports.forecast.numbers import MOST_ON_DEMAND, Numbers, numbers
from segcast.reports.forecast.words import answer_found, card, mode, pooled_words, unfinished
from segcast.reports.style import Figure
from segcast.traces.ingest.opening import is_cached

_TILES: Final = [BY_COLUMN[c] for c in ("delay_p99_ns", "slowdown_p99", "drop_ratio", "reordered_ratio")]
_FLOW_TILES: Final = [
    metric
    for metric in (*FLOW_TIMES, *TCP_COSTS)
    if metric.column in ("fct_p50_ns", "fct_p99_ns", "retransmissions", "reordered_ratio")
]
_LOSSES: Final = {False: "losses told by time (rack)", True: "losses told by three later segments (dupack)"}
_MOST_ROWS: Final = 16
_LONG_SENTENCE: Final = 160
_MOST_SEEN: Final = 8
_MOST_SIDS: Final = 2000
_LONGEST_SCENARIO: Final = 20_000


@dataclass(frozen=True, slots=True)
class Chip:
    """A button that shows and hides a variant, and is its legend."""

    number: int
    label: str
    shown: bool
    colour: str
    dash: str
    marker: str


@dataclass(frozen=True, slots=True)
class Whisker:
    """A change against the baseline, placed along a track in percent of its width; `beyond`: it goes on."""

    variant: Variant
    words: str
    dot: float
    left: float
    width: float
    mood: str
    beyond: bool


class ForecastContent:
    """Everything the template needs; text is plain and escaped by the template."""

    def __init__(self, forecast: Forecast) -> None:
        self.forecast = forecast
        self.cast = figures.Cast.of(forecast)
        self.curve = LoadCurve(forecast, self.cast)
        self.found = answer_found(forecast)
        self.matrices = Matrices(forecast, self.changes_metric)
        self.card = card(forecast)
        self.sentence = forecast.decision.do
        self.mode, self.meaning = mode(forecast)
        self.unfinished = unfinished(forecast)
        self.pooled = pooled_words(forecast)
        self.caveats = caveats(forecast)
        self.trace = forecast.section("trace")
        self.network = forecast.section("network")
        self.baseline = (self.found.against if self.found else forecast.baseline or Variant("", None)).label

    @property
    def title(self) -> str:
        """The trace's name."""
        return str(self.trace.get("name") or self.forecast.folder.resolve().name)

    @property
    def brief(self) -> str:
        """The answer in a few words, for the page's title: `use inflight, 100 us`."""
        return text.brief(self.headline)

    @property
    def headline(self) -> str:
        """The answer in large type: the whole sentence, or where that is long the same in short."""
        short = self.forecast.decision.brief
        return short if short and len(short) < len(self.sentence) > _LONG_SENTENCE else self.sentence

    @cached_property
    def tiles(self) -> list[tuple[str, str, str]]:
        """Gains and costs of the answer's variant: title, its value, the baseline's."""
        if self.found is None:
            return []
        rows = []
        tiles = _FLOW_TILES if self.forecast.reacts else _TILES
        for metric in [UNFINISHED, *tiles[1:]] if self.unfinished else tiles:
            ours, theirs = (
                metric.unit(self.forecast.estimate(v, metric.column).mean)
                for v in (self.found.variant, self.found.against)
            )
            rows.append((metric.title, ours, theirs))
        return rows

    @cached_property
    def drops(self) -> list[Drops]:
        """Why packets were dropped, of what is shown at first; empty where none was."""
        return drops_by_cause(self.forecast)

    @cached_property
    def chips(self) -> list[tuple[str, list[Chip]]]:
        """The variants by policy."""
        rows: dict[str, list[Chip]] = {}
        for number, variant in enumerate(self.cast.variants):
            look = self.cast.looks[variant]
            name = variant.beside or variant.policy
            chip = Chip(number, name, variant in self.cast.shown, look.colour, look.dash_array, look.marker_shape)
            rows.setdefault(variant.policy, []).append(chip)
        return list(rows.items())

    @property
    def ran(self) -> str:
        """What was run: each variant, or of many the policies, timeouts and loads."""
        variants, seeds = self.forecast.variants, self.forecast.seeds
        if len(variants) <= MANY:
            return "; ".join(f"{v.label} × {text.counted(seeds(v), 'seed')}" for v in variants)
        of_policy: dict[str, list[str]] = {}
        for v in variants:
            of_policy.setdefault(v.policy, []).append(v.timeout)
        said = [
            policy + (f" at {', '.join(those)}" if (those := list(dict.fromkeys(t))) != [text.NO_VALUE] else "")
            for policy, t in of_policy.items()
        ]
        loads = list(dict.fromkeys(_load(v) for v in sorted(variants, key=lambda v: v.load)))
        at = f"; {', '.join(loads)}" if len(loads) > 1 else ""
        return f"{'; '.join(said)}{at}; × {text.counted(self.forecast.most_seeds, 'seed')}"

    @property
    def best_of(self) -> str:
        """Among what the table marks the best."""
        return "its column at each load" if len({v.load for v in self.forecast.variants}) > 1 else "its column"

    @cached_property
    def tables(self) -> dict[str, Numbers]:
        """Key numbers by the name under which the page places them."""
        if not self.forecast.reacts:
            return {"numbers": numbers(self.forecast, "Key numbers", METRICS)}
        times = FLOW_TIMES if self.unfinished else FLOW_TIMES[1:]
        return {
            "numbers": numbers(self.forecast, "Flow completion times", times, self.forecast.headline),
            "costs": numbers(self.forecast, "What reordering and losses cost", TCP_COSTS),
            "packets": numbers(self.forecast, "Packets", PACKET_TIMES),
        }

    @cached_property
    def changes(self) -> list[Whisker]:
        """The answer's metric against the baseline, a row per variant."""
        rows = [
            c
            for v in self.forecast.variants
            if (c := self.forecast.compared(v, self.changes_metric)) and c.change is not None
        ]
        if not rows:
            return []
        if self.matrices:
            rows = sorted(rows, key=lambda c: (c.variant.load, c.change or 0.0))[:MOST_ON_DEMAND]
        # One bar too long would flatten the others: it ends at a doubling, or at twice the largest change.
        most = min(max(1.0, *(2 * abs(c.change or 0.0) for c in rows)), TENFOLD)
        ends = [min(e, most) for c in rows for e in (c.change, c.low, c.high) if e is not None]
        low, high = min(0.0, *ends), max(0.0, *ends)
        room = max((high - low) * 0.06, 0.01)
        low, high = low - room, high + room
        self.zero = round((0.0 - low) / (high - low) * 100, 2)
        return [_whisker(c, low, high, most) for c in rows]

    @property
    def changes_metric(self) -> str:
        """The column that `changes` and matrices compare."""
        return self.found.metric if self.found else self.forecast.headline

    @cached_property
    def changes_seen(self) -> list[Whisker]:
        """The changes seen at once where matrices fold the others: the best at the load of the answer."""
        about = self.forecast.answered or self.forecast.baseline
        loads = [row.variant.load for row in self.changes]
        load = about.load if about is not None and about.load in loads else min(loads, default=1.0)
        return [row for row in self.changes if row.variant.load == load][:_MOST_SEEN] if self.matrices else self.changes

    @property
    def changes_load(self) -> str:
        """The load of the changes seen at once."""
        return _load(self.changes_seen[0].variant)

    @property
    def changes_against(self) -> str:
        """What `changes` compares with; a baseline of several timeouts or loads is met by what is at the same."""
        others = list(dict.fromkeys(c.against for c in self.forecast.comparisons))
        timeouts, loads = len({v.timeout for v in others}) > 1, len({v.load for v in others}) > 1
        if not timeouts and not loads:
            return self.baseline
        one = others[0]
        if timeouts:
            one = replace(one, timeout_ns=None, rule=None)
        if loads:
            one = replace(one, load=1.0, growth=None, year=None, share=None, several=False)
        return f"{one.label} at the same {' and '.join(['timeout'] * timeouts + ['load'] * loads)}"

    @property
    def senders(self) -> str:
        """How senders react, in words."""
        said = self.forecast.senders
        rules = " as ns-3 has it" if said.get("rules") == "ns-3" else ""
        also = [word for key, word in (("tso", "super-frames of {}"), ("pacing", "paced")) if said.get(key)]
        also = [word.format(said.get("tso")) for word in also if not (word[0] == "s" and said.get("tso") == "0B")]
        words = [f"TCP {said.get('control', 'cubic')}{rules}", _LOSSES[said.get("receiver") == "dupack"], *also]
        return ", ".join(words)

    @property
    def recovery(self) -> str:
        """What receivers and senders do about reordering, in a sentence."""
        if self.forecast.senders.get("receiver") == "dupack":
            return "A segment counts as lost when three sent after it have arrived (receiver = dupack)."
        return "A segment counts as lost when one sent a while after it has arrived (receiver = rack)."

    @property
    def first_cell(self) -> str:
        """The variant of the first cell."""
        return self.forecast.first.label

    @property
    def sources(self) -> list[str]:
        """Names of the capture files."""
        return [PurePath(source["path"]).name for source in self.trace.get("sources", [])]

    @property
    def changes_title(self) -> str:
        """What `changes` shows."""
        return BY_COLUMN[self.changes_metric].title

    def drawings(self) -> dict[str, Figure]:
        """Figures by the name under which the page places them."""
        found: dict[str, Figure] = self.curve.figures()
        detail = distributions.points(len(self.cast.variants) * (6 if self.forecast.reacts else 2))
        if self.forecast.reacts and self.has_sizes:
            found |= self._flow_drawings(detail)
        if self.has_delays:
            curves = self.forecast.curves("delay_ns")
            found["delay-tail"] = distributions.tail(curves, self.cast, DELAY, detail)
            found["delay-cdf"] = distributions.cdf(curves, self.cast, DELAY, detail)
        if self.has_sizes:
            for quantile in ("p50", "p99"):
                column = f"slowdown_{quantile}"
                found[f"slowdown-{quantile}"] = by_size(self.forecast.sizes, self.cast, SLOWDOWN, column)
        if self.forecast.profile:
            found["profile-flowlets"] = figures.profile_flowlets(self.forecast.profile)
            found["profile-packets"] = figures.profile_packets(self.forecast.profile)
        return found | self.loads.figures | self.link_loads.figures

    def _flow_drawings(self, detail: int) -> dict[str, Figure]:
        """Figures of what flows feel, where senders react."""
        most = max(
            (int(n) for v in self.forecast.variants for n in self.forecast.values(v, "messages") if n), default=1
        )
        found: dict[str, Figure] = {}
        for name, metric, of in (("fct", "fct_ns", FCT), ("slow", "slowdown", SLOWDOWN)):
            curves = self.forecast.curves(metric)
            found[f"{name}-tail"] = distributions.tail(curves, self.cast, of, detail, most)
            found[f"{name}-cdf"] = distributions.cdf(curves, self.cast, of, detail)
        for quantile in ("p50", "p99"):
            found[f"fct-{quantile}"] = by_size(self.forecast.sizes, self.cast, FCT, f"fct_{quantile}_ns")
        return found

    @cached_property
    def has_delays(self) -> bool:
        """Whether there is a delay to draw."""
        return any(self.forecast.estimate(v, "delay_p50_ns").mean is not None for v in self.forecast.variants)

    @cached_property
    def has_sizes(self) -> bool:
        """Whether there is a slowdown to draw."""
        return any(row["slowdown_p99"] is not None for rows in self.forecast.sizes.values() for row in rows)

    @cached_property
    def size_bins(self) -> list[tuple[str, int]]:
        """Bins of flow size and how many flows they hold (the most of any cell)."""
        bins: dict[tuple[int, int | None], int] = {}
        for row in (row for rows in self.forecast.sizes.values() for row in rows if row["flows"]):
            key = (row["min_bytes"], row["below_bytes"])
            bins[key] = max(bins.get(key, 0), row["flows"])
        return [(bin_label(*key), number) for key, number in sorted(bins.items(), key=lambda item: item[0][0])]

    @cached_property
    def link_loads(self) -> LinkLoads:
        """Utilisation of links over time, per variant shown at first."""
        return LinkLoads(self.forecast, self.cast)

    @cached_property
    def loads(self) -> PathLoads:
        """Path load per variant and direction."""
        return path_loads(self.forecast, self.cast)

    @property
    def paths(self) -> list[dict[str, Any]]:
        """Rows of the table of paths, with the keys the template asks for: the first, or of many the most loaded."""
        keys = ("path_id", "group", "slot", "links", "rate_bps", "delay_ns", "srv6_bytes")
        rows = self.network.get("paths") or []
        between = group_names(self.forecast)
        shown = _busiest(rows, [self._sent.get(path["path_id"], 0) / (path.get("rate_bps") or 1) for path in rows])
        return [
            {key: path.get(key) for key in keys} | {"group": between.get(path["group"], path["group"])}
            for path in shown
        ]

    @property
    def links(self) -> list[dict[str, Any]]:
        """Rows of the table of links, with the keys the template asks for: the first, or of many the most loaded."""
        keys = ("name", "rate_bps", "delay_ns", "buffer_bytes", "ecn_bytes", "overhead_bytes", "burst_bytes")
        rows = self.network.get("links") or []
        carried: dict[str, int] = {}
        for path in self.network.get("paths") or []:
            for name in path.get("links") or []:
                carried[name] = carried.get(name, 0) + self._sent.get(path["path_id"], 0)
        shown = _busiest(rows, [carried.get(link.get("name"), 0) / (link.get("rate_bps") or 1) for link in rows])
        return [{key: link.get(key) for key in keys} for link in shown]

    @cached_property
    def _sent(self) -> dict[int, int]:
        """Bytes sent into each path, over all variants that have a series."""
        sent: dict[int, int] = {}
        for table in self.forecast.series.values():
            for row in table.group_by("path_id", use_threads=False).aggregate([("bytes", "sum")]).to_pylist():
                sent[row["path_id"]] = sent.get(row["path_id"], 0) + row["bytes_sum"]
        return sent

    @property
    def hidden(self) -> tuple[int, int]:
        """How many paths and links the tables leave out."""
        paths, links = (len(self.network.get(name) or []) for name in ("paths", "links"))
        return max(0, paths - _MOST_ROWS), max(0, links - _MOST_ROWS)

    @cached_property
    def sids(self) -> list[tuple[str, str, str, str]]:
        """Rows of the table of SIDs, as (node, behaviour, SID, what for); the first of many."""
        rows = []
        for row in self.forecast.section("sids").get("sids") or []:
            attached = f"hosts at {row['attachment']}" if row.get("attachment") else ""
            why = f"over {row['link']} to {row['neighbor']}" if row.get("link") else attached
            rows.append((row["node"], row["behavior"], row["sid"], why))
        return rows[:_MOST_SIDS]

    @cached_property
    def segment_lists(self) -> list[tuple[int, str, str, str]]:
        """Rows of the table of segment lists, as (path, between, IPv4, IPv6); the first of many."""
        return [
            (row["path_id"], f"{row['from']} → {row['to']}", " ".join(row["ipv4"]), " ".join(row["ipv6"]))
            for row in (self.forecast.section("sids").get("lists") or [])[:_MOST_SIDS]
        ]

    @property
    def hidden_sids(self) -> tuple[int, int]:
        """How many SIDs and segment lists the tables leave out."""
        found = self.forecast.section("sids")
        sids, lists = (max(0, len(found.get(name) or []) - _MOST_SIDS) for name in ("sids", "lists"))
        return sids, lists

    @property
    def changes_of_links(self) -> list[str]:
        """What happens to links, in words; the first of many."""
        found = [f"{text.duration(event.at_ns)}: {event.words}" for event in self.link_loads.places.events]
        more = [f"and {text.count(len(found) - _MOST_ROWS)} more"] if len(found) > _MOST_ROWS else []
        return found[:_MOST_ROWS] + more

    @property
    def again(self) -> str:
        """The command that runs the same forecast again, given in its folder."""
        trace = self.forecast.section("trace")
        sources = [str(source["path"]) for source in trace.get("sources") or []]
        taken = str(trace.get("folder") or "TRACE")
        if self.forecast.of_list and sources:
            taken = str(Path(taken) / Path(sources[0]).name)
        elif len(sources) == 1 and is_cached(Path(taken)):
            taken = sources[0]
        words = ["segcast", "forecast", taken]
        words += ["--layer", "inner"] if trace.get("layer") == "inner" else []
        return shlex.join([*words, "--scenario", "scenario.toml", "--out", "../again"])

    @property
    def scenario(self) -> str:
        """The scenario file, if it lies in the folder and is not overlong."""
        path = self.forecast.folder / "scenario.toml"
        content = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        content = content.partition(f"\n{SIDS_BEGIN}")[0]  # they have tables of their own
        return content if len(content) <= _LONGEST_SCENARIO else ""


def _load(variant: Variant) -> str:
    return load_label(variant.load, variant.growth, variant.year, variant.share)


def _busiest(rows: Sequence[dict[str, Any]], load: Sequence[float]) -> Sequence[dict[str, Any]]:
    """All rows in their order if they are few, else those of the highest load, that first."""
    if len(rows) <= _MOST_ROWS:
        return rows
    return [rows[place] for place in sorted(range(len(rows)), key=lambda place: -load[place])[:_MOST_ROWS]]


def _whisker(found: Comparison, low: float, high: float, most: float) -> Whisker:
    def place(value: float) -> float:
        return round((min(value, most) - low) / (high - low) * 100, 2)

    change = found.change or 0.0
    left, right = (place(change if end is None else end) for end in (found.low, found.high))
    mood = "unclear" if unclear(found) else "better" if change < 0 else "worse"
    beyond = max(change, found.high or 0.0) > most
    return Whisker(found.variant, words(found), place(change), left, round(right - left, 2), mood, beyond)
