"""How hosts of a standing testbed are made ready for real TCP: addresses, settings, and routes of held connections."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np

from segcast.replay.live.plan import LivePlan
from segcast.replay.testbed.build import require
from segcast.replay.testbed.netlink import Requests, Rule
from segcast.replay.testbed.plan import Space
from segcast.replay.testbed.spaces import settle, within
from segcast.traces.hashing import mix

_PRIORITY: Final = 1000
_FIRST_TABLE: Final = 1000
_LOOPBACK: Final = 1  # its index, in every namespace
_NO_DAD: Final = 0x02
_MOST_SEGMENTS: Final = 65535  # of a super-frame, the kernel's own limit
_HASH_SEED: Final = "ipv4/fib_multipath_hash_seed"  # of IPv6, too
_ONE_HASH: Final = {
    # Nodes hash what the sender's socket drew, not the five-tuple, where they are namespaces beside it; TCP would draw
    # anew at each timeout, and leave a dead path that it cannot leave where switches hash.
    "core/txrehash": "0",
}
_SETTINGS: Final = {
    # A connection must not begin with what the kernel remembers of those before it.
    "ipv4/tcp_no_metrics_save": "1",
}


def prepare(plan: LivePlan, hosts: Sequence[Space], *, super_frames: bool, settings: Mapping[str, str]) -> None:
    """Give hosts, in the order of attachments, what the connections of a plan need; routes of an earlier plan go.

    `super_frames`: whether TCP hands several segments down at once; `settings`: written below /proc/sys/net of each
    host, where they stay until the testbed goes. Raises OSError if the kernel refuses it.
    """
    require()
    for place, host in enumerate(hosts):
        ends = [
            (connection, side) for connection in plan.connections for side in (0, 1) if connection.places[side] == place
        ]
        addresses = {connection.ends[side][0] for connection, side in ends}
        rules = [
            Rule(connection.ends[side], connection.ends[1 - side], _FIRST_TABLE + connection.paths[side])
            for connection, side in ends
            if connection.paths[side] >= 0
        ]
        within(host.namespace, partial(settle, _SETTINGS | dict(settings)))
        with contextlib.suppress(FileNotFoundError):  # before Linux 5.18 there is none to set
            within(host.namespace, partial(settle, _ONE_HASH))
        within(host.namespace, partial(_furnish, plan, sorted(addresses), rules, super_frames))


def seed_hashes(nodes: Sequence[Space], seed: int) -> bool:
    """Have the network's nodes hash five-tuples with a seed; False where the kernel has none to set (before 6.11)."""
    value = int(mix(np.uint64(seed % (1 << 64)))) % 0xFFFFFFFF + 1  # 0 is one that the kernel draws

    def settled() -> bool:
        try:
            settle({_HASH_SEED: str(value)})
        except FileNotFoundError:
            return False
        return True

    done = [within(node.namespace, settled) for node in nodes]
    return all(done)


def _furnish(plan: LivePlan, addresses: Sequence[str], rules: Sequence[Rule], super_frames: bool) -> None:
    """From within the namespace of a host."""
    from pyroute2 import IPRoute

    with IPRoute() as there:
        interface = there.link_lookup(ifname="e0")[0]
        there.link("set", index=interface, gso_max_segs=_MOST_SEGMENTS if super_frames else 1)
        for address in addresses:
            own = {"prefixlen": 128, "flags": _NO_DAD} if ":" in address else {"prefixlen": 32}
            there.addr("replace", index=_LOOPBACK, address=address, **own)
    with Requests() as requests:
        requests.clear_rules(_PRIORITY)
        for table in sorted({rule.table for rule in rules}):
            found = plan.lists[table - _FIRST_TABLE]
            for ipv6, written in ((False, found.ipv4), (True, found.ipv6)):
                requests.add_segment_list(table, interface, written, ipv6=ipv6, reduced=plan.reduced)
        for rule in rules:
            requests.add_rule(rule, _PRIORITY)
