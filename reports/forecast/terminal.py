"""A forecast in a terminal: the answer first, then one line per policy and timeout."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from segcast.analyzer.forecast.compare import load_number
from segcast.reports import text
from segcast.reports.forecast.caveats import idle, loads_of, of_scenario, why_excluded
from segcast.reports.forecast.data import Forecast, Variant
from segcast.reports.forecast.matrices import MANY
from segcast.reports.forecast.words import card, mode, pooled_words, unfinished

if TYPE_CHECKING:
    from rich.console import Console

WIDTH: Final = 100
_LONGEST_NAME: Final = 24
_WORD: Final = 9  # the words of the card and a space


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: its title, its text for a variant, and how gladly it is left out of a narrow terminal (0: never)."""

    title: str
    words: Callable[[Forecast, Variant], str]
    rank: int = 0


def _mean(column: str, unit: Callable[[float | None], str]) -> Callable[[Forecast, Variant], str]:
    return lambda forecast, variant: unit(forecast.estimate(variant, column).mean)


def _against(forecast: Forecast, variant: Variant) -> str:
    """The change of the headline's p99: `-31 % (-35 to -27)`, `-31 % (-90 to >x10)`."""
    if variant in forecast.baselines:
        return "baseline"
    found = forecast.compared(variant, forecast.headline)
    if found is None:
        return text.NO_VALUE
    interval = text.change_interval(found.low, found.high).replace("more than tenfold", ">x10")
    return text.change(found.change) + (f" ({interval})" if interval else "")


def _tally(value: float | None) -> str:
    return text.tally(value, ",")


def _p999(forecast: Forecast, variant: Variant) -> str:
    """The p99.9 delay; in parentheses where too little is behind it."""
    value = text.duration(forecast.estimate(variant, "delay_p999_ns").mean)
    return value if forecast.decision.knows_p999 or value == text.NO_VALUE else f"({value})"


def _policy(forecast: Forecast, variant: Variant) -> str:
    name = "".join(c if c.isprintable() else "?" for c in variant.policy)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 2]}.."


_NAMES: Final = (
    _Column("policy", _policy),
    _Column("timeout", lambda _, v: v.timeout),
    _Column("load", lambda _, v: load_number(v.load, v.share)),
    _Column("year", lambda _, v: text.NO_VALUE if v.year is None else str(v.year)),
)
_COLUMNS: Final = (
    *_NAMES,
    _Column("p50", _mean("delay_p50_ns", text.duration), 5),
    _Column("p99", _mean("delay_p99_ns", text.duration)),
    _Column("change of p99", _against),
    _Column("p99.9", _p999, 4),
    _Column("busiest", _mean("utilisation_max", text.percent), 3),
    _Column("queue99", _mean("queue_p99_ns", text.duration), 6),
    _Column("slow99", _mean("slowdown_p99", text.plain), 4),
    _Column("drops", _mean("drop_ratio", text.percent), 1),
    _Column("reord", _mean("reordered_ratio", text.percent), 2),
    _Column("imbal", _mean("imbalance", lambda v: text.plain(v, 2)), 7),
)
_FLOW_COLUMNS: Final = (
    *_NAMES,
    _Column("unfin", _mean("unfinished", _tally)),
    _Column("FCT50", _mean("fct_p50_ns", text.duration), 3),
    _Column("FCT95", _mean("fct_p95_ns", text.duration), 6),
    _Column("FCT99", _mean("fct_p99_ns", text.duration)),
    _Column("change of p99", _against),
    _Column("mean", _mean("fct_mean_ns", text.duration), 4),
    _Column("slow99", _mean("slowdown_p99", text.plain), 5),
    _Column("resent", _mean("retransmissions", _tally), 1),
    _Column("RTOs", _mean("timeouts", _tally), 2),
    _Column("reord", _mean("reordered_ratio", text.percent), 1),
    _Column("SYNs", _mean("syn_retransmissions", _tally), 7),
    _Column("goodput", _mean("goodput_bps", text.rate), 7),
    _Column("delay99", _mean("delay_p99_ns", text.duration), 8),
    _Column("busiest", _mean("utilisation_max", text.percent), 6),
)
_LEFT: Final = ("policy", "change of p99")


def print_forecast(folder: Path, console: Console, *, every: bool = False) -> None:
    """Print the answer and the key numbers of a forecast folder; plain ASCII, styled only in a terminal.

    Of many variants only each policy's best timeout is printed, unless `every` one is asked for. A narrow terminal
    loses columns rather than alignment; what is no terminal gets all of them. Raises InputError as `Forecast` does.
    """
    forecast = Forecast(folder)
    width = console.width if console.is_terminal else WIDTH

    def say(line: str, style: str = "") -> None:
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

    for line, style in _card(card(forecast), min(width, WIDTH)):
        say(line, style)
    say("")
    say(" ".join(mode(forecast)))
    if (left := unfinished(forecast)) is not None:
        say(left, "bold")
    say("")
    rows = forecast.variants if every or len(forecast.variants) <= MANY else forecast.leaders
    lines, left_out = table(forecast, min(width, WIDTH) if console.is_terminal else None, rows)
    best = forecast.answered
    for variant, line in lines:
        say(line, "dim" if variant is None else "bold" if variant == best else "")
    say("")
    if len(rows) < len(forecast.variants):
        each = " at each load" if len({v.load for v in rows}) > 1 else ""
        rest = f"all {len(forecast.variants)} rows are in the report, or with --all"
        say(f"The best timeout of each policy{each}; {rest}.", "dim")
    for note in _notes(forecast, left_out):
        say(note, "dim")


def _card(lines: Sequence[tuple[str, str]], width: int) -> Iterator[tuple[str, str]]:
    """The decision card, folded, with its styles: the answer is bold, a word that comes again is left out."""
    before = ""
    for word, said in lines:
        head = "" if word == before else f"{word}:"
        folded = textwrap.wrap(said, width - _WORD, break_long_words=False, break_on_hyphens=False)
        for place, part in enumerate(folded):
            yield f"{head if place == 0 else '':<{_WORD}}{part}", "bold" if word == "Do" else ""
        before = word


def table(
    forecast: Forecast, width: int | None, variants: Sequence[Variant] | None = None
) -> tuple[list[tuple[Variant | None, str]], bool]:
    """Aligned lines with their variants (None: the head), and whether columns had to go to fit the width, if any.

    All variants have a line, unless some are given.
    """
    rows = forecast.variants if variants is None else variants
    columns = _FLOW_COLUMNS if forecast.reacts else _COLUMNS
    cells = {c: [c.title, *(c.words(forecast, v) for v in rows)] for c in columns}
    kept = [c for c in columns if c.title != "load" or any(v.load != 1 for v in forecast.variants)]
    kept = [c for c in kept if c.title != "year" or any(v.year is not None for v in forecast.variants)]
    if unfinished(forecast) is None:
        kept = [c for c in kept if c.title != "unfin"]
    there = len(kept)
    gap = 2

    def fits() -> bool:
        return width is None or sum(max(map(len, cells[c])) for c in kept) + gap * (len(kept) - 1) <= width

    if not fits():
        gap = 1
    while not fits() and any(c.rank for c in kept):
        kept.remove(max(kept, key=lambda c: c.rank))
    lines = []
    for row, variant in enumerate([None, *rows]):
        parts = [
            cells[c][row].ljust(size) if c.title in _LEFT else cells[c][row].rjust(size)
            for c in kept
            for size in (max(map(len, cells[c])),)
        ]
        lines.append((variant, (" " * gap).join(parts).rstrip()))
    return lines, len(kept) < there


def _notes(forecast: Forecast, left_out: bool) -> Iterator[str]:
    seeds = forecast.most_seeds
    what = "FCT: from asked for to the last byte." if forecast.reacts else "Delays are one-way, of received packets."
    if seeds > 1:
        yield f"Means over {seeds} seeds, 95 % intervals in parentheses. {what}"
    else:
        yield f"One seed, so no intervals. {what}"
    if (pooled := pooled_words(forecast)) is not None:
        yield pooled
    if seeds > 1:
        yield forecast.decision.covers
    if not forecast.reacts and not forecast.decision.knows_p999:
        yield "p99.9 in parentheses: too few flows or busy periods are behind it."
    yield from loads_of(forecast)
    if (nothing := idle(forecast)) is not None:
        yield nothing
    yield from of_scenario(forecast)
    excluded = {key: n for key, n in forecast.section("excluded").items() if isinstance(n, int) and n > 0}
    if excluded:
        verb = "is" if sum(excluded.values()) == 1 else "are"
        reasons = ", ".join(f"{n:,} {why_excluded(forecast, key)}" for key, n in excluded.items())
        yield f"{text.counted(sum(excluded.values()), 'packet')} of the trace {verb} left out: {reasons}."
    if left_out:
        yield "Some columns do not fit here; the report has them all."
