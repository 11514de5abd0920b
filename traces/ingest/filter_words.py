"""The words of a filter (docs/captures.md): its grammar, read into a program of tests that have no nesting.

A subset of pcap-filter(7), and as there: `and` and `or` bind alike, from left to right, `not` binds closest, and an
address or a number alone takes the qualifiers of the one before it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, NamedTuple, NoReturn

from segcast.traces.errors import InputError

MOST_BYTES: Final = 100_000
_MOST_DEPTH: Final = 200
_MOST_PORT: Final = 65_535
_MOST_VLAN: Final = 4095
_MOST_TAGS: Final = 16
_MOST_LENGTH: Final = 0xFFFFFFFF

PROTOCOLS: Final = {
    "icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "icmp6": 58, "ospf": 89, "pim": 103,
    "vrrp": 112, "sctp": 132,
}  # fmt: skip
VERSIONS: Final = {"ip": 4, "ip6": 6}
WITH_PORTS: Final = (6, 17, 132)
_DIRECTIONS: Final = ("src", "dst")
_KINDS: Final = ("host", "net", "port", "portrange", "proto")
_LENGTHS: Final = ("less", "greater")
_MULTICAST: Final = {4: "224.0.0.0/4", 6: "ff00::/8"}
_OPERATORS: Final = {"&&": "and", "||": "or", "!": "not"}
_WORDS: Final = re.compile(r"\s*(&&|\|\||[!()]|[^\s()!&|]+|.)", re.DOTALL)
_VALUE: Final = re.compile("[0-9a-fA-F:.]*[0-9:]")
_USED: Final = (
    "host, net, port, portrange, proto, src, dst, ip, ip6, multicast, vlan, less, greater, and, or, not, "
    + ", ".join(PROTOCOLS)
)


class Test(NamedTuple):
    """What one word with its qualifiers asks of a packet; None and empty: anything.

    `protocols`: one of these. `prefix` is an address's, `ports` from the first to the last; `ends` says of which end:
    `src`, `dst`, `or` (either) or `and` (both).
    """

    version: int | None = None
    protocols: tuple[int, ...] = ()
    prefix: str | None = None
    ports: tuple[int, int] | None = None
    ends: str = "or"


class Tagged(NamedTuple):
    """What `vlan` asks of a frame: a VLAN tag at this place, 0 being the outermost, of this VLAN or (None) of any."""

    place: int
    vlan: int | None


class Sized(NamedTuple):
    """What `less` and `greater` ask of a frame: its bytes on the wire, from the least to the most."""

    least: int = 0
    most: int = _MOST_LENGTH


Step = Test | Tagged | Sized | str
"""A test, or `not`, `and`, `or` of the results before it."""


@dataclass(frozen=True, slots=True)
class _Qualifiers:
    """What stands before an address or a number, and holds for those after it that have none."""

    layer: str | None = None
    ends: str | None = None
    kind: str | None = None


def parse(text: str) -> tuple[Step, ...]:
    """The program of a filter, in the order of a stack machine. Raises InputError at what is not known."""
    if len(text) > MOST_BYTES:
        raise InputError(f"--filter: {len(text):,} characters; at most {MOST_BYTES:,} are read")
    return _Parser(text).program()


class _Parser:
    """Reads one filter."""

    def __init__(self, text: str) -> None:
        self._words = [(m.group(1), m.start(1) + 1) for m in _WORDS.finditer(text.rstrip())]
        self._at = 0
        self._depth = 0
        self._last = _Qualifiers()
        self._steps: list[Step] = []

    def program(self) -> tuple[Step, ...]:
        if not self._words:
            raise InputError("--filter is empty; write what to keep, such as 'tcp and net 10.0.0.0/8'")
        self._chain()
        if self._at < len(self._words):
            self._refuse("no operator stands before it; join terms by and, or")
        return tuple(self._steps)

    def _chain(self, tags: int = 0) -> int:
        """Terms; `tags`: how many VLAN tags `and` has named before them. How many it has behind them."""
        named = self._term(tags)
        while (operator := self._peek()) in ("and", "or"):
            self._at += 1
            named = max(named, self._term(named if operator == "and" else tags))
            self._steps.append(operator)
        return named

    def _term(self, tags: int) -> int:
        """A term; the arguments are those of a chain. Tags that `not` speaks of do not count."""
        negations, named = 0, tags
        while self._peek() == "not":
            self._at += 1
            negations += 1
        if self._peek() == "(":
            self._depth += 1
            if self._depth > _MOST_DEPTH:
                self._refuse(f"more than {_MOST_DEPTH} parentheses are open")
            self._at += 1
            named = self._chain(tags)
            if self._peek() != ")":
                self._refuse("a parenthesis is not closed")
            self._at += 1
            self._depth -= 1
        elif self._take(("vlan",)):
            self._steps.append(Tagged(tags, self._vlan()))
            named += 1
            if named > _MOST_TAGS:
                self._refuse(f"more than {_MOST_TAGS} tags of a frame are asked for", back=1)
        elif bound := self._take(_LENGTHS):
            self._steps.append(self._sized(bound))
        else:
            self._steps.append(self._primitive())
        if negations % 2:
            self._steps.append("not")
        return tags if negations else named

    def _vlan(self) -> int | None:
        """The number behind `vlan`, if there is one."""
        if not re.fullmatch("[0-9]+", self._peek() or ""):
            return None
        return self._number(_MOST_VLAN, "a VLAN is a number up to 4095")

    def _sized(self, bound: str) -> Sized:
        size = self._number(_MOST_LENGTH, f"{bound} needs a number of bytes, below 2^32")
        return Sized(most=size) if bound == "less" else Sized(least=size)

    def _number(self, most: int, wanted: str) -> int:
        word = self._peek() or ""
        if not re.fullmatch("[0-9]{1,10}", word) or int(word) > most:
            self._refuse(wanted)
        self._at += 1
        return int(word)

    def _primitive(self) -> Test:
        first = self._at
        layer = self._take((*VERSIONS, *PROTOCOLS))
        if layer and self._take(("multicast",)):
            if layer not in VERSIONS:
                self._refuse("only ip and ip6 have multicast", back=1)
            return Test(VERSIONS[layer], prefix=_MULTICAST[VERSIONS[layer]], ends="dst")
        ends = self._ends()
        kind = self._take(_KINDS)
        given = _Qualifiers(layer, ends, kind)
        if given == _Qualifiers():
            given = self._last if self._last.kind else _Qualifiers(kind="host")
            if not _VALUE.match(self._peek() or ""):
                missing = self._peek() is None
                self._refuse("a term is missing" if missing else f"not known; words of a filter are {_USED}")
        elif layer and not ends and not kind and not _VALUE.match(self._peek() or ""):
            return _of_layer(layer)
        elif kind is None:
            given = _Qualifiers(layer, ends, "host")
        self._last = given
        if self._peek() in (None, "and", "or", "not", "(", ")"):
            self._refuse(f"{' '.join(word for word, _ in self._words[first : self._at])} needs a value after it")
        return self._valued(given)

    def _ends(self) -> str | None:
        first = self._take(_DIRECTIONS)
        after = self._words[self._at + 1][0].lower() if self._at + 1 < len(self._words) else None
        if first and (operator := self._peek()) in ("and", "or") and after in _DIRECTIONS and after != first:
            self._at += 2
            return operator
        return first

    def _valued(self, given: _Qualifiers) -> Test:
        of_layer = Test() if given.layer is None else _of_layer(given.layer)
        version, protocols = of_layer.version, of_layer.protocols
        ends = given.ends or "or"
        word = self._words[self._at][0]
        if given.kind in ("port", "portrange"):
            if protocols and protocols[0] not in WITH_PORTS:
                self._refuse(f"{given.layer} has no ports")
            return Test(version, protocols or WITH_PORTS, ports=self._ports(word, given.kind), ends=ends)
        if given.kind == "proto":
            if given.ends or protocols:
                self._refuse("proto goes with ip and ip6 alone")
            return Test(version, (self._protocol(word),))
        if protocols:
            self._refuse(f"an address goes with ip and ip6 alone; write {given.layer} and {given.kind} {word}")
        prefix = self._prefix(word, given.kind or "host")
        own = ipaddress.ip_network(prefix).version
        if version not in (None, own):
            self._refuse(f"is no address of {given.layer}")
        return Test(own, prefix=prefix, ends=ends)

    def _ports(self, word: str, kind: str) -> tuple[int, int]:
        low, dash, high = word.partition("-")
        if bool(dash) != (kind == "portrange") or not all(re.fullmatch("[0-9]{1,5}", n) for n in (low, high or low)):
            self._refuse("give a port by its number" if kind == "port" else "give a range of numbers such as 1-1023")
        first, last = int(low), int(high or low)
        if not first <= last <= _MOST_PORT:
            self._refuse(f"ports lie between 0 and {_MOST_PORT}, the first of a range before the last")
        self._at += 1
        return first, last

    def _protocol(self, word: str) -> int:
        name = word.removeprefix("\\").lower()
        if name not in PROTOCOLS and not (re.fullmatch("[0-9]{1,3}", name) and int(name) < 256):
            self._refuse(f"give a number below 256, or one of {', '.join(PROTOCOLS)}")
        self._at += 1
        return PROTOCOLS[name] if name in PROTOCOLS else int(name)

    def _prefix(self, word: str, kind: str) -> str:
        """The prefix of an address, of a net with its length or mask, or of leading octets alone (`net 10`)."""
        octets = word.split(".")
        if kind == "net" and len(octets) < 4 and all(re.fullmatch("[0-9]{1,3}", octet) for octet in octets):
            word = ".".join([*octets, *["0"] * (4 - len(octets))]) + f"/{8 * len(octets)}"
        elif kind == "net" and self._next(1) == "mask" and "/" not in word:
            word = f"{word}/{self._next(2) or ''}"
            if not re.fullmatch(r"[0-9.]+/[0-9]+\.[0-9.]+", word):
                self._refuse("a mask is written such as 255.255.0.0")
            self._at += 2
        elif kind == "host" and "/" in word:
            self._refuse("a host has no length; write net")
        try:
            found = str(ipaddress.ip_network(word))
        except ValueError as error:
            self._refuse(f"not an address or a prefix ({error}); names are not looked up")
        self._at += 1
        return found

    def _next(self, further: int) -> str | None:
        return self._words[self._at + further][0] if self._at + further < len(self._words) else None

    def _peek(self) -> str | None:
        """The next word, operators by one name and in lower case; None at the end."""
        word = self._next(0)
        return None if word is None else _OPERATORS.get(word, word.lower())

    def _take(self, words: tuple[str, ...]) -> str | None:
        word = self._peek()
        if word not in words:
            return None
        self._at += 1
        return word

    def _refuse(self, why: str, back: int = 0) -> NoReturn:
        at = self._at - back
        if at >= len(self._words):
            raise InputError(f"--filter: ends too early: {why}")
        word, column = self._words[at]
        raise InputError(f"--filter: {word[:80]!r} at character {column}: {why}")


def _of_layer(layer: str) -> Test:
    """The test of a protocol alone; those of one IP version ask for that, too."""
    if layer in VERSIONS:
        return Test(VERSIONS[layer])
    version = {"icmp": 4, "igmp": 4, "icmp6": 6}.get(layer)
    return Test(version, (PROTOCOLS[layer],))
