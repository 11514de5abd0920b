"""The command line: every command parses, calls one function of a package, and prints; errors become exit codes.

Packages are imported inside the commands, so that `segcast --help` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from replay.commands.calibrate import command as calibrate_command
from replay.commands.measure import command as measure_command
from replay.commands.replay import replay
from replay.commands.rewrite import flags as rewrite_flags
from replay.commands.screen import Screen, json_option, print_json, progress
from replay.commands.testbed import testbed
from replay.commands.validate import command as validate_command
from traces.errors import SegcastError
from traces.version import VERSION

if TYPE_CHECKING:
    from rich.console import Console

    from traces.trace import Trace

_layer = click.option(
    "--layer", type=click.Choice(["outer", "inner"]), help="IP header that counts where tunnels nest them [outer]."
)
_INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FLOWLET_TIMEOUTS = "50us,100us,500us,1ms,5ms"
_DEMO_FLAGS = {"paths": "4x300Mbps", "timeout": "50us,100us,500us", "buffer": "1MiB"}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(VERSION, prog_name="segcast")
def cli() -> None:
    """Forecast what captured traffic would experience under host-driven flowlet balancing over SRv6, and prove it.

    TRACE may be a trace folder made by `segcast ingest`, or what that reads: a capture, a folder of captures, a quoted
    pattern or a URL.
    """


@cli.command()
@click.argument("captures", nargs=-1, required=True, metavar="CAPTURE...")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Trace folder to write, NAME.trace.")
@_layer
@click.option("--drop-duplicates", is_flag=True, help="Leave out packets captured twice (mirrors, bridges).")
@click.option(
    "--split-offload",
    metavar="MSS",
    help="Cut TSO/GSO/GRO super-frames into wire frames of this segment size, or auto.",
)
@click.option("--line-rate", help="Rate at which split frames follow each other [10Gbps].")
@click.option("--anonymize", metavar="KEYFILE", type=click.Path(path_type=Path), help="Map addresses (Crypto-PAn).")
@click.option("--keep-going", is_flag=True, help="Read on after damage, and exit 0; each one is a warning on stderr.")
@json_option
def ingest(
    captures: tuple[str, ...], out: Path, layer: str | None, keep_going: bool, as_json: bool, **flags: Any
) -> None:
    """Read captures into a trace: Arrow tables of packets and flows, in order of time.

    CAPTURE is a file, a URL, "-" (standard input), a folder with captures anywhere below it, or a quoted pattern such
    as 'tap/*.pcap.gz'. An interrupted ingest of several captures resumes when the same command is given again.
    """
    from traces.describe import describe
    from traces.intake import choose
    from traces.store import ingest as run

    choices = choose(**flags)
    with _progress("ingest", "B") as progress:
        options: dict[str, Any] = {"layer": layer or "outer", "keep_going": keep_going, "choices": choices}
        trace = run(captures, out, progress=progress, say=_note, **options)
    _show(describe(trace), as_json, _print_facts)


@cli.command()
@click.argument("trace")
@_layer
@json_option
def inspect(trace: str, layer: str | None, as_json: bool) -> None:
    """Say what a trace holds, what was skipped and why."""
    from traces.describe import describe

    _show(describe(_open(trace, layer)), as_json, _print_facts)


@cli.command()
@click.argument("trace")
@click.option("--timeout", "timeouts", default=_FLOWLET_TIMEOUTS, show_default=True, help="Flowlet timeouts.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write every flowlet to this Parquet file.")
@_layer
@json_option
def flowlets(trace: str, timeouts: str, out: Path | None, layer: str | None, as_json: bool) -> None:
    """Count flowlets and their sizes at any list of timeouts."""
    from analyzer.flowlet_report import flowlet_report

    report = flowlet_report(_open(trace, layer), _durations(timeouts), out)
    from reports.console import print_flowlets

    _show(report, as_json, print_flowlets)


@cli.command()
@click.argument("trace")
@click.option(
    "--scenario", type=click.Path(path_type=Path), help="Scenario file; the flags below override nothing in it."
)
@click.option("--paths", help="Parallel paths, such as 4x10Gbps or 2x10Gbps,2x25Gbps.")
@click.option("--delay", help="Propagation delay of a path [5us].")
@click.option("--buffer", help="Buffer of a path [512KiB].")
@click.option("--ecn", help="ECN marking threshold of a path [none].")
@click.option("--policy", help="Policies [ecmp,random,inflight].")
@click.option("--timeout", help="Flowlet timeouts, such as 100us,rtt [100us].")
@click.option("--load", help="Factors of the trace's rate, such as 1,1.5,2 [1].")
@click.option("--seeds", type=click.IntRange(1, 10_000), help="Number of seeds, counted from 1 [10].")
@click.option("--packets", type=click.Choice(["none", "first", "all"]), help="Seeds whose packets are kept [first].")
@click.option("--sensitivity", is_flag=True, help="Also run what counts bytes in flight with errors of that count.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Forecast folder to write.")
@_layer
@json_option
def forecast(
    trace: str, out: Path, layer: str | None, as_json: bool, scenario: Path | None, sensitivity: bool, **flags: Any
) -> None:
    """Forecast delay, loss and balance of a trace under several policies, timeouts and seeds."""
    from analyzer.flags import scenario_of
    from analyzer.forecast import forecast as run
    from reports.page import write_report

    chosen = scenario_of(scenario, flags)
    if sensitivity:
        from analyzer.sensitivity import with_errors

        chosen = with_errors(chosen)
    with _progress("forecast", "cells") as progress:
        opened = _open(trace, layer)
        with _interruption.deferred():
            document = run(opened, chosen, out, progress, finish=write_report)
    if as_json:
        print_json(document)
        return
    from reports.terminal import print_forecast

    console = _console()
    print_forecast(out, console)
    _say(console, f"report: {out / 'report.html'}")


@cli.command()
@json_option
def policies(as_json: bool) -> None:
    """Explain the policies and flowlet timeouts, their parameters, and where they come from."""
    from analyzer.catalogue import catalogue

    document = catalogue()
    if as_json:
        print_json(document)
        return
    console = _console()
    asked = {"asked": "asked at each packet", "packet": "per packet", "flowlet": "per flowlet", "flow": "per flow"}
    for row in document["policies"]:
        who = "steered by SRv6" if row["steered"] else "not steered"
        _say_entry(console, row["policy"], f"{asked[row['granularity']]}, {who}", row)
    _say(console, "\nFlowlet timeouts:")
    for row in document["timeouts"]:
        _say_entry(console, row["timeout"], "follows what returns" if row["learns"] else "needs no feedback", row)


@cli.command()
@click.argument("folder", metavar="F", type=click.Path(path_type=Path))
@click.option("--policy", required=True, help="Policy whose schedule to write, by its label.")
@click.option("--timeout", help="Flowlet timeout of the cell, such as 100us or rtt, if the forecast has several.")
@click.option("--seed", type=int, help="Seed of the cell, if several were kept.")
@click.option("--load", type=float, help="Load of the cell, if the forecast has several.")
@rewrite_flags
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the captures.")
@json_option
def rewrite(
    folder: Path,
    policy: str,
    timeout: str | None,
    seed: int | None,
    load: float | None,
    out: Path,
    as_json: bool,
    **flags: Any,
) -> None:
    """Write the schedule of one policy as SRv6-encapsulated captures, one per injecting host or interface."""
    from replay.plan import Wanted, rewrite_forecast

    wanted = Wanted(**flags)
    cell: dict[str, Any] = {"policy": policy, "timeout": timeout, "seed": seed, "load": load}
    summary = rewrite_forecast(folder, out, **cell, wanted=wanted)
    from reports.console import print_rewrite

    _show(summary.as_dict(), as_json, print_rewrite)


cli.add_command(replay)
cli.add_command(testbed)


@cli.command()
@click.argument("folder", metavar="F", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Write report.html of a forecast again, from its tables."""
    from reports.page import write_report

    _say(_console(), str(write_report(folder)))


@cli.command()
@click.option(
    "--out", default="segcast-demo", show_default=True, type=click.Path(path_type=Path), help="Where to write."
)
def demo(out: Path) -> None:
    """Run the main job on the bundled capture: ingest, flowlets, forecast, report, SRv6 schedule."""
    from analyzer.flags import scenario_of
    from analyzer.flowlet_report import flowlet_report
    from analyzer.forecast import forecast as run
    from replay.plan import rewrite_forecast
    from reports.console import print_flowlets, print_rewrite
    from reports.page import write_report
    from reports.terminal import print_forecast
    from traces.samples import CLUSTER
    from traces.store import ingest as ingest_captures

    console = _console()
    trace = out / "cluster.trace"
    folder = out / "cluster.forecast"
    scenario = scenario_of(None, _DEMO_FLAGS)
    flags = " ".join(f"--{name} {value}" for name, value in _DEMO_FLAGS.items())
    _step(console, f"segcast ingest {CLUSTER.name} --out {trace}")
    ingest_captures([CLUSTER], trace)
    _step(console, f"segcast flowlets {trace}")
    print_flowlets(flowlet_report(_open(trace), _durations(_FLOWLET_TIMEOUTS)), console)
    _step(console, f"segcast forecast {trace} {flags} --out {folder}")
    with _progress("forecast", "cells") as progress:
        opened = _open(trace)
        with _interruption.deferred():
            run(opened, scenario, folder, progress, finish=write_report)
    print_forecast(folder, console)
    _step(console, f"segcast rewrite {folder} --policy inflight --out {out / 'srv6'}")
    print_rewrite(rewrite_forecast(folder, out / "srv6", policy="inflight").as_dict(), console)
    _say(console, f"\nreport:   {folder / 'report.html'}\ncaptures: {out / 'srv6'}")


def _step(console: Console, command: str) -> None:
    console.print(f"\n$ {command}", style="bold", markup=False)


def _open(path: str | Path, layer: str | None = None) -> Trace:
    from traces.store import open_trace

    return open_trace(path, layer=layer, say=_note)


def _note(text: str) -> None:
    """A line on stderr that is no error."""
    click.echo(f"segcast: {' '.join(text.split())}", err=True)


def _durations(text: str) -> list[int]:
    from traces.units import duration_ns

    return [duration_ns(part) for part in text.split(",")]


def _console() -> Console:
    from rich.console import Console

    class Terminal(Console):
        """A closed pipe ends the output quietly: `main` handles it."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Terminal(soft_wrap=True, highlight=False)


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False)


def _say_entry(console: Console, name: str, how: str, row: dict[str, Any]) -> None:
    """A policy or flowlet timeout with its parameters."""
    _say(console, f"{name:12} {row['summary']}\n{'':12} {how}; {row['source']}")
    for parameter in row["parameters"]:
        among = f" ({', '.join(parameter['choices'])})" if "choices" in parameter else ""
        _say(console, f"{'':12}   {parameter['name']} = {parameter['default']}{among}: {parameter['description']}")


def _show(document: dict[str, Any], as_json: bool, show: Callable[[dict[str, Any], Console], None]) -> None:
    if as_json:
        print_json(document)
    else:
        show(document, _console())


def _print_facts(facts: dict[str, Any], console: Console) -> None:
    from reports.facts import print_facts

    print_facts(facts, console)


def _progress(what: str, unit: str) -> AbstractContextManager[Callable[[int, int], None]]:
    """A bar that ends when interrupted."""
    return progress(what, unit, _interruption.check)


def _show_kind(document: dict[str, Any], as_json: bool, kind: str) -> None:
    def printed(shown: dict[str, Any], console: Console) -> None:
        from reports.validation_terminal import PRINTERS

        PRINTERS[kind](shown, console)

    _show(document, as_json, printed)


def _write_validation(folder: Path) -> object:
    from reports.validation_page import write_validation

    return write_validation(folder)


_SCREEN = Screen(_progress, _show_kind, _write_validation)
cli.add_command(measure_command(_SCREEN))
cli.add_command(calibrate_command(_SCREEN))
cli.add_command(validate_command(_SCREEN))


class _Interruption:
    """SIGINT, SIGTERM and SIGHUP, once: a second one must not stop the clean-up that the first has started."""

    def __init__(self) -> None:
        self._seen = False
        self._deferred = False

    def install(self) -> None:
        """Handle the signals from now on; under nohup SIGHUP stays ignored."""
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Leave it to `check` to raise: an exception amid the hand-over of work to threads could leave a lock taken."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def check(self) -> None:
        """Raise what was deferred, or swallowed by a library's callback."""
        if self._seen:
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: object) -> None:
        self._seen = True
        for other in _SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        if not self._deferred:
            raise KeyboardInterrupt


_interruption = _Interruption()


def main() -> None:
    """Run the command line; exit 0 done, 1 a check did not hold, 2 the input or the usage is wrong, 130 interrupted."""
    try:
        _interruption.install()
        with cli.make_context("segcast", sys.argv[1:]) as context:
            cli.invoke(context)
            sys.stdout.flush()
        sys.exit(0)
    except click.exceptions.Exit as finished:
        sys.exit(finished.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "segcast"
        _fail(f"{error.format_message().rstrip('.')}; see {command} --help")
    except SegcastError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        _fail(f"{error.filename or 'output'}: {error.strerror or error}")
    except MemoryError as error:
        _fail(f"out of memory: {error or 'the trace is too large for this machine'}")
    except (KeyboardInterrupt, click.Abort) as error:
        _fail(str(error) or "interrupted; nothing was left half-written", _INTERRUPTED)


def _fail(text: str, code: int = 2) -> None:
    click.echo(f"segcast: {' '.join(text.split())}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
