"""Train a network from latents to annotations (landmarks, a mask, attributes) -> RUN/aspect/NAME/.

    python aspect.py --run runs/demo                        # the recipe of the run's preset
    python aspect.py --run runs/faces --recipe regularised  # another recipe beside it
    python aspect.py --run runs/faces --labelled 100        # as if 100 images only were annotated
    python aspect.py --run runs/faces --target generated    # learn T(G(z)), labelled by T in worker processes
    python aspect.py --run runs/faces --suggest 50          # which images to annotate next -> RUN/suggested.txt

The same command goes on where a stopped training left off, on a CPU bit for bit.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from began_jax import aspects, gaussian_process, sharding
from began_jax.configs import AspectConfig
from began_jax.errors import InputError
from began_jax.files import replacing
from began_jax.options import flag
from began_jax.presets import ASPECT_RECIPES
from began_jax.run import (
    aspect_training,
    cli,
    closed_form,
    image_network,
    labels,
    networks,
    plan,
    reading,
    self_training,
)
from began_jax.run.folder import Run


def parser() -> cli.ArgumentParser:
    """Return the command line."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="the folder that train.py and invert.py made")
    parser.add_argument(
        "--recipe",
        choices=tuple(ASPECT_RECIPES),
        help="where the options start from: paper, to the "
        "letter; a regularised network, which knows more about held-out images; that combined with a Gaussian process, "
        "or with an image network too; or features, a network that sees the inner layers of G beside both, which knows "
        "the most from few labels; default: the paper's for the paper's presets, combined for the demos and the "
        "synthetic ones, features for the others, but combined-images for landmarks of 2,000 images or more; -mask "
        "is the same for masks",
    )
    parser.add_argument("--name", help="of this network in the run; default: the recipe's, and a --target's")
    cli.add_annotator(parser)
    cli.add_kind(parser)
    parser.add_argument(
        "--suggest",
        type=int,
        metavar="N",
        help="train nothing: name the N training images whose annotation would tell the most, for a data set that is "
        "annotated in part (docs/aspects.md)",
    )
    cli.add_plan(parser)
    about = "epochs between checkpoints; default: 10, or a 40th of all where that is more. A stop saves what is reached"
    parser.add_argument("--save-every", type=int, help=about)
    cli.add_options(parser, ASPECT_RECIPES)
    return parser


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Run, AspectConfig]:
    """Return the command line, the run, and the recipe with the options that were given."""
    args = parser().parse_args(argv)
    run = Run.open(args.run)
    if run.has_own:  # whose code uses JAX before it is known what is trained
        sharding.use_cpu_devices(getattr(args, "members", 1), kernel_gradients=True)
    if args.kind:
        run = run.with_kind(args.kind)
    generated = getattr(args, "target", "") == "generated"  # labels of T, and none of the data set
    labels_of = getattr(args, "labels", AspectConfig().labels) if generated else getattr(args, "labelled", 0)
    named = args.recipe
    args.recipe = named or networks.default_recipe(run, labels_of)
    config = cli.given_options(args, ASPECT_RECIPES[args.recipe])
    if getattr(args, "read", False) and not run.config.encoder_weight:
        raise InputError(f"--read needs an encoder, and the generator of {run.folder} has none (--encoder-weight)")
    if run.kind.head_of(run.data) is None and (getattr(args, "features", False) or (named and config.features)):
        raise InputError(f"--features needs a kind with a head (began_jax/kinds.py), and {run.kind.name} has none")
    if not networks.shows_layers(run) and (getattr(args, "features", False) or (named and config.features)):
        raise InputError("--features needs a generator that shows its layers, and the run's own one has no `layers`")
    if getattr(args, "image_steps", 0) or (named and config.image_steps and config.target == "dataset"):
        if run.kind.head_of(run.data) is None:
            raise InputError(f"--image-steps needs a kind with a head (began_jax/kinds.py); {run.kind.name} has none")
        if config.target != "dataset":
            raise InputError("--image-steps needs --target dataset, whose annotated images it learns from")
    if getattr(args, "self_training", False) and not config.image_steps:
        raise InputError("--self-training needs --image-steps, the image network that is trained again")
    if getattr(args, "read", False) and config.features and config.target != "dataset":
        raise InputError(f"--read with --features needs --target dataset; labels of {config.target} images are of G(z)")
    if hasattr(args, "epochs") and getattr(args, "steps", 0):
        raise InputError(f"--epochs {args.epochs} and --steps {args.steps}: one of them counts; give that one")
    if hasattr(args, "epochs") and not hasattr(args, "steps"):
        config = dataclasses.replace(config, steps=0)  # the recipe's, which would decide
    asked, config = config, networks.possible(run, config)
    if getattr(args, "self_training", False) and not config.self_training:
        why = "--target dataset" if asked.target != "dataset" else "a kind with a head (began_jax/kinds.py)"
        raise InputError(f"--self-training needs an image network, and that needs {why}")
    if args.name and (Path(args.name).name != args.name or args.name == ".."):
        raise InputError(f"--name is {args.name}; it must be the name of one folder")
    if args.save_every is not None and args.save_every < 1:
        raise InputError(f"--save-every is {args.save_every}; it must be at least 1")
    if config.closed_form != "none" and not config.validation:
        raise InputError(f"--closed-form {config.closed_form} needs --validation: its share is found on those latents")
    if config.labelled and config.target == "generated":
        raise InputError("--labelled does nothing with --target generated, which learns from no annotated image")
    given = cli.given(parser(), args)
    idle = [name for name in ("labels", "label_sampler", "annotator", "workers") if name in given]
    if config.target == "dataset" and idle:
        raise InputError(f"{flag(idle[0])} does nothing with --target dataset, which learns from no generated image")
    if config.label_seed and not config.labelled:
        raise InputError("--label-seed needs --labelled: it is the seed of that choice")
    return args, run, config


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, latents and annotations, init, restore, an epoch a call."""
    args, run, config = parse(argv)
    # T may be a network that learns
    convolutions = run.data.annotation == "mask" or config.features or config.target != "dataset"
    sharding.use_cpu_devices(config.members, kernel_gradients=convolutions or config.image_steps > 0)
    if args.suggest is not None:
        print(suggested(run, config, args.suggest))
        return
    if args.plan:
        print(plan.aspect(run, config))
        return
    latents, targets = labels.training_pairs(run, config, args.annotator, args.workers)
    config = networks.fitting(run, config, len(latents))
    run.keep_kind()
    folder = run.folder / "aspect" / (args.name or default_name(args.recipe, config))

    def record(state: aspects.AspectState, metrics: dict[str, float], *keep: str) -> None:
        found = {"epochs": state.done, "best_loss": state.score} | metrics
        same = not keep or run.figure("aspect/best_loss") == state.score  # figures of another network are not kept
        run.record("aspect", found, keep=(*keep, "steps_per_second") if same else ())

    rows = labels.learnt_from(run, config) if config.image_steps else np.arange(0)
    options = {"save_every": args.save_every, "events": run.folder / "events" / f"aspect-{folder.name}"}
    examples = image_network.Examples(latents, rows, targets)
    if getattr(args, "self_training", False) and not self_training.serves(run, config, rows):
        others = len(run.latents("train")["z"]) - len(rows)
        why = f"it learns from {len(rows):,} annotated images, and only {others:,} inverted ones are left"
        print(f"aspect: --self-training does nothing here: {why}")
    loop = aspect_training.fitted(run, args.recipe, config, examples, folder, record=record, **options)

    done, beside = f"{loop.state.done:,} epochs{loop.remark}", ""
    found: dict[str, float] = {}
    if (config.closed_form == "process" or config.image_steps) and not loop.stopped:
        aspect = networks.load(run, folder.name)
        if config.closed_form == "process":
            found["network_share"] = aspect.share
            beside = f", with the share {aspect.share:.2f} beside a Gaussian process"
        if config.image_steps:
            found["image_share"] = aspect.look_share
            beside += f", and beside an image network with the share {aspect.look_share:.2f}"
        record(loop.state, found, "loss", "validation_loss")
    print(f"aspect: {done} of {len(latents):,} latents, best loss {loop.state.score:.3e}{beside} -> {folder}")
    loop.exit_if_stopped()


def suggested(run: Run, config: AspectConfig, count: int) -> str:
    """Write the ids of the images to annotate next, in order, and return the closing line."""
    if count < 1:
        raise InputError(f"--suggest is {count}; it must be at least 1")
    found = run.latents("train")
    z, every = found["z"], np.arange(len(found["z"]))
    known = run.data.annotated("train")
    known = known[known < len(z)]
    if len(known) == len(z):
        raise InputError(f"--suggest: each of the {len(z):,} inverted training images is annotated; see --partial")
    z = reading.of_images(run, "train", every, z) if config.read else z
    length, noise = closed_form.LENGTH, closed_form.NOISE
    if len(known) >= closed_form.ENOUGH:
        fitted = gaussian_process.fit(z[known], run.annotations("train", len(z)))
        length, noise = fitted.length, fitted.noise
    rows = gaussian_process.suggest(z, known, count, length, noise)
    path = run.folder / "suggested.txt"
    with replacing(path) as temporary:
        temporary.write_text("".join(f"{found['id'][row]}\n" for row in rows), encoding="utf-8")
    return f"aspect: {len(rows):,} images to annotate next, beside the {len(known):,} that are -> {path}"


def default_name(recipe: str, config: AspectConfig) -> str:
    """Return the name of a network that was given none: the recipe's, and what of its data is not the recipe's."""
    own = [config.target] if config.target != ASPECT_RECIPES[recipe].target else []
    own += [str(config.labelled)] if config.labelled else []
    own += [f"seed{config.label_seed}"] if config.labelled and config.label_seed else []
    return "-".join([recipe, *own])
