"""How much of a picture to take at a time, by its size and the kind of device.

The results are the same whatever is chosen; only memory and time depend on it.
"""

import math

import jax

_STRIP_PIXELS = {"cpu": 2**17}  # what stays in the cache of a CPU
_RENDERER_BYTES = 2**31
_LAYER_BYTES = 4 * 8 * 6  # per pixel of a layer: four complex planes, some copies


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


def tile(shape: tuple[int, ...], radius: int) -> int | None:
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
