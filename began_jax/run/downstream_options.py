"""The options of `evaluate.py --downstream`, and the plan that they make."""

import argparse
import dataclasses
from collections.abc import Collection

from began_jax import sampling, student
from began_jax.errors import InputError
from began_jax.options import flag
from began_jax.presets import ASPECT_RECIPES
from began_jax.run import downstream, networks, pairs
from began_jax.run.folder import Run

OPTIONS = ("seeds", "student_steps", "student", "first", "pairs", "sampler", "keep", "truncation", "recipe")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    about = "ordinary networks, trained on real images, generated pairs, both, pseudo-labels: docs/downstream.md"
    group = parser.add_argument_group("what the pairs are worth", about)
    group.add_argument(
        "--downstream",
        metavar="K,K,...",
        help="numbers of annotated images that all ways may learn from, such as 16,100,all; each takes four trainings "
        "a seed, of minutes on a CPU",
    )
    group.add_argument("--seeds", type=int, default=3, help="draws of the annotated images, with a training each")
    steps = student.Recipe().steps
    group.add_argument("--student-steps", type=int, default=steps, help="of each network, 32 images a step")
    about = "of landmarks: heat maps by default, which learn much more from few images, or a regression by dense layers"
    group.add_argument("--student", choices=student.NETWORKS, help=about)
    about = "of the steps of both and pseudo: those on new pairs or pseudo-labels alone, before annotated images come"
    group.add_argument("--first", type=float, default=downstream.Plan.first, metavar="SHARE", help=about)
    group.add_argument("--pairs", type=int, default=10_000, help="generated ones that a network is trained on")
    samplers = sampling.SAMPLERS
    group.add_argument("--sampler", default="uniform", choices=samplers, help="of their latents, as in generate.py")
    group.add_argument("--keep", type=float, default=1.0, metavar="SHARE", help="of the pairs, as in generate.py")
    group.add_argument("--truncation", type=float, default=1.0, help="of --sampler density, as in generate.py")
    group.add_argument("--recipe", choices=tuple(ASPECT_RECIPES), help="of G_a; default: that of the run's preset")


def check(args: argparse.Namespace, given: Collection[str]) -> None:
    """Raise InputError for a number out of its range, or an option that was given without --downstream."""
    if not args.downstream and (idle := [name for name in OPTIONS if name in given]):
        raise InputError(f"{flag(idle[0])} does nothing without --downstream")
    if min(args.seeds, args.student_steps, args.pairs) < 1 or not 0 < args.keep <= 1 or args.truncation < 0:
        ranges = "--seeds, --student-steps, --pairs: at least 1 each; --keep: more than 0 and at most 1"
        raise InputError(f"{ranges}; --truncation: at least 0")
    if not 0 <= args.first < 1:
        raise InputError(f"--first is {args.first}; it must be at least 0 and less than 1")


def plan(args: argparse.Namespace, run: Run) -> downstream.Plan:
    """Return what --downstream and the options beside it ask for; InputError where nothing is held out."""
    if "test" not in run.data.splits:
        raise InputError("--downstream needs held-out images, and the data set has no test split: prepare.py --holdout")
    counts = downstream.parse_labels(args.downstream)
    annotated = len(run.annotated("train", len(run.latents("train")["z"])))
    if max(counts) > annotated:
        raise InputError(f"--downstream {max(counts)}: only {annotated:,} inverted training images are annotated")
    fewest = min((count for count in counts if count), default=0)  # all ways have one recipe, that of the fewest labels
    before = downstream.before(run)
    recipe = args.recipe or before.get("recipe") or networks.default_recipe(run, fewest)
    network = args.student or ("heatmaps" if run.kind.name == "landmarks" else student.NETWORKS[0])
    if args.student == "heatmaps" and run.kind.name != "landmarks":
        raise InputError(f"--student {args.student} is for landmarks; {run.kind.plural} have one network")
    pairs.check_draw(args.sampler, sampling.JITTER, args.truncation)
    config = networks.possible(run, ASPECT_RECIPES[recipe])
    if recipe == before.get("recipe"):  # which may have had fewer steps when these were made
        used = {"image_steps": config.image_steps, "self_training": False}
        config = dataclasses.replace(config, **{name: before.get(name, value) for name, value in used.items()})
    if args.keep < 1 and not run.inverted.encode and config.closed_form == "none" and not config.image_steps:
        why = f"networks of recipe {recipe} have neither process nor image network, nor the run an encoder"
        raise InputError(f"--keep {args.keep}: {why}")
    draw = pairs.Draw(sampler=args.sampler, keep=args.keep, truncation=args.truncation)
    students = student.Recipe(steps=args.student_steps)
    return downstream.Plan(
        counts, args.seeds, config, recipe, students, args.pairs, draw, first=args.first, network=network
    )
