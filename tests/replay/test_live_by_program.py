"""Which cells of a live run the kernel's program follows, how it is told, and what it says at the end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from segcast.analyzer.forecast.cells import plan_cells
from segcast.analyzer.scenario.reading import read_scenario
from segcast.replay.live.by_program import ByKernel, _AtHosts
from segcast.replay.steer.attach import Steered
from segcast.replay.steer.flowlets import FLOWLETS

NETWORK = '[network]\nkind = "leaf-spine"\nleaves = 2\nspines = 2\nhosts_per_leaf = 2\nlinks = { rate = "100Mbps" }\n'


def refusals(folder: Path, head: str, more: str = "") -> list[str | None]:
    (folder / "s.toml").write_text(head + "\nseeds = [1]\n" + NETWORK + more)
    scenario = read_scenario(folder / "s.toml")
    return [ByKernel().refusal(scenario, cell) for cell in plan_cells(scenario)]


def test_it_follows_what_the_program_has(tmp_path: Path) -> None:
    names = '"random", "inflight", "round-robin", "two-choices", "spray", "host-ecmp"'
    timeouts = '"3ms", "rtt", "drained", { name = "drained", gap_ns = 1000, label = "both" }'
    found = refusals(tmp_path, f"policies = [{names}]\ntimeouts = [{timeouts}]\n")
    assert found == [None] * (4 * 4 + 2)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ('policies = ["letflow"]', "has host-ecmp, random"),
        ('policies = [{ name = "spray", order = "round-robin" }]', "usual parameters only"),
        ('policies = [{ name = "inflight", steering = { scope = "host" } }]', "the scenario's own steering"),
        ('policies = ["inflight"]\ntimeouts = ["safe"]', "no flowlet timeout safe"),
    ],
)
def test_what_it_does_not_follow_is_said(head: str, said: str, tmp_path: Path) -> None:
    (why,) = refusals(tmp_path, head)
    assert why is not None
    assert said in why


class Host:
    """A steered host that has sent one flowlet; its counter holds bytes until it is looked at for the third time."""

    def __init__(self, held: list[int]) -> None:
        self.held = held
        self.log = SimpleNamespace(utc_ahead_ns=1_000, lost=3, drain=lambda: 0)

    def inflight_bytes(self) -> Any:
        return np.array([self.held.pop(0) if len(self.held) > 1 else self.held[0]], np.int64)

    def tally(self) -> dict[str, int]:
        return {"flowlets": 1, "resets": 2}

    def flowlets(self) -> pa.Table:
        row = dict.fromkeys(FLOWLETS.names) | {"src": "10.0.0.1", "dst": "10.0.1.1", "protocol": 6}
        row |= {"flow_id": 0, "flowlet_id": 1, "path_id": 5, "src_port": 1, "dst_port": 2}
        row |= {"first_ns": 1_700, "last_ns": 1_800, "packets": 3, "bytes": 9}
        return pa.Table.from_pylist([row], schema=FLOWLETS)


def test_what_all_hosts_say_is_put_together() -> None:
    hosts = [Host([7, 7, 0]), Host([0])]
    found = _AtHosts(cast(list[Steered], hosts), 10_000_000).collected()
    assert (found.inflight_bytes, found.lost_records, found.tally) == (0, 6, {"flowlets": 2, "resets": 4})
    assert found.flowlets[0] == ((("10.0.0.1", 1), ("10.0.1.1", 2)), 5, 700, 3, 9, 0)
    assert _AtHosts(cast(list[Steered], [Host([7])]), -490_000_000).collected().inflight_bytes == 7
