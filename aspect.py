"""Train a network from latents to annotations (landmarks, a mask, attributes) -> RUN/aspect/NAME/.

    python aspect.py --run runs/demo                        # the recipe of the run's preset
    python aspect.py --run runs/faces --recipe regularised  # another recipe beside it
    python aspect.py --run runs/faces --target generated    # learn T(G(z)), labelled by T in worker processes

The same command goes on where a stopped training left off, bit for bit.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp

from began_jax import aspects, progress, sharding
from began_jax.configs import ASPECT_RECIPES, DEFAULT_RECIPE, check_options
from began_jax.errors import InputError
from began_jax.files import agree
from began_jax.run import checkpoints, cli, labels
from began_jax.run import folder as runs
from began_jax.run import networks as aspect_networks


def parse():
    """The command line."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="the folder that train.py and invert.py made")
    parser.add_argument(
        "--recipe",
        choices=tuple(ASPECT_RECIPES),
        help="where the options start from: paper, to the "
        "letter, or a regularised one, which knows more about held-out images; default: the paper's for the "
        "paper's presets, regularised ones for the demos",
    )
    parser.add_argument("--name", help="of this network in the run; default: the recipe's, and a --target's")
    cli.add_annotator(parser)
    parser.add_argument("--save-every", type=int, default=10, help="epochs between checkpoints: a stop loses no more")
    cli.add_options(parser, ASPECT_RECIPES)
    return parser.parse_args()


def main() -> None:
    """Parse, latents and annotations, init, restore, an epoch a call."""
    args = parse()
    train_config, data = runs.load(args.run)
    recipe = args.recipe or DEFAULT_RECIPE.get(train_config.preset, "paper")
    config = cli.given_options(args, ASPECT_RECIPES[recipe])
    network = aspect_networks.network_for(train_config, data)
    if args.name and (Path(args.name).name != args.name or args.name == ".."):
        raise InputError(f"--name is {args.name}; it must be the name of one folder")
    if args.save_every < 1:
        raise InputError(f"--save-every is {args.save_every}; it must be at least 1")
    check_options(config)
    convolutions = data.annotation == "mask" or config.target != "dataset"  # T may be a network that learns
    sharding.use_cpu_devices(config.members, kernel_gradients=convolutions)
    latents, targets = labels.training_pairs(args.run, train_config, data, config, args.annotator, args.workers)
    aspects.check_batch(config, len(latents))
    name = recipe if config.target == ASPECT_RECIPES[recipe].target else f"{recipe}-{config.target}"
    folder = args.run / "aspect" / (args.name or name)
    origin = {"latents": len(latents)} | aspect_networks.origin(args.run, config)
    defaults = dataclasses.asdict(ASPECT_RECIPES[recipe]) | origin
    agree(
        folder / "config.json",
        dataclasses.asdict(config) | origin,
        "trained",
        free=("epochs",),
        defaults=defaults,
        otherwise="another --name",
        used=checkpoints.exists(folder),
    )

    trainer = aspects.Trainer(config, network, jnp.asarray(latents), jnp.asarray(targets))
    state = aspects.init(config, network, train_config.latent_size)
    saved = checkpoints.manager(folder)
    if (found := checkpoints.restore_latest(saved, state)) is not None:
        state = found[1]
    start = int(state.epoch.max())
    events = progress.event_writer(args.run, f"aspect-{folder.name}", start)
    bar = progress.Progress("aspect", config.epochs, start, unit="epoch")
    values: dict[str, float] = {}

    def save(epoch, state) -> None:
        # Its figures come first: when the last checkpoint is there, a rerun has nothing left to do.
        best = float(state.best_error.mean())
        found = {"epochs": epoch, "best_loss": best} | values
        if bar.rate:
            found["steps_per_second"] = bar.rate * trainer.batches
        runs.record_metrics(args.run, "aspect", found, keep=("steps_per_second",))
        checkpoints.save(saved, epoch, state, score=best)

    stopped = 0
    try:
        with cli.stop_signals() as signals:
            for epoch in range(start + 1, config.epochs + 1):
                state, metrics = trainer.epoch(state)
                values = {name: float(value) for name, value in jax.device_get(metrics).items()}
                aspects.check_finite(values, epoch)
                bar.update(1, **values)
                for name, value in values.items():
                    events.add_scalar(f"aspect/{name}", value, epoch)
                stopped = signals[0] if signals else 0
                if stopped or epoch % args.save_every == 0 or epoch == config.epochs:
                    save(epoch, state)
                if stopped:
                    break
    finally:
        bar.close()
        events.close()
        saved.wait_until_finished()
        saved.close()

    remark = " (stopped; the same command goes on)" if stopped else ""
    done = f"{int(state.epoch.max()):,} epochs{remark}"
    print(f"aspect: {done} of {len(latents):,} latents, best loss {float(state.best_error.mean()):.3e} -> {folder}")
    if stopped:
        raise SystemExit(128 + stopped)


if __name__ == "__main__":
    cli.run(main)
