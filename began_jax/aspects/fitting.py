"""Learning an annotation from latents in memory in one call, with a network of any of JAX's libraries."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from began_jax.aspects.losses import LossName, cross_entropy, have_absent, log_loss, squared_error, with_target
from began_jax.aspects.trainer import Trainer
from began_jax.aspects.training import init, predict, with_epochs
from began_jax.configs import AspectConfig
from began_jax.errors import InputError, require_finite
from began_jax.models.mlp import MultilayerNetwork
from began_jax.options import check_config
from began_jax.sharding import gathered, without_mesh

OF_RUNS = (
    "target",
    "label_sampler",
    "labelled",
    "label_seed",
    "closed_form",
    "read",
    "features",
    "image_steps",
    "self_training",
)
CHECK_EVERY = 100  # epochs between two looks at whether the loss is finite


@dataclasses.dataclass(frozen=True, eq=False)
class Aspect:
    """A network that was learnt, or several: a function from latents to annotations, to be jitted or not.

    Args:
        network: with `init` and `apply`, as a flax module has them.
        parameters: of it; with several members, the first axis of each is theirs.
        members: how many networks there are.
        history: "loss" [epochs], and "validation_loss" [epochs] where a share of the latents was kept for it.
        latent: shapes of what it was learnt from, one latent's, an array's or those of a tree.
    """

    network: Any
    parameters: Any
    members: int
    history: dict[str, np.ndarray]
    latent: Any

    def __call__(self, z: Any) -> Array:
        """Return the annotations [batch, ...] of latents [batch, ...]: the mean over the members.

        Raises:
            InputError: latents are of another shape, or another tree, than those that it was learnt from.
        """
        return predict(self.network, self.parameters, self._vectors(z), self.members)

    def each(self, z: Any) -> Array:
        """Return each member's annotations, [members, batch, ...]."""
        one = lambda parameters: predict(self.network, parameters, self._vectors(z))  # noqa: E731
        return one(self.parameters)[None] if self.members == 1 else jax.vmap(one)(self.parameters)

    def std(self, z: Any) -> Array:
        """Return the standard deviation over the members, [batch, ...]: how far they disagree; 0 of one alone."""
        return self.each(z).std(0)

    def _vectors(self, z: Any) -> Array:
        if (found := _shapes(z)) != self.latent:
            raise InputError(f"latents are {found}; the aspect was learnt from {self.latent}")
        return vectors(z)


@without_mesh
def fit_aspect(
    latents: Any,
    targets: Array | np.ndarray,
    network: Any = None,
    *,
    loss: LossName | Callable[[Array, Array], Array] = "squared",
    config: AspectConfig = AspectConfig(),  # noqa: B008
    apply: Callable[[Any, Array], Array] | None = None,
    progress: Callable[[int, dict[str, Array]], None] | None = None,
) -> Aspect:
    """Learn a network from latents to annotations (eqs. 5 and 6), in memory.

    Args:
        latents: [count, ...] float, such as those of `invert_all`; a tree of arrays is learnt from as one vector.
        targets: [count, ...] float; uint8 masks in {0, 1}; or for "cross_entropy" classes [count, ...] from 0, or
            probabilities or one-hot ones [count, ..., classes]. Whole numbers of which one in each last axis is 1, and
            the others 0, are one-hot. Values that are NaN are absent and left out.
        network: a linen module, an nnx or equinox module (equinox: for one example), or parameters that go with
            `apply`; by default (for classes that are integers, or probabilities) table 2's layers with a linear output,
            in deviations from the mean of the targets, or a logit for each class.
        loss: "squared", "cross_entropy" (of logits, classes last), or a function (predicted, target) -> [batch].
        config: of the training; what only a run of `aspect.py` can do is refused.
        apply: (parameters, latents [batch, ...]) -> predictions [batch, ...], where `network` is the parameters.
        progress: told after each epoch its number and its metrics, arrays that are perhaps not computed yet.

    Raises:
        InputError: what was given does not fit together; the message says what, and what would.
        DivergedError: the loss is no longer finite.

    Examples:
        >>> import jax, numpy as np
        >>> from began_jax import AspectConfig, fit_aspect
        >>> z = np.random.default_rng(0).uniform(-1, 1, (256, 3)).astype("float32")
        >>> aspect = fit_aspect(z, z[:, :2] ** 2, config=AspectConfig(epochs=100, learning_rate=3e-3))
        >>> jax.jit(aspect)(z).shape, bool(abs(aspect(z) - z[:, :2] ** 2).mean() < 0.05)
        ((256, 2), True)
    """
    check_config(config, AspectConfig)
    latents, targets = gathered((latents, targets))
    for name in OF_RUNS:
        if getattr(config, name) != getattr(AspectConfig, name):
            raise InputError(f"{name} is {getattr(config, name)}, which fit_aspect does not serve; aspect.py does")
    loss = "cross_entropy" if loss is cross_entropy else "squared" if loss is squared_error else loss
    z, annotations = vectors(latents), _checked(targets, loss)
    if z.ndim < 2 or not jnp.issubdtype(z.dtype, jnp.floating):
        raise InputError(f"latents are {z.dtype} {z.shape}; they must be floats [count, ...]")
    if apply is not None and (network is None or isinstance(network, nn.Module)):
        raise InputError(
            "apply is given, and network is not the parameters that it takes; leave apply out, or give them"
        )
    if network is None and loss is log_loss:
        raise InputError("loss is log_loss, of probabilities; give a network that ends with softmax, or cross_entropy")
    if network is None:
        if loss == "cross_entropy" and jnp.issubdtype(annotations.dtype, jnp.floating) and annotations.ndim < 2:
            raise InputError("targets are floats [count]; classes must be integers, and probabilities [count, classes]")
        network = MultilayerNetwork(_outputs(annotations, loss))
        module = network if loss == "cross_entropy" else _Scaled.to(network, annotations)
    else:
        module = _module(network, apply, config.members)
    predicted = _predicted(module, z)
    if loss == "cross_entropy":
        _check_classes(annotations, predicted)
    if len(z) == len(annotations) and have_absent(annotations):
        some = with_target(annotations)
        z, annotations = z[some], annotations[some]
    config = with_epochs(config, len(z))
    trainer = Trainer(config, module, z, annotations, loss=loss)
    state, history = init(config, module, z.shape[1:]), list[dict[str, Array]]()
    for epoch in range(1, config.epochs + 1):
        state, metrics = trainer.epoch(state)
        history.append(metrics)
        if progress is not None:
            progress(epoch, metrics)
        if epoch % CHECK_EVERY == 0 or epoch == config.epochs:
            require_finite(metrics, f"training diverged at epoch {epoch}", "lower learning_rate")
    columns = {name: np.array([metrics[name] for metrics in history]) for name in history[0]}
    # Those of an ensemble lie on the devices that trained it; from here on they go wherever the caller's latents are.
    best = jax.tree.map(jnp.asarray, jax.device_get(state.best_parameters))
    return Aspect(module, best, config.members, columns, _shapes(latents))


def _shapes(latents: Any) -> Any:
    """Return where in a tree one latent's arrays are, and their shapes."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(latents)
    return {jax.tree_util.keystr(path) or "each": jnp.shape(leaf)[1:] for path, leaf in leaves}


def vectors(latents: Any) -> Array:
    """Return latents as the array that a network is given: an array as it is, a tree as a vector a row."""
    if hasattr(latents, "shape"):
        return jnp.asarray(latents)
    return jax.vmap(lambda z: ravel_pytree(z)[0])(jax.tree.map(jnp.asarray, latents))


def _checked(targets: Any, loss: Any) -> Array:
    found = jnp.asarray(targets)
    if found.dtype.kind in "iu" and (np.asarray(found) != np.asarray(targets)).any():
        raise InputError(f"targets are whole numbers to {np.max(np.abs(targets))}, of more than 32 bits; give floats")
    if found.dtype == jnp.bool_:
        found = found.astype(jnp.uint8)
    if not found.size:
        raise InputError(f"targets are {found.shape}: there are none")
    if jnp.issubdtype(found.dtype, jnp.floating):
        if bool(jnp.isinf(found).any()):
            raise InputError("a target is infinite; one that is absent must be NaN")
        if bool(jnp.isnan(found).all()):
            raise InputError("all targets are NaN, that is absent: there is nothing to learn from")
    if found.dtype == jnp.uint8 and loss == "squared" and int(found.max()) > 1:
        raise InputError(f"targets are uint8 up to {found.max()}; masks must be 0 and 1, and other numbers floats")
    if loss == "cross_entropy" and bool((found < 0).any()):
        raise InputError(f"a target is {found.min()}; classes count from 0, and probabilities are at least 0")
    return found


def _check_classes(targets: Array, predicted: tuple[int, ...]) -> None:
    """Raise InputError where targets are no classes beside the logits of one example, and no probabilities either."""
    if not predicted:
        raise InputError("the network predicts [batch]; the logits of the classes must be its last axis")
    values = np.asarray(targets)
    floats = jnp.issubdtype(values.dtype, jnp.floating)
    values = values[~np.isnan(values)] if floats else values
    if targets.shape[1:] == predicted:
        sums = np.asarray(targets, np.float64).sum(-1)
        wrong = sums[abs(sums - 1) > 0.01]  # NaN is not
        if len(wrong):
            raise InputError(
                f"targets of an example add up to {wrong[0]:g}; probabilities, of the logits' shape, to 1 (or be NaN)"
            )
    if targets.shape[1:] != predicted[:-1]:
        return  # the loss says what is wrong with them, if anything is
    if floats and (values != np.floor(values)).any():
        raise InputError(f"a target is {values[values != np.floor(values)][0]:g}; classes must be whole numbers")
    if values.max() >= predicted[-1]:
        raise InputError(f"a target is class {values.max():g}; the network has logits for 0 to {predicted[-1] - 1}")


def _outputs(targets: Array, loss: Any) -> tuple[int, ...]:
    """Return the shape of the predictions of one latent."""
    if loss == "cross_entropy" and jnp.issubdtype(targets.dtype, jnp.integer) and not _one_hot(targets):
        return (*targets.shape[1:], int(targets.max()) + 1)
    return targets.shape[1:]


def _one_hot(targets: Array) -> bool:
    """Return whether whole numbers are no classes, but 0 and 1 for each class."""
    return targets.ndim > 1 and targets.shape[-1] > 1 and bool((targets.sum(-1, dtype=int) == 1).all())


@dataclasses.dataclass(frozen=True)
class _Scaled:
    """A network whose outputs count in deviations from the mean, so that targets may be in any unit."""

    network: nn.Module
    mean: Array
    deviation: Array

    @staticmethod
    def to(network: nn.Module, targets: Array) -> "_Scaled":
        values = targets.astype(jnp.result_type(float))
        mean = jnp.nan_to_num(jnp.nanmean(values, 0))
        deviation = jnp.sqrt(jnp.nanmean((values - mean[None]) ** 2))
        return _Scaled(network, mean, jnp.where(deviation > 0, deviation, 1.0))

    def init(self, key: Any, x: Array) -> Any:
        return self.network.init(key, x)

    def apply(self, variables: Any, x: Array) -> Array:
        found: Any = self.network.apply(variables, x)
        return self.mean[None] + self.deviation * found


@dataclasses.dataclass(frozen=True)
class _Given:
    """Parameters and what applies them, in the form of a flax module: `init` gives copies of them."""

    parameters: Any
    function: Callable[[Any, Array], Array]

    def init(self, key: Any, x: Array) -> dict[str, Any]:
        return {"params": jax.tree.map(jnp.copy, self.parameters)}  # training donates what it is given

    def apply(self, variables: Any, x: Array) -> Array:
        return self.function(variables["params"], x)


def _module(network: Any, apply: Callable | None, members: int) -> Any:
    """Return a network of any library as one with `init` and `apply`."""
    if isinstance(network, nn.Module):
        return network
    libraries = {base.__module__.split(".")[0] for base in type(network).__mro__}
    if apply is not None:
        found = _Given(jax.tree.map(jnp.asarray, network), apply)
    elif "equinox" in libraries:
        import equinox

        parameters, static = equinox.partition(network, equinox.is_inexact_array)
        found = _Given(parameters, lambda p, x: jax.vmap(equinox.combine(p, static))(x))
    elif "flax" in libraries:
        from flax import nnx

        graph, parameters, rest = nnx.split(network, nnx.Param, ...)
        if jax.tree.leaves(rest):
            raise InputError("the network has a state beside its parameters, as of batch norm or dropout")
        found = _Given(parameters, lambda p, x: nnx.merge(graph, p, rest)(x))
    else:
        raise InputError(
            f"network is a {type(network).__name__}; it must be a flax or equinox module, or parameters beside apply="
        )
    if members > 1:
        raise InputError(f"members is {members}, which needs a linen module: each member starts from a seed of its own")
    return found


def _predicted(module: Any, z: Array) -> tuple[int, ...]:
    """Return the shape that a network predicts for one latent; InputError where it has more than parameters, or fails.

    Nothing is computed.
    """
    try:
        variables = jax.eval_shape(module.init, jax.random.key(0), z[:1])
        if further := set(variables) - {"params"}:
            raise InputError(
                f"the network has {', '.join(sorted(further))} beside its parameters, which is not trained"
            )
        return jax.eval_shape(module.apply, variables, z[:1]).shape[1:]
    except InputError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {str(error).strip() or 'it says nothing more'}".splitlines()[0]
        raise InputError(
            f"the network fails on latents {(1, *z.shape[1:])}: {said} (it is given nothing else, so dropout must be "
            f"in its deterministic mode)"
        ) from error
