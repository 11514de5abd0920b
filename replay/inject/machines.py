"""Machines by inventory: how a command is worded for this machine, a namespace of it, or one reached by ssh."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple

from segcast.replay.inject.connections import clearing, ssh_command
from segcast.replay.inventory import Point
from segcast.traces.errors import InputError

ROUTE_PROTOCOL: Final = 115  # by which a testbed's own routes are known: they lead nowhere else

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
_PROBE: Final = """
echo uid=$(id -u)
echo tcpreplay=$(tcpreplay -V 2>&1 | head -n 1)
echo capture=$(command -v "$2")
echo cpus=$(nproc)
d=/sys/class/net/$1
[ -e "$d" ] || exit 0
echo flags=$(cat "$d/flags")
echo state=$(cat "$d/operstate")
echo mtu=$(cat "$d/mtu")
echo speed=$(cat "$d/speed" 2>/dev/null)
for v in -4 -6; do
    ip -o $v route show table all 2>/dev/null | grep -E '^(unicast )?(default|[0-9a-f:.]+/[0-4]) ' | sed 's/^/route=/'
done
for d in /sys/class/net/*/upper_*; do [ -e "$d" ] && echo "above=$d"; done
ip -o link show type veth 2>/dev/null |
    sed -n 's|^[0-9]*: \\([^@]*\\)@\\([^:]*\\): .*|above=\\1/upper_\\2|p' |
    grep -vE '/upper_if[0-9]+$'
set -- ${3:-$SSH_CONNECTION}
[ -n "$3" ] || exit 0
own=$(ip -o address show 2>/dev/null | grep -F " ${3%%\\%*}/" | sed 's/^[0-9]*: *\\([^ @]*\\).*/\\1/')
[ -n "$own" ] || exit 0
echo "session=$own"
ip -o route get "${1%%\\%*}" from "${3%%\\%*}" 2>/dev/null | sed -n 's/.* dev \\([^ ]*\\).*/session=\\1/p'
exit 0
"""
_PROBE_S: Final = 60
_IFF_LOOPBACK: Final = 0x8
_MULTICAST: Final = "224.0.0.0/4"


class Facts(NamedTuple):
    """What a machine says of an interface; the interface's own facts are None if it has none of that name.

    `exposed`: why what is sent there could cut the machine off, None if it could not.
    """

    root: bool
    tcpreplay: str | None
    capture: bool
    cpus: int
    up: bool | None
    mtu: int | None
    speed_bps: int | None
    exposed: str | None
    loopback: bool


def environment() -> dict[str, str]:
    """What commands are given: tools for administrators are found, and speak English."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "LC_ALL": "C"}


def probe(points: Sequence[Point], tool: str) -> list[Facts]:
    """Ask the machines, all at once. Raises InputError if one cannot be reached."""
    commands = [
        here(point, ["sh", "-c", _PATH + _PROBE, "sh", point.interface, tool, _session(point)]) for point in points
    ]
    found = []
    with _running([(command, subprocess.DEVNULL, subprocess.PIPE) for command in commands]) as runs:
        for point, run in zip(points, runs, strict=True):
            try:
                out, err = run.communicate(timeout=_PROBE_S)
            except subprocess.TimeoutExpired:
                raise InputError(f"{_place(point)}: cannot be asked: no answer within {_PROBE_S} s") from None
            if run.returncode != 0:
                reason = (err.decode(errors="replace").strip().splitlines() or ["no answer"])[-1]
                raise InputError(f"{_place(point)}: cannot be reached: {reason}")
            found.append(_facts(point, out.decode(errors="replace")))
    return found


@contextlib.contextmanager
def _running(
    wanted: Sequence[tuple[list[str], int | IO[bytes], int | IO[bytes]]],
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Commands with their standard input and output, all at once; what still runs at the end is killed."""
    runs: list[subprocess.Popen[bytes]] = []
    try:
        for command, source, target in wanted:
            try:
                runs.append(
                    subprocess.Popen(command, env=environment(), stdin=source, stdout=target, stderr=subprocess.PIPE)
                )
            except OSError as error:
                raise InputError(f"{command[0]}: cannot be run: {error.strerror}") from None
        yield runs
    finally:
        for run in runs:
            if run.poll() is None:
                run.kill()
            run.wait()
            for pipe in (run.stdout, run.stderr):
                if pipe is not None:
                    pipe.close()


def _facts(point: Point, text: str) -> Facts:
    rows = [line.partition("=") for line in text.splitlines()]
    found = {name: value for name, _, value in rows}
    speed = found.get("speed", "")
    version = found.get("tcpreplay", "")
    return Facts(
        root=found.get("uid") == "0",
        tcpreplay=version.removeprefix("tcpreplay version: ").split(" ")[0] if "version" in version else None,
        capture=bool(found.get("capture")),
        cpus=int(found.get("cpus") or 1),
        up=bool(int(found["flags"], 16) & 1) and found["state"] in ("up", "unknown") if "flags" in found else None,
        mtu=int(found["mtu"]) if "mtu" in found else None,
        speed_bps=int(speed) * 1_000_000 if speed.isdigit() and int(speed) > 0 else None,
        exposed=exposed(
            point.interface,
            [value for name, _, value in rows if name == "route"],
            [value for name, _, value in rows if name == "above"],
            {value for name, _, value in rows if name == "session"},
        ),
        loopback=bool(int(found.get("flags", "0"), 16) & _IFF_LOOPBACK),
    )


def exposed(interface: str, routes: Sequence[str], above: Sequence[str], session: Collection[str]) -> str | None:
    """Why sending at an interface could cut its machine off: by default routes, and what is as good as them; by ssh.

    `routes`: lines of `ip -o route`, of which a testbed's own do not count; `above`: `.../INTERFACE/upper_OTHER`, as
    bridges, bonds and VLANs are above what they are made of, and the two ends of a veth pair of each other; `session`:
    interfaces that carry ssh. What shares a link with an interface counts as it does.
    """
    links = [(Path(line).parent.name, Path(line).name.removeprefix("upper_")) for line in above]
    reached = [interface]
    for name in reached:
        reached += dict.fromkeys(other for pair in links if name in pair for other in pair if other not in reached)
    for name in reached:
        shares = "" if name == interface else f"shares a link with {name}, which "
        if name in session:
            return f"{shares}carries this ssh session"
        for line in routes:
            words = line.removeprefix("unicast ").split()
            ours = f" proto {ROUTE_PROTOCOL} " in f"{line} "
            if ours or words[0] == _MULTICAST or name not in re.findall(r"\bdev (\S+)", line):
                continue
            table = f" of table {words[words.index('table') + 1]}" if "table" in words else ""
            if words[0] == "default":
                return f"{shares}has the default route{table}"
            return f"{shares}has the route {words[0]}{table}, as good as a default route"
    return None


def _session(point: Point) -> str:
    """Ends of the ssh connection that this process runs in, as SSH_CONNECTION has them, also behind sudo; else empty.

    A machine behind ssh knows its own.
    """
    if point.ssh is not None:
        return ""
    if (found := os.environ.get("SSH_CONNECTION")) is not None:
        return found
    process = os.getppid()
    while process > 1:
        try:
            variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            status = Path(f"/proc/{process}/stat").read_text(errors="replace")
        except OSError:
            return ""
        for variable in variables:
            if variable.startswith(b"SSH_CONNECTION="):
                return os.fsdecode(variable.partition(b"=")[2])
        process = int(status.rpartition(")")[2].split()[1])
    return ""


def here(point: Point, command: Sequence[str]) -> list[str]:
    """The command as this machine has to run it so that it runs at the point."""
    if point.ssh is not None:
        return [*ssh_command(point.ssh), shlex.join(command)]
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


def spoken_to(point: Point, command: Sequence[str], *, cpu: int | None) -> list[str]:
    """The same for a command that is spoken to: it ends by itself when its standard input does."""
    pinned = [*(["taskset", "-c", str(cpu)] if cpu is not None else []), *command]
    if point.ssh is not None:
        return here(point, ["sh", "-c", _PATH + 'exec "$@"', "sh", *pinned])
    return here(point, ["setpriv", "--pdeathsig", "KILL", "--", *pinned])


def push(copies: Sequence[tuple[Point, Path, str]]) -> None:
    """Copy files to machines reached by ssh, all at once. Raises InputError."""
    with contextlib.ExitStack() as stack:
        wanted: list[tuple[list[str], int | IO[bytes], int | IO[bytes]]] = [
            (
                here(point, ["sh", "-c", f"cat > {shlex.quote(target)}"]),
                stack.enter_context(source.open("rb")),
                subprocess.DEVNULL,
            )
            for point, source, target in copies
        ]
        for (point, source, _), run in zip(copies, stack.enter_context(_running(wanted)), strict=True):
            _, err = run.communicate()
            if run.returncode != 0:
                raise InputError(f"{_place(point)}: {source.name} cannot be copied there: {_said(err)}")


def fetch(copies: Sequence[tuple[Point, str, Path]]) -> None:
    """Copy files from machines reached by ssh, all at once. Raises InputError when all that can be copied are."""
    with contextlib.ExitStack() as stack:
        wanted: list[tuple[list[str], int | IO[bytes], int | IO[bytes]]] = [
            (here(point, ["cat", source]), subprocess.DEVNULL, stack.enter_context(target.open("wb")))
            for point, source, target in copies
        ]
        failed = ""
        for (point, source, _), run in zip(copies, stack.enter_context(_running(wanted)), strict=True):
            _, err = run.communicate()
            if run.returncode != 0:
                failed = failed or f"{_place(point)}: {source} cannot be copied from there: {_said(err)}"
        if failed:
            raise InputError(failed)


def clear(machines: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Remove what killed replays left on machines reached by ssh: for each, folders `removed` and those `in_use`.

    Raises InputError if one cannot be reached.
    """
    found = {}
    commands = [[*ssh_command(machine), shlex.join(clearing())] for machine in machines]
    with _running([(command, subprocess.DEVNULL, subprocess.PIPE) for command in commands]) as runs:
        for machine, run in zip(machines, runs, strict=True):
            out, err = run.communicate()
            if run.returncode != 0:
                raise InputError(f"{machine}: cannot be reached: {_said(err)}")
            lines = out.decode(errors="replace").splitlines()
            found[machine] = {
                kind: [line.removeprefix(f"{word} ") for line in lines if line.startswith(f"{word} ")]
                for kind, word in (("removed", "removed"), ("in_use", "in use"))
            }
    return found


def _said(err: bytes) -> str:
    return err.decode(errors="replace").strip()


def _place(point: Point) -> str:
    return point.ssh or point.netns or "this machine"
