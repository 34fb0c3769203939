"""The ladder of `lens_layers`: which radii its layers have, and at which size they are rendered."""

import math

FINE = (0.0, 1.0, 2.0, 3.0, 4.3, 6.0, 8.0)  # radii at full size, on one side [px]
COARSE = (5.0, 6.0, 7.0, 8.0, 10.0, 12.7, 16.0)  # of each level, in its own pixels


def levels_for(radius: float) -> int:
    """Number of coarser levels that hold circles up to a radius [px]."""
    return max(0, math.ceil(math.log2(max(radius, 1.0) / FINE[-1]) / 2 - 1e-6))


def radii(levels: int) -> tuple[float, ...]:
    """Radii of the layers on one side of the focus, from 0 [px]."""
    coarse = (own * 2 ** halvings(level) for level in range(1, levels + 1) for own in COARSE)
    return (*FINE, *coarse)


def margin(halved: int) -> int:
    """Pixels that the layers of a picture halved so often look at around it, in blocks of 8."""
    return 24 if halved else 16


def halvings(level: int) -> int:
    """How often the picture is halved for a level."""
    return max(0, 2 * level - 1)


def canvas_margin(levels: int) -> int:
    """Pixels that `blur_layers` takes around the picture."""
    return margin(halvings(levels)) * 2 ** halvings(levels)
