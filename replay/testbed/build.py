"""Makes a planned testbed stand, over netlink: namespaces, wires, addresses, shapers, routes and SIDs."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from segcast.replay.inject.machines import ROUTE_PROTOCOL
from segcast.replay.testbed.netlink import Requests
from segcast.replay.testbed.plan import Bed, Space, settings_of
from segcast.replay.testbed.spaces import FOLDER, create, no_offloads, settle, within
from segcast.traces.errors import InputError

_CLONE_NEWNET: Final = 0x40000000
_LOOPBACK: Final = 1  # its index, in every namespace
_NO_DAD: Final = 0x02
_PERMANENT: Final = 0x80
_NO_ADDRESSES: Final = 1  # IN6_ADDR_GEN_MODE_NONE


def require() -> None:
    """Raise InputError, with the reason, if no testbed can be built here."""
    if os.geteuid() != 0:
        raise InputError("segcast testbed: makes network namespaces, which takes root; run it with sudo")
    _library()
    if not Path("/proc/sys/net/ipv6/conf/all/seg6_enabled").exists():
        raise InputError(
            "segcast testbed: this kernel has no SRv6 (no seg6_enabled in /proc/sys/net/ipv6): boot one with "
            "CONFIG_IPV6_SEG6_LWTUNNEL, and IPv6 switched on"
        )


def has_delays() -> bool:
    """Whether this kernel can hold packets back (netem): tried at the loopback of a namespace of its own."""
    outcome = []

    def attempt() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) == 0:
            with contextlib.suppress(OSError), Requests() as requests:
                requests.add_delay(_LOOPBACK, 1_000_000)
                outcome.append(True)

    thread = threading.Thread(target=attempt, name="looking for netem")
    thread.start()
    thread.join()
    return bool(outcome)


def _library() -> Any:
    try:
        import pyroute2
    except ImportError:
        raise InputError("the testbed needs pyroute2: pip install 'pyroute2>=0.9.1'") from None
    return pyroute2


def build(bed: Bed, progress: Callable[[int, int], None]) -> None:
    """Make it all; nothing of it may stand yet. Raises InputError naming what the kernel refuses."""
    netlink = _library()
    steps = 2 * len(bed.spaces) + len(bed.wires)
    done = 0
    for space in bed.spaces:
        with _refusals(f"namespace {space.namespace}"):
            create(space.namespace)
            within(space.namespace, partial(settle, settings_of(space)))
        progress(done := done + 1, steps)
    handles = {space.namespace: os.open(FOLDER / space.namespace, os.O_RDONLY) for space in bed.spaces}
    try:
        with netlink.IPRoute() as here:
            for wire in bed.wires:
                with _refusals(f"wire {wire.a} to {wire.b}"):
                    # Both ends are made where they belong, so that a crash leaves none in this namespace.
                    peer = {"ifname": wire.b[1], "net_ns_fd": handles[wire.b[0]]}
                    mine = {"ifname": wire.a[1], "net_ns_fd": handles[wire.a[0]]}
                    here.link("add", kind="veth", peer=peer, **mine)
                progress(done := done + 1, steps)
    finally:
        for handle in handles.values():
            os.close(handle)
    for space in bed.spaces:
        within(space.namespace, partial(_furnish, space, bed.mtu))
        progress(done := done + 1, steps)


def _furnish(space: Space, mtu: int) -> None:
    """From within the namespace: interfaces, addresses, neighbours, routes, SIDs, shapers."""
    # A socket of this thread, which is there already: the library's own way forks, and handlers of signals run twice.
    with _library().IPRoute() as there:
        places = _interfaces(there, space, mtu)
        for route in space.routes:
            if route.sid is None:
                ways = [{"gateway": gateway, "oif": places[name]} for name, gateway in route.ways]
                with _refusals(f"{space.namespace}: route to {route.prefix}"):
                    there.route(
                        "add",
                        dst=route.prefix,
                        proto=ROUTE_PROTOCOL,
                        **(ways[0] if len(ways) == 1 else {"multipath": ways}),
                    )
    with Requests() as requests:
        for route in space.routes:
            if route.sid is not None:
                with _refusals(f"{space.namespace}: {route.sid.action} for {route.prefix}"):
                    requests.add_sid(route.prefix, places[route.ways[0][0]], route.sid)
        for interface in space.interfaces:
            if interface.shaper is not None:
                with _refusals(f"{space.namespace}: token bucket of {interface.shaper.link}"):
                    requests.add_shaper(places[interface.name], interface.shaper)
    no_offloads(list(places))


def _interfaces(there: Any, space: Space, mtu: int) -> dict[str, int]:
    """Bring the interfaces up with their addresses and neighbours; returns their indices."""
    there.link("set", index=1, state="up")
    places: dict[str, int] = {}
    quiet = {"attrs": [["AF_INET6", {"attrs": [["IFLA_INET6_ADDR_GEN_MODE", _NO_ADDRESSES]]}]]}
    for interface in space.interfaces:
        with _refusals(f"{space.namespace}: interface {interface.name}"):
            places[interface.name] = index = there.link_lookup(ifname=interface.name)[0]
            there.link("set", index=index, address=interface.mac, mtu=mtu)
            there.link("set", index=index, af_spec=quiet)
            there.link("set", index=index, state="up")
            there.addr("add", index=index, address=interface.ipv4, prefixlen=30)
            there.addr("add", index=index, address=interface.ipv6, prefixlen=64, flags=_NO_DAD)
            for peer in (interface.peer_ipv4, interface.peer_ipv6):
                there.neigh("replace", dst=peer, lladdr=interface.peer_mac, ifindex=index, state=_PERMANENT)
            for address in space.addresses:
                own = {"prefixlen": 128, "flags": _NO_DAD} if ":" in address else {"prefixlen": 32}
                there.addr("add", index=index, address=address, **own)
    return places


@contextlib.contextmanager
def _refusals(what: str) -> Iterator[None]:
    """What the kernel refuses, as an InputError."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        yield
    except (NetlinkError, OSError) as error:
        code = error.code if isinstance(error, NetlinkError) else error.errno
        hint = ""
        if code in (errno.EOPNOTSUPP, errno.ENOENT):
            hint = "; it may lack CONFIG_VETH, CONFIG_IPV6_SEG6_LWTUNNEL or CONFIG_NET_SCH_TBF"
        elif code in (errno.EPERM, errno.EACCES):
            hint = "; making namespaces takes root with CAP_SYS_ADMIN"
        raise InputError(f"{what}: the kernel refuses it: {os.strerror(code or errno.EIO)}{hint}") from None
