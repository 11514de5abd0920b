"""A plan as configuration: what is printed says what the plan says, in the words of each kind of router."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from segcast.analyzer.scenario.reading import read_scenario
from segcast.replay.testbed.formats.registry import BedPlan, configuration, formats, label_of, planned
from segcast.traces.errors import InputError
from tests.conftest import Run
from tests.support.beds import SCENARIOS, scenario_of

SMALL = """[network]
kind = "leaf-spine"
leaves = 2
spines = 1
links = { rate = "100Mbps", buffer = "64KiB", burst = "8kB" }
[srv6]
mode = "MODE"
"""


def small(folder: Path, mode: str = "encaps", more: str = "") -> BedPlan:
    file = folder / "s.toml"
    file.write_text(SMALL.replace("MODE", mode) + more)
    return planned(read_scenario(file), "sgtb")


def test_there_are_four_formats() -> None:
    assert list(formats()) == ["frr", "ip", "sonic", "vpp"]
    assert all(len(entry.summary) > 10 for entry in formats().values())


@pytest.mark.parametrize("kind", SCENARIOS)
def test_the_lines_of_ip_are_the_plan(kind: str, tmp_path: Path) -> None:
    """Read back, by their words alone, they are the plan's wires, addresses, routes, SIDs and buckets."""
    plan = planned(scenario_of(kind, tmp_path), "sgtb")
    lines = configuration(plan, "ip").lines
    wires = [
        tuple(re.findall(r"name (\S+)", line) + re.findall(r"netns (\S+)", line))
        for line in lines
        if line.startswith("ip link add")
    ]
    assert wires == [(a[1], b[1], a[0], b[0]) for a, b in plan.bed.wires]
    for space in plan.bed.spaces:
        own = [line.replace(f" -n {space.namespace}", "") for line in lines if f" -n {space.namespace} " in line]
        assert own == [
            line for line in configuration(plan, "ip", label_of(plan.bed, space)).lines if line.startswith(("ip", "tc"))
        ]
        found = {}
        for line in own:
            if (words := line.split())[:3] in (["ip", "route", "add"], ["ip", "-6", "route"]):
                prefix = words[words.index("add") + 1]
                steps = dict(itertools.pairwise(words))
                ways = tuple(re.findall(r"via (\S+) dev (\S+)", line))
                action = steps.get("action")
                next_hop = steps.get("nh4") or steps.get("nh6")
                bits = (int(steps.get("lblen", 0)), int(steps.get("nflen", 0)))
                found[prefix] = (ways or (("", steps["dev"]),), action, next_hop, bits)
        assert found == {
            route.prefix: (
                tuple((gateway, name) for name, gateway in route.ways),
                route.sid and route.sid.action,
                route.sid and route.sid.next_hop,
                (route.sid.block_bits, route.sid.identifier_bits) if route.sid else (0, 0),
            )
            for route in space.routes
        }
        for interface in space.interfaces:
            assert f"ip address add {interface.ipv6}/64 dev {interface.name} nodad" in own
            shaper = interface.shaper
            bucket = shaper and f"rate {shaper.rate_bps}bit burst {shaper.burst_bytes}b limit {shaper.limit_bytes}b"
            shaped = [line for line in own if line.startswith(f"tc qdisc add dev {interface.name} ")]
            assert len(shaped) == (shaper is not None)
            assert not shaper or f"{bucket} overhead {shaper.overhead_bytes} " in shaped[0]


def test_frr_by_hand(tmp_path: Path) -> None:
    made = configuration(small(tmp_path, "usid"), "frr", "leaf0")
    text = "\n".join(made.lines)
    assert made.left_out == []
    assert (
        """interface e0
 description leaf0-spine0 to spine0
 ip address 198.18.0.1/30
 ipv6 address fd5e:9ca5::1/64
exit
"""
        in text
    )
    assert "\nipv6 route fd00:0:1001::/48 fd5e:9ca5::2 e0\n" in text
    assert "\nip route 198.19.0.2/32 198.18.0.2 e0\n" in text
    assert text.endswith(
        """segment-routing
 srv6
  locators
   locator main
    prefix fd00:0:1000::/48 block-len 32 node-len 16 func-bits 16
    behavior usid
   exit
   !
  exit
  !
  static-sids
   sid fd00:0:1000::/48 locator main behavior uN
   sid fd00:0:1000:e100::/64 locator main behavior uA interface e0 nexthop fd5e:9ca5::2
   sid fd00:0:1000:e0d4::/64 locator main behavior uDT4 vrf default
   sid fd00:0:1000:e0d6::/64 locator main behavior uDT6 vrf default
  exit
  !
 exit
 !
exit
!"""
    )


def test_what_a_format_has_no_words_for_is_said(tmp_path: Path) -> None:
    made = configuration(small(tmp_path, "reduced"), "frr", "spine0")
    assert "static-sids" not in "\n".join(made.lines)
    (said,) = made.left_out
    assert said.startswith("spine0: left out 1 End, 2 End.X: staticd has uSIDs only; the lines of --format ip --node")
    (said,) = configuration(small(tmp_path, "usid"), "sonic", "spine0").left_out
    assert said == "spine0: left out 2 uA: SONiC's static SIDs have the actions uN and uDT46 alone"
    (said,) = configuration(small(tmp_path, "usid"), "vpp", "spine0").left_out
    assert said == "spine0: left out 2 uA: VPP documents no command for it"
    with pytest.raises(InputError, match=r"srv6.mode encaps: SONiC's static SIDs are uSIDs"):
        configuration(small(tmp_path), "sonic")


def test_frr_takes_its_own_lengths_unsaid(tmp_path: Path) -> None:
    """Node numbers of 24 bits are what FRR takes without being told: releases before 9 know no words for lengths."""
    more = 'block = "fcbb:bb00::/40"\nnode_bits = 24\nfunction_bits = 16\n'
    lines = configuration(small(tmp_path, "reduced", more), "frr", "leaf0").lines
    assert "    prefix fcbb:bb00:0:1000::/64 func-bits 16" in lines


def test_sonic_by_hand(tmp_path: Path) -> None:
    plan = small(tmp_path, "usid")
    made = json.loads("\n".join(configuration(plan, "sonic", "leaf0").lines))
    assert made["SRV6_MY_LOCATORS"] == {
        "main": {"prefix": "fd00:0:1000::", "block_len": "32", "node_len": "16", "func_len": "16", "arg_len": "0"}
    }
    unpack = {"action": "uDT46", "decap_vrf": "default", "decap_dscp_mode": "pipe"}
    assert made["SRV6_MY_SIDS"] == {
        "main|fd00:0:1000::/48": {"action": "uN"},
        "main|fd00:0:1000:e0d4::/64": unpack,
        "main|fd00:0:1000:e0d6::/64": unpack,
    }
    assert made["STATIC_ROUTE"]["default|fd00:0:1001::/48"] == {"nexthop": "fd5e:9ca5::2", "ifname": "Ethernet0"}
    assert "Ethernet0|198.18.0.1/30" in made["INTERFACE"]
    assert made["PORT"]["Ethernet0"] == {"description": "leaf0-spine0 to spine0"}
    whole = json.loads("\n".join(configuration(plan, "sonic").lines))
    assert whole["leaf0"] == made
    assert list(whole) == ["leaf0", "spine0", "leaf1"]


def test_vpp_by_hand(tmp_path: Path) -> None:
    lines = configuration(small(tmp_path, more='flavors = ["psp"]\n'), "vpp", "leaf0").lines
    assert [line for line in lines if line.startswith("sr ")] == [
        "sr localsid address fd00:0:1000::1 behavior end psp",
        "sr localsid address fd00:0:1000::e100 behavior end.x e0 fd5e:9ca5::2 psp",
        "sr localsid address fd00:0:1000::d4 behavior end.dx4 e1 198.19.0.1",
        "sr localsid address fd00:0:1000::d6 behavior end.dx6 e1 fd5e:9ca5:ffff:ffff::1",
    ]
    assert "ip route add fd00:0:1001::/48 via fd5e:9ca5::2 e0" in lines
    host = configuration(small(tmp_path), "vpp", "host-leaf0").lines
    assert [line for line in host if line.startswith("sr ")] == [
        "sr policy add bsid fd5e:9ca5:ffff:fffe::6 next fd00:0:1001::1 next fd00:0:1002::d6 encap",
        "sr policy add bsid fd5e:9ca5:ffff:fffe::4 next fd00:0:1001::1 next fd00:0:1002::d4 encap",
    ]
    compressed = configuration(small(tmp_path, "usid"), "vpp", "spine0").lines
    assert "sr localsid prefix fd00:0:1001::/48 behavior un 16" in compressed


def test_names_cannot_break_out_of_their_line(tmp_path: Path) -> None:
    name = "a}\u2028reboot #"
    link = f'{{ ends = [{json.dumps(name)}, "b"], name = {json.dumps(name)}, rate = "1Gbps" }}'
    file = tmp_path / "s.toml"
    file.write_text(
        f'[network]\nkind = "graph"\nlinks = [{link}]\n[[attachments]]\nname = {json.dumps(name)}\n'
        '[[attachments]]\nname = "b"\n[srv6]\nmode = "usid"\n'
    )
    plan = planned(read_scenario(file), "sgtb")
    for form in formats():
        made = configuration(plan, form)
        assert not any("\n" in line or line.startswith("reboot") for line in [*made.lines, *made.left_out])
        if form == "vpp":
            assert all(line.count("}") == line.startswith("comment") for line in made.lines)


def test_the_command_prints_and_refuses(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(SMALL.replace("MODE", "reduced"))
    ran = run("testbed", "plan", file, "--format", "frr", "--node", "leaf0")
    assert (ran.code, ran.err.count("\n")) == (0, 1)
    assert ran.out.startswith("frr defaults traditional\nhostname leaf0\n")
    assert ran.err.startswith("leaf0: left out 1 End")
    document = json.loads(run("testbed", "plan", file, "--format", "ip", "--name", "lab", "--json").out)
    assert document["text"].startswith("ip netns add lab-leaf0\n")
    assert (document["format"], document["node"], document["left_out"]) == ("ip", None, [])
    assert document["sids"] == json.loads(run("testbed", "plan", file, "--json").out)["sids"]
    for flags, words in (
        (("--format", "xr"), "unknown format 'xr'; known: frr, ip, sonic, vpp"),
        (("--format", "frr", "--node", "leaf7"), "--node 'leaf7': with --format frr there are leaf0, spine0, leaf1"),
        (("--node", "leaf0"), "--node: is of a configuration; give --format, too"),
    ):
        ran = run("testbed", "plan", file, *flags)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert words in ran.err
