"""Operations counted by hand from the layers' shapes: a multiplication and an addition are two operations.

Convolutions and matrix products only. `reduced` counts what our layers compute (`began_jax.models.layers`: the
up-sampling convolution at the low resolution, pooling before the 1x1 convolution), otherwise the plain definition.
"""

import itertools

from benchmarks.plan import Size


def decoder(size: Size, reduced: bool) -> tuple[int, int]:
    """Count fig. A.2, latent -> image: one forward pass for one image, and its first layer alone."""
    n, (h, w) = size.filters, size.bottom
    dense = size.latent * h * w * n
    products = dense
    for scale in range(size.scales):
        first = 9 * h * w
        if scale > 0:
            # Four 2x2 kernels over the image padded by one on each side, or one 3x3 over twice the height and width.
            first = 16 * (h + 1) * (w + 1) if reduced else 4 * first
            h, w = 2 * h, 2 * w
        products += (first + 9 * h * w) * n * n
    products += 9 * h * w * n * size.channels
    return 2 * products, 2 * dense


def encoder(size: Size, reduced: bool) -> tuple[int, int]:
    """Count fig. A.1, image -> code: one forward pass for one image, and its first layer alone."""
    h, w, widths = size.height, size.width, size.widths
    first = h * w * 9 * size.channels * widths[0]
    products = first
    for scale, width in enumerate(widths):
        if scale > 0:
            products += h * w * widths[scale - 1] * width // (4 if reduced else 1)
            h, w = h // 2, w // 2
        products += 2 * h * w * 9 * width * width
    products += h * w * widths[-1] * size.latent
    return 2 * products, 2 * first


def training_step(size: Size, passes: int = 2, reduced: bool = True) -> int:
    """Count one step of both players; `passes` of the discriminator: 2 with one backward pass for both players, or 3.

    A layer's two gradients cost a forward pass each. The latents and the real images need none; with three passes
    the detached images need none either, and the third pass has no gradients of D's parameters.
    """
    (g, g_first), (e, e_first) = decoder(size, reduced), encoder(size, reduced)
    d = e + g  # the autoencoder's decoder is the generator's
    image = 3 * g - g_first + 3 * d - e_first + 3 * d
    if passes == 3:
        image += 2 * d - e_first
    return size.batch * image


def inversion_step(size: Size, reduced: bool = True) -> int:
    """Count one Adam step on a batch of latents: the generator forth, and back to its input."""
    return size.batch * 2 * decoder(size, reduced)[0]


def aspect_step(latent: int, hidden: tuple[int, ...], outputs: int, batch: int) -> int:
    """Count one step of the landmark network (table 2)."""
    widths = (latent, *hidden, outputs)
    products = [a * b for a, b in itertools.pairwise(widths)]
    return batch * 2 * (3 * sum(products) - products[0])


def matmul(side: int) -> int:
    """Count a product of square matrices."""
    return 2 * side**3
