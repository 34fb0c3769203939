"""The ladder of `lens_layers`: radii of its layers, their sizes, and what belongs to them."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from d2f_jax.render.inpaint import local_maximum

FINE = (0.0, 1.0, 2.0, 3.0, 4.3)  # radii at full size, on one side [px]
COARSE = (5.0, 6.0, 7.0, 8.0, 10.0, 12.7, 16.0)  # of each level, in its own pixels
BETWEEN = (3.0, 4.0)  # of the first level besides
RIMLESS = len((*FINE, *BETWEEN))  # first layer that loses the rims of small lights' discs


CONNECTED = 4
"""Layers that may belong to one surface at a place; more is a step in depth."""


def levels_for(radius: float) -> int:
    """Number of coarser levels that hold circles up to a radius [px]."""
    if radius <= FINE[-1]:
        return 0
    return max(1, math.ceil(math.log2(radius / (2 * COARSE[-1])) / 2 - 1e-6) + 1)


def own_radii(level: int) -> tuple[float, ...]:
    """Radii of a coarser level's layers on one side of the focus, in its own pixels."""
    return (*BETWEEN, *COARSE) if level == 1 else COARSE


def first(level: int) -> int:
    """Index of a coarser level's first layer."""
    return len(FINE) + sum(len(own_radii(below)) for below in range(1, level))


def radii(levels: int) -> tuple[float, ...]:
    """Radii of the layers on one side of the focus, from 0 [px]."""
    coarse = (r * 2 ** halvings(level) for level in range(1, levels + 1) for r in own_radii(level))
    return (*FINE, *coarse)


def margin(halved: int) -> int:
    """Pixels that the layers of a picture halved so often look at around it, in blocks of 8."""
    return 24 if halved else 16


def halvings(level: int) -> int:
    """How often the picture is halved for a level."""
    return max(0, 2 * level - 1)


def spread(halved: int) -> float:
    """What a smaller size adds to the square of a disc's radius, in pixels of the level.

    A disc has a variance of a quarter of its radius squared in each direction. Averages of two
    pixels and linear interpolation between them add 1 on average over the place of a point, in
    pixels before halving, and each further halving that of larger pixels: 4/3 in the square of the
    radius. The soft rim, a pixel wide, adds 5/12, of which a disc at full size has its own.
    """
    return (4 / 3 + 5 / 12) * (1 - 0.25**halved)


def canvas_margin(levels: int) -> int:
    """Pixels that `blur_layers` takes around the picture."""
    return margin(halvings(levels)) * 2 ** halvings(levels)


def layer_of(coc_radius: Array, radii: np.ndarray) -> Array:
    """Fractional layer index of a radius, so that the mixture of two discs has the right spread.

    The variance of a disc grows with the square of its radius, so squares are interpolated; at the
    focus this leaves a smooth function.
    """

    @jax.checkpoint  # gradients would keep a plane or two for each step
    def index(coc_radius: Array) -> Array:
        # Shares of the steps taken, added up: the same as `jnp.interp`, which looks each pixel up.
        square = coc_radius**2
        shares = [
            jnp.clip((square - low) / (high - low), 0.0, 1.0)
            for low, high in itertools.pairwise(radii**2)
        ]
        return jnp.sign(coc_radius) * sum(shares, jnp.zeros_like(square))

    return index(coc_radius)


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
