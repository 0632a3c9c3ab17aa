"""From 25 annotated faces of many: what answers best for the others, and which to annotate next.

python examples/few_labels.py
"""

import numpy as np

from began_jax import AspectConfig, Ridge, fit_aspect, gaussian_process, nme_percent, pretrained
from began_jax.data.synthetic import faces

COUNT, LABELLED = 256, 25


def main():
    """Compare ways to answer on the faces without a label."""
    generator = pretrained("synthetic-faces")
    size = (generator.config.height, generator.config.width)
    pairs = [faces.render(2, i, *size) for i in range(COUNT)]
    images, landmarks = (np.stack(parts) for parts in zip(*pairs, strict=True))
    z = np.asarray(generator.encode(images / np.float32(127.5) - 1))

    # The images to annotate are those from which a Gaussian process would learn the most.
    chosen = gaussian_process.suggest(z, np.arange(1), LABELLED - 1, length=8.0, noise=0.1)
    known = np.union1d([0], chosen)
    others = np.setdiff1d(np.arange(COUNT), known)
    process = gaussian_process.fit(z[known], landmarks[known]).process
    config = AspectConfig(epochs=300, batch_size=8, weight_decay=0.5, jitter=0.3)
    answers = {
        "the mean": np.broadcast_to(landmarks[known].mean(0), landmarks[others].shape),
        "ridge": Ridge(z[known], landmarks[known])(z[others]),
        "network": fit_aspect(z[known], landmarks[known], config=config)(z[others]),
        "Gaussian process": gaussian_process.predict(process, z[others], (49, 2)),
    }
    for name, answer in answers.items():
        error = nme_percent(np.asarray(answer, np.float32), landmarks[others], *size).mean()
        print(f"{name}: NME {error:.2f} % of {len(others)} faces, learnt from {len(known)}")


if __name__ == "__main__":
    main()
