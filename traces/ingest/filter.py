"""`segcast ingest --filter`: which packets of a batch a filter keeps, by their headers, VLAN tags and lengths."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from segcast.traces.addresses import within
from segcast.traces.captures.reader import FrameBatch
from segcast.traces.headers.ip import HAS_IP, HAS_PORTS, Headers
from segcast.traces.ingest.filter_words import Sized, Tagged, Test, parse
from segcast.traces.linktypes import ETHER_TYPE, LINK_TYPES
from segcast.traces.reasons import FILTERED, IP_FOUND

Kept = npt.NDArray[np.bool_]

_TAGS: Final = np.array([0x8100, 0x88A8, 0x9100, 0x9200])
_TAG_BYTES: Final = 4

_TYPE_AT: Final = np.zeros(1 << 16, np.int64)  # where frames of a link type have their EtherType; 0: nowhere
for _value, _link in LINK_TYPES.items():
    _TYPE_AT[_value] = _link.type_at if _link.how == ETHER_TYPE else 0

HIDDEN: Final = "not kept: it may name addresses that were replaced"


class Filter:
    """A filter that was understood; `text` is as the user wrote it."""

    def __init__(self, text: str) -> None:
        """Raises InputError, which names the word that is not known and its place."""
        self.text = text
        self._program = parse(text)

    def mark(self, headers: Headers, frames: FrameBatch) -> Kept:
        """Which packets are kept, bool[n]; the `reason` of IP packets that are not becomes FILTERED."""
        kept = self.keeps(headers, frames)
        headers.reason[~kept & (headers.reason == IP_FOUND)] = FILTERED
        return kept

    def keeps(self, headers: Headers, frames: FrameBatch) -> Kept:
        """Which packets match, bool[n]; `headers` are those of `frames`.

        A frame without an IP header matches no test of headers, and so matches its negation.
        """
        stack: list[Kept] = []
        for step in self._program:
            if isinstance(step, Test):
                stack.append(_matches(step, headers))
            elif isinstance(step, Tagged):
                stack.append(_is_tagged(step, frames))
            elif isinstance(step, Sized):
                stack.append((step.least <= frames.wire) & (frames.wire <= step.most))
            elif step == "not":
                stack[-1] = ~stack[-1]
            else:
                right, left = stack.pop(), stack.pop()
                stack.append(left & right if step == "and" else left | right)
        return stack[0]


def _matches(test: Test, headers: Headers) -> Kept:
    found: Kept = (headers.valid & HAS_IP) != 0
    if test.version is not None:
        found &= headers.version == test.version
    if test.protocols:
        of_protocol = headers.protocol == test.protocols[0]
        for protocol in test.protocols[1:]:
            of_protocol |= headers.protocol == protocol
        found &= of_protocol
    if test.ports is not None:
        low, high = test.ports
        found &= (headers.valid & HAS_PORTS) != 0
        found &= _at_ends(test.ends, *((low <= port) & (port <= high) for port in (headers.src_port, headers.dst_port)))
    if test.prefix is not None:
        source = within(headers.version, headers.src_high, headers.src_low, (test.prefix,))
        target = within(headers.version, headers.dst_high, headers.dst_low, (test.prefix,))
        found &= _at_ends(test.ends, source, target)
    return found


def _at_ends(ends: str, source: Kept, target: Kept) -> Kept:
    if ends == "src":
        return source
    if ends == "dst":
        return target
    return source & target if ends == "and" else source | target


def _is_tagged(wanted: Tagged, frames: FrameBatch) -> Kept:
    """Which frames have the tag, at its place of those that stand directly behind the link header."""
    type_at = _TYPE_AT[frames.linktype]
    tagged: Kept = (type_at > 0) & (type_at + _TAG_BYTES * (wanted.place + 1) <= frames.captured)
    rows = np.flatnonzero(tagged)
    at = frames.start[rows] + type_at[rows]
    for place in range(wanted.place + 1):
        here = at + _TAG_BYTES * place
        tagged[rows] &= np.isin(_two_bytes(frames.data, here), _TAGS)
    if wanted.vlan is not None:
        control = _two_bytes(frames.data, at + _TAG_BYTES * wanted.place + 2)
        tagged[rows] &= control & 0xFFF == wanted.vlan
    return tagged


def _two_bytes(data: npt.NDArray[np.uint8], at: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return data[at].astype(np.int64) << 8 | data[at + 1]
