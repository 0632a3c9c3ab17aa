"""Make docs/figures.ipynb, the paper's figures 1 to 11 on the synthetic sets, with its output.

python docs/site/notebook.py    # or make notebook; some minutes on two cores
"""

import base64
import io
from pathlib import Path

import nbclient
import nbformat
from PIL import Image

OUT = Path(__file__).parents[1] / "figures.ipynb"

CELLS = [
    """# The paper's figures, on synthetic faces and eyes

This notebook walks through figures 1 to 11 of Bazrafkan, Javidnia and Corcoran (2018), [*Latent space mapping for
generation of object elements with corresponding data annotation*](https://doi.org/10.1016/j.patrec.2018.10.025). Faces
and eyes are rendered, so their annotations are exact and anybody may have them. The generators are those that come
along with `began_jax`. `docs/site/notebook.py` makes this page anew.""",
    """```
import logging

import jax
import numpy as np

from began_jax import (
    ASPECT_RECIPES,
    INVERT_PRESETS,
    figures,
    fit_aspect,
    interpolate,
    invert_all,
    iou,
    low_quality,
    nme_percent,
    pretrained,
    to_float,
    uniform_latents,
)
from began_jax.data.synthetic import faces, irises

logging.getLogger("absl").setLevel(logging.ERROR)
rendered = [faces.render(1, i, 64, 64) for i in range(600)]
images = np.stack([image for image, _ in rendered])
landmarks = np.stack([points for _, points in rendered]).astype(np.float32)
train, test = slice(0, 500), slice(500, 600)```""",
    """## Figure 1: what T says

T is whatever annotates a real image: in the paper a detector of 49 landmarks, here the renderer itself, which knows
where it has drawn them.""",
    """```
figures.annotated_grid(to_float(images[:8]), landmarks=landmarks[:8], columns=8)```""",
    """## Figure 2: random images of the generator

G turns a latent, 64 numbers from -1 to 1, into an image.""",
    """```
face = pretrained("synthetic-faces")
z = uniform_latents(jax.random.key(0), 24)
figures.grid(np.asarray(face.generate(z)), columns=12)```""",
    """## Figure 3: the inverse of the generator

For each image x we search the latent whose image comes nearest to it (eq. 4). Above are images that no network has
seen, below what G makes of the latents that were found. All latents together are Z_data.""",
    """```
found = invert_all(face.generate, images, latent=64, start=face.encode, config=INVERT_PRESETS["demo"])
print(f"PSNR {found.psnr_db.mean():.2f} dB")
figures.reconstructions(to_float(images[test][:8]), np.asarray(face.generate(found.z[test][:8])))```""",
    """## Figure 4: the landmark generator

A small network learns from Z_data where the landmarks are (eq. 5). It is measured on faces that it has not seen. Their
error is the mean distance over the distance of the outer eye corners (NME), and beside it stands what always answering
the mean face would have. Above are unseen faces with their true landmarks, below with what the network says.""",
    """```
landmark_generator = fit_aspect(found.z[train], landmarks[train], config=ASPECT_RECIPES["regularised"])
predicted = np.asarray(landmark_generator(found.z[test]))
mean = np.broadcast_to(landmarks[train].mean(0), predicted.shape)
error, of_mean = (nme_percent(p, landmarks[test], 64, 64).mean() for p in (predicted, mean))
print(f"NME of held-out faces {error:.2f} %, of the mean face {of_mean:.2f} %")
unseen, said = to_float(images[test][:8]), np.concatenate([landmarks[test][:8], predicted[:8]])
figures.annotated_grid(np.tile(unseen, (2, 1, 1, 1)), landmarks=said, columns=8)```""",
    """## Figures 5 and 6: new faces with their landmarks

The same random latent goes into G and into the landmark generator. Here it is the one of the weights that come along,
which has learnt from 3,600 faces.""",
    """```
figures.annotated_grid(np.asarray(face.generate(z[:16])), landmarks=np.asarray(face.annotate(z[:16])), columns=8)```""",
    """## Figure 7: from a face to its mirror image

A face and its mirror image are inverted. On the way from one latent to the other, image and landmarks change together
and without a jump.""",
    """```
both = np.stack([images[520], images[520][:, ::-1]])
ends = invert_all(face.generate, both, latent=64, start=face.encode, config=INVERT_PRESETS["demo"])
way = interpolate(*np.asarray(ends.z))
figures.annotated_grid(np.asarray(face.generate(way)), landmarks=np.asarray(face.annotate(way)), columns=8)```""",
    """## Figure 8: eyes made poor, and their masks

The second experiment makes eyes poor, as a telephone would see them: contrast, shadow and motion blur (section 3.2.1).
The mask of the iris stays where it is.""",
    """```
eyes = [irises.render(1, i, 64, 80) for i in range(300)]
masks = np.stack([mask for _, mask in eyes]).astype(np.float32)
clear = to_float(np.stack([image for image, _ in eyes]))
keys = jax.random.split(jax.random.key(1), 8)
poor = np.stack([low_quality(key, x, m)[0] for key, x, m in zip(keys, clear[:8], masks[:8], strict=True)])
figures.annotated_grid(np.concatenate([clear[:8], poor]), masks=np.tile(masks[:8], (2, 1, 1, 1)), columns=8)```""",
    """## Figure 9: random eyes of the generator""",
    """```
eye = pretrained("synthetic-irises")
z = uniform_latents(jax.random.key(1), 24)
figures.grid(np.asarray(eye.generate(z)), columns=12, scale=1)```""",
    """## Figures 10 and 11: new eyes with the masks of their irises

For masks the aspect network has the generator's architecture (eq. 6).""",
    """```
new = np.asarray(eye.annotate(z[:16]))
figures.annotated_grid(np.asarray(eye.generate(z[:16])), masks=new, columns=8)```""",
    """The same network on held-out eyes: intersection over union (IoU) with the true masks.""",
    """```
found = invert_all(eye.generate, clear[200:], latent=64, start=eye.encode, config=INVERT_PRESETS["demo"])
mean = np.broadcast_to(masks[:200].mean(0), masks[200:].shape)
scores = iou(np.asarray(eye.annotate(found.z)), masks[200:]).mean(), iou(mean, masks[200:]).mean()
print(f"IoU {scores[0]:.3f}, of the mean mask {scores[1]:.3f}")```""",
]


def smaller(png: str) -> str:
    """Return a picture, PNG in base64, as JPEG, which takes a fifth of the room."""
    file = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").save(file, "JPEG", quality=88)
    return base64.b64encode(file.getvalue()).decode()


def main() -> None:
    """Write the notebook and what each cell gives."""
    nb = nbformat.v4
    made = nb.new_notebook()
    for text in CELLS:
        code = text.startswith("```")
        made.cells.append(nb.new_code_cell(text.strip("`\n")) if code else nb.new_markdown_cell(text))
    for i, cell in enumerate(made.cells):
        cell.id = f"cell-{i}"  # the same each time
    nbclient.NotebookClient(made, timeout=1200).execute()
    for cell in made.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/jpeg"] = smaller(output.data.pop("image/png"))
    nbformat.write(made, OUT)


if __name__ == "__main__":
    main()
