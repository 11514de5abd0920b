"""Published distributions of flow sizes: points that we read off the papers' figures, rounded as a figure allows.

A point is (bytes, per cent of flows of at most that size), linear between points. All are bytes, the data mining ones
too, which some simulators' files count in packets.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Distribution(NamedTuple):
    """What was measured and where it was published, and the points."""

    source: str
    points: tuple[tuple[float, float], ...]


_K: Final = 1e3
_M: Final = 1e6
_FACEBOOK: Final = "Roy et al., SIGCOMM 2015, figure 6, all destinations"

PUBLISHED: Final[dict[str, Distribution]] = {
    "web-search": Distribution(
        "a web search cluster: Alizadeh et al. (DCTCP), SIGCOMM 2010, figure 4",
        (
            *((0, 0), (10 * _K, 15), (20 * _K, 20), (30 * _K, 30), (50 * _K, 40), (80 * _K, 53)),
            *((200 * _K, 60), (1 * _M, 70), (2 * _M, 80), (5 * _M, 90), (10 * _M, 97), (30 * _M, 100)),
        ),
    ),
    "data-mining": Distribution(
        "a data mining cluster: Greenberg et al. (VL2), SIGCOMM 2009, figure 2",
        (
            *((0, 0), (180, 10), (220, 20), (550, 30), (900, 40), (1.1 * _K, 50), (1.9 * _K, 60), (3.2 * _K, 70)),
            *((10 * _K, 80), (400 * _K, 90), (3.2 * _M, 95), (100 * _M, 98), (1000 * _M, 100)),
        ),
    ),
    "hadoop": Distribution(
        f"Hadoop at Facebook: {_FACEBOOK}",
        (
            *((0, 0), (50, 0.2), (165, 0.8), (228, 1.6), (264, 3), (307, 5.4), (330, 13.7), (378, 17.4), (413, 21.5)),
            *((486, 26.5), (586, 33), (630, 46), (727, 53.3), (840, 58.3), (1.3 * _K, 62.5), (1.64 * _K, 66.6)),
            *((3.2 * _K, 68), (6.4 * _K, 70), (23 * _K, 71.6), (40 * _K, 74), (50 * _K, 81.5), (72 * _K, 83.5)),
            *((80 * _K, 87), (150 * _K, 91.4), (265 * _K, 94.8), (570 * _K, 96.2), (1.24 * _M, 97.2), (2 * _M, 98.4)),
            *((4.7 * _M, 98.9), (11 * _M, 99.1), (96 * _M, 100)),
        ),
    ),
    "cache-follower": Distribution(
        f"cache followers at Facebook: {_FACEBOOK}",
        (
            *((0, 0), (71, 0.5), (76, 2.9), (180, 4.5), (320, 7), (350, 16), (435, 17.6), (480, 24.6), (560, 27)),
            *((650, 27.6), (730, 31), (910, 33), (1.3 * _K, 36), (2.4 * _K, 39.5), (3.8 * _K, 42), (11.6 * _K, 46.7)),
            *((31 * _K, 51.7), (74 * _K, 57.5), (175 * _K, 65), (300 * _K, 72.5), (430 * _K, 75.5), (700 * _K, 77.5)),
            *(
                (1.1 * _M, 78.5),
                (1.64 * _M, 81),
                (1.98 * _M, 85.5),
                (2.3 * _M, 89.7),
                (2.6 * _M, 94.8),
                (2.9 * _M, 97.8),
            ),
            *((4.4 * _M, 99.5), (28 * _M, 100)),
        ),
    ),
    "web-server": Distribution(
        f"web servers at Facebook: {_FACEBOOK}",
        (
            *((0, 0), (70, 0.4), (143, 1.1), (151, 8.7), (280, 10.2), (305, 20.4), (450, 22), (610, 27), (780, 31.5)),
            *((1.02 * _K, 36), (1.3 * _K, 45.5), (1.5 * _K, 51.5), (1.9 * _K, 57.5), (2.15 * _K, 63), (2.7 * _K, 67)),
            *((3.6 * _K, 72), (5.2 * _K, 75.5), (7.3 * _K, 78), (17 * _K, 83.5), (39 * _K, 88), (100 * _K, 92)),
            *((240 * _K, 95.5), (330 * _K, 97.4), (530 * _K, 98.9), (1.3 * _M, 99.4), (20 * _M, 100)),
        ),
    ),
    "google-rpc": Distribution(
        "all RPCs of a Google data centre in 2008: Montazeri et al. (Homa), SIGCOMM 2018, figure 1, W3",
        (
            *((0, 1), (3, 6.5), (17, 8), (40, 12), (60, 15), (84, 25), (127, 35), (155, 40), (195, 45), (255, 50)),
            *((280, 55), (310, 60), (350, 65), (395, 70), (457, 75), (566, 80), (880, 85), (1.7 * _K, 90)),
            *(
                (2.6 * _K, 92),
                (4.5 * _K, 94),
                (5.5 * _K, 95),
                (7.1 * _K, 96),
                (9.5 * _K, 97),
                (13.3 * _K, 98),
                (18 * _K, 98.5),
            ),
            *((31 * _K, 99), (85 * _K, 99.5), (127 * _K, 99.7), (195 * _K, 99.8), (355 * _K, 99.9)),
            *(
                (525 * _K, 99.95),
                (850 * _K, 99.97),
                (1.25 * _M, 99.98),
                (2.3 * _M, 99.99),
                (4 * _M, 99.995),
                (5.6 * _M, 99.997),
                (9.7 * _M, 99.999),
            ),
            (15 * _M, 100),
        ),
    ),
    "ali-storage": Distribution(
        "storage at Alibaba: Li et al. (HPCC), SIGCOMM 2019",
        (
            *((0, 0), (4 * _K, 23), (8 * _K, 69), (16 * _K, 80.5), (32 * _K, 90.5), (64 * _K, 93.5)),
            *((128 * _K, 96.8), (256 * _K, 97.5), (2 * _M, 100)),
        ),
    ),
    "solar": Distribution(
        "storage at Alibaba, mostly whole blocks: Miao et al. (Solar), SIGCOMM 2022",
        ((4096, 0), (4096, 30), (16384, 35), (16384, 50), (65536, 60), (65536, 95), (262144, 100)),
    ),
}
