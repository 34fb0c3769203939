"""Photographs with hand-made layouts: a disparity drawn by eye, and subjects that stand in it.

A table has one line for each photograph: its file name, the row of the horizon (percent of the
height from the top, also outside of the picture; `-` where no ground is seen), and what stands
there, from far to near, separated by ` | `. Disparities are shares of the ground's at the lowest
row. The ground grows linearly from 0 at the horizon, as a plane does. A thing is

    VALUE: x,y x,y x,y ...

a polygon in percent of width and height, whose value is a number, `@ROW` (what the ground has
there: where the thing stands), `LEFT>RIGHT` or `TOP^BOTTOM` (linear between the polygon's ends).
`VALUE: matte` is what the photograph's matte shows: its subject.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw

from d2f_jax.training.data import synthetic

Point = tuple[float, float]


class Thing(NamedTuple):
    """A polygon [percent], the disparities of its ends, and whether they are above one another.

    Without corners it is the subject, which has the shape of the photograph's matte.
    """

    polygon: tuple[Point, ...]
    ends: tuple[float, float]
    vertical: bool


class Layout(NamedTuple):
    """A drawn photograph: the row of its horizon [percent] or None, and things from far to near."""

    horizon: float | None
    things: tuple[Thing, ...]

    @property
    def has_subject(self) -> bool:
        """Whether the photograph's subject is one of the things."""
        return any(not thing.polygon for thing in self.things)

    def ground(self, row: float) -> float:
        """Disparity of the ground at a row [percent from the top]; 0 where there is none."""
        if self.horizon is None:
            return 0.0
        return max(0.0, (row - self.horizon) / (100 - self.horizon))

    def disparity(
        self, size: tuple[int, int], matte: Bool[np.ndarray, "h w"] | None = None
    ) -> Float[np.ndarray, "h w"]:
        """The disparity of a photograph, `h w` in shares of the ground's at its lowest row.

        Args:
          size: Height and width [px].
          matte: Where its subject is, of this size; for layouts that have one (`has_subject`).

        Raises:
          ValueError: if the subject is one of the things and the matte is None, empty, or of
            another size.
        """
        height, width = size
        rows = 100 * (np.arange(height) + 0.5) / height
        columns = 100 * (np.arange(width) + 0.5) / width
        drawn = np.repeat([[self.ground(row)] for row in rows], width, 1).astype(np.float32)
        for thing in self.things:
            places = rows[:, None] if thing.vertical else columns[None]
            if thing.polygon:
                inside = _filled(thing.polygon, size)
                along = np.array(thing.polygon)[:, 1 if thing.vertical else 0]
            elif matte is not None and matte.shape == size and matte.any():
                inside = matte
                along = np.broadcast_to(places, size)[matte]
            else:
                raise ValueError(f"the layout has a subject: give its matte, {size}, not empty")
            low, high = float(along.min()), float(along.max())
            share = np.clip((places - low) / max(high - low, 1e-6), 0, 1)
            plane = thing.ends[0] + share * (thing.ends[1] - thing.ends[0])
            drawn = np.where(inside, np.broadcast_to(plane, drawn.shape), drawn)
        return drawn.astype(np.float32)


def read_table(path: str | Path) -> dict[str, Layout]:
    """Reads a table of layouts by file name.

    Raises:
      ValueError: naming the line that cannot be read.
    """
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: the table of layouts cannot be read ({error})") from None
    layouts = {}
    for number, line in enumerate(lines[1:], start=2):
        try:
            name, horizon, things = line.split("\t")
            layouts[name] = parse(horizon, things)
        except (ValueError, IndexError) as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    return layouts


def parse(horizon: str, things: str) -> Layout:
    """Reads the second and third column of a line.

    Raises:
      ValueError: for what the module's description does not allow.
    """
    row = None if horizon.strip() == "-" else float(horizon)
    if row is not None and row >= 100:
        raise ValueError(f"the horizon {row:g} is below the picture: write - for no ground")
    empty = Layout(row, ())
    parts = [part for part in things.split("|") if part.strip()]
    return Layout(row, tuple(_thing(empty, part) for part in parts))


def _thing(layout: Layout, text: str) -> Thing:
    value, _, corners = text.partition(":")
    polygon = []
    if corners.strip() != "matte":
        for corner in corners.split():
            x, y = corner.split(",")
            polygon.append((float(x), float(y)))
        if len(polygon) < 3:
            raise ValueError(f"{text.strip()!r}: a thing is VALUE: x,y x,y x,y ... or VALUE: matte")

    def number(word: str) -> float:
        word = word.strip()
        return layout.ground(float(word[1:])) if word.startswith("@") else float(word)

    vertical = "^" in value
    ends = [number(word) for word in value.split("^" if vertical else ">")]
    if len(ends) > 2:
        raise ValueError(f"{value.strip()!r}: at most two ends")
    return Thing(tuple(polygon), (ends[0], ends[-1]), vertical)


def _filled(polygon: tuple[Point, ...], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    canvas = Image.new("1", (size[1], size[0]))
    corners = [(x * size[1] / 100 - 0.5, y * size[0] / 100 - 0.5) for x, y in polygon]
    ImageDraw.Draw(canvas).polygon(corners, fill=1)
    return np.asarray(canvas)


class Cutout(NamedTuple):
    """A subject without its surroundings, cropped to itself.

    Attributes:
      pixels: Linear light times alpha, and alpha.
      cut_off: Whether the lower edge of its photograph cut it off.
    """

    pixels: Float[np.ndarray, "h w 4"]
    cut_off: bool


class Placed(NamedTuple):
    """A linear picture with subjects, its disparity, and alpha and disparity of each subject."""

    image: Float[np.ndarray, "h w 3"]
    disparity: Float[np.ndarray, "h w"]
    subjects: list[tuple[Float[np.ndarray, "h w"], float]]


def place(
    rng: np.random.Generator,
    image: Float[np.ndarray, "h w 3"],
    disparity: Float[np.ndarray, "h w"],
    cutouts: Callable[[], Cutout],
    count: int,
) -> Placed:
    """Stands cut-outs on the ground of a drawn photograph, the farther ones first.

    Each is as near as what lies under its foot and as high as one of its kind would be: of a size
    in proportion to that disparity, within a factor of two. Those that their photograph cut off
    stand at the lower border.

    Args:
      rng: Decides where and how large.
      image: The photograph in linear light.
      disparity: Its layout.
      cutouts: Gives a subject at each call.
      count: How many to place.
    """
    height, width = disparity.shape
    tall = rng.uniform(0.5, 0.95)  # of one that stands at the lower border, share of the height
    image, disparity = image.copy(), disparity.copy()
    standing = []
    for _ in range(count):
        cutout = cutouts()
        column = int(rng.integers(width // 8, width - width // 8))
        foot = height if cutout.cut_off else int(height * rng.uniform(0.6, 1.0))
        under = float(disparity[min(foot, height - 1), column])
        nearest = max(float(disparity.max()), 0.3)
        if under < 0.12 * nearest:
            continue
        share = tall * np.exp(rng.uniform(-0.7, 0.2)) * (1 if cutout.cut_off else under / nearest)
        standing.append((under * rng.uniform(1, 1.1), foot, column, share, cutout))
    subjects: list[tuple[np.ndarray, float]] = []
    for value, foot, column, share, cutout in sorted(standing, key=lambda s: s[0]):
        rows, columns = cutout.pixels.shape[:2]
        scale = min(share * height / rows, 0.8 * width / columns)
        shape = int(scale * rows), int(scale * columns)
        if min(shape) < 8:
            continue
        pixels = synthetic.resized(cutout.pixels, shape)
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        top, left = foot - shape[0], column - shape[1] // 2
        canvas = np.zeros((height, width, 4), np.float32)
        inside = np.s_[max(top, 0) : min(foot, height), max(left, 0) : min(left + shape[1], width)]
        canvas[inside] = pixels[
            inside[0].start - top : inside[0].stop - top,
            inside[1].start - left : inside[1].stop - left,
        ]
        alpha = np.clip(canvas[..., 3], 0, 1)
        gain = np.float32(rng.uniform(0.7, 1.3)) * rng.uniform(0.9, 1.1, 3).astype(np.float32)
        image = image * (1 - alpha[..., None]) + gain * canvas[..., :3]
        disparity = np.where(alpha > 0.5, np.float32(value), disparity)
        subjects = [(other * (1 - alpha), near) for other, near in subjects]
        subjects.append((alpha, value))
    return Placed(image.astype(np.float32), disparity, subjects)
