"""Every packet rewritten is read again by the twin decoder, which was written from the RFCs alone."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segcast.analyzer.network.srv6_modes import WRITTEN_MODES, Mode
from segcast.replay.srv6.templates import Key
from segcast.traces.errors import InputError
from tests.support.rewriting import (
    EPOCH_NS,
    PROTOCOLS,
    encapsulation,
    fragment,
    make,
    rewrite,
)
from tests.support.verifying import packets, verify

MODES: tuple[Mode, ...] = WRITTEN_MODES


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_packet_in_any_mode(data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(MODES))
    counts = data.draw(st.lists(st.integers(1, 10), min_size=1, max_size=3))
    around = encapsulation(
        mode,
        counts,
        hop_limit=data.draw(st.sampled_from((1, 64, 255, None))),
        tag=data.draw(st.sampled_from((0, 0, 1, 0xFFFF))),
        key=data.draw(st.sampled_from((None, None, Key(7, b"secret"), Key(0xFFFFFFFF, b"x" * 64, flag=True)))),
    )
    if around.mode.inserts and data.draw(st.booleans()):
        around = replace(around, segments4=((), *around.segments4[1:]), segments6=((), *around.segments6[1:]))
    flows = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=8))
    cases = [
        replace(
            data.draw(packets(flow)),
            path=data.draw(st.integers(0, len(counts) - 1)),
            send_ns=EPOCH_NS + number * data.draw(st.integers(0, 2 * 10**9)),
        )
        for number, flow in enumerate(flows)
    ]
    cases.sort(key=lambda case: case.send_ns)
    hosts = [0, 1, 1, 0]
    chunk_bytes = data.draw(st.sampled_from((1, 1500, 8 << 20)))
    with TemporaryDirectory() as name:
        if around.mode.inserts and all(case.version == 4 and around.segments6[case.path] for case in cases):
            with pytest.raises(InputError, match=r"none of the .* nothing to replay: ipv4 without insertion"):
                rewrite(Path(name), cases, around, hosts, chunk_bytes)
            return
        done = rewrite(Path(name), cases, around, hosts, chunk_bytes)
        verify(Path(name), cases, around, hosts, done)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [*{*PROTOCOLS[4], *PROTOCOLS[6]}])
def test_every_cut_of_every_protocol(tmp_path: Path, version: int, protocol: int) -> None:
    rng = random.Random(protocol)
    extensions = (0, 43, 60, 51, 44) if version == 6 else (1, 2, 3)
    cases = []
    for extra in ((), extensions):
        case = make(rng, version, protocol, 60, extra)
        cases += [replace(case, captured=n) for n in range(20 if version == 4 else 40, len(case.packet) + 1)]
    for offset in (0, 8):
        case = fragment(rng, make(rng, version, protocol, 60), offset)
        cases += [replace(case, captured=n) for n in range(20 if version == 4 else 40, len(case.packet) + 1)]
    cases = [replace(case, send_ns=EPOCH_NS + number) for number, case in enumerate(cases)]
    around = encapsulation("encaps", [3])
    verify(tmp_path, cases, around, [0], rewrite(tmp_path, cases, around, [0]))
