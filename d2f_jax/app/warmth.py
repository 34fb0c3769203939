"""What is compiled at the start, so that the first moves do not wait."""

import functools
from collections.abc import Callable

import numpy as np

from d2f_jax import pipeline, render
from d2f_jax.app import previews
from d2f_jax.photo import renderers
from d2f_jax.photo.settings import Settings
from d2f_jax.render import highlights
from d2f_jax.render.highlights import HighlightRule

RADII = (16.0, 4.0, 40.0)
"""One of each number of levels that previews have (`render.ladder`), the commonest first."""

_SQUARE = (min(previews.CANVASES[0]), min(previews.CANVASES[0]))
"""A preview that the network sees on its third canvas, the square one (`imagination`)."""


def compile_networks(focus: float | None, size: tuple[int, int]) -> None:
    """Renders an empty picture of this size as previews without a map are rendered."""
    image = np.zeros((*size, 3), np.float32)
    pipeline.load()(image, focus=focus, canvas=previews.held_by(*size))


def compile_lens(rule: HighlightRule | None, radius: float, canvas: tuple[int, int]) -> None:
    """Renders an empty picture as previews with a map are rendered."""
    render.lens_blur(
        np.zeros((*canvas, 3), np.float32),
        np.zeros(canvas, np.float32),
        focus=0.5,
        blur=1.0,
        aperture=renderers.opening(Settings()),
        highlights=rule,
        max_radius=radius,
        canvas=canvas,
    ).block_until_ready()


PARTS: tuple[Callable[[], None], ...] = (
    *(
        functools.partial(compile_networks, focus, canvas)
        for focus in (None, 0.5)
        for canvas in previews.CANVASES
    ),
    functools.partial(compile_networks, None, _SQUARE),
    *(
        functools.partial(compile_lens, rule, radius, canvas)
        for rule in (None, highlights.ContrastRule())
        for radius in RADII
        for canvas in previews.CANVASES
    ),
)
"""What is compiled, a part at a time, the commonest first."""
