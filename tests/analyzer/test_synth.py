"""Made flow lists: sizes as published, loads as asked, patterns as said, jobs in order, and draws that stay apart."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.workload.reading import read_workload
from segcast.analyzer.workload.synthesis.published import PUBLISHED
from segcast.analyzer.workload.synthesis.run import KINDS
from segcast.analyzer.workload.synthesis.sizes import fixed, published
from segcast.commands.synth import synth
from segcast.traces.errors import InputError
from tests.conftest import Run
from tests.support.workloads import FOUR, HOST_LINKS, LINKS, PARALLEL, flows_of, made, scenario
from tests.twins import workloads as twin

DOCS = (Path(__file__).parents[2] / "docs" / "workloads.md").read_text("utf-8")


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> ValidScenario:
    return scenario(tmp_path_factory.mktemp("four"), FOUR + HOST_LINKS)


# Sizes.


@pytest.mark.parametrize("name", PUBLISHED)
def test_drawn_sizes_have_the_published_quantiles(name: str) -> None:
    """The share of sizes up to each point is the published one, within four standard errors of as many draws."""
    count = 200_000
    points = PUBLISHED[name].points
    sizes = np.sort(published(name).of(np.random.default_rng(5).random(count)))
    for size, _ in points:
        if size >= 1:
            share = share_up_to(points, size + 0.5)  # sizes are rounded to bytes
            found = np.searchsorted(sizes, round(size), "right") / count
            assert abs(found - share) <= 4 * (share * (1 - share) / count) ** 0.5 + 1e-9, size


def share_up_to(points: tuple[tuple[float, float], ...], size: float) -> float:
    """The published share of flows of at most this size; where two points are at one size, it leaps."""
    for (a, pa), (b, pb) in itertools.pairwise(points):
        if a <= size < b:
            return (pa + (pb - pa) * (size - a) / (b - a)) / 100
    return 1.0


@pytest.mark.parametrize("name", PUBLISHED)
def test_points_rise_to_all(name: str) -> None:
    sizes, shares = zip(*PUBLISHED[name].points, strict=True)
    assert list(sizes) == sorted(sizes) and list(shares) == sorted(set(shares)) and shares[-1] == 100
    assert 7 <= len(sizes) <= 40


@pytest.mark.parametrize("name", PUBLISHED)
def test_expected_bytes_and_segments_are_those_of_the_lines_between_points(name: str) -> None:
    points = PUBLISHED[name].points
    mean = below = 0.0
    for (a, pa), (b, pb) in itertools.pairwise(points):
        mean += (pb - pa) / 100 * (a + b) / 2
    mean += points[0][1] / 100 * points[0][0]
    size, segments = published(name).mean(1460)
    assert size == pytest.approx(mean, rel=1e-3, abs=1)
    drawn = published(name).of((np.arange(400_000) + 0.5) / 400_000)
    below = float(np.ceil(drawn / 1460).mean())
    assert segments == pytest.approx(below, rel=2e-2)
    assert fixed(3000).mean(1460) == (3000, 3)


def test_sizes_of_a_list_are_near_the_known_ones(four: ValidScenario) -> None:
    """What simulators share of these clusters, by hand: medians and means."""
    for kind, median, mean in (("web-search", 73_000, 1.71e6), ("ali-storage", 6_300, 41e3)):
        workload, document = made(four, kind, flows=40_000)
        assert np.median(workload.bytes) == pytest.approx(median, rel=0.06)
        assert document["flow_bytes_mean"] == pytest.approx(mean, rel=0.05)


# Load.


@pytest.mark.parametrize(
    ("network", "pattern", "tier", "rate_bps", "per"),
    [
        (FOUR + HOST_LINKS, "all-pairs", "leaves to spines", 160 * 10**9, 8),
        (FOUR, "all-pairs", "leaves to spines", 160 * 10**9, 8),
        (FOUR + HOST_LINKS, "permutation", "leaves to spines", 160 * 10**9, 8),
        (FOUR + HOST_LINKS, "left-right", "leaves to spines", 80 * 10**9, 8),
        (FOUR + HOST_LINKS, "incast:6", "the network to hosts", 10**10, 1),
        (
            PARALLEL,
            "left-right",
            "hop 1 of the paths",
            35 * 10**9,
            4,
        ),
        (
            f'[network]\nkind = "fat-tree"\nk = 4\ncore_links = {{ rate = "1Gbps" }}\n{LINKS}',
            "left-right",
            "aggregation switches to cores",
            8 * 10**9,
            2,
        ),
        (
            FOUR.replace("10us", '10us", overhead = "24B') + HOST_LINKS.replace("10G", "1G"),
            "all-pairs",
            "hosts to the network",
            32 * 10**9,
            1,
        ),
    ],
)
def test_the_load_is_that_of_the_bottleneck(
    tmp_path: Path, network: str, pattern: str, tier: str, rate_bps: int, per: int
) -> None:
    workload, document = made(scenario(tmp_path, network), pattern=pattern, load=0.5)
    load = document["load"]
    assert (load["tier"], load["capacity_bps"]) == (tier, rate_bps)
    seconds = document["arrivals_end_ns"] / 1e9
    assert load["offered"] == pytest.approx(twin.offered_load(flows_of(workload), per, rate_bps, seconds))
    assert load["offered"] == pytest.approx(0.5, rel=0.06)
    assert document["arrivals_end_ns"] == workload.start_ns[-1]
    assert [row["load"] for row in document["tiers"]] == sorted(
        (row["load"] for row in document["tiers"]), reverse=True
    )
    assert document["tiers"][0]["load"] == 0.5 and document["load"]["frame_overhead_bytes"] == 78


def test_a_list_that_offers_another_load_says_so(four: ValidScenario) -> None:
    _, document = made(four, "data-mining", flows=100)
    assert abs(document["load"]["offered"] / 0.6 - 1) > 0.1
    (note,) = document["notes"]
    assert re.match(r"the list offers a load of \d\.\d+, [+-]\d+ % off; 100 arrivals", note)
    assert made(four, flows=20_000)[1]["notes"] == []


@pytest.mark.parametrize("kind", ["incast", "shuffle", "web-pages"])
def test_what_jobs_send_back_to_the_left_is_not_of_the_load(four: ValidScenario, kind: str) -> None:
    workload, document = made(
        four,
        kind,
        pattern="left-right",
        sizes="solar",
        size_bytes=None if kind == "web-pages" else 50_000,
        flows=12_000,
    )
    forward = [(a, b, size) for a, b, size in flows_of(workload) if a < 16]
    seconds = document["arrivals_end_ns"] / 1e9
    assert document["load"]["capacity_bps"] == 80 * 10**9
    assert document["load"]["offered"] == pytest.approx(twin.offered_load(forward, 8, 80 * 10**9, seconds))
    assert document["load"]["offered"] == pytest.approx(0.6, rel=0.12)
    assert all((a < 16) != (b < 16) for a, b, _ in flows_of(workload))


# Draws stay apart.


def test_more_flows_leave_those_before_as_they_are(four: ValidScenario) -> None:
    for kind in ("web-search", "incast", "shuffle"):
        few, many = (made(four, kind, flows=flows)[0] for flows in (640, 1920))
        for column in ("start_ns", "source", "target", "bytes", "think_ns", "connection"):
            assert np.array_equal(getattr(few, column), getattr(many, column)[: len(few)]), column
        assert many.flow.to_pylist()[: len(few)] == few.flow.to_pylist()


def test_one_choice_moves_nothing_else(four: ValidScenario) -> None:
    base, about = made(four, "web-search")
    for choices in ({"pattern": "permutation"}, {"pattern": "left-right"}, {"load": 0.3}, {"arrivals": "lognormal"}):
        other, changed = made(four, "web-search", **choices)
        assert np.array_equal(other.bytes, base.bytes)
        if "arrivals" not in choices:
            scale = changed["arrival_gap_mean_ns"] / about["arrival_gap_mean_ns"]
            assert np.allclose(other.start_ns, base.start_ns * scale, rtol=1e-9, atol=2)
        if "pattern" not in choices:
            assert np.array_equal(other.source, base.source) and np.array_equal(other.target, base.target)
    other = made(four, "web-search", seed=8)[0]
    assert not np.array_equal(other.bytes, base.bytes) and not np.array_equal(other.source, base.source)


def test_bursty_gaps_have_the_same_mean(four: ValidScenario) -> None:
    for arrivals, sigma, spread in (("poisson", 2, 1.0), ("lognormal", 1, (np.e - 1) ** 0.5)):
        workload, document = made(four, arrivals=arrivals, sigma=sigma, flows=60_000)
        gaps = np.diff(workload.start_ns)
        assert gaps.mean() == pytest.approx(document["arrival_gap_mean_ns"], rel=0.03)
        assert gaps.std() / gaps.mean() == pytest.approx(spread, rel=0.08)


# Patterns.


def test_all_pairs_are_alike(four: ValidScenario) -> None:
    workload, _ = made(four, flows=100_000)
    counts = np.zeros((32, 32))
    np.add.at(counts, (workload.source, workload.target), 1)
    assert np.all(np.diag(counts) == 0)
    others = counts[~np.eye(32, dtype=bool)]
    assert abs(others - 100_000 / (32 * 31)).max() < 5 * (100_000 / (32 * 31)) ** 0.5


def test_hosts_of_one_leaf_are_apart_without_links_of_theirs(tmp_path: Path) -> None:
    workload, document = made(scenario(tmp_path, FOUR))
    assert (workload.source // 8 != workload.target // 8).all()
    assert len(np.unique(workload.target)) == 32
    assert document["notes"] == ["hosts of one attachment do not send to each other: no link is modelled there"]


@pytest.mark.parametrize("seed", range(5))
def test_a_permutation_crosses_and_is_one(four: ValidScenario, tmp_path: Path, seed: int) -> None:
    two = scenario(tmp_path, FOUR.replace("leaves = 4", "leaves = 2"))
    for of, hosts in ((four, 32), (two, 16)):
        workload, _ = made(of, pattern="permutation", seed=seed)
        to = dict(zip(workload.source.tolist(), workload.target.tolist(), strict=True))
        assert len(set(zip(workload.source.tolist(), workload.target.tolist(), strict=True))) == len(to) == hosts
        assert sorted(to.values()) == list(range(hosts))
        assert all(a // 8 != b // 8 for a, b in to.items())


def test_incast_has_one_receiver(four: ValidScenario) -> None:
    workload, _ = made(four, pattern="incast:6")
    assert len(np.unique(workload.target)) == 1 and len(np.unique(workload.source)) == 6


MATRIX = [[4, 1, 0, 3], [0, 0, 0, 0], [2, 2, 0, 0], [0, 8, 0, 0]]


def test_racks_send_by_their_matrix(four: ValidScenario, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("\n".join(",".join(map(str, row)) for row in MATRIX))
    (tmp_path / "m.json").write_text(json.dumps({"matrix": {"inner": MATRIX}}))
    workload, document = made(four, pattern=f"racks:{tmp_path / 'm.csv'}", flows=20_000)
    again, _ = made(four, pattern=f"racks:{tmp_path / 'm.json'}", flows=20_000)
    assert np.array_equal(workload.target, again.target)
    found = Counter(zip((workload.source // 8).tolist(), (workload.target // 8).tolist(), strict=True))
    for a, row in enumerate(MATRIX):
        for b, weight in enumerate(row):
            assert found[a, b] == pytest.approx(1000 * weight, abs=5 * (1000 * weight) ** 0.5)
    assert (workload.source != workload.target).all() and len(np.unique(workload.source)) == 24
    assert [note.partition(" most")[0] for note in document["notes"]] == ["leaf3 sends", "leaf1 receives"]
    lone, document = made(scenario(tmp_path, FOUR), pattern=f"racks:{tmp_path / 'm.csv'}")
    assert (lone.source // 8 != lone.target // 8).all()
    assert document["notes"][0] == "20.0 % of the matrix is within racks, and left out: no link is modelled there"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n3,4", "is of 2 racks, and the network has 4 attachments"),
        ("1,2\n3", "row 2 has 1 weights, and there are 2 rows"),
        ("1,x\n3,4", "row 1: weight 2 is 'x', no number from 0 on"),
        ("1,-1\n3,4", "row 1: weight 2 is '-1', no number from 0 on"),
        ("1,nan\n3,4", "row 1: weight 2 is 'nan', no number from 0 on"),
        ("0,0\n0,0", "its weights add up to 0"),
        ("", "has 0 rows; a matrix of racks has 1 to 4,096"),
        ("[[1, 2]", "not JSON: Expecting"),
        ('{"rows": []}', 'is no list of rows, nor {"matrix": rows}'),
        ("[1, 2]", "row 1 has 1 weights, and there are 2 rows"),
        ("[[1, [2]], [3, 4]]", "row 1: weight 2 is '[2]', no number from 0 on"),
    ],
)
def test_what_is_no_matrix_is_refused(four: ValidScenario, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m").write_text(text)
    with pytest.raises(InputError) as caught:
        made(four, pattern=f"racks:{tmp_path / 'm'}")
    assert str(caught.value).startswith(f"{tmp_path / 'm'}: {message}")


# What cannot be made, and the command.


@pytest.mark.parametrize(
    ("kind", "choices", "message"),
    [
        ("fixed", {"size_bytes": None}, "fixed: of which size? Give --bytes, such as --bytes 1MB"),
        ("fixed", {"size_bytes": 0}, "--bytes: a flow has a byte at least"),
        ("hadoop", {"size_bytes": 5}, "--bytes: the sizes of hadoop are drawn; leave it out"),
        ("fixed", {"load": float("nan")}, "--load nan: from 0.001 to 100 times the bottleneck"),
        ("fixed", {"flows": 0}, "--flows 0: from 1 to 10,000,000"),
        ("fixed", {"sigma": -1.0}, "--sigma -1: more than 0, at most 5"),
        ("fixed", {"pattern": "stars"}, "pattern 'stars': there are all-pairs, permutation, left-right, incast:N"),
        ("fixed", {"pattern": "incast:x"}, "pattern incast:x: how many senders? Such as incast:16"),
        ("fixed", {"pattern": "incast:32"}, "pattern incast:32: 31 hosts can send to one"),
        ("fixed", {"pattern": "racks:/no"}, "/no: cannot read the matrix of racks: No such file or directory"),
        ("incast", {"fan": 32}, "a job of incast needs 33 hosts, and there are 32; give a smaller --fan"),
        ("incast", {"pattern": "permutation"}, "--pattern permutation: incast has all-pairs or left-right"),
        ("all-to-all", {"pattern": "left-right"}, "--pattern left-right: all-to-all sends in all directions"),
        ("web-pages", {"sizes": "x"}, "there is no distribution 'x'; there are web-search, data-mining"),
        ("fixed", {"load": 0.001, "size_bytes": 1 << 50}, "the list would last for longer than 36 years"),
    ],
)
def test_what_cannot_be_made_is_refused(four: ValidScenario, kind: str, choices: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        made(four, kind, **choices)
    assert str(caught.value).startswith(message)


def test_networks_without_what_a_list_needs_are_refused(tmp_path: Path) -> None:
    for network, kind, message in (
        (
            FOUR.replace("hosts_per_leaf = 8\n", ""),
            "fixed",
            "does not say how many hosts there are; give network.hosts_p",
        ),
        (
            FOUR,
            "shuffle",
            "shuffle has flows between hosts of one attachment, which would cross no link: give network.h",
        ),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            made(scenario(tmp_path, network), kind)


def test_the_command_knows_every_kind() -> None:
    (argument,) = (parameter for parameter in synth.params if parameter.name == "kind")
    assert argument.type.to_info_dict()["choices"] == KINDS
    assert synth.help is not None
    for kind in KINDS:
        assert f"`{kind}`" in DOCS and kind in synth.help


def test_the_docs_examples_run(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fabric.toml").write_text(re.findall(r"```toml\n(.*?)```", DOCS, re.DOTALL)[0], "utf-8")
    commands = re.findall(r"^segcast (synth .*)$", DOCS, re.MULTILINE)
    assert len(commands) == 6
    for command in commands:
        ran = run(*command.split())
        assert (ran.code, ran.err) == (0, "")
        name = command.split()[-1]
        workload = read_workload(name)
        if "--json" in command:
            document = json.loads(ran.out)
            assert document["workload"] == name and document["flows"] == len(workload)
        else:
            assert ran.out.startswith(f"{name}: {len(workload):,} flows") and "leaves to spines" in ran.out
        before = Path(name).read_bytes()
        assert run(*command.split()).code == 0
        assert Path(name).read_bytes() == before


def test_what_is_wrong_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(FOUR)
    here = ("--scenario", tmp_path / "s.toml", "--load", "0.6", "--flows", "10")
    for arguments, message in (
        (("fixed", *here, "--out", tmp_path / "w.txt"), "name a file that ends in .csv or .parquet"),
        (("fixed", *here, "--bytes", "1", "--out", tmp_path / "w.csv"), "size '1' is not a number with a unit"),
        (("hadoop", *here, "--fan", "4", "--out", tmp_path / "w.csv"), "--fan: hadoop has no use for it, only incast"),
        (("hadoop", *here, "--jitter", "1us", "--out", tmp_path / "w.csv"), "--jitter: hadoop has no use for it"),
        (("hadoop", *here, "--sigma", "1", "--out", tmp_path / "w.csv"), "--sigma: is of lognormal gaps; give --arr"),
        (("stars", *here, "--out", tmp_path / "w.csv"), "'stars' is not one of"),
        (("incast", *here, "--jitter", "x", "--out", tmp_path / "w.csv"), "duration 'x'"),
    ):
        ran = run("synth", *arguments)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert message in ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.toml"]
