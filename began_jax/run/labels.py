"""T on generated images (eq. 1 to the letter): latents z with T(G(z)), made once and kept in the run.

RUN/labels/config.json                        which T it was
RUN/labels/{train,test}-{uniform,data}/       one Orbax item a shard: z, annotation, whether T was sure of it

`train` are those that an aspect network learns from, `test` those that its consistency is measured on.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from began_jax import began, sampling
from began_jax.annotators import annotator
from began_jax.annotators.workers import ordered_map
from began_jax.configs import AspectConfig, TrainConfig
from began_jax.data.datasets import DataSet
from began_jax.errors import InputError
from began_jax.files import agree, read_json
from began_jax.images import to_uint8
from began_jax.progress import Progress
from began_jax.run import checkpoints
from began_jax.run import folder as runs
from began_jax.run import learnt_annotator as annotator_network
from began_jax.run import networks as aspect_networks
from began_jax.run.latents import Latents

SAMPLERS = ("uniform", "data")  # z uniform on the cube; or rows of Z_data with noise of
JITTER = 0.1  # standard deviations, as generate.py draws them by default
NETWORK = "network"  # the T that is learnt from the data set's own annotations
SHARD = 256  # latents generated, annotated and written together
_BLOCK = 16  # images a task of a worker process

# A T for many images: blocks of images uint8 [n, H, W, C] -> for each block a list of n annotations, None where unsure.
AnnotateBlocks = Callable[[Iterable[np.ndarray]], Iterator[list[np.ndarray | None]]]


class Labels(NamedTuple):
    """Latents [N, latent] and T's annotations of their images [N, ...], those where T was sure; the share of them."""

    z: np.ndarray
    annotation: np.ndarray
    sure: float


def choose(run: Path, data: DataSet, given: str | None) -> str:
    """Name of the T of a run: the one given, else the one used before, else that of prepare.py, else a network.

    Raises:
        InputError: another one is given than was used before.
    """
    path = run / "labels" / "config.json"
    used = any(checkpoints.exists(folder) for folder in path.parent.glob("*"))
    before = read_json(path).get("annotator") if used and path.is_file() else None
    name = annotator.absolute(given or before or data.metadata.get("annotator") or NETWORK)
    if name != NETWORK:
        annotator.load(name)  # what it lacks is said before anything is written
    agree(path, {"annotator": name}, "labelled", otherwise=f"delete {path.parent}", used=used)
    return name


def of_worker_processes(name: str, kind: str, workers: int | None = None) -> AnnotateBlocks:
    """A T for single images, by name, in worker processes."""
    return lambda blocks: ordered_map(functools.partial(_open, name, kind), blocks, workers)


def _open(name: str, kind: str) -> Callable[[np.ndarray], list[np.ndarray | None]]:
    annotate = annotator.load(name)

    def block(images: np.ndarray) -> list[np.ndarray | None]:
        return [_one(annotate, image, name, kind) for image in images]

    return block


def _one(annotate: annotator.Annotator, image: np.ndarray, name: str, kind: str) -> np.ndarray | None:
    try:
        found = annotator.annotated(annotate, image, *image.shape[:2])
    except annotator.Unsure:
        return None
    except Exception as error:
        raise InputError(f"--annotator {name}: {type(error).__name__} on a generated image: {error}") from error
    if kind not in found:
        raise InputError(f"--annotator {name}: gives {', '.join(found)}, and the run's aspect is {kind}")
    return found[kind]


def collect(
    run: Path,
    config: TrainConfig,
    data: DataSet,
    name: str,
    *,
    purpose: str,
    samplers: Sequence[str],
    count: int,
    workers: int | None = None,
) -> dict[str, Labels]:
    """Labels `count` images of each sampler with the T of that name, as far as the run does not hold them already.

    Raises:
        InputError: T gives another kind or shape of annotation than the data set has, or is sure of no image.
    """
    _, step = runs.inverted(run)
    wanted = {"annotator": name, "generator_step": step, "jitter": JITTER}
    stores, missing = {}, []
    for sampler in samplers:
        folder = run / "labels" / f"{purpose}-{sampler}"
        remedy = f"delete {folder.parent}"
        agree(folder / "config.json", wanted, "labelled", otherwise=remedy, used=checkpoints.exists(folder))
        stores[sampler] = Latents(folder)
        there = stores[sampler].done()
        missing += [(sampler, shard) for shard in range(-(-count // SHARD)) if shard not in there]
    if missing:
        state = runs.load_training(run, config, step)
        generate = aspect_networks.batched(began.networks(config)[0], state.generator)
        draw = {sampler: _sampler(run, config, purpose, sampler) for sampler, _ in missing}
        latents = {
            (sampler, shard): np.asarray(draw[sampler](jnp.arange(shard * SHARD, (shard + 1) * SHARD)))
            for sampler, shard in missing
        }
        if name == NETWORK:
            annotate, block = annotator_network.load(run, config, data), SHARD
        else:
            annotate, block = of_worker_processes(name, data.annotation, workers), _BLOCK
        _label(latents, stores, generate, annotate, block, name, data)
    return {sampler: _sure(store.load(), count, name, sampler) for sampler, store in stores.items()}


def _label(
    latents: Mapping[tuple[str, int], np.ndarray],
    stores: Mapping[str, Latents],
    generate: Callable[[np.ndarray], np.ndarray],
    annotate: AnnotateBlocks,
    block: int,
    name: str,
    data: DataSet,
) -> None:
    """Generates, annotates and stores the latents of each (sampler, shard), one shard after another."""

    def blocks() -> Iterator[np.ndarray]:
        for z in latents.values():
            yield from np.split(to_uint8(generate(z)), SHARD // block)

    answers = itertools.chain.from_iterable(annotate(blocks()))
    bar = Progress("T", len(latents) * SHARD, unit="image")
    try:
        for (sampler, shard), z in latents.items():
            found = []
            for answer in itertools.islice(answers, SHARD):
                if answer is not None and answer.shape != data.shape:
                    raise InputError(
                        f"--annotator {name}: gives {data.annotation} of shape {list(answer.shape)}, the data set "
                        f"has {list(data.shape)}"
                    )
                found.append(answer)
                bar.update()
            sure = np.array([answer is not None for answer in found])
            annotation = np.stack([np.zeros(data.shape) if a is None else a for a in found]).astype(np.float32)
            columns = {"z": z, "annotation": annotation, "sure": sure}
            stores[sampler].save(shard, [], columns)
    finally:
        bar.close()
        for store in stores.values():
            store.wait()


def _sure(columns: Mapping[str, Any], count: int, name: str, sampler: str) -> Labels:
    """The first `count` labels without those that T was not sure of."""
    sure = columns["sure"][:count]
    if not sure.any():
        raise InputError(f"--annotator {name}: is sure of none of {count} generated images ({sampler} latents)")
    return Labels(columns["z"][:count][sure], columns["annotation"][:count][sure], float(sure.mean()))


def training_pairs(
    run: Path, config: TrainConfig, data: DataSet, aspect: AspectConfig, given: str | None, workers: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Latents [N, latent] and targets [N, ...] that an aspect network is trained on: the data set's, T's, or both.

    Raises:
        InputError: as `choose` and `collect`.
    """
    pairs = []
    if aspect.target != "generated":
        z = Latents(run / "latents" / "train", read_only=True).load()["z"]
        pairs.append((z, aspect_networks.targets(data, "train", len(z))))
    if aspect.target != "dataset":
        name = choose(run, data, given)
        samplers = SAMPLERS if aspect.label_sampler == "mixed" else (aspect.label_sampler,)
        count = -(-aspect.labels // len(samplers))
        found = collect(run, config, data, name, purpose="train", samplers=samplers, count=count, workers=workers)
        pairs += [(labels.z, labels.annotation) for labels in found.values()]
    z, targets = (np.concatenate(column) for column in zip(*pairs, strict=True))
    return z, targets


def _sampler(run: Path, config: TrainConfig, purpose: str, sampler: str) -> Callable[[jax.Array], jax.Array]:
    key = jax.random.fold_in(jax.random.key(0), ("train", "test").index(purpose))
    if sampler == "uniform":
        return lambda indices: sampling.uniform_latents(key, indices, config.latent_size)
    z_data = jnp.asarray(Latents(run / "latents" / "train", read_only=True).load()["z"])
    return lambda indices: sampling.bootstrap_latents(key, indices, z_data, JITTER)
