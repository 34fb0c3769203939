"""Small bright lights: each becomes a disc of its own, at full size and with its own radius.

A lamp of a few pixels far out of focus is a disc whose rim is seen. Layers at a coarser size lose
that rim, and two neighbouring layers turn it into steps. The brightest lights are therefore taken
out of the coarser layers and put back one by one, each seen through what stands in front of it.

One picture at a time, channels-first, linear in light.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from d2f_jax import color
from d2f_jax.render.inpaint import double, halve
from d2f_jax.render.kernels import Aperture, lens_kernel

COUNT = 1024
"""Most lights of a picture (or a tile) that get a disc of their own."""

_SURROUNDINGS = 4  # halvings to the size at which a light is compared with what is around it
_CONTRAST = 2.0  # times the surroundings: what of a light is brighter than that stands out
_VISIBLE = 0.0005  # linear light of a disc from which on it is seen
_GROUP = 2**20  # pixels of discs that are drawn together; gradients pass whole pictures once each

_WINDOWS = jax.lax.ScatterDimensionNumbers(
    update_window_dims=(1, 2, 3), inserted_window_dims=(), scatter_dims_to_operand_dims=(1, 2)
)


class Lights(NamedTuple):
    """Lights of a picture; those without light are none."""

    light: Float[Array, "n 3"]
    radius: Float[Array, " n"]  # signed [px]
    row: Int[Array, " n"]
    column: Int[Array, " n"]


def strength(
    radiance: Float[Array, "3 h w"], coc_radius: Float[Array, "h w"], share: Float[Array, "h w"]
) -> Float[Array, "h w"]:
    """Share of each pixel's light that deserves a disc of its own, in [0, 1).

    It rises from 0 where a pixel exceeds its surroundings and its disc would be seen.

    Args:
      radiance: Linear light.
      coc_radius: Signed circle-of-confusion radius [px].
      share: How much of a pixel lies in layers that lose the rims; 0 where no light is taken.
    """
    # Colours are added one by one, which is faster than a sum over them.
    red, green, blue = (n * plane for n, plane in zip(color.LUMINANCE, radiance, strict=True))
    luminance = red + green + blue
    around = luminance
    for _ in range(_SURROUNDINGS):
        around = halve(around)
    for _ in range(_SURROUNDINGS):
        around = double(around, (2 * around.shape[0], 2 * around.shape[1]))
    around = around[: luminance.shape[0], : luminance.shape[1]]
    out = jnp.maximum(luminance - _CONTRAST * around, 0.0)
    disc = share * out / (jnp.pi * jnp.maximum(coc_radius**2, 1.0))
    seen = jnp.maximum(1 - _VISIBLE / jnp.maximum(disc, _VISIBLE), 0.0)
    return seen * out / jnp.maximum(luminance, 1e-6)


def find(
    strength: Float[Array, "h w"],
    radiance: Float[Array, "3 h w"],
    coc_radius: Float[Array, "h w"],
    share: Float[Array, "h w"],
) -> tuple[Lights, Float[Array, "h w"]]:
    """Picks the lights with the brightest discs.

    Returns:
      The lights, and what is left of each pixel's light, in (0, 1].
    """
    red, green, blue = radiance
    disc = strength * (red + green + blue) * share / jnp.maximum(coc_radius**2, 1.0)
    _, places = jax.lax.top_k(disc.ravel(), min(COUNT, disc.size))
    row, column = jnp.divmod(places, disc.shape[1])
    picked = strength[row, column]
    light = picked[:, None] * radiance[:, row, column].T
    rest = jnp.ones_like(strength).at[row, column].add(-picked)
    return Lights(light, coc_radius[row, column], row, column), rest


def discs(
    lights: Lights,
    free: Float[Array, "k h w"],
    step: Float[Array, " n"],
    *,
    margin: int,
    largest: int,
    aperture: Aperture,
) -> Float[Array, "3 h w"]:
    """Draws the discs of all lights.

    Args:
      lights: On a picture that is extended by `margin`.
      free: For each of k layers, the share of its light that passes what is in front of it.
      step: Between which two of these layers a light lies.
      margin: Pixels around the picture in which lights may lie.
      largest: Radius of the largest disc [px].
      aperture: Opening of the lens.
    """
    reach = largest + 1  # with the soft rim
    side, border = 2 * reach + 1, 2 * reach + 1
    height, width = free.shape[-2:]
    around = [(border, border)] * 2
    free = jnp.pad(free, [(0, 0), *around])
    # Discs farther away than their reach do not touch the picture.
    rows, columns = (
        jnp.clip(place - margin, -reach - 1, length + reach) + border - reach
        for place, length in ((lights.row, height), (lights.column, width))
    )

    def disc(light, step):
        first = jnp.floor(step).astype(light.row.dtype)
        second = jnp.minimum(first + 1, free.shape[0] - 1)
        layers = [
            jax.lax.dynamic_slice(free, (layer, light.row, light.column), (1, side, side))
            for layer in (first, second)
        ]
        passes = (1 - (step - first)) * layers[0] + (step - first) * layers[1]
        kernel = jnp.fft.fftshift(lens_kernel(aperture, light.radius, (side, side)))
        # A disc of its own: XLA would make it again for each colour.
        shape = jax.lax.optimization_barrier(kernel * passes[0])
        return light.light[:, None, None] * shape[None]

    @jax.checkpoint
    def some_discs(some, step):
        shape = (step.size, 3, side, side)
        there = jnp.any(some.light > 0)
        return jax.lax.cond(
            there, lambda: jax.vmap(disc)(some, step), lambda: jnp.zeros(shape, free.dtype)
        )

    def draw(canvas, group):
        some, step = group
        return _added(canvas, some_discs(some, step), some.row, some.column), None

    found = lights._replace(row=rows, column=columns), step  # of the first pixels, on the canvas
    together = min(128, max(1, _GROUP // side**2))
    missing = -step.size % together
    found = jax.tree.map(
        lambda x: jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1)).reshape(
            -1, together, *x.shape[1:]
        ),
        found,
    )
    canvas = jnp.pad(jnp.zeros((3, height, width), free.dtype), [(0, 0), *around])
    canvas, _ = jax.lax.scan(draw, canvas, found)
    return canvas[:, border:-border, border:-border]


@jax.custom_jvp
def _added(canvas: Array, parts: Array, rows: Array, columns: Array) -> Array:
    """Adds parts of `n 3 side side` to a canvas, one after the other."""

    def add(canvas, one):
        part, row, column = one
        corner = jnp.zeros_like(row), row, column
        now = jax.lax.dynamic_slice(canvas, corner, part.shape)
        return jax.lax.dynamic_update_slice(canvas, now + part, corner), None

    return jax.lax.scan(add, canvas, (parts, rows, columns))[0]


@_added.defjvp
def _(primals, tangents):
    # In reverse this passes the canvas on as it is; the updates above would copy it for each part.
    places = jnp.stack(primals[2:], axis=-1)
    return _added(*primals), jax.lax.scatter_add(tangents[0], places, tangents[1], _WINDOWS)
