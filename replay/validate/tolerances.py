"""How far a forecast may be off: tolerances per metric, from a TOML file or from flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from segcast.analyzer.toml_keys import read_toml
from segcast.traces.disk.documents import Number, Shape
from segcast.traces.errors import InputError
from segcast.traces.units import duration_ns


class Tolerances(Shape):
    """The largest errors allowed, for each path; those of a delay are its share or `absolute_ns`, whichever is more."""

    loss: Number = Field(default=0.01, description="error of the share of packets lost")
    p50: Number = Field(
        default=0.05,
        description="error of the median delay, or the area between both distributions, as a share of the delay",
    )
    p99: Number = Field(default=0.05, description="error of the p99 delay, as a share of the measured one")
    residual: Number = Field(
        default=0.025, description="median error of packets that waited, as a share of the median time they waited"
    )
    absolute_ns: Number = Field(default=60_000, description="error of a delay that is always allowed")
    reordering: Number | None = Field(
        default=None, description="error of the share of packets reordered; null where that is not judged"
    )
    least_packets: Number = Field(default=100, description="packets without which a path is shown but not judged")

    def allowed(self, metric: str, measured: float) -> float | None:
        """The largest error of a metric whose measured value is this; None if it is not judged."""
        if metric == "loss_ratio":
            return self.loss
        if metric == "reordered_ratio":
            return self.reordering
        share = self.p99 if metric == "delay_p99_ns" else self.p50
        return max(share * measured, float(self.absolute_ns))


def read_tolerances(file: Path | None, **flags: Any) -> Tolerances:
    """Those of a TOML file, with the flags that are not None on top. Raises InputError naming what is wrong.

    Keys are `loss`, `p50`, `p99`, `residual`, `reordering` (shares), `absolute` (such as "60us"), `least_packets`.
    """
    given: dict[str, Any] = {}
    if file is not None:
        _, given = read_toml(file, "tolerances")
    given |= {name: value for name, value in flags.items() if value is not None}
    where = f"{file}: " if file is not None else ""
    if "absolute" in given:
        if not isinstance(given["absolute"], str):
            raise InputError(f'{where}absolute: {given["absolute"]!r} needs quotes and a unit, such as "60us"')
        given["absolute_ns"] = duration_ns(given.pop("absolute"))
    known = list(Tolerances.model_fields)
    for name, value in given.items():
        if name not in known:
            raise InputError(
                f"{where}{name}: there is no such tolerance; there are loss, p50, p99, residual, reordering, absolute "
                "and least_packets"
            )
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**62:
            raise InputError(f"{where}{name}: {value!r} is no tolerance; give a number of at least 0, such as 0.05")
    return Tolerances(**given)
