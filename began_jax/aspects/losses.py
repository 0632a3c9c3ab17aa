"""Losses of aspect networks: (predicted, target, absent) -> the error of each example."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from began_jax.errors import InputError

Loss = Callable[..., Float[Array, " batch"]]
LossName = Literal["squared", "cross_entropy"]


def of(loss: LossName | Callable) -> Loss:
    """Return the loss of a name, or a function (predicted, target) -> [batch] in the form that training calls.

    A function of yours is given targets as they are, and is told nothing of values that are absent (NaN).

    Raises:
        InputError: there is no such loss.
    """
    named: dict[Any, Loss] = {"squared": squared_error, "cross_entropy": cross_entropy}
    if isinstance(loss, str) and loss in named:
        return named[loss]
    if isinstance(loss, str) or not callable(loss):
        raise InputError(f"loss is {loss!r}; it must be squared, cross_entropy or a function (predicted, target)")

    if loss in (squared_error, cross_entropy, log_loss):
        return loss
    try:
        return _given(loss)
    except TypeError:  # what has no hash cannot be looked up
        return _given.__wrapped__(loss)


@lru_cache(maxsize=16)
def _given(loss: Callable[[Array, Array], Array]) -> Loss:
    """Return a loss of the user's as ours are, one for each, so that what is compiled with it is found again."""

    def given(predicted: Array, target: Array, absent: bool = False) -> Array:
        value = loss(predicted, target)
        if jnp.shape(value) != (len(target),):
            raise InputError(f"loss gives {jnp.shape(value)}; it must give one value an example, ({len(target)},)")
        return value

    return given


def squared_error(
    predicted: Float[Array, "batch ..."],
    target: Float[Array, "batch ..."] | Int[Array, "batch ..."],
    absent: bool = False,
) -> Float[Array, " batch"]:
    """Return the mean square error per example (eqs. 5 and 6).

    Where values may be `absent`, those of the target that are NaN are left out, and their error is no one's.

    Raises:
        InputError: predictions and targets are of two shapes.
    """
    _check_alike(predicted, target)
    if not absent:
        return ((predicted - target) ** 2).reshape(len(target), -1).mean(1)
    there = ~jnp.isnan(target)
    squares = jnp.where(there, predicted - jnp.where(there, target, 0), 0) ** 2
    return _mean_over(there, squares)


def cross_entropy(
    predicted: Float[Array, "batch ... classes"],
    target: Float[Array, "batch ..."] | Int[Array, "batch ..."],
    absent: bool = False,
) -> Float[Array, " batch"]:
    """Return the mean cross-entropy per example, of logits beside classes or beside their probabilities.

    Args:
        predicted: logits of the classes, which are the last axis.
        target: a class [batch, ...] from 0, one axis less than the logits; or probabilities of the logits' shape, such
            as one-hot masks.
        absent: whether a class or a probability may be NaN; it is left out then.

    Raises:
        InputError: the target is of neither shape, or a class that is not traced has no logit.
    """
    if target.shape == predicted.shape:
        there = ~jnp.isnan(target).any(-1)
        values = optax.softmax_cross_entropy(predicted, jnp.where(there[..., None], target, 0))
    elif target.shape == predicted.shape[:-1]:
        there = ~jnp.isnan(target)
        classes = jnp.where(there, target, 0).astype(jnp.int32)
        if classes.size and not isinstance(classes, Tracer):
            low, high, last = int(classes.min()), int(classes.max()), predicted.shape[-1] - 1
            if low < 0 or high > last:
                raise InputError(f"classes are from {low} to {high}; the network has logits for 0 to {last}")
        values = optax.softmax_cross_entropy_with_integer_labels(predicted, classes)
    else:
        raise InputError(
            f"the network predicts logits {predicted.shape}, targets are {target.shape}; they must be classes "
            f"{predicted.shape[:-1]} or probabilities {predicted.shape}"
        )
    return _mean_over(there, jnp.where(there, values, 0)) if absent else values.reshape(len(values), -1).mean(1)


def log_loss(
    predicted: Float[Array, "batch ... classes"],
    target: Float[Array, "batch ... classes"] | Int[Array, "batch ... classes"],
    absent: bool = False,
) -> Float[Array, " batch"]:
    """Return the mean cross-entropy per example of probabilities, such as a softmax gives, beside true ones.

    Raises:
        InputError: predictions and targets are of two shapes.
    """
    _check_alike(predicted, target)
    there = ~jnp.isnan(target).any(-1)
    each = -(jnp.where(there[..., None], target, 0) * jnp.log(jnp.maximum(predicted, 1e-7))).sum(-1)
    return _mean_over(there, each)


def have_absent(targets: Any) -> bool:
    """Say whether some values of targets are absent, that is NaN, such as landmarks that are not to be seen."""
    return jnp.issubdtype(targets.dtype, jnp.floating) and bool(jnp.isnan(targets).any())


def with_target(targets: Any) -> np.ndarray:
    """Return which examples have any value that is not absent, bool [count]: the others teach and measure nothing."""
    return np.asarray(np.isfinite(np.asarray(targets, np.float32)).reshape(len(targets), -1).any(1))


def _check_alike(predicted: Array, target: Array) -> None:
    if predicted.shape != target.shape:
        raise InputError(f"the network predicts {predicted.shape}, targets are {target.shape}; both must be alike")


def _mean_over(there: Array, values: Array) -> Array:
    count = there.reshape(len(there), -1).sum(1)
    return values.reshape(len(values), -1).sum(1) / jnp.maximum(count, 1)
