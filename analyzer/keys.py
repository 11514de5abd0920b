"""What the row of a cell depends on, as keys of the store: the code, the traffic, and what was asked of them."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any, Final

import xxhash

from segcast.analyzer.scenario.choices import PolicyChoice, TimeoutChoice
from segcast.analyzer.workload.source import WorkloadFile
from segcast.traces.sources import source_digest
from segcast.traces.trace import Trace

_ANALYZER: Final = Path(__file__).resolve().parent


def digest_of(*parts: Any) -> str:
    """Hex digest of JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@functools.cache
def code() -> str:
    """Digest of the sources that cells run: those that read traces, and all of the analyzer's."""
    return digest_of(source_digest(), source_digest(_ANALYZER))


def identity_of(source: Trace | WorkloadFile) -> str:
    """What a trace or workload is, by what it holds."""
    if isinstance(source, WorkloadFile):
        return xxhash.xxh128_hexdigest(source.path.read_bytes())
    return xxhash.xxh128_hexdigest(json.dumps(source.info, sort_keys=True).encode())


def chosen_of(policy: PolicyChoice, timeout: TimeoutChoice | None) -> list[Any]:
    """What a policy and its flowlet timeout are: what was chosen, and the code of each, which may be a user's own."""
    found = [policy.model_dump(mode="json"), policy.policy.digest]
    return found if timeout is None else [*found, timeout.model_dump(mode="json"), timeout.detector.digest]
