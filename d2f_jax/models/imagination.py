"""The first step of Algorithm 1: the defocus map that the first network imagines of a picture.

`hallucinate` is a pure function for any picture. `on_host` is the same for one picture in numpy,
for networks that see every picture at one size: it is laid on a square canvas, so that the network
is compiled once for all shapes.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from d2f_jax.models import architectures, resize
from d2f_jax.models import defocus as hallucination


def hallucinate(
    config: architectures.D2FConfig,
    params: architectures.D2FParams,
    small: Float[Array, "*b p q 3"],
    *,
    clip: bool = True,
    always_sharp: bool = True,
    strip: int | None = None,
) -> tuple[Float[Array, "*b p q"], Float[Array, "*b"]]:
    """The defocus map that the first network imagines of a picture at working size.

    Args:
      config: Networks and constants.
      params: Their variables.
      small: sRGB in [0, 1], sides multiples of 64.
      clip: As for `pipeline.apply`.
      always_sharp: As for `pipeline.apply`.
      strip: As for `pipeline.apply`.

    Returns:
      The map, and by how much it was lowered.
    """
    # Smaller strips were slower: pictures of a few megapixels should run in one piece.
    net = config.defocus_net.clone(strip=strip and 8 * strip)
    raw: Any = net.apply(params.defocus, _seen(small, config.defocus_side))
    size = small.shape[-3], small.shape[-2]
    return _lowered(raw, size, clip=clip, always_sharp=always_sharp)


def on_host(
    config: architectures.D2FConfig,
    params: architectures.D2FParams,
    small: Float[np.ndarray, "p q 3"],
    *,
    clip: bool = True,
    always_sharp: bool = True,
) -> tuple[Float[np.ndarray, "p q"], np.floating | np.ndarray]:
    """`hallucinate` for one picture in numpy, where the configuration has a `defocus_side`."""
    raw = _raw_on_host(config, params, small)
    size = small.shape[0], small.shape[1]
    return _lowered(raw, size, clip=clip, always_sharp=always_sharp)


def glance(
    config: architectures.D2FConfig,
    params: architectures.D2FParams,
    image: Float[Array | np.ndarray, "h w 3"],
    side: int,
) -> Any:
    """The map in [0, 1] at the size at which the network sees the picture: its long side `side`."""
    if isinstance(image, np.ndarray) and config.defocus_side is not None:
        return np.clip(_raw_on_host(config, params, image), 0, 1)
    raw = _raw(config.defocus_net, params.defocus, _seen(jnp.asarray(image), side), None)
    return jnp.clip(raw, 0, 1)


def _raw_on_host(config: Any, params: Any, image: np.ndarray) -> np.ndarray:
    height, width = size = _seen_size(image.shape[:2], config.defocus_side)
    seen = resize.antialiased(image, size, (max(size), max(size)))
    return np.asarray(_raw(config.defocus_net, params.defocus, seen, size))[:height, :width]


@functools.partial(jax.jit, static_argnames="net")
def _raw(net, params, seen, extent):
    return net.apply(params, seen, extent=extent)


def _lowered(raw: Any, size: tuple[int, int], *, clip: bool, always_sharp: bool) -> Any:
    """What the network says, brought to working size, cut and lowered: in numpy or in JAX."""
    xp: Any = np if isinstance(raw, np.ndarray) else jnp
    defocus = resize.bilinear(raw[..., None], size)[..., 0]
    defocus = xp.clip(defocus, 0, 1) if clip else defocus
    if not (clip and always_sharp):
        return defocus, xp.zeros(defocus.shape[:-2], defocus.dtype)
    moved = hallucination.least_blurred(xp.clip(raw, 0, 1))
    return xp.maximum(defocus - moved[..., None, None], 0), moved


def _seen(small: Array, side: int | None) -> Array:
    """The picture as the defocus network sees it: its long side brought to `side`."""
    if side is None:
        return small
    size = _seen_size(small.shape[-3:-1], side)
    return jax.image.resize(small, (*small.shape[:-3], *size, 3), "linear")


def _seen_size(size: Sequence[int], side: int) -> tuple[int, int]:
    height, width = (max(1, round(side / max(size) * length / 32)) * 32 for length in size)
    return height, width
