"""How much of a picture to take at a time, by its size and the kind of device.

The results are the same whatever is chosen; only memory and time depend on it.
"""

import math

import jax

_STRIP_PIXELS = {"cpu": 2**17}  # what stays in the cache of a CPU
_LAYER_BYTES = 4 * 8 * 6  # per pixel of a layer: four complex planes, some copies


def layers(count: int, shape: tuple[int, ...]) -> int | None:
    """Layers to render at a time; None for all.

    Args:
      count: Number of layers.
      shape: `... h w` at working size.

    Returns:
      1 on a CPU, whose cores one layer fills; elsewhere as many as fit in about 2 GB.
    """
    if jax.default_backend() == "cpu":
        return 1
    fit = max(1, 2**31 // (math.prod(shape) * _LAYER_BYTES))
    return None if fit >= count else fit


def strip(width: int) -> int:
    """Rows of a picture of this width that the networks' largest layers run at a time."""
    return max(32, _STRIP_PIXELS.get(jax.default_backend(), 2**22) // width)


def tile(size: tuple[int, int], radius: int) -> int | None:
    """Side of the tiles for a picture of this working size and the largest kernel's radius [px].

    Returns:
      The side for which the tiles with what lies around them have the fewest pixels, from 1024 to a
      quarter more; None, one piece, below two such tiles.
    """
    least = max(1024, 2 * radius)

    def pixels(side: int) -> int:
        return math.prod(-(-length // side) for length in size) * (side + 2 * radius) ** 2

    if math.prod(size) <= 2 * least**2:
        return None
    return min(range(least, 5 * least // 4, 64), key=pixels)
