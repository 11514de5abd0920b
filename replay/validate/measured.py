"""What a validation says of the model's error, for forecasts and plans that it is given to."""

from __future__ import annotations

from pathlib import Path

from segcast.analyzer.answers.validated import Validated
from segcast.replay.validate.document import read_validation


def measured_error(folder: Path) -> Validated:
    """How far the model's p99 of delay was off in the validation in `folder`. Raises InputError."""
    document = read_validation(folder)
    errors = {
        one.policy: float(one.delay_p99_ns.as_sent) / float(one.delay_p99_ns.measured) - 1
        for one in document.policies
        if one.delay_p99_ns.measured and one.delay_p99_ns.as_sent is not None
    }
    return Validated(folder.resolve().name, document.holds, errors)
