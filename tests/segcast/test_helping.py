"""Help: one style of metavars and defaults, examples that parse, some that run, and completion in three shells."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from segcast.analyzer.scenario.flags import scenario_of
from segcast.cli import cli
from segcast.helping import EXAMPLES
from segcast.traces.errors import InputError
from segcast.traces.samples import CLUSTER
from tests.conftest import Run


def commands(command: click.Command = cli, title: str = "") -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, f"{title} {name}".strip())
    else:
        yield title, command


ALL = dict(commands())


@pytest.mark.parametrize("title", ALL)
def test_help_has_examples_and_one_style(title: str) -> None:
    shown = ALL[title].get_help(click.Context(ALL[title], info_name=f"segcast {title}"))
    assert "Examples:\n    segcast " in shown, title
    assert not re.search(r"\b(TEXT|INTEGER|FLOAT|INTEGER RANGE|BOOLEAN)\b", shown), shown
    assert "[default:" not in shown
    assert not re.search(r"^Usage: .*(\bF\b|\bM\b|\bDIR\b)", shown)


def test_every_command_has_examples_and_no_other() -> None:
    assert set(EXAMPLES) == set(ALL)


@pytest.mark.parametrize("example", [line for lines in EXAMPLES.values() for line in lines])
def test_examples_parse(example: str) -> None:
    program, *words = shlex.split(example)
    assert program == "segcast"
    command: click.Command = cli
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    with command.make_context("segcast", words):
        pass


def test_examples_of_a_newcomers_way_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("capture.pcap").symlink_to(CLUSTER)
    for title in ("ingest", "inspect", "flowlets", "policies"):
        done = run(*shlex.split(EXAMPLES[title][0])[1:])
        assert done.code == 0, done.err
    assert (
        "next, what your network makes of them: segcast forecast capture.trace --paths"
        in run("flowlets", "capture.trace").out
    )


def asked(shell: str, *words: str, at: int | None = None) -> str:
    environment = os.environ | {
        "_SEGCAST_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": shlex.join(["segcast", *words]),
        "COMP_CWORD": str(len(words) if at is None else at) if shell != "fish" else words[-1],
    }
    return subprocess.run([sys.executable, "-m", "segcast"], env=environment, capture_output=True, text=True).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_flags(shell: str) -> None:
    environment = os.environ | {"_SEGCAST_COMPLETE": f"{shell}_source"}
    made = subprocess.run([sys.executable, "-m", "segcast"], env=environment, capture_output=True, text=True)
    assert made.returncode == 0
    assert "_SEGCAST_COMPLETE" in made.stdout
    assert made.stderr == ""
    assert "forecast" in asked(shell, "fore")
    assert "--leaf-spine" in asked(shell, "forecast", "--lea")


def test_traces_are_completed_as_files() -> None:
    assert asked("bash", "inspect", "cap").startswith("file,cap")


def test_a_fabric_in_a_flag() -> None:
    scenario = scenario_of(None, {"leaf_spine": "16x4x25Gbps", "buffer": "1MiB"})
    network = scenario.model_dump(mode="json", exclude_none=True)["network"]
    assert (network["kind"], network["leaves"], network["spines"]) == ("leaf-spine", 16, 4)
    assert (network["links"]["rate"], network["links"]["buffer"]) == ("25Gbps", "1MiB")
    assert len(scenario.fabric().attachments) == 16


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"leaf_spine": "16x25Gbps"}, "--leaf-spine '16x25Gbps': write it like 16x4x25Gbps"),
        ({"leaf_spine": "16x4x25G"}, "--leaf-spine: "),
        ({"leaf_spine": "1x4x25Gbps"}, "network.leaves: must be 2 or more"),
        ({"leaf_spine": "2x2x1Gbps", "paths": "2x1Gbps"}, "--paths and --leaf-spine exclude each other"),
        ({"leaf_spine": "2x2x1Gbps", "delay": "5"}, "--delay: "),
        ({}, "give the network: --paths 4x10Gbps, --leaf-spine 16x4x25Gbps, or --scenario FILE"),
    ],
)
def test_a_fabric_that_is_none_is_one_line(flags: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        scenario_of(None, flags)
