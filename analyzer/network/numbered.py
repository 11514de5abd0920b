"""Hosts by number: flow lists count them attachment by attachment from 0. Where they are, and their addresses."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Final

from pydantic import Field

from segcast.analyzer.network.fabric import Attachment

MOST_HOSTS: Final = 254

HostCount = Annotated[int, Field(ge=1, le=MOST_HOSTS)]
"""How many hosts are at an attachment: as many as its default prefix has addresses for."""


def default_prefix(attachment: int) -> str:
    """The addresses of numbered hosts at an attachment that has no prefix: 10.0.0.0/24 at the first, 10.0.1.0/24, …"""
    return f"10.{attachment >> 8}.{attachment & 255}.0/24"


def address_of(attachments: tuple[Attachment, ...], attachment: int, index: int) -> str | None:
    """The address of host `index` at an attachment, the one after `index` others in its first prefix.

    None if that prefix has no such address.
    """
    prefixes = attachments[attachment].prefixes or (default_prefix(attachment),)
    network = ipaddress.ip_network(prefixes[0])
    last = network.num_addresses - (2 if network.version == 4 else 1)
    return str(network[index + 1]) if index + 1 <= last else None
