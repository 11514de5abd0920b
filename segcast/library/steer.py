"""This host's own packets, steered in the kernel by a scenario's paths and a policy, as `segcast steer` has it.

`import segcast as sc; sc.steer.check()`. Attaching takes root. What a function needs is imported when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segcast.library.scenarios import Asks, scenario

if TYPE_CHECKING:
    from segcast.replay.steer.plan import SteerPlan
    from segcast.replay.steer.run import Wanted
    from segcast.replay.steer.tables import Rules

__all__ = ["attach", "check", "detach", "plan", "status"]


def check() -> dict[str, Any]:
    """Run the kernel's program on made-up packets: what the kernel lacks, and whether it is `fit`. Attaches nothing."""
    from segcast.replay.steer.check import check as run

    return run()


def plan(
    network: Asks,
    interface: str,
    *,
    at: str | None = None,
    sources: Sequence[str] = (),
    number: int = 0,
    policy: str | None = None,
    timeout: str | None = None,
    ack_timeout: str | None = None,
    seed: int = 1,
    allow_default_route: bool = False,
) -> dict[str, Any]:
    """What would be attached: targets, segment lists, headers, MTU, and what speaks against it. Touches nothing.

    `at` is the attachment where this host is, `sources` its addresses, `number` that of its first steering host; by
    default its own addresses tell. With a `policy` it is refused what `attach` would refuse. Raises InputError.
    """
    from segcast.replay.steer.run import plan_document

    wanted, planned, _ = _ruled(network, interface, at, sources, number, policy, timeout, ack_timeout, seed)
    return plan_document(planned, wanted, allow_default_route=allow_default_route)


def attach(
    network: Asks,
    interface: str,
    *,
    policy: str,
    timeout: str | None = None,
    at: str | None = None,
    sources: Sequence[str] = (),
    number: int = 0,
    duration: str | None = None,
    ack_timeout: str | None = None,
    seed: int = 1,
    log: str | Path | None = None,
    pin: bool = False,
    by: Literal["auto", "tcx", "clsact"] = "auto",
    allow_default_route: bool = False,
    progress: Callable[[dict[str, int]], None] | None = None,
) -> dict[str, Any]:
    """Steer at an interface for `duration`, or until this process is told to end: what was done.

    `by` is how it is attached: by tcx, or where the kernel has none (before Linux 6.6) by clsact.

    With `pin` it stays attached, until `detach`, and this returns at once. `log` is a Parquet file for the flowlets.
    `progress` is told what was counted, once a second. Raises InputError.
    """
    from segcast.replay.steer.run import hold
    from segcast.traces.errors import InputError
    from segcast.traces.units import duration_ns

    if pin and (duration or log):
        raise InputError("pin: what stays attached has no end and no reader of its log; leave out duration and log")
    wanted, planned, rules = _ruled(network, interface, at, sources, number, policy, timeout, ack_timeout, seed)
    assert rules is not None
    return hold(
        planned,
        rules,
        wanted,
        for_ns=None if duration is None else duration_ns(duration),
        log=None if log is None else Path(log),
        allow_default_route=allow_default_route,
        pins=pin,
        by=by,
        progress=progress or _silent,
    )


def status(interfaces: Sequence[str] = ()) -> dict[str, Any]:
    """What is attached to interfaces, Segcast's and others'; to all if none is named. Raises InputError."""
    from segcast.replay.steer.run import status as run

    return run(interfaces)


def detach(interface: str) -> dict[str, Any]:
    """Take off what was attached with `pin`, or what a process that was killed has left in a clsact qdisc.

    Raises InputError where another process holds it."""
    from segcast.replay.steer.run import detach as run

    return run(interface)


def _ruled(
    network: Asks,
    interface: str,
    at: str | None,
    sources: Sequence[str],
    number: int,
    policy: str | None,
    timeout: str | None,
    ack_timeout: str | None,
    seed: int,
) -> tuple[Wanted, SteerPlan, Rules | None]:
    """What is wanted of the host, the plan, and with a policy the rules that it follows."""
    from segcast.replay.steer.run import Wanted, plan_of, rules_for
    from segcast.traces.units import duration_ns

    chosen = scenario(network)
    wanted = Wanted(interface, at, tuple(sources), number)
    planned = plan_of(chosen, wanted)
    if policy is None:
        return wanted, planned, None
    ack_timeout_ns = None if ack_timeout is None else duration_ns(ack_timeout)
    rules = rules_for(chosen, planned, wanted, policy=policy, timeout=timeout, seed=seed, ack_timeout_ns=ack_timeout_ns)
    return wanted, planned, rules


def _silent(tally: dict[str, int]) -> None:
    """Shows nothing."""
