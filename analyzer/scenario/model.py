"""A scenario: what a forecast runs, as a TOML file or as the short flags; both become `Scenario`."""

from __future__ import annotations

import contextlib
import functools
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import tomli_w
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    WithJsonSchema,
)

from segcast.analyzer.network.fabric import Assembled, Assembly, Fabric, Pair, assemble, with_events
from segcast.analyzer.network.model import Network
from segcast.analyzer.network.sids import Flavor
from segcast.analyzer.network.srv6_modes import Mode, mode_names
from segcast.analyzer.scenario.choices import (
    PolicyChoice,
    PolicyField,
    TimeoutChoice,
    TimeoutField,
    settled_policies,
    settled_timeouts,
)
from segcast.analyzer.scenario.events import EventSpec
from segcast.analyzer.scenario.steering import SteeringSpec
from segcast.analyzer.toml_keys import Origin, Place, WrongKey, key_lines, read_toml, written
from segcast.analyzer.topologies.graph import edge_name, read_graph
from segcast.analyzer.topologies.parallel import MOST_PATHS
from segcast.analyzer.topologies.registry import AttachmentSpec, NetworkBase, build_fabric, topologies
from segcast.analyzer.values import Duration, Ipv6Prefix, LinkShape, Mac, Model, Seed, said
from segcast.traces.errors import InputError
from segcast.traces.units import duration_ns, rate_bps, size_bytes

_KINDS: Final = {kind: topology.spec for kind, topology in topologies().items()}
_FIRST_KIND: Final = "parallel"
_COMMAND_LINE: Final = "command line"


def _kind_of(value: Any) -> str | None:
    return value.get("kind", _FIRST_KIND) if isinstance(value, dict) else getattr(value, "kind", None)


if TYPE_CHECKING:
    NetworkSpec = Any
else:
    NetworkSpec = Annotated[
        functools.reduce(operator.or_, (Annotated[spec, Tag(kind)] for kind, spec in _KINDS.items())),
        Discriminator(
            _kind_of,
            custom_error_type="network_kind",
            custom_error_message=f"there are {', '.join(_KINDS)}",
        ),
    ]


if TYPE_CHECKING:
    ModeName = Mode
else:
    ModeName = Annotated[Literal[mode_names()], AfterValidator(Mode)]


class HmacSpec(Model):
    """An HMAC TLV of SHA-256 in every SRH (RFC 8754 section 2.1.2)."""

    key_id: Annotated[int, Field(ge=1, le=2**32 - 1)] = Field(description="HMAC Key ID")
    key_file: Annotated[str, Field(min_length=1)] = Field(
        description="file with the key, from the scenario's folder; a newline at its end does not count"
    )
    flag: bool = Field(
        default=False,
        description="set bit 3 of the SRH's flags, too: Linux finds no HMAC without; RFC 8754 assigns none",
    )


class Srv6Spec(Model):
    """How steered packets are encapsulated; the outer source of a host is its number in `source_prefix`."""

    mode: ModeName = Field(
        default=Mode.ENCAPS,
        description="a new IPv6 header with the full list, with the first SID left out, or with uSIDs; an SRH inserted "
        "into IPv6 packets; or whole Ethernet frames inside",
    )
    block: Ipv6Prefix = Field(default="fd00::/32", description="32 bits that locators of nodes are allocated from")
    locators: dict[str, Ipv6Prefix] = Field(default_factory=dict, description="the 48-bit locator of a node, if given")
    max_sids: int | None = Field(default=None, ge=1, le=127, description="most SIDs (carriers) that hosts can write")
    source_prefix: Ipv6Prefix = Field(default="fd00:0:100::/64", description="the hosts' own addresses")
    hop_limit: Annotated[int, Field(ge=1, le=255)] = Field(default=64, description="of the outer header")
    copy_hop_limit: bool = Field(default=False, description="that of the packet inside instead")
    tag: Annotated[int, Field(ge=0, le=0xFFFF)] = Field(default=0, description="Tag of the SRH")
    hmac: HmacSpec | None = Field(default=None, description="sign the SRH; none: it has no TLV")
    flavors: tuple[Flavor, ...] = Field(
        default=(), description="flavours of the nodes' End and End.X SIDs (RFC 8986 section 4.16)"
    )
    source_mac: Mac = Field(default="02:00:00:00:00:01", description="of rewritten frames")
    destination_mac: Mac = Field(default="02:00:00:00:00:02", description="of rewritten frames")

    def assembly(self) -> Assembly:
        """The same for a fabric."""
        return Assembly(
            self.mode,
            self.block,
            self.source_prefix,
            self.locators,
            self.max_sids,
            self.tag,
            self.hmac is not None,
            self.flavors,
        )


def _loads(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


def _millionths(value: float) -> float:
    if round(value, 6) != value:
        raise ValueError(f"{value} has more than six decimals")
    return value


Load = Annotated[float, Field(ge=0.001, le=1000), AfterValidator(_millionths)]
_LOADS: Final = WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "array", "items": {"type": "number"}}]})


class Scenario(Model):
    """Everything a forecast depends on besides the trace."""

    policies: Annotated[tuple[PolicyField, ...], Field(min_length=1)] = Field(
        tuple(PolicyChoice(name=name, label=name) for name in ("ecmp", "random", "inflight")),
        description="policies [ecmp, random, inflight]: a name, or a table of name, label and parameters",
    )
    timeouts: Annotated[tuple[TimeoutField, ...], Field(min_length=1, max_length=100)] = Field(
        (TimeoutChoice(name="fixed", label="100us", timeout_ns=100_000),),
        description="timeouts [100us]: a duration, a rule's name, or a table of name, label and parameters",
    )
    load: Annotated[tuple[Load, ...], BeforeValidator(_loads), Field(min_length=1, max_length=100), _LOADS] = Field(
        (1.0,), description="factors of the offered rate [1]: the trace's time is compressed by them; one or several"
    )
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=10_000)] = Field(
        tuple(range(1, 11)), description="a cell is run with each of them [1 to 10]"
    )
    interval: Annotated[Duration, Field(ge=1000)] = Field(
        default=10_000_000, description="of load over time and its balance"
    )
    packets: Literal["none", "first", "all"] = Field(default="first", description="seeds whose packets are kept")
    network: NetworkSpec = Field(description="links and paths")
    attachments: tuple[AttachmentSpec, ...] = Field(default=(), description="who is behind which node")
    unassigned: Literal["spread", "exclude"] = Field(
        default="spread",
        description="hosts in no prefix: dealt to the attachments in turn, by their first packet, or left out",
    )
    events: Annotated[tuple[EventSpec, ...], Field(max_length=10_000)] = Field(
        default=(), description="what happens to links"
    )
    detection: Duration = Field(
        default=1_000_000, description="until the fabric's routing knows that a link is down or up"
    )
    steering: SteeringSpec = Field(default=SteeringSpec(), description="the sending hosts")
    srv6: Srv6Spec = Field(default=Srv6Spec(), description="how steered packets are encapsulated")
    _origin: Origin = PrivateAttr(default=Origin())

    @property
    def fixed_timeouts_ns(self) -> tuple[int, ...]:
        """The fixed ones among the timeouts."""
        return tuple(t.timeout_ns for t in self.timeouts if t.timeout_ns is not None)

    @property
    def loads(self) -> tuple[Fraction, ...]:
        """The load factors, exactly as written."""
        return tuple(Fraction(repr(load)) for load in dict.fromkeys(self.load))

    def steering_of(self, policy: PolicyChoice) -> SteeringSpec:
        """What the hosts of a policy know."""
        return self.steering.but(policy.steering) if policy.steering else self.steering

    @property
    def records(self) -> bool:
        """Whether acknowledgements of the trace decide for any policy."""
        return any(self.steering_of(choice).ack == "recorded" for choice in self.policies)

    def fabric(self) -> Fabric:
        """The nodes, links and attachments. Raises InputError."""
        assert isinstance(self.network, NetworkBase)
        with self._located():
            return build_fabric(self.network, self.attachments)

    def assembled(self, pairs: Sequence[Pair], hosts: Sequence[tuple[str, int]] = ()) -> Assembled:
        """The network for these pairs of attachments, before anything happens to it. Raises InputError."""
        fabric = self.fabric()
        with self._located():
            return assemble(fabric, self.srv6.assembly(), pairs, hosts)

    def changed(self, assembled: Assembled, first_ns: int) -> Network:
        """The network with what happens to it, if its first packet is sent at `first_ns`. Raises InputError."""
        events = [(number, event) for number, spec in enumerate(self.events) for event in spec.events()]
        with self._located():
            return with_events(assembled, events, first_ns, self.detection)

    def build_network(self) -> Network:
        """The network between the first two attachments: of parallel paths, the whole. Raises InputError."""
        return self.assembled(((0, 1), (1, 0))).network

    def wrong(self, place: Place, message: str) -> InputError:
        """What is wrong with a key, with the file and the line that it was read from."""
        return self._origin.located(WrongKey(place, message))

    @contextlib.contextmanager
    def _located(self) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            raise self._origin.located(error) from None

    def to_toml(self) -> str:
        """The whole scenario as text that `read_scenario` reads back."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True), multiline_strings=False)


Where = Callable[[Place], str]


def _validated(data: dict[str, Any], where: Where) -> Scenario:
    """`where` puts a place of the scenario into words."""
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        place, message = said(error, Scenario)
        if place == ("network",) and any(each["type"] == "network_kind" for each in error.errors()):
            place = ("network", "kind")
        raise InputError(f"{where(_place(place))}: {message}") from None
    try:
        chosen = {"policies": settled_policies(scenario.policies), "timeouts": settled_timeouts(scenario.timeouts)}
    except WrongKey as error:
        raise InputError(f"{where(error.place)}: {error.message}") from None
    for number, choice in enumerate(scenario.policies):
        _check_steering(scenario, choice, lambda key, at=number: where(("policies", at, "steering", *key)))  # type: ignore[misc]
    return scenario.model_copy(update=chosen)


def _check_steering(scenario: Scenario, choice: PolicyChoice, where: Where) -> None:
    if "hosts" in choice.steering:
        raise InputError(f"{where(('hosts',))}: the hosts are the same for all policies; say it in [steering]")
    try:
        scenario.steering_of(choice)
    except ValidationError as error:
        place, message = said(error, SteeringSpec)
        raise InputError(f"{where(place)}: {message}") from None


def _place(location: tuple[int | str, ...]) -> Place:
    """Where an error is, without what only pydantic calls so: the kind of the network, parameters' own table."""
    if location[0] == "network":
        location = tuple(part for number, part in enumerate(location) if number != 1 or part not in _KINDS)
    return tuple(part for part in location if part not in ("parameters", "[key]"))


def read_scenario(file: str | FilePath) -> Scenario:
    """The scenario in a TOML file. Raises InputError with the file, the line and the place in it."""
    file = FilePath(file)
    text, data = read_toml(file, "scenario")
    origin = Origin(file, key_lines(text.replace("\r\n", "\n")))
    network = data.get("network")
    if isinstance(network, dict) and network.get("kind") == "graph" and isinstance(network.get("file"), str):
        data, edges = _with_graph(data, file.parent / network["file"], origin.where)
        origin = replace(origin, edges=edges)
    hmac = data["srv6"].get("hmac") if isinstance(data.get("srv6"), dict) else None
    if isinstance(hmac, dict) and isinstance(hmac.get("key_file"), str) and hmac["key_file"]:
        key_file = str((file.parent / hmac["key_file"]).resolve())
        data = {**data, "srv6": {**data["srv6"], "hmac": {**hmac, "key_file": key_file}}}
    scenario = _validated(data, origin.where)
    scenario._origin = origin
    return scenario


def _with_graph(data: dict[str, Any], file: FilePath, where: Where) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The scenario with the links of its graph file in it, so that what is written of it needs no other file.

    And what errors call each of them.
    """
    network = dict(data["network"])
    if "links" in network:
        raise InputError(f"{where(('network', 'file'))}: give a file or links, not both")
    shape = network.pop("link", {})
    try:
        LinkShape.model_validate({"rate": "1Gbps", **shape} if isinstance(shape, dict) else shape)
    except ValidationError as error:
        place, message = said(error, LinkShape)
        raise InputError(f"{where(('network', 'link', *place))}: {message}") from None
    try:
        links, attachments = read_graph(file, shape)
    except InputError as error:
        raise InputError(f"{where(('network', 'file'))}: {error}") from None
    del network["file"]
    whole = {**data, "network": {**network, "links": links}}
    if "attachments" not in data and attachments:
        whole["attachments"] = attachments
    return whole, tuple(edge_name(file, link["ends"]) for link in links)


def short_scenario(
    *,
    paths: str,
    delay: str = "5us",
    buffer: str | None = "512KiB",
    ecn: str | None = None,
    **others: Any,
) -> Scenario:
    """The scenario of the short flags: `paths` like "4x10Gbps" or "2x10Gbps,2x25Gbps", one link each.

    `others` are fields of Scenario. Raises InputError naming the flag.
    """
    specs: list[dict[str, Any]] = []
    for part in paths.split(","):
        match = re.fullmatch(r"\s*(?:(\d+)\s*x)?\s*(\S.*)", part)
        if match is None:
            raise InputError(f"--paths {paths!r}: write it like 4x10Gbps or 2x10Gbps,2x25Gbps")
        count = int((match[1] or "1")[:9])
        if count == 0:
            raise InputError(f"--paths {paths!r}: the number of paths must be at least 1")
        if len(specs) + count > MOST_PATHS:
            raise InputError(f"--paths {paths!r}: more than {MOST_PATHS} paths; give at most {MOST_PATHS}")
        _check_flag("paths", rate_bps, match[2])
        for _ in range(count):
            number = len(specs)
            link = {"name": f"path{number}", "rate": match[2], "delay": delay, "buffer": buffer, "ecn": ecn}
            specs.append({"segments": [f"fd00:0:{number + 0x1000:x}::1"], "links": [_without_none(link)]})
    _check_flag("delay", duration_ns, delay)
    for name, size in (("buffer", buffer), ("ecn", ecn)):
        if size is not None:
            _check_flag(name, size_bytes, size)
    return _validated({"network": {"paths": specs}, **_without_none(others)}, _on_command_line)


def _on_command_line(place: Place) -> str:
    flags = {"policies": "--policy", "timeouts": "--timeout", "load": "--load"}
    return flags.get(str(place[0]), f"{_COMMAND_LINE}: {written(place)}")


def _check_flag(name: str, parse: Callable[[str], int], text: str) -> None:
    try:
        parse(text)
    except InputError as error:
        raise InputError(f"--{name}: {error}") from None


def _without_none(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}
