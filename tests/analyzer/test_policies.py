"""Each policy and flowlet timeout on scenarios small enough to check by hand (docs/model.md, Policies)."""

from __future__ import annotations

import zlib
from collections import Counter
from typing import Any

import numpy as np
import pytest

from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.network.model import Change, Link, Network, Path
from segcast.analyzer.packets import DROPPED
from segcast.analyzer.policies import ecmp
from segcast.analyzer.policies.registry import find_policy, policies
from segcast.traces.errors import InputError
from segcast.traces.hashing import mix
from tests.support.policies import (
    GBPS,
    MS,
    US,
    ask,
    asking,
    network,
    one_packet_per_flow,
    run,
    sent,
    setting,
    tell,
    told,
    words_of,
)

# ecmp


def test_crc32_is_zlibs() -> None:
    words = words_of(50)
    for seed in (np.uint64(0), mix(np.uint64(1))):
        comp = ecmp.crc32(words, seed).tolist()
        assert comp == [zlib.crc32(row.astype(">u8").tobytes(), int(seed) & 0xFFFFFFFF) for row in words]


def test_xor_folds_words_and_seed() -> None:
    words = np.array([[0x1111_0000_0000_0000, 0x2222_0000_0000, 0x3333_0000, 0x4444, 0]], np.uint64)
    assert ecmp.fold_xor(words, np.uint64(0)).tolist() == [0x1111 ^ 0x2222 ^ 0x3333 ^ 0x4444]
    assert ecmp.fold_xor(words, np.uint64(5 << 16)).tolist() == [0x1111 ^ 0x2222 ^ 0x3333 ^ 0x4444 ^ 5]


@pytest.mark.parametrize("hash_", ["splitmix", "crc32", "xor"])
def test_the_same_seed_everywhere_polarises(hash_: str) -> None:
    """Of 4 x 4 paths only those are used on which both switches make the same choice.

    Seeds of their own mend that, but not for linear hashes: there a seed xors a constant into every hash, which only
    permutes the choices of the second tier.
    """
    of = network(*[GBPS] * 16, tiers=((4, 4),))
    packets = one_packet_per_flow(400)
    assert set(run("ecmp", of, packets, hash=hash_, seeds="same").path.tolist()) == {0, 5, 10, 15}
    spread = Counter(run("ecmp", of, packets, hosts=7, hash=hash_).path.tolist())
    assert len(spread) == (16 if hash_ == "splitmix" else 4)


def test_what_is_hashed() -> None:
    of = network(*[GBPS] * 4)
    packets = one_packet_per_flow(60)
    for hash_ in ("splitmix", "crc32", "xor"):
        addresses = run("ecmp", of, packets, hosts=6, hash=hash_, fields="addresses").path
        assert all(addresses[flow] == addresses[flow % 6] for flow in range(60))
        for fields in ("five-tuple", "flow-label"):
            paths = run("ecmp", of, packets, hash=hash_, fields=fields).path
            assert len(set(paths.tolist())) == 4


@pytest.mark.parametrize("hash_", ["splitmix", "crc32", "xor"])
def test_flows_leave_a_path_that_routing_knows_to_be_down(hash_: str) -> None:
    of = network(*[GBPS] * 4, changes=(Change(50 * US, 2, 0),), detection_ns=100 * US)
    packets = sent([0] * 40 + [100 * US] * 40 + [200 * US] * 40, [*range(40)] * 3)
    fates = run("ecmp", of, packets, hash=hash_)
    before, meanwhile, after = fates.path.reshape(3, 40)
    assert (before == meanwhile).all()
    assert (before == 2).any()
    assert set(after.tolist()) == {0, 1, 3}
    assert ((fates.state[40:80] & DROPPED > 0) == (meanwhile == 2)).all()


# wcmp, round-robin, two-choices, presto, spray, least-queue


def test_wcmp_spreads_flows_by_rate() -> None:
    of = network(10 * GBPS, 5 * GBPS, GBPS * 5 // 2)
    paths = run("wcmp", of, one_packet_per_flow(20_000)).path
    shares = np.bincount(paths) / len(paths)
    assert shares.tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7], abs=0.01)


def test_wcmp_weighs_equally_while_a_path_is_down() -> None:
    of = network(10 * GBPS, GBPS, 10 * GBPS, changes=(Change(0, 2, 0),))
    shares = np.bincount(run("wcmp", of, one_packet_per_flow(5000, 10)).path[1:]) / 4999
    assert shares.tolist() == pytest.approx([0.5, 0.5], abs=0.03)


def test_round_robin_counts_by_host() -> None:
    fates = run("round-robin", network(*[GBPS] * 3), one_packet_per_flow(12), hosts=2)
    assert fates.path.tolist() == [0, 0, 1, 1, 2, 2] * 2


def test_two_choices_among_two_is_the_lower() -> None:
    fates = run("two-choices", network(GBPS, GBPS, delay_ns=10**9), one_packet_per_flow(400), steering=Steering(1))
    assert [sorted(pair) for pair in fates.path.reshape(-1, 2).tolist()] == [[0, 1]] * 200
    assert set(run("two-choices", network(GBPS), one_packet_per_flow(3)).path.tolist()) == {0}


def test_two_choices_never_take_the_fullest_of_three() -> None:
    """With sizes 1, 2, 4, ... the path of the largest packet so far is the fullest."""
    sizes = 100 + (1 << np.arange(20))
    packets = sent(np.arange(20), np.arange(20), sizes)
    for seed in range(20):
        paths = run("two-choices", network(GBPS, GBPS, GBPS, delay_ns=10**9), packets, seed=seed).path.tolist()
        counters = [0, 0, 0]
        for path, size in zip(paths, sizes.tolist(), strict=True):
            assert counters[path] < max(counters) or len(set(counters)) == 1 or counters.count(max(counters)) > 1
            counters[path] += size


def test_presto_cuts_cells_by_bytes_sent() -> None:
    packets = sent(np.arange(10), 0, 1000)
    fates = run("presto", network(*[GBPS] * 3), packets, cell_bytes=3000)
    start = int(fates.path[0])
    assert fates.path.tolist() == [(start + cell) % 3 for cell in (0, 0, 0, 1, 1, 1, 2, 2, 2, 3)]
    assert fates.flowlet.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
    firsts = run("presto", network(*[GBPS] * 3), one_packet_per_flow(3000)).path
    assert (np.bincount(firsts) / 3000).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)


def test_spray_by_turns_and_at_random() -> None:
    packets = sent(np.arange(3000), 0, 100)
    turns = run("spray", network(*[GBPS] * 3), packets, order="round-robin")
    assert turns.path.tolist() == [0, 1, 2] * 1000
    assert turns.flowlet.tolist() == list(range(3000))
    drawn = run("spray", network(*[GBPS] * 3), packets).path
    assert (np.bincount(drawn) / 3000).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)


def test_least_queue_evens_the_waits() -> None:
    """A frame takes 10 us on the slow path and 1 us on the fast one: of 11 at once, one waits for the slow."""
    of = network(GBPS, 10 * GBPS)
    for seed in range(10):
        fates = run("least-queue", of, sent([0] * 11, range(11)), seed=seed)
        assert np.bincount(fates.path).tolist() == [1, 10]
    later = run("least-queue", of, sent([0] * 11 + [9 * US], range(12)))
    assert later.queue_ns[11] == US


# letflow


def test_letflow_shares_the_entry_between_flows_that_meet() -> None:
    """With one entry, A at 0 and 200 us and B between them are one flowlet; A alone is two."""
    of = network(*[GBPS] * 4)
    both, alone = sent([0, 100 * US, 200 * US], [0, 1, 0]), sent([0, 200 * US])
    options = {"timeout_ns": 150 * US, "entries": 1}
    together = [set(run("letflow", of, both, seed=seed, **options).path.tolist()) for seed in range(20)]
    apart = [set(run("letflow", of, alone, seed=seed, **options).path.tolist()) for seed in range(20)]
    assert {len(paths) for paths in together} == {1}
    assert {len(paths) for paths in apart} == {1, 2}
    wide = [set(run("letflow", of, both, seed=seed, timeout_ns=150 * US).path.tolist()) for seed in range(20)]
    assert max(len(paths) for paths in wide) > 1


def test_letflow_keeps_a_table_per_attachment() -> None:
    of = network(*[GBPS] * 4)
    apart = {"attachment": np.array([0, 1]), "entries": 1}
    paths = [run("letflow", of, sent([0, 1], [0, 1]), seed=seed, **apart).path.tolist() for seed in range(20)]
    assert any(a != b for a, b in paths)


@pytest.mark.parametrize("policy", ["letflow", "hermes"])
def test_policies_with_a_timeout_of_their_own_need_a_fixed_one(policy: str) -> None:
    with pytest.raises(InputError, match=f"'{policy}' needs a fixed flowlet timeout"):
        run(policy, network(GBPS), sent([0]), timeout_ns=None)


# conga


def test_conga_avoids_a_loaded_first_link() -> None:
    """A flow at 8 Gbit/s without gaps keeps its path; each flow that starts then takes the other."""
    heavy = np.arange(1000) * US
    light = 200 * US + np.arange(50) * 10 * US + 1
    times = np.concatenate([heavy, light])
    order = np.argsort(times, kind="stable")
    flows = np.concatenate([np.zeros(1000, int), np.arange(1, 51)])
    sizes = np.concatenate([np.full(1000, 986), np.full(50, 50)])
    for seed in range(5):
        fates = run("conga", network(10 * GBPS, 10 * GBPS), sent(times[order], flows[order], sizes[order]), seed=seed)
        loaded = int(fates.path[0])
        assert set(fates.path[flows[order] == 0].tolist()) == {loaded}
        assert set(fates.path[flows[order] > 0].tolist()) == {1 - loaded}


def test_conga_hears_of_load_further_on_and_forgets_it() -> None:
    """Both first links are fast; the second of path 0 is slow. What comes back says so, for 10 ms."""
    links = [Link("a", 100 * GBPS, US), Link("b", 100 * GBPS, US), Link("c", GBPS, US), Link("d", 100 * GBPS, US)]
    of = Network(tuple(links), (Path(0, (0, 2), 0, US), Path(0, (1, 3), 0, US)), 0)
    burst = np.arange(100) * 10 * US
    late = burst[-1] + 30 * MS + np.arange(40) * 200 * MS
    fates = run("conga", of, sent(np.concatenate([burst, late]), np.arange(140)))
    assert np.bincount(fates.path[:100])[0] < 10
    assert 0 < np.bincount(fates.path[100:])[0] < 40


# clove-ecn


def test_clove_moves_a_third_of_the_weight_to_paths_without_recent_marks() -> None:
    state = find_policy("clove-ecn").make_state(setting("clove-ecn", 3))

    def mark(slot: int, time_ns: int, **what: bool) -> list[int]:
        tell("clove-ecn", state, told(slot, time_ns, 3, **(what or {"marked": True})))
        return [int(weight) for weight in state.weight]

    assert mark(1, 0, marked=False) == [65536] * 3
    assert mark(1, 0) == [65536 + 10923, 43691, 65536 + 10922]
    assert mark(1, 50 * US - 1) == [76459, 43691, 76458]
    assert mark(1, 50 * US) == [76459 + 7282, 29128, 76458 + 7281]
    assert mark(0, 60 * US, lost=True) == [55828, 29128, 83739 + 27913]  # path 1 was marked a moment ago
    assert mark(2, 70 * US) == [55828 + 18609, 29128 + 18608, 74435]  # all were: all others share
    assert sum(state.weight) == 3 * 65536


def test_clove_takes_turns_by_weight() -> None:
    state = find_policy("clove-ecn").make_state(setting("clove-ecn", 3))
    state.weight[:] = (5, 1, 1)
    free = np.zeros(3, np.int64)
    assert [ask("clove-ecn", state, asking(slots=3), free) for _ in range(7)] == [0, 0, 1, 0, 2, 0, 0]


def test_clove_leaves_the_path_that_is_marked() -> None:
    packets = sent(np.arange(2000) * 2 * US, np.arange(2000))
    fates = run("clove-ecn", network(10 * GBPS, GBPS, ecn=[20_000, 20_000]), packets)
    early, late = np.bincount(fates.path[:10]), np.bincount(fates.path[-500:])
    assert early.tolist() == [5, 5]
    assert late[0] > 0.8 * 500


# flowbender and plb


def test_flowbender_moves_when_more_than_its_share_is_marked() -> None:
    for marks, version in ((5, 0), (6, 1)):
        state = find_policy("flowbender").make_state(setting("flowbender", 2))
        ask("flowbender", state, asking(slot=-1))
        for ack in range(100):
            early = {"round_trip_ns": 11} if ack < 99 else {"round_trip_ns": 10}  # the last was sent in the round
            tell("flowbender", state, told(time_ns=10, marked=ack < marks, **early))
        assert int(state.rounds[0]["version"]) == version
        tell("flowbender", state, told(time_ns=11, lost=True))
        assert int(state.rounds[0]["version"]) == version + 1


def test_flowbender_may_wait_for_more_rounds_in_a_row() -> None:
    state = find_policy("flowbender").make_state(setting("flowbender", 2, rounds=2))
    versions = []
    for time_ns, marked in enumerate([True, False, True, True, True, True]):
        tell("flowbender", state, told(time_ns=time_ns, marked=marked))
        versions.append(int(state.rounds[0]["version"]))
    assert versions == [0, 0, 0, 1, 1, 2]


@pytest.mark.parametrize("policy", ["flowbender", "plb"])
def test_flows_settle_on_the_path_without_marks(policy: str) -> None:
    """Path 0 marks everything (threshold 0), path 1 nothing; without marks no flow ever moves."""
    flows, steps = 20, 400
    packets = sent(np.repeat(np.arange(steps) * 20 * US, flows), list(range(flows)) * steps, 100)
    for seed in range(3):
        marked = run(policy, network(10 * GBPS, 10 * GBPS, ecn=[0, None]), packets, seed=seed)
        first, last = marked.path[:flows], marked.path[-flows:]
        assert set(first.tolist()) == {0, 1}
        assert set(last.tolist()) == {1}
        stayed = marked.path.reshape(steps, flows)[:, first == 1]
        assert (stayed == 1).all()
        clean = run(policy, network(10 * GBPS, 10 * GBPS), packets, seed=seed)
        assert int(clean.flowlet.max()) == flows - 1


def plb_rounds(state: Any, rounds: int, time_ns: int = 0) -> None:
    """Congested rounds of one packet each."""
    for _ in range(rounds):
        state.pending[0] += 1
        tell("plb", state, told(time_ns=time_ns, marked=True))


def test_plb_moves_when_idle_or_after_many_rounds() -> None:
    state = find_policy("plb").make_state(setting("plb", 2))

    def version_after_a_packet(time_ns: int = 0) -> int:
        ask("plb", state, asking(time_ns))
        return int(state.rounds[0]["version"])

    plb_rounds(state, 2)
    assert version_after_a_packet() == 0
    plb_rounds(state, 9)  # 11, while that packet is under way
    assert version_after_a_packet() == 0
    plb_rounds(state, 1)
    assert version_after_a_packet() == 1
    state.pending[0] = 0
    plb_rounds(state, 3)
    assert version_after_a_packet() == 2


def test_plb_moves_at_once_after_a_loss_and_then_waits() -> None:
    state = find_policy("plb").make_state(setting("plb", 2))
    state.pending[0] = 1
    tell("plb", state, told(time_ns=5, lost=True))
    plb_rounds(state, 12, 6)
    minute = 60 * 10**9
    for time_ns, version in ((7, 1), (minute + 4, 1), (minute + 5, 2)):
        ask("plb", state, asking(time_ns))
        assert int(state.rounds[0]["version"]) == version


def test_plb_counts_half_the_marks_as_congestion() -> None:
    for marks, congested in ((1, 1), (0, 0)):
        state = find_policy("plb").make_state(setting("plb", 2))
        ask("plb", state, asking(slot=-1))
        tell("plb", state, told(marked=False, time_ns=1, round_trip_ns=2))
        tell("plb", state, told(marked=marks == 1, time_ns=1, round_trip_ns=1))
        assert int(state.rounds[0]["congested"]) == congested


# hermes


def hermes_with(slots: int, **parameters: Any) -> Any:
    return find_policy("hermes").make_state(setting("hermes", slots, **parameters))


def test_hermes_classes() -> None:
    """Round trips 100, 119, 120, 221 us; marks decide between congested and grey."""
    state = hermes_with(4)
    state.sensed["round_trip_ns"] = [100 * US, 120 * US - 1, 120 * US, 221 * US]
    state.sensed["marked"] = [26214, 0, 0, 26214]
    inflight = np.zeros(4, np.int64)
    assert ask("hermes", state, asking(slot=-1, slots=4, gap_ns=-1), inflight) == 1  # the only good one
    assert state.kind.tolist() == [1, 0, 1, 2]
    state.sensed["losses"][1] = 3
    inflight[:] = (5, 0, 4, 0)
    assert ask("hermes", state, asking(slot=3, slots=4, gap_ns=100 * US + 1), inflight) == 2  # grey, lower
    assert ask("hermes", state, asking(slot=3, slots=4, gap_ns=100 * US), inflight) == 3
    assert ask("hermes", state, asking(slot=1, slots=4), inflight) == 2


def test_hermes_leaves_a_congested_path_once_it_is_worth_it() -> None:
    state = hermes_with(2)
    state.sensed["round_trip_ns"] = [100 * US, 221 * US]
    state.sensed["marked"] = [22937, 26214]
    free = np.zeros(2, np.int64)
    for sent_bytes, slot in ((599_999, 1), (600_000, 0)):
        assert ask("hermes", state, asking(slot=1, sent_bytes=sent_bytes), free) == slot
    state.sensed["marked"][0] += 1
    assert ask("hermes", state, asking(slot=1, sent_bytes=600_000), free) == 1


def test_hermes_smooths_what_it_senses() -> None:
    state = hermes_with(2)
    for round_trip_ns, marked in ((800, True), (1600, True), (0, False)):
        tell("hermes", state, told(round_trip_ns=round_trip_ns, marked=marked))
    assert int(state.sensed[0]["round_trip_ns"]) == 900 - 113
    assert int(state.sensed[0]["marked"]) == 7936 - 496


def test_hermes_leaves_a_failed_path() -> None:
    """Path 0 dies at 1 ms; timeouts of 1 ms expire from then on, and after three nothing is sent into the hole."""
    of = network(GBPS, GBPS, changes=(Change(1 * MS, 0, 0),), detection_ns=10**9)
    packets = sent(np.repeat(np.arange(300) * 20 * US, 2), [0, 1] * 300, 100)
    fates = run("hermes", of, packets, seed=3)
    dead = packets.send_ns[fates.path == 0]
    assert (dead > MS).any()
    assert dead.max() <= 2 * MS + 100 * US
    assert int(fates.flowlet.max()) == 2  # the other flow never moved


# All of them


@pytest.mark.parametrize(
    "policy", sorted(name for name, p in policies().items() if p.steered and p.granularity != "flow")
)
def test_suspected_paths_are_spared(policy: str) -> None:
    """Path 1 of 3 dies at once. After the first timeout it is suspected for 5 ms, and tried again when that is over."""
    of = network(GBPS, GBPS, GBPS, changes=(Change(0, 1, 0),), detection_ns=10**9)
    packets = sent(np.arange(1500) * 10 * US, np.arange(1500) % 40, 1000)
    parameters = {"cell_bytes": 1000} if policy == "presto" else {}
    fates = run(
        policy, of, packets, timeout_ns=0, steering=Steering(MS, suspect_after=1, suspect_for_ns=5 * MS), **parameters
    )
    tried = packets.send_ns[fates.path == 1]
    first_ns = int(tried[0]) + MS
    assert not ((tried >= first_ns) & (tried < first_ns + 5 * MS)).any()
    if policy not in ("hermes", "clove-ecn"):  # which remember the failure themselves
        assert (tried >= first_ns + 5 * MS).any()
    spared = fates.path[(packets.send_ns >= first_ns) & (packets.send_ns < first_ns + 5 * MS)]
    assert set(spared.tolist()) == {0, 2}


@pytest.mark.parametrize("policy", sorted(name for name, p in policies().items() if not p.steered))
def test_paths_known_to_be_down_are_spared(policy: str) -> None:
    of = network(GBPS, GBPS, GBPS, changes=(Change(0, 1, 0), Change(5 * MS, 1, GBPS)), detection_ns=MS)
    packets = sent(np.arange(1000) * 10 * US, np.arange(1000) % 40, 1000)
    fates = run(policy, of, packets, timeout_ns=0)
    spared = fates.path[(packets.send_ns >= MS) & (packets.send_ns < 6 * MS)]
    assert set(spared.tolist()) == {0, 2}
    assert (fates.path[packets.send_ns >= 6 * MS] == 1).any()


def test_parameters_out_of_bounds_are_refused() -> None:
    for policy, parameters in (("presto", {"cell_bytes": 0}), ("ecmp", {"hash": "md5"}), ("plb", {"marks": 1})):
        with pytest.raises(ValueError, match=next(iter(parameters))):
            find_policy(policy).parameters(**parameters)
