"""A brush for maps: what is painted spreads along the colours of the photograph.

A stroke reaches a pixel by the cheapest way, where every step costs a little and every change of
colour costs much (geodesic distance, as in Bai and Sapiro 2007); a guided filter (He et al. 2010)
brings the result to the outlines of the photograph.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw
from scipy import ndimage, sparse
from scipy.sparse import csgraph

Kind = Literal["nearer", "farther", "subject"]
"""What a stroke says of what it covers."""

SEARCHED = 60_000
"""Pixels that ways are searched on: a photograph is made smaller to them."""

TEXTURE = 0.04
"""Change of colour from pixel to pixel, summed over channels, that costs nothing yet: grain."""

MOST_STROKES = 500
MOST_POINTS = 50_000


class Stroke(NamedTuple):
    """One stroke of the brush.

    Attributes:
      kind: What it says.
      points: Where it went, `(x, y)` as shares of width and height.
      size: Its width as a share of the long side.
      strength: By how much of the map's range it moves the map (not for the subject).
      spread: How far it spreads along the colours: 0 not at all, 1 until colours change much.
    """

    kind: Kind
    points: tuple[tuple[float, float], ...]
    size: float = 0.03
    strength: float = 0.15
    spread: float = 0.5


def read(sent: Any) -> list[Stroke]:
    """Reads what the page sent: a list of mappings with the fields of `Stroke`.

    Raises:
      ValueError: for anything else, and for more than a person paints.
    """
    try:
        strokes = [_read_one(each) for each in sent]
    except (TypeError, KeyError, AttributeError, OverflowError):
        raise ValueError("strokes are a list of kind, points, size, strength, spread") from None
    if len(strokes) > MOST_STROKES or sum(len(s.points) for s in strokes) > MOST_POINTS:
        raise ValueError(f"more than {MOST_STROKES} strokes or {MOST_POINTS} points")
    return strokes


def _read_one(sent: Mapping[str, Any]) -> Stroke:
    if sent["kind"] not in get_args(Kind) or not sent["points"]:
        raise ValueError(f"a stroke is {', '.join(get_args(Kind))}, and has points")
    points = tuple((float(x), float(y)) for x, y in sent["points"])
    numbers = [float(sent.get(name, default)) for name, default in _LIMITS.items()]
    places = [place for point in points for place in point]
    if not all(math.isfinite(value) for value in places + numbers):
        raise ValueError("a stroke is made of finite numbers")
    if not all(-1 <= place <= 2 for place in places) or not all(0 <= n <= 1 for n in numbers):
        raise ValueError("the numbers of a stroke are shares, from 0 to 1")
    return Stroke(sent["kind"], points, *numbers)


_LIMITS = {"size": 0.03, "strength": 0.15, "spread": 0.5}


def weight(image: Float[np.ndarray, "h w 3"], stroke: Stroke) -> Float[np.ndarray, "h w"]:
    """How much a stroke concerns each pixel of a photograph, in [0, 1].

    Args:
      image: The photograph, sRGB in [0, 1].
      stroke: The stroke.
    """
    height, width = image.shape[:2]
    scale = min(1.0, math.sqrt(SEARCHED / (height * width)))
    small = max(2, round(scale * height)), max(2, round(scale * width))
    painted = _painted(stroke, small)
    if not painted.any():
        return np.zeros((height, width), np.float32)
    reach = 0.02 + 0.4 * stroke.spread
    away = _distance(_reduced(image, small), painted, limit=reach)
    near = np.clip(1.5 * (1 - away / reach), 0, 1).astype(np.float32)
    grown = _enlarged(near, (height, width))
    guided = _guided(grown, image, radius=max(2, round(2 / scale)))
    return np.maximum(np.clip(guided, 0, 1), _painted(stroke, (height, width)))


def correction(
    image: Float[np.ndarray, "h w 3"], strokes: Sequence[Stroke]
) -> tuple[Float[np.ndarray, "h w"] | None, Float[np.ndarray, "h w"] | None]:
    """What strokes add to a map, in shares of its range, and the subject that they cut out.

    Args:
      image: The photograph, sRGB in [0, 1].
      strokes: In the order in which they were painted.

    Returns:
      Each of them, or None if nothing was painted of its kind.
    """
    added, subject = None, None
    for stroke in strokes:
        concerned = weight(image, stroke)
        if stroke.kind == "subject":
            subject = concerned if subject is None else np.maximum(subject, concerned)
        else:
            sign = 1 if stroke.kind == "nearer" else -1
            moved = np.float32(sign * stroke.strength) * concerned
            added = moved if added is None else added + moved
    return added, subject


def _painted(stroke: Stroke, size: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    height, width = size
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    radius = max(0.5, stroke.size * max(size) / 2)
    places = [(x * width, y * height) for x, y in stroke.points]
    if len(places) > 1:
        draw.line(places, fill=1, width=max(1, round(2 * radius)), joint="curve")
    for x, y in places:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
    return np.asarray(canvas, np.float32)


def _distance(
    image: Float[np.ndarray, "h w 3"], seeds: Float[np.ndarray, "h w"], *, limit: float
) -> Float[np.ndarray, "h w"]:
    """Cost of the cheapest way from the seeds to each pixel, infinite beyond the limit."""
    height, width = image.shape[:2]
    number = np.arange(height * width).reshape(height, width)
    step = 0.25 / max(height, width)
    starts, ends, costs = [], [], []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        left, right = max(0, -dx), width - max(0, dx)
        here = number[: height - dy, left:right]
        there = number[dy:, left + dx : right + dx]
        change = np.abs(image[: height - dy, left:right] - image[dy:, left + dx : right + dx])
        starts.append(here.ravel())
        ends.append(there.ravel())
        change = 0.35 * np.maximum(change.sum(axis=-1) - TEXTURE, 0)
        costs.append((step * math.hypot(dx, dy) + change).ravel())
    graph = sparse.coo_matrix(
        (np.concatenate(costs), (np.concatenate(starts), np.concatenate(ends))),
        shape=(number.size, number.size),
    ).tocsr()
    away = csgraph.dijkstra(
        graph, directed=False, indices=number[seeds > 0], min_only=True, limit=limit
    )
    return away.reshape(height, width)


def _guided(
    values: Float[np.ndarray, "h w"], image: Float[np.ndarray, "h w 3"], *, radius: int
) -> Float[np.ndarray, "h w"]:
    """Guided filter with the luma of the image as guide."""
    guide = image @ np.array([0.299, 0.587, 0.114], np.float32)

    def mean(plane: np.ndarray) -> np.ndarray:
        return ndimage.uniform_filter(plane, 2 * radius + 1, mode="nearest")

    around, average = mean(guide), mean(values)
    variance = mean(guide * guide) - around * around
    slope = (mean(guide * values) - around * average) / (variance + 1e-3)
    return mean(slope) * guide + mean(average - slope * around)


def _reduced(image: Float[np.ndarray, "h w 3"], size: tuple[int, int]) -> np.ndarray:
    planes = [_enlarged(image[..., channel], size) for channel in range(3)]
    return np.stack(planes, axis=-1)


def _enlarged(plane: Float[np.ndarray, "p q"], size: tuple[int, int]) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))
