"""What must hold after every event of the slow transport, and at its end, each recomputed from what there is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from typing import TYPE_CHECKING

from tests.twins.tcp_sender import RTO, Sender

if TYPE_CHECKING:
    from tests.twins.transport import Transport


def check_always(run: Transport) -> None:
    """After every event."""
    for half, sender in enumerate(run.senders):
        check_half(run, half, sender)
    check_counters(run)


def check_half(run: Transport, half: int, sender: Sender) -> None:
    """What is acknowledged was received, what was received was sent, and no window was passed."""
    receiver = run.receivers[half]
    assert 0 <= sender.una <= sender.nxt <= len(sender.sizes)
    assert set(sender.board) == set(range(sender.una, sender.nxt))
    assert sender.una <= receiver.next <= sender.nxt
    assert all(receiver.next < number < sender.nxt for number in receiver.above)
    assert all(receiver.has(number) for number, segment in sender.board.items() if segment.sacked)
    asked = sum(run.messages[row].bytes for row in sender.last_of)
    assert sum(sender.sizes) == asked
    assert sum(sender.sizes[: sender.una]) + sender.flight() + sum(sender.sizes[sender.nxt :]) == asked
    assert sender.flight() <= sender.settings.receive_window
    for begin, end in receiver.blocks:
        assert set(range(begin, end)) <= receiver.above
        assert begin - 1 not in receiver.above and end not in receiver.above
    assert len(receiver.blocks) <= 4
    check_pipe(sender)
    assert sender.cwnd >= 0 and sender.ssthresh >= 0
    if not run.handshakes[half // 2].failed:
        assert run.timer_runs(half, RTO) == (sender.una < sender.nxt)


def check_pipe(sender: Sender) -> None:
    """The pipe by kinds of segments."""
    board = sender.board.values()
    first = [s.size for s in board if not s.sacked and not s.lost]
    again = [s.size for s in board if not s.sacked and s.retransmitted]
    sacked_again = [s.size for s in board if s.sacked and s.retransmitted]
    expected = sum(first) + sum(again) + (sum(sacked_again) if sender.settings.rules == "ns-3" else 0)
    assert sender.pipe() == expected


def check_counters(run: Transport) -> None:
    """Every counter holds the frames of transmissions that nobody has heard of, and nothing else."""
    expected: dict[tuple[Hashable, int], int] = defaultdict(int)
    outstanding = [s.packet for sender in run.senders for s in sender.board.values() if s.counted]
    for packet in outstanding:
        expected[run.counter_of(packet)] += run.ledger.frame_bytes[packet]
    for counter, in_flight_bytes in run.ledger.in_flight_bytes.items():
        assert in_flight_bytes == expected[counter]


def check_end(run: Transport) -> None:
    """When nothing happens any more."""
    assert not run.timers
    assert all(not packets for packets in run.in_network.values())
    for index in range(len(run.packets)):
        receive_ns = run.receive_ns[index]
        assert (receive_ns is None) == (index in run.dropped_at)
        assert receive_ns is None or receive_ns >= run.packets[index].send_ns
    for row, message in enumerate(run.messages):
        result = run.results[row]
        handshake = run.handshakes[message.connection]
        if result.complete_ns is not None:
            assert result.asked_ns is not None and result.complete_ns >= result.asked_ns >= message.start_ns
            for other in message.after:
                end_ns = run.results[other].complete_ns
                assert end_ns is not None and result.asked_ns >= end_ns + message.think_ns
        elif result.asked_ns is not None:
            assert handshake.failed or is_stuck(run.senders[2 * message.connection + message.half])
    for half, sender in enumerate(run.senders):
        ended = sender.una == sender.nxt == len(sender.sizes)
        assert run.handshakes[half // 2].failed or ended or is_stuck(sender)
        assert run.handshakes[half // 2].failed or run.receivers[half].waiting == 0
        assert not any(segment.counted for segment in sender.board.values())


def is_stuck(sender: Sender) -> bool:
    """Whether nothing will ever come of it: an end that never opened, or a window of ns-3's DCTCP below a segment."""
    if not sender.is_open():
        return True
    settings = sender.settings
    small = sender.cwnd < settings.mss and sender.una == sender.nxt
    return settings.rules == "ns-3" and settings.control == "dctcp" and small
