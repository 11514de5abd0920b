"""Budgets: what they mean, and what is no budget."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from segcast.analyzer.metrics.tables import SUMMARY
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.slo import Budget, parse_slo
from segcast.traces.errors import InputError


@pytest.mark.parametrize(
    ("text", "metric", "sign", "limit"),
    [
        ("p99_fct < 2ms", "fct_p99_ns", "<", 2_000_000),
        ("fct_p99 < 2 ms", "fct_p99_ns", "<", 2_000_000),
        ("fct_p99_ns<2ms", "fct_p99_ns", "<", 2_000_000),
        ("p99.9_delay <= 30us", "delay_p999_ns", "<=", 30_000),
        ("mean_queueing < 30us", "queue_mean_ns", "<", 30_000),
        ("drops == 0", "drop_ratio", "==", 0),
        ("drops = 0", "drop_ratio", "==", 0),
        ("reordered < 5%", "reordered_ratio", "<", 0.05),
        ("dropped <= 12", "dropped", "<=", 12),
        ("utilisation < 0.8", "utilisation_max", "<", 0.8),
        ("goodput > 1Gbps", "goodput_bps", ">", 10**9),
    ],
)
def test_a_budget_names_a_column_as_people_call_it(text: str, metric: str, sign: str, limit: float) -> None:
    (budget,) = parse_slo(text).budgets
    assert (budget.metric, budget.sign, budget.limit) == (metric, sign, limit)
    assert parse_slo(parse_slo(text).text) == parse_slo(text)


def test_every_number_of_the_summary_can_be_bounded() -> None:
    for column in SUMMARY.columns[6:]:
        # Who says reordered means its share; `share` is that of the busiest link that was asked for, as `load` is.
        if column.name not in ("mode", "reordered", "share"):
            units = {"_ns": "ms", "_bps": "Mbps", "_ratio": "%"}
            unit = next((unit for ending, unit in units.items() if column.name.endswith(ending)), "")
            unit = "%" if column.name.startswith("utilisation") else unit
            assert parse_slo(f"{column.name} < 7{unit}").budgets[0].metric == column.name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the SLO is empty"),
        (" and ", "the SLO is empty"),
        ("p99_fct", "no budget"),
        ("p99_fct < 2", "a number with a unit"),
        ("p99_fkt < 2ms", "did you mean 'p99_fct'"),
        ("drops < much", "'much' is not a number"),
        ("drops < nan", "not a finite number"),
        ("drops < inf", "not a finite number"),
        ("seed < 2", "unknown"),
        ("policy == 2", "unknown"),
        ("p99_fct < 2ms and", "no budget"),
        ("p99_fct < 2ms or drops == 0", "no budget"),
        (" and ".join(["drops == 0"] * 21), "at most 20"),
        ("x" * 10_000, "no budget"),
        ("drops == -1", "'drops == -1': drop_ratio is never below 0, so nothing keeps it"),
        ("dropped < 0", "nothing keeps it"),
        ("p99_delay < 0ms", "nothing keeps it"),
        ("jain > -1", "everything keeps it"),
        ("drops < 5", "never above 100 %; write 5%, or dropped < 5 of packets"),
        ("reordered < 5", "never above 100 %; write 5%$"),
        ("drops > 100%", "never above 100 %$"),
        ("utilisation < 80", "a share of a link's rate; write 80%"),
        ("p99_delay < 1ms and p99_delay > 2ms", "'p99_delay < 1ms' and 'p99_delay > 2ms': no value keeps both"),
        ("p99_delay < 1ms and delay_p99 >= 1ms", "no value keeps both"),
        ("drops == 0 and drops > 0", "no value keeps both"),
    ],
)
def test_what_is_no_budget_says_so(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_slo(text)


@pytest.mark.parametrize(
    "text",
    [
        "drops <= 0",
        "drops < 100%",
        "drops >= 0",
        "drops < 1% and drops > 0",
        "p99_delay <= 1ms and p99_delay >= 1ms",
        "p99_delay < 1ms and p99_queueing > 2ms",
        "utilisation < 120%",
    ],
)
def test_what_some_value_keeps_is_a_budget(text: str) -> None:
    assert parse_slo(text).text == text


def test_broken_budgets_are_those_not_kept() -> None:
    slo = parse_slo("p99_delay < 2ms and drops == 0 and jain >= 0.9")
    row = {"delay_p99_ns": 2_000_000, "drop_ratio": 0.0, "jain": 0.9}
    assert [budget.text for budget in slo.broken(row)] == ["p99_delay < 2ms"]
    assert slo.broken(row | {"delay_p99_ns": 1_999_999}) == ()
    assert [budget.metric for budget in slo.broken(row | {"delay_p99_ns": None})] == ["delay_p99_ns"]


@pytest.mark.parametrize("sign", ["<", "<=", ">", ">=", "=="])
@pytest.mark.parametrize("limit", [0.0, 0.05, 3.0])
@pytest.mark.parametrize("value", [0.0, 0.01, 0.05, 0.5, 3.0, 4.0])
def test_a_margin_is_negative_exactly_outside(sign: str, limit: float, value: float) -> None:
    budget = Budget("", "drop_ratio", sign, limit)
    margin = budget.margin(value)
    assert math.isfinite(margin)
    if budget.holds(value):
        assert margin >= 0
    else:
        assert margin < 0 or (value == limit and margin == 0)


def test_metrics_that_recorded_cells_lack_are_refused() -> None:
    parse_slo("p99_delay < 2ms").check_mode(reacts=False)
    parse_slo("timeouts == 0").check_mode(reacts=True)
    for text in ("timeouts == 0", "p95_fct < 1ms", "retransmissions < 10"):
        with pytest.raises(InputError, match="leave as captured"):
            parse_slo(text).check_mode(reacts=False)


def test_a_scenario_has_budgets(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    links = 'links = { rate = "1Gbps", delay = "1us", buffer = "1MiB" }'
    network = f'[network]\nkind = "leaf-spine"\nleaves = 2\nspines = 2\n{links}\n'
    file.write_text(f'{network}\n[slo]\nkeep = "p99_fct < 2ms and drops == 0"\n')
    scenario = read_scenario(file)
    assert scenario.slo is not None
    assert [budget.metric for budget in scenario.slo.slo.budgets] == ["fct_p99_ns", "drop_ratio"]
    file.write_text(scenario.to_toml())
    assert read_scenario(file).slo == scenario.slo
    file.write_text(f'{network}\n[slo]\nkeep = "p99_fkt < 2ms"\n')
    with pytest.raises(InputError, match=r"s.toml:\d+: slo.keep: the SLO's metric 'p99_fkt' is unknown; did you mean"):
        read_scenario(file)


@pytest.mark.parametrize(
    ("table", "hint"),
    [
        ('p99_delay = "2ms"', 'write keep = "p99_delay < 2ms"'),
        ('p99_delay = "<= 2ms"\nreordered = 0.01', 'write keep = "p99_delay <= 2ms and reordered < 0.01"'),
        ('drops = true\nkeep = "drops == 0"', 'write keep = "drops < 1%"'),
        ('p99 = "2ms"', 'write keep = "p99_delay < 2ms and drops == 0"'),
        ('keeps = "drops == 0"', "did you mean 'keep'?"),
    ],
)
def test_budgets_as_keys_of_their_own_are_told_how_budgets_are_written(tmp_path: Path, table: str, hint: str) -> None:
    file = tmp_path / "s.toml"
    links = 'links = { rate = "1Gbps", delay = "1us", buffer = "1MiB" }'
    file.write_text(f'[network]\nkind = "leaf-spine"\nleaves = 2\nspines = 2\n{links}\n[slo]\n{table}\n')
    with pytest.raises(InputError) as refused:
        read_scenario(file)
    key = table.partition(" ")[0]
    assert str(refused.value) == f"{file}:7: slo.{key}: unknown key {key!r}; {hint}"
