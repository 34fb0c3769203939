"""Compiles in the background what previews of a size will need, so that moves do not wait."""

import threading

import numpy as np

from d2f_jax import render
from d2f_jax.photo import renderers
from d2f_jax.photo.settings import Settings
from d2f_jax.render.highlights import ContrastRule

_RADII = (16.0, 6.0, 40.0)
"""One of each number of levels that previews have (`render.ladder`), the commonest first."""


class Warmth:
    """What is compiled already, and what is being."""

    def __init__(self) -> None:
        self._sizes: set[tuple[int, int]] = set()
        self._left = 0
        self._lock = threading.Lock()

    def state(self) -> int:
        """How many parts are still being compiled."""
        return self._left

    def begin(self, height: int, width: int) -> None:
        """Compiles what previews of this size need, unless that was done or begun."""
        with self._lock:
            if (height, width) in self._sizes:
                return
            self._sizes.add((height, width))
            self._left += 2 * len(_RADII)
        threading.Thread(target=self._compile, args=(height, width), daemon=True).start()

    def _compile(self, height: int, width: int) -> None:
        image = np.zeros((height, width, 3), np.float32)
        disparity = np.zeros((height, width), np.float32)
        aperture = renderers.opening(Settings())
        for rule in (None, ContrastRule(limit=8.0)):
            for radius in _RADII:
                try:
                    render.lens_blur(
                        image,
                        disparity,
                        focus=0.5,
                        blur=1.0,
                        aperture=aperture,
                        highlights=rule,
                        max_radius=radius,
                    ).block_until_ready()
                finally:
                    with self._lock:
                        self._left -= 1
