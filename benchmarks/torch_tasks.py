"""The work of the three stages in PyTorch: the networks' plain definitions, tuned as PyTorch's users tune theirs.

Adam is PyTorch's fused one where the CPU has it. `kept_memory` lets glibc's allocator keep what is freed, which saves
PyTorch the page faults of every step. `compiled` puts each network with its loss through torch.compile. Diversity and
the best latents met, which ours also computes, are left out.
"""

import contextlib
import ctypes
import itertools
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from benchmarks import operations
from benchmarks.plan import Size
from benchmarks.torch_models import Decoder, Discriminator, LandmarkNetwork
from benchmarks.workers import Task

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of <malloc.h>
STEPS_PER_CALL = 5  # of the inversion: ours waits for its device now and then only, so single steps are no measure
FORMATS = {"channels_last": torch.channels_last, "default": torch.contiguous_format}


def adam(parameters: Iterable[Tensor], rate: float, beta1: float) -> torch.optim.Adam:
    """Return Adam with the fastest of PyTorch's implementations on a CPU."""
    return torch.optim.Adam(list(parameters), rate, (beta1, 0.999), fused=True)


class Players:
    """BEGAN training, loss power 1, one latent batch for both players, both updated at once (A.2).

    Args:
        size: of the networks.
        layout: of images and weights.
        passes: of the discriminator: 3 as BEGAN is usually written, or 2 with one backward pass for both players.
        compiled: whether torch.compile is used.
    """

    def __init__(self, size: Size, layout: str, passes: int, compiled: bool = False):
        self.format = FORMATS[layout]
        self.generator = Decoder(size).to(memory_format=self.format)
        self.discriminator = Discriminator(size).to(memory_format=self.format)
        self.optimizers = [adam(m.parameters(), 1e-4, 0.5) for m in (self.generator, self.discriminator)]
        self.k, self.gamma, self.lambda_k = 0.0, 0.5, 1e-3
        self._gradients = self._two_passes if passes == 2 else self._three_passes
        wrap = torch.compile if compiled else lambda function: function
        self._generate, self._loss = wrap(self.generator.forward), wrap(self._autoencoder_loss)

    def _autoencoder_loss(self, v: Tensor) -> Tensor:
        return (v - self.discriminator(v)).abs().mean()

    def _two_passes(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        parameters = list(self.discriminator.parameters())
        fake = self._generate(z)
        leaf = fake.detach().requires_grad_()
        loss_real, loss_fake = self._loss(x), self._loss(leaf)
        real = torch.autograd.grad(loss_real, parameters)
        to_fake, *of_fake = torch.autograd.grad(loss_fake, [leaf, *parameters])
        fake.backward(to_fake)
        for p, a, b in zip(parameters, real, of_fake, strict=True):
            p.grad = a.sub_(b, alpha=self.k)
        return loss_real, loss_fake

    def _three_passes(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        fake = self._generate(z)
        loss_real = self._loss(x)
        (loss_real - self.k * self._loss(fake.detach())).backward()
        self.discriminator.requires_grad_(False)
        loss_fake = self._loss(fake)
        loss_fake.backward()
        self.discriminator.requires_grad_(True)
        return loss_real, loss_fake

    def step(self, images: Tensor, z: Tensor) -> dict[str, float]:
        """Step on images uint8 [batch, channels, height, width] and latents; return the losses, k_t and M."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        x = images.to(torch.float32, memory_format=self.format).div_(127.5).sub_(1)
        losses = self._gradients(x, z)
        for optimizer in self.optimizers:
            optimizer.step()
        real, fake = (loss.item() for loss in losses)
        balance = self.gamma * real - fake
        self.k = min(max(self.k + self.lambda_k * balance, 0.0), 1.0)
        return {"loss_real": real, "loss_generated": fake, "k": self.k, "convergence": real + abs(balance)}


class Inversion:
    """Eq. 4 for a batch by one Adam (0.1, 0.9, 0.999), from z = 0."""

    def __init__(self, generator: nn.Module, x: Tensor, latent: int, compiled: bool = False):
        generator.requires_grad_(False)
        self.z = torch.zeros(len(x), latent, requires_grad=True)
        self._optimizer = adam([self.z], 0.1, 0.9)

        def error(z: Tensor) -> Tensor:
            return (generator(z) - x).abs().mean((1, 2, 3)).sum()

        self._error = torch.compile(error) if compiled else error

    def step(self) -> Tensor:
        """Step on every latent; return the sum over images of the errors that it started from."""
        error = self._error(self.z)
        (self.z.grad,) = torch.autograd.grad(error, self.z)
        self._optimizer.step()
        return error.detach()


class Fit:
    """Eq. 5: the landmark network by Adam (3e-4, 0.9, 0.999)."""

    def __init__(self, network: nn.Module, latents: Tensor, targets: Tensor, batch: int = 16, compiled: bool = False):
        self._latents, self._targets, self._batch = latents, targets, batch
        self._optimizer = adam(network.parameters(), 3e-4, 0.9)

        def loss(z: Tensor, target: Tensor) -> Tensor:
            return nn.functional.mse_loss(network(z), target)

        self._loss = torch.compile(loss) if compiled else loss

    def step(self, rows: Tensor) -> Tensor:
        """Step on some rows; return their loss."""
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss(self._latents[rows], self._targets[rows])
        loss.backward()
        self._optimizer.step()
        return loss.detach()

    def epoch(self) -> float:
        """Pass over a permutation of the latents, the remainder left out; return the mean loss."""
        rows = torch.randperm(len(self._latents)).split(self._batch)
        return torch.stack([self.step(r) for r in rows if len(r) == self._batch]).mean().item()


def train(size: Size, layout: str, passes: int, threads: int, compiled: bool, kept_memory: bool) -> Task:
    """Make a training step, and read its metrics."""
    _start(threads, kept_memory)
    players = Players(size, layout, passes, compiled)
    batches = itertools.cycle([torch.randint(0, 256, _shape(size), dtype=torch.uint8) for _ in range(4)])

    def call() -> None:
        players.step(next(batches), torch.rand(size.batch, size.latent) * 2 - 1)

    return Task(call, 1, {"operations": operations.training_step(size, passes, reduced=False)})


def invert(size: Size, layout: str, threads: int, compiled: bool, kept_memory: bool) -> Task:
    """Make steps of a batched inversion; a unit is one step of one image."""
    _start(threads, kept_memory)
    generator = Decoder(size).to(memory_format=FORMATS[layout])
    x = (torch.rand(_shape(size)) * 2 - 1).to(memory_format=FORMATS[layout])
    inversion = Inversion(generator, x, size.latent, compiled)

    def call() -> None:
        for _ in range(STEPS_PER_CALL):
            inversion.step()

    by_hand = operations.inversion_step(size, reduced=False) // size.batch
    return Task(call, STEPS_PER_CALL * size.batch, {"operations": by_hand})


def aspect(latents: int, threads: int, compiled: bool, kept_memory: bool) -> Task:
    """Make an epoch of the landmark network; a unit is a step."""
    _start(threads, kept_memory, large_arrays=False)
    fit = Fit(LandmarkNetwork(), torch.rand(latents, 64) * 2 - 1, torch.rand(latents, 49, 2), compiled=compiled)
    return Task(fit.epoch, latents // 16, {"operations": operations.aspect_step(64, (128, 128, 128), 98, 16)})


def matmul(side: int, threads: int) -> Task:
    """Multiply two square matrices."""
    _start(threads)
    a, b = torch.rand(side, side), torch.rand(side, side)
    return Task(lambda: a @ b, 1, {"operations": operations.matmul(side)})


def _start(threads: int, kept_memory: bool = False, large_arrays: bool = True) -> None:
    if kept_memory:
        with contextlib.suppress(OSError, AttributeError):  # another allocator, another system
            options = ctypes.CDLL(None).mallopt
            # Several arenas give back 64 MB whenever one is free; a single one makes threads wait for small arrays.
            for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_ARENA_MAX, 1 if large_arrays else 0)):
                options(option, value)
    torch.set_num_threads(threads)
    torch.manual_seed(0)


def _shape(size: Size) -> tuple[int, int, int, int]:
    return size.batch, size.channels, size.height, size.width
