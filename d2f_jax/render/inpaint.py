"""Fills what is unknown from what is known around it: the push-pull pyramid.

Planes are channels-first (`... c h w`). The filling is linear in the planes, so that it passes
gradients, and takes a few passes over the picture whatever the size of the holes (Gortler et al.,
The Lumigraph, 1996, Sec. 3.4).
"""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Inexact

_SMALLEST = 1e-12  # weights below are no knowledge


def push_pull(
    planes: Inexact[Array, "*b c h w"], weight: Float[Array, "*b h w"]
) -> Inexact[Array, "*b c h w"]:
    """Completes premultiplied planes where their weight falls below 1.

    Args:
      planes: Values multiplied by their weight, real or packed to complex pairs.
      weight: How much of each pixel is known, in [0, 1].

    Returns:
      Planes of weight 1: as they were where `weight` is 1, elsewhere topped up with the mean of the
      nearest known surroundings, the wider the farther away they are. All zero if nothing is known.
    """
    height, width = weight.shape[-2:]
    if max(height, width) <= 2:
        known = jnp.sum(weight, (-2, -1), keepdims=True)[..., None, :, :]
        mean = jnp.sum(planes, (-2, -1), keepdims=True) / jnp.maximum(known, _SMALLEST)
        return jnp.broadcast_to(mean, planes.shape)
    coarse_weight = halve(weight)
    # One known pixel of the four is enough to know their mean.
    gain = jnp.minimum(1.0, 4 * coarse_weight) / jnp.maximum(coarse_weight, _SMALLEST)
    coarse = push_pull(halve(planes) * gain[..., None, :, :], coarse_weight * gain)
    return planes + (1 - weight)[..., None, :, :] * double(coarse, (height, width))


def halve(planes: Inexact[Array, "*b h w"]) -> Inexact[Array, "*b p q"]:
    """Averages blocks of 2x2 pixels; an odd last row or column is repeated."""
    height, width = planes.shape[-2:]
    border = [(0, 0)] * (planes.ndim - 2) + [(0, height % 2), (0, width % 2)]
    planes = jnp.pad(planes, border, mode="edge")
    rows = planes[..., ::2, :] + planes[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def double(planes: Inexact[Array, "*b p q"], size: tuple[int, int]) -> Inexact[Array, "*b h w"]:
    """Undoes `halve` by linear interpolation between the centres of the blocks, cut to `size`."""
    height, width = size
    planes = jnp.swapaxes(_double_last(planes), -2, -1)
    return jnp.swapaxes(_double_last(planes), -2, -1)[..., :height, :width]


def local_maximum(plane: Float[Array, "*b h w"]) -> Float[Array, "*b h w"]:
    """Largest value of the 5x5 pixels around each one."""
    window = (1,) * (plane.ndim - 2) + (5, 5)
    return jax.lax.reduce_window(plane, -jnp.inf, jax.lax.max, window, (1,) * plane.ndim, "SAME")


def _double_last(planes: Array) -> Array:
    before = jnp.concatenate([planes[..., :1], planes[..., :-1]], axis=-1)
    after = jnp.concatenate([planes[..., 1:], planes[..., -1:]], axis=-1)
    pair = jnp.stack([0.75 * planes + 0.25 * before, 0.75 * planes + 0.25 * after], axis=-1)
    return pair.reshape(*planes.shape[:-1], -1)
