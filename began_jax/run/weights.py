"""Weights that come along: the networks of the built-in data sets, trained to the end, and the card of each.

began_jax/weights/NAME/card.json     what was trained on what, for how long, how good it is, its licence
began_jax/weights/NAME/state/        an Orbax checkpoint: parameters of G, E and G_a
"""

import argparse
import dataclasses
import functools
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from began_jax import aspects, began, kinds
from began_jax.began.fitting import check_images, check_latents
from began_jax.configs import AspectConfig, TrainConfig, train_config
from began_jax.data.synthetic import dataset as synthetic
from began_jax.errors import InputError
from began_jax.files import new_folder, read_json, write_json
from began_jax.logs import root_kept
from began_jax.run import checkpoints, cli, networks, reading
from began_jax.run.folder import Run
from began_jax.run.generator import Generator, of_training
from began_jax.sharding import without_mesh

FOLDER = Path(__file__).parents[1] / "weights"
LICENCE = "Apache-2.0, as the code; the data is rendered by the package, and shows nobody"


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """Pure functions with their parameters, for `jax.jit` and `jax.vmap`.

    Args:
        generate: latents [N, latent] -> images [N, height, width, channels] in about [-1, 1].
        encode: images in [-1, 1] -> latents near those that give them, in the cube (-1, 1).
        annotate: latents -> annotations of their images, such as landmarks [N, 49, 2] or masks [N, height, width, 1].
            All three raise InputError for arrays of another shape, and `encode` for other than floats.
        config: of the training.
        card: data, steps, figures and licence.
    """

    generate: Callable[[Any], jax.Array]
    encode: Callable[[Any], jax.Array]
    annotate: Callable[[Any], jax.Array]
    config: TrainConfig
    card: dict[str, Any]


def names() -> list[str]:
    """Return the names of the weights that come along."""
    return sorted(path.parent.name for path in FOLDER.glob("*/card.json"))


@root_kept()
def pretrained(name: str) -> Pretrained:
    """Return networks that come along: `synthetic-faces` or `synthetic-irises`.

    Raises:
        InputError: there are none of this name.

    Examples:
        >>> import jax
        >>> from began_jax import pretrained, uniform_latents
        >>> faces = pretrained("synthetic-faces")
        >>> z = uniform_latents(jax.random.key(0), 2)
        >>> faces.generate(z).shape, faces.annotate(z).shape
        ((2, 64, 64, 3), (2, 49, 2))
    """
    card, config, state = _read(name)
    generator = of_training(config, state["began"])
    made, aspect = _aspect(card, config, generator)
    encode = generator.encode
    assert encode is not None  # `pack` asked for an encoder
    reads, parameters = reading.of_new(generator)
    read = functools.partial(reads, parameters) if aspect.read and not aspect.features else lambda z: z

    def generate(z: Any) -> jax.Array:
        check_latents(config, z)
        return generator.apply(generator.parameters, jnp.asarray(z))

    def encoded(x: Any) -> jax.Array:
        check_images(config, x)
        return encode(generator.encoder_parameters, jnp.asarray(x))

    def annotate(z: Any) -> jax.Array:
        check_latents(config, z)
        return aspects.predict(made.network, state["aspect"], read(jnp.asarray(z)), aspect.members, made.sight)

    return Pretrained(generate, encoded, annotate, config, card)


def check(config: TrainConfig) -> None:
    """Raise InputError unless weights come along for a preset with this configuration."""
    _, own = _card(config.preset)
    for field in dataclasses.fields(TrainConfig):
        given, theirs = getattr(config, field.name), getattr(own, field.name)
        if field.name != "preset" and given != theirs:
            raise InputError(f"--pretrained: the weights of {config.preset} have {field.name} {theirs}, not {given}")


def begin(run: Run) -> None:
    """Give a new run the weights that come along for its preset as its training's last checkpoint.

    The state has neither D nor Adam's moments, so it cannot be trained further: see `trainable`. A run that began with
    them stays as it is.

    Raises:
        InputError: the run has another training already.
    """
    folder = run.folder / "generator"
    if checkpoints.exists(folder):
        if trainable(run.training()):
            raise InputError(f"--pretrained: {folder} holds another training; give another --run")
        return
    card, _, found = _read(run.config.preset)
    trained = {name: value for name, value in card["figures"].items() if name.startswith("train/")}
    run.record("train", {name.removeprefix("train/"): value for name, value in trained.items()})
    _write(folder, found["began"].done, found["began"], found["began"].score)


def trainable(state: began.BeganState) -> bool:
    """Return whether a state is one that a training reached, and no pretrained one, whose D never learnt."""
    moments: Any = state.discriminator_optimizer
    return state.done == 0 or int(moments.count) > 0


def pack(run: Run, out: Path, aspect: str) -> None:
    """Write the weights of a run and their card to a new folder.

    Args:
        run: whose stages are all done.
        out: folder.
        aspect: name of its aspect network.
    """
    source, trained = run.data.metadata.get("source", ""), run.training(run.inversion[1])
    if source not in synthetic.KINDS or run.data.annotation not in ("landmarks", "mask"):
        raise InputError(f"{run.data.path}: only a rendered set with landmarks or masks may be given away like this")
    if not run.config.encoder_weight:
        raise InputError(f"{run.folder} has no encoder: train it with --encoder-weight")
    config, learnt = networks.stored(run, aspect)
    if config.closed_form != "none" or config.image_steps:
        alone = "--closed-form none and --image-steps 0"
        raise InputError(f"{aspect} answers beside a process or an image network: give away one with {alone}")
    figures = read_json(run.folder / "metrics.json")
    card = {
        "config": dataclasses.asdict(run.config) | {"data": source, "steps": trained.done},
        "aspect": dataclasses.asdict(config),
        "annotation": run.data.annotation,
        "shape": list(run.data.shape or ()),
        "data": {"source": source, "seed": run.data.metadata["seed"], "images": dict(run.data.splits)},
        "figures": {name: figures[name] for name in figures if name.startswith(("train/", "invert/", "evaluate/"))},
        "licence": LICENCE,
    }
    with new_folder(out) as partial:
        write_json(partial / "card.json", card)
        _write(partial / "state", trained.done, trained.averaged | {"aspect": learnt.best_parameters})


def _write(folder: Path, step: int, state: Any, score: float = 0.0) -> None:
    """Write one checkpoint, and wait for it."""
    saved = checkpoints.manager(folder)
    checkpoints.save(saved, step, state, score=score)
    saved.wait_until_finished()
    saved.close()


def _card(name: str) -> tuple[dict[str, Any], TrainConfig]:
    if name not in names():
        raise InputError(f"no weights come along for {name!r}; there are {', '.join(names())}")
    card = read_json(FOLDER / name / "card.json")
    return card, train_config(card["config"])


@without_mesh
def _read(name: str) -> tuple[dict[str, Any], TrainConfig, dict[str, Any]]:
    """Return a card, its configuration, and the state of the training with the aspect network's parameters."""
    card, config = _card(name)
    # What did not come along starts as a training does but for the last bits, which are not worth twice the seconds.
    quick: Any = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    start = jax.jit(lambda: began.init(config), compiler_options=quick)()
    made, aspect = _aspect(card, config, of_training(config, start))
    learnt = jax.eval_shape(lambda: made.init(aspect)).best_parameters
    saved = checkpoints.manager(FOLDER / name / "state", read_only=True)
    found = checkpoints.restore(saved, config.steps, start.averaged | {"aspect": learnt})
    saved.close()
    found = jax.tree.map(jnp.asarray, jax.device_get(found))  # on no device that is said: they go with the latents
    own = {key: found[key] for key in ("generator", "encoder")}
    measure = jnp.asarray(card["figures"]["train/convergence"], jnp.float32)
    state = dataclasses.replace(
        start,
        **own,
        average=jax.tree.map(jnp.copy, own) if config.average else None,
        step=jnp.asarray(config.steps, start.step.dtype),
        convergence=measure,
        best_convergence=measure,
        best_step=jnp.asarray(config.steps, start.best_step.dtype),
    )
    return card, config, {"began": state, "aspect": found["aspect"]}


def _aspect(card: dict[str, Any], config: TrainConfig, generator: Generator) -> tuple[networks.Untrained, AspectConfig]:
    data: Any = types.SimpleNamespace(shape=tuple(card["shape"]), names=(), height=config.height, width=config.width)
    aspect = AspectConfig(**card["aspect"])
    return networks.untrained(aspect, kinds.KINDS[card["annotation"]], data, config, generator), aspect


def main() -> None:
    """Pack a run: `python -m began_jax.run.weights --run RUN --out began_jax/weights/NAME`."""
    parser = cli.ArgumentParser(description=main.__doc__)
    parser.add_argument("--run", type=Path, required=True, help="a run whose stages are all done")
    parser.add_argument("--out", type=Path, required=True, help="new folder")
    parser.add_argument("--aspect", help="name of the aspect network; default: the one trained last")
    args: argparse.Namespace = parser.parse_args()
    run = Run.open(args.run)
    pack(run, args.out, args.aspect or networks.newest(run))
    print(f"weights: {run.folder} -> {args.out}")


if __name__ == "__main__":
    cli.run(main)
