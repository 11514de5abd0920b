"""The slow transport by itself: what can be computed by hand, what must always hold, and ns-3's idle flows."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from tests.support.transport import Case, Seeded, cases, make_case, run_twin
from tests.twins.hashing import fold
from tests.twins.network import Change, Flow, Link, Options, Path
from tests.twins.tcp_congestion import cbrt
from tests.twins.tcp_settings import Sent
from tests.twins.transport import Connection, Message, Transport, TransportSettings, assert_links_conserved

GBPS = 10**9
US, MS = 1000, 10**6
MSS = 1448

# At 1 Gbit/s with 24 bytes of overhead and links of 10 us.
SYN_NS = (14 + 60 + 24) * 8
ACK_NS = (14 + 52 + 24) * 8
DATA_NS = (14 + 1500 + 24) * 8
DELAY_NS = 10 * US
ROUND_TRIP_NS = 2 * (SYN_NS + DELAY_NS)  # of SYN and SYN/ACK

PLAIN = TransportSettings(
    min_rto_ns=10 * MS, initial_rto_ns=1 * MS, granularity_ns=1 * US, ack_delay_ns=500 * US, ack_every=1, ties="number"
)


class Losing(Transport):
    """Loses, just before they arrive, so many transmissions of segments of half 0; -1 is the SYN."""

    def lose_at_first(self, losses: dict[int, int]) -> Losing:
        self.losses = Counter(losses)
        return self

    def enter(self, packet: int, hop: int, now_ns: int) -> None:
        said = self.carried[packet]
        number = {"data": said.number, "syn": -1}.get(said.kind, -2) if said.half == 0 else -2
        if hop == len(self.ledger.ways[packet]) and self.losses[number] > 0:
            self.losses[number] -= 1
            self.drop(packet, hop, now_ns)
        else:
            super().enter(packet, hop, now_ns)


def parallel(links: Sequence[Link]) -> tuple[list[Link], list[Path]]:
    """A path each way per link."""
    count = len(links)
    return [*links, *links], [Path(n // count, (n,), 0, 0) for n in range(2 * count)]


def flows_of(connections: int) -> list[Flow]:
    """Between two hosts."""
    flows = []
    for number in range(connections):
        for source in (0, 1):
            words = (0, source, 0, 1 - source, 6 << 32 | (1000 + number) << 16 | 80)
            flows.append(Flow(fold(words), source, source, words, source, 1 - source, len(flows) ^ 1))
    return flows


def run_on(
    links: Sequence[Link],
    messages: Sequence[Message],
    how: TransportSettings = PLAIN,
    losses: dict[int, int] | None = None,
    **options: Any,
) -> Losing:
    """A run over parallel links."""
    ends, paths = parallel(links)
    connections = 1 + max(message.connection for message in messages)
    values = {"policy": "host-ecmp", "timeout_ns": 100 * US, "seed": 1, "loss_timeout_ns": MS, **options}
    run = Losing(ends, paths, flows_of(connections), messages, [Connection()] * connections, how, Options(**values))
    run.lose_at_first(losses or {})
    run.go()
    assert_links_conserved(run)
    return run


def run_one(segments: int, how: TransportSettings = PLAIN, losses: dict[int, int] | None = None) -> Losing:
    """One message over one link."""
    link = Link(GBPS, DELAY_NS, None, None, 24)
    return run_on([link], [Message(0, 0, segments * MSS, 0)], how, losses)


def of_kind(run: Losing, kind: str, half: int = 0) -> list[Sent]:
    """Packets of a kind of a half (acknowledgements travel as the other flow)."""
    flow = half ^ 1 if kind == "ack" else half
    return [sent for sent in run.sent() if sent.kind == kind and sent.flow == flow]


def test_idle_flow_by_hand() -> None:
    run = run_one(3)
    begin_ns = ROUND_TRIP_NS + ACK_NS  # the answer to the SYN/ACK goes first
    assert run.results[0].complete_ns == begin_ns + 3 * DATA_NS + DELAY_NS
    assert [sent.receive_ns for sent in of_kind(run, "data")] == [begin_ns + n * DATA_NS + DELAY_NS for n in (1, 2, 3)]
    assert [sent.number for sent in of_kind(run, "ack")] == [1, 2, 3]
    assert [sent.ip_bytes for sent in run.sent()] == [60, 60, 52, 1500, 1500, 1500, 52, 52, 52]


def test_later_message_waits_for_the_first_and_thinks() -> None:
    link = Link(GBPS, DELAY_NS, None, None, 24)
    run = run_on([link], [Message(0, 0, MSS, 0), Message(0, 1, 1, 5, (0,), 7 * US)])
    first, second = run.results
    assert first.complete_ns is not None
    assert second.asked_ns == first.complete_ns + 7 * US
    # The acknowledgement of the first has long left.
    assert second.complete_ns == second.asked_ns + (14 + 53 + 24) * 8 + DELAY_NS


def test_one_loss_is_repaired_after_three_sacked() -> None:
    run = run_one(40, losses={2: 1})
    again = [sent for sent in of_kind(run, "data") if sent.number == 2]
    third = [sent for sent in of_kind(run, "ack") if sent.number == 2][3]  # one says 2, then three sack 3, 4, 5
    assert [sent.dropped for sent in again] == [True, False]
    assert third.ip_bytes == 52 + 4 + 8
    assert again[1].send_ns == third.receive_ns
    counts = run.counts[0]
    assert (counts.retransmissions, counts.recoveries, counts.timeouts, counts.needless) == (1, 1, 0, 0)
    # Window 12 after two acknowledgements, and two segments more as 3 and 4 were sacked: [2, 16) were out.
    assert run.senders[0].ssthresh == 14 * MSS // 2


def test_retransmission_timer() -> None:
    run = run_one(1, replace(PLAIN, min_rto_ns=1, max_rto_ns=200 * US, retries=5), {0: 99})
    times = [sent.send_ns for sent in of_kind(run, "data")]
    rto_ns = ROUND_TRIP_NS + 4 * (ROUND_TRIP_NS // 2)
    assert times[0] == ROUND_TRIP_NS
    assert [b - a for a, b in itertools.pairwise(times)] == [rto_ns, 2 * rto_ns, 200 * US, 200 * US]
    assert run.counts[0].timeouts == 5
    assert run.results[0].complete_ns is None


def test_timeout_of_ns3_fails_one_later() -> None:
    run = run_one(1, replace(PLAIN, rules="ns-3", min_rto_ns=1, retries=3), {0: 99})
    times = [sent.send_ns for sent in of_kind(run, "data")]
    rto_ns = ROUND_TRIP_NS + 4 * (ROUND_TRIP_NS // 2)
    assert [b - a for a, b in itertools.pairwise(times)] == [rto_ns, 2 * rto_ns, 4 * rto_ns]
    assert run.counts[0].timeouts == 4


def test_syn_is_sent_again() -> None:
    run = run_one(1, replace(PLAIN, syn_retries=3), {-1: 99})
    assert [sent.send_ns for sent in run.sent()] == [0, 1 * MS, 3 * MS, 7 * MS]
    assert run.results[0].complete_ns is None
    run = run_one(1, losses={-1: 1})
    assert run.results[0].complete_ns == MS + ROUND_TRIP_NS + ACK_NS + DATA_NS + DELAY_NS
    assert run.senders[0].srtt is not None and run.senders[0].srtt > DATA_NS  # no sample of the SYN


def test_acknowledgements_are_delayed() -> None:
    run = run_one(3, replace(PLAIN, ack_every=2))
    data = of_kind(run, "data")
    assert data[2].receive_ns is not None
    assert [(sent.send_ns, sent.number) for sent in of_kind(run, "ack")] == [
        (data[1].receive_ns, 2),
        (data[2].receive_ns + 500 * US, 3),
    ]


def test_lost_retransmission() -> None:
    """By duplicate acknowledgements alone only the timer repairs it; RACK sees that later segments came."""
    plain = run_one(40, losses={2: 2})
    assert plain.counts[0].timeouts == 1
    rack = run_one(40, replace(PLAIN, receiver="rack"), {2: 2})
    assert rack.counts[0].timeouts == 0
    assert rack.counts[0].retransmissions == 2


def test_tail_is_probed() -> None:
    how = replace(PLAIN, receiver="rack", min_rto_ns=100 * MS)
    run = run_one(5, how, {4: 1})
    last = [sent for sent in of_kind(run, "data") if sent.number == 4]
    heard_ns = of_kind(run, "ack")[3].receive_ns
    counts = run.counts[0]
    assert (counts.retransmissions, counts.timeouts, counts.recoveries) == (1, 0, 0)
    assert heard_ns is not None
    srtt = ROUND_TRIP_NS
    for n in range(4):
        sample = (n + 1) * DATA_NS + 2 * DELAY_NS + 2 * ACK_NS  # all were sent at once, behind an acknowledgement
        srtt += (sample - srtt) >> 3
    assert last[1].send_ns == heard_ns + 2 * srtt + how.ack_delay_ns
    assert run.senders[0].cwnd == 5 * MSS  # half of 10, which five segments never filled
    assert run_one(5, replace(how, receiver="dupack"), {4: 1}).counts[0].timeouts == 1


def test_reordering_costs_less_with_rack() -> None:
    links = [Link(GBPS, delay_ns, None, None, 24) for delay_ns in (100 * US, 150 * US)]
    recoveries, needless = [], []
    for receiver in ("dupack", "rack"):
        how = replace(PLAIN, receiver=receiver)
        run = run_on(links, [Message(0, 0, 500 * MSS, 0)], how, policy="spray", parameters={"order": "round-robin"})
        assert not any(sent.dropped for sent in run.sent())
        recoveries.append(run.counts[0].recoveries)
        needless.append(run.counts[0].needless)
        assert run.counts[0].retransmissions == needless[-1]
    assert recoveries[0] > 5
    assert recoveries[1] == 1  # it then knows that segments overtake each other


def test_recovery_sends_in_proportion_to_what_is_delivered() -> None:
    run = run_one(40, losses={2: 1})
    again = [sent for sent in of_kind(run, "data") if sent.number == 2][1]
    acks = [sent.receive_ns for sent in of_kind(run, "ack") if sent.number == 2 and sent.receive_ns is not None]
    sent_at = [sent.send_ns for sent in of_kind(run, "data") if sent.send_ns >= again.send_ns]
    # [2, 16) were out as 5 was sacked, two of them sacked before: 12 of which 7 are to stay. Seven are sent for twelve
    # delivered until only seven are in the network (at the sixth), then one for one.
    sent = [sum(send_ns <= heard_ns for send_ns in sent_at) for heard_ns in acks if heard_ns >= again.send_ns]
    assert sent == [1, 1, 1, 2, 2, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("control", ["newreno", "dctcp"])
def test_needless_reduction_is_undone(control: Any) -> None:
    links = [Link(GBPS, delay_ns, None, None, 24) for delay_ns in (100 * US, 150 * US)]
    how = replace(PLAIN, receiver="rack", control=control)
    run = run_on(links, [Message(0, 0, 500 * MSS, 0)], how, policy="spray", parameters={"order": "round-robin"})
    sender, counts = run.senders[0], run.counts[0]
    assert counts.recoveries == counts.undone == 1
    assert counts.retransmissions == counts.needless > 0
    assert sender.ssthresh == 2**62  # slow start goes on as if nothing had happened
    assert max(sender.cwnds) == sender.cwnd > 200 * MSS


def test_reduction_for_a_loss_is_not_undone() -> None:
    run = run_one(40, replace(PLAIN, receiver="rack"), {2: 1})
    counts = run.counts[0]
    assert (counts.recoveries, counts.undone, counts.retransmissions, counts.needless) == (1, 0, 1, 0)
    assert run.senders[0].ssthresh < 40 * MSS


def test_needless_timeout_is_undone() -> None:
    """Acknowledgements are so slow for a while that the timer fires, and all that is sent again is needless."""
    slow = (Change(200 * US, 1, 50_000), Change(14 * MS, 1, GBPS))
    link = Link(GBPS, DELAY_NS, None, None, 24)
    run = run_on([link], [Message(0, 0, 200 * MSS, 0)], replace(PLAIN, receiver="rack"), changes=slow)
    counts = run.counts[0]
    assert (counts.timeouts, counts.recoveries, counts.undone) == (1, 0, 1)
    assert counts.retransmissions == counts.needless > 10
    assert run.senders[0].ssthresh == 2**62


def test_burst_takes_one_path() -> None:
    links = [Link(GBPS, DELAY_NS, None, None, 24)] * 4
    how = replace(PLAIN, tso=4 * MSS)
    run = run_on(links, [Message(0, 0, 8 * MSS + 1, 0)], how, policy="spray")
    bursts = [list(group) for _, group in itertools.groupby(of_kind(run, "data"), key=lambda sent: sent.flowlet)]
    assert [len(burst) for burst in bursts[:3]] == [4, 4, 1]
    assert all(len({(sent.path, sent.send_ns) for sent in burst}) == 1 for burst in bursts[:3])
    whole = run_on(links, [Message(0, 0, 30 * MSS, 0)], replace(how, tso=20 * MSS), policy="host-ecmp")
    times = [sent.send_ns for sent in of_kind(whole, "data")]
    assert times[:10] == times[:1] * 10  # with nothing out a burst begins although it does not fit,
    assert times[10] == of_kind(whole, "ack")[9].receive_ns  # and with anything out it waits


def test_pacing_spreads_the_window() -> None:
    run = run_one(60, replace(PLAIN, pacing=True))
    first = [sent.send_ns for sent in of_kind(run, "data")][:4]
    gap_ns = MSS * ROUND_TRIP_NS // (10 * MSS * 2)
    assert [b - a for a, b in itertools.pairwise(first)] == [gap_ns] * 3


def test_dctcp_keeps_the_queue_short() -> None:
    link = Link(GBPS, DELAY_NS, 60_000, 10_000, 24)
    messages = [Message(number, 0, 400 * MSS, 0) for number in range(2)]
    dctcp = run_on([link], messages, replace(PLAIN, control="dctcp"))
    reno = run_on([link], messages, replace(PLAIN))
    assert not any(sent.dropped for sent in dctcp.sent())
    assert any(sent.dropped for sent in reno.sent())
    assert dctcp.counts[0].marks > 0
    assert dctcp.senders[0].control.alpha < 2**20  # type: ignore[attr-defined]


def test_whose_syn_comes_first_is_drawn_for_every_seed() -> None:
    """Two equal senders begin at one instant; who is second at the shared link comes late with every packet after."""
    hops = [Link(GBPS, DELAY_NS, None, None, 24)] * 4 + [Link(GBPS, DELAY_NS, 6_000, None, 24)] * 2
    paths = [Path(group, (group, 4 if group < 2 else 5), 0, 0) for group in range(4)]
    groups = (0, 2, 1, 3)
    flows = [Flow(n, n % 2 * 2 + n // 2, groups[n], (0, n, 0, 0, 0), 0, 0, n ^ 1) for n in range(4)]
    messages = [Message(number, 0, 10 * MSS, 0) for number in (0, 1)]
    losers: dict[str, set[int]] = {"number": set(), "hash": set()}
    for ties, seed in itertools.product(("number", "hash"), range(10)):
        options = Options("host-ecmp", 100 * US, seed, MS)
        how = replace(PLAIN, ties=ties)
        run = Transport(hops, paths, flows, messages, [Connection()] * 2, how, options)
        run.go()
        losers[ties] |= {sent.flow for sent in run.sent() if sent.dropped}
    assert losers == {"number": {2}, "hash": {0, 2}}


def test_cube_root() -> None:
    for x in (1e-6, 0.5, 1.0, 8.0, 27.5, 1e6):
        assert cbrt(x) == pytest.approx(x ** (1 / 3), rel=1e-12)


@pytest.mark.parametrize(
    ("rules", "control", "expected_ns", "within"),
    [("rfc", "newreno", 1_117_942, 0.001), ("ns-3", "newreno", 1_117_942, 0.001), ("ns-3", "cubic", 1_937_000, 0.005)],
)
def test_idle_megabyte_of_ns3(rules: Any, control: Any, expected_ns: int, within: float) -> None:
    """1 MB over four links of 10 Gbit/s and 10 us; PPP's frames are 1502 and 42 bytes on the wire."""
    links = [Link(10 * GBPS, 10 * US, None, None, -12)] * 8
    paths = [Path(0, (0, 1, 2, 3), 0, 0), Path(1, (4, 5, 6, 7), 0, 0)]
    how = TransportSettings(
        rules=rules, control=control, mss=1460, header=40, min_rto_ns=10 * MS, initial_rto_ns=10 * MS, ack_every=1
    )
    options = Options("host-ecmp", 100 * US, 1, MS, 0)
    run = Transport(links, paths, flows_of(1), [Message(0, 0, 1_000_000, 0)], [Connection()], how, options)
    run.go()
    assert run.results[0].complete_ns == pytest.approx(expected_ns, rel=within)
    assert {sent.ip_bytes for sent in run.sent()} == {48, 40, 1500, 1000 * 1000 % 1460 + 40}


def test_seeded_cases_see_everything() -> None:
    """The ledger is checked after every event of each; together they see all that connections meet."""
    seen: Counter[str] = Counter()
    for number in range(40):
        case = make_case(Seeded(number))
        packets, results, halves = run_twin(case)
        seen.update(case.settings.control + case.settings.rules for _ in [0])
        seen.update(sent.kind for sent in packets)
        seen["dropped"] += sum(sent.dropped for sent in packets)
        seen["marked"] += sum(sent.marked for sent in packets)
        seen["unfinished"] += sum(result.complete_ns is None for result in results)
        seen["done"] += sum(result.complete_ns is not None for result in results)
        for half in halves:
            seen.update(vars(half))
    expected = (
        "recorded",
        "dropped",
        "marked",
        "unfinished",
        "done",
        "retransmissions",
        "timeouts",
        "recoveries",
        "undone",
        "needless",
    )
    assert all(seen[name] > 0 for name in (*expected, "marks", "newrenorfc", "cubicns-3", "dctcprfc")), seen


@given(cases(most_segments=12))
@settings(max_examples=25, deadline=None)
def test_cases_of_hypothesis(case: Case) -> None:
    run = Transport(
        case.links,
        case.paths,
        case.flows,
        case.messages,
        case.connections,
        case.settings,
        Options(**case.options),
        case.recorded,
    )
    run.go()
    assert_links_conserved(run)
