"""What `segcast steer` prints with `--json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from segcast.traces.disk.documents import Count, Printed, Shape, Whole


class KernelFinding(Shape):
    """Something that steering needs of the kernel."""

    needs: str = Field(description="what is needed")
    held: bool = Field(description="whether the kernel has it")
    why: str = Field(description="what is lacking; empty if nothing")


class SteerCheckDocument(Printed):
    """What `steer check` found."""

    kernel: str = Field(description="release of the kernel")
    machine: str = Field(description="kind of machine")
    program_sha256: str = Field(description="digest of the program for the kernel")
    fit: bool = Field(description="whether a host here can be steered")
    findings: list[KernelFinding] = Field(description="what was tried, in turn")


class SteeredSource(Shape):
    """A steering host of this machine."""

    source: str = Field(description="its addresses, as a prefix")
    outer_source: str = Field(description="source address of the headers that its packets get")


class SteerTarget(Shape):
    """A prefix that is steered to."""

    prefix: str = Field(description="the prefix")
    attachment: str = Field(description="the attachment that has it")
    route_mtu: Count | None = Field(description="MTU of the route to it; null where none leads there")


class SteerPath(Shape):
    """A path that packets may be sent on."""

    path_id: Count = Field(description="number of the path, as tables have it")
    to: str = Field(description="attachment where it leads")
    slot: Count = Field(description="its place among the paths there")
    ipv4: list[str] = Field(description="addresses in the headers of IPv4 packets, in the order of travel")
    ipv6: list[str] = Field(description="the same of IPv6 packets")
    header_ipv4: str = Field(description="the header of IPv4 packets, hexadecimal")
    header_ipv6: str = Field(description="the same of IPv6 packets")


class SteerPlanDocument(Printed):
    """What would be attached: of `steer plan`, and of `steer attach` without `--attach`."""

    interface: str = Field(description="the interface")
    at: str = Field(description="attachment where this host is")
    hosts: list[SteeredSource] = Field(description="its steering hosts")
    targets: list[SteerTarget] = Field(description="what is steered to")
    paths: list[SteerPath] = Field(description="the paths, by number")
    header_bytes: Count = Field(description="the longest header")
    mtu: Count = Field(description="MTU of the interface in bytes")
    largest_packet_bytes: Whole = Field(description="what of it is left for a packet")
    program_sha256: str = Field(description="digest of the program for the kernel")
    refused: list[str] = Field(description="what speaks against attaching")


class SteerAttachDocument(Printed):
    """What `steer attach --attach` did; with `--pin`, where it stays."""

    interface: str = Field(description="the interface")
    by: Literal["tcx", "clsact"] = Field(description="how it was attached")
    pinned: str = Field("", description="folder where it is pinned; absent without `--pin`")
    tally: dict[str, Count] = Field({}, description="packets, flowlets and the like, by what was done with them")
    sent_bytes: dict[str, Count] = Field({}, description="bytes of frames sent, by number of the path")
    inflight_bytes: Whole = Field(0, description="bytes that were still in flight at the end")
    log: str | None = Field(None, description="file of the flowlets; null without")


class AttachedProgram(Shape):
    """A program at an interface."""

    interface: str = Field(description="the interface")
    hook: str = Field(description="where it is attached there")
    program_id: Count = Field(description="number that the kernel gave it")
    name: str = Field(description="its name")
    own: bool = Field(description="whether it is Segcast's")
    by: Literal["tcx", "clsact"] = Field(description="how it is attached")
    pinned: bool = Field(description="whether it stays without a process")


class SteerStatusDocument(Printed):
    """What `steer status` found."""

    programs: list[AttachedProgram] = Field(description="programs, interface by interface")


class SteerDetachDocument(Printed):
    """What `steer detach` did."""

    interface: str = Field(description="the interface")
    detached: bool = Field(description="whether something was pinned, or left, there")
