"""`segcast testbed up|status|down`: one testbed by its name, from any state to standing or gone."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.inventory import Inventory, Receiver, Sender, Transit
from segcast.replay.testbed.build import build, has_delays, require
from segcast.replay.testbed.plan import DEFAULT_BURST_BYTES, DEFAULT_MAX_RATE_BPS, Bed, plan_bed
from segcast.replay.testbed.spaces import evict, remove, spaces
from segcast.replay.testbed.survey import TestbedSurvey, survey
from segcast.traces.disk.documents import json_text
from segcast.traces.errors import InputError

DEFAULT_NAME: Final = "sgtb"
CLOCK: Final = "testbed"

_STATE: Final = Path("/run/segcast")
_SCENARIO, _INVENTORY, _BED, _SIDS = "scenario.toml", "inventory.toml", "bed.json", "sids.json"


def up(
    scenario: ValidScenario,
    name: str = DEFAULT_NAME,
    *,
    max_rate_bps: int = DEFAULT_MAX_RATE_BPS,
    burst_bytes: int = DEFAULT_BURST_BYTES,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Have the testbed of this scenario stand, whatever stood under its name before; returns its `status`.

    One that stands already, whole and the same, is left as it is but for its files: scenarios that differ, in how
    packets are sent for instance, may be the same network. Raises InputError if it cannot be built; then nothing
    of it is left.
    """
    planned = partial(plan_bed, scenario, name, max_rate_bps=max_rate_bps, burst_bytes=burst_bytes)
    bed = planned()
    require()
    if has_delays():
        bed = planned(delays=True)
    with held(name):
        folder = _STATE / name
        if _stands(bed):
            _describe(folder, scenario, bed)
        else:
            _clear(name)
            folder.mkdir(parents=True, exist_ok=True)
            try:
                _describe(folder, scenario, bed)
                build(bed, progress)
                # Written last: its presence says that the building was not cut off.
                (folder / _BED).write_text(json.dumps({"digest": _digest(bed), "bed": asdict(bed)}), encoding="utf-8")
            except BaseException:
                _clear(name)
                raise
        return status(name)


def down(name: str = DEFAULT_NAME) -> dict[str, Any]:
    """Remove all of the testbed: processes, namespaces and what is in them, and its own files; also after a crash."""
    _check_name(name)
    if os.geteuid() != 0:
        raise InputError("segcast testbed down: removes network namespaces, which takes root; run it with sudo")
    with held(name) as lock:
        there, ended = _clear(name)
        lock.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        _STATE.rmdir()
    return {"name": name, "namespaces_removed": there, "processes_ended": ended}


def status(name: str = DEFAULT_NAME) -> dict[str, Any]:
    """What stands of the testbed, as JSON values: `state` is up, partial or down.

    For root, who may look into namespaces, `missing` names what is not as it was built: interfaces, shapers, routes.
    """
    _check_name(name)
    there = spaces(f"{name}-")
    folder = _STATE / name
    saved = _saved(name)
    if saved is None:
        return {"name": name, "state": "partial" if there or folder.exists() else "down", "namespaces": there}
    bed = saved["bed"]
    planned = [space["namespace"] for space in bed["spaces"]]
    missing = [space for space in planned if space not in there]
    links, damages = [], []
    for space in bed["spaces"]:
        found = TestbedSurvey([], {})
        if space["namespace"] in there and os.geteuid() == 0:
            found = _surveyed(space, bed["mtu"])
        damages += found.missing
        for interface in space["interfaces"]:
            if (shaper := interface["shaper"]) is not None:
                packets, dropped, carried = found.counters.get(interface["name"], (None, None, None))
                links.append(
                    {
                        **shaper,
                        "namespace": space["namespace"],
                        "interface": interface["name"],
                        "packets": packets,
                        "dropped": dropped,
                        "carried_bytes": carried,
                    }
                )
    # What hangs on a namespace that is gone is gone with it.
    missing = missing or damages
    return {
        "name": name,
        "state": "partial" if missing else "up",
        "namespaces": there,
        "missing": missing,
        "links": links,
        "mtu_bytes": bed["mtu"],
        "notes": bed["notes"],
        "sids": _json(folder / _SIDS),
        "scenario": str(folder / _SCENARIO),
        "inventory": str(folder / _INVENTORY),
    }


def standing(name: str) -> tuple[ValidScenario, Path]:
    """The scenario and the inventory of a testbed that stands. Raises InputError if none does."""
    found = status(name)
    if found["state"] != "up":
        lost = f" as it was built ({found['missing'][0]})" if found.get("missing") else ""
        raise InputError(f"testbed {name}: does not stand{lost}; run segcast testbed up first")
    return read_scenario(_STATE / name / _SCENARIO), _STATE / name / _INVENTORY


@contextlib.contextmanager
def held(name: str) -> Iterator[Path]:
    """Hold the testbed for this process alone. Raises InputError if another holds it. Yields the lock's file."""
    _check_name(name)
    path = _STATE / f"{name}.lock"
    handle = _locked(path, name)
    try:
        os.truncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield path
    finally:
        os.close(handle)


def _locked(path: Path, name: str) -> int:
    """The lock's file, open and locked."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(handle, 32, 0).decode(errors="replace").strip()
            os.close(handle)
            raise InputError(f"testbed {name}: is in use by process {owner or '?'}; wait until that ends") from None
        with contextlib.suppress(OSError):
            if path.stat().st_ino == os.fstat(handle).st_ino:
                return handle
        os.close(handle)  # whoever held it has removed it meanwhile: this is nobody's lock


def inventory_of(bed: Bed) -> Inventory:
    """The testbed as an inventory: each host injects for its attachment, and captures what it receives."""
    senders: dict[str, Sender] = {}
    receivers: dict[str, Receiver] = {}
    transit: dict[str, Transit] = {}
    for space in bed.spaces:
        short = space.namespace.removeprefix(f"{bed.name}-")
        if space.host:
            label = short.removeprefix("host-")
            where: dict[str, Any] = {"interface": "e0", "netns": space.namespace, "clock": CLOCK}
            senders[label] = Sender(**where, attachments=(space.place,), prefixes=tuple(space.prefixes))
            receivers[label] = Receiver(**where, attachment=space.place)
            continue
        for interface in space.interfaces:
            if interface.shaper is not None:
                transit[f"{short}.{interface.name}"] = Transit(
                    interface=interface.name,
                    netns=space.namespace,
                    clock=CLOCK,
                    node=space.place,
                    link=interface.shaper.link,
                )
    inventory = Inventory(senders=senders, receivers=receivers, transit=transit)
    return inventory.model_copy(update={"testbed": bed.name, "burst": bed.burst_bytes})


def _describe(folder: Path, scenario: ValidScenario, bed: Bed) -> None:
    sids = scenario.whole_sid_table()
    (folder / _SIDS).write_text(json_text(sids), encoding="utf-8")
    (folder / _SCENARIO).write_text(scenario.to_toml_with(sids, str(folder / _SIDS)), encoding="utf-8")
    (folder / _INVENTORY).write_text(inventory_of(bed).to_toml(), encoding="utf-8")


def _digest(bed: Bed) -> str:
    return hashlib.sha256(json.dumps(asdict(bed), sort_keys=True).encode()).hexdigest()


def _saved(name: str) -> dict[str, Any] | None:
    return _json(_STATE / name / _BED)


def _json(file: Path) -> dict[str, Any] | None:
    """The object in a file of a testbed's own; None if there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    except (OSError, ValueError):
        return None


def _stands(bed: Bed) -> bool:
    saved = _saved(bed.name)
    return saved is not None and saved.get("digest") == _digest(bed) and status(bed.name)["state"] == "up"


def _clear(name: str) -> tuple[list[str], int]:
    there = spaces(f"{name}-")
    ended = evict(there)
    for space in there:
        remove(space)
    shutil.rmtree(_STATE / name, ignore_errors=True)
    return there, ended


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]{0,11}", name):
        raise InputError(f"--name {name!r}: give up to 12 small letters and digits, a letter first")


def _surveyed(space: dict[str, Any], mtu: int) -> TestbedSurvey:
    try:
        return survey(space, mtu)
    except OSError:
        return TestbedSurvey([f"{space['namespace']}: cannot be entered"], {})
