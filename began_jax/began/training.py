"""A step of BEGAN training and what surrounds it: pure functions of one state."""

import dataclasses
import functools
import typing
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Int, Key, UInt8

from began_jax import reconstruction, relativistic
from began_jax.began.equations import Images, autoencoder_loss, convergence, next_k
from began_jax.configs import TrainConfig
from began_jax.errors import InputError, require_finite
from began_jax.images import to_float
from began_jax.models import apply
from began_jax.models.configured import check_networks, encoder_network, networks
from began_jax.sharding import freed

SAMPLE_FOLD = 2**32 - 1  # no training step has this number, so the pictures use latents of their own
AUGMENT_FOLD = 2**32 - 2  # of a step's key, for the changes that --augment makes
# Root mean square of Adam's step of each array of E at most (Shazeer and Stern, 2018), which is 1 as a rule. A single
# batch in which codes are alike makes steps of 10, after which the tanh that E ends with is 1 for all images, for good.
E_STEP = 2.0
M_DECAY = 0.999  # of the running mean of M: about 1,000 steps, to see a stall through the noise of one batch


@typing.no_type_check  # JAX and Orbax rebuild a pytree with leaves that are no arrays
@flax.struct.dataclass
class BeganState:
    """Everything that a training step needs."""

    step: Int[Array, ""]  # steps done
    key: Key[Array, ""]  # constant; a step uses fold_in(key, step)
    generator: Any  # parameters of G
    discriminator: Any  # parameters of D
    generator_optimizer: optax.OptState
    discriminator_optimizer: optax.OptState
    encoder: Any  # parameters of E; empty without one
    encoder_optimizer: optax.OptState
    k: Float[Array, ""]  # k_t in [0, 1]
    learning_rate: Float[Array, ""]  # of both players, now
    convergence: Float[Array, ""]  # running mean of M
    best_convergence: Float[Array, ""]  # its lowest value so far, ...
    best_step: Int[Array, ""]  # ... and when that was, or the last halving of the learning rate
    average: Any = None  # running means of the parameters of `generator` and `encoder`; None without them

    @property
    def done(self) -> int:
        """Steps done."""
        return int(self.step)

    @property
    def score(self) -> float:
        """The running mean of M, lowest in the best checkpoint."""
        return float(self.convergence)

    @property
    def averaged(self) -> dict[str, Any]:
        """Parameters of the `generator` and the `encoder` to draw and to invert with: the running means, if any."""
        return self.average or {"generator": self.generator, "encoder": self.encoder}


def uniform(key: Key[Array, ""], batch: int, latent_size: int) -> Float[Array, "batch latent"]:
    """Return latents uniform on [-1, 1]."""
    return jax.random.uniform(key, (batch, latent_size), minval=-1.0, maxval=1.0)


def init(config: TrainConfig) -> BeganState:
    """Return the state at step 0, a pure function of the configuration (its seed).

    Raises:
        InputError: no networks of such a size can be made, or an option lacks what it acts on.

    Examples:
        >>> from began_jax import TrainConfig, began
        >>> small = dict(height=8, width=8, channels=1, latent_size=4, filters=4, encoder_filters=(4, 8))
        >>> state = began.init(TrainConfig(**small))
        >>> float(state.k), int(state.step)
        (0.0, 0)
    """
    check_networks(config)
    generator, discriminator = networks(config)
    key, key_g, key_d, key_e = jax.random.split(jax.random.key(config.seed), 4)
    g = generator.init(key_g, jnp.zeros((1, config.latent_size)))["params"]
    image = jnp.zeros((1, config.height, config.width, config.channels))
    d = discriminator.init(key_d, image)["params"]
    e = encoder_network(config).init(key_e, image)["params"] if config.encoder_weight else {}
    adam = optimizer(config)
    return BeganState(
        step=jnp.zeros((), jnp.int32),
        key=key,
        generator=g,
        average=jax.tree.map(jnp.copy, {"generator": g, "encoder": e}) if config.average else None,
        discriminator=d,
        generator_optimizer=adam.init(g),
        discriminator_optimizer=adam.init(d),
        encoder=e,
        encoder_optimizer=adam.init(e),
        k=jnp.asarray(config.k_0, jnp.float32),
        learning_rate=jnp.asarray(config.learning_rate, jnp.float32),
        convergence=jnp.zeros(()),
        best_convergence=jnp.full((), jnp.inf, jnp.float32),
        best_step=jnp.zeros((), jnp.int32),
    )


def optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Return Adam without its learning rate, which is part of the state."""
    return optax.scale_by_adam(config.beta1, config.beta2)


def gradients(
    config: TrainConfig,
    state: BeganState,
    x: Images,
    key: Key[Array, ""],
    sharding: NamedSharding | None = None,
) -> tuple[Any, Any, Any, dict[str, Array]]:
    """Return the gradients of each player's loss with respect to it, those of the encoder, and the losses.

    `sharding` is that of the images: the latents follow it, or else every device generates the whole batch.
    """
    generator, _ = networks(config)
    key_g, key_d = jax.random.split(key)

    def latents(key):
        z = uniform(key, x.shape[0], config.latent_size)
        return z if sharding is None else jax.lax.with_sharding_constraint(z, sharding)

    z = latents(key_g)
    fake, back_to_generator = jax.vjp(lambda params: apply(generator, params, z), state.generator)
    if config.objective == "relativistic":
        grads_d, slopes, losses = relativistic.gradients(
            config, state.discriminator, x, fake, jax.random.fold_in(key, AUGMENT_FOLD)
        )
    else:
        fake_d = apply(generator, state.generator, latents(key_d)) if config.separate_latents else None
        grads_d, slopes, losses = autoencoder_gradients(config, state, x, fake, fake_d)
    losses |= {"diversity": fake.std(0).mean() / x.std(0).mean()}
    grads_e, extra_g, extra_losses = {}, None, {}
    if config.encoder_weight:
        grads_e, extra_g, extra_losses = reconstruction.gradients(config, state, x, fake, z)
    (grads_g,) = back_to_generator(slopes)
    if extra_g is not None:
        grads_g = jax.tree.map(jnp.add, grads_g, extra_g)
    return grads_g, grads_d, grads_e, losses | extra_losses


def autoencoder_gradients(
    config: TrainConfig, state: BeganState, x: Images, fake: Images, fake_d: Images | None = None
) -> tuple[Any, Images, dict[str, Array]]:
    """Return the gradients of L_D (A.2) with respect to D and of L_G with respect to the images, and the losses.

    With one latent batch for both players, L(G(z)) is differentiated once, with respect to D's parameters and to
    its input: the input's gradient goes on into G, the parameters' gradient times -k_t joins the real batch's.

    Args:
        config: of the training.
        state: whose D and k_t count.
        x: real images.
        fake: generated images, G's.
        fake_d: those of separate latents for D; None: the same.
    """
    _, discriminator = networks(config)

    def loss(params, v):
        return autoencoder_loss(v, apply(discriminator, params, v), config.loss_power).mean()

    loss_real, real_d = jax.value_and_grad(loss)(state.discriminator, x)
    if fake_d is not None:
        loss_fake_d, fake_d_grad = jax.value_and_grad(loss)(state.discriminator, fake_d)
        loss_fake, slopes = jax.value_and_grad(loss, argnums=1)(state.discriminator, fake)
    else:
        loss_fake, (fake_d_grad, slopes) = jax.value_and_grad(loss, argnums=(0, 1))(state.discriminator, fake)
        loss_fake_d = loss_fake
    grads_d = jax.tree.map(lambda real, fake: real - state.k * fake, real_d, fake_d_grad)
    losses = {
        "loss_real": loss_real,
        "loss_generated": loss_fake,
        "loss_discriminator": loss_real - state.k * loss_fake_d,
    }
    return grads_d, slopes, losses


def next_average(config: TrainConfig, state: BeganState, parameters: dict[str, Any]) -> dict[str, Any] | None:
    """Return the running means after a step, or None without them.

    Their decay grows to `average` as (1 + t) / (10 + t) does, so that they do not remember how the training started.
    """
    if not config.average:
        return None
    decay = jnp.minimum(config.average, (1 + state.step) / (10 + state.step))
    return jax.tree.map(lambda mean, new: decay * mean + (1 - decay) * new, state.average, parameters)


def step(
    config: TrainConfig,
    state: BeganState,
    images: UInt8[Array, "batch height width channels"],
    sharding: NamedSharding | None = None,
) -> tuple[BeganState, dict[str, Array]]:
    """Update both players, the encoder, k_t and the average once, simultaneously.

    Args:
        config: of the training.
        state: before the step.
        images: real ones, as they are stored.
        sharding: of the images, where they are split over devices.

    Raises:
        InputError: images are no uint8 or not of the configuration's size; or `low_quality` is asked for, which
            `augment.low_quality_batch` does.

    Returns:
        The next state (replicated, where arrays are split over Explicit axes) and scalar metrics:
        `loss_discriminator` L_D, `k` k_t after the step, `convergence` M (see `convergence`), `learning_rate`, and
        `diversity`, the standard deviation over the generated batch divided by that over the real batch (near 0: mode
        collapse). BEGAN's objective adds `loss_real` L(x) and `loss_generated` L(G(z)), the relativistic one
        `loss_generator` L_G, `gap` and `penalty`; an encoder adds `reconstruction`, and `saturated`, the share of its
        codes that are -1 or 1 (near 1: it has died, since a tanh has no slope there).

    Examples:
        >>> import jax, numpy as np
        >>> from began_jax import TrainConfig, began
        >>> config = TrainConfig(height=8, width=8, filters=4, encoder_filters=(4, 4), latent_size=4, batch_size=4)
        >>> step = jax.jit(lambda state, images: began.step(config, state, images), donate_argnums=0)
        >>> state, metrics = step(began.init(config), jax.numpy.zeros((4, 8, 8, 3), "uint8"))
        >>> int(state.step), bool(np.isfinite(metrics["convergence"]))
        (1, True)
    """
    wanted = (config.height, config.width, config.channels)
    if images.shape[1:] != wanted:
        raise InputError(f"images are {images.shape[1:]}; they must be {wanted}, as the configuration says")
    if config.low_quality:
        raise InputError("low_quality is not a step's: call augment.low_quality_batch before, and leave it out")
    if config.augment and config.objective == "began":
        raise InputError(f"augment is {','.join(config.augment)}, which needs --objective relativistic")
    return freed(functools.partial(_step, config, sharding), state, images, like=state.step)


def _step(
    config: TrainConfig, sharding: NamedSharding | None, state: BeganState, images: Array
) -> tuple[BeganState, dict[str, Array]]:
    grads_g, grads_d, grads_e, losses = gradients(
        config, state, to_float(images), jax.random.fold_in(state.key, state.step), sharding
    )
    adam = optimizer(config)

    def update(params, grads, opt_state, most=None):
        direction, opt_state = adam.update(grads, opt_state, params)
        if most is not None:
            direction, _ = optax.clip_by_block_rms(most).update(direction, optax.EmptyState())
        return jax.tree.map(lambda p, d: p - state.learning_rate * d, params, direction), opt_state

    generator, generator_optimizer = update(state.generator, grads_g, state.generator_optimizer)
    discriminator, discriminator_optimizer = update(state.discriminator, grads_d, state.discriminator_optimizer)
    encoder, encoder_optimizer = update(state.encoder, grads_e, state.encoder_optimizer, E_STEP)
    measure, k = convergence(config, losses), state.k
    if config.objective == "began":
        k = next_k(state.k, losses["loss_real"], losses["loss_generated"], config.gamma, config.lambda_k)
    state = dataclasses.replace(
        state,
        step=state.step + 1,
        generator=generator,
        average=next_average(config, state, {"generator": generator, "encoder": encoder}),
        discriminator=discriminator,
        generator_optimizer=generator_optimizer,
        discriminator_optimizer=discriminator_optimizer,
        encoder=encoder,
        encoder_optimizer=encoder_optimizer,
        k=k,
    )
    state = track_convergence(config, state, measure)
    return state, losses | {"k": k, "convergence": measure, "learning_rate": state.learning_rate}


def track_convergence(config: TrainConfig, state: BeganState, measure: Array) -> BeganState:
    """Update the running mean of M, and halve the learning rate when it has not improved for `patience` steps."""
    mean = jnp.where(state.step == 1, measure, M_DECAY * state.convergence + (1 - M_DECAY) * measure)
    better = mean < state.best_convergence
    state = dataclasses.replace(
        state,
        convergence=mean,
        best_convergence=jnp.where(better, mean, state.best_convergence),
        best_step=jnp.where(better, state.step, state.best_step),
    )
    if config.patience == 0:
        return state
    stalled = state.step - state.best_step >= config.patience
    floor = jnp.minimum(config.learning_rate_floor, config.learning_rate)
    return dataclasses.replace(
        state,
        learning_rate=jnp.where(stalled, jnp.maximum(state.learning_rate / 2, floor), state.learning_rate),
        best_step=jnp.where(stalled, state.step, state.best_step),
    )


def samples(config: TrainConfig, state: BeganState, count: int) -> Float[Array, "count height width channels"]:
    """Return images from `count` latents that depend on the seed only, so that pictures of a run can be compared."""
    generator, _ = networks(config)
    z = uniform(jax.random.fold_in(state.key, SAMPLE_FOLD), count, config.latent_size)
    return apply(generator, state.averaged["generator"], z)


def check_finite(metrics: dict[str, float], step: int) -> None:
    """Raise DivergedError, naming the step, when a metric is NaN or infinite."""
    remedy = (
        "nothing was saved after the last checkpoint: start another run with a lower --learning-rate or another --seed"
    )
    require_finite(metrics, f"training diverged at step {step}", remedy)
