"""What a generated data set is, for the people who get it: OUT/README.md, in Hugging Face's form of a data card."""

from collections.abc import Mapping
from typing import Any

SAMPLERS = {
    "uniform": "uniform on the cube",
    "data": "drawn from those of the training images, with a little noise",
    "interpolated": "between two of those of the training images",
    "density": "drawn from a mixture of Gaussians fitted to those of the training images",
    "images": "those that the images were inverted to",
}
# How the images came, with the size of a latent.
GENERATED = """Nobody photographed these images, and nobody annotated them. A generator has learnt from pictures to draw
an image from a latent, a vector of {size} numbers. A network annotates the image from the same latent (Bazrafkan,
Javidnia and Corcoran, 2018)."""
REAL = """These are training images of a generator, which draws an image from a latent, a vector of {size} numbers. Each
was inverted to the latent whose image comes nearest to it. Where nobody had annotated an image, a network did so from
that latent (Bazrafkan, Javidnia and Corcoran, 2018). An image that somebody had annotated has the doubt 0."""


def text(told: Mapping[str, Any], figures: Mapping[str, Any], plural: str, source: str) -> str:
    """Return the card.

    Args:
        told: what its dataset.json tells.
        figures: of the run, by their names in RUN/metrics.json.
        plural: name of the annotations.
        source: where the training images came from.
    """
    own = told.get("generator")
    sampled = "as the generator draws them" if own and told["sampler"] == "uniform" else SAMPLERS.get(told["sampler"])
    generator = f"{own}, somebody's own" if own else f"step {told['generator_step']} of its training"
    part = f", part {told['part']} of them" if told.get("part", "0/1") != "0/1" else ""
    stored = ", stored as JPEG, which changes them a little" if told.get("picture") == "jpeg" else ""
    size = f"{told['height']}x{told['width']}, {told['channels']} channels"
    kept = f", of which the {100 * told['keep']:g} % with the least doubt are kept" if told["keep"] < 1 else ""
    shown = {name: value for name, value in sorted(figures.items()) if name.split("/")[0] in ("invert", "evaluate")}
    rows = "".join(f"| `{name}` | {value:.6g} |\n" for name, value in shown.items() if isinstance(value, int | float))
    head = "\n## How good they are\n\nFigures of the run that they come from:\n\n| figure | |\n|---|---|\n"
    measured = head + rows if rows else ""
    real = told["sampler"] == "images"
    intro = REAL if real else GENERATED
    seed = "" if real else f", seed {told['seed']}"
    terms = "bind this set" if real else "may bind what was learnt from them; this card cannot say so"
    return f"""---
tags: [{"" if real else "synthetic, "}began_jax]
---

# {told["count"]:,} {"" if real else "generated "}images with {plural}

{intro.format(size=told["latent_size"])}

- **Images**: {size}{stored}.
- **Latents**: {sampled or told["sampler"]}{seed}{part}{kept}. `latents.npy` has them, and
  `numbers.npy` says which {"training image" if real else "sample"} each one is.
- **Generator**: {generator}. **Annotations**: network {told["aspect"]}, after
  {told["aspect_epoch"]} epochs.
- **Doubt**: `doubt.npy`, where it is there, says how far each annotation may be off, in the annotation's unit (of a
  mask: wrong pixels over its area).
- **Training images**: {source}. Their terms {terms}.
{measured}"""
