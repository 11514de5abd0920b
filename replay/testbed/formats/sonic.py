"""sonic: tables of SONiC's config_db: addresses, static routes, locators and SIDs.

By the design document "Static Configuration of SRv6 in SONiC": SRV6_MY_LOCATORS, SRV6_MY_SIDS, and the actions uN and
uDT46, which unpacks whatever a uDT4 or a uDT6 unpacks.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from segcast.replay.testbed.formats.registry import BedPlan, Format, Rendering, label_of, not_said, register
from segcast.replay.testbed.plan import Space
from segcast.traces.errors import InputError

_ACTIONS = {"uN": "uN", "uDT4": "uDT46", "uDT6": "uDT46", "uDT46": "uDT46"}
_NONE = "SONiC's static SIDs have the actions uN and uDT46 alone"
_LANES = 4  # ports are commonly called Ethernet0, Ethernet4, ...


def node(plan: BedPlan, space: Space) -> Rendering:
    """A config_db of the tables that concern SRv6, as `sonic-cfggen -j FILE --write-to-db` takes it."""
    tables, left_out = _tables(plan, space)
    return Rendering(json.dumps(tables, indent=4).splitlines(), left_out)


def whole(plan: BedPlan) -> Rendering:
    """The same of all nodes, in one object by their names."""
    made = {label_of(plan.bed, space): _tables(plan, space) for space in plan.bed.spaces if not space.host}
    lines = json.dumps({label: tables for label, (tables, _) in made.items()}, indent=4).splitlines()
    return Rendering(lines, [line for _, left_out in made.values() for line in left_out])


def _tables(plan: BedPlan, space: Space) -> tuple[dict[str, Any], list[str]]:
    layout = plan.layout
    if not layout.mode.compressed:
        raise InputError(
            f'srv6.mode {layout.mode}: SONiC\'s static SIDs are uSIDs: print a scenario whose srv6.mode is "usid"'
        )
    ports = {interface.name: f"Ethernet{_LANES * number}" for number, interface in enumerate(space.interfaces)}
    addresses: dict[str, dict[str, str]] = {}
    for interface in space.interfaces:
        port = ports[interface.name]
        addresses |= {port: {}, f"{port}|{interface.ipv4}/30": {}, f"{port}|{interface.ipv6}/64": {}}
    tables: dict[str, Any] = {
        "PORT": {ports[i.name]: {"description": plan.behind(space, i)} for i in space.interfaces},
        "INTERFACE": addresses,
        "STATIC_ROUTE": {
            f"default|{route.prefix}": {
                "nexthop": ",".join(gateway for _, gateway in route.ways),
                "ifname": ",".join(ports[name] for name, _ in route.ways),
            }
            for route in plan.plain_routes(space)
        },
    }
    rows = plan.sids_of(space)
    said = [row for row in rows if row.behavior in _ACTIONS]
    locator = next((entry.prefix for entry in plan.sids.locators if entry.node == space.place), None)
    if locator is not None:
        tables["SRV6_MY_LOCATORS"] = {
            "main": {
                "prefix": str(ipaddress.IPv6Network(locator).network_address),
                "block_len": str(layout.block_bits),
                "node_len": str(layout.node_bits),
                "func_len": str(layout.node_bits),
                "arg_len": "0",
            }
        }
        tables["SRV6_MY_SIDS"] = {f"main|{layout.matched(row.sid)[0]}": _sid(row.behavior) for row in said}
    return tables, not_said(space, [row for row in rows if row not in said or locator is None], _NONE)


def _sid(behavior: str) -> dict[str, str]:
    action = _ACTIONS[behavior]
    return (
        {"action": action} if action == "uN" else {"action": action, "decap_vrf": "default", "decap_dscp_mode": "pipe"}
    )


register(Format(name="sonic", summary="tables of SONiC's config_db (JSON), for uSIDs", node=node, whole=whole))
