"""Focus that people can name, and the thin lens.

Maps are `h w`. Everything here is plain numpy and concrete: it turns what a person says into the
numbers `focus` and `blur` of `render.lens_blur`. Positions are pixels from the left (x) and the top
(y).
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Real


class Point(NamedTuple):
    """A place in the upright photograph, in whole pixels from its left and upper border."""

    x: int
    y: int


class Box(NamedTuple):
    """A part of the upright photograph [px]; the right and bottom edges are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


class Distance(NamedTuple):
    """A distance from the camera [m], for maps in 1/m."""

    metres: float


Focus = float | Point | Box | Distance | Literal["auto", "nearest"]
"""What is sharp: a value of the map, a place in the picture, a distance, or a rule."""


def at_pixel(disparity: Real[np.ndarray, "h w"], x: int, y: int) -> float:
    """Focus on a point: the median of the 3x3 pixels around it, of those inside the map.

    Raises:
      ValueError: for parts of pixels, or if the point lies outside the map.
    """
    x, y = inside(Point(x, y), disparity.shape)
    return float(np.median(disparity[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]))


def in_mask(disparity: Real[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> float:
    """Focus on a subject that is cut out: the median under its mask."""
    if mask.shape != disparity.shape or not mask.any():
        raise ValueError(
            f"a focus mask is of the size of the map, {disparity.shape}, and not empty, "
            f"got {mask.shape} with {int(mask.sum())} pixels"
        )
    return float(np.median(disparity[mask]))


def in_box(
    disparity: Real[np.ndarray, "h w"], left: int, top: int, right: int, bottom: int
) -> float:
    """Focus on a subject in a box: what is nearest there, without its nearest and smallest parts.

    A box holds some background in its corners, and the subject is in front of it: the upper
    quartile is taken. The right and bottom edges are exclusive.
    """
    check_box(Box(left, top, right, bottom), disparity.shape)
    return float(np.quantile(disparity[top:bottom, left:right], 0.75))


def nearest_subject(disparity: Real[np.ndarray, "h w"], *, share: float = 0.05) -> float:
    """Focus on the nearest thing that takes a share of the picture: the median of that share."""
    if not 0 < share < 1:
        raise ValueError(f"the share of the picture is between 0 and 1, got {share}")
    return float(np.quantile(disparity, 1 - share / 2))


def at_distance(metres: float) -> float:
    """Focus at a distance, for maps in 1/m (see `disparity.to_disparity`)."""
    if not metres > 0:
        raise ValueError(f"a focus distance is positive, got {metres} m")
    return 1 / metres


LEAST_SHARP = 1e-3
"""Mean sharpness up to which `subject` does not believe that there is a subject."""

MIDDLE = 0.35
"""Deviation of what `subject` takes for the middle of the picture, in halves of its sides."""


def subject(
    disparity: Real[np.ndarray, "h w"], sharpness: Float[np.ndarray, "p q"] | None = None
) -> float:
    """Guesses what a photographer would focus on: what is near where the subject is.

    Args:
      disparity: The map.
      sharpness: How sure it is that a photographer would keep a place sharp, in [0, 1], at any
        size (`develop.sharpness`).

    Returns:
      The median of the map, weighted by the sharpness and by the square of the nearness, from 0 at
      the farthest to 1 at the nearest. Without sharpness, or if nothing is sharp, places count by
      how near they are to the middle of the picture instead.
    """
    if sharpness is None or sharpness.mean() <= LEAST_SHARP:
        y, x = np.ogrid[-1:1:256j, -1:1:256j]
        sharpness = np.exp(-(y**2 + x**2) / (2 * MIDDLE**2))
    rows, columns = (
        (2 * np.arange(many) + 1) * length // (2 * many)
        for many, length in zip(sharpness.shape, disparity.shape, strict=True)
    )
    values = disparity[np.ix_(rows, columns)].astype(np.float64)
    low, high = np.percentile(values, (0.5, 99.5))
    nearness = np.clip((values - low) / max(high - low, 1e-30), 0, 1)
    weights = (sharpness * nearness**2).ravel()
    order = np.argsort(values, axis=None)
    shares = np.cumsum(weights[order])
    if not shares[-1] > 0:  # all that is sharp is farthest
        return float(low)
    return float(values.ravel()[order][np.searchsorted(shares, shares[-1] / 2)])


def parse(text: str) -> Focus:
    """Reads a focus as a person writes it.

    Args:
      text: "auto"; "nearest"; "X,Y", a point in pixels; "LEFT,TOP,RIGHT,BOTTOM", a box in pixels;
        "2.5m", a distance; or a number, a value of the map.

    Raises:
      ValueError: if the text is none of these.
    """
    word = text.strip().lower()
    if word in ("auto", "nearest"):
        return word
    try:
        if "," in word:
            pixels = [int(part) for part in word.split(",")]
            return Point(*pixels) if len(pixels) == 2 else Box(*pixels)
        number = float(word.removesuffix("m"))
        if np.isfinite(number):
            return Distance(number) if word.endswith("m") else number
    except (ValueError, TypeError):  # TypeError: a box of three or five numbers
        pass
    raise ValueError(
        f"focus {text!r}: give auto, nearest, X,Y or LEFT,TOP,RIGHT,BOTTOM in whole pixels, a "
        f"distance such as 2.5m, or a value of the map"
    )


def resolve(focus: Focus | str, disparity: Real[np.ndarray, "h w"]) -> float:
    """Turns a focus into the value of the map that is sharp.

    Args:
      focus: What `parse` gives, or a text for it. A `Distance` is for maps in 1/m.
      disparity: The map.

    Raises:
      ValueError: if a text cannot be read, or the focus lies outside of the map.
    """
    focus = parse(focus) if isinstance(focus, str) else focus
    match focus:
        case "auto":
            return subject(disparity)
        case "nearest":
            return nearest_subject(disparity)
        case Point():
            return at_pixel(disparity, *focus)
        case Box():
            return in_box(disparity, *focus)
        case Distance():
            return at_distance(focus.metres)
    return float(focus)


def inside(point: Point, shape: tuple[int, ...]) -> Point:
    """The point in integers; a ValueError for parts of pixels, or outside of a picture `h w`."""
    height, width = shape
    if any(place % 1 != 0 for place in point):
        raise ValueError(f"a point is given in whole pixels, got {point.x},{point.y}")
    if not (0 <= point.x < width and 0 <= point.y < height):
        raise ValueError(
            f"focus {point.x},{point.y} lies outside the picture, which is {width} wide and "
            f"{height} high (0,0 is the upper left pixel)"
        )
    return Point(int(point.x), int(point.y))


def check_box(box: Box, shape: tuple[int, ...]) -> None:
    """Refuses, by a ValueError, a box that is empty or leaves a picture `h w`."""
    height, width = shape
    if not (0 <= box.left < box.right <= width and 0 <= box.top < box.bottom <= height):
        raise ValueError(
            f"the focus box ({', '.join(map(str, box))}) is empty or leaves the picture, "
            f"{width} wide and {height} high"
        )


def thin_lens_blur(
    *,
    focal_length: float,
    f_number: float,
    sensor_width: float,
    focus_distance: float,
    image_width: int,
) -> float:
    """The `blur` of a real lens, for maps in 1/m.

    A thin lens of focal length f and diameter f / N, focused at distance s, spreads a point at
    distance d over a disc on the sensor of radius f / (2 N) * f s / (s - f) * |1/d - 1/s|.

    Args:
      focal_length: f [mm].
      f_number: N [1].
      sensor_width: Width of the sensor, 36 for full frame [mm].
      focus_distance: s [m].
      image_width: Width of the picture [px].

    Returns:
      Radius of the circle of confusion per 1/m of disparity difference [px m].

    Raises:
      ValueError: if a value is not positive, or the focus is nearer than the focal length.
    """
    if min(focal_length, f_number, sensor_width, image_width) <= 0:
        raise ValueError("focal length, f-number, sensor width and image width are positive")
    if focus_distance * 1000 <= focal_length:
        raise ValueError(
            f"a lens of {focal_length} mm cannot focus at {focus_distance} m: "
            f"the distance must exceed the focal length"
        )
    f = focal_length / 1000
    per_dioptre = f / (2 * f_number) * f * focus_distance / (focus_distance - f)  # [m * m]
    return per_dioptre * image_width / (sensor_width / 1000)


def keep_sharp(
    disparity: Real[np.ndarray, "h w"], focus: float, *, nearest: float, farthest: float
) -> Real[np.ndarray, "h w"]:
    """Bends a map so that a range of it is rendered sharp, and blur sets in at its ends.

    Args:
      disparity: The map.
      focus: What `render.lens_blur` will be given as focus.
      nearest: Upper end of the range, `>= focus`.
      farthest: Lower end of the range, `<= focus`.

    Returns:
      The map with the range flattened to `focus`, and the rest moved up to it.
    """
    if not farthest <= focus <= nearest:
        raise ValueError(
            f"the sharp range must hold the focus, got {farthest} <= {focus} <= {nearest}"
        )
    return disparity - np.clip(disparity, farthest, nearest) + focus
