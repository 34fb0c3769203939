"""Depth of any kind becomes disparity: units, what was not measured, and how a map lies.

Maps are `h w`. Everything here is plain numpy and concrete.
"""

from typing import NamedTuple, get_args

import numpy as np
from jaxtyping import Float, Real, Shaped

from d2f_jax.photo import exif
from d2f_jax.photo.settings import Convention

MAX_DISTORTION = 0.02
"""Relative difference in aspect ratio above which a map is not one of the photograph."""


METRIC: tuple[Convention, ...] = ("inverse_depth", "metres", "millimetres")
"""Conventions whose maps become disparity in 1/m."""


class DepthMap(NamedTuple):
    """A map as it was stored.

    Attributes:
      values: Integers of pictures as [0, 1], other numbers as they are. What was not measured may
        be NaN, infinite or, in distances, 0.
      convention: What the values are, if the file says so.
      levels: What integers were divided by: 65535 for pictures of 16 bits, 1 for other numbers.
      name: What the file calls it, if that is no convention.
    """

    values: Float[np.ndarray, "h w"]
    convention: Convention | None = None
    levels: int = 1
    name: str = ""


class DisparityOutput(NamedTuple):
    """A disparity map, greater = nearer, and what there is to say about it.

    Attributes:
      disparity: The map, finite everywhere.
      notice: What a person should be told about it, or None.
      holes: How many pixels were not measured, and are filled.
      metric: Whether it is in 1/m; else it is on any affine scale.
    """

    disparity: Float[np.ndarray, "h w"]
    notice: str | None = None
    holes: int = 0
    metric: bool = False


def to_disparity(depth: Real[np.ndarray, "h w"], convention: Convention) -> DisparityOutput:
    """Turns a depth map of a named kind into disparity, greater = nearer.

    Args:
      depth: The map. Infinite distances are infinitely far. What was not measured is filled by
        `fill_holes`: NaN, in inverse depth also infinite values, in metres and millimetres also
        those that are not positive.
      convention: "disparity": any affine scale of inverse depth, as MiDaS and Depth Anything give
        it; "inverse_depth": the same in 1/m, 0 is infinitely far; "metres" and "millimetres":
        distance along the optical axis; "near_is_dark": a picture of disparity that is dark where
        it is near.

    Returns:
      The map (in 1/m for "inverse_depth", "metres" and "millimetres"), and a notice if it is
      constant, or if it is nearer at the top than at the bottom, which in photographs mostly means
      that it is inverted.

    Raises:
      ValueError: for an unknown convention, or a map of which more than half was not measured.
    """
    if convention not in get_args(Convention):
        raise ValueError(
            f"a depth convention is one of {', '.join(get_args(Convention))}, got {convention!r}"
        )
    depth = np.asarray(depth, np.float32)
    if depth.ndim != 2 or not depth.size:
        raise ValueError(f"a depth map is one plane 'h w', got {depth.shape}")
    with np.errstate(all="ignore"):  # what overflows is a hole
        if convention in ("metres", "millimetres"):
            disparity = (1 if convention == "metres" else 1000) / np.where(depth > 0, depth, np.nan)
        elif convention == "near_is_dark":
            top = depth[np.isfinite(depth)].max(initial=-np.inf)
            disparity = top - np.where(depth == np.inf, top, depth)
        else:
            disparity = depth
    filled = fill_holes(disparity.astype(np.float32))
    holes = int((~np.isfinite(disparity)).sum())
    return DisparityOutput(filled, notice_about(filled), holes, convention in METRIC)


def fill_holes(disparity: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Fills pixels that are NaN or infinite from their row.

    A hole takes the farther one of its two neighbours, as what a stereo camera cannot measure is
    mostly background that the other eye does not see. Rows of holes take the row above (or below).

    Raises:
      ValueError: if more than half of the pixels are holes.
    """
    holes = ~np.isfinite(disparity)
    if not holes.any():
        return disparity
    if 2 * holes.sum() > holes.size:
        raise ValueError(
            f"{holes.mean():.0%} of the map has no measurement (NaN, infinite, or a distance of 0);"
            " half may"
        )
    left, right = _carried(disparity, ~holes), _carried(disparity[:, ::-1], ~holes[:, ::-1])
    filled = np.where(holes, np.fmin(left, right[:, ::-1]), disparity).T
    for _ in range(2):  # downwards, then upwards
        filled = _carried(filled, np.isfinite(filled))[:, ::-1]
    return np.ascontiguousarray(filled.T)


def without_steps(values: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Smooths the steps of a map of 8 bits, which would be rendered as steps in depth.

    The result is a smooth map that stays within two levels of the given one, so that edges stay
    where they are: averages over ever smaller squares, each cut to those bounds. Maps of other
    numbers, with holes, or of few levels (cut-outs) come back as they are.
    """
    few = np.unique(values[:: 1 + len(values) // 128])  # most maps have more levels than 8 bits
    if len(few) > 256 or not np.isfinite(values).all():
        return values
    levels = np.unique(values)
    step = np.diff(levels).min(initial=np.inf)
    if not 60 < (levels[-1] - levels[0]) / step < 256:
        return values
    low, high, smooth = values - 2 * step, values + 2 * step, values
    for radius in (32, 16, 8, 4, 2, 1, 1):
        smooth = np.clip(_averaged(smooth, radius), low, high)
    return smooth


def _averaged(values: np.ndarray, radius: int) -> np.ndarray:
    """Averages over squares of `2 radius + 1` pixels; beyond the border slopes go on."""
    for axis in (0, 1):
        reach = min(radius, values.shape[axis] - 1)
        border = [(0, 0), (0, 0)]
        border[axis] = (reach, reach)
        values = np.pad(values, border, mode="reflect", reflect_type="odd")
        border[axis] = (1, 0)
        sums = np.cumsum(np.pad(values, border), axis=axis, dtype=np.float64)
        behind, ahead = (
            np.take(sums, np.arange(start, start + values.shape[axis] - 2 * reach), axis=axis)
            for start in (0, 2 * reach + 1)
        )
        values = ((ahead - behind) / (2 * reach + 1)).astype(np.float32)
    return values


def notice_about(disparity: Float[np.ndarray, "h w"]) -> str | None:
    """Says what looks wrong with a disparity map, in one sentence; None if nothing does."""
    low, high = np.quantile(disparity, [0.01, 0.99])
    if disparity.max() - disparity.min() <= 1e-6 * max(1.0, abs(float(disparity.max()))):
        return "the depth map is constant: nothing is nearer or farther"
    quarter = max(1, disparity.shape[0] // 4)
    top, bottom = np.median(disparity[:quarter]), np.median(disparity[-quarter:])
    if top - bottom > 0.3 * (high - low) > 0:
        return (
            "the depth map is nearer at the top than at the bottom: if near and far are swapped, "
            "name another --convention (disparity, near_is_dark, metres)"
        )
    return None


class Placed(NamedTuple):
    """An upright map or picture, and whether it could have been meant to lie another way."""

    pixels: Shaped[np.ndarray, "h w ..."]
    ambiguous: bool


def placed(
    pixels: Shaped[np.ndarray, "p q ..."],
    size: tuple[int, int],
    orientation: int,
    *,
    like_sensor: bool,
) -> Placed:
    """Turns a map as its photograph was turned, if it lies as the sensor saw the scene.

    Its shape decides. Where it fits both ways, upside down or square, `like_sensor` does.

    Args:
      pixels: Map or picture, at any size.
      size: Height and width of the upright photograph.
      orientation: Its orientation tag, 1 to 8.
      like_sensor: Whether it is more likely to lie as the sensor saw it than upright.

    Returns:
      The map, upright.

    Raises:
      ValueError: if its aspect ratio is another by more than `MAX_DISTORTION`.
    """
    ways = [pixels, exif.upright(pixels, orientation)]
    if like_sensor:
        ways.reverse()
    off = [_distortion(way.shape[:2], size) for way in ways]
    rows, columns = pixels.shape[:2]
    rounding = 1 / min(rows, columns)  # a pixel of a small map is more than the limit
    if min(off) > max(MAX_DISTORTION, rounding):
        swapped = _distortion((columns, rows), size) <= MAX_DISTORTION
        hint = "its sides are swapped, turn it like the photograph"
        hint = hint if swapped else "give one of the whole photograph"
        raise ValueError(
            f"{columns}x{rows} pixels have another aspect ratio than the photograph's "
            f"{size[1]}x{size[0]}; {hint}"
        )
    ambiguous = orientation != 1 and off[0] == off[1]
    return Placed(ways[int(off[1] < off[0])], ambiguous)


def _distortion(shape: tuple[int, ...], size: tuple[int, int]) -> float:
    ratio = shape[0] * size[1] / (shape[1] * size[0])
    return max(ratio, 1 / ratio) - 1


def _carried(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Carries every known value to the right until the next one; NaN before the first."""
    places = np.where(known, np.arange(values.shape[1]), -1)
    places = np.maximum.accumulate(places, axis=1)
    carried = np.take_along_axis(values, np.maximum(places, 0), axis=1)
    return np.where(places >= 0, carried, np.nan).astype(np.float32)
