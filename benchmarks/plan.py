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


@dataclasses.dataclass(frozen=True)
class Plan:
    """Sizes and durations of one run."""

    train: tuple[Size, ...]  # the first also for the levers
    invert: tuple[Size, ...]
    scaling: Size  # what is varied from there
    images: tuple[int, ...]  # batches of the scaling
    resolutions: tuple[int, ...]
    feeding: Size
    source_lengths: tuple[int, ...]  # images of the simulated sources
    turn_seconds: float  # a contender's turn, at least one step
    rounds: int  # turns of each contender
    compile_seconds: float  # given to torch.compile, compilation and two steps


FULL = Plan(
    train=(Size(64, 64, 32, 16), Size(64, 64, 64, 16), Size(128, 128, 64, 4)),
    invert=(Size(64, 64, 32, 32), Size(64, 64, 64, 16), Size(128, 128, 64, 4)),
    scaling=Size(64, 64, 32, 8),
    images=(2, 8, 32),
    resolutions=(32, 64, 128),
    feeding=Size(128, 128, 32, 8),
    source_lengths=(10**4, 10**5, 10**6),
    turn_seconds=1.5,
    rounds=6,
    compile_seconds=90.0,
)
_TINY = Size(16, 16, 4, 4, scales=2)
QUICK = Plan((_TINY,), (_TINY,), _TINY, (4,), (16,), _TINY, (10**4,), turn_seconds=0.05, rounds=3, compile_seconds=0.0)
