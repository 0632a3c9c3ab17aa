"""What is measured: the sizes of the networks, and how long each measurement may take.

The worker processes of both frameworks import this, so it imports neither.
"""

import dataclasses
from typing import NamedTuple


class Size(NamedTuple):
    """Networks of appendix A and a batch: n filters in every decoder layer; n, 2n, 3n, ... in the encoder's scales."""

    height: int
    width: int
    filters: int
    batch: int
    scales: int = 4  # one pooling between neighbours
    channels: int = 3
    latent: int = 64

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the encoder at each scale."""
        return tuple(self.filters * (i + 1) for i in range(self.scales))

    @property
    def bottom(self) -> tuple[int, int]:
        """Height and width of the smallest scale."""
        return self.height >> (self.scales - 1), self.width >> (self.scales - 1)

    def __str__(self) -> str:
        return f"{self.height}x{self.width}, n={self.filters}, batch {self.batch}"


# What makes a step fast on a CPU (`sharding.use_cpu_devices`).
LEVERS = {
    "train": ("Eigen's convolutions", "one device"),
    "invert": ("XLA's own convolutions", "a device a core"),
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """Sizes and durations of one run."""

    train: tuple[Size, ...]
    invert: tuple[Size, ...]
    levers: tuple[Size, ...]  # of the training's and the inversion's steps on a CPU
    scaling: Size  # what is varied from there
    images: tuple[int, ...]  # batches of the scaling
    resolutions: tuple[int, ...]
    feeding: Size
    pictures: int  # in the data set that feeding reads
    source_lengths: tuple[int, ...]  # images of the simulated sources
    source_batches: int  # read of each
    latents: int  # that an aspect network is trained on; one epoch is one call
    members: int  # of the ensemble
    matmul: int  # side of the matrices that show the peak
    conv: Size  # of the convolution that shows it: n -> n channels
    turn_seconds: float  # a contender's turn, at least one step
    rounds: int  # turns of each contender
    least_rounds: int  # where a comparison takes longer than its share of the time
    comparison_seconds: float  # that share: the turns of one table's rows
    compile_seconds: float  # given to torch.compile, compilation and two steps
    total_seconds: float  # of the whole run: when most of it has gone by, what is left is measured with fewer turns


FULL = Plan(
    train=(Size(64, 64, 32, 16), Size(64, 64, 64, 16), Size(128, 128, 64, 4)),
    invert=(Size(64, 64, 32, 32), Size(64, 64, 64, 16), Size(128, 128, 64, 4)),
    levers=(Size(64, 64, 32, 16),),
    scaling=Size(64, 64, 32, 8),
    images=(2, 8, 32),
    resolutions=(32, 64, 128),
    feeding=Size(128, 128, 32, 8),
    pictures=256,
    source_lengths=(10**4, 10**5, 10**6),
    source_batches=400,
    latents=4000,
    members=8,
    matmul=2048,
    conv=Size(64, 64, 128, 16),
    turn_seconds=1.5,
    rounds=6,
    least_rounds=3,
    comparison_seconds=20.0,
    compile_seconds=90.0,
    total_seconds=24 * 60.0,
)

_TINY = Size(16, 16, 4, 4, scales=2)
QUICK = Plan(
    train=(_TINY,),
    invert=(_TINY,),
    levers=(_TINY,),
    scaling=_TINY,
    images=(4,),
    resolutions=(16,),
    feeding=_TINY,
    pictures=16,
    source_lengths=(10**4,),
    source_batches=20,
    latents=160,
    members=8,
    matmul=256,
    conv=Size(16, 16, 16, 4),
    turn_seconds=0.05,
    rounds=3,
    least_rounds=3,
    comparison_seconds=5.0,
    compile_seconds=0.0,
    total_seconds=600.0,
)
