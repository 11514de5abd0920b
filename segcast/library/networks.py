"""Networks to ask about, in a line of Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from segcast.analyzer.scenario.reading import read_scenario, validated
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.toml_keys import written
from segcast.traces.errors import InputError
from segcast.traces.units import duration_ns, rate_bps, size_bytes

_WORDS: Final = (("rate", rate_bps), ("delay", duration_ns), ("buffer", size_bytes), ("ecn", size_bytes))


@dataclass(frozen=True, repr=False)
class Network:
    """Links and paths, as `[network]` of a scenario has them (docs/scenario.md); `spec` are its keys.

    Raises InputError if there is no such network.
    """

    spec: dict[str, Any]

    def __post_init__(self) -> None:
        validated({"network": self.spec}, written).check_sids()

    @classmethod
    def read(cls, file: str) -> Network:
        """The network of a scenario file."""
        return cls(read_scenario(file).model_dump(mode="json", exclude_none=True)["network"])

    def __repr__(self) -> str:
        kind = str(self.spec.get("kind", "parallel"))
        sizes = [f"{key}={self.spec[key]}" for key in _COUNTED if key in self.spec]
        sizes += [f"paths={len(self.spec['paths'])}"] if "paths" in self.spec else []
        return f"<Network {kind}: {', '.join(sizes)}>" if sizes else f"<Network {kind}>"


_COUNTED: Final = ("leaves", "spines", "k", "hosts_per_leaf")


def leaf_spine(
    leaves: int,
    spines: int,
    links: str,
    *,
    hosts_per_leaf: int | None = None,
    host_links: str | None = None,
    **more: Any,
) -> Network:
    """Every leaf linked to every spine; links as "100Gbps 1us 1MiB": rate, and if given delay, buffer, ECN.

    `host_links` are those of hosts, without limits unless given; `more` are further keys of `[network]`.
    """
    spec: dict[str, Any] = {"kind": "leaf-spine", "leaves": leaves, "spines": spines, "links": link(links)}
    if hosts_per_leaf is not None:
        spec["hosts_per_leaf"] = hosts_per_leaf
    if host_links is not None:
        spec["host_links"] = link(host_links)
    return Network(spec | more)


def paths(paths: str, delay: str = "5us", buffer: str = "512KiB", ecn: str | None = None) -> Network:
    """Parallel paths such as "4x10Gbps" or "2x10Gbps,2x25Gbps", as `--paths` has them."""
    scenario = short_scenario(paths=paths, delay=delay, buffer=buffer, ecn=ecn)
    return Network(scenario.model_dump(mode="json", exclude_none=True)["network"])


def link(text: str) -> dict[str, str]:
    """The keys of "100Gbps 1us 1MiB". Raises InputError."""
    words = text.split()
    if not 1 <= len(words) <= len(_WORDS):
        raise InputError(f'link {text!r}: write it like "100Gbps 1us 1MiB": rate, delay, buffer, ECN threshold')
    for word, (name, parse) in zip(words, _WORDS, strict=False):
        try:
            parse(word)
        except InputError as error:
            raise InputError(f"link {text!r}: its {name}: {error}") from None
    return {name: word for word, (name, _) in zip(words, _WORDS, strict=False)}
