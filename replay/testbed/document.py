"""What `segcast testbed` prints with `--json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from segcast.analyzer.network.sid_table import SidTable
from segcast.replay.live.document import SentList
from segcast.traces.disk.documents import Count, Printed, Shape


class ShapedLink(Shape):
    """A link's shaper and what it has counted; null for who may not look."""

    link: str = Field(description="the link")
    rate_bps: Count = Field(description="its rate")
    limit_bytes: Count = Field(description="bytes that its queue holds")
    burst_bytes: Count = Field(description="what its bucket lets pass at once")
    overhead_bytes: Count = Field(description="bytes counted for each frame beside it")
    delay_ns: Count = Field(0, description="by which frames are held back before it")
    namespace: str = Field(description="namespace that has it")
    interface: str = Field(description="interface in it")
    packets: Count | None = Field(description="packets let through")
    dropped: Count | None = Field(description="packets dropped")
    carried_bytes: Count | None = Field(description="bytes let through")


class TestbedStatusDocument(Printed):
    """What stands of a testbed: of `testbed up` and `testbed status`. What follows `namespaces` is absent of none."""

    __test__ = False  # the name begins as those of tests do

    name: str = Field(description="its name")
    state: Literal["up", "partial", "down"] = Field(description="what of it stands")
    namespaces: list[str] = Field(description="its namespaces that there are")
    missing: list[str] = Field([], description="what is not as it was built")
    links: list[ShapedLink] = Field([], description="its shapers")
    mtu_bytes: Count = Field(0, description="MTU of its interfaces")
    notes: list[str] = Field([], description="what to know of it")
    sids: SidTable | None = Field(None, description="the SIDs of its network, and the segment lists")
    scenario: str = Field("", description="file of its scenario")
    inventory: str = Field("", description="file of its inventory")


class TestbedPlanDocument(Printed):
    """SIDs and segment lists: of `testbed plan`, and with `--format` the configuration beside them."""

    __test__ = False

    format: str = Field("", description="format of the configuration")
    node: str | None = Field(None, description="the node that it is of; null: all")
    text: str = Field("", description="the configuration")
    left_out: list[str] = Field([], description="what the format has no words for")
    notes: list[str] = Field([], description="what to know of the network as a testbed has it")
    sids: SidTable = Field(description="the SIDs of the network, and the segment lists")


class TestbedDownDocument(Printed):
    """What `testbed down` removed."""

    __test__ = False

    name: str = Field(description="name of the testbed")
    namespaces_removed: list[str] = Field(description="namespaces that were removed")
    processes_ended: Count = Field(description="processes in them that were ended")


class LivePlanDocument(Printed):
    """What `testbed live` would run, without `--send`."""

    name: str = Field(description="name of the testbed")
    cells: list[str] = Field(description="the cells, in their order")
    lists: list[SentList] = Field(description="the flow lists")
    control: str = Field(description="congestion control of the kernel's senders")
    segment_bytes: Count = Field(description="payload of a full segment, with the options that it carries")
    super_frames: bool = Field(description="whether TCP may hand down several segments at once")
    expected_ns: Count = Field(description="how long it takes, about")
    notes: list[str] = Field(description="what to know of it")
    sent: Literal[False] = Field(description="that nothing was sent")
