"""What is around a steering host: whether its kernel, interface, routes and other programs leave room for it.

Everything is asked of the namespace that the calling thread is in, and nothing is changed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from segcast.replay.steer import clsact
from segcast.replay.steer.bpf import TCX_EGRESS, TCX_INGRESS, attached, program_name
from segcast.replay.steer.netlink import ask, attribute, attributes
from segcast.traces.errors import InputError

OWN_NAMES: Final = ("segcast_egress", "segcast_ingress")

_SIOCGIFMTU: Final = 0x8921
_SIOCGIFFLAGS: Final = 0x8913
_SIOCGIFHWADDR: Final = 0x8927
_ETHERNET: Final = 1
_UP: Final = 1
_WIDE_BITS: Final = 4
_IP_MTU, _IPV6_MTU = 14, 24
_DISCARD: Final = 9
_NEW_ROUTE, _GET_ROUTE = 24, 26
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_ROUTE_BYTES: Final = 12  # struct rtmsg


class Hook(NamedTuple):
    """A program at an interface: its id, its name, whether it is Segcast's, and how it is attached: tcx or clsact."""

    where: str
    program_id: int
    name: str
    own: bool
    by: str


def interface_number(interface: str) -> int:
    """The index of an interface. Raises InputError if there is none."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        names = ", ".join(name for _, name in socket.if_nameindex())
        raise InputError(f"--iface {interface}: there is no such interface here; there are {names}") from None


def mtu_of(interface: str) -> int:
    """The MTU of an interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, _SIOCGIFMTU, struct.pack("16si12x", interface.encode(), 0))
    return int(struct.unpack_from("i", answer, 16)[0])


def is_ethernet(interface: str) -> bool:
    """Whether frames of an interface begin with an Ethernet header."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, _SIOCGIFHWADDR, struct.pack("16s24x", interface.encode()))
    return bool(struct.unpack_from("H", answer, 16)[0] == _ETHERNET)


def is_up(interface: str) -> bool:
    """Whether an interface is up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sh14x", interface.encode(), 0))
    return bool(struct.unpack_from("h", answer, 16)[0] & _UP)


class Hop(NamedTuple):
    """Where packets to an address go next: by which interface, by its index, and to which address there."""

    interface: int
    address: str


def next_hop(address: str) -> Hop | None:
    """The next hop of packets to an address, as the kernel routes them now; None if it does not."""
    target = ipaddress.ip_address(address)
    family = socket.AF_INET if target.version == 4 else socket.AF_INET6
    body = struct.pack("=BBBBBBBBI", family, target.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    try:
        answers = ask(_GET_ROUTE, body + attribute(_RTA_DST, target.packed))
    except OSError:
        return None
    interface, gateway = 0, target
    for kind, answer in answers:
        if kind != _NEW_ROUTE:
            continue
        for which, value in attributes(answer[_ROUTE_BYTES:]):
            if which == _RTA_OIF:
                (interface,) = struct.unpack("=i", value)
            elif which == _RTA_GATEWAY:
                gateway = ipaddress.ip_address(value)
    return Hop(interface, str(gateway))


def route_mtu(interface: str, prefix: str) -> int | None:
    """The MTU of the route to a prefix; None if that does not leave by the interface."""
    address = _first_of(prefix)
    hop = next_hop(address)
    if hop is None or hop.interface != interface_number(interface):
        return None
    four = ":" not in address
    level, option = (socket.IPPROTO_IP, _IP_MTU) if four else (socket.IPPROTO_IPV6, _IPV6_MTU)
    with socket.socket(socket.AF_INET if four else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, _DISCARD))
            return probe.getsockopt(level, option)
        except OSError:
            return None


def _first_of(prefix: str) -> str:
    network = ipaddress.ip_network(prefix)
    return str(network.network_address + (network.num_addresses > 1))


def ways_out(carriers: Iterable[tuple[str, str]]) -> dict[str, int]:
    """The interface by which headers leave, where that is not how their packets would.

    `carriers`: the first address of a header, and a prefix of its target. The next hop that was found for the packet
    is that of its own destination; another one, or another interface, has to be looked for once the header is there.
    """
    found: dict[str, int] = {}
    for carrier, prefix in carriers:
        inside, outside = next_hop(_first_of(prefix)), next_hop(carrier)
        if outside is None or inside is None:
            continue
        # Of IPv4 packets the next hop has an address of the other family: one interface, one neighbour.
        if outside.interface != inside.interface or (":" in prefix and outside.address != inside.address):
            found[carrier] = outside.interface
    return found


def addresses_of(interface: str | None = None) -> list[str]:
    """The addresses of this machine (or namespace) that routers forward; of all interfaces or of one."""
    found: list[str] = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/thread-self/net/if_inet6").read_text().splitlines():
            text, _, _, scope, _, name = line.split()
            if scope == "00" and interface in (None, name):
                found.append(str(ipaddress.IPv6Address(bytes.fromhex(text))))
    with contextlib.suppress(OSError):
        # Local addresses stand as leaves of the table of routes: "/32 host LOCAL" below the line with the address.
        last = ""
        for line in Path("/proc/thread-self/net/fib_trie").read_text().splitlines():
            words = line.split()
            if words[:1] == ["|--"]:
                last = words[1]
            elif words[:3] == ["/32", "host", "LOCAL"] and last not in found:
                found.append(last)
    return [address for address in found if not ipaddress.ip_address(address).is_loopback]


def carries_default(interface: str) -> bool:
    """Whether a default route of IPv4 or IPv6 leaves by an interface, or one nearly as wide."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/thread-self/net/route").read_text().splitlines()[1:]:
            words = line.split()
            if words[0] == interface and int(words[7], 16).bit_count() <= _WIDE_BITS:
                return True
    with contextlib.suppress(OSError):
        for line in Path("/proc/thread-self/net/ipv6_route").read_text().splitlines():
            words = line.split()
            # A reject route of the loopback interface stands there as well where there is no default.
            if words[-1] == interface and int(words[1], 16) <= _WIDE_BITS and interface != "lo":
                return True
    return False


def hooks(interface: str) -> list[Hook]:
    """The programs that are attached to an interface, by tcx where the kernel has it, then by clsact.

    Raises OSError where the kernel does not say.
    """
    number = interface_number(interface)
    found = []
    for where, hook in (("egress", TCX_EGRESS), ("ingress", TCX_INGRESS)):
        try:
            programs = attached(number, hook)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            programs = []
        for program_id, _ in programs:
            name = program_name(program_id)
            found.append(Hook(where, program_id, name, name in OWN_NAMES, "tcx"))
    for each in clsact.filters(number):
        name = program_name(each.program_id) if each.program_id else each.kind
        found.append(Hook(each.where, each.program_id, name, name in OWN_NAMES, "clsact"))
    return found


def own_filters(interface: int) -> set[int]:
    """Segcast's programs that are attached by clsact to an interface, by its index."""
    return {
        each.program_id
        for each in clsact.filters(interface)
        if each.program_id and program_name(each.program_id) in OWN_NAMES
    }


def refusals(
    interface: str,
    targets: Sequence[tuple[str, str]],
    header_bytes: int,
    *,
    allow_default_route: bool = False,
) -> list[str]:
    """Why nothing may be attached to an interface, in words; none if something may.

    `targets`: prefixes and the names of what is there. Every packet to them grows by up to `header_bytes`.
    """
    found: list[str] = []
    number = interface_number(interface)
    if interface == "lo":
        return ["lo: packets of this machine to itself have no paths; give the interface that leads to the network"]
    if not is_ethernet(interface):
        found.append(f"{interface}: its frames are not Ethernet's")
    if not is_up(interface):
        found.append(f"{interface}: is down")
    if carries_default(interface) and not allow_default_route:
        found.append(f"{interface}: a default route leaves by it, so it may be what you are connected by; --i-mean-it")
    try:
        there = hooks(interface)
    except OSError as error:
        there = []
        found.append(why_no_bpf(error))
    if own := [hook for hook in there if hook.own]:
        found.append(
            f"{interface}: is steered already (program {own[0].program_id}, by {own[0].by}); one at a time: end that "
            f"process, or segcast steer detach --iface {interface}"
        )
    found += [
        f"{interface}: has a program {hook.name!r} at {hook.where} (id {hook.program_id}) that is not "
        "Segcast's, and which of the two should be first is not known; take it off"
        for hook in there
        if not hook.own
    ]
    if clsact.has_qdisc(number) and not any(hook.by == "clsact" for hook in there):
        found.append(f"{interface}: has a clsact or ingress qdisc, which somebody means to use; take it off")
    room = mtu_of(interface)
    routes = [(prefix, name, route_mtu(interface, prefix)) for prefix, name in targets]
    if targets and all(mtu is None for _, _, mtu in routes):
        found.append(f"{interface}: no target is routed by it; {targets[0][0]} ({targets[0][1]}) is the first")
    for prefix, name, mtu in routes:
        if mtu is not None and mtu + header_bytes > room:
            found.append(
                f"{interface}: packets to {prefix} ({name}) may have {mtu} bytes, and with their header {header_bytes} "
                f"more, over its MTU of {room}; give the route an MTU of {room - header_bytes}: "
                f"ip route replace {prefix} ... mtu {room - header_bytes}"
            )
            break
    return found


def why_no_bpf(error: OSError) -> str:
    """In words, why the kernel refused maps or programs."""
    if error.errno == errno.EPERM:
        if os.geteuid() != 0:
            return "steering takes root (CAP_BPF and CAP_NET_ADMIN); run it with sudo"
        return "the kernel refuses BPF to this root: it lacks CAP_BPF or CAP_NET_ADMIN, as in a container, or is locked"
    if error.errno == errno.ENOSYS:
        return "this kernel has no bpf(2)"
    return f"this kernel ({os.uname().release}) refuses the program: {error.strerror}"


def why_no_tcx(error: OSError) -> str:
    """In words, why the kernel refused to attach by tcx."""
    if error.errno == errno.EINVAL:
        return f"this kernel ({os.uname().release}) has no tcx, which came with 6.6"
    return why_no_bpf(error)


def why_no_clsact(error: OSError) -> str:
    """In words, why the kernel refused to attach by clsact."""
    if error.errno == errno.EEXIST:
        return "somebody else has put a clsact or ingress qdisc there meanwhile; take it off"
    if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
        return f"this kernel ({os.uname().release}) has no clsact, or no filters of BPF"
    return why_no_bpf(error)
