"""What `segcast export` prints with `--json`."""

from __future__ import annotations

from pydantic import Field

from segcast.traces.disk.documents import Count, Printed, Whole


class ExportDocument(Printed):
    """A capture that was written."""

    pcap: str = Field(description="the capture")
    cell: str = Field(description="the cell whose packets it has")
    packets: Count = Field(description="its packets")
    connections: Count = Field(description="connections that they are of")
    payload_bytes: Count = Field(description="bytes of payload, which is left out")
    resized: Count = Field(description="packets of another length than in the model")
    first_ns: Whole | None = Field(description="time of the first packet; null without one")
