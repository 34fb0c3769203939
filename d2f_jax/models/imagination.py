"""The first step of Algorithm 1: the defocus map that the first network imagines of a picture.

`hallucinate` is a pure function for any picture. `on_host` is the same for one picture in numpy,
for networks that see every picture at one size: it is laid on one of three canvases, so that the
network is compiled once for all wide pictures, once for tall and once for squarer ones. Where the
configuration has an `outline_side`, the network sees the picture once more at that size, and edges
of its map follow the picture (`outlines`).
"""

import functools
import math
from collections.abc import Callable, Sequence
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
    strip = strip and 8 * strip

    def look(side: int) -> tuple[Any, Any]:
        seen = _seen(small, side)
        net = config.outline_net.clone(strip=strip)
        fine: Any = net.apply(params.defocus, seen)

        def join(coarse: Array) -> Array:
            return outlines.joined(_resized(coarse, seen), jnp.clip(fine, 0, 1))

        return join, functools.partial(outlines.follow, image=seen, theta=config.theta)

    net = config.defocus_net.clone(strip=strip)
    raw: Any = net.apply(params.defocus, _seen(small, config.defocus_side))
    return _finished(raw, small, config, look, clip=clip, always_sharp=always_sharp)


def on_host(
    config: architectures.D2FConfig,
    params: architectures.D2FParams,
    small: Float[np.ndarray, "p q 3"],
    *,
    clip: bool = True,
    always_sharp: bool = True,
) -> tuple[Float[np.ndarray, "p q"], np.floating | np.ndarray]:
    """`hallucinate` for one picture in numpy, where the configuration has a `defocus_side`."""

    def look(side: int) -> tuple[Any, Any]:
        seen, size = _seen_on_host(small, side)
        fine = _raw(config.outline_net, params.defocus, seen, size)
        rows, columns = size

        def join(coarse: np.ndarray) -> np.ndarray:
            coarse = resize.bilinear(coarse[..., None], size)[..., 0]
            whole = _joined(arrays.extended(coarse, seen.shape[:2]), fine, size)
            return np.asarray(whole)[:rows, :columns]

        def follow(defocus: np.ndarray) -> np.ndarray:
            whole = arrays.extended(defocus, seen.shape[:2])
            return np.asarray(_followed(whole, seen, config.theta, size))[:rows, :columns]

        return join, follow

    raw = _raw_on_host(config, params, small)
    return _finished(raw, small, config, look, clip=clip, always_sharp=always_sharp)


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


def _finished(
    raw: Any,
    small: Any,
    config: architectures.D2FConfig,
    look: Callable[[int], tuple[Any, Any]],
    *,
    clip: bool,
    always_sharp: bool,
) -> Any:
    """What the network says, cut, lowered, outlined, receding, at working size; how far lowered.

    Edges are looked for in the lowered map, and what they took of its sharp part is given back.
    `look` shows the network the picture at a side, and tells how to join and to follow it.
    """
    xp: Any = np if isinstance(raw, np.ndarray) else jnp
    if not clip:
        return _resized(raw, small), xp.zeros(raw.shape[:-2], raw.dtype)
    defocus = xp.clip(raw, 0, 1)
    if config.outline_side is None:
        defocus, moved = _lowered(defocus, always_sharp)
    else:
        join, follow = look(config.outline_side)
        defocus, moved = _lowered(join(defocus), always_sharp)
        defocus, more = _lowered(follow(defocus), always_sharp)
        moved = moved + more
    if config.ground:
        defocus = hallucination.receding(defocus, theta=config.theta, share=config.ground)
    return _resized(defocus, small), moved


def _resized(defocus: Any, like: Any) -> Any:
    """A map at the size of a picture."""
    return resize.bilinear(defocus[..., None], (like.shape[-3], like.shape[-2]))[..., 0]


def _lowered(defocus: Any, always_sharp: bool) -> tuple[Any, Any]:
    """A map of which something is sharp, and by how much it was lowered; in numpy or in JAX."""
    xp: Any = np if isinstance(defocus, np.ndarray) else jnp
    if not always_sharp:
        return defocus, xp.zeros(defocus.shape[:-2], defocus.dtype)
    moved = hallucination.least_blurred(defocus)
    return xp.maximum(defocus - moved[..., None, None], 0), moved


def _seen(small: Array, side: int | None) -> Array:
    """The picture as the defocus network sees it: its long side brought to `side`."""
    if side is None:
        return small
    size = _seen_size(small.shape[-3:-1], side)
    return jax.image.resize(small, (*small.shape[:-3], *size, 3), "linear")


def _seen_on_host(
    image: Float[np.ndarray, "p q 3"], side: int
) -> tuple[Float[np.ndarray, "m n 3"], tuple[int, int]]:
    """`_seen` in numpy on the canvas of its shape, and where it ends there."""
    size = _seen_size(image.shape[:2], side)
    return resize.antialiased(image, size, _canvas(size)), size


def _canvas(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the canvas that holds this size: square, or about a quarter less one way.

    A picture may be wide at one side and squarer at another, as sizes are multiples of 32.
    """
    longest = max(size)
    most = math.ceil(3 * longest / 128) * 32
    height, width = (most if length <= most else longest for length in size)
    return height, width


def _seen_size(size: Sequence[int], side: int) -> tuple[int, int]:
    height, width = (max(1, round(side / max(size) * length / 32)) * 32 for length in size)
    return height, width
