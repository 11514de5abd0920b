"""Cells of senders that react, cut into pieces anywhere, saved and gone on from: nothing differs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segcast.analyzer.engine.transport import cell as transport_cell
from segcast.analyzer.engine.transport.cell import Piece, TransportCell
from segcast.analyzer.flowlets.split import StreamedProfile
from segcast.analyzer.forecast.resuming.saved import load, save
from segcast.analyzer.metrics.accumulator import Accumulator
from segcast.traces.errors import InputError
from tests.support.connecting import connected, run_cell
from tests.support.transport import Case, Seeded, cases, make_case, run_twin

TIMEOUTS_NS = [1000, 100_000]


class Run:
    """A cell with what measures it, and the packets that it has handed out."""

    def __init__(self, case: Case) -> None:
        self.cell = connected(case)
        plan = self.cell._flows
        self.metrics = Accumulator(self.cell.network, plan, steered=True, interval_ns=5000)
        self.profile = StreamedProfile(len(plan.keys), TIMEOUTS_NS)
        self.given: list[Piece] = []

    @property
    def parts(self) -> tuple[Any, ...]:
        return self.cell, self.metrics, self.profile

    def take(self, piece: Piece) -> None:
        self.metrics.add(piece.packets, piece.fates)
        self.profile.add(*(getattr(piece.packets, name) for name in ("flow", "send_ns", "ip_bytes")))
        self.given.append(piece)


def ran_in_pieces(case: Case, cuts: set[int]) -> Run:
    """Stopped behind the pieces `cuts`, saved, and gone on from by another."""
    run, number = Run(case), 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run"
        pieces = run.cell.pieces()
        while (piece := next(pieces, None)) is not None:
            run.take(piece)
            if number in cuts and len(piece.packets.flow):
                save(file, *run.parts)
                given = run.given
                run = Run(case)
                load(file, *run.parts)
                run.given = given
                pieces = run.cell.pieces()
            number += 1
    return run


def flat(part: Any) -> list[bytes]:
    if isinstance(part, tuple):
        return [leaf for value in part for leaf in flat(value)]
    return [np.ascontiguousarray(part).tobytes()]


def assert_same(ref: Run, comp: Run) -> None:
    given = [piece for piece in ref.given if len(piece.packets.flow)]
    others = [piece for piece in comp.given if len(piece.packets.flow)]
    for mine, theirs in zip(given, others, strict=True):
        for name in ("kind", "number"):
            assert (mine.headers[name] == theirs.headers[name]).all()
        assert flat(mine.packets) == flat(theirs.packets)
        assert flat(mine.fates) == flat(theirs.fates)
    for name in ("messages", "halves"):
        assert getattr(ref.cell, name).tobytes() == getattr(comp.cell, name).tobytes()
    assert {k: v.tobytes() for k, v in ref.metrics.finish().items()} == {
        k: v.tobytes() for k, v in comp.metrics.finish().items()
    }
    assert flat(ref.metrics.held) == flat(comp.metrics.held)
    assert ref.profile.finish().equals(comp.profile.finish())


@pytest.fixture(autouse=True)
def _little_room() -> Any:
    with (
        mock.patch.object(transport_cell, "_FIRST_ROWS", 16),
        mock.patch.object(transport_cell, "_ROWS", 16),
        mock.patch.object(transport_cell, "_FIRST_PLACES", 64),
    ):
        yield


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases((("inflight", "fixed"),), most_segments=40), st.sets(st.integers(0, 12), min_size=1))
def test_any_cell_cut_anywhere_ends_the_same(case: Case, cuts: set[int]) -> None:
    assert_same(ran_in_pieces(case, set()), ran_in_pieces(case, cuts))


@pytest.mark.parametrize("seed", range(12))
def test_a_cell_cut_behind_each_piece_is_that_of_the_slow_twin(seed: int) -> None:
    case = make_case(Seeded(seed), (("inflight", "fixed"),))
    cut = ran_in_pieces(case, set(range(10_000)))
    assert_same(ran_in_pieces(case, set()), cut)
    with (
        mock.patch.object(transport_cell.TransportCell, "pieces", lambda cell: iter(cut.given)),
        mock.patch("tests.support.connecting.connected", lambda _: cut.cell),
    ):
        assert run_cell(case) == run_twin(case)


def test_the_state_of_another_cell_is_refused(tmp_path: Path) -> None:
    case, other = (make_case(Seeded(seed), (("inflight", "fixed"),)) for seed in (3, 4))
    run = Run(case)
    run.take(next(run.cell.pieces()))
    save(tmp_path / "run", *run.parts)
    load(tmp_path / "run", *Run(case).parts)
    for parts in (Run(other).parts, Run(case).parts[:2], (later(case), *Run(case).parts[1:])):
        with pytest.raises(InputError, match="belongs to another run"):
            load(tmp_path / "run", *parts)


def later(case: Case) -> TransportCell:
    """The same but for when one message starts."""
    cell = connected(case)
    start_ns = cell._messages.start_ns.copy()
    start_ns[-1] += 1
    cell._messages = cell._messages._replace(start_ns=start_ns)
    return cell
