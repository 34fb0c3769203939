"""Bilinear resizing as torch does it, without antialiasing. Channels last."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int


def bilinear(
    image: Float[Array, "*b h w c"],
    size: tuple[int, int],
    *,
    row: Int[Array, " n"] | None = None,
) -> Float[Array, "*b p q c"]:
    """Resizes to `size` = (height, width); pixel centres at half integers (align_corners=False).

    Two rows and two columns are gathered for each output pixel, so that the cost grows with the
    output alone; `jax.image.resize` multiplies dense matrices, which a 24-megapixel photograph
    feels.

    Args:
      image: What to resize.
      size: Height and width.
      row: Which rows of the result to make, all when None; beyond the border it repeats.
    """
    for axis, length in zip((image.ndim - 3, image.ndim - 2), size, strict=True):
        if row is not None and axis == image.ndim - 3:
            wanted = jnp.clip(row, 0, length - 1)
        elif image.shape[axis] == length:
            continue
        else:
            wanted = jnp.arange(length)
        scale = image.shape[axis] / length
        position = jnp.clip((wanted + 0.5) * scale - 0.5, 0, image.shape[axis] - 1)
        low = jnp.floor(position).astype(jnp.int32)
        high = jnp.minimum(low + 1, image.shape[axis] - 1)
        part = (position - low).astype(image.dtype)
        part = jnp.expand_dims(part, [other for other in range(image.ndim) if other != axis])
        below = jnp.take(image, low, axis=axis)
        above = jnp.take(image, high, axis=axis)
        image = below * (1 - part) + above * part
    return image


def double(features: Float[Array, "*b h w c"]) -> Float[Array, "*b p q c"]:
    """Doubles both sides, pixel centres at half integers (align_corners=False)."""
    for axis in (-3, -2):
        quarter = jnp.full(features.shape[axis], 0.25, features.dtype)
        features = _double_axis(features, axis, quarter, quarter)
    return features


def double_aligned(features: Float[Array, "*b h w c"]) -> Float[Array, "*b p q c"]:
    """Doubles both sides with the corner pixels kept in place (align_corners=True)."""
    for axis in (-3, -2):
        n = features.shape[axis]
        back = jnp.arange(n, dtype=features.dtype) / (2 * n - 1)
        features = _double_axis(features, axis, back, back[::-1])
    return features


def _double_axis(
    x: Float[Array, "..."], axis: int, back: Float[Array, " n"], ahead: Float[Array, " n"]
) -> Float[Array, "..."]:
    """Makes two pixels of each: one leans on the pixel before it, one on the pixel after it."""
    axis += x.ndim
    others = [other for other in range(x.ndim) if other != axis]
    back, ahead = jnp.expand_dims(back, others), jnp.expand_dims(ahead, others)
    first, last = jax.lax.slice_in_dim(x, 0, 1, axis=axis), x.shape[axis] - 1
    before = jnp.concatenate([first, jax.lax.slice_in_dim(x, 0, last, axis=axis)], axis)
    final = jax.lax.slice_in_dim(x, last, last + 1, axis=axis)
    after = jnp.concatenate([jax.lax.slice_in_dim(x, 1, last + 1, axis=axis), final], axis)
    pair = jnp.stack([x + back * (before - x), x + ahead * (after - x)], axis=axis + 1)
    return pair.reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])
