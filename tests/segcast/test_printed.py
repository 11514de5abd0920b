"""Every command with `--json` prints documents that are declared, and what it really prints is what they declare."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import segcast
from segcast.cli import cli
from segcast.library.documents import NAMES, PRINTED_BY, schema_of, shape_of
from segcast.replay.testbed.build import require
from segcast.traces.samples import CLUSTER
from segcast.traces.version import VERSION
from tests.conftest import Run

FABRIC = """
seeds = [1]
policies = ["ecmp", "inflight"]
[network]
kind = "leaf-spine"
leaves = 2
spines = 2
hosts_per_leaf = 2
links = { rate = "100Mbps", delay = "0us", buffer = "64KiB" }
host_links = { rate = "100Mbps", delay = "0us", buffer = "64KiB" }
[transport]
control = "cubic"
"""
INVENTORY = """
[senders.a]
interface = "lo"
prefixes = ["0.0.0.0/0", "::/0"]
[receivers.b]
interface = "lo"
attachment = "right"
"""


def commands(title: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from commands(f"{title} {inner.name}".strip(), inner)
    else:
        yield title, command


def test_every_command_with_json_says_which_documents_it_prints() -> None:
    printing = {title for title, command in commands("", cli) if any(p.name == "as_json" for p in command.params)}
    assert printing == set(PRINTED_BY)
    declared = {name for names in PRINTED_BY.values() for name in names}
    assert declared <= set(NAMES)
    for name in declared:
        assert list(schema_of(name)["properties"])[:2] == ["segcast", "schema_version"], name


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("printed")
    (folder / "fabric.toml").write_text(FABRIC)
    (folder / "lab.toml").write_text(INVENTORY)
    flows = segcast.synth("fixed", folder / "fabric.toml", load=0.2, flows=20, size="20kB", out=folder / "w.csv")
    segcast.forecast(flows, folder / "fabric.toml", folder / "reacting")
    segcast.forecast(CLUSTER, segcast.paths("2x300Mbps"), folder / "f", policies=["ecmp", "inflight"], seeds=1)
    segcast.lab.rewrite(folder / "f", folder / "srv6", policy="inflight")
    return folder


STEER = ("fabric.toml", "--iface", "lo", "--at", "leaf0", "--from", "10.0.0.1/32")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("synth", "synth incast --scenario fabric.toml --load 0.2 --flows 30 --fan 3 --bytes 9kB --out s.csv"),
        ("synth", "synth web-search --scenario fabric.toml --load 0.2 --flows 30 --out s.csv"),
        ("workload", f"workload {CLUSTER} --out l.csv"),
        ("export", "export reacting --cell ecmp-s1 --out e.pcap"),
        ("rewrite.json", "rewrite f --policy inflight --out r"),
        ("replay-plan", "replay srv6 --inventory lab.toml"),
        ("replay-clean", "replay --clean --inventory lab.toml"),
        ("calibrate-probes", "calibrate probes --scenario f/scenario.toml --out probes"),
        ("testbed-plan", "testbed plan fabric.toml"),
        ("testbed-plan", "testbed plan fabric.toml --format frr"),
        ("testbed-plan", "testbed plan fabric.toml --format ip --node leaf0"),
        ("testbed-status", "testbed status --name notthere"),
        ("live-plan", "testbed live fabric.toml --workload w.csv --policy ecmp,inflight"),
        ("sweep.json", f"sweep {CLUSTER} --paths 2x300Mbps --policy ecmp --seeds 1 --set buffer=64KiB,1MiB --out sw"),
        ("forecast.json", f"forecast {CLUSTER} --paths 2x300Mbps --policy ecmp,inflight --seeds 1 --out again"),
    ],
)
def test_what_is_printed_is_what_is_declared(
    name: str, words: str, home: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    done = run(*words.split(), "--json")
    assert done.code in (0, 1), done.err  # 1: a plan that is refused is printed all the same
    command = next(title for title in PRINTED_BY if f"{words} ".startswith(f"{title} "))
    assert name in PRINTED_BY[command]
    check(name, done.out)


def check(name: str, text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    assert list(found)[:2] == ["segcast", "schema_version"]
    assert (found["segcast"], found["schema_version"]) == (VERSION, 1) or name.endswith(".json")
    assert set(found) - {"page", "run"} <= set(schema_of(name)["properties"])
    known = {key: value for key, value in found.items() if key in shape_of(name).model_fields}
    assert shape_of(name).model_validate(found).stated() == known
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="what is attached to interfaces is for root to see")
def test_what_steering_prints_is_what_is_declared(home: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    fit = run("steer", "check", "--json")
    check("steer-check", fit.out)
    planned = run("steer", "plan", *STEER, "--json")
    assert planned.code == 0, planned.err
    assert check("steer-plan", planned.out)["paths"]
    asked = run("steer", "attach", *STEER, "--policy", "inflight", "--timeout", "3ms", "--json")
    assert check("steer-plan", asked.out) == check("steer-plan", planned.out)
    if fit.code:
        pytest.skip("this kernel cannot steer")
    check("steer-status", run("steer", "status", "--iface", "lo", "--json").out)
    assert check("steer-detach", run("steer", "detach", "--iface", "lo", "--json").out)["detached"] is False


@pytest.mark.skipif(os.geteuid() != 0, reason="a testbed takes root")
def test_what_a_testbed_prints_is_what_is_declared(home: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    name = f"sgp{os.getpid() % 10**6}"
    try:
        require()
    except segcast.InputError as error:
        pytest.skip(str(error))
    try:
        built = run("testbed", "up", "fabric.toml", "--name", name, "--json")
        assert built.code == 0, built.err
        assert check("testbed-status", built.out)["links"]
        assert check("testbed-status", run("testbed", "status", "--name", name, "--json").out)["state"] == "up"
    finally:
        removed = run("testbed", "down", "--name", name, "--json")
    assert check("testbed-down", removed.out)["namespaces_removed"]
