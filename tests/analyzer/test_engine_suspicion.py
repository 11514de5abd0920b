"""Suspicion, step by step: what random scenarios meet too rarely; engine and twin must both say so."""

from __future__ import annotations

import pytest

from tests.support.simulating import assert_same_fates, run_engine
from tests.twins import engine as twin
from tests.twins.network import Change, Flow, Link, Packet, Path
from tests.twins.scenarios import Scenario

SLOW = Link(8_000_000, 0, None, None, 0)  # a byte takes a microsecond
SHORT = Link(8 * 10**9, 0, 100, None, 0)  # a byte takes a nanosecond; more than 100 bytes do not fit


def paths_taken(links: list[Link], sent: list[tuple[int, int]], **options: object) -> list[int]:
    """Paths of (send_ns, ip_bytes) of one flow in turn over two paths, each a flowlet, by both engines."""
    scenario = Scenario(
        links=tuple(links),
        paths=(Path(0, (0,), 0, 0), Path(0, (1,), 0, 0)),
        flows=(Flow(0, 0, 0),),
        packets=tuple(Packet(send_ns, 0, ip_bytes) for send_ns, ip_bytes in sent),
        policy="round-robin",
        timeout_ns=0,
        seed=1,
        minimum_frame_bytes=0,
        parameters={},
        **options,  # type: ignore[arg-type]
    )
    ref = twin.simulate(*scenario.network(), **scenario.options())
    comp, _ = run_engine(scenario)
    assert_same_fates(comp, ref)
    return [fate.path_id for fate in ref]


@pytest.mark.parametrize(("third_ns", "slot"), [(5999, 1), (6000, 0)])
def test_what_a_failure_drops_late_expires_at_the_failure(third_ns: int, slot: int) -> None:
    """Sent at 0 with a timeout of 100 ns, but dropped at 5000: suspected from then for 1000 ns, not from 100."""
    options = {"loss_timeout_ns": 100, "suspect_after": 1, "suspect_for_ns": 1000}
    sent = [(0, 100), (5500, 100), (third_ns, 100)]
    assert paths_taken([SLOW, SLOW], sent, changes=(Change(5000, 0, 0),), **options) == [0, 1, slot]


@pytest.mark.parametrize(("between", "slot"), [(50, 0), (500, 1)])
def test_an_acknowledgement_between_two_losses_ends_the_count(between: int, slot: int) -> None:
    """On slot 0 a loss, then what fits or another loss, then a loss: two in a row and it is suspected."""
    options = {"loss_timeout_ns": 10, "suspect_after": 2, "suspect_for_ns": 10**9}
    sent = [(0, 500), (1000, 50), (2000, between), (3000, 50), (4000, 500), (5000, 50), (6000, 50)]
    assert paths_taken([SHORT, SHORT], sent, **options)[-1] == slot


@pytest.mark.parametrize(("fourth_ns", "slots"), [(1509, [1, 1]), (1510, [1, 0])])
def test_suspicion_ends_when_its_time_is_over(fourth_ns: int, slots: list[int]) -> None:
    """Lost at 0, suspected from 10 on for 1500 ns: at 1510 the slot is usable again."""
    options = {"loss_timeout_ns": 10, "suspect_after": 1, "suspect_for_ns": 1500}
    sent = [(0, 500), (1000, 50), (fourth_ns, 50)]
    assert paths_taken([SHORT, SHORT], sent, **options)[1:] == slots
