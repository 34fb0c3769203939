"""Fills what is unknown from what is known around it: a push-pull pyramid with a mean on its top.

Planes are channels-first (`... c h w`). The filling is linear in the planes, so that it passes
gradients, and takes a few passes over the picture whatever the size of the holes (Gortler et al.,
The Lumigraph, 1996, Sec. 3.4). Five halvings on, the rest is filled at once by means that fade with
the distance (Shepard, 1968), as each level more costs compilation.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from d2f_jax.types import Extent, Scalar

_SMALLEST = 1e-12  # weights below are no knowledge
_LEVELS = 5  # halvings until the rest is filled at once; of all sizes alike, as some share canvases
_WIDTHS = tuple(0.75 * 2.0**k for k in range(9))  # of Gaussians, which know no direction
_SHARES = tuple(2.0 ** (-4 * k) for k in range(9))  # together they fall with distance**4
_SMALL = 256  # longer side of planes that are halved and doubled by matrices [px]


def push_pull(
    planes: Float[Array, "*b c h w"],
    weight: Float[Array, "*b h w"],
    extent: Extent | None = None,
) -> Float[Array, "*b c h w"]:
    """Completes premultiplied planes where their weight falls below 1.

    Args:
      planes: Values multiplied by their weight.
      weight: How much of each pixel is known, in [0, 1].
      extent: Where the picture ends in the planes; what lies beyond changes nothing. None: it fills
        them.

    Returns:
      Planes of weight 1: as they were where `weight` is 1, elsewhere topped up with the mean of the
      nearest known surroundings, the wider the farther away they are. All zero if nothing is known.
    """
    return _filled(planes, weight, extent, _LEVELS)


def _filled(planes: Array, weight: Array, extent: Extent | None, levels: int) -> Array:
    height, width = weight.shape[-2:]
    if levels == 0:
        rows, columns = extent or (height, width)
        rows, columns = _nearness(height, rows), _nearness(width, columns)

        def near(planes: Array) -> Array:
            shares = jnp.asarray(_SHARES)[:, None, None] * rows
            matrices = shares.astype(planes.dtype), columns.astype(planes.dtype)
            product = "sph,...hw,sqw->...pq"
            return jnp.einsum(product, matrices[0], planes, matrices[1], precision="highest")

        filled = near(planes) / jnp.maximum(near(weight), _SMALLEST**2)[..., None, :, :]
        return planes + (1 - weight)[..., None, :, :] * filled
    coarse_weight = halve(weight, extent)
    # One known pixel of the four is enough to know their mean.
    gain = jnp.minimum(1.0, 4 * coarse_weight) / jnp.maximum(coarse_weight, _SMALLEST)
    coarse_extent = extent and ((extent[0] + 1) // 2, (extent[1] + 1) // 2)
    coarse = halve(planes, extent) * gain[..., None, :, :]
    coarse = _filled(coarse, coarse_weight * gain, coarse_extent, levels - 1)
    filled = double(coarse, (height, width), coarse_extent)
    return planes + (1 - weight)[..., None, :, :] * filled


def halve(planes: Float[Array, "*b h w"], extent: Extent | None = None) -> Float[Array, "*b p q"]:
    """Averages blocks of 2x2 pixels; an odd last row or column (of the extent) is repeated."""
    height, width = planes.shape[-2:]
    if max(height, width) <= _SMALL:
        rows, columns = extent or (height, width)
        return _product(_halving(height, rows), planes, _halving(width, columns))
    planes = _repeated(planes, extent)
    border = [(0, 0)] * (planes.ndim - 2) + [(0, height % 2), (0, width % 2)]
    planes = jnp.pad(planes, border, mode="edge")
    rows = planes[..., ::2, :] + planes[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def shrink(planes: Float[Array, "*b h w"], halvings: int) -> Float[Array, "*b p q"]:
    """`halve` some times, in fewer passes: averages whole blocks, sides of `2**halvings` pixels.

    Height and width are multiples of that.
    """
    while halvings:
        step = min(halvings, 3)  # more at once is slow to compile
        block = 2**step
        *batch, height, width = planes.shape
        planes = planes.reshape(*batch, height // block, block, width)
        planes = functools.reduce(jnp.add, [planes[..., n, :] for n in range(block)])
        planes = planes.reshape(*planes.shape[:-1], width // block, block)
        planes = functools.reduce(jnp.add, [planes[..., n] for n in range(block)])
        planes, halvings = planes / block**2, halvings - step
    return planes


def double(
    planes: Float[Array, "*b p q"], size: tuple[int, int], extent: Extent | None = None
) -> Float[Array, "*b h w"]:
    """Undoes `halve` by linear interpolation between the centres of the blocks, cut to `size`.

    Args:
      planes: The smaller planes.
      size: Height and width of the larger ones, not more than twice of the smaller.
      extent: Where the picture ends in the smaller planes.
    """
    height, width = planes.shape[-2:]
    if max(size) <= _SMALL:
        rows, columns = extent or (height, width)
        return _product(
            _doubling(size[0], height, rows), planes, _doubling(size[1], width, columns)
        )
    planes = _repeated(planes, extent)
    for axis in (planes.ndim - 1, planes.ndim - 2):
        count = planes.shape[axis]
        cut = functools.partial(jax.lax.slice_in_dim, planes, axis=axis)
        before = jnp.concatenate([cut(0, 1), cut(0, count - 1)], axis)
        after = jnp.concatenate([cut(1, count), cut(count - 1, count)], axis)
        pair = jnp.stack([0.75 * planes + 0.25 * before, 0.75 * planes + 0.25 * after], axis + 1)
        planes = pair.reshape(*planes.shape[:axis], 2 * count, *planes.shape[axis + 1 :])
    return planes[..., : size[0], : size[1]]


def local_maximum(plane: Float[Array, "*b h w"], reach: int = 2) -> Float[Array, "*b h w"]:
    """Largest value of the pixels around each one, `reach` of them on every side."""
    for axis in (plane.ndim - 2, plane.ndim - 1):
        window = [2 * reach + 1 if n == axis else 1 for n in range(plane.ndim)]
        strides = (1,) * plane.ndim
        plane = jax.lax.reduce_window(plane, -jnp.inf, jax.lax.max, window, strides, "SAME")
    return plane


def _repeated(planes: Array, extent: Extent | None) -> Array:
    """Repeats the last row and column of the extent once, as the border of smaller planes is."""
    if extent is None:
        return planes
    for axis, end in zip((-2, -1), extent, strict=True):
        last = jax.lax.dynamic_index_in_dim(planes, end - 1, axis)
        planes = jax.lax.dynamic_update_index_in_dim(planes, last, end, axis)
    return planes


def _product(rows: Array, planes: Array, columns: Array) -> Array:
    """Small planes are faster to compile, and no slower to run, as products of matrices."""
    rows, columns = rows.astype(planes.dtype), columns.astype(planes.dtype)
    return jnp.einsum("ph,...hw,qw->...pq", rows, planes, columns, precision="highest")


def _halving(count: int, end: Scalar) -> Array:
    """Matrix that averages pairs of `count` values, of which `end` count."""
    first = 2 * jnp.arange((count + 1) // 2)
    pair = [_one_hot(jnp.minimum(first + i, end - 1), count) for i in (0, 1)]
    return (pair[0] + pair[1]) / 2


def _doubling(size: int, count: int, end: Scalar) -> Array:
    """Matrix that interpolates `size` values from `count`, of which `end` count."""
    nearest = jnp.arange(size) // 2
    next_ = jnp.clip(nearest + jnp.where(jnp.arange(size) % 2, 1, -1), 0, end - 1)
    return 0.75 * _one_hot(jnp.minimum(nearest, end - 1), count) + 0.25 * _one_hot(next_, count)


def _nearness(count: int, end: Scalar) -> Array:
    """Matrices, one for each of `_WIDTHS`, that add up `count` values of which `end` count."""
    place = jnp.arange(count)
    squares = (place[:, None] - place[None, :]) ** 2
    near = jnp.exp(-0.5 * squares[None] / jnp.asarray(_WIDTHS)[:, None, None] ** 2)
    return jnp.where((place < end)[None, None], near, 0.0)


def _one_hot(places: Array, count: int) -> Array:
    return (places[:, None] == jnp.arange(count)[None, :]).astype(float)
