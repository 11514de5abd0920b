"""`segcast ingest --filter`: which packets of a batch a filter keeps, by the columns of their headers."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from segcast.traces.addresses import within
from segcast.traces.headers.ip import HAS_IP, HAS_PORTS, Headers
from segcast.traces.ingest.filter_words import Test, parse
from segcast.traces.reasons import FILTERED, IP_FOUND

Kept = npt.NDArray[np.bool_]

HIDDEN: Final = "not kept: it may name addresses that were replaced"


class Filter:
    """A filter that was understood; `text` is as the user wrote it."""

    def __init__(self, text: str) -> None:
        """Raises InputError, which names the word that is not known and its place."""
        self.text = text
        self._program = parse(text)

    def mark(self, headers: Headers) -> Kept:
        """Which packets are kept, bool[n]; the `reason` of IP packets that are not becomes FILTERED."""
        kept = self.keeps(headers)
        headers.reason[~kept & (headers.reason == IP_FOUND)] = FILTERED
        return kept

    def keeps(self, headers: Headers) -> Kept:
        """Which packets match, bool[n]. A frame without an IP header matches no test, and so matches its negation."""
        stack: list[Kept] = []
        for step in self._program:
            if isinstance(step, Test):
                stack.append(_matches(step, headers))
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
