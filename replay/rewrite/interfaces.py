"""Where packets are injected: a file per steering host, or per interface of a small TOML file; with which MACs."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from segcast.analyzer.toml_keys import read_toml
from segcast.analyzer.values import Mac, Model, Name, Prefix
from segcast.replay.srv6.templates import check_mac
from segcast.traces.errors import InputError
from segcast.traces.refusals import plainly

_MAC_BYTES: Final = 12


class _HostSpec(Model):
    source_mac: Mac | None = None
    destination_mac: Mac | None = None


class _InterfaceSpec(_HostSpec):
    prefixes: Annotated[tuple[Prefix, ...], Field(min_length=1)]


class _FileSpec(Model):
    interfaces: Annotated[dict[Name, _InterfaceSpec], Field(min_length=1)]
    hosts: dict[Prefix, _HostSpec] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files of a rewrite: their `names`, the file of each host, int64, and its MAC addresses.

    `macs` uint8[hosts, 12]: destination, then source. `interfaces`: whether the names are those of interfaces.
    """

    names: tuple[str, ...]
    of_host: NDArray[np.int64]
    macs: NDArray[np.uint8]
    interfaces: bool = False


def by_host(hosts: Sequence[str], source_mac: bytes, destination_mac: bytes) -> Outputs:
    """A file for each host, with the same MAC addresses."""
    macs = np.tile(np.frombuffer(destination_mac + source_mac, np.uint8), (len(hosts), 1))
    return Outputs(tuple(hosts), np.arange(len(hosts)), macs.reshape(-1, _MAC_BYTES))


def by_interface(file: Path, hosts: Sequence[str], source_mac: bytes, destination_mac: bytes) -> Outputs:
    """A file for each interface that a TOML file describes.

    `[interfaces.NAME]` has `prefixes`, of which the longest that holds a host decides, and perhaps `source_mac` and
    `destination_mac`; `[hosts."PREFIX"]` may have both for some hosts. What neither says is as given here. Raises
    InputError if the file cannot be read, or a host belongs to no interface.
    """
    spec = _read(file)
    names = tuple(spec.interfaces)
    prefixes = [
        (ipaddress.ip_network(prefix), number)
        for number, interface in enumerate(spec.interfaces.values())
        for prefix in interface.prefixes
    ]
    if doubled := sorted({str(p) for p, n in prefixes for q, m in prefixes if p == q and n != m}):
        raise InputError(f"{file}: {doubled[0]} is a prefix of two interfaces; give it to one")
    own = [(ipaddress.ip_network(prefix), number) for number, prefix in enumerate(spec.hosts)]
    of_host = np.empty(len(hosts), np.int64)
    macs = np.empty((len(hosts), _MAC_BYTES), np.uint8)
    for row, host in enumerate(hosts):
        network = ipaddress.ip_network(host)
        number = _longest(network, prefixes)
        if number is None:
            raise InputError(
                f"{file}: host {host} is in no prefix of an interface; add it, or 0.0.0.0/0 and ::/0 to one of them"
            )
        of_host[row] = number
        mine = _longest(network, own)
        said = [spec.interfaces[names[number]], *([] if mine is None else [list(spec.hosts.values())[mine]])]
        source, destination = source_mac, destination_mac
        for part in said:
            source = _bytes(part.source_mac) or source
            destination = _bytes(part.destination_mac) or destination
        macs[row] = np.frombuffer(destination + source, np.uint8)
    return Outputs(names, of_host, macs, interfaces=True)


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _longest(host: _Network, prefixes: Sequence[tuple[_Network, int]]) -> int | None:
    fitting = [
        (prefix.prefixlen, number)
        for prefix, number in prefixes
        if prefix.version == host.version
        and prefix.prefixlen <= host.prefixlen
        and int(prefix.network_address) == int(host.network_address) & int(prefix.netmask)
    ]
    return max(fitting)[1] if fitting else None


def _bytes(mac: str | None) -> bytes | None:
    return None if mac is None else bytes.fromhex(mac.replace(":", ""))


def _read(file: Path) -> _FileSpec:
    _, data = read_toml(file, "interfaces")
    try:
        spec = _FileSpec.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise InputError(f"{file}: {place}: {plainly(first)}") from None
    for name, part in {**spec.interfaces, **spec.hosts}.items():
        if part.source_mac is not None:
            try:
                check_mac("source", bytes.fromhex(part.source_mac.replace(":", "")))
            except InputError as error:
                raise InputError(f"{file}: {name}: {error}") from None
    return spec
