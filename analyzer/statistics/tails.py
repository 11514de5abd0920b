"""What is kept of a cell's values, in few kilobytes, so that it can be pooled with other seeds in another process.

Only p99 and p99.9 of all seeds together are asked for. They lie between the least and the greatest of the seeds' own,
so that of what is below a seed's p90 little matters but its number: there values are rounded.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.metrics.quantiles import rank_of
from segcast.analyzer.schema import POOLED
from segcast.analyzer.statistics.pooled import Sample
from segcast.analyzer.statistics.pools import QUANTILES

TAILS: Final = "tails"
"""In a row of a summary: what `packed` made of its samples, by metric. It is no column of the table."""

TAIL_FROM: Final = 0.9
BODY_BITS: Final = 5
MOST_EXACT: Final = 4096
TAIL_BITS: Final = 11
_NAMED: Final = POOLED.names()[: POOLED.names().index("metric")]
_QUICKLY: Final = 1  # a fifth of the bytes is left, for a tenth of a millisecond
_WIDTHS: Final = ("<u1", "<u2", "<u4", "<i8")


def condensed(sample: Sample) -> Sample:
    """The sample with values below its p90 rounded down by less than 1 / 32.

    Those from there on stay as they are, or are rounded by less than 1 / 2048 if they are more than MOST_EXACT.
    """
    values, upto = sample
    if not len(values):
        return sample
    cut = int(np.searchsorted(upto, rank_of(TAIL_FROM, sample.size) + 1))
    tail = values[cut:]
    if len(tail) > MOST_EXACT:
        tail = _rounded(tail, TAIL_BITS)
    rounded = np.concatenate((_rounded(values[:cut], BODY_BITS), tail))
    last = np.append(np.flatnonzero(rounded[1:] != rounded[:-1]), len(rounded) - 1)
    return Sample(rounded[last], upto[last])


def _rounded(values: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Values rounded down to so many binary digits behind their first."""
    digits = np.frexp(values.astype(np.float64))[1].astype(np.int64)
    shift = np.maximum(digits - 1 - bits, 0)
    found: NDArray[np.int64] = values >> shift << shift
    return found


def packed(sample: Sample) -> list[str]:
    """A sample as text: the differences of its two columns, each in as few bytes as they need, and compressed."""
    return [_text(np.diff(column, prepend=0)) for column in sample]


def _text(numbers: NDArray[np.int64]) -> str:
    most = int(numbers.max()) if len(numbers) else 0
    width = next(place for place, name in enumerate(_WIDTHS) if most <= np.iinfo(name).max)
    return f"{width}{base64.b64encode(zlib.compress(numbers.astype(_WIDTHS[width]).tobytes(), _QUICKLY)).decode()}"


def unpacked(texts: Sequence[str]) -> Sample:
    """The sample that `packed` made text of."""
    values, upto = (
        np.cumsum(np.frombuffer(zlib.decompress(base64.b64decode(text[1:])), _WIDTHS[int(text[0])]), dtype=np.int64)
        for text in texts
    )
    return Sample(values, upto)


def pooled_value(samples: Sequence[Sample], quantile: float) -> int | None:
    """The quantile of all values together, by nearest rank; None of nothing. As `pooled_quantile`, without bounds."""
    known = [sample for sample in samples if sample.size]
    if not known:
        return None
    own = [int(s.values[np.searchsorted(s.upto, rank_of(quantile, s.size) + 1)]) for s in known]
    least = min(own)
    below = sum(sample.at_most(least - 1) for sample in known)
    first = [int(np.searchsorted(sample.values, least)) for sample in known]
    values = np.concatenate([sample.values[begin:] for sample, begin in zip(known, first, strict=True)])
    counts = np.concatenate(
        [
            np.diff(sample.upto[begin:], prepend=sample.upto[begin - 1] if begin else 0)
            for sample, begin in zip(known, first, strict=True)
        ]
    )
    order = np.argsort(values)
    upto = below + np.cumsum(counts[order])
    return int(values[order[np.searchsorted(upto, rank_of(quantile, sum(s.size for s in known)) + 1)]])


def pooled_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What seeds have together of rows of a summary with TAILS: rows of POOLED without its bounds."""
    cases: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        cases.setdefault(tuple(row[name] for name in _NAMED), []).append(row[TAILS])
    found = []
    for named, tails in cases.items():
        for metric in dict.fromkeys(metric for each in tails for metric in each):
            samples = [unpacked(each[metric]) for each in tails if metric in each]
            for quantile in QUANTILES.values():
                value = pooled_value(samples, quantile)
                if value is not None:
                    about = {"metric": metric, "quantile": quantile, "value": value}
                    found.append(dict(zip(_NAMED, named, strict=True)) | about)
    return found
