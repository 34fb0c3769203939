"""Compiles in the background what previews of a size will need, so that moves do not wait."""

import queue
import threading

import jax.numpy as jnp

from d2f_jax import render
from d2f_jax.photo import renderers
from d2f_jax.photo.settings import Settings
from d2f_jax.render.highlights import ContrastRule

_RADII = (16.0, 6.0, 40.0)
"""One of each number of levels that previews have (`render.ladder`), the commonest first."""

_LEAST = 100_000
"""Pixels of a preview for which it is worth it: all that cameras make."""

_PARTS = [(rule, radius) for rule in (None, ContrastRule(limit=8.0)) for radius in _RADII]


class Warmth:
    """What is compiled already, and what is being: one part after the other."""

    def __init__(self) -> None:
        self._sizes: set[tuple[int, int]] = set()
        self._left = 0
        self._lock = threading.Lock()
        self._wanted: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def left(self) -> int:
        """How many parts are still to be compiled."""
        return self._left

    def begin(self, height: int, width: int) -> None:
        """Has compiled what previews of this size need, unless that was done or begun."""
        with self._lock:
            if height * width >= _LEAST and (height, width) not in self._sizes:
                self._sizes.add((height, width))
                self._left += len(_PARTS)
                self._wanted.put((height, width))

    def _work(self) -> None:
        aperture = renderers.opening(Settings())
        while True:
            size = self._wanted.get()
            image = jnp.zeros((*size, 3), jnp.float32)
            disparity = jnp.zeros(size, jnp.float32)
            for rule, radius in _PARTS:
                render.lens_blur(
                    image,
                    disparity,
                    focus=0.5,
                    blur=1.0,
                    aperture=aperture,
                    highlights=rule,
                    max_radius=radius,
                ).block_until_ready()
                with self._lock:
                    self._left -= 1
