"""The command line: one file a command in `segcast/commands/`; here errors become exit codes.

Packages are imported inside the commands, so that `segcast --help` answers at once.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from contextlib import suppress
from typing import Final, NoReturn

import click

import segcast as sc
from segcast.commands.registry import COMMANDS
from segcast.helping import complete, helped
from segcast.interruption import INTERRUPTION
from segcast.readers import outlive_readers
from segcast.screen import line_of
from segcast.signs import MANNER, compiling_said, with_manner
from segcast.traces.captures.remote import waiting

_NOTHING_LEFT: Final = "interrupted; nothing was left half-written"
_INTERRUPTED: Final = 130
_OBJECTS_BETWEEN_COLLECTIONS: Final = 100_000


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(sc.__version__, prog_name="segcast")
def cli() -> None:
    """Forecast what captured traffic would experience under host-driven flowlet balancing over SRv6, and prove it.

    TRACE may be a trace folder made by `segcast ingest`, or what that reads: a capture, a folder of captures, a quoted
    pattern or a URL.
    """


for command in COMMANDS:
    cli.add_command(helped(with_manner(command)))


def main() -> None:
    """Run the command line; exit 0 done, 1 a check did not hold, 2 the input or the usage is wrong, 130 interrupted."""
    if sys.platform != "linux":
        _fail("runs on Linux only")
    complete(cli)
    outlive_readers()
    # Its threads spin while NumPy is imported, and have no work here.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)  # else importing makes hundreds, of which none frees anything
    try:
        INTERRUPTION.install()
        MANNER.name = "usual"
        with cli.make_context("segcast", sys.argv[1:]) as context, compiling_said():
            cli.invoke(context)
            sys.stdout.flush()
        _leave(0)
    except click.exceptions.Exit as finished:
        _leave(finished.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "segcast"
        _fail(f"{error.format_message().rstrip('.')}; see {command} --help")
    except sc.SegcastError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        _fail(f"{error.filename or 'output'}: {error.strerror or error}")
    except MemoryError as error:
        _fail(f"out of memory: {str(error) or 'the trace is too large for this machine'}")
    except (KeyboardInterrupt, click.Abort) as error:
        _fail(str(error) or _NOTHING_LEFT, _INTERRUPTED)
    except Exception as error:
        if INTERRUPTION.seen:  # a library has made another error of it
            _fail(_NOTHING_LEFT, _INTERRUPTED)
        if "can't start new thread" in str(error):
            _fail("out of memory, or of threads: the limits of this machine or shell are too low")
        plugins = sys.modules.get("segcast.analyzer.plugins")
        if plugins is not None and (fault := plugins.fault_of(error)):
            _fail(fault)
        raise


def _fail(text: str, code: int = 2) -> NoReturn:
    INTERRUPTION.end()
    click.echo(f"segcast: {line_of(text)}", err=True)
    _leave(code)


def _leave(code: int) -> NoReturn:
    """Exit by this status, whatever signal still comes, and without waiting for servers that do not answer.

    A process that is this command's ends at once: to take what it has imported apart takes longer than a small ingest.
    """
    INTERRUPTION.end()
    if not INTERRUPTION.installed:
        sys.exit(code)
    if not waiting():
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)
