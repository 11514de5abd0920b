"""What a network costs, as a scenario says it, so that an answer can be in money too."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from segcast.analyzer.values import Model

_Price = Annotated[float, Field(ge=0, le=1e12)]


class CostSpec(Model):
    """Prices of what a plan may change; hosts, their links and leaves are not among it."""

    spine: _Price = Field(default=0.0, description="of a spine of a leaf-spine network, without its links")
    link: _Price = Field(default=0.0, description="of a link between switches, both directions, whatever its rate")
    gbps: _Price = Field(default=0.0, description="of each Gbit/s of such a link, in one direction")
    currency: Annotated[str, Field(max_length=12, pattern=r"^[^\x00-\x1f\x7f]*$")] = Field(
        default="", description='what prices are in, such as "EUR"'
    )
