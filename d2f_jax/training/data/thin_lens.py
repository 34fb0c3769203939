"""Pictures of flat and slanted layers through a thin lens: the ground truth of synthetic samples.

The light of every pixel is averaged over points of a round aperture. Seen from one such point `u`
(in the unit disk) each layer is moved by `coc_radius * u`, and the moved layers are laid over one
another; so partly hidden edges, thin things and what lies behind them come out as a lens shows
them. Nothing of `d2f_jax.render` is used.

Arrays are planar (`3 H W`) and in linear light. A layer lives on a canvas that is larger than the
picture by `margin` pixels on each side, so that what lies outside the frame enters its border.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

_PAINTED = 3.0  # px: emitters with a smaller circle of confusion are part of their layer's picture
_GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))


class Plane(NamedTuple):
    """Disparity `level + slope_y * y + slope_x * x` at canvas position (y, x) [px]."""

    level: float
    slope_y: float = 0.0
    slope_x: float = 0.0

    def at(self, y: Any, x: Any) -> Any:
        """Disparity at positions of the canvas [px], numbers or arrays."""
        return self.level + self.slope_y * y + self.slope_x * x


class Emitter(NamedTuple):
    """A small bright disc on a layer: canvas position and radius [px], added linear radiance."""

    y: float
    x: float
    radius: float
    color: Float[np.ndarray, "3"]


class Layer(NamedTuple):
    """One sheet of the scene.

    Attributes:
      color: Linear radiance, not multiplied by alpha, may exceed 1.
      alpha: Coverage in [0, 1].
      plane: Where the sheet lies.
      emitters: Small lights on it; they add to the radiance.
    """

    color: Float[np.ndarray, "3 H W"]
    alpha: Float[np.ndarray, "H W"]
    plane: Plane
    emitters: tuple[Emitter, ...] = ()


class Lens(NamedTuple):
    """Focus [disparity], blur [px of radius per unit of disparity] and the number of samples."""

    focus: float
    blur: float
    samples: int = 64


def photograph(
    layers: Sequence[Layer], lens: Lens, margin: int, rng: np.random.Generator
) -> Float[np.ndarray, "h w 3"]:
    """The picture through the lens, in linear light, not clipped.

    Args:
      layers: The scene from back to front; the first must cover the whole canvas. Layers may not
        pass through one another, nor slant so much that the lens would reach into their plane:
        `blur` times the slope stays well below 1.
      lens: Focus and aperture. The circle of confusion of a point has the signed radius
        `blur * (disparity - focus)` pixels.
      margin: Canvas pixels around the picture; at least the largest radius.
      rng: Turns the sampling pattern and rounds its shifts without bias.
    """
    sheets = [_Sheet(layer, lens, margin) for layer in layers]
    height, width = (side - 2 * margin for side in layers[0].alpha.shape)
    total = np.zeros((3, height, width), np.float32)
    view = np.empty_like(total)
    for u in _lens_points(lens.samples, rng):
        jitter = rng.random(2)
        view.fill(0)
        for sheet in sheets:
            sheet.lay_over(view, u, jitter)
        total += view
    total /= lens.samples
    for position, layer in enumerate(layers):
        for emitter in layer.emitters:
            radius = _coc_radius(layer, emitter, lens)
            if abs(radius) >= _PAINTED:
                _add_disc(total, emitter, radius, sheets[position + 1 :], margin)
    return total.transpose(1, 2, 0)


def pinhole(
    layers: Sequence[Layer], margin: int
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """The all-in-focus picture in linear light and the disparity of what each pixel shows."""
    height, width = (side - 2 * margin for side in layers[0].alpha.shape)
    frame = np.s_[margin : margin + height, margin : margin + width]
    y, x = np.mgrid[frame]
    image = np.zeros((3, height, width), np.float32)
    disparity = np.zeros((height, width), np.float32)
    for layer in layers:
        sheet = _painted(layer, layer.emitters)
        image *= 1 - layer.alpha[frame]
        image += sheet[(slice(None), *frame)]
        np.copyto(disparity, layer.plane.at(y, x), where=layer.alpha[frame] > 0.5)
    return image.transpose(1, 2, 0), disparity


class _Sheet:
    """A layer made ready for moving: cropped to what is not empty, multiplied by its alpha."""

    def __init__(self, layer: Layer, lens: Lens, margin: int):
        plane = layer.plane
        self.margin = margin
        self.flat = plane.slope_y == plane.slope_x == 0
        # Radius in pixels as a linear function of the canvas position.
        self.radius = Plane(
            lens.blur * (plane.level - lens.focus),
            lens.blur * plane.slope_y,
            lens.blur * plane.slope_x,
        )
        painted = [e for e in layer.emitters if abs(_coc_radius(layer, e, lens)) < _PAINTED]
        sheet = np.concatenate([_painted(layer, painted), layer.alpha[None]])
        if self.flat or layer.alpha.min() == 1:
            # Each sample stands for a cell of the aperture; blurring by the cell's size (its side,
            # scaled to the smallest circle of confusion) leaves no dots where samples are few.
            # Parts of one slanted plane are left alone: their hard edges must go on matching.
            smallest = self._smallest_radius(layer.alpha.shape)
            sheet = _box_blur(sheet, smallest * np.sqrt(np.pi / lens.samples))
        rows, columns = np.any(sheet[3] > 0, 1).nonzero()[0], np.any(sheet[3] > 0, 0).nonzero()[0]
        if rows.size == 0:
            rows = columns = np.zeros(1, int)
        self.top, self.left = int(rows[0]), int(columns[0])
        sheet = sheet[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if not self.flat:
            # An empty rim: positions beyond the crop are clipped to it.
            sheet = np.pad(sheet, ((0, 0), (1, 1), (1, 1)))
            self.top, self.left = self.top - 1, self.left - 1
        self.color = np.ascontiguousarray(sheet[:3], np.float32)
        self.clear = np.ascontiguousarray(1 - sheet[3], np.float32)

    def _smallest_radius(self, size: tuple[int, int]) -> float:
        corners = [self.radius.at(i * size[0], j * size[1]) for i in (0, 1) for j in (0, 1)]
        low, high = float(np.min(corners)), float(np.max(corners))
        return 0.0 if low < 0 < high else min(abs(low), abs(high))

    def lay_over(self, view: np.ndarray, u: np.ndarray, jitter: np.ndarray) -> None:
        """Lays the sheet, as seen from lens point `u`, over the picture `view` in place."""
        if self.flat:
            self._lay_flat(view, u, jitter)
        else:
            self._lay_slanted(view, u, jitter)

    def coverage(self, y: np.ndarray, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Alpha that light meets on its way to the picture's pixels (y, x) from lens points `u`."""
        inside, row, column = self._source(y, x, u, np.full(2, 0.5))
        return np.where(inside, 1 - self.clear[row, column], 0)

    def _lay_flat(self, view: np.ndarray, u: np.ndarray, jitter: np.ndarray) -> None:
        # Pixel p of the picture shows position p + margin - radius * u of the canvas.
        shift = np.floor(-self.radius.level * u + jitter).astype(int) + self.margin
        height, width = self.clear.shape
        top, left = self.top - shift[0], self.left - shift[1]
        rows = slice(max(top, 0), min(top + height, view.shape[1]))
        columns = slice(max(left, 0), min(left + width, view.shape[2]))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        source = (
            slice(rows.start - top, rows.stop - top),
            slice(columns.start - left, columns.stop - left),
        )
        part = view[:, rows, columns]
        part *= self.clear[source]
        part += self.color[(slice(None), *source)]

    def _lay_slanted(self, view: np.ndarray, u: np.ndarray, jitter: np.ndarray) -> None:
        rows, columns = self._reach(view.shape[1:])
        y, x = np.ogrid[rows, columns]
        _, row, column = self._source(y, x, u, jitter)
        index = row * self.clear.shape[1] + column
        part = view[:, rows, columns]
        part *= self.clear.ravel().take(index)
        for plane, color in zip(part, self.color, strict=True):
            plane += color.ravel().take(index)

    def _source(
        self, y: np.ndarray, x: np.ndarray, u: np.ndarray, jitter: np.ndarray
    ) -> tuple[np.ndarray, Int[np.ndarray, "p q"], Int[np.ndarray, "p q"]]:
        """Which cropped canvas pixel each picture pixel shows from `u`, and whether there is one.

        The canvas position q solves q + radius(q) * u = p; the radius is linear in q, so
        radius(q) = radius(p) / (1 + slope . u).
        """
        y, x = y + self.margin, x + self.margin
        stretch = 1 + self.radius.slope_y * u[0] + self.radius.slope_x * u[1]
        radius = self.radius.at(y, x) / stretch
        row = np.floor(y - radius * u[0] + jitter[0]).astype(np.intp) - self.top
        column = np.floor(x - radius * u[1] + jitter[1]).astype(np.intp) - self.left
        height, width = self.clear.shape
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        return inside, np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)

    def _reach(self, size: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of the picture that the sheet can touch from anywhere on the lens."""
        height, width = self.clear.shape
        corners = [
            self.radius.at(self.top + i * height, self.left + j * width)
            for i in (0, 1)
            for j in (0, 1)
        ]
        reach = int(np.ceil(np.max(np.abs(corners)))) + 1
        top, left = self.top - self.margin - reach, self.left - self.margin - reach
        return (
            slice(max(top, 0), min(top + height + 2 * reach, size[0])),
            slice(max(left, 0), min(left + width + 2 * reach, size[1])),
        )


def _lens_points(samples: int, rng: np.random.Generator) -> Float[np.ndarray, "n 2"]:
    """Evenly spread points of the unit disk (Vogel's spiral), turned at random."""
    steps = np.arange(samples)
    radius = np.sqrt((steps + 0.5) / samples)
    angle = steps * _GOLDEN_ANGLE + rng.uniform(0, 2 * np.pi)
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], -1)


def _coc_radius(layer: Layer, emitter: Emitter, lens: Lens) -> float:
    return lens.blur * (float(layer.plane.at(emitter.y, emitter.x)) - lens.focus)


def _painted(layer: Layer, emitters: Sequence[Emitter]) -> np.ndarray:
    """The layer's colour times alpha, with emitters as small discs."""
    color = layer.color * layer.alpha
    for emitter in emitters:
        rows, columns, disc = _disc(emitter, 0.0, np.zeros(2, int), layer.alpha.shape)
        color[:, rows, columns] += emitter.color[:, None, None] * disc
    return color


def _add_disc(
    picture: np.ndarray, emitter: Emitter, radius: float, front: Sequence[_Sheet], margin: int
) -> None:
    """Adds an emitter's disc of confusion, where the sheets in front let it through.

    Pixel p gets the emitter's light from the one lens point u = (p - position) / radius, so what
    hides it is known without sampling.
    """
    rows, columns, disc = _disc(emitter, abs(radius), np.full(2, margin), picture.shape[1:])
    if disc.size == 0:
        return
    y, x = np.mgrid[rows, columns]
    u = np.stack([y + margin - emitter.y, x + margin - emitter.x]) / radius
    u /= np.maximum(1, np.hypot(*u))
    for sheet in front:
        disc = disc * (1 - sheet.coverage(y, x, u))
    picture[:, rows, columns] += emitter.color[:, None, None] * disc


def _disc(
    emitter: Emitter, radius: float, origin: np.ndarray, size: tuple[int, int]
) -> tuple[slice, slice, Float[np.ndarray, "p q"]]:
    """The emitter's disc spread over a circle of confusion, with its whole energy, cut to a frame.

    Two discs folded together have a flat middle and a rim as wide as the smaller one.
    """
    outer = radius + emitter.radius
    rim = max(min(radius, emitter.radius), 0.5)
    y, x = emitter.y - origin[0], emitter.x - origin[1]
    reach = int(np.ceil(outer + rim))
    top, left = int(np.floor(y)) - reach, int(np.floor(x)) - reach
    rows, columns = np.ogrid[top : top + 2 * reach + 2, left : left + 2 * reach + 2]
    distance = np.hypot(rows - y, columns - x)
    half = max(radius, emitter.radius)
    disc = np.clip((half + rim - distance) / (2 * rim), 0, 1).astype(np.float32)
    disc *= np.pi * emitter.radius**2 / disc.sum()
    inside_rows = slice(max(top, 0), max(min(top + disc.shape[0], size[0]), 0))
    inside_columns = slice(max(left, 0), max(min(left + disc.shape[1], size[1]), 0))
    disc = disc[
        inside_rows.start - top : max(inside_rows.stop - top, 0),
        inside_columns.start - left : max(inside_columns.stop - left, 0),
    ]
    return inside_rows, inside_columns, disc


def _box_blur(planes: Float[np.ndarray, "c H W"], side: float) -> Float[np.ndarray, "c H W"]:
    """Mean over a square of a side that need not be whole; the border pixels are repeated."""
    if side <= 1:
        return planes
    reach = int(np.ceil((side - 1) / 2))
    taps = np.clip(side / 2 + 0.5 - np.abs(np.arange(-reach, reach + 1)), 0, 1) / side
    for axis in (1, 2):
        margin = [(0, 0)] * 3
        margin[axis] = (reach, reach)
        padded = np.pad(planes, margin, mode="edge")
        length = planes.shape[axis]
        planes = np.zeros_like(planes)
        for i, tap in enumerate(taps):
            planes += np.float32(tap) * padded.take(range(i, i + length), axis)
    return planes
