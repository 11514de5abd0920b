"""What a validation against live runs shows: in a terminal and on a page, from its document alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from segcast.replay.validate.live.document import LiveValidationDocument
from segcast.reports import text
from segcast.reports.console import print_table
from segcast.reports.pages import plain_page, write_page
from segcast.traces.disk.documents import read_shape
from segcast.traces.disk.folders import LIVE_VALIDATION

if TYPE_CHECKING:
    from rich.console import Console

_RATES: Final = {
    "retransmissions": "segments sent again",
    "needless": "of those needless",
    "timeouts": "retransmission timeouts",
    "syn_retransmissions": "SYNs sent again",
    "dropped": "packets dropped",
    "flowlets": "flowlets",
    "path_changes": "changes of path",
    "unfinished": "unfinished",
}


class LiveValidationContent:
    """Tables of text."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.policies = document["policies"]

    @property
    def figures(self) -> list[list[str]]:
        """Completion times: policy, metric, measured, forecast, error with its interval, verdict."""
        return [
            [
                _name(policy),
                row["metric"].split("_")[1],
                text.duration(row["measured"]),
                text.duration(row["forecast"]),
                _change(row["error"], row["low"], row["high"]),
                row["verdict"] or "",
            ]
            for policy in self.policies
            for row in policy["figures"]
        ]

    @property
    def rates(self) -> list[list[str]]:
        """What happened per flow: policy, what, measured, forecast."""
        return [
            [_name(policy), _RATES[row["metric"]], text.plain(row["measured"], 3), text.plain(row["forecast"], 3)]
            for policy in self.policies
            for row in policy["rates"]
            if row["measured"] or row["forecast"]
        ]

    @property
    def paths(self) -> list[list[str]]:
        """Shares of paths: policy, link, measured, forecast."""
        return [
            [_name(policy), row["link"], text.percent(row["measured"]), text.percent(row["forecast"])]
            for policy in self.policies
            for row in policy["paths"]
        ]

    @property
    def changes(self) -> list[list[str]]:
        """Pairs of policies: which, metric, measured, forecast, verdict."""
        return [
            [
                f"{row['of']} against {row['to']}",
                row["metric"].split("_")[1],
                _change(row["measured"], row["measured_low"], row["measured_high"]),
                _change(row["forecast"], row["forecast_low"], row["forecast_high"]),
                row["verdict"],
            ]
            for row in self.document["changes"]
        ]


def print_live_validation(document: dict[str, Any], console: Console) -> None:
    """The verdict, completion times, the order of policies, and where differences come from."""
    content = LiveValidationContent(document)
    console.print(document["answer"], style="bold" if document["holds"] else "bold red", markup=False)
    console.print(document["ranking_words"], markup=False)
    console.print()
    print_table(
        console, [["policy", "", "measured", "forecast", "forecast over measured", ""], *content.figures], (0, 1, 5)
    )
    if content.changes:
        console.print()
        print_table(console, [["policies", "", "measured", "forecast", ""], *content.changes], (0, 1, 4))
    console.print()
    print_table(console, [["per flow", "", "measured", "forecast"], *content.rates], (0, 1))
    for reason in document["reasons"]:
        console.print(f"reason: {reason}", markup=False)
    for finding in document["findings"]:
        console.print(f"note: {finding}", style="dim", markup=False)
    console.print(f"page: {document['page']}", markup=False)


def write_live_validation(folder: Path) -> Path:
    """Write `validation.html` into the folder, whole or not at all, and return its path."""
    file = folder / LIVE_VALIDATION.marker
    document = read_shape(file, LiveValidationDocument, f"{file}: not found", "run segcast validate again")
    content = LiveValidationContent(document.as_dict())
    return write_page(folder / "validation.html", plain_page("live-validation.html.j2", content=content))


def _name(policy: dict[str, Any]) -> str:
    return f"{policy['policy']}{', ' + policy['timeout'] if policy['timeout'] else ''}"


def _change(mean: float | None, low: float | None, high: float | None) -> str:
    if mean is None:
        return text.NO_VALUE
    if low is None or high is None:
        return text.change(mean)
    return f"{text.change(mean)} ({text.change(low)} to {text.change(high)})"
