"""What the command line says of an answer: the same as the document, and a status that tells of budgets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from segcast.traces.trace import Trace
from tests.conftest import Run

NETWORK = """policies = ["ecmp", "inflight"]
seeds = [1, 2, 3, 4]
packets = "none"
load = [1, 0.5]
[network]
kind = "leaf-spine"
leaves = 4
spines = 2
links = { rate = "300Mbps", delay = "1us", buffer = "1MiB" }
"""


@pytest.mark.parametrize(
    ("keep", "code", "kept"),
    [("p99_delay < 10s", 0, True), ("p99_delay < 10ns", 1, False), (None, 0, None), ("fct_mean < 1s", 2, None)],
)
def test_the_status_says_whether_budgets_are_kept(
    run: Run, cluster: Trace, tmp_path: Path, keep: str | None, code: int, kept: bool | None
) -> None:
    file, out = tmp_path / "s.toml", tmp_path / "f"
    file.write_text(NETWORK + (f'[slo]\nkeep = "{keep}"\n' if keep else ""))
    ran = run("forecast", cluster.folder, "--scenario", file, "--out", out)
    assert ran.code == code, ran.err
    if code == 2:
        assert "packets that leave as captured have no fct_mean_ns" in ran.err
        assert not out.exists()
        return
    document = json.loads((out / "forecast.json").read_text())
    assert document["decision"]["kept"] is kept
    assert (out / "report.html").is_file()
    if code == 1:
        assert ran.err.strip() == f"segcast: {out}: no policy keeps the budgets at load 0.5, 1"
    card = re.sub(r"\s+", " ", ran.out.partition("\n\n")[0])
    said = [document["decision"]["do"], document["decision"]["because"], *document["decision"]["but"]]
    assert (
        card
        == " ".join(
            part
            for word, one in zip(("Do:", "Because:", "But:"), [*said[:2], " ".join(said[2:])], strict=True)
            for part in (word, one)
        )
        + f" Within: {document['decision']['budgets']}"
    )
    assert document["answer"] == document["decision"]["do"]


def test_hosts_that_were_dealt_are_a_finding(run: Run, cluster: Trace, tmp_path: Path) -> None:
    file, out = tmp_path / "s.toml", tmp_path / "f"
    file.write_text(NETWORK)
    assert run("forecast", cluster.folder, "--scenario", file, "--out", out).code == 0
    document = json.loads((out / "forecast.json").read_text())
    finding = document["trace"]["findings"][0]
    assert (finding["code"], finding["severity"]) == ("hosts_dealt", "warning")
    assert finding["detail"] == f"{finding['count']} hosts have no prefix and were dealt to 4 attachments in turn"
    assert f"{document['excluded']['same_attachment']:,} packets came to lie between hosts of one" in finding["effect"]
    assert document["decision"]["but"][0] == f"{finding['detail']}: who shares which link is invented."
    file.write_text(NETWORK.replace("leaves = 4", "leaves = 2") + PREFIXES)
    assert run("forecast", cluster.folder, "--scenario", file, "--out", out).code == 0
    document = json.loads((out / "forecast.json").read_text())
    assert not any(found["code"] == "hosts_dealt" for found in document["trace"]["findings"])


PREFIXES = """
[[attachments]]
name = "leaf0"
prefixes = ["10.20.1.0/24", "::/0"]
[[attachments]]
name = "leaf1"
prefixes = ["0.0.0.0/0"]
"""
