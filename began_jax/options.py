"""What an option of a command line is: a dataclass field with its help and the values that it may have."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from began_jax.errors import InputError


class Valid(NamedTuple):
    """Which values an option may have, and how its refusal says so: "--epochs is 0; it must be positive"."""

    holds: Callable[[Any], bool]
    words: str


POSITIVE = Valid(lambda value: value > 0, "positive")
NOT_NEGATIVE = Valid(lambda value: value >= 0, "at least 0")
FRACTION = Valid(lambda value: 0 <= value < 1, "in [0, 1)")
SEED = Valid(lambda value: 0 <= value < 2**31, "at least 0 and less than 2^31")


def option(
    default: Any = dataclasses.MISSING,
    help: str = "",
    choices: tuple | None = None,
    valid: Valid | None = None,
    *,
    metavar: str | None = None,
    kind: type | None = None,
) -> Any:
    """Return a dataclass field with what the command line shows of it, and the values it may have.

    Args:
        default: without one the option has to be given.
        help: one text with the reason.
        choices: all values that it may have, where they are few.
        valid: or else which.
        metavar: the value's name in the help, by default one of its type.
        kind: type of the value, where the default does not tell it.
    """
    metadata = {"help": help, "choices": choices, "valid": valid, "metavar": metavar, "kind": kind}
    return dataclasses.field(default=default, metadata=metadata)


def flag(name: str) -> str:
    """Return the option of a field on the command line: `--batch-size` of `batch_size`."""
    return "--" + name.replace("_", "-")


def check_options(config: Any, form: str = "{flag} is {value}; it must be {words}") -> None:
    """Raise InputError for the first value of a configuration that its option may not have, naming the option."""
    for field in dataclasses.fields(config):
        value, valid = getattr(config, field.name), field.metadata.get("valid")
        if valid is not None and not valid.holds(value):
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
            raise InputError(form.format(flag=flag(field.name), value=shown, words=valid.words))
