"""Makes the captures that the ingest benchmarks read, of any size in bounded memory and the same each time.

`python -m benchmarks.synthesis headers|frames BYTES` writes one to standard output, a nanosecond pcap.

Both hold some 20,000 conversations of IPv4 at a time, of heavy-tailed popularity, one in ten UDP, one in three with TCP
timestamps. One side of each sends, the other acknowledges after one or two packets: connections without loss. A block
of packets is made once and repeated with its times and numbers moved on, and with new addresses for the conversations
of one packet in a hundred.

headers: 54 or 66 captured bytes of each frame; nearly 40 % acknowledgements, else 100 or 1,448 bytes of payload.
frames: captured whole; 27 % acknowledgements of 60 to 66 bytes, 7 % frames of some 600 bytes, 66 % of 1,490 to 1,514.
Payload is drawn from 64 MiB of which 70 % are text of a made-up vocabulary and 30 % random, so that gzip halves it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.traces.jit import allocating

Bytes = NDArray[np.uint8]

SEED: Final = 1
CONVERSATIONS: Final = 25_000
LASTING: Final = 24_000  # of these; the others are new ones in each block
GAP_NS: Final = 700  # on average
FIRST_NS: Final = 1_700_000_000 * 10**9
FILE_HEADER: Final = np.array([0xA1B23C4D, 0x00040002, 0, 0, 65535, 1], "<u4").tobytes()
RECORD_HEADER: Final = 16
LONGEST_HEADERS: Final = 66
SHORTEST_RECORD: Final = RECORD_HEADER + 54
FIELDS: Final = (26, 30, 38, 42)  # where the addresses, the sequence number and the acknowledgement are in a frame
POOL_BYTES: Final = 64 << 20
PAGE_BYTES: Final = 1 << 14
RANDOM_SHARE: Final = 0.3


class Mix(NamedTuple):
    """What a capture is made of: which packets of a conversation acknowledge, and the payloads of the others."""

    acknowledging: tuple[bool, ...]
    payload_bytes: tuple[int, ...]
    shares: tuple[float, ...]
    whole: bool  # payload is captured
    block_packets: int


MIXES: Final = {
    "headers": Mix((False, False, True, False, True), (100, 1448), (0.5, 0.5), False, 500_000),
    "frames": Mix((False, False, True), (548, 1448), (0.1, 0.9), True, 100_000),
}


class Block(NamedTuple):
    """Packets as they lie in a file, and how far each one's numbers move until the block comes again."""

    data: Bytes
    position: NDArray[np.int64]  # of the record, and the end
    step: NDArray[np.uint32]  # of each of FIELDS


def write(path: Path, mix: Mix, *, packets: int | None = None, size: int | None = None) -> int:
    """Write a capture of so many packets, or of at most `size` bytes; how many packets it has.

    It is on the device, not only in the page cache, before anything is timed.
    """
    count = 0
    with path.open("wb") as file:
        for piece, rows in pieces(mix, packets=packets, size=size):
            file.write(piece)
            count += rows
        file.flush()
        os.fsync(file.fileno())
    return count


def pieces(mix: Mix, *, packets: int | None = None, size: int | None = None) -> Iterator[tuple[Any, int]]:
    """The bytes of a capture in order, with the packets in them; each piece is overwritten by the next."""
    most = sys.maxsize if packets is None else packets
    room = (sys.maxsize if size is None else size) - len(FILE_HEADER)
    yield FILE_HEADER, 0
    fitting = max(1, room // SHORTEST_RECORD)
    block = _block(np.random.default_rng(SEED), mix, min(mix.block_packets, most, fitting))
    rows = len(block.step)
    while True:
        count = min(most, rows, int(np.searchsorted(block.position, room, "right")) - 1)
        end = int(block.position[count])
        if count > 0:
            yield block.data[:end].data, count
        if count < rows:
            return
        most -= rows
        room -= end
        _move_on(block, rows * GAP_NS)


def _block(rng: np.random.Generator, mix: Mix, packets: int) -> Block:
    """Both directions of the conversations; the first block of a capture."""
    popular = (rng.pareto(1.1, packets) * 50).astype(np.int64) % LASTING
    drawn = rng.random(packets)
    conversation = np.where(drawn < 0.2, rng.integers(0, LASTING, packets), popular)
    conversation = np.where(drawn < 0.01, rng.integers(LASTING, CONVERSATIONS, packets), conversation)
    order = np.argsort(conversation, kind="stable")
    packets_of = np.bincount(conversation, minlength=CONVERSATIONS)
    rank = np.empty(packets, np.int64)
    rank[order] = np.arange(packets) - np.repeat(np.cumsum(packets_of) - packets_of, packets_of)
    backward = np.array(mix.acknowledging)[rank % len(mix.acknowledging)]
    udp = conversation % 10 == 0
    options = (conversation % 3 == 0) & ~udp
    payload = np.where(backward, 0, rng.choice(mix.payload_bytes, packets, p=mix.shares))
    total = np.bincount(conversation, payload, CONVERSATIONS).astype(np.int64)
    sent = np.empty(packets, np.int64)  # by the conversation, before the packet
    sent[order] = np.cumsum(payload[order]) - payload[order] - np.repeat(np.cumsum(total) - total, packets_of)
    transport = np.where(udp, 8, np.where(options, 32, 20))
    wire = np.maximum(14 + 20 + transport + payload, 60)
    captured = wire if mix.whole else np.where(options, 66, 54)
    time_ns = (np.cumsum(rng.exponential(1.0, packets)) * GAP_NS).astype(np.int64)
    time_ns = FIRST_NS + time_ns * (packets * GAP_NS) // (time_ns[-1] + GAP_NS)
    head = np.zeros((packets, RECORD_HEADER + LONGEST_HEADERS), np.uint8)
    record = head[:, :RECORD_HEADER].view("<u4")
    for column, values in enumerate((time_ns // 10**9, time_ns % 10**9, captured, wire)):
        record[:, column] = values
    frame = head[:, RECORD_HEADER:]

    def put(at: int, size: int, value: Any) -> None:
        value = np.broadcast_to(np.asarray(value, np.int64), packets)
        for k in range(size):
            frame[:, at + k] = (value >> (8 * (size - 1 - k))) & 0xFF

    client, server = 0x0A000000 + conversation % 997, 0x0A010000 + conversation % 61
    client_port = 10_000 + conversation // 2
    put(12, 2, 0x0800)
    put(14, 2, 0x4500)
    put(16, 2, 20 + transport + payload)
    put(18, 2, np.arange(packets))
    put(22, 1, 64)
    put(23, 1, np.where(udp, 17, 6))
    put(26, 4, np.where(backward, server, client))
    put(30, 4, np.where(backward, client, server))
    put(34, 2, np.where(backward, 443, client_port))
    put(36, 2, np.where(backward, client_port, 443))
    put(38, 4, np.where(udp, (8 + payload) << 16, np.where(backward, 1, sent + 1)))
    put(42, 4, np.where(udp, 0, np.where(backward, sent + 1, 1)))
    put(46, 1, np.where(udp, 0, transport << 2))
    put(47, 1, np.where(udp, 0, 0x10))
    put(48, 2, np.where(udp, 0, 502))
    position = np.concatenate([[0], np.cumsum(RECORD_HEADER + captured)]).astype(np.int64)
    data = np.empty(position[-1], np.uint8)
    pool = _pool(rng) if mix.whole else np.zeros(1, np.uint8)
    begin = rng.integers(0, max(1, len(pool) - 2048), packets)
    _assemble(head, 34 + transport, pool, begin, position, data)
    moves = np.where(udp, 0, total[conversation])
    renewed = conversation >= LASTING
    step = np.stack([renewed, renewed, np.where(backward, 0, moves), np.where(backward, moves, 0)], axis=1)
    return Block(data, position, step.astype(np.uint32))


def _pool(rng: np.random.Generator) -> Bytes:
    """Payload to draw from: pages of text and of random bytes."""
    letters = np.frombuffer(b"etaoinshrdlucmfwypvbgk", np.uint8)
    words = [letters[rng.integers(0, len(letters), size)].tobytes() for size in rng.integers(2, 12, 4096)]
    chosen = np.minimum(rng.zipf(1.3, 1 << 20), len(words)) - 1
    text = np.frombuffer(b" ".join(words[n] for n in chosen.tolist()), np.uint8)
    pool = np.frombuffer(rng.bytes(POOL_BYTES), np.uint8).reshape(-1, PAGE_BYTES).copy()
    for page in np.flatnonzero(rng.random(len(pool)) >= RANDOM_SHARE):
        at = rng.integers(0, len(text) - PAGE_BYTES)
        pool[page] = text[at : at + PAGE_BYTES]
    return pool.reshape(-1)


@allocating
def _assemble(
    head: Bytes,
    header_bytes: NDArray[np.int64],
    pool: Bytes,
    begin: NDArray[np.int64],
    position: NDArray[np.int64],
    data: Bytes,
) -> None:
    """Lay records into `data`: the record header, `header_bytes` of the frame's, then payload from the pool."""
    for i in range(begin.size):
        at, end = position[i], position[i + 1]
        known = min(end - at, RECORD_HEADER + header_bytes[i])
        data[at : at + known] = head[i, :known]
        rest = end - at - known
        data[at + known : end] = pool[begin[i] : begin[i] + rest]


@allocating
def _move_on(block: Block, span_ns: int) -> None:
    """Let every packet of the block come again `span_ns` later."""
    data = block.data
    for i in range(block.step.shape[0]):
        at = block.position[i]
        words = data[at : at + 8].view(np.uint32)
        fraction = np.int64(words[1]) + span_ns
        words[0] += fraction // 1_000_000_000
        words[1] = fraction % 1_000_000_000
        for k in range(len(FIELDS)):
            value = np.int64(block.step[i, k])
            if value:
                place = at + RECORD_HEADER + FIELDS[k]
                for byte in range(place + 3, place - 1, -1):
                    value += data[byte]
                    data[byte] = value & 0xFF
                    value >>= 8


def main() -> None:
    """Write a capture to standard output."""
    for piece, _ in pieces(MIXES[sys.argv[1]], size=int(sys.argv[2])):
        sys.stdout.buffer.write(piece)


if __name__ == "__main__":
    main()
