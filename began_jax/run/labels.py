"""T on generated images (eq. 1 to the letter): latents z with T(G(z)), made once and kept in the run.

RUN/labels/config.json                        which T it was
RUN/labels/{train,test}-{uniform,data}/       one Orbax item a shard: z, annotation, whether T was sure of it

`train` are those that an aspect network learns from, `test` those that its consistency is measured on.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from began_jax import plugins, sampling
from began_jax.annotators import annotator
from began_jax.annotators.workers import ordered_map
from began_jax.configs import LABEL_SAMPLERS, AspectConfig
from began_jax.data.datasets import DataSet
from began_jax.errors import InputError
from began_jax.files import agree, read_json
from began_jax.progress import Progress
from began_jax.run import checkpoints, learnt_annotator, reading
from began_jax.run.folder import Run
from began_jax.run.generator import batched
from began_jax.run.latents import Latents

NETWORK = "network"  # the T that is learnt from the data set's own annotations
SHARD = 256  # latents generated, annotated and written together
_BLOCK = 16  # images a task of a worker process

# A T for many images: blocks of images uint8 [n, H, W, C] -> for each block a list of n annotations, None where unsure.
AnnotateBlocks = Callable[[Iterable[np.ndarray]], Iterator[Sequence[np.ndarray | None]]]


class Labels(NamedTuple):
    """Latents [N, latent] and T's annotations of their images [N, ...], those where T was sure; the share of them."""

    z: np.ndarray
    annotation: np.ndarray
    sure: float


def choose(run: Run, given: str | None) -> str:
    """Return the name of a run's T: the one given, else the one used before, else that of prepare.py, else a network.

    Raises:
        InputError: another one is given than was used before.
    """
    path = run.folder / "labels" / "config.json"
    used = any(checkpoints.exists(folder) for folder in path.parent.glob("*"))
    before = read_json(path).get("annotator") if used and path.is_file() else None
    name = plugins.absolute(given or before or run.data.metadata.get("annotator") or NETWORK)
    if name != NETWORK:
        annotator.load(name)  # what it lacks is said before anything is written
    file = {"annotator_file": plugins.fingerprint(name)}  # stored since 0.3.0
    known = {"annotator": name} | (file if file["annotator_file"] else {})
    agree(path, known, "labelled", otherwise=f"delete {path.parent}", used=used, defaults=file)
    return name


def of_worker_processes(name: str, kind: str, workers: int | None = None) -> AnnotateBlocks:
    """Return a T for single images, by name, in worker processes."""
    return lambda blocks: ordered_map(functools.partial(_open, name, kind), blocks, workers)


def _open(name: str, kind: str) -> Callable[[np.ndarray], list[np.ndarray | None]]:
    annotate = annotator.load(name)

    def block(images: np.ndarray) -> list[np.ndarray | None]:
        return [_one(annotate, image, name, kind) for image in images]

    return block


def _one(annotate: annotator.Annotator, image: np.ndarray, name: str, kind: str) -> np.ndarray | None:
    try:
        found = annotator.annotated(annotate, image, *image.shape[:2], kind=kind)
    except annotator.Unsure:
        return None
    except annotator.WrongAnswer as error:
        raise InputError(f"--annotator {name}: {error}") from None
    except Exception as error:
        raise InputError(f"--annotator {name}: {type(error).__name__} on a generated image: {error}") from error
    if kind not in found:
        raise InputError(f"--annotator {name}: gives {', '.join(found)}, and the run's aspect is {kind}")
    return found[kind]


def collect(
    run: Run,
    name: str,
    *,
    purpose: str,
    samplers: Sequence[str],
    count: int,
    workers: int | None = None,
) -> dict[str, Labels]:
    """Label `count` images of each sampler with the T of that name, as far as the run does not hold them already.

    Raises:
        InputError: T gives another kind or shape of annotation than the data set has, or is sure of no image.
    """
    _, step = run.inversion
    wanted = {"annotator": name, "generator_step": step, "jitter": sampling.JITTER}
    learnt = run.learnt_annotations if name == NETWORK else {}  # stored since 0.3.0
    stores, missing = {}, []
    for sampler in samplers:
        folder = run.folder / "labels" / f"{purpose}-{sampler}"
        remedy = f"delete {folder.parent}" + (f" and {run.folder / 'annotator'}" if learnt else "")
        used = checkpoints.exists(folder)
        agree(folder / "config.json", wanted | learnt, "labelled", otherwise=remedy, used=used, defaults=learnt)
        stores[sampler] = Latents(folder)
        there = stores[sampler].done()
        missing += [(sampler, shard) for shard in range(-(-count // SHARD)) if shard not in there]
    if missing:
        drawn = {sampler: _sampler(run, purpose, sampler) for sampler, _ in missing}
        latents = {
            (sampler, shard): np.asarray(drawn[sampler](jnp.arange(shard * SHARD, (shard + 1) * SHARD)))
            for sampler, shard in missing
        }
        generate = run.inverted.pictures
        if name == NETWORK:
            _label(latents, stores, generate, learnt_annotator.load(run), SHARD, name, run.data)
        else:
            annotate = of_worker_processes(name, run.kind.name, workers)
            _label(latents, stores, generate, annotate, _BLOCK, name, run.data)
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
    """Generate, annotate and store the latents of each (sampler, shard), one shard after another."""

    def blocks() -> Iterator[np.ndarray]:
        for z in latents.values():
            yield from np.split(generate(z), SHARD // block)

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
    """Return the first `count` labels without those that T was not sure of."""
    sure = columns["sure"][:count]
    if not sure.any():
        raise InputError(f"--annotator {name}: is sure of none of {count} generated images ({sampler} latents)")
    return Labels(columns["z"][:count][sure], columns["annotation"][:count][sure], float(sure.mean()))


def training_pairs(
    run: Run, aspect: AspectConfig, given: str | None, workers: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return latents [N, latent] and targets [N, ...] to train an aspect network on: the data set's, T's, or both.

    The latents are those that the encoder reads, where the network is to answer for them (`reading`). Masks of the data
    set are uint8; T's, which may be soft, and all else float32.

    Raises:
        InputError: as `choose` and `collect`.
    """
    pairs, dtype = [], np.uint8 if run.kind.name == "mask" else np.float32
    if aspect.target != "generated":
        z = run.latents("train")["z"]
        rows = learnt_from(run, aspect)
        z = reading.of_images(run, "train", rows, z[rows]) if aspect.read else z[rows]
        pairs.append((z, run.annotations_of("train", rows, dtype)))
    if aspect.target != "dataset":
        name = choose(run, given)
        samplers = LABEL_SAMPLERS if aspect.label_sampler == "mixed" else (aspect.label_sampler,)
        count = -(-aspect.labels // len(samplers))
        found = collect(run, name, purpose="train", samplers=samplers, count=count, workers=workers)
        read = batched(*reading.of_new(run.inverted), run.inverted.batch) if aspect.read else lambda z: z
        pairs += [(read(labels.z), labels.annotation) for labels in found.values()]
    z, targets = (np.concatenate(column) for column in zip(*pairs, strict=True))
    return z, targets


def learnt_from(run: Run, aspect: AspectConfig) -> np.ndarray:
    """Return the numbers of the annotated images that are learnt from, in the training split."""
    rows = run.annotated("train", len(run.latents("train")["z"]))
    return rows[labelled(aspect, len(rows))]


def labelled(aspect: AspectConfig, count: int) -> np.ndarray:
    """Return the rows of the annotated images that are learnt from: all, or --labelled of them, in order."""
    if not aspect.labelled:
        return np.arange(count)
    if aspect.labelled > count:
        raise InputError(f"--labelled is {aspect.labelled}; the run has latents of {count} annotated images")
    return np.sort(np.random.default_rng(aspect.label_seed).permutation(count)[: aspect.labelled])


def _sampler(run: Run, purpose: str, name: str) -> Callable:
    key = jax.random.fold_in(jax.random.key(0), ("train", "test").index(purpose))
    z_data = None if name == "uniform" else run.latents("train")["z"]
    return sampling.sampler(name, key, run.config.latent_size, z_data, draw=run.inverted.draw)
