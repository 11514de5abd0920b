"""The words and tables of a trace, defined once: column names, types, units and meaning.

Every quantity carries its unit in its name. Tables are Arrow in memory and Parquet on disk; `docs/tables.md` is
generated from these definitions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = 4


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its Arrow type, whether it may be null, and what it means."""

    name: str
    type: pa.DataType
    meaning: str
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table as data: where it lives, what a row is, and its columns in order."""

    name: str
    row: str
    columns: tuple[Column, ...]

    def arrow_schema(self) -> pa.Schema:
        """The Arrow schema, columns in order; each field has its `meaning` as metadata, which files keep."""
        return pa.schema(
            [pa.field(c.name, c.type, c.nullable, metadata={"meaning": c.meaning}) for c in self.columns],
            metadata={"row": self.row},
        )

    def names(self) -> list[str]:
        """Column names in order."""
        return [c.name for c in self.columns]


PACKETS: Final = Table(
    "packets",
    "a frame of a capture, in order of time; each capture keeps its own order",
    (
        Column("file", pa.uint16(), "index into the source files of `trace.json`"),
        Column("frame_number", pa.uint64(), "1-based number in its file, as Wireshark counts"),
        Column("file_offset", pa.uint64(), "byte offset of the record in its (decompressed) file"),
        Column("time_ns", pa.int64(), "capture time, UTC epoch"),
        Column("flow_id", pa.uint32(), "row of `flows`; null if the frame has no readable IP header", True),
        Column("wire_bytes", pa.uint32(), "original length of the frame"),
        Column("captured_bytes", pa.uint32(), "bytes of the frame that were captured"),
        Column("ip_bytes", pa.uint32(), "IP header and payload: what SRv6 encapsulates", True),
        Column("payload_bytes", pa.uint32(), "transport payload, from the IP length", True),
        Column("tcp_seq", pa.uint32(), "sequence number; null if not TCP or not captured", True),
        Column("tcp_ack", pa.uint32(), "acknowledgement number", True),
        Column("tcp_flags", pa.uint8(), "CWR to FIN", True),
        Column("tcp_window", pa.uint16(), "window, unscaled", True),
        Column("ip_id", pa.uint32(), "IPv4 identification, or that of an IPv6 fragment header", True),
        Column("tos", pa.uint8(), "IPv4 TOS or IPv6 traffic class: DSCP and ECN", True),
        Column("fragment_offset", pa.uint16(), "bytes; null if the packet is no fragment", True),
        Column("segment_list_id", pa.uint32(), "row of `segment_lists`: the SRv6 path of the outermost header", True),
        Column(
            "tcp_marks",
            pa.uint8(),
            "sum of 1 retransmission, 2 out of order, 4 keep-alive, 8 duplicate ack, 16 ack of unseen data, "
            "32 after a gap, 64 super-frame",
            True,
        ),
        Column("split", pa.uint16(), "1-based number of the wire frame in its super-frame; 0 unless it was split"),
    ),
)

SEGMENT_LISTS: Final = Table(
    "segment_lists",
    "a distinct SRv6 segment list, in order of its first packet",
    (
        Column("segment_list_id", pa.uint32(), "0-based row number"),
        Column("segments", pa.list_(pa.field("item", pa.string(), nullable=False)), "addresses in order of travel"),
    ),
)

FLOWS: Final = Table(
    "flows",
    "one direction of a five-tuple until that is used again, in order of its first packet",
    (
        Column("flow_id", pa.uint32(), "0-based row number"),
        Column("ip_version", pa.uint8(), "4 or 6"),
        Column("protocol", pa.uint8(), "transport protocol, after IPv6 extension headers"),
        Column("src", pa.string(), "source address"),
        Column("dst", pa.string(), "destination address"),
        Column("src_port", pa.uint16(), "null where the protocol has no ports or they were not captured", True),
        Column("dst_port", pa.uint16(), "as `src_port`", True),
        Column("tenant", pa.string(), "VLANs and overlays' identifiers around it, outermost first; null if none", True),
        Column("first_ns", pa.int64(), "time of its earliest packet"),
        Column("last_ns", pa.int64(), "time of its latest packet"),
        Column("packets", pa.uint64(), "packets"),
        Column("bytes", pa.uint64(), "sum of `wire_bytes`"),
        Column("reverse_flow_id", pa.uint32(), "the other direction, if captured", True),
        Column(
            "rtt_min_ns", pa.int64(), "least time from a segment to its acknowledgement, at the capture point", True
        ),
        Column("rtt_median_ns", pa.int64(), "median of the same", True),
        Column(
            "handshake_rtt_ns",
            pa.int64(),
            "SYN to SYN/ACK of the initiator's direction, SYN/ACK to ACK of the other, at the capture point",
            True,
        ),
        Column("retransmissions", pa.uint64(), "packets marked so"),
        Column("out_of_order", pa.uint64(), "packets marked so"),
    ),
)
