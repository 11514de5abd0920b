"""Quantities with units: what is accepted, exactly which number it is, and what is said of the rest."""

from __future__ import annotations

from typing import Final

import pytest

from segcast.traces.errors import InputError
from segcast.traces.units import duration_ns, rate_bps, say_share, size_bytes, write_size

READERS: Final = {"duration": duration_ns, "size": size_bytes, "rate": rate_bps}
EXAMPLES: Final = {"duration": "100us or 1.5ms", "size": "1500B or 512KiB", "rate": "10Gbps or 100Mbit/s"}

# The texts of each number; bars part them.
NUMBERS: Final = {
    "duration": {
        0: (
            "0s|0ms|00s|00ms|-0s|-0ms|0us|0\u00b5s|0\u03bcs|0ns|0ps|0fs|1as|2.5as|0as|0ks|0Ms|0Gs|0Ts|0cs|1zs|"
            "2.5zs|1000 zs|0zs|1ys|2.5ys|1000 ys|0ys|1rs|2.5rs|1000 rs|0rs|1qs|2.5qs|1000 qs|0qs|0Zs|0Es|0Ps|"
            "0.0000000000000000000000000000001s|-0us|0Qs|0Rs|0Ys|0Qis|0Ris|0Yis|0Zis|0Eis|0Pis|0Tis|0Gis|0Mis|0Kis"
        ),
        1: (
            "1ns|1000 ps|1.0000001ns|1.000000000000000000000000000000000001ns|0.9999999ns|1.00000000001ns|"
            "0.9999999999ns|1.000001ns"
        ),
        3: "3ns",
        70: "0.07us|0.07\u00b5s",
        100: "0.0001ms",
        250: "0.25us|0.25\u00b5s",
        300: "0.3us|0.3\u00b5s",
        1000: (
            "1us|1\u00b5s|1\u03bcs|1000 ns|1  us| 1us|1us |\u00091\u0009us\u000a|1\u00a0us|1\u2009us|"
            "1                                     us|1.000000000000000000000000000000000000us|1\u000bus|1\u000cus|"
            "1\u000dus|1\u001cus|1\u001dus|1\u001eus|1\u001fus|1\u0085us|1\u1680us|1\u2000us|1\u2028us|1\u2029us|"
            "1\u202fus|1\u205fus|1\u3000us|\u000b1us\u000b|\u001c1us\u001c|\u00851us\u0085|\u20281us\u2028|"
            "\u30001us\u3000"
        ),
        1100: "1.1us|1.1\u00b5s",
        2200: "2.2us|2.2\u00b5s",
        2500: "2.5us|2.5\u00b5s|2.5\u03bcs",
        3000: "3us|3\u00b5s",
        4350: "4.35us|4.35\u00b5s",
        8100: "8.1us|8.1\u00b5s",
        12500: "12.5us|12.5\u00b5s",
        100000: "0.1ms|0.0001s|0.0000000000000000000000000000000001Qs",
        300000: "0.30000000000000004ms",
        500000: "0.5ms",
        1000000: "1ms|1000 us|1000 \u00b5s|1000 \u03bcs",
        1500000: "1.5ms",
        2500000: "2.5ms",
        7000000: "007ms",
        10000000: "10ms|1cs|1 cs",
        25000000: "2.5cs",
        100000000: "100ms|0.1s",
        300000000: "0.30000000000000004s",
        500000000: "0.5s",
        1000000000: "1s|1000 ms|000000000000000000000000000000000000001s|1.0000000000000001s",
        1000000001: "1.000000001s",
        1500000000: "1.5s",
        2500000000: "2.5s",
        7000000000: "007s",
        10000000000: "10s|1000 cs",
        70000000000: "0.07ks",
        100000000000: "100s",
        250000000000: "0.25ks",
        300000000000: "0.3ks",
        1000000000000: "1000 s|1ks",
        1000000100000: "1.0000001ks",
        1024000000000: "1Kis",
        1100000000000: "1.1ks",
        2200000000000: "2.2ks",
        2500000000000: "2.5ks",
        3000000000000: "3ks",
        4350000000000: "4.35ks",
        8100000000000: "8.1ks",
        9007199000000: "9007199ms",
        12500000000000: "12.5ks",
        1000000000000000: "1000 ks|1Ms",
        1048576000000000: "1Mis",
        2500000000000000: "2.5Ms",
        9007199000000000: "9007199s",
        9007199254740991: "9007199254740991ns|9007199.254740991s",
    },
    "size": {
        0: (
            "0B|0KiB|00B|00KiB|-0B|-0KiB|0kB|0KB|0MB|0MiB|0GB|0GiB|0TB|0TiB|0PB|0EB|0EiB|0YB|0QB|0mB|1uB|0uB|0cB|"
            "0RB|-0.0B|1rB|1qB|0ZB|0QiB|0RiB|0YiB|0ZiB|0PiB|0rB|0qB"
        ),
        1: "1B|1.000000001B|1000 mB",
        7: "007B",
        10: "10B|1000 cB",
        70: "0.07kB",
        100: "100B",
        250: "0.25kB",
        300: "0.3kB",
        512: "0.5KiB",
        1000: "1000 B|1kB|1KB",
        1024: "1KiB",
        1100: "1.1kB",
        1536: "1.5KiB",
        2200: "2.2kB",
        2500: "2.5kB|2.5KB",
        2560: "2.5KiB",
        3000: "3kB",
        4350: "4.35kB",
        7168: "007KiB",
        8100: "8.1kB",
        10240: "10KiB",
        12500: "12.5kB",
        70000: "0.07MB",
        102400: "100KiB",
        250000: "0.25MB",
        262144: "0.25MiB",
        300000: "0.3MB",
        1000000: "1000 kB|1000 KB|1MB",
        1024000: "1000 KiB",
        1048576: "1MiB",
        1100000: "1.1MB",
        2200000: "2.2MB",
        2500000: "2.5MB",
        2621440: "2.5MiB",
        3000000: "3MB",
        3145728: "3MiB",
        4350000: "4.35MB",
        8100000: "8.1MB",
        9007199: "9007199B",
        12500000: "12.5MB",
        13107200: "12.5MiB",
        70000000: "0.07GB",
        250000000: "0.25GB",
        300000000: "0.3GB",
        1000000000: "1000 MB|1GB",
        1000000100: "1.0000001GB",
        1048576000: "1000 MiB",
        1073741824: "1GiB",
        1100000000: "1.1GB",
        2200000000: "2.2GB",
        2500000000: "2.5GB",
        2684354560: "2.5GiB",
        3000000000: "3GB",
        4350000000: "4.35GB",
        8100000000: "8.1GB",
        9223371776: "9007199KiB",
        12500000000: "12.5GB",
        1000000000000: "1000 GB|1TB",
        1073741824000: "1000 GiB",
        1099511627776: "1TiB",
        2500000000000: "2.5TB",
        2748779069440: "2.5TiB",
        1000000000000000: "1000 TB|1PB",
        1099511627776000: "1000 TiB",
        1125899906842624: "1PiB",
        2500000000000000: "2.5PB",
        9006073354834149: "7.999PiB",
        9006099743113216: "8191TiB",
        9007199254740991: "9007199254740991B",
    },
    "rate": {
        0: (
            "0Mbps|0Gbit/s|00Mbps|00Gbit/s|-0Mbps|-0Gbit/s|0bps|0kbps|0Kbps|0Gbps|0Tbps|0Pbps|0mbps|1ubps|0ubps|"
            "1nbps|2.5nbps|1000 nbps|0nbps|0Kibps|0Mibps|0bit/s|0kbit/s|0Kbit/s|0Mbit/s|0Mibit/s|0b/s|0kb/s|0Mb/s|"
            "0Gb/s|1ybps|1rbps|1rb/s|1qbps|1qb/s|0Qbps|0Qb/s|0Rbps|0Rb/s|0Ybps|0Yb/s|0Zbps|0Zb/s|0Ebps|0Eb/s|0Pb/s|"
            "0Qibps|0Qib/s|0Ribps|0Rib/s|0Yibps|0Yib/s|0Zibps|0Zib/s|0Eibps|0Eib/s|0Pibps|0Pib/s|0Tibps|0Tib/s|"
            "0Gibps|0Gib/s|0Mib/s|0Kib/s|0rbps|0rb/s|0qbps|0qb/s"
        ),
        1: "1bps|1000 mbps|1bit/s|1b/s|1000mbps|1000000ubps|1000mb/s",
        70: "0.07kbps",
        100: "0.0001Mbps",
        250: "0.25kbps",
        300: "0.3kbps",
        1000: "1000 bps|1kbps|1Kbps|1000 bit/s|1kbit/s|1Kbit/s|1000 b/s|1kb/s|1Kb/s",
        1024: "1Kibps|1Kibit/s|1Kib/s",
        1100: "1.1kbps",
        2200: "2.2kbps",
        2500: "2.5kbps|2.5Kbps|2.5kbit/s|2.5Kbit/s|2.5kb/s",
        2560: "2.5Kibps",
        3000: "3kbps",
        4350: "4.35kbps",
        8100: "8.1kbps",
        12500: "12.5kbps",
        70000: "0.07Mbit/s",
        100000: "0.1Mbps|0.0001Gbit/s",
        250000: "0.25Mbit/s",
        300000: "0.30000000000000004Mbps|0.3Mbit/s",
        500000: "0.5Mbps",
        1000000: "1Mbps|1000 kbps|1000 Kbps|1000 kbit/s|1000 Kbit/s|1Mbit/s|1000 kb/s|1Mb/s",
        1024000: "1000 Kibps",
        1048576: "1Mibps|1Mibit/s|1Mib/s",
        1100000: "1.1Mbit/s",
        1500000: "1.5Mbps",
        2200000: "2.2Mbit/s",
        2500000: "2.5Mbps|2.5Mbit/s|2.5Mb/s",
        2621440: "2.5Mibps|2.5Mibit/s",
        3000000: "3Mbit/s",
        4350000: "4.35Mbit/s",
        7000000: "007Mbps",
        8100000: "8.1Mbit/s",
        10000000: "10Mbps",
        12500000: "12.5Mbit/s",
        70000000: "0.07Gbps",
        100000000: "100Mbps|0.1Gbit/s|100 Mb/s",
        250000000: "0.25Gbps",
        300000000: "0.30000000000000004Gbit/s|0.3Gbps",
        500000000: "0.5Gbit/s",
        1000000000: "1Gbit/s|1000 Mbps|1Gbps|1000 Mbit/s|1000 Mb/s|1Gb/s",
        1000000001: "1.000000001Gbit/s",
        1000000100: "1.0000001Gbps",
        1048576000: "1000 Mibps|1000 Mibit/s",
        1073741824: "1Gibps|1Gib/s",
        1100000000: "1.1Gbps",
        1500000000: "1.5Gbit/s",
        2200000000: "2.2Gbps",
        2500000000: "2.5Gbps|2.5Gbit/s|2.5Gb/s|2.5 Gbps",
        3000000000: "3Gbps",
        4350000000: "4.35Gbps",
        7000000000: "007Gbit/s",
        8100000000: "8.1Gbps",
        10000000000: "10Gbit/s",
        12500000000: "12.5Gbps",
        70000000000: "0.07Tbps",
        100000000000: "100Gbit/s",
        250000000000: "0.25Tbps",
        300000000000: "0.3Tbps",
        1000000000000: "1000 Gbps|1Tbps|1000 Gbit/s|1000 Gb/s",
        1000000100000: "1.0000001Tbps",
        1099511627776: "1Tibps|1Tib/s",
        1100000000000: "1.1Tbps",
        2200000000000: "2.2Tbps",
        2500000000000: "2.5Tbps",
        3000000000000: "3Tbps",
        4350000000000: "4.35Tbps",
        8100000000000: "8.1Tbps",
        9007199000000: "9007199Mbps",
        12500000000000: "12.5Tbps",
        1000000000000000: "1000 Tbps|1Pbps|1Pb/s",
        1125899906842624: "1Pibps|1Pib/s",
        2500000000000000: "2.5Pbps",
        9000000000000000: "9Pbps",
        9007000000000000: "9007Tbps",
        9007199000000000: "9007199Gbit/s",
    },
}
OUT_OF_RANGE: Final = {
    "duration": (
        "-1s|-1ms|123456789012345678s|123456789012345678ms|9007199254740991s|9007199254740991ms|9007199254740992s|"
        "9007199254740992ms|99999999999999999999s|99999999999999999999ms|-1.5s|-1.5ms|1000 Ms|1Gs|2.5Gs|1000 Gs|"
        "1Ts|2.5Ts|1000 Ts|1Zs|2.5Zs|1000 Zs|1Es|2.5Es|1000 Es|1Ps|2.5Ps|1000 Ps|-1us|"
        "99999999999999999999999999999999999999s|999999999999999999999999999999999999999s|9007199254740992ns|"
        "9007199254740993ns|9007199.254740992s|1Qs|1Rs|1Ys|1Qis|1Ris|1Yis|1Zis|1Eis|1Pis|1Tis|1Gis|"
        "10000000000000000000000000000000000000s|-1000000000000000000000000000000000000s"
    ),
    "size": (
        "-1B|-1KiB|123456789012345678B|123456789012345678KiB|9007199254740991KiB|9007199254740992B|"
        "9007199254740992KiB|99999999999999999999B|99999999999999999999KiB|-1.5B|-1.5KiB|1000 PB|1EB|2.5EB|1000 EB|"
        "1EiB|2.5EiB|1000 EiB|1YB|2.5YB|1000 YB|1QB|2.5QB|1000 QB|1RB|2.5RB|1000 RB|1 EB|8192TiB|8PiB|1ZB|1QiB|"
        "1RiB|1YiB|1ZiB"
    ),
    "rate": (
        "-1Mbps|-1Gbit/s|123456789012345678Mbps|123456789012345678Gbit/s|9007199254740991Mbps|"
        "9007199254740991Gbit/s|9007199254740992Mbps|9007199254740992Gbit/s|99999999999999999999Mbps|"
        "99999999999999999999Gbit/s|-1.5Mbps|-1.5Gbit/s|1000 Pbps|9.1Pbps|9008Tbps|1Qbps|1Qb/s|1Rbps|1Rb/s|1Ybps|"
        "1Yb/s|1Zbps|1Zb/s|1Ebps|1Eb/s|1Qibps|1Qib/s|1Ribps|1Rib/s|1Yibps|1Yib/s|1Zibps|1Zib/s|1Eibps|1Eib/s"
    ),
}
TOO_FINE: Final = {
    "duration": (
        "1.000000001ms|1.1234567890123456789s|1.1234567890123456789ms|2.5ns|1ps|2.5ps|1fs|2.5fs|1000 fs|1000 as|"
        "12.5ns|12.5ps|0.25ns|0.25ps|3ps|1.0000001us|1.0000001\u00b5s|1.0000001ps|8.1ns|8.1ps|0.3ns|0.3ps|1.1ns|"
        "1.1ps|2.2ns|2.2ps|4.35ns|4.35ps|0.07ns|0.07ps|0.4ns|0.5ns|0.1234567891s|1234.5678901234ms|3.3333333333us|"
        "0.000001ns|0.0000011ns|1.0000011ns"
    ),
    "size": (
        "1.5B|0.5B|0.1B|0.1KiB|0.0001B|0.0001KiB|1.000000001KiB|0.30000000000000004B|0.30000000000000004KiB|"
        "1.1234567890123456789B|1.1234567890123456789KiB|2.5B|1mB|2.5mB|2.5uB|1000 uB|1cB|2.5cB|12.5mB|0.25mB|3mB|"
        "1.0000001kB|1.0000001MiB|1.0000001mB|1.0000001MB|8.1MiB|8.1mB|0.3MiB|0.3mB|1.1MiB|1.1mB|2.2MiB|2.2mB|"
        "4.35MiB|4.35mB|0.07MiB|0.07mB|1 cB"
    ),
    "rate": (
        "1.000000001Mbps|1.1234567890123456789Mbps|1.1234567890123456789Gbit/s|2.5bps|1mbps|2.5mbps|2.5ubps|"
        "1000 ubps|2.5bit/s|2.5b/s|1.0000001kbps|1.0000001Mbit/s|1mbit/s"
    ),
}
NO_QUANTITIES: Final = (
    ".5s|.5ms|.5B|.5KiB|.5Mbps|.5Gbit/s|5.s|5.ms|5.B|5.KiB|5.Mbps|5.Gbit/s|1e3s|1e3ms|1e3B|1e3KiB|1e3Mbps|"
    "1e3Gbit/s|1E3s|1E3ms|1E3B|1E3KiB|1E3Mbps|1E3Gbit/s|1e-3s|1e-3ms|1e-3B|1e-3KiB|1e-3Mbps|1e-3Gbit/s|+1s|+1ms|"
    "+1B|+1KiB|+1Mbps|+1Gbit/s|1_000s|1_000ms|1_000B|1_000KiB|1_000Mbps|1_000Gbit/s|1,000s|1,000ms|1,000B|1,000KiB|"
    "1,000Mbps|1,000Gbit/s|1.2.3s|1.2.3ms|1.2.3B|1.2.3KiB|1.2.3Mbps|1.2.3Gbit/s|0x10s|0x10ms|0x10B|0x10KiB|"
    "0x10Mbps|0x10Gbit/s|\u0663s|\u0663ms|\u0663B|\u0663KiB|\u0663Mbps|\u0663Gbit/s|\uff11s|\uff11ms|\uff11B|"
    "\uff11KiB|\uff11Mbps|\uff11Gbit/s|infs|infms|infB|infKiB|infMbps|infGbit/s|nans|nanms|nanB|nanKiB|nanMbps|"
    "nanGbit/s|1S|2.5S|1000 S|0S|1sec|2.5sec|1000 sec|0sec|1Mib|2.5Mib|1000 Mib|0Mib|1b|2.5b|1000 b|0b|1B/s|2.5B/s|"
    "1000 B/s|0B/s|1s/s|2.5s/s|1000 s/s|0s/s|1bit|2.5bit|1000 bit|0bit|1min|2.5min|1000 min|0min|1h|2.5h|1000 h|0h|"
    "1m|2.5m|1000 m|0m|1k|2.5k|1000 k|0k|1K|2.5K|1000 K|0K|1x|2.5x|1000 x|0x|1/s|2.5/s|1000 /s|0/s|1\u00b5|"
    "2.5\u00b5|1000 \u00b5|0\u00b5|1n|2.5n|1000 n|0n|1bytes|2.5bytes|1000 bytes|0bytes|1MBps|2.5MBps|1000 MBps|"
    "0MBps|1Bps|2.5Bps|1000 Bps|0Bps|1dB|2.5dB|1000 dB|0dB|1daB|2.5daB|1000 daB|0daB|1ds|2.5ds|1000 ds|0ds|1hs|"
    "2.5hs|1000 hs|0hs|1das|2.5das|1000 das|0das|1hB|2.5hB|1000 hB|0hB|| |s|us|1|1 |1us us|1u s|us1|--1us|- 1us|"
    "1us/s|1 /s|1bit/S|1Bit/s|$1|1 $|1%|1 %|1\u00b0|1\u03a9|1e3us|1 e3us|1e3|1E|1.5E3 B|1e|1es|1 es|1eB|0x1F B|"
    "0b1 B|1M|1us\u0000|1us,|1:30|1m30s|1d|1 day|1minute|99999999999999999999999999999999999999999s|"
    "1                                      us|1ns1ns1ns1ns1ns1ns1ns1ns1ns1ns1ns1ns1ns1ns1ns|\u00b5s|1\u03bc s|"
    "1 \u00b5 s|1\u00b5s/s|1infs|-infs|inf|nan|1inf|1nan|NaN s|1 c|1GBps|1BPS|1kib/s|1_B|1\uff2bB|1\u017f|"
    "1\ufeffus|1\u200bus|\u200b1us\u200b|1kis|1kiB|1kibps|1mis|1miB|1mibps|1mib/s|1hbps|1hb/s|1dabps|1dab/s|1dbps|"
    "1db/s|1_s|1_bps|1_b/s|1%s|1%B|1%bps|1%b/s|1kks|1kkB|1kkbps|1kkb/s|1KKs|1KKB|1KKbps|1KKb/s|1iKs|1iKB|1iKbps|"
    "1iKb/s|0kis|0kiB|0kibps|0kib/s|0mis|0miB|0mibps|0mib/s|0hbps|0hb/s|0dabps|0dab/s|0dbps|0db/s|0_s|0_B|0_bps|"
    "0_b/s|0%s|0%B|0%bps|0%b/s|0kks|0kkB|0kkbps|0kkb/s|0KKs|0KKB|0KKbps|0KKb/s|0iKs|0iKB|0iKbps|0iKb/s|5e-324s"
)


@pytest.mark.parametrize("what", READERS)
def test_quantities_are_exact(what: str) -> None:
    for number, texts in NUMBERS[what].items():
        for text in texts.split("|"):
            assert READERS[what](text) == number, text


@pytest.mark.parametrize("what", READERS)
def test_what_is_beyond_whole_numbers_is_refused(what: str) -> None:
    for texts, why in (
        (OUT_OF_RANGE[what], "is out of range"),
        (TOO_FINE[what], "is finer than Segcast computes: whole ns, bytes and bit/s"),
    ):
        for text in texts.split("|"):
            assert said(what, text) == f"{what} {text!r} {why}"


@pytest.mark.parametrize("what", READERS)
def test_what_is_no_quantity_is_refused(what: str) -> None:
    others = [texts for kind in READERS if kind != what for texts in NUMBERS[kind].values()]
    for text in [text for texts in (NO_QUANTITIES, *others) for text in texts.split("|")]:
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        assert said(what, text) == f"{what} {shown!r} is not a number with a unit such as {EXAMPLES[what]}"


def said(what: str, text: str) -> str:
    with pytest.raises(InputError) as refused:
        READERS[what](text)
    return str(refused.value)


def test_sizes_are_written_as_people_give_them() -> None:
    given = ("0B", "1B", "1500B", "9000B", "4KiB", "10kB", "250kB", "1MB", "1MiB", "3GB", "10GB", "12345B")
    assert [write_size(size_bytes(text)) for text in given] == list(given)


def test_shares_are_written_one_way() -> None:
    shares = (0.0, 0.5, 0.13, 0.0995, 0.042, 0.00013, 1e-9, -0.3)
    words = ["0 %", "50 %", "13 %", "10 %", "4.2 %", "0.013 %", "<0.000001 %", "-30 %"]
    assert [say_share(share) for share in shares] == words
