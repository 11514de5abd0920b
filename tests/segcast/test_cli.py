"""The command line: what it prints, and that bad input gives one clear line, exit 2 and nothing half-written."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from segcast.traces.headers.decode import LAYERS
from segcast.traces.samples import CLUSTER
from segcast.traces.trace import Trace
from tests.conftest import Ran, Run
from tests.twins import writing
from tests.twins.writing import Captured

FAST = ("--paths", "4x400Mbps", "--seeds", "2")


def assert_refused(ran: Ran, *words: str) -> None:
    assert ran.code == 2, ran.err
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("segcast: ")
    for word in words:
        assert word in ran.err


def test_ingest_and_inspect(run: Run, tmp_path: Path) -> None:
    ran = run("ingest", CLUSTER, "--out", tmp_path / "c.trace", "--json")
    facts = json.loads(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert facts["packets"] == 39_036
    again = run("inspect", tmp_path / "c.trace")
    assert again.code == 0
    assert "39,036" in again.out


def test_a_capture_may_stand_for_a_trace(
    run: Run, cluster: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    direct = json.loads(run("flowlets", CLUSTER, "--json").out)
    assert direct == json.loads(run("flowlets", cluster.folder, "--json").out)
    assert [row["timeout_ns"] for row in direct["timeouts"]] == [50_000, 100_000, 500_000, 1_000_000, 5_000_000]


def test_the_layer_of_a_capture_is_a_flag(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    packets = [writing.ipv4(writing.gtp_u(writing.ipv4(writing.udp(n, 8), 17)), 17) for n in (1, 2, 2)]
    path = tmp_path / "gtp.pcap"
    path.write_bytes(writing.pcap([Captured(10**15 + n, len(p), p) for n, p in enumerate(packets)], 101))
    flows = {layer: json.loads(run("inspect", path, "--layer", layer, "--json").out)["flows"] for layer in LAYERS}
    assert flows == {"outer": 1, "inner": 2}
    assert json.loads(run("flowlets", path, "--layer", "inner", "--json").out)["flows"] == 2
    assert json.loads(run("flowlets", path, "--json").out)["flows"] == 1
    assert run("ingest", path, "--out", tmp_path / "t.trace", "--layer", "inner").code == 0
    assert_refused(run("inspect", tmp_path / "t.trace", "--layer", "outer"), "holds the inner layer", "--layer outer")
    flags = ("--layer", "inner", "--paths", "1x1Mbps", "--seeds", "1", "--packets", "all", "--timeout", "1ms")
    ran = run("forecast", path, *flags, "--out", tmp_path / "f")
    assert ran.code == 0, ran.err
    ran = run("rewrite", tmp_path / "f", "--policy", "inflight", "--out", tmp_path / "r", "--json")
    document = json.loads(ran.out)
    assert document["packets"] == 3
    for file in document["files"]:
        sent = (tmp_path / "r" / file["path"]).read_bytes()
        assert packets[0][36:46] in sent  # as far as the checksum, which is mended
        assert (2152).to_bytes(2, "big") * 2 not in sent


def test_flowlets_as_a_table_and_a_file(run: Run, cluster: Trace, tmp_path: Path) -> None:
    ran = run("flowlets", cluster.folder, "--timeout", "100us, 1ms", "--out", tmp_path / "f.parquet")
    assert ran.code == 0
    assert "never split" in ran.out
    table = pq.read_table(tmp_path / "f.parquet")
    assert set(table["timeout_ns"].to_pylist()) == {100_000, 1_000_000}
    packets = json.loads(run("flowlets", cluster.folder, "--json").out)["packets"]
    assert sum(table.filter(table["timeout_ns"].to_numpy() == 100_000)["packets"].to_pylist()) == packets


def test_forecast_report_and_rewrite(run: Run, cluster: Trace, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    ran = run("forecast", cluster.folder, *FAST, "--out", folder)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[0].startswith("Do:      Too little to tell: 2 seeds cannot tell ")
    assert f"report: {folder / 'report.html'}" in ran.out.replace("\n", "")
    assert (folder / "report.html").stat().st_size > 100_000
    (folder / "report.html").unlink()
    assert run("report", folder).code == 0
    assert (folder / "report.html").is_file()
    ran = run("rewrite", folder, "--policy", "inflight", "--out", tmp_path / "srv6", "--json")
    assert ran.code == 0, ran.err
    summary = json.loads(ran.out)
    assert summary["packets"] == 38_976
    assert {Path(file["path"]).name for file in summary["files"]} <= {p.name for p in (tmp_path / "srv6").iterdir()}


def test_forecast_json_is_the_document(run: Run, cluster: Trace, tmp_path: Path) -> None:
    ran = run("forecast", cluster.folder, *FAST, "--out", tmp_path / "f", "--json")
    assert json.loads(ran.out) == json.loads((tmp_path / "f" / "forecast.json").read_text())
    assert ran.err == ""


def test_the_demo_says_where_everything_is(run: Run, tmp_path: Path) -> None:
    ran = run("demo", "--out", tmp_path / "d")
    assert ran.code == 0, ran.err
    assert str(tmp_path / "d" / "cluster.forecast" / "report.html") in ran.out
    assert list((tmp_path / "d" / "srv6").glob("*.pcap"))


def test_policies_are_listed(run: Run) -> None:
    document = json.loads(run("policies", "--json").out)
    assert [row["policy"] for row in document["policies"]][:3] == ["clove-ecn", "conga", "ecmp"]
    timeouts = {row["timeout"] for row in document["timeouts"]}
    assert timeouts >= {"fixed", "quantile", "rtt", "safe", "spread"}  # another test may have registered more
    for row in document["policies"] + document["timeouts"]:
        assert row["summary"] and row["source"]
        assert all(parameter["description"] for parameter in row["parameters"])
    cell = next(row for row in document["policies"] if row["policy"] == "presto")["parameters"][0]
    assert (cell["name"], cell["default"], cell["minimum"]) == ("cell_bytes", 65536, 1)
    text = run("policies").out
    assert "arXiv 2606.27697" in text
    assert "cell_bytes = 65536: bytes of a flow that go on one path in a row" in text
    assert "hash = splitmix (splitmix, crc32, xor)" in text


def damaged(tmp_path: Path, name: str) -> Path:
    """A file of that kind."""
    pcap = gzip.decompress(CLUSTER.read_bytes())
    kinds = {
        "empty": b"",
        "text": b"hello, this is no capture\n" * 10,
        "noise": bytes(range(256)) * 40,
        "truncated header": pcap[:10],
        "truncated": pcap[:100_001],
        "truncated gzip": CLUSTER.read_bytes()[:300_000],
        "hostile length": pcap[:32] + b"\xff\xff\xff\x7f" + pcap[36:],
    }
    file = tmp_path / f"{name.replace(' ', '-')}.pcap"
    file.write_bytes(kinds[name])
    return file


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("empty", "empty"),
        ("text", "not a capture"),
        ("noise", "not a capture"),
        ("truncated header", "pcap"),
        ("truncated", "damaged at byte"),
        ("truncated gzip", "damaged at byte"),
        ("hostile length", "damaged at byte 24"),
    ],
)
@pytest.mark.parametrize("command", ["ingest", "inspect", "flowlets", "forecast"])
def test_bad_captures(
    run: Run, tmp_path: Path, kind: str, word: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = damaged(tmp_path, kind)
    options = {"ingest": ["--out", tmp_path / "o"], "forecast": [*FAST, "--out", tmp_path / "o"]}
    assert_refused(run(command, file, *options.get(command, [])), word, file.name)
    if command == "forecast":
        assert not (tmp_path / "o").exists()
    assert not [p for p in tmp_path.rglob(".*") if p.name.startswith(".o")]


def test_wrong_paths(run: Run, tmp_path: Path, cluster: Trace) -> None:
    assert_refused(run("inspect", tmp_path / "missing.pcap"), "missing.pcap")
    assert_refused(run("inspect", tmp_path), "not a trace")
    assert_refused(run("ingest", tmp_path, "--out", tmp_path / "t"), str(tmp_path))
    assert_refused(run("report", tmp_path), "forecast.json")
    assert_refused(run("rewrite", tmp_path, "--policy", "ecmp", "--out", tmp_path / "r"), "not a forecast")
    (tmp_path / "file").write_text("x")
    for command in ("ingest", "forecast"):
        source = CLUSTER if command == "ingest" else cluster.folder
        options = [] if command == "ingest" else FAST
        assert_refused(run(command, source, *options, "--out", tmp_path / "file" / "deeper"), "cannot write")
        assert_refused(run(command, source, *options, "--out", tmp_path / "file"), "exists")
    assert_refused(run("ingest", CLUSTER, "--out", "/proc/nowhere/t"), "cannot write")
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--paths", "4x10"], "with a unit"),
        (["--paths", "many"], "with a unit"),
        (["--paths", "0x1Gbps"], "at least 1"),
        (["--paths", "5000x1Gbps"], "at most 1024"),
        ([*FAST, "--timeout", "yesterday"], "unknown flowlet timeout 'yesterday'; known: a duration"),
        ([*FAST, "--policy", "ecmp,wishful"], "unknown policy 'wishful'"),
        ([*FAST, "--scenario", "s.toml"], "exclude each other"),
        (["--scenario", "missing.toml"], "missing.toml"),
        (["--paths", "1Gbps", "--seeds", "0"], "--seeds"),
        (["--paths", "1Gbps", "--buffer", "-1B"], "out of range"),
        ([], "--paths"),
        (["--wat"], "No such option"),
    ],
)
def test_wrong_usage(run: Run, cluster: Trace, tmp_path: Path, arguments: list[str], word: str) -> None:
    assert_refused(run("forecast", cluster.folder, *arguments, "--out", tmp_path / "f"), word)
    assert not (tmp_path / "f").exists()


def test_unknown_commands_and_missing_arguments(run: Run) -> None:
    assert_refused(run("predict"), "No such command")
    assert_refused(run("ingest"), "Missing argument")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission(run: Run, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert_refused(run("ingest", CLUSTER, "--out", tmp_path / "t"), "cannot write")


def test_an_ingest_ends_with_the_next_command_unless_a_program_reads_it(run: Run, tmp_path: Path) -> None:
    trace = tmp_path / "a trace"
    last = run("ingest", CLUSTER, "--out", trace).out.splitlines()[-1]
    assert last == f"next, how flows split into flowlets: segcast flowlets '{trace}'"
    assert run("flowlets", trace).code == 0
    assert "next," not in run("ingest", CLUSTER, "--out", tmp_path / "t", "--json").out


def test_a_trace_with_nothing_to_send(run: Run, tmp_path: Path) -> None:
    """A valid capture without packets."""
    (tmp_path / "none.pcap").write_bytes(gzip.decompress(CLUSTER.read_bytes())[:24])
    assert run("ingest", tmp_path / "none.pcap", "--out", tmp_path / "n.trace").code == 0
    assert run("inspect", tmp_path / "n.trace").code == 0
    assert run("flowlets", tmp_path / "n.trace").code == 0
    assert_refused(run("forecast", tmp_path / "n.trace", *FAST, "--out", tmp_path / "f"), "no packet of the trace")


def test_the_capture_must_not_change_between_forecast_and_rewrite(run: Run, tmp_path: Path) -> None:
    pcap = tmp_path / "c.pcap"
    pcap.write_bytes(gzip.decompress(CLUSTER.read_bytes()))
    run("ingest", pcap, "--out", tmp_path / "c.trace")
    run("forecast", tmp_path / "c.trace", *FAST, "--out", tmp_path / "f")
    pcap.unlink()
    assert_refused(run("rewrite", tmp_path / "f", "--policy", "random", "--out", tmp_path / "r"), "c.pcap")
    assert not (tmp_path / "r").exists()


def test_help_and_version_from_the_shell() -> None:
    program = [sys.executable, "-m", "segcast"]
    text = subprocess.run([*program, "--help"], capture_output=True, text=True, check=True).stdout
    assert "forecast" in text
    assert "segcast" in subprocess.run([*program, "--version"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("inspect TRACE | true", 0),
        ("inspect TRACE --json | head -1", 0),
        ("inspect none 2>&1 | true", 2),
        ("inspect none 2>&-", 2),
        ("policies >&-", 0),
        ("policies >/dev/full", 2),
        ("--help | true", 0),
    ],
)
def test_who_reads_the_output_does_not_matter(cluster: Trace, words: str, code: int, unbuffered: str) -> None:
    command = f"{sys.executable} -m segcast {words.replace('TRACE', str(cluster.folder))}"
    shell = f"{command}; exit ${{PIPESTATUS[0]}}"
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    ran = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False, env=environment)
    said = "segcast: output: No space left on device\n" if "full" in words else ""
    assert (ran.returncode, ran.stderr) == (code, said)


def test_no_arguments_show_the_help(run: Run) -> None:
    ran = run()
    assert ran.code == 2
    assert "Commands:" in ran.err
    assert ran.err.count("\n") > 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("again", [False, True])
def test_a_signal_leaves_nothing_behind(cluster: Trace, tmp_path: Path, number: int, again: bool) -> None:
    """Real signals at several moments of a long forecast: one line, exit 130, nothing under any name."""
    arguments = ["--paths", "4x300Mbps", "--seeds", "10000", "--out", str(tmp_path / "f")]
    command = [sys.executable, "-m", "segcast", "forecast", str(cluster.folder), *arguments]
    for wait in (0.1, 0.9, 1.7):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        until_it_handles_signals(process.pid)
        time.sleep(wait)
        process.send_signal(number)
        if again:
            time.sleep(0.05)
            process.send_signal(number)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()  # else it would go on for hours
        assert (process.returncode, out) == (130, ""), err
        assert err == "segcast: interrupted; nothing was left half-written\n"
        assert list(tmp_path.iterdir()) == []


SWALLOWED = """
import sys
from segcast import cli
from segcast.interruption import INTERRUPTION
def command(*arguments):
    INTERRUPTION._seen = sys.argv[1] == "interrupted"
    raise {error}
cli.cli.invoke = command
cli.main()
"""


@pytest.mark.parametrize(
    ("how", "error", "code", "line"),
    [
        ("interrupted", "ValueError('a library')", 130, "segcast: interrupted; nothing was left half-written"),
        ("interrupted", "cli.click.Abort()", 130, "segcast: interrupted; nothing was left half-written"),
        (
            "going",
            'RuntimeError("can\'t start new thread")',
            2,
            "segcast: out of memory, or of threads: the limits of ",
        ),
        ("going", "ValueError('a fault')", 1, "Traceback "),
    ],
)
def test_errors_that_interruptions_become(how: str, error: str, code: int, line: str) -> None:
    """A fault of ours is still seen as one."""
    program = SWALLOWED.format(error=error)
    ran = subprocess.run([sys.executable, "-c", program, how], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (code, "")
    assert ran.stderr.startswith(line)


def test_signals_of_another_program_stay_its_own(run: Run) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]
    assert run("--version").code == 0
    assert run("inspect").code == 2
    assert [
        signal.getsignal(number) for number in numbers
    ] == handlers  # also those that a shell gave: in the background


@pytest.mark.parametrize(("command", "code"), [("--version", 0), ("inspect", 2)])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_after_all_is_done_changes_nothing(name: str, command: str, code: int) -> None:
    program = (
        "import atexit, os, signal, sys; from segcast.cli import main; "
        f"atexit.register(os.kill, os.getpid(), signal.{name}); sys.argv = ['segcast', '{command}']; main()"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr.count("\n")) == (code, code // 2)
    assert "interrupt" not in ran.stderr.lower()


def until_it_handles_signals(pid: int) -> None:
    """Wait until a process catches SIGTERM; Python itself does not, so its program has begun."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
        if caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.02)
