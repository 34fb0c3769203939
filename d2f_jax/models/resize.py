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


def double(features: Float[Array, "*b h w c"], *, aligned: bool) -> Float[Array, "*b p q c"]:
    """Doubles both sides.

    Args:
      features: What to double.
      aligned: Whether the corner pixels keep their place (align_corners=True), or pixel centres lie
        at half integers and the border repeats.
    """
    for axis in (-3, -2):
        length = features.shape[axis]
        weights = double_weights(jnp.arange(length), length, aligned=aligned)
        features = double_axis(features, axis, *weights)
    return features


def double_weights(
    index: Int[Array, " n"], length: int, *, aligned: bool
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """How much of its neighbour before and after it each of the two pixels takes on.

    Args:
      index: Which pixels; both weights are 0 outside of [0, length).
      length: Pixels of the whole axis.
      aligned: As for `double`.

    Returns:
      For the first pixel of each pair the part of the pixel before, for the second that of the
      pixel after; 0 at the border.
    """
    back = index / (2 * length - 1) if aligned else jnp.full(index.shape, 0.25)
    ahead = (length - 1 - index) / (2 * length - 1) if aligned else back
    back = jnp.where((index > 0) & (index < length), back, 0)
    ahead = jnp.where((index >= 0) & (index < length - 1), ahead, 0)
    return back.astype(jnp.float32), ahead.astype(jnp.float32)


def double_axis(
    x: Float[Array, "..."], axis: int, back: Float[Array, " n"], ahead: Float[Array, " n"]
) -> Float[Array, "..."]:
    """Makes two pixels of each along one axis, with weights of `double_weights`."""
    axis %= x.ndim
    others = [other for other in range(x.ndim) if other != axis]
    back, ahead = (jnp.expand_dims(w.astype(x.dtype), others) for w in (back, ahead))
    # The zeros that `moved` brings in have weight 0 at the picture's border; strips cut theirs off.
    before, after = moved(x, axis, 1), moved(x, axis, -1)
    pair = jnp.stack([x + back * (before - x), x + ahead * (after - x)], axis=axis + 1)
    return pair.reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])


def moved(x: Float[Array, "..."], axis: int, by: int) -> Float[Array, "..."]:
    """Moves along one axis by so many pixels, forward or (negative) back; zeros follow."""
    padding = [(0, 0, 0)] * x.ndim
    padding[axis] = (by, -by, 0)  # a negative width cuts
    return jax.lax.pad(x, jnp.zeros((), x.dtype), padding)
