"""Machines by inventory: how a command is worded for this machine, a namespace of it, or one reached by ssh."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from segcast.replay.inventory import Point
from segcast.traces.errors import InputError

_SSH: Final = ("ssh", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=5", "-o", "ConnectTimeout=10")
_PATH: Final = 'PATH="$PATH:/usr/sbin:/sbin"; export PATH; '
# A command that ends with its ssh: when the connection goes, standard input ends, and with it the command.
_WATCHED: Final = (
    _PATH + 'exec 3<&0; "$@" </dev/null 3<&- & p=$!; { cat <&3; kill -TERM $p; } >/dev/null 2>&1 & w=$!; '
    "exec 3<&-; wait $p; c=$?; kill $w 2>/dev/null; exit $c"
)
# A command in real time where it may be, which it says on standard error.
_FAVOURED: Final = (
    "if chrt -f $1 true 2>/dev/null; then p=$1; shift; echo 'scheduling: real time' >&2; exec chrt -f $p \"$@\"; fi; "
    'shift; exec "$@"'
)
_AT: Final = (
    "n=$(date +%s%N); d=$(($1 - n)); shift; if [ $d -gt 0 ]; then sleep $((d / 1000000000)).$(printf %09d "
    '$((d % 1000000000))); fi; exec "$@"'
)
_PROBE: Final = """
echo uid=$(id -u)
echo tcpreplay=$(tcpreplay -V 2>&1 | head -n 1)
echo capture=$(command -v "$2")
echo cpus=$(nproc)
echo now=$(date +%s%N)
d=/sys/class/net/$1
[ -e "$d" ] || exit 0
echo flags=$(cat "$d/flags")
echo state=$(cat "$d/operstate")
echo mtu=$(cat "$d/mtu")
echo speed=$(cat "$d/speed" 2>/dev/null)
for v in -4 -6; do ip $v route show default 2>/dev/null | sed -n 's/.* dev \\([^ ]*\\).*/default=\\1/p'; done
"""
_PROBE_S: Final = 30
_IFF_LOOPBACK: Final = 0x8


class Facts(NamedTuple):
    """What a machine says of an interface; the interface's own facts are None if it has none of that name.

    `ahead_ns`: how far its clock is ahead of this machine's, to half the time that asking took.
    """

    root: bool
    tcpreplay: str | None
    capture: bool
    cpus: int
    ahead_ns: int
    up: bool | None
    mtu: int | None
    speed_bps: int | None
    default_route: bool
    loopback: bool


def environment() -> dict[str, str]:
    """What commands are given: tools for administrators are found, and speak English."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "LC_ALL": "C"}


def probe(point: Point, tool: str) -> Facts:
    """Ask the machine. Raises InputError if it cannot be reached."""
    command = here(point, ["sh", "-c", _PATH + _PROBE, "sh", point.interface, tool])
    before = time.time_ns()
    try:
        run = subprocess.run(
            command,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=_PROBE_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{_place(point)}: cannot be asked: {error}") from None
    after = time.time_ns()
    if run.returncode != 0:
        reason = (run.stderr.strip().splitlines() or ["no answer"])[-1]
        raise InputError(f"{_place(point)}: cannot be reached: {reason}")
    rows = [line.partition("=") for line in run.stdout.splitlines()]
    found = {name: value for name, _, value in rows}
    defaults = {value for name, _, value in rows if name == "default"}
    speed = found.get("speed", "")
    version = found.get("tcpreplay", "")
    return Facts(
        root=found.get("uid") == "0",
        tcpreplay=version.removeprefix("tcpreplay version: ").split(" ")[0] if "version" in version else None,
        capture=bool(found.get("capture")),
        cpus=int(found.get("cpus") or 1),
        ahead_ns=int(found.get("now") or before) - (before + after) // 2 if point.ssh else 0,
        up=bool(int(found["flags"], 16) & 1) and found["state"] in ("up", "unknown") if "flags" in found else None,
        mtu=int(found["mtu"]) if "mtu" in found else None,
        speed_bps=int(speed) * 1_000_000 if speed.isdigit() and int(speed) > 0 else None,
        default_route=point.interface in defaults,
        loopback=bool(int(found.get("flags", "0"), 16) & _IFF_LOOPBACK),
    )


def here(point: Point, command: Sequence[str]) -> list[str]:
    """The command as this machine has to run it so that it runs at the point."""
    if point.ssh is not None:
        return [*_SSH, point.ssh, "--", shlex.join(command)]
    if point.netns is not None:
        return ["ip", "netns", "exec", point.netns, *command]
    return list(command)


def bound(point: Point, command: Sequence[str], *, signal: str, cpu: int | None) -> list[str]:
    """The same, pinned to a processor, and ended by `signal` (with ssh: SIGTERM) when this process ends."""
    pinned = [*(["taskset", "-c", str(cpu)] if cpu is not None else []), *command]
    if point.ssh is not None:
        return here(point, ["sh", "-c", _WATCHED, "sh", *pinned])
    return here(point, ["setpriv", "--pdeathsig", signal, "--", *pinned])


def favoured(command: Sequence[str], priority: int) -> list[str]:
    """The command in real time (SCHED_FIFO) if whoever runs it may have that, else as it is; see `was_favoured`."""
    return ["sh", "-c", _FAVOURED, "sh", str(priority), *command]


def was_favoured(printed: str) -> bool:
    """Whether a command given to `favoured` runs in real time, by what it has printed."""
    return "scheduling: real time" in printed


def at(instant_ns: int, command: Sequence[str]) -> list[str]:
    """The command, begun at an instant of the clock of the machine that runs it."""
    return ["sh", "-c", _AT, "sh", str(instant_ns), *command]


def push(point: Point, source: Path, target: str) -> None:
    """Copy a file to a machine reached by ssh. Raises InputError."""
    script = f"mkdir -p {shlex.quote(str(Path(target).parent))} && cat > {shlex.quote(target)}"
    with source.open("rb") as content:
        run = subprocess.run(
            here(point, ["sh", "-c", script]), env=environment(), stdin=content, capture_output=True, check=False
        )
    if run.returncode != 0:
        raise InputError(
            f"{_place(point)}: {source.name} cannot be copied there: {run.stderr.decode(errors='replace').strip()}"
        )


def fetch(point: Point, source: str, target: Path) -> None:
    """Copy a file from a machine reached by ssh. Raises InputError."""
    with target.open("wb") as content:
        run = subprocess.run(
            here(point, ["cat", source]),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=content,
            stderr=subprocess.PIPE,
            check=False,
        )
    if run.returncode != 0:
        raise InputError(
            f"{_place(point)}: {source} cannot be copied from there: {run.stderr.decode(errors='replace').strip()}"
        )


def discard(point: Point, folder: str) -> None:
    """Remove a folder of a machine reached by ssh, if it can be."""
    subprocess.run(
        here(point, ["rm", "-rf", folder]),
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )


def _place(point: Point) -> str:
    return point.ssh or point.netns or "this machine"
