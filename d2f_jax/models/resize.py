"""Bilinear resizing: as torch does it, without antialiasing, and `antialiased`. Channels last."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from d2f_jax.types import Extent, Scalar


def bilinear(
    image: Float[Array | np.ndarray, "*b h w c"],
    size: tuple[int, int],
    *,
    row: Int[Array | np.ndarray, " n"] | None = None,
    extents: tuple[Extent, Extent] | None = None,
) -> Any:
    """Resizes to `size` = (height, width); pixel centres at half integers (align_corners=False).

    Two rows and two columns are gathered for each output pixel, so that the cost grows with the
    output alone; `jax.image.resize` multiplies dense matrices, which a 24-megapixel photograph
    feels.

    Args:
      image: What to resize.
      size: Height and width.
      row: Which rows of the result to make, all when None; beyond the border it repeats.
      extents: Where the picture ends in `image` and in the result, if rows and columns follow: it
        repeats there. None: it fills both.

    Returns:
      `... p q c`, of numpy for an array of numpy (without compiling anything), else of JAX.
    """
    xp: Any = np if isinstance(image, np.ndarray) else jnp
    axes = (image.ndim - 3, image.ndim - 2)
    ends = extents or (tuple(image.shape[axis] for axis in axes), size)
    for axis, length, end, target in zip(axes, size, *ends, strict=True):
        if row is not None and axis == image.ndim - 3:
            wanted = xp.clip(row, 0, length - 1)
        elif extents is None and end == target:
            continue
        else:
            wanted = xp.arange(length)
        scale = (end / target) if extents is None else xp.float32(end) / xp.float32(target)
        position = (wanted.astype(xp.float32) + xp.float32(0.5)) * xp.float32(scale)
        position = xp.clip(position - xp.float32(0.5), 0, end - 1)
        low = xp.floor(position).astype(xp.int32)
        high = xp.minimum(low + 1, end - 1)
        part = (position - low).astype(image.dtype)
        part = xp.expand_dims(part, [other for other in range(image.ndim) if other != axis])
        below = xp.take(image, low, axis=axis)
        above = xp.take(image, high, axis=axis)
        image = below * (1 - part) + above * part
    return image


def in_strips(
    image: Float[Array | np.ndarray, "*b h w c"], size: tuple[int, int], rows: int = 64
) -> Any:
    """`bilinear` so many rows at a time (of which `size` has a multiple): bounds what is gathered.

    In numpy for one picture of numpy.
    """
    row = np.arange(size[0]).reshape(-1, rows)
    if isinstance(image, np.ndarray) and image.ndim == 3:
        return np.concatenate([bilinear(image, size, row=strip) for strip in row])
    image = jnp.asarray(image)
    parts = jax.lax.map(lambda strip: bilinear(image, size, row=strip), jnp.asarray(row))
    parts = jnp.moveaxis(parts, 0, -4)
    return parts.reshape(*image.shape[:-3], *size, image.shape[-1])


def antialiased(
    image: Float[np.ndarray, "h w c"], size: tuple[int, int], canvas: tuple[int, int]
) -> Float[np.ndarray, "p q c"]:
    """Resizes as `jax.image.resize(image, size, "linear")` does, without compiling anything.

    Args:
      image: What to resize.
      size: Height and width of the result.
      canvas: Height and width, at least those, of the array that holds it in its first corner,
        zero elsewhere.

    Returns:
      The canvas, in the precision of `image`.
    """
    held = np.zeros((*canvas, image.shape[-1]), image.dtype)
    held[: size[0], : size[1]] = _along(_along(image, 0, size[0]), 1, size[1])
    return held


def _along(image: Float[np.ndarray, "h w c"], axis: int, want: int) -> Any:
    """Brings one axis to `want` values: sums over triangles as wide as the coarser step.

    Slices are added and no matrices multiplied: for a while after a product of matrices numpy's
    threads wait at full speed, and take the cores from XLA.
    """
    have = image.shape[axis]
    reach = max(have / want, 1)
    centres = (np.arange(want, dtype=np.float32) + 0.5) * np.float32(have / want) - 0.5
    places = np.ceil(centres - reach).astype(int)[:, None] + np.arange(int(2 * reach) + 1)
    weights = np.maximum(0, 1 - np.abs(centres[:, None] - places) / reach)
    weights = np.where((places >= 0) & (places < have), weights, 0)
    weights = (weights / weights.sum(1, keepdims=True)).astype(image.dtype)
    places = np.clip(places, 0, have - 1)
    shape = [1, 1, 1]
    shape[axis] = want
    return sum(
        weight.reshape(shape) * np.take(image, place, axis)
        for weight, place in zip(weights.T, places.T, strict=True)
    )


def double(
    features: Float[Array, "*b h w c"], *, aligned: bool, extent: Extent | None = None
) -> Float[Array, "*b p q c"]:
    """Doubles both sides.

    Args:
      features: What to double.
      aligned: Whether the corner pixels keep their place (align_corners=True), or pixel centres lie
        at half integers and the border repeats.
      extent: Where the picture ends, if rows and columns follow; None: it fills `features`.
    """
    ends = extent or features.shape[-3:-1]
    for axis, end in zip((-3, -2), ends, strict=True):
        weights = double_weights(jnp.arange(features.shape[axis]), end, aligned=aligned)
        features = double_axis(features, axis, *weights)
    return features


def double_weights(
    index: Int[Array, " n"], length: Scalar, *, aligned: bool
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
