"""How well G_a(z) and T(G(z)) agree (eq. 1), for new z and for z near Z_data: the claim on which the method rests.

Beside each figure stands what always answering the mean of T(G(z)) over the same latents would give.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from PIL.Image import Image

from began_jax import figures, kinds
from began_jax.configs import LABEL_SAMPLERS
from began_jax.data.datasets import DataSet
from began_jax.run import labels
from began_jax.run.folder import Run


class Consistency(NamedTuple):
    """The figures by their names in metrics.json, and for each sampler latents with T's annotations, to draw."""

    figures: dict[str, float]
    labels: dict[str, labels.Labels]
    annotator: str
    networks: tuple[str, ...]

    def sentence(self, run: Run) -> str:
        """Return the figures of all networks in words, for each sampler."""
        kind = run.kind

        def both(name: str, form: str = kind.shown) -> str:
            return " and ".join(form.format(self.figures[name.format(sampler)]) for sampler in self.labels)

        names = [f"{n} {both(f'consistency_{kind.metric}_{{}}_{n}')}" for n in self.networks]
        mean = both(f"consistency_{kind.mean_metric}_{{}}")
        samplers = " and ".join(map(run.inverted.named, self.labels))
        sure = both("consistency_found_percent_{}", "{:.1f}")
        return (
            f"G_a(z) against T(G(z)) for {samplers} z, T {self.annotator} (sure of {sure} %): "
            f"{', '.join(names)}, their mean {mean}"
        )


def measure(
    run: Run,
    networks: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    first: str,
    count: int,
    annotator: str | None = None,
    workers: int | None = None,
) -> Consistency:
    """Measure aspect networks against T on `count` generated images for each sampler.

    Args:
        run: keeps what T said.
        networks: name -> function from latents [N, latent] to annotations.
        first: the one whose figures carry no name.
        count: images for each sampler.
        annotator: name of T; None for the run's.
        workers: processes that T runs in; None for one a core.
    """
    kind, name = run.kind, labels.choose(run, annotator)
    figures: dict[str, float] = {}
    found = labels.collect(run, name, purpose="test", samplers=LABEL_SAMPLERS, count=count, workers=workers)
    for sampler, given in found.items():

        def score(predicted: np.ndarray, truth: np.ndarray = given.annotation) -> float:
            return float(kind.score(predicted, truth, run.data).mean())

        scores = {n: score(network(given.z)) for n, network in networks.items()}
        mean = np.broadcast_to(given.annotation.mean(0), given.annotation.shape)
        figures |= {
            f"consistency_{kind.metric}_{sampler}": scores[first],
            f"consistency_{kind.mean_metric}_{sampler}": score(mean),
            f"consistency_found_percent_{sampler}": 100 * given.sure,
            **{f"consistency_{kind.metric}_{sampler}_{n}": value for n, value in scores.items()},
        }
    return Consistency(figures, found, name, tuple(networks))


def picture(
    images: np.ndarray, predicted: np.ndarray, truth: np.ndarray, kind: kinds.Kind, data: DataSet, columns: int = 8
) -> Image:
    """Draw rows of generated images with G_a's annotation above the same with T's.

    Args:
        images: [N, H, W, C] in [-1, 1].
        predicted: G_a(z) [N, ...].
        truth: T(G(z)), of at least the N images.
        kind: of the annotation.
        data: whose annotation it is.
        columns: images a row.
    """
    rows = [np.arange(i, min(i + columns, len(images))) for i in range(0, len(images), columns)]
    order = np.concatenate([row for row in rows for _ in range(2)])
    shown = np.concatenate([annotation[row] for row in rows for annotation in (predicted, truth)])
    return figures.annotated_grid(images[order], **kind.marks(shown, data), columns=columns)
