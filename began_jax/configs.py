"""The options of each stage, one flat frozen dataclass a stage.

Defaults are the paper's where it states them; each field's help gives the reason. Field help is what `--help` shows,
and `help()` of the class. A value that an option cannot have is refused when the configuration is made, by InputError.
"""

from dataclasses import dataclass
from typing import Any, Literal

from jax.core import Tracer

from began_jax.errors import InputError
from began_jax.options import FRACTION, NOT_NEGATIVE, POSITIVE, SEED, Checked, Valid, described, option


@described
@dataclass(frozen=True)
class TrainConfig(Checked):
    """BEGAN training (appendix A)."""

    preset: str = "custom"
    data: str = option(
        "",
        "folder that prepare.py made, a TFDS folder (array_record, one image size), tfds:NAME, or a built-in set "
        "(synthetic-faces, synthetic-irises), which is rendered into the run folder; #NAME at the end picks one of "
        "several annotations, as in tfds:celeb_a#attributes",
    )
    height: int = option(
        128, "rows of the images; other sizes in the data set are cropped and resized to it", valid=POSITIVE
    )
    width: int = option(128, "columns of the images", valid=POSITIVE)
    channels: int = option(3, "1 grey, 3 RGB", (1, 3))
    latent_size: int = option(64, "length of z (the paper's 64)", valid=POSITIVE)
    filters: int = option(64, "channels of every decoder convolution (fig. A.2: 64)", valid=POSITIVE)
    encoder_filters: tuple[int, ...] = option(
        (64, 128, 192, 256),
        "encoder channels at each scale, one pooling between neighbours (fig. A.1, literally)",
        valid=Valid(lambda value: bool(value) and min(value) > 0, "one positive number a scale"),
    )
    loss_power: int = option(2, "p of L(v) = |v - D(v)|^p: A.1 prints 2; most BEGAN codes use 1", (1, 2))
    gamma: float = option(
        0.5,
        "equilibrium hyper-parameter (A.2): lower gives quality, higher gives diversity",
        valid=Valid(lambda value: 0 < value <= 1, "in (0, 1]"),
    )
    lambda_k: float = option(1e-3, "learning rate of k_t; not in the paper, 0.001 is BEGAN's own", valid=POSITIVE)
    k_0: float = option(
        0.0,
        "k at the first step; not in the paper, 0 is BEGAN's own",
        valid=Valid(lambda value: 0 <= value <= 1, "in [0, 1]"),
    )
    separate_latents: bool = option(
        False,
        "draw z_D and z_G separately (A.2 to the letter) instead of sharing one "
        "batch, which saves a generator pass and a discriminator pass",
    )
    encoder_weight: float = option(
        0.0,
        "weight of an encoder E trained beside the two players, on |x - G(E(x))|, |E(G(z)) - z|^2 and the moments of "
        "E(x); 0: none, as in the paper. With it G covers the data set within thousands of steps, not hundreds of "
        "thousands, and E starts the inversion near its end",
        valid=NOT_NEGATIVE,
    )
    objective: Literal["began", "relativistic"] = option(
        "began",
        "what the players play for: began (the paper's), or relativistic, where D has one output and judges a "
        "generated image beside a real one (R3GAN's loss). BEGAN's balance may rest where D opposes nothing, and then "
        "what is drawn stays blurred (docs/training.md)",
    )
    gradient_penalty: float = option(
        1.0,
        "of the relativistic D: gamma of R1 and R2, the mean squared slopes at real and generated images",
        valid=NOT_NEGATIVE,
    )
    penalty_share: float = option(
        1.0,
        "share of the batch that R1 and R2 are estimated from; on a CPU a quarter costs a tenth less time a step",
        valid=Valid(lambda value: 0 < value <= 1, "in (0, 1]"),
    )
    augment: tuple[str, ...] = option(
        (),
        "change what the relativistic D sees, real and generated images alike: some of colour, translation and cutout "
        "(differentiable augmentation), for data sets of a few hundred images (docs/training.md)",
        valid=Valid(
            lambda value: set(value) <= {"colour", "translation", "cutout"}, "some of colour, translation, cutout"
        ),
        metavar="NAME,NAME,...",
    )
    pyramid_levels: int = option(
        0,
        "levels of the Laplacian pyramid over which E's reconstruction is compared, so that an edge counts as much as "
        "a shade; 0: pixels alone, which are drawn best as the mean of all that could be there",
        valid=NOT_NEGATIVE,
    )
    feature_weight: float = option(
        0.0, "weight of D's features in E's reconstruction, beside 1 of the pixels or the pyramid", valid=NOT_NEGATIVE
    )
    patch: int = option(
        1,
        "pixels a side of the patches that E and a relativistic D see in the pixels' place; 2 halves their cost",
        valid=POSITIVE,
    )
    average: float = option(
        0.0,
        "decay a step of a running mean of G's weights, which is then the generator that is drawn from and inverted; "
        "0: none, as in the paper",
        valid=FRACTION,
    )
    low_quality: bool = option(
        False,
        "make the images of each batch poor at random (contrast, shadow, motion blur: section 3.2.1), for a data set "
        "with masks; prepare.py irises --copies does so once, and for the later stages too",
    )
    batch_size: int = option(
        16,
        "images a step; not in the paper, 16 is BEGAN's own",
        valid=Valid(lambda value: value >= 2, "at least 2: diversity is measured within a batch"),
    )
    learning_rate: float = option(1e-4, "Adam's, for both players (the paper's)", valid=POSITIVE)
    beta1: float = option(0.5, "Adam's (the paper's)", valid=FRACTION)
    beta2: float = option(0.999, "Adam's (the paper's)", valid=FRACTION)
    patience: int = option(
        0,
        "halve the learning rate when the running mean of M has not improved for this many "
        "steps; 0: constant, as in the paper",
        valid=NOT_NEGATIVE,
    )
    learning_rate_floor: float = option(
        2e-5, "halving stops here: smaller rates have been seen to collapse", valid=NOT_NEGATIVE
    )
    precision: Literal["float32", "bfloat16"] = option(
        "float32",
        "what the networks compute in: bfloat16 is faster on GPUs and TPUs, and slower on CPUs; parameters, "
        "optimisers, losses and the last layer of each network are float32 in both",
    )
    remat: bool = option(
        False,
        "keep only what each scale of the networks starts from for the gradient, and compute the rest again: less "
        "memory and more time on GPUs and TPUs; on CPUs XLA undoes it",
    )
    seed: int = option(0, "of the parameters, the latents and the order of the images", valid=SEED)
    steps: int = option(
        200_000, "training steps; not in the paper; raise it to train a finished run further", valid=POSITIVE
    )


@described
@dataclass(frozen=True)
class InvertConfig(Checked):
    """Inversion of the generator over the data set (eq. 4)."""

    steps: int = option(
        200,
        "steps an image, the most of them with --tolerance; not in the paper; 0: the start alone, as z = E(x)",
        valid=NOT_NEGATIVE,
    )
    optimizer: Literal["adam", "bfgs"] = option(
        "adam",
        "adam (the paper's), or bfgs, one for each image, with --learning-rate as the length of its first step a "
        "coordinate (0.05 is good): on faces the error of 200 steps of the paper's Adam after 30, and that of 1,000 "
        "after 80 to 90, at the same price a step (docs/inversion.md)",
    )
    learning_rate: float = option(0.1, "Adam's first step size (the paper's)", valid=POSITIVE)
    beta1: float = option(0.9, "Adam's (the paper's)", valid=FRACTION)
    beta2: float = option(0.999, "Adam's (the paper's)", valid=FRACTION)
    schedule: Literal["constant", "cosine"] = option(
        "constant",
        "step size over the steps: constant (the paper's), or cosine down to 0; on faces, where the lowest error met "
        "is kept, constant reached the lower one (docs/inversion.md)",
    )
    start: Literal["zero", "uniform", "encoder"] = option(
        "zero",
        "z before the first step: zero, the middle of the cube; uniform, drawn from the "
        "image's position in the data set; or encoder, E(x) of a generator trained with "
        "--encoder-weight; not in the paper",
    )
    starts: int = option(
        1,
        "starts an image, the best kept: --start first, then uniform draws from the image's position. Each costs its "
        "own steps; on faces as many more steps of one start gave more, so it is for generators with bad local minima",
        valid=POSITIVE,
    )
    tolerance: float = option(
        0.0,
        "an image leaves, and the next takes its slot, when its lowest error fell by less than this share in its last "
        "--window steps; 0: every image has all --steps, as in the paper. On faces about 5 % fewer steps for the same "
        "mean error; the gain is that --steps need not be known",
        valid=NOT_NEGATIVE,
    )
    window: int = option(10, "steps between two looks at which images have converged", valid=POSITIVE)
    products: Literal["auto", "device", "float32"] = option(
        "auto",
        "bits of the generator's matrix products and convolutions on GPUs and TPUs: device, what the device does with "
        "float32 by itself (TensorFloat-32, bfloat16), float32, all bits, or auto: float32 for BFGS of more than 60 "
        "steps, which needs exact gradients, and else device; CPUs always have all bits",
    )
    loss: Literal["l1", "l2", "features"] = option(
        "l1",
        "what is compared: l1, absolute differences of pixels (the paper's), l2, squared ones, or features, absolute "
        "ones of pixels and of what each scale of the run's encoder sees (docs/inversion.md)",
    )
    prior: Literal["none", "cube", "density"] = option(
        "none",
        "what z is kept near to beside the error: none (the paper), cube, [-1, 1], which the generator was trained on, "
        "or density, where the encoder finds the training images; it costs error, and what is drawn stays nearer to "
        "what was learnt (docs/inversion.md)",
    )
    prior_weight: float = option(
        0.01,
        "of the prior beside the error: of the mean over coordinates of (|z| - 1)^2 outside, or of -log p(z)",
        valid=POSITIVE,
    )
    clip: bool = option(
        False,
        "keep z in [-1, 1], the cube that the generator was trained on, at the start and after every step; not in the "
        "paper",
    )
    shard_size: int = option(
        0,
        "images optimised together and written together; 0: as many as fit the memory of the devices, up to 512 on "
        "each, and 64 on a CPU; the number found is kept for the run",
        valid=NOT_NEGATIVE,
    )
    failure_l1: float = option(
        0.3,
        "an image whose final error (L1 per pixel and channel, [-1, 1] scale) is larger counts as failed",
        valid=NOT_NEGATIVE,
    )
    seed: int = option(0, "of the uniform start", valid=SEED)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in OF_ADAM if self.optimizer == "bfgs" else ():
            value = getattr(self, name)
            if isinstance(value, Tracer) or value != getattr(InvertConfig, name):
                raise InputError(f"{name} is {value}, which is for adam: bfgs finds the lengths of its steps itself")


OF_ADAM = ("schedule", "beta1", "beta2")  # options of an inversion that BFGS has no use for
LABEL_SAMPLERS = ("uniform", "data")  # of `began_jax.sampling`, those whose images T labels


@described
@dataclass(frozen=True)
class AspectConfig(Checked):
    """Training of the aspect network (eqs. 5 and 6)."""

    target: Literal["dataset", "generated", "both"] = option(
        "dataset",
        "what the network learns: dataset, T(x) of the images that the latents were inverted from (the paper's "
        "experiments); generated, T(G(z)) of new latents (eq. 1 to the letter); or both",
    )
    labels: int = option(10_000, "generated images that T labels, where the target asks for them", valid=POSITIVE)
    label_sampler: Literal["uniform", "data", "mixed"] = option(
        "mixed",
        "their latents: uniform on the cube, data (rows of Z_data with a little noise), or mixed, half and half",
    )
    labelled: int = option(
        0,
        "annotated images that it learns from, drawn at random, as if the others had no annotation; 0: all; the batch "
        "is as large as they allow",
        valid=NOT_NEGATIVE,
    )
    label_seed: int = option(0, "of that choice", valid=SEED)
    epochs: int = option(1000, "passes over the latents (the paper's 1,000)", valid=POSITIVE)
    steps: int = option(
        0,
        "training steps, from which the number of epochs follows, so that few latents are learnt as long as many; 0: "
        "--epochs counts",
        valid=NOT_NEGATIVE,
    )
    batch_size: int = option(16, "latents a step (the paper's 16)", valid=POSITIVE)
    learning_rate: float = option(3e-4, "Adam's (the paper's)", valid=POSITIVE)
    schedule: Literal["constant", "cosine"] = option(
        "constant",
        "of the learning rate over the epochs: constant (the paper), or cosine, falling to 0 as half a cosine",
    )
    beta1: float = option(0.9, "Adam's (the paper's)", valid=FRACTION)
    beta2: float = option(0.999, "Adam's (the paper's)", valid=FRACTION)
    weight_decay: float = option(
        0.0, "decoupled, per step relative to the learning rate (AdamW); 0: the paper's Adam", valid=NOT_NEGATIVE
    )
    validation: float = option(
        0.0,
        "fraction of the latents kept from training to choose the best epoch; 0: train "
        "on all and keep the last epoch, as the paper does",
        valid=FRACTION,
    )
    jitter: float = option(
        0.0,
        "Gaussian noise on the latents while training, in units of each coordinate's standard "
        "deviation: keeps the network smooth between few latents",
        valid=NOT_NEGATIVE,
    )
    closed_form: Literal["none", "process"] = option(
        "none",
        "what answers beside the network: none (the paper); process, a Gaussian process from the same latents, each "
        "with the share that is best on the validation latents",
    )
    read: bool = option(
        False,
        "annotate what the encoder reads in an image: of a new one E(G(z)) (with --features the process alone is given "
        "that), of one of the data set the mean of z and E(x); the paper "
        "annotates z. It knows more of photographs, and much more of new images (docs/aspects.md)",
    )
    features: bool = option(
        False,
        "the network sees the inner layers of G for a latent in the latent's place, and learns them moved, turned and "
        "mirrored together with the annotation; the paper's sees the latent. It knows much more from the same "
        "annotations (docs/aspects.md)",
    )
    image_steps: int = option(
        0,
        "training steps of a second network beside, which sees the image itself in the latent's place: that of the "
        "data set, or G(z). The two err differently, so that both together know much more (docs/aspects.md); 0: none, "
        "as the paper",
        valid=NOT_NEGATIVE,
    )
    self_training: bool = option(
        False,
        "train the image network a second time, from images without annotations too, with the networks' own answers in "
        "the place of annotations; only where at least half of the inverted images have none (docs/aspects.md)",
    )
    members: int = option(
        1,
        "networks trained side by side, each with a seed of its own (--seed, --seed + 1, ...), whose mean is the "
        "annotation; the paper has one",
        valid=POSITIVE,
    )
    seed: int = option(
        0, "of the parameters, the order of the latents, the validation split and the jitter", valid=SEED
    )


def train_config(stored: dict[str, Any]) -> TrainConfig:
    """Return the training configuration whose values a JSON file keeps; options that came later have their defaults."""
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in stored.items()}
    return TrainConfig(**values)
