"""The inventory: which interfaces inject and capture, on which machines, and how those are reached. A TOML file."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

import tomli_w
from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from segcast.analyzer.toml_keys import Place, key_lines, line_of, read_toml, written
from segcast.analyzer.values import Duration, Mac, Model, Prefix, Rate, Size
from segcast.traces.errors import InputError
from segcast.traces.refusals import plainly

LOCAL: Final = "here"

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$")]


def _interface_name(value: str) -> str:
    """As Linux has it: `.` and `..` are no names."""
    if value in (".", ".."):
        raise ValueError(f"{value!r} is no interface")
    return value


_InterfaceName = Annotated[
    str,
    Field(pattern=r"^[^\s/:\x00-\x1f\x7f]{1,15}$", description="the interface, as the machine calls it"),
    AfterValidator(_interface_name),
]
_Stamps = Literal["host", "host_lowprec", "host_hiprec", "host_hiprec_unsynced", "adapter", "adapter_unsynced"]
_SshTarget = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@:%-]*$")]


class Point(Model):
    """An interface, and how to reach the machine or namespace that it is in; by default it is this machine's."""

    interface: _InterfaceName
    ssh: _SshTarget | None = Field(default=None, description="USER@HOST that ssh reaches without a password")
    netns: _Name | None = Field(default=None, description="network namespace of this machine")
    clock: _Name | None = Field(default=None, description="whose clock stamps packets; by default the machine's own")
    stamps: _Stamps | None = Field(default=None, description="kind of time stamps that captures ask for")
    tai_offset: Duration = Field(default=0, description="how far those stamps are ahead of UTC, such as 37s")

    @model_validator(mode="before")
    @classmethod
    def _stamps_for_clock(cls, given: Any) -> Any:
        """A kind of time stamps in place of a clock's name is meant as what it says."""
        if isinstance(given, dict) and given.get("clock") in get_args(_Stamps) and "stamps" not in given:
            given = {**given, "stamps": given["clock"]}
            del given["clock"]
        return given

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.ssh is not None and self.netns is not None:
            raise ValueError("give ssh or netns, not both")
        return self

    @property
    def machine(self) -> str:
        """The machine it is at: points of one machine share its processors."""
        return self.ssh or LOCAL

    @property
    def stamped_by(self) -> str:
        """The name of the clock that stamps its packets: what is not kept with the machine's is the interface's own."""
        own = f"{self.machine} {self.interface}" if self.unsynchronised else self.machine
        return self.clock or own

    @property
    def unsynchronised(self) -> bool:
        """Whether its stamps are of a clock that nobody keeps with the machine's."""
        return self.stamps is not None and self.stamps.endswith("_unsynced")


class Sender(Point):
    """Where packets are injected."""

    source_mac: Mac | None = Field(default=None, description="of the frames; none: as they were written")
    next_hop_mac: Mac | None = Field(default=None, description="the switch's or router's; none: as it was written")
    prefixes: tuple[Prefix, ...] = Field(default=(), description="hosts whose packets are injected here; longest wins")
    attachments: tuple[str, ...] = Field(default=(), description="attachments of the scenario whose packets are")
    rate: Rate | None = Field(default=None, description="of the link, where the machine does not know it")


class Receiver(Point):
    """Where packets arrive."""

    attachment: str = Field(description="the attachment of the scenario that it stands for")


class Transit(Point):
    """Where packets may be seen on the way."""

    node: str = Field(description="the node of the scenario")
    link: str = Field(description="the link of the scenario by which they leave or arrive")


class Inventory(Model):
    """Senders, receivers and transit points, by the name that their captures will have."""

    capture: Literal["tcpdump", "dumpcap"] = Field(default="tcpdump", description="the tool that captures")
    burst: Size | None = Field(default=None, description="of token buckets at links whose burst the scenario omits")
    testbed: _Name | None = Field(default=None, description="the testbed that it describes, if it is one")
    senders: Annotated[dict[_Name, Sender], Field(min_length=1)] = Field(description="where packets are injected")
    receivers: dict[_Name, Receiver] = Field(default_factory=dict, description="where packets arrive")
    transit: dict[_Name, Transit] = Field(default_factory=dict, description="where they may be seen on the way")

    @field_validator("senders")
    @classmethod
    def _no_overlap(cls, senders: dict[str, Sender]) -> dict[str, Sender]:
        owners: dict[str, str] = {}
        for name, sender in senders.items():
            for claim in (*sender.prefixes, *(f"attachment {place}" for place in sender.attachments)):
                if claim in owners:
                    raise ValueError(f"{owners[claim]} and {name} both inject for {claim}")
                owners[claim] = name
        return senders

    @property
    def machines(self) -> tuple[str, ...]:
        """The machines that ssh reaches."""
        points = (*self.senders.values(), *self.receivers.values(), *self.transit.values())
        return tuple(dict.fromkeys(point.ssh for point in points if point.ssh is not None))

    def sender_of(self, host: str) -> str | None:
        """The sender that injects a rewritten file: by its own name, by an attachment's, else by the longest prefix."""
        for name, sender in self.senders.items():
            if host == name or host in sender.attachments:
                return name
        try:
            network = ipaddress.ip_network(host)
        except ValueError:
            return None
        best: tuple[int, str] | None = None
        for name, sender in self.senders.items():
            for prefix in map(ipaddress.ip_network, sender.prefixes):
                if prefix.version == network.version and prefix.supernet_of(network):  # type: ignore[arg-type]
                    best = max(best or (-1, ""), (prefix.prefixlen, name))
        return best[1] if best else None

    def to_toml(self) -> str:
        """The inventory as text that `read_inventory` reads back."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def read_inventory(file: Path) -> Inventory:
    """The inventory in a TOML file. Raises InputError with the file, the line and the place in it."""
    text, data = read_toml(file, "inventory")
    try:
        return Inventory.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place: Place = tuple(part for part in first["loc"] if part != "[key]")
        line_number = line_of(key_lines(text.replace("\r\n", "\n")), place)
        at = "" if line_number is None else f":{line_number}"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        message = plainly(first)
        raise InputError(f"{file}{at}: {written(place) or 'inventory'}: {message}{more}") from None
