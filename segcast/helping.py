"""What all commands' help has in common: metavars, defaults said in one way, examples, and completion of files."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

import click
from click.shell_completion import CompletionItem, shell_complete

COMPLETE_VARIABLE: Final = "_SEGCAST_COMPLETE"

# What a value is, by the name of the parameter; each of these is explained by what follows it in the help.
METAVARS: Final = {
    **dict.fromkeys(("delay", "block", "at", "jitter", "limit", "compensation", "absolute"), "DURATION"),
    **dict.fromkeys(("duration", "ack_timeout"), "DURATION"),
    **dict.fromkeys(("buffer", "ecn", "burst", "size", "snaplen"), "SIZE"),
    **dict.fromkeys(("line_rate", "max_rate"), "RATE"),
    **dict.fromkeys(("seeds", "resamples", "flows", "cells", "fan", "objects", "mss", "mtu", "pairs", "jobs"), "N"),
    **dict.fromkeys(("seed", "number"), "N"),
    **dict.fromkeys(("sigma", "precision", "loss", "p50", "p99", "residual", "fct", "reordering", "speed"), "X"),
    **dict.fromkeys(("out", "scenario", "forecast", "validated", "plugin", "log", "workload"), "PATH"),
    "timeouts": "TIMEOUTS",
    "timeout": "TIMEOUTS",
    "policy": "POLICIES",
    "paths": "NxRATE",
    "leaf_spine": "LEAVESxSPINESxRATE",
    "load": "LOADS",
    "growth": "FACTORS",
    "until": "YEARS",
    "only": "PREFIXES",
    "without": "PREFIXES",
    "transport": "CONTROL",
    "control": "CONTROL",
    "slo": "BUDGETS",
    "between": "A..B",
    "cost": "PRICES",
    "pattern": "PATTERN",
    "sizes": "SIZES",
    "cell": "CELL",
    "vlan": "TAGS",
    "name": "NAME",
    "iface": "INTERFACE",
    "folder": "FORECAST",
    "source": "FORECAST",
    "first": "FIRST",
    "second": "SECOND",
    "cluster": "URL",
    "store": "PATH",
}
_OF_COMMAND: Final = {
    ("replay", "folder"): "[REWRITE]",
    ("live", "seeds"): "SEEDS",
    ("attach", "policy"): "POLICY",
    ("attach", "timeout"): "TIMEOUT",
    **{(command, name): name.upper() for command in ("rewrite", "run") for name in ("policy", "timeout", "load")},
    **{(command, "at"): "ATTACHMENT" for command in ("plan", "attach")},
    ("validate", "forecast"): "FORECAST",
    ("validate", "measurements"): "MEASUREMENT...",
}
_OLD: Final = ("F", "M...", "[DIR]")  # named alike below, wherever they stand
_FILES: Final = ("TRACE", "CAPTURE...", "FORECAST", "REWRITE", "[REWRITE]", "RUN", "RUN... | probes", "FIRST", "SECOND")

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "ingest": (
        "segcast ingest capture.pcap --out capture.trace",
        "segcast ingest 'tap/*.pcap.gz' --out tap.trace --filter 'tcp and net 10.0.0.0/8'",
    ),
    "inspect": ("segcast inspect capture.pcap", "segcast inspect capture.trace --json"),
    "flowlets": ("segcast flowlets capture.trace", "segcast flowlets capture.trace --timeout 50us,500us"),
    "forecast": (
        "segcast forecast capture.trace --paths 4x10Gbps --out forecast",
        "segcast forecast capture.trace --leaf-spine 16x4x25Gbps --load 30%,60% --out forecast",
        "segcast forecast capture.trace --scenario fabric.toml --out forecast",
    ),
    "sweep": ("segcast sweep capture.trace --paths 4x10Gbps --set buffer=64KiB..1MiB/5 --out sweep",),
    "compare": (
        "segcast compare before after --out changed",
        'segcast compare before after --slo "p99_delay < 2ms and drops == 0"',
    ),
    "plan": (
        'segcast plan capture.pcap --paths 4x10Gbps --slo "p99_delay < 200us and drops == 0" --out plan',
        "segcast plan capture.pcap --scenario fabric.toml --failures links --out failures",
    ),
    "advise": ("segcast advise capture.pcap --paths 4x10Gbps --out advice",),
    "policies": ("segcast policies",),
    "schema": ("segcast schema", "segcast schema forecast.json"),
    "synth": ("segcast synth web-search --scenario fabric.toml --load 0.6 --flows 10000 --out flows.csv",),
    "workload": ("segcast workload capture.trace --out flows.csv",),
    "export": ("segcast export forecast --cell ecmp-s1 --out ecmp.pcap",),
    "rewrite": ("segcast rewrite forecast --policy inflight --out srv6",),
    "replay": (
        "segcast replay srv6 --inventory lab.toml",
        "segcast replay srv6 --inventory lab.toml --send --out run",
    ),
    "testbed up": ("segcast testbed up fabric.toml",),
    "testbed plan": ("segcast testbed plan fabric.toml", "segcast testbed plan fabric.toml --format frr"),
    "testbed status": ("segcast testbed status",),
    "testbed down": ("segcast testbed down",),
    "testbed run": ("segcast testbed run forecast --policy inflight --out run",),
    "testbed live": ("segcast testbed live fabric.toml --workload flows.csv --out live",),
    "steer check": ("segcast steer check",),
    "steer plan": ("segcast steer plan fabric.toml --iface eth0",),
    "steer attach": ("segcast steer attach fabric.toml --iface eth0 --policy inflight --timeout 3ms",),
    "steer status": ("segcast steer status",),
    "steer detach": ("segcast steer detach --iface eth0",),
    "report": ("segcast report forecast",),
    "demo": ("segcast demo --out demo",),
    "measure": ("segcast measure run --out measured",),
    "calibrate": (
        "segcast calibrate probes --scenario fabric.toml --out probes",
        "segcast calibrate run --scenario fabric.toml --out calibrated.toml",
    ),
    "validate": ("segcast validate forecast measured --out validation",),
}


def helped(command: click.Command, before: str = "") -> click.Command:
    """Give a command, or all of a group, metavars, defaults, examples and the completion of files."""
    title = f"{before} {command.name}".strip()
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            helped(inner, title)
        return command
    for parameter in command.params:
        _dress(parameter, command)
    if title in EXAMPLES:
        command.epilog = "\n".join(["\b", "Examples:", *(f"  {line}" for line in EXAMPLES[title])])
    return command


def _dress(parameter: click.Parameter, command: click.Command) -> None:
    name = str(parameter.name)
    chosen = isinstance(parameter.type, click.Choice) or getattr(parameter, "is_flag", False)
    own = None if parameter.metavar in _OLD else parameter.metavar
    if not chosen and own is None:
        parameter.metavar = _OF_COMMAND.get((str(command.name), name)) or METAVARS.get(name) or parameter.metavar
        if isinstance(parameter, click.Option) and parameter.metavar is None:
            parameter.metavar = "N" if parameter.type.name.startswith("int") else name.upper()
    if isinstance(parameter, click.Option) and parameter.show_default and parameter.help:
        parameter.help = f"{parameter.help.rstrip('.')} [{parameter.default}]."
        parameter.show_default = False
    file = isinstance(parameter, click.Argument) and (parameter.metavar or name.upper()) in _FILES
    if file and not isinstance(parameter.type, click.Path):
        parameter._custom_shell_complete = _files


def _files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    return [CompletionItem(incomplete, type="file")]


def complete(cli: click.Command) -> None:
    """Answer a shell that asks what completes a command line, and exit; else do nothing (docs/commands.md)."""
    instruction = os.environ.get(COMPLETE_VARIABLE)
    if instruction:
        sys.exit(shell_complete(cli, {}, "segcast", COMPLETE_VARIABLE, instruction))
