"""The ladder of `lens_layers`: radii of its layers, their sizes, and what belongs to them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from d2f_jax.render.inpaint import local_maximum

FINE = (0.0, 1.0, 2.0, 3.0, 4.3, 6.0, 8.0)  # radii at full size, on one side [px]
COARSE = (5.0, 6.0, 7.0, 8.0, 10.0, 12.7, 16.0)  # of each level, in its own pixels


CONNECTED = 4
"""Layers that may belong to one surface at a place; more is a step in depth."""


def levels_for(radius: float) -> int:
    """Number of coarser levels that hold circles up to a radius [px]."""
    return max(0, math.ceil(math.log2(max(radius, 1.0) / FINE[-1]) / 2 - 1e-6))


def radii(levels: int) -> tuple[float, ...]:
    """Radii of the layers on one side of the focus, from 0 [px]."""
    coarse = (own * 2 ** halvings(level) for level in range(1, levels + 1) for own in COARSE)
    return (*FINE, *coarse)


def margin(halved: int) -> int:
    """Pixels that the layers of a picture halved so often look at around it, in blocks of 8."""
    return 24 if halved else 16


def halvings(level: int) -> int:
    """How often the picture is halved for a level."""
    return max(0, 2 * level - 1)


def canvas_margin(levels: int) -> int:
    """Pixels that `blur_layers` takes around the picture."""
    return margin(halvings(levels)) * 2 ** halvings(levels)


def layer_of(coc_radius: Array, radii: np.ndarray) -> Array:
    """Fractional layer index of a radius, so that the mixture of two discs has the right spread.

    The variance of a disc grows with the square of its radius, so squares are interpolated; at the
    focus this leaves a smooth function.
    """
    steps = jnp.arange(len(radii), dtype=coc_radius.dtype)
    return jnp.sign(coc_radius) * jnp.interp(coc_radius**2, jnp.asarray(radii) ** 2, steps)


def membership(layer: Array, index: Array) -> Array:
    """Share of each pixel that belongs to a layer: the two nearest layers share a pixel."""
    return jnp.maximum(0.0, 1 - jnp.abs(layer - index))


def surface_reach(layer: Array, coc_radius: Array) -> Array:
    """Layers that the surface of a pixel crosses within the pixel's own circle of confusion.

    The slope is the smaller one of the two sides in each direction, so that a step in depth is not
    taken for a steep surface.
    """

    def slope(axis):
        ahead = jnp.abs(jnp.diff(layer, axis=axis))
        first = jax.lax.slice_in_dim(ahead, 0, 1, axis=axis)
        last = jax.lax.slice_in_dim(ahead, ahead.shape[axis] - 1, None, axis=axis)
        return jnp.minimum(
            jnp.concatenate([first, ahead], axis), jnp.concatenate([ahead, last], axis)
        )

    slopes = jnp.maximum(slope(-2), slope(-1))
    slopes = local_maximum(slopes)  # a pixel next to a step takes the slope of its surface
    return 1 + jnp.minimum(2 * slopes * jnp.abs(coc_radius), CONNECTED)
