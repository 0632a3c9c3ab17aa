"""The kinds of annotation, and all that depends on them: network, measure, drawing and the files of a generated set.

A data set's annotation bears the name of its kind: landmarks, mask, attributes, or a kind of yours, which may be any
array of a fixed shape. Yours is a file (`examples/kinds/` has four), that `train.py` or `aspect.py` is told once:

    python prepare.py faces --detector whole --images DIR --annotator boxes.py:box --out data/boxed
    python train.py faces-sharp --run runs/boxed --data data/boxed --kind boxes.py:BOXES

A program adds its kind to `KINDS`; an installed package has an entry point of the group `began_jax.kinds`:

    [project.entry-points."began_jax.kinds"]
    distance = "distances:KIND"         # distances.py says KIND = Kind("distance", ...)
"""

import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np

from began_jax import metrics, moving, plugins
from began_jax.aspects.losses import LossName
from began_jax.configs import TrainConfig
from began_jax.data.datasets import DataSet
from began_jax.data.own_annotations import Fit, OwnAnnotations, Reader
from began_jax.errors import InputError
from began_jax.export.arrays import array_writer
from began_jax.export.attributes import attribute_writer
from began_jax.export.coco import coco_writer
from began_jax.export.masks import mask_writer
from began_jax.models.autoencoder import Decoder
from began_jax.models.configured import computation_dtype
from began_jax.models.heads import ToLandmarks, ToMask, factor
from began_jax.models.mlp import AttributeNetwork, LandmarkNetwork

Marks = Callable[[np.ndarray, DataSet], dict[str, Any]]
Measure = Callable[[np.ndarray, np.ndarray, DataSet], Any]
Writer = Callable[[Path, dict, DataSet], AbstractContextManager]

CAPTION = 4  # lines under an image, one for each of its surest attributes


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of annotation; its functions are given the run's data set, which knows sizes, shape and names.

    Args:
        name: of the annotation in a data set.
        plural: as in "1,000 images with masks".
        metric: name of its figure in RUN/metrics.json, with the unit.
        mean_metric: name of the same figure for always answering the training set's mean.
        shown: the figure in a sentence, a format.
        network: (configuration, data) -> flax module from latents [batch, latent] to annotations [batch, ...].
        score: (predicted, truth, data) -> figure of each image [count]; their mean is reported.
        further: name -> (predicted, truth, data) -> another figure of the network, one number.
        marks: (annotations, data) -> what `figures.annotated_grid` draws: landmarks, masks or captions.
        writer: (out, provenance, data) -> context with `write(latents, images, annotations, doubt=None)`.
        head: (data) -> flax module from the maps of a generator's inner layers, of half the images' height and width
            where these are even, to annotations, for --features and for students; None, or a function that gives None
            for this data set: there is none.
        moves: (key, maps, annotations) -> both turned, shifted and mirrored alike while such a head or a student is
            trained, as `moving.with_masks` does with annotations that are maps; None: they are not moved.
        read: (path of --annotations) -> function from a picture's id, its path below --images, to its annotation or
            None, for prepare.py; None: a T annotates, or the data set has the annotation already.
        fit: (annotation, (height, width) of its picture, (height, width) of the data set) -> annotation of the picture
            once it is cropped about its middle and resized, such as `images.fit_landmarks`, for prepare.py and, of
            what that stored, where a run has another size than its data set; None: it stays.
        loss: that the network makes small, see `aspects.losses.of`: "squared" (eqs. 5 and 6), or a function of
            (predicted, target), such as `aspects.log_loss` of probabilities.
    """

    name: str
    plural: str
    metric: str
    mean_metric: str
    shown: str
    network: Callable[[TrainConfig, DataSet], nn.Module]
    score: Measure
    further: dict[str, Measure] = dataclasses.field(default_factory=dict)
    marks: Marks = lambda annotations, data: {}
    writer: Writer = lambda out, provenance, data: array_writer(out, provenance, resume=True)
    head: Callable[[DataSet], nn.Module] | None = None
    moves: Callable[..., Any] | None = None
    read: Reader | None = None
    fit: Fit | None = None
    loss: LossName | Callable[..., Any] = "squared"

    def head_of(self, data: Any) -> nn.Module | None:
        """Return the head for a data set, or None where there is none."""
        return self.head(data) if self.head else None


def _mask_network(config: TrainConfig, _: Any) -> nn.Module:
    """Return the generator's architecture with one channel (section 3.2.2)."""
    poolings = len(config.encoder_filters) - 1
    return Decoder(config.height, config.width, 1, config.filters, poolings, computation_dtype(config))


def _captions(attributes: np.ndarray, data: DataSet) -> dict[str, Any]:
    """Return the attributes that an image most likely has, the surest first, and empty lines where they are fewer."""
    surest = np.argsort(-attributes, axis=1, kind="stable")[:, :CAPTION]
    return {
        "captions": [
            [data.names[k].replace("_", " ") if values[k] >= 0.5 else "" for k in order]
            for order, values in zip(surest, attributes, strict=True)
        ]
    }


def _nme(predicted: np.ndarray, truth: np.ndarray, data: DataSet) -> np.ndarray:
    return metrics.nme_percent(predicted, truth, data.height, data.width, data.points)


LANDMARKS = Kind(
    name="landmarks",
    plural="landmarks",
    metric="nme_percent",
    mean_metric="mean_shape_nme_percent",
    shown="NME {:.2f} %",
    network=lambda config, data: LandmarkNetwork(data.shape[0]),
    score=_nme,
    head=lambda data: ToLandmarks(data.shape[0]),
    moves=moving.with_landmarks,
    further={
        "failure_10_percent": lambda predicted, truth, data: metrics.failure_percent(_nme(predicted, truth, data)),
        "auc_10": lambda predicted, truth, data: metrics.auc(_nme(predicted, truth, data)),
    },
    marks=lambda landmarks, data: {"landmarks": landmarks, "points": data.points},
    writer=lambda out, provenance, data: coco_writer(out, provenance, data.points, resume=True),
)
MASK = Kind(
    name="mask",
    plural="masks",
    metric="iou",
    mean_metric="mean_mask_iou",
    shown="IoU {:.3f}",
    network=_mask_network,
    score=lambda predicted, truth, data: metrics.iou(predicted, truth),
    head=lambda data: ToMask(factor(data.height, data.width)),
    moves=moving.with_hard_masks,
    further={
        "e1_percent": lambda predicted, truth, data: metrics.e1_percent(predicted, truth),
        "f1": lambda predicted, truth, data: metrics.f1(predicted, truth),
    },
    marks=lambda masks, data: {"masks": masks},
    writer=lambda out, provenance, data: mask_writer(out, provenance, resume=True),
)
ATTRIBUTES = Kind(
    name="attributes",
    plural="attributes",
    metric="accuracy_percent",
    mean_metric="mean_attributes_accuracy_percent",
    shown="accuracy {:.2f} %",
    network=lambda config, data: AttributeNetwork(len(data.names)),
    score=lambda predicted, truth, data: metrics.accuracy_percent(predicted, truth),
    further={
        "balanced_accuracy_percent": lambda predicted, truth, data: metrics.balanced_accuracy_percent(predicted, truth)
    },
    marks=_captions,
    writer=lambda out, provenance, data: attribute_writer(out, provenance, data.names, resume=True),
)
KINDS = {kind.name: kind for kind in (LANDMARKS, MASK, ATTRIBUTES)}


def of(data: DataSet, place: str = "") -> Kind:
    """Return the kind of a data set's annotation: one of `KINDS`, or an entry point of an installed package.

    Args:
        data: the data set.
        place: FILE.py:NAME or PACKAGE.MODULE:NAME of the kind, which then counts.

    Raises:
        InputError: the data set has no annotation, or its kind is not known or cannot be loaded.
    """
    name = data.annotation
    if name is None:
        raise InputError(f"{data.path} has no annotation, so there is no aspect to learn; prepare.py can give it one")
    kind = _known(data, name, place)
    if kind.moves is moving.with_landmarks:
        kind = dataclasses.replace(kind, moves=functools.partial(moving.with_landmarks, points=data.points))
    return kind


def _known(data: DataSet, name: str, place: str) -> Kind:
    if place:
        return _at(place, name)
    if name in KINDS:
        return KINDS[name]
    found = importlib.metadata.entry_points(group="began_jax.kinds", name=name)
    if not found:
        raise InputError(
            f"{data.path} is annotated with {name}, and the kinds known are {', '.join(KINDS)}: give --kind "
            "FILE.py:NAME, as began_jax/kinds.py says, or name another annotation of the data set as in --data DIR#mask"
        )
    (entry, *_) = found
    try:
        kind = entry.load()
    except Exception as error:  # whatever the package's own code raises
        raise InputError(f"kind {name} cannot be loaded from {entry.value}: {type(error).__name__}: {error}") from error
    return _kind(kind, f"kind {name}: {entry.value}")


def annotations(place: str, path: Path) -> OwnAnnotations:
    """Return what the kind of a file or a module reads at a path; InputError where it is none, or reads nothing."""
    kind = _load(place)
    if kind.read is None:
        raise InputError(f"--kind {place}: has no `read`, so that --annotations {path} cannot be read by it")
    return OwnAnnotations(kind.name, path, kind.read, kind.fit)


def _load(place: str) -> Kind:
    return _kind(plugins.find(place, f"--kind {place}"), f"--kind {place}:")


def _at(place: str, annotation: str) -> Kind:
    """Return the kind of a file or a module; InputError where it is none, or of another annotation."""
    found = _load(place)
    if found.name != annotation:
        raise InputError(f"--kind {place}: is of {found.name}, and the data set is annotated with {annotation}")
    return found


def _kind(found: Any, named: str) -> Kind:
    if not isinstance(found, Kind):
        raise InputError(f"{named} is {plugins.named(found)}; it must be a began_jax.kinds.Kind")
    return found
