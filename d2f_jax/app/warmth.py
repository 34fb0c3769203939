"""What is compiled at the start, so that the first moves do not wait."""

import jax.numpy as jnp

from d2f_jax import render
from d2f_jax.app import previews
from d2f_jax.photo import renderers
from d2f_jax.photo.settings import Settings
from d2f_jax.render import highlights
from d2f_jax.render.highlights import HighlightRule

RADII = (16.0, 6.0, 40.0)
"""One of each number of levels that previews have (`render.ladder`), the commonest first."""

Part = tuple[HighlightRule | None, float, tuple[int, int]]

PARTS: tuple[Part, ...] = tuple(
    (rule, radius, canvas)
    for rule in (None, highlights.ContrastRule())
    for radius in RADII
    for canvas in previews.CANVASES
)
"""A rule, a radius and a canvas each, the commonest first."""


def compile_part(rule: HighlightRule | None, radius: float, canvas: tuple[int, int]) -> None:
    """Renders an empty picture as previews are rendered, with JAX's side effect."""
    render.lens_blur(
        jnp.zeros((*canvas, 3), jnp.float32),
        jnp.zeros(canvas, jnp.float32),
        focus=0.5,
        blur=1.0,
        aperture=renderers.opening(Settings()),
        highlights=rule,
        max_radius=radius,
        canvas=canvas,
    ).block_until_ready()
