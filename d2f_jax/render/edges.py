"""Where a map of disparity has edges, how high they are, and how sharp."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

AnyArray = Array | np.ndarray  # what is concrete stays in numpy, for which nothing is compiled

SMALL = 0.02  # share of the map's range where an edge begins
_LEAST_SIDE = 32  # a map is not taken for coarser than this [px]
_STEEP = 0.9  # sharpness below which a map may be coarser than its size
_STEEPER = 0.1  # what it gains when halved, if it is
_MIXED = 0.1  # how far a mixed pixel is from both sides, as a share of the edge
_ALONE = 0.1  # and from its neighbours
_BAND = 2**22  # pixels of a map in numpy that are looked at together, which bounds memory
_MARGIN = 6  # rows around them, more than an edge reaches


def coarseness(disparity: Float[np.ndarray, "p q"]) -> int:
    """How often a map can be halved before its edges are as sharp as its pixels.

    At the steepest place of an edge, a map as sharp as its size takes nearly all of the step
    between two neighbours (or three, for averages). One that was enlarged or smoothed needs more of
    them, and fewer once it is halved; round things, which stay as they are, do not count.
    """
    disparity, halvings = np.asarray(disparity, np.float32), 0
    reached = sharpness(disparity)
    while min(disparity.shape) >= 2 * _LEAST_SIDE and reached < _STEEP:
        p, q = disparity.shape
        even = np.pad(disparity, ((0, p % 2), (0, q % 2)), mode="edge")
        disparity = even.reshape(len(even) // 2, 2, -1, 2).mean(axis=(1, 3))
        before, reached = reached, sharpness(disparity)
        if reached < before + _STEEPER:
            break
        halvings += 1
    return halvings


def sharpness(disparity: Float[np.ndarray, "p q"]) -> float:
    """Share of the larger steps within 5x5 pixels that the middle 3x3 span; 1 without any."""
    rows = max(64, _BAND // disparity.shape[1])
    range_, reached, total = np.ptp(disparity), 0.0, 0.0
    for start in range(0, len(disparity), rows):
        band = disparity[max(0, start - 2) : start + rows + 2]
        near, wide = span(band, 1), span(band, 2)
        weight = wide * ((near >= most(near, 2)) & (wide > 0.1 * range_))
        reached += float((weight * near / np.maximum(wide, 1e-30)).sum())
        total += float(weight.sum())
    return reached / total if total else 1.0


def steps(disparity: Float[AnyArray, "p q"]) -> Float[AnyArray, "p q"]:
    """How high an edge there is within 3x3 pixels; an even slope is none."""
    rows = max(64, _BAND // disparity.shape[1])
    if not isinstance(disparity, np.ndarray) or len(disparity) <= rows:
        return _steps(disparity)
    result = np.empty_like(disparity)
    for start in range(0, len(disparity), rows):
        first = max(0, start - _MARGIN)
        found = _steps(disparity[first : start + rows + _MARGIN])
        result[start : start + rows] = found[start - first :][:rows]
    return result


def _steps(disparity: Float[AnyArray, "p q"]) -> Float[AnyArray, "p q"]:
    reach = [(0 if n == 1 else 3) for n in disparity.shape]
    slope = {"mode": "reflect", "reflect_type": "odd"}  # a slope goes on beyond the border
    disparity = numbers_of(disparity).pad(disparity, [(n, n) for n in reach], **slope)
    near, wide = span(disparity, 1), span(disparity, 2)
    # For a step both are the same, on an even slope the wider is twice the other. Beside the middle
    # of an edge the narrow one is smaller, too, therefore the largest of the neighbours.
    found = numbers_of(near).minimum(most(2 * near - wide, 1), near)
    return found[tuple(slice(n, len_ - n) for n, len_ in zip(reach, found.shape, strict=True))]


def span(values: Float[AnyArray, "p q"], reach: int) -> Float[AnyArray, "p q"]:
    """How far values differ within `reach` rows and columns."""
    return most(values, reach) + most(-values, reach)


def most(values: Float[AnyArray, "p q"], reach: int) -> Float[AnyArray, "p q"]:
    """The largest value within `reach` rows and columns."""
    numbers = numbers_of(values)
    for _ in range(2):
        padded = numbers.pad(values, ((reach, reach), (0, 0)), mode="edge")
        rows = [padded[k : k + len(values)] for k in range(2 * reach + 1)]
        values = functools.reduce(numbers.maximum, rows).T
    return values


def mixed(disparity: Float[AnyArray, "p q"]) -> Bool[AnyArray, "p q"]:
    """Pixels on an edge that hold a bit of both sides, of which a renderer would make surfaces.

    They lie well between the two, and in no 2x2 pixels of about their own value.
    """
    numbers = numbers_of(disparity)
    far, contrast = -most(-disparity, 1), span(disparity, 1)
    share = (disparity - far) / numbers.maximum(contrast, 1e-6)
    between = (steps(disparity) > SMALL) & (share > _MIXED) & (share < 1 - _MIXED)
    corner = disparity[:-1, :-1], disparity[1:, :-1], disparity[:-1, 1:], disparity[1:, 1:]
    spans = functools.reduce(numbers.maximum, corner) - functools.reduce(numbers.minimum, corner)
    alone = numbers.pad(spans, ((1, 1), (1, 1)), constant_values=np.inf)
    corner = alone[:-1, :-1], alone[1:, :-1], alone[:-1, 1:], alone[1:, 1:]
    return between & (functools.reduce(numbers.minimum, corner) > _ALONE * contrast)


def numbers_of(array: AnyArray) -> Any:
    """The module whose functions suit an array."""
    return np if isinstance(array, np.ndarray) else jnp
