"""A scenario: what a forecast runs, as a TOML file or as the short flags; both become `Scenario`."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
)

from analyzer.network import ETHERNET_MINIMUM_BYTES, ETHERNET_OVERHEAD_BYTES, Link, Network, parallel_network
from traces.errors import InputError
from traces.units import duration_ns, rate_bps, size_bytes, write_duration, write_rate, write_size


def _quantity(parse: Callable[[str], int]) -> BeforeValidator:
    def read(value: object) -> int:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} needs quotes and a unit")
        try:
            return parse(value)
        except InputError as error:
            raise ValueError(str(error)) from None

    return BeforeValidator(read)


def _ipv6(value: str) -> str:
    return str(ipaddress.IPv6Address(value))


def _prefix(value: str) -> str:
    return str(ipaddress.ip_network(value))


def _ipv6_prefix(value: str) -> str:
    return str(ipaddress.IPv6Network(value))


def _mac(value: str) -> str:
    if not re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", value.lower()):
        raise ValueError(f"{value!r} is not a MAC address such as 02:00:00:00:00:01")
    return value.lower()


Duration = Annotated[int, _quantity(duration_ns), PlainSerializer(write_duration)]
Size = Annotated[int, _quantity(size_bytes), PlainSerializer(write_size)]
Rate = Annotated[int, _quantity(rate_bps), PlainSerializer(write_rate)]
Sid = Annotated[str, AfterValidator(_ipv6)]
Prefix = Annotated[str, AfterValidator(_prefix)]
Ipv6Prefix = Annotated[str, AfterValidator(_ipv6_prefix)]
Mac = Annotated[str, AfterValidator(_mac)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)


class LinkSpec(_Model):
    """A full-duplex link. Without `buffer` or `ecn` there is no bound."""

    name: str
    rate: Rate
    delay: Duration = 5_000
    buffer: Size | None = None
    ecn: Size | None = None
    overhead: Size = ETHERNET_OVERHEAD_BYTES


class PathSpec(_Model):
    """Links from left to right, and the transit SIDs in the same order."""

    segments: tuple[Sid, ...] = ()
    links: Annotated[tuple[LinkSpec, ...], Field(min_length=1, max_length=250)]


class AttachmentSpec(_Model):
    """One end of the paths: the addresses behind it, and the SIDs that decapsulate there."""

    prefixes: tuple[Prefix, ...] = ()
    decapsulate_ipv4: Sid
    decapsulate_ipv6: Sid


class NetworkSpec(_Model):
    """Parallel paths between two attachments."""

    minimum_frame: Size = ETHERNET_MINIMUM_BYTES
    left: AttachmentSpec = AttachmentSpec(decapsulate_ipv4="fd00:0:10::d4", decapsulate_ipv6="fd00:0:10::d6")
    right: AttachmentSpec = AttachmentSpec(decapsulate_ipv4="fd00:0:20::d4", decapsulate_ipv6="fd00:0:20::d6")
    paths: Annotated[tuple[PathSpec, ...], Field(min_length=1, max_length=1024)]


class SteeringSpec(_Model):
    """The sending hosts: one per source address, or per prefix of `hosts`."""

    hosts: tuple[Prefix, ...] = ()
    ack: Literal["modelled"] = "modelled"
    loss_timeout: Duration = 10_000_000


class Srv6Spec(_Model):
    """How steered packets are encapsulated; the outer source of a host is its number in `source_prefix`."""

    mode: Literal["encaps", "reduced"] = "encaps"
    source_prefix: Ipv6Prefix = "fd00:0:100::/64"
    hop_limit: Annotated[int, Field(ge=1, le=255)] = 64
    source_mac: Mac = "02:00:00:00:00:01"
    destination_mac: Mac = "02:00:00:00:00:02"


class Scenario(_Model):
    """Everything a forecast depends on besides the trace."""

    policies: Annotated[tuple[str, ...], Field(min_length=1)] = ("ecmp", "random", "inflight")
    timeouts: Annotated[tuple[Duration, ...], Field(min_length=1, max_length=100)] = (100_000,)
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=10_000)] = tuple(range(1, 11))
    interval: Annotated[Duration, Field(ge=1000)] = 10_000_000
    packets: Literal["none", "first", "all"] = "first"
    network: NetworkSpec
    steering: SteeringSpec = SteeringSpec()
    srv6: Srv6Spec = Srv6Spec()

    def build_network(self) -> Network:
        """The network these paths make. Raises InputError."""
        spec = self.network
        return parallel_network(
            [[_link(link) for link in path.links] for path in spec.paths],
            [path.segments for path in spec.paths],
            mode=self.srv6.mode,
            minimum_frame_bytes=spec.minimum_frame,
        )

    def to_toml(self) -> str:
        """The whole scenario as text that `read_scenario` reads back."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True), multiline_strings=False)


def _link(spec: LinkSpec) -> Link:
    return Link(spec.name, spec.rate, spec.delay, spec.buffer, spec.ecn, spec.overhead)


def _validated(data: dict[str, Any], where: str) -> Scenario:
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise InputError(f"{where}: {place}: {message}{more}") from None


def read_scenario(file: FilePath) -> Scenario:
    """The scenario in a TOML file. Raises InputError with the file and the place in it."""
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot read the scenario: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{file}: not TOML: {error}") from None
    except RecursionError:
        raise InputError(f"{file}: not a scenario: it is nested too deeply") from None
    return _validated(data, str(file))


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
        match = re.fullmatch(r"\s*(?:(\d{1,4})\s*x)?\s*(\S.*)", part)
        if match is None:
            raise InputError(f"--paths {paths!r}: write it like 4x10Gbps or 2x10Gbps,2x25Gbps")
        if int(match[1] or 1) == 0:
            raise InputError(f"--paths {paths!r}: the number of paths must be at least 1")
        _check_flag("paths", rate_bps, match[2])
        for _ in range(int(match[1] or 1)):
            number = len(specs)
            link = {"name": f"path{number}", "rate": match[2], "delay": delay, "buffer": buffer, "ecn": ecn}
            specs.append({"segments": [f"fd00:0:{number + 0x1000:x}::1"], "links": [_without_none(link)]})
    _check_flag("delay", duration_ns, delay)
    for name, size in (("buffer", buffer), ("ecn", ecn)):
        if size is not None:
            _check_flag(name, size_bytes, size)
    for timeout in others.get("timeouts", ()):
        _check_flag("timeout", duration_ns, timeout)
    return _validated({"network": {"paths": specs}, **_without_none(others)}, "command line")


def _check_flag(name: str, parse: Callable[[str], int], text: str) -> None:
    try:
        parse(text)
    except InputError as error:
        raise InputError(f"--{name}: {error}") from None


def _without_none(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}
