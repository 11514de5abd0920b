"""ip: the commands of iproute2, line by line what `segcast testbed up` builds over netlink."""

from __future__ import annotations

from collections.abc import Iterator

from segcast.replay.inject.machines import ROUTE_PROTOCOL
from segcast.replay.testbed.formats.registry import BedPlan, Format, Rendering, label_of, register
from segcast.replay.testbed.plan import Interface, Route, Shaper, Space, settings_of


def whole(plan: BedPlan) -> Rendering:
    """Namespaces with their settings, the wires between them, and then what is in each."""
    lines: list[str] = []
    for space in plan.bed.spaces:
        lines.append(f"ip netns add {space.namespace}")
        lines.append(f"ip netns exec {space.namespace} {_settings(space)}")
    for a, b in plan.bed.wires:
        lines.append(f"ip link add name {a[1]} netns {a[0]} type veth peer name {b[1]} netns {b[0]}")
    for space in plan.bed.spaces:
        lines += ["", f"# ---- {label_of(plan.bed, space)} ----", *_inside(plan, space, f" -n {space.namespace}")]
    return Rendering(lines, [])


def node(plan: BedPlan, space: Space) -> Rendering:
    """What is typed at the node itself, whose interfaces are there already."""
    return Rendering([_settings(space), *_inside(plan, space, "")], [])


def _settings(space: Space) -> str:
    return "sysctl -qw " + " ".join(f"net.{key.replace('/', '.')}={value}" for key, value in settings_of(space).items())


def _inside(plan: BedPlan, space: Space, where: str) -> Iterator[str]:
    yield f"ip{where} link set dev lo up"
    for interface in space.interfaces:
        yield f"# {interface.name}: {plan.behind(space, interface)}"
        yield from _interface(plan, space, interface, where)
    for route in space.routes:
        if route.sid is None:
            yield f"ip{where} route add {route.prefix} proto {ROUTE_PROTOCOL} {_ways(route)}"
    for route in space.routes:
        if route.sid is not None:
            yield f"ip{where} -6 route add {route.prefix} proto static {_sid(route)} dev {route.ways[0][0]}"
    for interface in space.interfaces:
        if interface.shaper is not None:
            yield f"tc{where} qdisc add dev {interface.name} root handle 1: {_bucket(interface.shaper)}"
    entered = f"ip netns exec {space.namespace} " if where else ""
    for interface in space.interfaces:
        yield f"{entered}ethtool -K {interface.name} tx off tso off gso off gro off"


def _interface(plan: BedPlan, space: Space, interface: Interface, where: str) -> Iterator[str]:
    name = interface.name
    yield f"ip{where} link set dev {name} address {interface.mac} mtu {plan.bed.mtu} addrgenmode none"
    yield f"ip{where} link set dev {name} up"
    yield f"ip{where} address add {interface.ipv4}/30 dev {name}"
    yield f"ip{where} address add {interface.ipv6}/64 dev {name} nodad"
    for peer in (interface.peer_ipv4, interface.peer_ipv6):
        yield f"ip{where} neighbor replace {peer} lladdr {interface.peer_mac} dev {name} nud permanent"
    for address in space.addresses:
        yield f"ip{where} address add {address}{'/128' if ':' in address else '/32'} dev {name}" + (
            " nodad" if ":" in address else ""
        )


def _ways(route: Route) -> str:
    ways = [f"via {gateway} dev {name}" for name, gateway in route.ways]
    return ways[0] if len(ways) == 1 else " ".join(f"nexthop {way}" for way in ways)


def _sid(route: Route) -> str:
    assert route.sid is not None
    sid = route.sid
    words = f"encap seg6local action {sid.action}"
    if sid.next_hop is not None:
        words += f" {'nh6' if ':' in sid.next_hop else 'nh4'} {sid.next_hop}"
    if sid.identifier_bits:
        words += f" flavors next-csid lblen {sid.block_bits} nflen {sid.identifier_bits}"
    return words


def _bucket(shaper: Shaper) -> str:
    rate, burst, limit = shaper.rate_bps // 8 * 8, shaper.burst_bytes, shaper.limit_bytes
    return f"tbf rate {rate}bit burst {burst}b limit {limit}b overhead {shaper.overhead_bytes} linklayer ethernet"


register(
    Format(
        name="ip",
        summary="commands of iproute2, which build what `segcast testbed up` builds",
        node=node,
        whole=whole,
        hosts=True,
    )
)
