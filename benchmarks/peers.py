"""The classical ways to blur by depth, re-implemented plainly beside `render.lens_blur`.

Each takes a channels-last picture and the map of signed circle-of-confusion radii [px], and returns
the picture; colours are taken as they come, so that the caller decides on the light. Nothing is
copied from the projects named: these are the published ideas in their shortest form.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from d2f_jax import render
from d2f_jax.render import convolution, kernels
from d2f_jax.types import LayerOrder


def no_blur(image: Float[Array, "h w 3"], coc_radius: Float[Array, "h w"]) -> Float[Array, "h w 3"]:
    """The picture as it is."""
    del coc_radius
    return image


def gaussian(
    image: Float[Array, "h w 3"], coc_radius: Float[Array, "h w"]
) -> Float[Array, "h w 3"]:
    """Each pixel takes the Gaussian of its own blur (deviation radius / 2), as shaders do."""
    radius = jnp.abs(coc_radius)
    planes = jnp.moveaxis(image, -1, 0)
    steps = np.arange(int(np.ceil(float(radius.max()))) + 1)
    grid = np.arange(-2 * steps[-1] - 1, 2 * steps[-1] + 2)
    total = jnp.maximum(0, 1 - radius) * planes
    for step in steps[1:]:
        line = np.exp(-0.5 * (grid / (step / 2)) ** 2)
        kernel = jnp.asarray(np.outer(line, line) / line.sum() ** 2, image.dtype)
        blurred = convolution.convolve(planes, kernel, padding="edge")
        total = total + jnp.maximum(0, 1 - jnp.abs(radius - step)) * blurred
    return jnp.moveaxis(total, 0, -1)


def scatter(
    image: Float[Array, "h w 3"], coc_radius: Float[Array, "h w"], *, reach: int | None = None
) -> Float[Array, "h w 3"]:
    """Each pixel is spread over a soft disc; the sum is divided by the weights that arrived.

    In the manner of the classical renderer of BokehMe (Peng et al. 2022), without its network.
    `reach`, the largest radius and a pixel, must be given where radii are traced.
    """
    if reach is None:
        reach = int(np.ceil(float(jnp.abs(coc_radius).max()) + 0.5))
    return _scatter(image, jnp.abs(coc_radius), reach)


@functools.partial(jax.jit, static_argnames="reach")
def _scatter(image, radius, reach):
    height, width = radius.shape
    area = jnp.pi * (radius + 0.5) ** 2
    planes = jnp.concatenate([image, jnp.ones_like(image[..., :1])], axis=-1) / area[..., None]
    planes = jnp.pad(planes, [(reach, reach), (reach, reach), (0, 0)], mode="edge")
    radius = jnp.pad(radius, reach, mode="edge")
    offsets = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1).T
    offsets = offsets[np.hypot(*offsets.T) < reach + 0.5]

    def add(total, offset):
        start = offset + reach
        spread = jax.lax.dynamic_slice(radius, start, (height, width))
        light = jax.lax.dynamic_slice(planes, (*start, 0), (height, width, 4))
        inside = jnp.clip(spread + 0.5 - jnp.hypot(*offset.astype(spread.dtype)), 0, 1)
        return total + inside[..., None] * light, None

    total, _ = jax.lax.scan(add, jnp.zeros((height, width, 4), image.dtype), jnp.asarray(offsets))
    return total[..., :3] / total[..., 3:]


def multiplane(
    image: Float[Array, "h w 3"], coc_radius: Float[Array, "h w"], *, planes: int = 32
) -> Float[Array, "h w 3"]:
    """Disjoint planes of equal depth range, each blurred with its mask, laid near over far.

    In the manner of MPIB (Peng et al. 2022), without its inpainting: what shows through a blurred
    edge is what the planes behind have there, normalised by the coverage.
    """
    lowest, highest = float(coc_radius.min()), float(coc_radius.max())
    edges = np.linspace(lowest, highest, planes + 1)
    edges[0], edges[-1] = -np.inf, np.inf
    stack = jnp.concatenate([image, jnp.ones_like(image[..., :1])], axis=-1)
    stack = jnp.moveaxis(stack, -1, 0)
    total, free = jnp.zeros_like(stack), jnp.ones_like(coc_radius)
    for plane in reversed(range(planes)):
        radius = lowest + (plane + 0.5) * (highest - lowest) / planes
        mask = (coc_radius >= edges[plane]) & (coc_radius < edges[plane + 1])
        side = 2 * int(np.ceil(abs(radius) + 1)) + 1
        kernel = jnp.fft.fftshift(kernels.lens_kernel(kernels.Circle(), radius, (side, side)))
        blurred = convolution.convolve(mask[None] * stack, kernel, padding="reflect")
        total, free = total + free[None] * blurred, free * (1 - jnp.clip(blurred[3], 0, 1))
    return jnp.moveaxis(total[:3] / jnp.maximum(total[3:], 1e-6), 0, -1)


def paper_layers(
    image: Float[Array, "h w 3"], coc_radius: Float[Array, "h w"], *, order: LayerOrder = "released"
) -> Float[Array, "h w 3"]:
    """The layered renderer of Defocus to Focus, with kernels scaled to the largest radius."""
    largest = int(np.ceil(float(jnp.abs(coc_radius).max())))
    sizes = kernels.growing_sizes(15, 2 * largest + 1)
    level = np.linspace(0, 1, len(sizes))
    radii = (np.asarray(sizes) - 1) / 2
    defocus = jnp.interp(jnp.abs(coc_radius), radii, level)
    if order == "depth":
        defocus = jnp.sign(coc_radius) * defocus
    return render.layered_render(image, defocus, kernels=kernels.kernel_bank(sizes), order=order)
