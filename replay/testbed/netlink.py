"""What pyroute2 cannot word: SIDs with flavours, token buckets with an overhead per frame, reduced segment lists, rules
by five-tuple; and dumps, as they come.

Layouts: linux/netlink.h, linux/rtnetlink.h, linux/lwtunnel.h, linux/seg6_local.h, linux/seg6_iptunnel.h,
linux/fib_rules.h, linux/pkt_sched.h.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self

from segcast.replay.inject.machines import ROUTE_PROTOCOL
from segcast.replay.testbed.draft import Sid
from segcast.replay.testbed.plan import Shaper

_NEW_ROUTE: Final = 24
_NEW_RULE, _DELETE_RULE = 32, 33
_NEW_QDISC: Final = 36
_ASK: Final = 0x0001 | 0x0004  # request, acknowledge
_CREATE: Final = _ASK | 0x0200 | 0x0400  # exclusive, create
_REPLACE: Final = _ASK | 0x0100 | 0x0400
_DUMP: Final = 0x0001 | 0x0300
_ERROR, _DONE = 2, 3
_NESTED: Final = 0x8000
_U32: Final = 0xFFFFFFFF

_MAIN_TABLE, _STATIC, _UNICAST = 254, 4, 1
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_MULTIPATH, _RTA_TABLE, _RTA_ENCAP_TYPE, _RTA_ENCAP = 1, 4, 5, 9, 15, 21, 22
_LINK_SCOPE: Final = 253
_SEG6, _SEG6_LOCAL = 5, 7
_ENCAP_SRH, _WHOLE_LIST, _REDUCED_LIST, _SRH_TYPE = 1, 1, 3, 4
_TO_TABLE, _BLACK_HOLE = 1, 6
_FRA_IIFNAME: Final = 3
_FRA_DST, _FRA_SRC, _FRA_PRIORITY, _FRA_TABLE, _FRA_PROTOCOL, _FRA_SPORT, _FRA_DPORT = 1, 2, 6, 15, 22, 23, 24
_ACTIONS: Final = {"End": 1, "End.X": 2, "End.DX6": 5, "End.DX4": 6}
_ACTION, _NH4, _NH6, _FLAVORS = 1, 4, 5, 11
_OPERATIONS, _BLOCK_BITS, _IDENTIFIER_BITS = 1, 2, 3
_NEXT_CSID: Final = 1 << 4

_ROOT, _HANDLE = _U32, 0x10000
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TBF_PARMS, _TBF_RATE64, _TBF_BURST = 1, 4, 6
_NETEM_LATENCY64: Final = 10
_MOST_HELD: Final = 1_000_000  # packets
_TICK_NS: Final = 64
_ETHERNET: Final = 1  # a link layer that is known spares the tables of transmission times


BLACK_HOLE_PRIORITY: Final = 900  # behind the node's own addresses, before all other routes


class Rule(NamedTuple):
    """Packets of a five-tuple, protocol TCP, that are routed by a table: addresses and ports of sender and receiver."""

    source: tuple[str, int]
    target: tuple[str, int]
    table: int


class Requests:
    """A socket in the namespace that the calling thread is in. Errors of the kernel are raised as OSError."""

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def add_sid(self, prefix: str, interface: int, sid: Sid) -> None:
        """Have packets to the prefix handled as the SID says; `interface` by its index."""
        network = ipaddress.IPv6Network(prefix)
        body = struct.pack("=BBBBBBBBI", socket.AF_INET6, network.prefixlen, 0, 0, _MAIN_TABLE, _STATIC, 0, _UNICAST, 0)
        body += attribute(_RTA_DST, network.network_address.packed)
        body += attribute(_RTA_OIF, struct.pack("=I", interface))
        body += attribute(_RTA_ENCAP_TYPE, struct.pack("=H", _SEG6_LOCAL))
        body += attribute(_RTA_ENCAP | _NESTED, local_sid(sid))
        self._create(_NEW_ROUTE, body)

    def add_segment_list(
        self, table: int, interface: int, addresses: Sequence[str], *, ipv6: bool, reduced: bool
    ) -> None:
        """Have all packets that a table routes encapsulated with these addresses, in the order of travel.

        A route of the table that stands already is replaced.
        """
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, _STATIC, 0 if ipv6 else _LINK_SCOPE, _UNICAST, 0)
        body += attribute(_RTA_TABLE, struct.pack("=I", table))
        body += attribute(_RTA_OIF, struct.pack("=I", interface))
        body += attribute(_RTA_ENCAP_TYPE, struct.pack("=H", _SEG6))
        body += attribute(_RTA_ENCAP | _NESTED, segment_list(addresses, reduced=reduced))
        self._create(_NEW_ROUTE, body, _REPLACE)

    def add_rule(self, rule: Rule, priority: int) -> None:
        """Route packets of a five-tuple by a table."""
        ends = [ipaddress.ip_address(address) for address, _ in (rule.source, rule.target)]
        family, bits = (socket.AF_INET6, 128) if ends[0].version == 6 else (socket.AF_INET, 32)
        body = struct.pack("=BBBBBBBBI", family, bits, bits, 0, 0, 0, 0, _TO_TABLE, 0)
        body += attribute(_FRA_SRC, ends[0].packed) + attribute(_FRA_DST, ends[1].packed)
        body += attribute(_FRA_PRIORITY, struct.pack("=I", priority)) + attribute(
            _FRA_TABLE, struct.pack("=I", rule.table)
        )
        body += attribute(_FRA_PROTOCOL, bytes((socket.IPPROTO_TCP,)))
        body += attribute(_FRA_SPORT, struct.pack("=HH", rule.source[1], rule.source[1]))
        body += attribute(_FRA_DPORT, struct.pack("=HH", rule.target[1], rule.target[1]))
        self._create(_NEW_RULE, body)

    def clear_rules(self, priority: int) -> None:
        """Remove all rules of a priority."""
        for family in (socket.AF_INET, socket.AF_INET6):
            body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, _TO_TABLE, 0)
            with contextlib.suppress(FileNotFoundError):
                while True:
                    self._create(_DELETE_RULE, body + attribute(_FRA_PRIORITY, struct.pack("=I", priority)), _ASK)

    def set_black_hole(self, interface: str, *, drops: bool) -> None:
        """Whether all that comes in over an interface, and is to be forwarded, is dropped without a word to anybody."""
        for family in (socket.AF_INET, socket.AF_INET6):
            body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, _BLACK_HOLE, 0)
            body += attribute(_FRA_PRIORITY, struct.pack("=I", BLACK_HOLE_PRIORITY))
            body += attribute(_FRA_IIFNAME, interface.encode() + b"\0")
            self._create(*((_NEW_RULE, body) if drops else (_DELETE_RULE, body, _ASK)))

    def replace_route(self, prefix: str, ways: Sequence[tuple[int, str]]) -> None:
        """Have packets to a prefix go by these ways of equal cost: interfaces by their index, next hops."""
        network = ipaddress.ip_network(prefix)
        family = socket.AF_INET6 if network.version == 6 else socket.AF_INET
        body = struct.pack(
            "=BBBBBBBBI", family, network.prefixlen, 0, 0, _MAIN_TABLE, ROUTE_PROTOCOL, 0, _UNICAST, 0
        ) + attribute(_RTA_DST, network.network_address.packed)
        hops = [(index, attribute(_RTA_GATEWAY, ipaddress.ip_address(gateway).packed)) for index, gateway in ways]
        if len(hops) == 1:
            body += attribute(_RTA_OIF, struct.pack("=I", hops[0][0])) + hops[0][1]
        else:
            several = b"".join(struct.pack("=HBBi", 8 + len(gateway), 0, 0, index) + gateway for index, gateway in hops)
            body += attribute(_RTA_MULTIPATH, several)
        self._create(_NEW_ROUTE, body, _REPLACE)

    def add_shaper(self, interface: int, shaper: Shaper) -> None:
        """Put a token bucket before an interface, and a delay before that if it has one."""
        place = (_HANDLE, _ROOT)
        if shaper.delay_ns:
            self._add_queue(interface, (_HANDLE, _ROOT), b"netem\0", delay(shaper.delay_ns))
            place = (2 * _HANDLE, _HANDLE + 1)
        self._add_queue(interface, place, b"tbf\0", token_bucket(shaper))

    def add_delay(self, interface: int, delay_ns: int) -> None:
        """Put a delay alone before an interface."""
        self._add_queue(interface, (_HANDLE, _ROOT), b"netem\0", delay(delay_ns))

    def _add_queue(self, interface: int, place: tuple[int, int], kind: bytes, options: bytes) -> None:
        body = struct.pack("=BxHiIII", 0, 0, interface, *place, 0)
        self._create(_NEW_QDISC, body + attribute(_TCA_KIND, kind) + attribute(_TCA_OPTIONS, options))

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """The messages with which the kernel answers a request for all of a kind, each without its header."""
        self._socket.send(struct.pack("=IHHII", 16 + len(body), kind, _DUMP, 1, 0) + body)
        while True:
            answer = self._socket.recv(1 << 17)
            while answer:
                size, kind = struct.unpack_from("=IH", answer)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    code: int = struct.unpack_from("=i", answer, 16)[0]
                    raise OSError(-code, os.strerror(-code))
                yield answer[16:size]
                answer = answer[size + 3 & ~3 :]

    def _create(self, kind: int, body: bytes, flags: int = _CREATE) -> None:
        self._socket.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        answer = self._socket.recv(65536)
        code: int = struct.unpack_from("=i", answer, 16)[0]
        if struct.unpack_from("=H", answer, 4)[0] == _ERROR and code:
            raise OSError(-code, os.strerror(-code))


def local_sid(sid: Sid) -> bytes:
    """The attributes of a SID of a node's own."""
    found = attribute(_ACTION, struct.pack("=I", _ACTIONS[sid.action]))
    if sid.next_hop is not None:
        address = ipaddress.ip_address(sid.next_hop)
        found += attribute(_NH4 if address.version == 4 else _NH6, address.packed)
    if sid.identifier_bits:
        flavors = attribute(_OPERATIONS, struct.pack("=I", _NEXT_CSID))
        flavors += attribute(_BLOCK_BITS, bytes((sid.block_bits,)))
        flavors += attribute(_IDENTIFIER_BITS, bytes((sid.identifier_bits,)))
        found += attribute(_FLAVORS | _NESTED, flavors)
    return found


def segment_list(addresses: Sequence[str], *, reduced: bool) -> bytes:
    """The attributes of an encapsulation with these addresses: an SRH has them in reverse (RFC 8754 section 2)."""
    last = len(addresses) - 1
    header = struct.pack(
        "=iBBBBBBH", _REDUCED_LIST if reduced else _WHOLE_LIST, 0, 2 * len(addresses), _SRH_TYPE, last, last, 0, 0
    )
    return attribute(_ENCAP_SRH, header + b"".join(ipaddress.IPv6Address(each).packed for each in reversed(addresses)))


def token_bucket(shaper: Shaper) -> bytes:
    """The options of a token bucket. The rate is in whole bytes per second, as the kernel counts."""
    rate = shaper.rate_bps // 8
    ratespec = struct.pack("=BBHhHI", 0, _ETHERNET, shaper.overhead_bytes, -1, 0, min(rate, _U32))
    parameters = ratespec + bytes(len(ratespec)) + struct.pack("=III", shaper.limit_bytes, 0, 0)
    found = attribute(_TBF_PARMS, parameters) + attribute(_TBF_BURST, struct.pack("=I", shaper.burst_bytes))
    return found + attribute(_TBF_RATE64, struct.pack("=Q", rate)) if rate > _U32 else found


def delay(delay_ns: int) -> bytes:
    """The options of netem that hold every frame back for so long, and lose none for want of room."""
    ticks = min(delay_ns // _TICK_NS, _U32)
    return struct.pack("=IIIIII", ticks, _MOST_HELD, 0, 0, 0, 0) + attribute(
        _NETEM_LATENCY64, struct.pack("=q", delay_ns)
    )


def attribute(kind: int, value: bytes) -> bytes:
    """A netlink attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
