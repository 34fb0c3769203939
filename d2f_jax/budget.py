"""How much of a picture to take at a time, by its size and the kind of device.

The results are the same whatever is chosen; only memory and time depend on it. Where the opening
changes with the place, it is the same within a tile.
"""

import math
import os
from typing import NamedTuple

import jax

_STRIP_PIXELS = {"cpu": 2**17}  # what stays in the cache of a CPU
_RENDERER_BYTES = 2**31
LENS_OVERLAP = 32
"""How far the tiles of `render.lens_blur` overlap [px]."""

_LAYER_BYTES = 4 * 8 * 6  # per pixel of a layer: four complex planes, some copies


class Pieces(NamedTuple):
    """How the layered renderers take a picture: options of `render.layered_render`."""

    tile: int | None
    layer_batch: int | None


def rendering(shape: tuple[int, ...], radius: int, count: int, tile: int | None = None) -> Pieces:
    """Chooses for `render.layered_render` and its weighted sister.

    Args:
      shape: `... h w` at working size.
      radius: Of the largest kernel [px].
      count: Number of layers.
      tile: Side of the tiles where it is chosen already.
    """
    tile = tile_side(shape, radius) if tile is None else tile
    sides = [min(side, tile or side) + 2 * radius for side in shape[-2:]]
    return Pieces(tile, layers(count, (*shape[:-2], *sides)))


def lens_tile(shape: tuple[int, int], radius: float, *, cat_eye: bool = False) -> int | None:
    """Side of the tiles of `render.lens_blur` for a picture `h w`.

    Args:
      shape: Height and width.
      radius: Of the largest circle of confusion [px].
      cat_eye: Whether the opening changes with the place, for which tiles overlap by half.

    Returns:
      None, one piece, up to about eight megapixels; else one of two sides, which are fast to
      transform at each size of the layers. On a CPU the smaller one stays in the cache, and many a
      tile lacks most of the layers, which are skipped there; beyond 128 px of blur, and
      where tiles overlap by half, it would take mostly surroundings.
    """
    if not is_large(shape):
        return None
    return 544 if jax.default_backend() == "cpu" and radius <= 128 and not cat_eye else 1056


def lens_tiling(size: tuple[int, int], tile: int | None, *, cat_eye: bool) -> tuple[int, int]:
    """Side and overlap of the tiles of `render.lens_blur` for a picture `h w` [px].

    With a cat's eye the opening changes with the place: eight half overlapping tiles along the
    longer side.
    """
    tile = tile or max(size)
    if not cat_eye:
        return tile, LENS_OVERLAP
    tile = min(tile, 2 * LENS_OVERLAP * -(-max(size) // (8 * LENS_OVERLAP)))
    return tile, tile // 2


def threads(window: int) -> int:
    """How many tiles are rendered at once, each with its surroundings of this side [px].

    On a CPU a small one alone leaves half of two cores idle; large ones would take gigabytes.
    """
    if jax.default_backend() != "cpu":
        return 1
    return max(1, min(4, os.cpu_count() or 1, 2**22 // window**2))


def is_large(shape: tuple[int, int]) -> bool:
    """Whether a picture `h w` is one whose memory matters more than what is compiled for it."""
    return math.prod(shape) > 2**23


def layers(count: int, shape: tuple[int, ...]) -> int | None:
    """Layers to render at a time; None for all.

    Args:
      count: Number of layers.
      shape: `... h w` of what is transformed: the picture at working size, or a tile of it, with
        the kernels' radius around it.

    Returns:
      1 on a CPU, whose cores one layer fills; elsewhere as many as fit in about 2 GB.
    """
    if jax.default_backend() == "cpu":
        return 1
    fit = max(1, _RENDERER_BYTES // (math.prod(shape) * _LAYER_BYTES))
    return None if fit >= count else fit


def strip(width: int) -> int:
    """Rows of a picture of this width that the networks' largest layers run at a time."""
    return max(32, _STRIP_PIXELS.get(jax.default_backend(), 2**22) // width)


def tile_side(shape: tuple[int, ...], radius: int) -> int | None:
    """Side of the tiles that a picture is rendered in.

    Args:
      shape: `... h w` at working size.
      radius: Of the largest kernel [px].

    Returns:
      None, one piece, where a layer of it fits in about 2 GB; else the side of about 1000 pixels,
      or at least the kernel's width, for which tiles and their surroundings have the fewest pixels.
    """
    if math.prod(shape) * _LAYER_BYTES <= _RENDERER_BYTES:
        return None

    def pixels(side: int) -> int:
        return math.prod(-(-length // side) for length in shape[-2:]) * (side + 2 * radius) ** 2

    least = max(768, 2 * radius)
    return min(range(least, least + 513, 64), key=pixels)
