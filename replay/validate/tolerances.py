"""How far a forecast may be off: tolerances per metric, from a TOML file or from flags."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from segcast.analyzer.toml_keys import read_toml
from segcast.traces.errors import InputError
from segcast.traces.units import duration_ns


@dataclass(frozen=True, slots=True)
class Tolerances:
    """The largest errors allowed, for each path.

    `loss` and `reordering` are shares of the packets, absolute (None: not judged); `p50` and `p99` shares of the
    measured delay, or `absolute_ns` if that is more. Paths with fewer than `least_packets` are shown, not judged.
    """

    loss: float = 0.01
    p50: float = 0.05
    p99: float = 0.05
    absolute_ns: int = 60_000
    reordering: float | None = None
    least_packets: int = 100

    def allowed(self, metric: str, measured: float) -> float | None:
        """The largest error of a metric whose measured value is this; None if it is not judged."""
        if metric == "loss_ratio":
            return self.loss
        if metric == "reordered_ratio":
            return self.reordering
        return max((self.p50 if metric == "delay_p50_ns" else self.p99) * measured, float(self.absolute_ns))

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def read_tolerances(file: Path | None, **flags: Any) -> Tolerances:
    """Those of a TOML file, with the flags that are not None on top. Raises InputError naming what is wrong.

    Keys are `loss`, `p50`, `p99`, `reordering` (shares), `absolute` (such as "60us"), `least_packets`.
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
    known = [field.name for field in fields(Tolerances)]
    for name, value in given.items():
        if name not in known:
            raise InputError(
                f"{where}{name}: there is no such tolerance; there are loss, p50, p99, reordering, absolute and "
                "least_packets"
            )
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**62:
            raise InputError(f"{where}{name}: {value!r} is no tolerance; give a number of at least 0, such as 0.05")
    return replace(Tolerances(), **given)
