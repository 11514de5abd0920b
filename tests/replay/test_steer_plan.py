"""What a scenario means for a steering host: counters, headers as `rewrite` writes them, rules, and what is refused."""

from __future__ import annotations

from ipaddress import IPv6Address
from pathlib import Path

import pytest

from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.steering import SteeringSpec
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.rewrite.of_forecast import encapsulation
from segcast.replay.steer.layout import Flag, Granularity, PolicyCode
from segcast.replay.steer.plan import plan_steering, rules_of
from segcast.replay.steer.run import grouped, place_of
from segcast.traces.errors import InputError

NETWORK = """
[network]
kind = "leaf-spine"
leaves = 3
spines = 2
links = { rate = "100Mbps", buffer = "64KiB" }
[[attachments]]
name = "leaf0"
prefixes = ["10.0.0.0/24", "2001:db8:0::/64"]
[[attachments]]
name = "leaf1"
prefixes = ["10.1.0.0/24", "2001:db8:1::/64"]
[[attachments]]
name = "leaf2"
prefixes = ["10.2.0.0/24"]
"""


def made(folder: Path, more: str = "", network: str = NETWORK) -> ValidScenario:
    (folder / "s.toml").write_text(network + more)
    return read_scenario(folder / "s.toml")


@pytest.mark.parametrize(
    ("scope", "first", "counters"),
    [("pair", [0, 2, 4, 6], 8), ("host", [0, 0, 2, 2], 4), ("fabric", [0, 2, 0, 2], 4)],
)
def test_counters_are_shared_as_the_scope_says(tmp_path: Path, scope: str, first: list[int], counters: int) -> None:
    plan = plan_steering(made(tmp_path, f'[steering]\nscope = "{scope}"\n'), "leaf0", ["10.0.0.1", "10.0.0.2"])
    by_host = sorted(plan.tables.pairs, key=lambda pair: (pair.host, pair.target))
    assert [(pair.host, pair.target) for pair in by_host] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert [pair.first_counter for pair in by_host] == first
    assert plan.tables.counters == counters
    assert [pair.first_path for pair in by_host] == [0, 2, 0, 2]


def test_what_is_not_a_target_is_told_by_a_longer_prefix(tmp_path: Path) -> None:
    everything = NETWORK.replace('"10.2.0.0/24"', '"0.0.0.0/0", "::/0"')
    plan = plan_steering(made(tmp_path, network=everything), "leaf0", ["10.0.0.1"])
    numbers = dict(plan.tables.targets)
    assert numbers["10.0.0.0/24"] == numbers["fd00::/32"] == numbers["fd00:0:100::/64"] == 0
    assert numbers["0.0.0.0/0"] == numbers["::/0"] == 2
    assert not any(pair.target == 0 for pair in plan.tables.pairs)
    assert [name for _, name in plan.targets] == ["leaf1", "leaf1", "leaf2", "leaf2"]


@pytest.mark.parametrize("mode", ["encaps", "reduced", "usid"])
@pytest.mark.parametrize("signed", [False, True])
def test_headers_are_those_of_rewritten_packets(tmp_path: Path, mode: str, signed: bool) -> None:
    (tmp_path / "key").write_text("secret")
    hmac = '[srv6.hmac]\nkey_id = 7\nkey_file = "key"\n' if signed else ""
    scenario = made(tmp_path, f'[srv6]\nmode = "{mode}"\nhop_limit = 9\ntag = 5\n{hmac}')
    plan = plan_steering(scenario, "leaf1", ["2001:db8:1::5"], first_number=3)
    assembled = scenario.assembled([(1, 0), (1, 2)])
    around = encapsulation(scenario, assembled, 4, steered=True)
    for pair in plan.tables.pairs:
        for slot, way in enumerate(pair.ways):
            for header, inside, lists in ((way.ipv4, 4, around.segments4), (way.ipv6, 41, around.segments6)):
                segments = lists[pair.first_path + slot]
                assert IPv6Address(header[8:24]) == IPv6Address("fd00:0:100::4")
                assert header[24:40] == segments[0]
                assert header[7] == 9
                assert header[6] == 43
                assert header[40] == inside
                listed = len(segments) - (mode != "encaps" and len(segments) > 1)
                assert len(header) == 48 + 16 * listed + 40 * signed
                assert header[46:48] == b"\x00\x05"
                assert header[43] == len(segments) - 1
                if signed:
                    assert any(header[-32:])
    other = plan_steering(scenario, "leaf1", ["2001:db8:1::5"], first_number=4)
    if signed:
        assert other.tables.pairs[0].ways[0].ipv6[-32:] != plan.tables.pairs[0].ways[0].ipv6[-32:]


STEERING = SteeringSpec.model_validate({"loss_timeout": "5ms", "suspect_after": 3, "suspect_for": "7ns"})


@pytest.mark.parametrize(
    ("policy", "timeout", "expected"),
    [
        ("inflight", "3ms", (PolicyCode.INFLIGHT, Granularity.FLOWLET, 3_000_000, Flag(0))),
        ("random", "rtt", (PolicyCode.RANDOM, Granularity.FLOWLET, 0, Flag.BY_RTT)),
        ("random", "drained", (PolicyCode.RANDOM, Granularity.FLOWLET, 10**12, Flag.DRAINED)),
        ("two-choices", "1ms+drained", (PolicyCode.TWO_CHOICES, Granularity.FLOWLET, 10**6, Flag.DRAINED)),
        ("round-robin", "rtt+drained", (PolicyCode.ROUND_ROBIN, Granularity.FLOWLET, 0, Flag.BY_RTT | Flag.DRAINED)),
        ("spray", None, (PolicyCode.RANDOM, Granularity.PACKET, 0, Flag(0))),
        ("host-ecmp", None, (PolicyCode.HOST_ECMP, Granularity.FLOW, 0, Flag(0))),
    ],
)
def test_rules(
    tmp_path: Path, policy: str, timeout: str | None, expected: tuple[PolicyCode, Granularity, int, Flag]
) -> None:
    plan = plan_steering(made(tmp_path), "leaf0", ["10.0.0.1"])
    rules = rules_of(plan, STEERING, policy=policy, timeout=timeout, seed=4, mtu_bytes=1500, minimum_frame_bytes=60)
    flags = expected[3] | Flag.LOGS | Flag.READS_SACK
    assert (rules.policy, rules.granularity, rules.timeout_ns, rules.flags) == (*expected[:3], flags)
    assert (rules.loss_timeout_ns, rules.suspect_after, rules.suspect_for_ns) == (5_000_000, 3, 7)


@pytest.mark.parametrize(
    ("policy", "timeout", "why"),
    [
        ("inflght", "3ms", "the kernel's program has host-ecmp, random, .*; did you mean 'inflight'"),
        ("inflight", None, "--timeout: the policy steers flowlets"),
        ("inflight", "soon", "--timeout soon: give one such as 3ms, rtt, drained"),
        ("inflight", "drained+3ms", r"--timeout drained\+3ms: give one"),
        ("inflight", "3ms+rtt", "give one such as"),
    ],
)
def test_rules_that_the_program_has_not(tmp_path: Path, policy: str, timeout: str | None, why: str) -> None:
    plan = plan_steering(made(tmp_path), "leaf0", ["10.0.0.1"])
    with pytest.raises(InputError, match=why):
        rules_of(plan, STEERING, policy=policy, timeout=timeout, seed=4, mtu_bytes=1500, minimum_frame_bytes=60)


def test_what_cannot_be_steered_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--at leaf9: is no attachment"):
        plan_steering(made(tmp_path), "leaf9", ["10.0.0.1"])
    with pytest.raises(InputError, match="no address of this host is in a prefix of attachment leaf0; give --from"):
        plan_steering(made(tmp_path), "leaf0", [])
    with pytest.raises(InputError, match="--from: an address is given twice"):
        plan_steering(made(tmp_path), "leaf0", ["10.0.0.1", "10.0.0.1/32"])
    for mode in ("insert", "l2"):
        with pytest.raises(InputError, match=f"srv6.mode {mode}: a host pushes headers before its packets"):
            plan_steering(made(tmp_path, f'[srv6]\nmode = "{mode}"\n'), "leaf0", ["10.0.0.1"])
    many = NETWORK.replace("spines = 2", "spines = 65")
    with pytest.raises(InputError, match="leaf0 to leaf1: has 65 paths; the program chooses among 64"):
        plan_steering(made(tmp_path, network=many), "leaf0", ["10.0.0.1"])
    bare = NETWORK.split("[[attachments")[0]
    with pytest.raises(InputError, match="steering goes by prefixes"):
        plan_steering(made(tmp_path, network=bare), "leaf0", ["10.0.0.1"])


def test_a_host_is_where_its_addresses_are(tmp_path: Path) -> None:
    scenario = made(tmp_path, '[steering]\nhosts = ["10.0.0.0/25"]\n')
    assert place_of(scenario, ["192.0.2.1", "2001:db8:1::9"]) == "leaf1"
    assert grouped(["10.0.0.1", "10.0.0.2", "10.0.0.200"], scenario.steering.hosts) == ["10.0.0.0/25", "10.0.0.200/32"]
    with pytest.raises(InputError, match="no address of this host is in a prefix of an attachment"):
        place_of(scenario, ["192.0.2.1"])
    with pytest.raises(InputError, match=r"addresses at several attachments, 10\.0\.0\.1 at leaf0 and 10\.1\.0\.1 at"):
        place_of(scenario, ["10.0.0.1", "10.1.0.1"])
