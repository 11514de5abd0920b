"""What `trace.json` holds, declared once: the ingest writes it from these models, and a trace is read back by them."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from segcast.traces.disk.documents import Count, Number, Shape, Whole

LinkTypeNumber = Annotated[str, Field(pattern="^[0-9]{1,5}$")]
MOST_FLOWS: Final = 2**32


class Finding(Shape):
    """Something about the packets that a reader should know before believing the numbers."""

    code: str = Field(description="what it is, as one word, such as `duplicate_packets`")
    severity: Literal["info", "warning", "error"] = Field(description="how much it matters")
    count: Count = Field(description="how many packets, flows or files are concerned; `detail` says which")
    detail: str = Field(description="what was found, as a sentence")
    effect: str = Field(description="what that does to a forecast, or how to mend it")


class DamageEntry(Shape):
    """A place where a capture could not be read."""

    offset: Count = Field(description="byte of the capture, uncompressed, where reading stopped")
    reason: str = Field(description="what is wrong there")
    resumed_at: Count | None = Field(description="byte where reading went on; null where it did not")


class SourceEntry(Shape):
    """A capture of the trace; its place in the list is `file` of its packets."""

    path: str = Field(description="where the capture is: an absolute path, a URL, or `-` for standard input")
    bytes: Count = Field(description="size as stored")
    xxh128: str = Field(description="digest of the stored bytes (XXH128), in hexadecimal")
    format: str = Field(description="`pcap`, `pcapng`, `snoop` and so on")
    compression: str = Field(description="how it is compressed, such as `gzip`; `none` if it is not")
    packets: Count = Field(description="frames read")
    linktypes: dict[LinkTypeNumber, Count] = Field(description="frames by number of their link type")
    snaplens: list[Count] = Field(description="bytes of each frame that the capturing program kept at most")
    clock_resolutions_ns: list[Number] = Field(description="steps of its time stamps, one for each that occurs")
    skipped: dict[str, Count] = Field(description="frames that hold no IP packet we can read, by reason")
    drops: dict[str, Count] = Field(description="packets that were lost in capturing, by who says so")
    odd_records: dict[str, Count] = Field(
        default_factory=dict, description="records whose headers cannot be true, though they were read, by what is odd"
    )
    most_fraction: Count = Field(0, description="largest fraction of a second among such records, in ticks of the file")
    further_headers: Count = Field(0, description="captures that begin within this one, as `cat` joins them")
    damages: list[DamageEntry] = Field(description="places where the capture could not be read")
    first_ns: Whole | None = Field(description="earliest time stamp (UTC epoch); null where no frame has one")
    last_ns: Whole | None = Field(description="latest time stamp; null where no frame has one")
    wire_bytes: Count = Field(description="lengths of the frames on the wire, added up")
    captured_bytes: Count = Field(description="bytes of the frames that were captured, added up")
    longest_captured_bytes: Count = Field(description="most bytes captured of one frame")
    truncated_packets: Count = Field(description="frames of which not all bytes were captured")
    packets_without_time: Count = Field(description="frames without a time stamp; their `time_ns` is 0")
    time_steps_backwards: Count = Field(description="frames that are earlier than the one before them")
    furthest_step_backwards_ns: Count = Field(description="the largest of those steps")
    long_silences: Count = Field(0, description="frames that come over a day after the one before them")
    longest_silence_ns: Count = Field(0, description="the longest time between a frame and the next")
    clock_unit_seen_ns: Count | None = Field(
        description="greatest unit that all time stamps are multiples of; null where no frame has one"
    )


class PartEntry(Shape):
    """A file of the packets table."""

    name: Annotated[str, Field(pattern=r"^part-[0-9]{5,}\.parquet$")] = Field(description="name in `packets/`")
    rows: Count = Field(description="packets in it")


class OffloadSplit(Shape):
    """How frames longer than a segment, as offloading hosts record them, were cut into packets."""

    mss: Count | Literal["auto"] = Field(description="payload of each packet; `auto`: as its connection announced")
    line_rate_bps: Count = Field(description="rate at which the packets of a frame follow each other")


class Anonymization(Shape):
    """How addresses were replaced."""

    method: str = Field(description="the method, such as `Crypto-PAn`")
    key_fingerprint: str = Field(description="tells whether two traces were made with the same key")


class TraceDocument(Shape):
    """What a trace is made of, what was left out of it, and what is noteworthy about it."""

    schema_version: Count = Field(description="version of the trace's tables and of this document")
    layer: Literal["outer", "inner"] = Field(description="the IP header that counts where tunnels nest them")
    packets: Count = Field(description="rows of the packets table")
    wire_bytes: Count | None = Field(
        None, description="lengths on the wire of the packets table, added up; null in traces of before"
    )
    captured_bytes: Count | None = Field(
        None, description="captured bytes of the packets table, added up; null in traces of before"
    )
    flows: Annotated[int, Field(ge=0, lt=MOST_FLOWS)] = Field(description="rows of the flows table")
    segment_lists: Count = Field(description="rows of the segment lists table")
    tenants: Count = Field(description="VLANs and overlays that flows belong to")
    flows_by: Literal["tenant", "addresses"] = Field(
        description="whether flows of several tenants are told apart (`--flows`)"
    )
    duplicates_dropped: bool = Field(description="whether repeated packets were dropped (`--drop-duplicates`)")
    offload_split: OffloadSplit | None = Field(description="how long frames were cut (`--split-offload`); else null")
    anonymized: Anonymization | None = Field(description="how addresses were replaced (`--anonymize`); else null")
    filter: str | None = Field(None, description="what was kept of the captures (`--filter`); null for everything")
    findings: list[Finding] = Field(description="what is noteworthy, worst first")
    left_out: dict[str, Count] = Field(description="inputs that were not read, by reason")
    skipped: dict[str, Count] = Field(description="frames of all captures that hold no IP packet, by reason")
    tunnels: dict[str, Count] = Field(description="packets whose inner header was read, by tunnel")
    tunnels_unread: dict[str, Count] = Field(description="packets whose inner header was not, by tunnel and reason")
    segment_lists_unread: dict[str, Count] = Field(description="packets whose segment list was not read, by reason")
    fragments_without_first: Count = Field(description="fragments whose ports are unknown, the first being missing")
    packets_beyond_frame: Count = Field(0, description="packets longer, by their IP headers, than their frames")
    packets_in_aggregates: Count = Field(0, description="packets behind the first in aggregates of 802.11, not read")
    sources: Annotated[list[SourceEntry], Field(min_length=1)] = Field(description="the captures, in order of `file`")
    parts: Annotated[list[PartEntry], Field(min_length=1)] = Field(description="the files of the packets table")
