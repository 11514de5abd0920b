"""What the slow transport is given and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["syn", "syn-ack", "data", "ack", "recorded"]


@dataclass(frozen=True)
class TransportSettings:
    """The parameters of docs/transport.md; sizes in bytes, the windows of the start in segments."""

    control: Literal["newreno", "cubic", "dctcp"] = "newreno"
    rules: Literal["rfc", "ns-3"] = "rfc"
    receiver: Literal["dupack", "rack"] = "dupack"
    mss: int = 1448
    header: int = 52
    initial_window: int = 10
    min_rto_ns: int = 200_000_000
    initial_rto_ns: int = 1_000_000_000
    max_rto_ns: int = 60_000_000_000
    granularity_ns: int = 1_000_000
    ack_delay_ns: int = 40_000_000
    ack_every: int = 2
    quick_acks: int = 0
    receive_window: int = 4_000_000
    ecn: bool = False
    tso: int = 0
    pacing: bool = False
    slow_start: Literal["standard", "hystart"] = "standard"
    acks: Literal["steered", "hashed"] = "steered"
    ties: Literal["hash", "number"] = "hash"
    retries: int = 15
    syn_retries: int = 6

    @property
    def uses_ecn(self) -> bool:
        """Whether marks are echoed."""
        return self.ecn or self.control == "dctcp"


@dataclass(frozen=True)
class Message:
    """A row of a workload: bytes that a half (0: the initiator's) of a connection is asked to send."""

    connection: int
    half: int
    bytes: int
    start_ns: int
    after: tuple[int, ...] = ()
    think_ns: int = 0


@dataclass(frozen=True)
class Connection:
    """Its flows are 2c and 2c + 1; `pinned` is the slot of both."""

    pinned: int | None = None


@dataclass(frozen=True)
class Sent:
    """A packet that was sent, and what became of it."""

    send_ns: int
    flow: int
    kind: Kind
    number: int
    ip_bytes: int
    path: int
    flowlet: int
    receive_ns: int | None
    queue_ns: int
    marked: bool
    dropped: bool


@dataclass
class Result:
    """When a message was asked to be sent, and when it had been received in full."""

    asked_ns: int | None = None
    complete_ns: int | None = None


@dataclass
class Counts:
    """What a half did: `undone` are reductions taken back, `needless` duplicates that were received, `marks`
    acknowledgements sent that echo one.
    """

    data: int = 0
    retransmissions: int = 0
    timeouts: int = 0
    recoveries: int = 0
    undone: int = 0
    needless: int = 0
    marks: int = 0


@dataclass(frozen=True)
class Carried:
    """What TCP says in a packet: of which half, and its number (an acknowledgement's: the next segment expected).

    `cause` is the packet whose arrival made the receiver send it, if any. `repeated` is the number in a D-SACK.
    """

    kind: Kind
    half: int
    number: int
    reduced: bool = False
    blocks: tuple[tuple[int, int], ...] = ()
    echo: bool = False
    cause: int | None = None
    repeated: int | None = None


@dataclass
class Segment:
    """A segment between `una` and `nxt`; `packet` is its last transmission, `counted` whether that is in flight."""

    number: int
    size: int
    sent_ns: int = -1
    times: int = 0
    packet: int = -1
    sacked: bool = False
    lost: bool = False
    retransmitted: bool = False
    counted: bool = False
    samples: bool = True  # ns-3: whether its time may be sampled


@dataclass
class Taken:
    """What an acknowledgement did to the scoreboard."""

    old: int
    acked: int = 0
    delivered: int = 0
    newly: list[Segment] = field(default_factory=list)  # delivered, in order of number
    passed: list[Segment] = field(default_factory=list)  # now below una, in order of number
    sacks: bool = False
