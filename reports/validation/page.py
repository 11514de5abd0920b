"""The HTML page of a validation: one file, nothing fetched, made from the folder's document and tables alone."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, Final

import pyarrow.parquet as pq

from segcast.replay.validate.document import read_validation
from segcast.reports import text
from segcast.reports.pages import drawn_page, write_page
from segcast.reports.style import Figure
from segcast.reports.validation import figures
from segcast.reports.validation.words import METRICS, error_words, path_words, times_words, verdict_words

_MOST_PANELS: Final = 24
_MOST_SENDERS: Final = 24
_MOST_ROWS: Final = 200


class ValidationContent:
    """What the template lays out."""

    def __init__(self, folder: Path) -> None:
        self.document: dict[str, Any] = read_validation(folder).as_dict()
        self.curves: list[dict[str, Any]] = pq.read_table(folder / "curves.parquet").to_pylist()
        self.policies = [policy["policy"] for policy in self.document["policies"]]
        self.title = PurePath(self.document["forecast"]).name
        self.departures = self.document["departures"]

    @cached_property
    def tiles(self) -> list[tuple[str, str, str]]:
        """Title, value and explanation of the numbers to see first."""
        checks = self.document["checks"]
        judged = self.document["judged"]
        rows = [row for row in self.document["comparisons"] if judged in ("both", row["comparison"])]
        rows = [row for row in rows if row["path_id"] is not None and row["error"] is not None]

        def worst(metric: str) -> tuple[str, str]:
            found = [row for row in rows if row["metric"] == metric]
            if not found:
                return text.NO_VALUE, ""
            row = max(found, key=lambda row: abs(row["error"]))
            return error_words(row), f"{row['policy']}, {path_words(row)}, {row['comparison']}"

        sent = sum(policy["packets"]["sent"] for policy in self.document["policies"])
        lost = sum(policy["packets"]["dropped"] for policy in self.document["policies"])
        return [
            (
                "Checks that hold",
                f"{checks['held']} of {checks['judged']}",
                f"{checks['failed']} fail, {checks['silent']} say nothing; {self.document['judged']}",
            ),
            ("Largest error of p99", *worst("delay_p99_ns")),
            ("Largest error of loss", *worst("loss_ratio")),
            ("Packets measured", text.count(sent), f"{text.count(lost)} lost"),
        ]

    def rows(self, comparison: str) -> list[dict[str, Any]]:
        """Rows of one comparison."""
        return [row for row in self.document["comparisons"] if row["comparison"] == comparison]

    def table(self, comparison: str) -> list[dict[str, Any]]:
        """A comparison as lines of text, those that fail first."""
        rows = [row for row in self.rows(comparison) if row["error"] is not None]
        rows.sort(key=lambda row: row["holds"] is not False)
        return [self.words(row) for row in rows[:_MOST_ROWS]]

    def words(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row of COMPARISONS as text."""
        unit = figures.worded(row["metric"])
        return {
            "policy": row["policy"],
            "path": path_words(row),
            "metric": METRICS[row["metric"]],
            "predicted": unit(row["predicted"]),
            "measured": unit(row["measured"]),
            "error": error_words(row),
            "allowed": text.NO_VALUE if row["allowed"] is None else unit(row["allowed"]),
            "verdict": verdict_words(row),
            "packets": text.count(row["packets"]),
        }

    def furthest(self, kind: str) -> list[dict[str, Any]]:
        """The rows that are furthest off, for their tolerance: those judged ("disagreements"), or "unjudged"."""
        return [
            {**self.words(row), "comparison": row["comparison"], "times": times_words(row)}
            for row in self.document[kind]
        ]

    @property
    def verdict(self) -> str:
        """The answer in three words or four."""
        checks = self.document["checks"]
        if not checks["judged"]:
            return "nothing could be judged"
        if not self.document["holds"] and checks["silent"] and not checks["failed"] and not checks["held"]:
            return "it says nothing"
        return "the forecast holds" if self.document["holds"] else "the forecast does not hold"

    @cached_property
    def panels(self) -> list[tuple[str, str, str]]:
        """Name, title and caption of the delay panels, by policy and path."""
        found = []
        for policy in self.document["policies"]:
            for path in sorted({row["path_id"] for row in self.curves if row["policy"] == policy["policy"]}):
                base = policy["base_delay_ns"].get(str(path))
                said = "" if base is None else f"base delay {text.duration(base['delay_ns'])}"
                name = f"cdf-{self.policies.index(policy['policy'])}-{path}"
                found.append((name, f"{policy['policy']}, path {path}", said))
        return found[:_MOST_PANELS]

    @cached_property
    def hidden_panels(self) -> int:
        """How many more there are."""
        return len({(row["policy"], row["path_id"]) for row in self.curves}) - len(self.panels)

    @cached_property
    def senders(self) -> list[dict[str, Any]]:
        """Rows of DEPARTURES as text, the least punctual first."""
        rows = sorted(self.departures, key=lambda row: -(row["gap_error_p99_ns"] or 0))[:_MOST_SENDERS]
        return [
            {
                "policy": row["policy"],
                "host": row["host"],
                "sent": f"{text.count(row['sent'])} of {text.count(row['planned'])}",
                "stretch": text.NO_VALUE if row["stretch"] is None else f"{text.plain(row['stretch'], 5)}×",
                "gaps": [text.duration(row[f"gap_error_{name}_ns"]) for name in ("p50", "p99", "max")],
                "shift": text.duration(row["shift_p99_ns"]),
                "kept": f"{text.count(row['boundaries_kept'])} of {text.count(row['boundaries'])}",
                "new": text.count(row["boundaries_new"]),
            }
            for row in rows
        ]

    @cached_property
    def bases(self) -> list[tuple[str, str, str, str]]:
        """Policy, path, base delay and how it was found."""
        return [
            (
                policy["policy"],
                path,
                text.duration(base["delay_ns"]),
                ("median of {} packets that met no queue" if base["idle"] else "5th percentile of {} packets").format(
                    text.count(base["packets"])
                ),
            )
            for policy in self.document["policies"]
            for path, base in policy["base_delay_ns"].items()
        ]

    def drawings(self) -> dict[str, Figure]:
        """Figures by the name that the template gives them."""
        found = {
            "gaps": figures.gap_errors(self.departures[:_MOST_SENDERS]),
            "agree-as-sent": figures.agreement(self.rows("as-sent"), self.policies),
            "agree-end-to-end": figures.agreement(self.rows("end-to-end"), self.policies),
            "loss": figures.shares(self.document["comparisons"], "loss_ratio", "lost, %"),
            "reordering": figures.shares(self.document["comparisons"], "reordered_ratio", "reordered, %"),
        }
        for name, _, _ in self.panels:
            _, policy, path = name.split("-")
            own = (self.policies[int(policy)], int(path))
            found[name] = figures.cdf([row for row in self.curves if (row["policy"], row["path_id"]) == own])
        return found


def write_validation(folder: Path) -> Path:
    """Write `validation.html` into a validation folder, whole or not at all, and return its path."""
    return write_page(folder / "validation.html", drawn_page("validation.html.j2", ValidationContent(folder)))
