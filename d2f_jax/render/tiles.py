"""Runs a function over a large picture in overlapping windows, to bound memory (`... h w`).

How large they are for a picture is decided in `d2f_jax.budget`.
"""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from d2f_jax import budget


def over_tiles(
    function: Callable[..., Array],
    arrays: tuple[Array, ...],
    *,
    size: tuple[int, int],
    margin: int,
    tile: int,
    overlap: int,
) -> Float[Array, "*b c h w"]:
    """Puts a picture together from windows, one after the other.

    Args:
      function: Takes the windows of `arrays`, `tile + 2 * margin` pixels wide and high, and the
        centre of the window as `(y, x)` in pixels of the picture; returns `... c tile tile`.
      arrays: What to cut up, each larger than `size` by `margin` on every side.
      size: Height and width of the picture.
      margin: Pixels around a tile that the function looks at.
      tile: Side of a tile.
      overlap: How far neighbouring tiles overlap; they are blended linearly there.

    Returns:
      The results blended to the size of the picture.
    """
    step = tile - overlap
    counts = [max(1, -(-(n - overlap) // step)) for n in size]
    whole = [count * step + overlap for count in counts]
    missing = [(0, whole[0] - size[0]), (0, whole[1] - size[1])]
    arrays = tuple(
        jnp.pad(array, [(0, 0)] * (array.ndim - 2) + missing, mode="edge") for array in arrays
    )

    def window_of(array, corner, side):
        starts = (0,) * (array.ndim - 2) + tuple(corner)
        return jax.lax.dynamic_slice(array, starts, (*array.shape[:-2], side, side))

    def put(array, corner, part):
        return jax.lax.dynamic_update_slice(array, part, (0,) * (array.ndim - 2) + tuple(corner))

    def add(array, corner, part):
        return put(array, corner, window_of(array, corner, tile) + part)

    @jax.checkpoint
    def result(corner):
        windows = [window_of(array, corner, tile + 2 * margin) for array in arrays]
        return function(*windows, corner + tile / 2)

    def body(carry, corner):
        total, weight = carry
        total = add(total, corner, jnp.expand_dims(window, range(total.ndim - 2)) * result(corner))
        return (total, add(weight, corner, window)), None

    rows, columns = jnp.meshgrid(
        jnp.arange(counts[0]) * step, jnp.arange(counts[1]) * step, indexing="ij"
    )
    corners = jnp.stack([rows.ravel(), columns.ravel()], axis=-1)
    shape = jax.eval_shape(result, corners[0])
    total = jnp.zeros((*shape.shape[:-2], *whole), shape.dtype)
    if overlap == 0:  # nothing to weigh
        total, _ = jax.lax.scan(
            lambda x, corner: (put(x, corner, result(corner)), None), total, corners
        )
        return total[..., : size[0], : size[1]]
    window = jnp.asarray(_weights(tile, overlap), shape.dtype)
    weight = jnp.zeros(whole, shape.dtype)
    (total, weight), _ = jax.lax.scan(body, (total, weight), corners)
    total = total / jnp.expand_dims(weight, range(total.ndim - 2))
    return total[..., : size[0], : size[1]]


def blended(
    part: Callable[..., np.ndarray],
    arrays: tuple[np.ndarray, ...],
    *,
    margin: int,
    tile: int,
    overlap: int,
) -> Float[np.ndarray, "*b h w c"]:
    """`over_tiles` in numpy, some tiles at a time: what `part` compiles serves any picture.

    Args:
      part: Takes the windows of `arrays`, `tile + 2 * margin` wide and high, which repeat the
        border beyond the picture, and their centre `(y, x)`; returns `... tile tile c`.
      arrays: What to cut up, `... h w c` of one height and width.
      margin: As for `over_tiles`.
      tile: Side of a tile.
      overlap: How far neighbouring tiles overlap; they are blended linearly there.
    """
    height, width = arrays[0].shape[-3:-1]
    starts = (range(0, max(1, n - overlap), tile - overlap) for n in (height, width))
    corners = list(itertools.product(*starts))
    window = _weights(tile, overlap).astype(np.float32)[..., None]

    def result(corner):
        start = corner[0] - margin, corner[1] - margin
        windows = [_window(array, start, tile + 2 * margin) for array in arrays]
        with jax.enable_x64(wide), jax.default_device(device):
            return part(*windows, np.asarray(corner, np.float32) + tile / 2)

    # What is set for a block of code is set for its thread alone.
    wide = jax.dtypes.canonicalize_dtype(np.float64) == np.float64
    device = jax.config.jax_default_device  # pyrefly: ignore[missing-attribute]
    total, weight = np.zeros(0), np.zeros((height, width, 1), np.float32)
    with ThreadPoolExecutor(budget.threads(tile + 2 * margin)) as pool:
        for (y, x), values in zip(corners, pool.map(result, corners), strict=True):
            if not total.size:
                shape = (*values.shape[:-3], height, width, values.shape[-1])
                total = np.zeros(shape, values.dtype)
            rows, columns = min(tile, height - y), min(tile, width - x)
            here = np.s_[..., y : y + rows, x : x + columns, :]
            share = window[:rows, :columns]
            total[here] += share * values[..., :rows, :columns, :]
            weight[here] += share
    total /= weight
    return total


def _window(array: np.ndarray, start: tuple[int, int], side: int) -> np.ndarray:
    """A square of `... h w c` that repeats the border where it lies beyond it."""
    inside, beyond = [slice(0, n) for n in array.shape], [(0, 0)] * array.ndim
    for axis, first in zip((-3, -2), start, strict=True):
        inside[axis] = slice(max(0, first), first + side)
        beyond[axis] = max(0, -first), max(0, first + side - array.shape[axis])
    return np.pad(array[tuple(inside)], beyond, mode="edge")


def _weights(tile: int, overlap: int) -> Float[np.ndarray, "t t"]:
    """What a place in a tile counts for: less towards its rim, where others overlap it."""
    rise = np.minimum(1, (np.arange(tile) + 1) / (overlap + 1))
    ramp = np.minimum(rise, rise[::-1])
    return ramp[:, None] * ramp[None, :]


def extend(array: Array, margin: int, *, size: tuple[int, int] | None = None) -> Array:
    """Repeats the border of `... h w` by `margin`, and further on the right to a size without it.

    Repeating was measured better than mirroring, which doubles the lights near the border, and than
    smooth filling.
    """
    height, width = array.shape[-2:]
    size = size or (height, width)
    border = [(0, 0)] * (array.ndim - 2)
    border += [(margin, margin + size[0] - height), (margin, margin + size[1] - width)]
    return jnp.pad(array, border, mode="edge")
