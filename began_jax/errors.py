"""The one exception that a user's input can cause; entry points turn it into one line and exit status 2."""

import math
from collections.abc import Mapping
from typing import Any


class InputError(ValueError):
    """Wrong command line, file or array: the message says what, where, and what would be right."""


class DivergedError(RuntimeError):
    """A loss is no longer finite; entry points turn it into one line and exit status 1."""


def require_finite(metrics: Mapping[str, Any], when: str, remedy: str) -> None:
    """Raise DivergedError, saying when and what to do, if a metric is NaN or infinite."""
    bad = [f"{name} {value}" for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        raise DivergedError(f"{when}: {', '.join(bad)}; {remedy}")
