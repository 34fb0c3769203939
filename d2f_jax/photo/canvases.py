"""Which photographs of a folder lie on one canvas, so that they share what is compiled.

Compiling for a size takes longer than rendering a few megapixels more; results are the same.
"""

import itertools
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from d2f_jax import budget
from d2f_jax.photo import exif
from d2f_jax.render import arrays

COMPILING = 8_000_000
"""Pixels that are rendered in the time that compiling for one more canvas takes, about."""

Size = tuple[int, int]


def size_of(path: Path) -> Size | None:
    """Height and width of a photograph, upright; None where its first bytes do not say."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(exif.ORIENTATION, 1) in (5, 6, 7, 8)
    except Exception:  # whatever is wrong with the file is said when it is read
        return None
    return (width, height) if turned else (height, width)


def plan(sizes: Sequence[Size | None]) -> list[Size | None]:
    """A canvas for each picture, shared where padding costs less than compiling would.

    Args:
      sizes: Height and width of each; None if unknown.

    Returns:
      A canvas for each that holds it; None for what keeps its own: unknown and large ones.
    """
    own = [
        None if size is None or budget.is_large(size) else arrays.shared_size(size)
        for size in sizes
    ]
    counts = Counter(canvas for canvas in own if canvas is not None)
    joined = {canvas: canvas for canvas in counts}
    while True:
        best, found = COMPILING, None
        for one, other in itertools.combinations(counts, 2):
            both = arrays.shared_size((max(one[0], other[0]), max(one[1], other[1])))
            extra = sum(counts[c] * (math.prod(both) - math.prod(c)) for c in (one, other))
            if extra < best and not budget.is_large(both):
                best, found = extra, (one, other, both)
        if found is None:
            return [None if canvas is None else joined[canvas] for canvas in own]
        one, other, both = found
        moved = counts.pop(one) + counts.pop(other)
        counts[both] += moved
        joined = {canvas: both if now in (one, other) else now for canvas, now in joined.items()}
