"""The first step of Algorithm 1: the defocus map that the first network imagines of a picture.

`hallucinate` is a pure function for any picture. `on_host` is the same for one picture in numpy,
for networks that see every picture at one size: it is laid on a square canvas, so that the network
is compiled once for all shapes. Where the configuration has an `outline_side`, the network sees the
picture once more at that size, and edges of its map follow the picture (`outlines`).
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from d2f_jax.models import architectures, outlines, resize
from d2f_jax.models import defocus as hallucination
from d2f_jax.render import arrays


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
    size = small.shape[-3], small.shape[-2]
    raw: Any = net.apply(params.defocus, _seen(small, config.defocus_side))
    if clip:
        raw = jnp.clip(raw, 0, 1)
        if config.outline_side is None:
            raw, moved = _lowered(raw, always_sharp)
        else:
            seen = _seen(small, config.outline_side)
            net = config.outline_net.clone(strip=net.strip)
            fine: Any = net.apply(params.defocus, seen)
            within = seen.shape[-3], seen.shape[-2]
            raw = resize.bilinear(raw[..., None], within)[..., 0]
            raw, moved = _lowered(outlines.joined(raw, jnp.clip(fine, 0, 1)), always_sharp)
            raw = outlines.follow(raw, seen, theta=config.theta)
            raw, more = _lowered(raw, always_sharp)
            moved = moved + more
    else:
        moved = jnp.zeros(raw.shape[:-2], raw.dtype)
    return resize.bilinear(raw[..., None], size)[..., 0], moved


def on_host(
    config: architectures.D2FConfig,
    params: architectures.D2FParams,
    small: Float[np.ndarray, "p q 3"],
    *,
    clip: bool = True,
    always_sharp: bool = True,
) -> tuple[Float[np.ndarray, "p q"], np.floating | np.ndarray]:
    """`hallucinate` for one picture in numpy, where the configuration has a `defocus_side`."""
    size = small.shape[0], small.shape[1]
    raw = _raw_on_host(config, params, small)
    if clip:
        raw = np.clip(raw, 0, 1)
        if config.outline_side is None:
            raw, moved = _lowered(raw, always_sharp)
        else:
            seen, extent = _seen_on_host(small, config.outline_side)
            rows, columns = extent
            fine = _raw(config.outline_net, params.defocus, seen, extent)
            raw = arrays.extended(resize.bilinear(raw[..., None], extent)[..., 0], seen.shape[:2])
            raw = np.asarray(_joined(raw, fine, extent))[:rows, :columns]
            raw, moved = _lowered(raw, always_sharp)
            raw = _followed(arrays.extended(raw, seen.shape[:2]), seen, config.theta, extent)
            raw, more = _lowered(np.asarray(raw)[:rows, :columns], always_sharp)
            moved = moved + more
    else:
        moved = np.zeros((), raw.dtype)
    return resize.bilinear(raw[..., None], size)[..., 0], moved


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
    seen, (height, width) = _seen_on_host(image, config.defocus_side)
    raw = _raw(config.defocus_net, params.defocus, seen, (height, width))
    return np.asarray(raw)[:height, :width]


@functools.partial(jax.jit, static_argnames="net")
def _raw(net, params, seen, extent):
    return net.apply(params, seen, extent=extent)


@jax.jit
def _joined(coarse, fine, extent):
    return outlines.joined(coarse, jnp.clip(fine, 0, 1), extent=extent)


@jax.jit
def _followed(defocus, seen, theta, extent):
    return outlines.follow(defocus, seen, theta=theta, extent=extent)


def _lowered(defocus: Any, always_sharp: bool) -> tuple[Any, Any]:
    """A map of which something is sharp, and by how much it was lowered; in numpy or in JAX."""
    xp: Any = np if isinstance(defocus, np.ndarray) else jnp
    if not always_sharp:
        return defocus, xp.zeros(defocus.shape[:-2], defocus.dtype)
    moved = hallucination.least_blurred(defocus)
    return xp.maximum(defocus - moved[..., None, None], 0), moved


def _seen_on_host(
    image: Float[np.ndarray, "p q 3"], side: int
) -> tuple[Float[np.ndarray, "n n 3"], tuple[int, int]]:
    """The same in numpy on a square canvas, and where it ends there."""
    size = _seen_size(image.shape[:2], side)
    return resize.antialiased(image, size, (max(size), max(size))), size


def _seen(small: Array, side: int | None) -> Array:
    """The picture as the defocus network sees it: its long side brought to `side`."""
    if side is None:
        return small
    size = _seen_size(small.shape[-3:-1], side)
    return jax.image.resize(small, (*small.shape[:-3], *size, 3), "linear")


def _seen_size(size: Sequence[int], side: int) -> tuple[int, int]:
    height, width = (max(1, round(side / max(size) * length / 32)) * 32 for length in size)
    return height, width
