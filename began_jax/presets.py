"""The presets: the options of one experiment under a name, for each stage."""

from typing import Any

from began_jax.configs import AspectConfig, InvertConfig, TrainConfig
from began_jax.errors import InputError

# Beyond the paper (docs/training.md): the objective that draws what pixels leave out, E's reconstruction by scales and
# by D's features, few images a step and many steps, and running means of the weights.
_SHARP: dict[str, Any] = dict(
    objective="relativistic",
    gradient_penalty=0.3,
    penalty_share=0.25,
    encoder_weight=2.0,
    pyramid_levels=3,
    feature_weight=0.3,
    patch=2,
    average=0.998,
    batch_size=8,
    learning_rate=7e-4,
    beta1=0.0,
    beta2=0.99,
)
_IRISES: dict[str, Any] = dict(height=96, width=128, channels=1)
# The same in minutes on two cores: fewer filters, and smaller images.
_DEMO: dict[str, Any] = _SHARP | dict(height=48, width=48, filters=16, encoder_filters=(32, 48, 64), steps=6000)
_DEMO_IRISES: dict[str, Any] = _DEMO | dict(width=64, channels=1)
# The same for longer: what comes along.
_FACES: dict[str, Any] = _DEMO | dict(height=64, width=64, steps=26_000)
_EYES: dict[str, Any] = _DEMO_IRISES | dict(height=64, width=80, encoder_filters=(32, 48, 64, 64))

TRAIN_PRESETS: dict[str, TrainConfig] = {
    "faces": TrainConfig(preset="faces"),
    "irises": TrainConfig(preset="irises", **_IRISES),
    "faces-sharp": TrainConfig(preset="faces-sharp", **_SHARP),
    "irises-sharp": TrainConfig(preset="irises-sharp", **_SHARP, **_IRISES),
    "demo": TrainConfig(preset="demo", data="synthetic-faces", **_DEMO),
    "demo-irises": TrainConfig(preset="demo-irises", data="synthetic-irises", **_DEMO_IRISES),
    "synthetic-faces": TrainConfig(preset="synthetic-faces", data="synthetic-faces", **_FACES),
    "synthetic-irises": TrainConfig(preset="synthetic-irises", data="synthetic-irises", **_EYES),
}

OWN = "own"  # of a run whose generator is the user's and not trained, see `run.own_generator`
_BFGS = InvertConfig(steps=30, optimizer="bfgs", learning_rate=0.05, start="encoder")
INVERT_PRESETS: dict[str, InvertConfig] = {
    name: InvertConfig() if name in ("faces", "irises") else _BFGS for name in (*TRAIN_PRESETS, OWN)
}

# Measured on held-out images (docs/aspects.md): the paper's recipe overfits few latents; early stopping, weight decay
# and noise on the latents do not. A Gaussian process beside the network knows more than it where labels are few, and
# both together always do. Both know more of what the encoder reads in an image than of its latent alone. A network that
# sees the inner layers of G knows the most, above all from few labels, and still more beside one that sees the image
# itself, but they take minutes on a CPU, so the demos do without them; masks, whose every pixel has its place in the
# layers, are seen in the inverted latents' layers.
_REGULARISED: dict[str, Any] = dict(epochs=300, weight_decay=0.5, validation=0.1, jitter=0.3)
_MASK: dict[str, Any] = dict(
    labels=4000, epochs=30, batch_size=32, learning_rate=2e-3, weight_decay=0.01, validation=0.1, jitter=0.1
)
_SEEING: dict[str, Any] = dict(features=True, closed_form="process", validation=0.1, jitter=0.1, schedule="cosine")
_FEATURES: dict[str, Any] = _SEEING | dict(batch_size=32, learning_rate=1e-3, weight_decay=0.01)
_IMAGES: dict[str, Any] = dict(image_steps=6000, self_training=True)
ASPECT_RECIPES: dict[str, AspectConfig] = {
    "paper": AspectConfig(),
    "regularised": AspectConfig(**_REGULARISED),
    "regularised-mask": AspectConfig(**_MASK),
    "combined": AspectConfig(**_REGULARISED, closed_form="process", read=True),
    "combined-mask": AspectConfig(**_MASK, closed_form="process", read=True),
    "combined-images": AspectConfig(**_REGULARISED, closed_form="process", read=True, **_IMAGES),
    "features": AspectConfig(**_FEATURES, steps=2000, read=True, **_IMAGES),
    "features-mask": AspectConfig(**_FEATURES, steps=2000, image_steps=3000),
}
# From so many on a network of latents knows as much of landmarks as one of layers, and is quicker: "combined-images".
MANY_LABELS = 2000
# Of the aspect of a preset's run; that of masks has "-mask" after it, see `run.networks.default_recipe`.
DEFAULT_RECIPE = dict.fromkeys(TRAIN_PRESETS, "combined") | {
    "faces": "paper",
    "irises": "paper",
    "faces-sharp": "features",
    "irises-sharp": "features",
    OWN: "features",
}


def train_preset(name: str) -> TrainConfig:
    """Return the training configuration of a preset; InputError for a name that is none."""
    if name not in TRAIN_PRESETS:
        raise InputError(f"unknown preset {name!r}; presets: {', '.join(TRAIN_PRESETS)}")
    return TRAIN_PRESETS[name]
