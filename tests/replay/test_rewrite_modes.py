"""SRv6 modes from the scenario to the wire: what they cost, which lists they make, and what cannot work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.network.sids import srv6_bytes
from segcast.analyzer.network.srv6_modes import Mode, mode_names
from segcast.analyzer.scenario.reading import read_scenario, validated
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.toml_keys import written
from segcast.replay.rewrite.of_forecast import arrival, encapsulation
from segcast.replay.srv6.templates import templates
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace
from tests.conftest import Run
from tests.support.networks import both_ways
from tests.twins.srv6 import check_packet, parse_frame, read_pcap

TRANSIT = "fcbb:bb00:1000::"
SIDES = {
    side: {"decapsulate_ipv4": f"fcbb:bb00:{n}:e0d4::", "decapsulate_ipv6": f"fcbb:bb00:{n}:e0d6::"}
    for side, n in (("left", 10), ("right", 20))
}


def scenario(transit: int, **srv6: Any) -> ValidScenario:
    """One path of so many transit SIDs, which are uSIDs."""
    segments = [f"fcbb:bb00:{0x1000 + n:x}::" for n in range(transit)]
    path = {"segments": segments, "links": [{"name": "a", "rate": "1Gbps"}]}
    data = {"network": {"paths": [path], **SIDES}, "srv6": {"block": "fcbb:bb00::/32", **srv6}}
    return validated({**data, "policies": ["inflight"], "timeouts": ["100us"]}, written)


@pytest.mark.parametrize("mode", [Mode(name) for name in mode_names()])
@pytest.mark.parametrize("transit", [0, 1, 4, 5, 12])
@pytest.mark.parametrize("more", [{}, {"tag": 5}, {"hmac": {"key_id": 1, "key_file": "key"}}])
def test_the_forecast_counts_what_is_written(tmp_path: Path, mode: Mode, transit: int, more: dict[str, Any]) -> None:
    (tmp_path / "key").write_text("secret\n")
    if "hmac" in more:
        more = {"hmac": {"key_id": 1, "key_file": str(tmp_path / "key")}}
    made = scenario(transit, mode=mode, **more)
    around = encapsulation(made, both_ways(made), 2, steered=True)
    laid = templates(around)
    inside = 14 if around.mode.layer_2 else 0
    for path, facts in enumerate(both_ways(made).network.paths):
        assert facts.srv6_bytes == laid.header_bytes[1, path] + inside
        if not around.mode.inserts:
            assert facts.srv6_bytes == laid.header_bytes[0, path] + inside


@pytest.mark.parametrize(
    ("mode", "plain", "signed"),
    [
        ("encaps", [64, 80, 96], [104, 120, 136]),
        ("reduced", [40, 64, 80], [104, 104, 120]),
        ("usid", [40, 64, 80], [104, 104, 120]),
        ("insert", [0, 40, 56], [0, 80, 96]),
        ("insert-reduced", [0, 24, 40], [0, 64, 80]),
        ("l2", [78, 94, 110], [118, 134, 150]),
        ("l2-reduced", [54, 78, 94], [118, 118, 134]),
    ],
)
def test_bytes_of_each_mode(mode: str, plain: list[int], signed: list[int]) -> None:
    assert [srv6_bytes(n, Mode(mode)) for n in (1, 2, 3)] == plain
    assert [srv6_bytes(n, Mode(mode), signed=True) for n in (1, 2, 3)] == signed


@pytest.mark.parametrize(
    ("change", "srv6", "message"),
    [
        (TRANSIT, {}, "network.right: fcbb:bb00:1000:: of right is an End SID, .* unless its flavour is USD"),
        (TRANSIT, {"flavors": ["psp", "usp"]}, "is an End SID, which unpacks nothing"),
        (f"{TRANSIT}1", {"flavors": ["usd"], "mode": "l2"}, "is an End SID, which unpacks no Ethernet"),
        (TRANSIT, {"flavors": ["usd"]}, None),
        (TRANSIT, {"mode": "insert"}, None),
    ],
)
def test_what_a_list_may_end_at(change: str, srv6: dict[str, Any], message: str | None) -> None:
    # The nodes of parallel paths are left and right; left has the first locator.
    side = {"decapsulate_ipv4": change, "decapsulate_ipv6": change, "decapsulate_l2": change}
    made = scenario(1, mode=srv6.pop("mode", "usid"), **srv6)
    data = made.model_dump(mode="json", exclude_none=True)
    data["network"]["right"] = side
    changed = validated(data, written)
    if message is None:
        both_ways(changed)
        return
    with pytest.raises(InputError, match=message):
        both_ways(changed)


@pytest.mark.parametrize(
    ("mode", "transit", "needed"), [("encaps", 3, 4), ("usid", 5, 2), ("insert", 3, 4), ("l2-reduced", 1, 2)]
)
def test_the_depth_of_lists_is_bounded(mode: str, transit: int, needed: int) -> None:
    both_ways(scenario(transit, mode=mode, max_sids=needed))
    with pytest.raises(InputError, match=f"needs {needed} .*, but srv6.max_sids is {needed - 1}"):
        both_ways(scenario(transit, mode=mode, max_sids=needed - 1))


def test_a_rewrite_says_the_mode_that_the_scenario_names(run: Run, cluster: Trace, tmp_path: Path) -> None:
    forecast(cluster, scenario(1, mode="usid"), tmp_path / "f")
    ran = run("rewrite", tmp_path / "f", "--policy", "inflight", "--out", tmp_path / "o", "--seed", "1")
    assert "captures (usid) from" in ran.out
    assert json.loads((tmp_path / "o" / "rewrite.json").read_text())["mode"] == "usid"


def test_words_for_the_last_node() -> None:
    assert arrival(Mode("none"), ("psp",)) == "nothing"
    assert arrival(Mode("encaps"), ()) == "an IPv6 header and an SRH, if one was written; the last SID takes them off"
    assert "psp has taken off" in arrival(Mode("l2"), ("psp",))
    assert arrival(Mode("insert"), ("psp",)).startswith("nothing")
    assert "receiving host has to accept" in arrival(Mode("insert-reduced"), ("usd",))


def test_a_signed_scenario_from_its_file_to_the_wire(run: Run, cluster: Trace, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "one").write_bytes(b"secret\n")
    made = short_scenario(paths="2x300Mbps", seeds=[1], policies=["inflight"], srv6={"mode": "insert", "tag": 9})
    text = made.to_toml() + '\n[srv6.hmac]\nkey_id = 42\nkey_file = "keys/one"\n'
    (tmp_path / "s.toml").write_text(text)
    read = read_scenario(tmp_path / "s.toml")
    assert read.srv6.hmac is not None and read.srv6.hmac.key_file == str(tmp_path / "keys" / "one")
    forecast(cluster, read, tmp_path / "f")
    ran = run("rewrite", tmp_path / "f", "--policy", "inflight", "--out", tmp_path / "o", "--json")
    assert ran.code == 0, ran.err
    summary = json.loads(ran.out)
    four = int((cluster.flows.filter(cluster.flows["ip_version"] == 4))["packets"].sum())
    assert summary["skipped"] == {"ipv4_without_insertion": four}
    assert summary["packets"] == 38_976 - four
    seen = 0
    for file in summary["files"]:
        for record in read_pcap(Path(file["path"])):
            frame = parse_frame(record.frame, "insert", tag=9, key=(42, b"secret", False))
            assert frame.outer is not None and len(frame.outer.segments) == 2
            assert check_packet(frame.inner).checksum == "good"
            seen += 1
    assert seen == summary["packets"]
    (tmp_path / "keys" / "one").unlink()
    ran = run("rewrite", tmp_path / "f", "--policy", "inflight", "--out", tmp_path / "p")
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert "cannot read the HMAC key" in ran.err
