"""Brings a small or coarse map of disparity to its photograph's size and outlines.

Depth networks and phones give maps of a few hundred pixels a side. Enlarged smoothly, an edge of
such a map becomes a ramp of surfaces that are not there, each blurred by another amount. `refine`
doubles the map step by step. Near an edge every new pixel belongs to the near or to the far side,
and three things tell to which:

- its colour: a vote of the 5x5 small pixels around it, by likeness of colour and by distance, as
  in joint bilateral upsampling (Kopf et al., SIGGRAPH 2007). Small pixels on the edge, which hold
  both sides, have little to say;
- the small map itself: a small pixel at 0.3 of the way from far to near is near in 0.3 of its
  area, so the votes inside it are shifted until as many win (a part of the shift is taken: maps
  are seldom exact averages);
- a slope is no edge: where the map rises evenly it is enlarged smoothly.

At the photograph's size all pixels near an edge vote once more, now that none of them holds both
sides.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int, Real, Shaped

from d2f_jax.render import arrays, edges
from d2f_jax.render.edges import AnyArray, numbers_of

TILE = 64
"""Side of the tiles that are enlarged one after the other [px]; those without an edge cost little,
and one compilation serves all pictures."""

_REACH = 2  # small pixels on each side that vote
_ALIKE = 0.06  # deviation of their weight by colour (sRGB in [0, 1])
_EDGE = 0.05  # share of the map's range of an edge that begins at `edges.SMALL`
_HALO = 2  # pixels around a tile
_BISECTIONS, _LARGEST_SHIFT, _STEEPNESS = 6, 3.0, 4.0


class _Vote(NamedTuple):
    """How pixels vote; chosen on cast scenes of the training material.

    Attributes:
      nearby: Deviation of a vote's weight by distance [small pixels].
      shifted: Part of the shift that is taken.
    """

    nearby: float
    shifted: float


_ENLARGING, _ONCE_MORE = _Vote(1.0, 0.75), _Vote(1.5, 0.25)


def refine(
    disparity: Real[AnyArray, "p q"],
    image: Shaped[AnyArray, "h w 3"],
    *,
    coarser: int | None = None,
) -> Float[Array, "h w"]:
    """Enlarges a map guided by the colours of its photograph.

    In a map of the photograph's size that is as sharp as its size allows nothing changes but
    pixels on edges that hold a bit of both sides: each goes to one. Concrete arrays are taken in
    small tiles; under `jit` all is one piece.
    Differentiable in the disparity but for the choice of sides; for batches use `jax.vmap`.

    Args:
      disparity: Inverse depth on any affine scale, finite; at the photograph's size or smaller.
      image: All-in-focus image, sRGB-encoded in [0, 1], or unsigned integers.
      coarser: How often the map is halved first, because it is less sharp than its size; None
        looks (`edges.coarseness`), which takes a concrete map.

    Returns:
      The map at the photograph's size, in its own unit.

    Raises:
      ValueError: for other shapes, a map larger than the photograph, values that are not finite,
        or a traced map without `coarser`.
    """
    arrays.check_image(image)
    arrays.check_numbers(disparity, "disparity")
    size = jnp.shape(image)[:2]
    if jnp.ndim(image) != 3 or jnp.ndim(disparity) != 2 or 0 in jnp.shape(disparity):
        raise ValueError(
            "refine takes a map 'p q' and an image 'h w 3' (jax.vmap for more), got "
            f"{jnp.shape(disparity)} and {jnp.shape(image)}"
        )
    if any(m > n for m, n in zip(jnp.shape(disparity), size, strict=True)):
        raise ValueError(f"a map of {jnp.shape(disparity)} is larger than its image, {size}")
    arrays.check_range(disparity, "disparity")
    if coarser is None:
        if isinstance(disparity, jax.core.Tracer):
            raise ValueError("under jit, vmap and grad, refine needs `coarser` (0 for most maps)")
        coarser = edges.coarseness(np.asarray(disparity))
    values: AnyArray = arrays.raised(jnp.asarray(disparity))
    guide: AnyArray = arrays.scaled(jnp.asarray(image)).astype(values.dtype)
    if not any(isinstance(array, jax.core.Tracer) for array in (values, guide)):
        values, guide = np.asarray(values), np.asarray(guide)
    for _ in range(coarser):
        p, q = values.shape
        values = _averaged(values[..., None], (-(-p // 2), -(-q // 2)))[..., 0]
    guides = [guide]
    while guides[-1].shape[:2] != values.shape:
        halves = [-(-n // 2) for n in guides[-1].shape[:2]]
        guides.append(_averaged(guides[-1], tuple(map(max, halves, values.shape))))
    low, high = _extremes(values)
    scaled = (values - low) / (high - low)
    if values.shape == size:
        mixed = edges.mixed(scaled)
        chosen = _enlarged(scaled, guide, guide, _ONCE_MORE, mixed) * (high - low) + low
        return jnp.asarray(numbers_of(values).where(mixed, chosen, values))
    for small, large in zip(guides[:0:-1], guides[-2::-1], strict=True):
        scaled = _enlarged(scaled, small, large, _ENLARGING)
    scaled = _enlarged(scaled, guide, guide, _ONCE_MORE)
    return jnp.asarray(scaled * (high - low) + low)


def _extremes(disparity: Float[AnyArray, "p q"]) -> tuple[AnyArray, AnyArray]:
    """The range without the outermost half per cent at either end, if that is a range."""
    numbers = numbers_of(disparity)
    low, high = numbers.percentile(disparity, np.asarray([0.5, 99.5], disparity.dtype))
    low = numbers.where(high > low, low, disparity.min())
    high = numbers.where(high > low, high, disparity.max())
    return low, numbers.where(high > low, high, low + 1)


def _averaged(image: Float[AnyArray, "h w c"], size: tuple[int, int]) -> Float[AnyArray, "p q c"]:
    """Means over the pixels of each cell of a smaller size, at least half of the given one."""
    for axis, n in enumerate(size):
        cell = np.floor((np.arange(image.shape[axis]) + 0.5) * n / image.shape[axis])
        first = np.searchsorted(cell, np.arange(n))
        last = np.searchsorted(cell, np.arange(n), side="right") - 1
        image = image.swapaxes(0, axis)
        image = ((image[first] + image[last]) / 2).swapaxes(0, axis)
    return image


class _Lines(NamedTuple):
    """Rows (or columns) of a tile, with `_HALO` more on either side.

    Attributes:
      large: Their places in the large picture, cut to it.
      cell: The small rows that they lie in, counted from the first of `small`.
      offset: How far their centres lie from that row's [small px].
      small: Places of the small rows, cut to the map.
    """

    large: Int[np.ndarray, "m"]
    cell: Int[np.ndarray, "m"]
    offset: Float[np.ndarray, "m"]
    small: Int[np.ndarray, "n"]


def _lines(start: int, count: int, large: int, small: int) -> _Lines:
    places = np.arange(start - _HALO, start + count + _HALO)
    position = (places + 0.5) * small / large
    cell = np.floor(position).astype(int)
    first = cell[0] - _REACH
    reached = first + np.arange(count + 2 * _HALO + 2 * _REACH)
    return _Lines(
        np.clip(places, 0, large - 1),
        cell - first,
        (position - 0.5 - cell).astype(np.float32),
        np.clip(reached, 0, small - 1),
    )


def _enlarged(
    disparity: Float[AnyArray, "p q"],
    small: Float[AnyArray, "p q 3"],
    large: Float[AnyArray, "h w 3"],
    vote: _Vote,
    wanted: Bool[AnyArray, "p q"] | None = None,
) -> Float[AnyArray, "h w"]:
    """One step to at most twice the size; tiles without any that is wanted come out smooth.

    If nothing is said, edges are wanted.
    """
    height, width, _ = large.shape
    steps = edges.steps(disparity)
    wanted = steps > edges.SMALL if wanted is None else wanted

    def tile(top: int, left: int, rows: int, columns: int) -> Array:
        y = _lines(top, rows, height, len(disparity))
        x = _lines(left, columns, width, disparity.shape[1])
        return _tile(
            _cut(disparity, y.small, x.small),
            _cut(steps, y.small, x.small),
            _cut(small, y.small, x.small),
            _cut(large, y.large, x.large),
            (y.cell, x.cell),
            (y.offset, x.offset),
            vote,
        )

    if not isinstance(disparity, np.ndarray):
        return tile(0, 0, height, width)
    result = _linear(disparity, (height, width))
    for top in range(0, height, TILE):
        rows = _below(top, height, len(wanted))
        for left in range(0, width, TILE):
            if wanted[rows, _below(left, width, wanted.shape[1])].any():
                part = result[top : top + TILE, left : left + TILE]
                part[...] = np.asarray(tile(top, left, TILE, TILE))[: len(part), : part.shape[1]]
    return result


def _below(start: int, large: int, small: int) -> slice:
    """The small rows that the rows of a tile lie in."""
    return slice(start * small // large, -(-(start + TILE) * small // large))


def _linear(disparity: Float[np.ndarray, "p q"], size: tuple[int, int]) -> np.ndarray:
    """Bilinear, as `_tile` has it away from edges."""
    for n in size:
        place = (np.arange(n, dtype=np.float32) + 0.5) * len(disparity) / n - 0.5
        place = np.clip(place, 0, len(disparity) - 1)
        above = np.minimum(place.astype(int), max(0, len(disparity) - 2))
        part = (place - above)[:, None].astype(disparity.dtype)
        below = np.minimum(above + 1, len(disparity) - 1)
        disparity = (disparity[above] * (1 - part) + disparity[below] * part).T
    return np.ascontiguousarray(disparity)


def _cut(array: AnyArray, rows: AnyArray, columns: AnyArray) -> Any:
    return array[rows][:, columns]


@jax.jit
def _tile(
    disparity: Float[Array, "p q"],
    steps: Float[Array, "p q"],
    small: Float[Array, "p q 3"],
    large: Float[Array, "h w 3"],
    cells: tuple[Int[Array, "h"], Int[Array, "w"]],
    offsets: tuple[Float[Array, "h"], Float[Array, "w"]],
    vote: _Vote,
) -> Float[Array, "h-4 w-4"]:
    """Enlarges a tile; pixels around it complete what its border cuts."""

    def spread(plane: AnyArray, dy: Array | int = 0, dx: Array | int = 0) -> Array:
        return _cut(plane, cells[0] + dy, cells[1] + dx)

    far = spread(-edges.most(-disparity, 1))
    contrast = jnp.maximum(spread(edges.span(disparity, 1)), 1e-6)

    def voted(sums: tuple[Array, ...], tap: tuple[Array, Array]) -> tuple[tuple[Array, ...], None]:
        dy, dx = tap
        there, colour = spread(disparity, dy, dx), spread(small, dy, dx)
        share = jnp.clip((there - far) / contrast, 0, 1)
        y, x = (dy - offsets[0])[:, None], (dx - offsets[1])[None]
        close = jnp.exp(-(y**2) / (2 * vote.nearby**2)) * jnp.exp(-(x**2) / (2 * vote.nearby**2))
        alike = jnp.exp(-((large - colour) ** 2).sum(-1) / (2 * _ALIKE**2))
        weight = close * (alike + 1e-4) * (1 - 4 * share * (1 - share) + 1e-3)
        as_near, as_far = close * (1e-6 + share**4), close * (1e-6 + (1 - share) ** 4)
        linear = jnp.maximum(0, 1 - abs(y)) * jnp.maximum(0, 1 - abs(x)) * there
        near_and_far = (as_near * there, as_near, as_far * there, as_far)
        return tuple(map(jnp.add, sums, (weight * share, weight, *near_and_far, linear))), None

    reach = jnp.arange(-_REACH, _REACH + 1)
    taps = jnp.repeat(reach, len(reach)), jnp.tile(reach, len(reach))
    start = (jnp.zeros(large.shape[:2], disparity.dtype),) * 7
    (near_votes, votes, nearer, nearer_weight, farther, farther_weight, linear), _ = lax.scan(
        voted, start, taps
    )
    chance = near_votes / votes
    chance = jnp.log(chance + 1e-4) - jnp.log(1 - chance + 1e-4)
    share = jnp.clip((spread(disparity) - far) / contrast, 0, 1)
    side = chance + vote.shifted * lax.stop_gradient(_shift(chance, share, cells))
    side = _shared(side, large)
    chosen = jnp.where(side > 0, nearer / nearer_weight, farther / farther_weight)
    edge = jnp.clip((spread(steps) - edges.SMALL) / (_EDGE - edges.SMALL), 0, 1)
    return (linear + (chosen - linear) * edge)[_HALO:-_HALO, _HALO:-_HALO]


def _shared(side: Float[Array, "h w"], image: Float[Array, "h w 3"]) -> Float[Array, "h w"]:
    """What pixels and their neighbours of like colour think together, so that no dots are left."""
    sums = weights = jnp.zeros_like(side)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            there, colour = (jnp.roll(plane, (dy, dx), (0, 1)) for plane in (side, image))
            alike = jnp.exp(-((image - colour) ** 2).sum(-1) / (2 * _ALIKE**2))
            weight = alike / 2 ** (abs(dy) + abs(dx))
            sums, weights = sums + weight * there, weights + weight
    return sums / weights


def _shift(
    chance: Float[Array, "h w"],
    share: Float[Array, "h w"],
    cells: tuple[Int[Array, "h"], Int[Array, "w"]],
) -> Float[Array, "h w"]:
    """What, added to all votes of a small pixel, makes the share of it that is near right."""

    def halved(bounds: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        low, high = bounds
        middle = (low + high) / 2
        reached = jax.nn.sigmoid(_STEEPNESS * (chance + middle))
        reached = _cell_mean(_cell_mean(reached, cells[0]).T, cells[1]).T
        more = reached < share
        return (jnp.where(more, middle, low), jnp.where(more, high, middle)), None

    bounds = jnp.full_like(chance, -_LARGEST_SHIFT), jnp.full_like(chance, _LARGEST_SHIFT)
    (low, high), _ = lax.scan(halved, bounds, length=_BISECTIONS)
    return (low + high) / 2


def _cell_mean(values: Float[Array, "h w"], cell: Int[Array, "h"]) -> Float[Array, "h w"]:
    """Means over the rows of each small row, which has at most two."""
    other = (
        jnp.where(cell == jnp.roll(cell, 1), -1, jnp.where(cell == jnp.roll(cell, -1), 1, 0))
        .at[jnp.asarray([0, -1])]
        .set(0)
    )
    return (values + jnp.take(values, jnp.arange(len(cell)) + other, axis=0)) / 2
