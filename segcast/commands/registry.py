"""All commands, in the order in which their work comes."""

from __future__ import annotations

from typing import Final

import click

from segcast.commands.advise import advise
from segcast.commands.calibrate import calibrate
from segcast.commands.compare import compare
from segcast.commands.demo import demo
from segcast.commands.export import export
from segcast.commands.flowlets import flowlets
from segcast.commands.forecast import forecast
from segcast.commands.ingest import ingest
from segcast.commands.inspect import inspect
from segcast.commands.measure import measure
from segcast.commands.plan import plan
from segcast.commands.policies import policies
from segcast.commands.replay import replay
from segcast.commands.report import report
from segcast.commands.rewrite import rewrite
from segcast.commands.schema import schema
from segcast.commands.steer import steer
from segcast.commands.sweep import sweep
from segcast.commands.synth import synth
from segcast.commands.testbed import testbed
from segcast.commands.validate import validate
from segcast.commands.workload import workload

COMMANDS: Final[tuple[click.Command, ...]] = (
    ingest,
    inspect,
    flowlets,
    forecast,
    sweep,
    compare,
    plan,
    advise,
    policies,
    schema,
    synth,
    workload,
    export,
    rewrite,
    replay,
    testbed,
    steer,
    report,
    demo,
    measure,
    calibrate,
    validate,
)
