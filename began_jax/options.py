"""What an option of a command line is: a dataclass field with its help and the values that it may have."""

import dataclasses
import math
import numbers
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import numpy as np
from jax.core import Tracer

from began_jax.errors import InputError

T = TypeVar("T")


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
    choices: tuple[Any, ...] | None = None,
    valid: Valid | None = None,
    *,
    metavar: str | None = None,
    kind: type | None = None,
) -> Any:
    """Return a dataclass field with what the command line shows of it, and the values it may have.

    Args:
        default: without one the option has to be given.
        help: one text with the reason.
        choices: all values that it may have, where they are few and its type is not a `Literal` of them.
        valid: or else which.
        metavar: the value's name in the help, by default one of its type.
        kind: type of the value, where the default does not tell it.
    """
    metadata = {"help": help, "choices": choices, "valid": valid, "metavar": metavar, "kind": kind}
    return dataclasses.field(default=default, metadata=metadata)


def choices_of(field: dataclasses.Field[Any]) -> tuple[Any, ...] | None:
    """Return the values of an option that has few: those of its `Literal`, or the `choices` that it was given."""
    return typing.get_args(field.type) if typing.get_origin(field.type) is Literal else field.metadata.get("choices")


def flag(name: str) -> str:
    """Return the option of a field on the command line: `--batch-size` of `batch_size`."""
    return "--" + name.replace("_", "-")


class Checked:
    """A dataclass of options that refuses at construction, by InputError, the first value that is no option's.

    Values that are traced, such as a learning rate under `jax.vmap`, cannot be looked at and are taken as they are.
    """

    def __post_init__(self) -> None:
        check_options(type(self), vars(self), type(self).__name__ + ": {name} is {value}; it must be {words}")


def check_config(config: Any, kind: type) -> None:
    """Raise InputError unless `config` is one of the dataclass `kind`."""
    if not isinstance(config, kind):
        raise InputError(f"config is a {type(config).__name__}; it must be a began_jax.{kind.__name__}")


def described(kind: type[T]) -> type[T]:
    """Decorate a dataclass of options so that its docstring, which `help` shows, says what each is."""
    lines = [kind.__doc__ or "", "", "Args:"]
    for field in dataclasses.fields(typing.cast(Any, kind)):
        default, choices = field.default, choices_of(field)
        if field.metadata.get("help"):
            among = f"one of {', '.join(map(str, choices))}; " if choices else ""
            lines.append(f"    {field.name}: {among}{field.metadata['help']} [{default!r}]")
    kind.__doc__ = "\n".join(lines)
    return kind


def check_options(kind: Any, values: Mapping[str, Any], form: str = "{flag} is {value}; it must be {words}") -> None:
    """Raise InputError for the first of these values that its option may not have.

    Args:
        kind: the dataclass whose options they are.
        values: by the names of its fields, all or some of them.
        form: of the message: `name` of the field, its `flag` on the command line, `value`, and `words` for what it
            must be.
    """
    for field in dataclasses.fields(kind):
        if field.name not in values or isinstance(value := values[field.name], Tracer):
            continue
        value = value.item() if isinstance(value, jax.Array) and value.ndim == 0 else value
        if words := _refused(field, value):
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
            raise InputError(form.format(name=field.name, flag=flag(field.name), value=shown, words=words))


def _refused(field: dataclasses.Field, value: Any) -> str:
    """Return what a value of an option must be and is not, or nothing."""
    choices, valid = choices_of(field), field.metadata.get("valid")
    if words := _of_another_type(field.type, value):
        return words
    if choices and value is not None and value not in choices:
        return f"one of {', '.join(map(str, choices))}"
    return valid.words if valid is not None and not valid.holds(value) else ""


def _of_another_type(kind: Any, value: Any) -> str:
    """Return what a value must be and is not, as far as its field's type is one of those that options have."""
    if typing.get_origin(kind) is Literal:
        kind = type(typing.get_args(kind)[0])
    if kind is bool:
        return "" if isinstance(value, bool | np.bool_) else "True or False"
    if kind is int:
        return "" if isinstance(value, numbers.Integral) and not isinstance(value, bool) else "a whole number"
    if kind is float:
        number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        return "" if number and not math.isinf(value) else "a finite number"
    if kind is str:
        return "" if isinstance(value, str) else "a text"
    if typing.get_origin(kind) is tuple:
        of = typing.get_args(kind)[0]
        wrong = not isinstance(value, tuple) or any(_of_another_type(of, each) for each in value)
        return f"a tuple of {'texts' if of is str else 'whole numbers'}" if wrong else ""
    return ""
