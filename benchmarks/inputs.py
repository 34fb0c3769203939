"""Pictures, defocus maps and parameters for the benchmarks, made from numbers alone."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from d2f_jax.models import architectures


def photograph(height: int, width: int, *, seed: int = 0) -> Array:
    """A picture with smooth areas, grain and a few clipped highlights, `h w 3` in [0, 1]."""
    rng = np.random.default_rng(seed)
    picture = np.stack([_smooth(rng, height, width) for _ in range(3)], axis=-1)
    picture += 0.05 * rng.standard_normal((height, width, 1), dtype=np.float32)
    lights = _smooth(rng, height, width)[..., None] > 0.9
    return jnp.asarray(np.where(lights, 1.0, picture).clip(0, 1), jnp.float32)


def defocus_map(height: int, width: int, *, seed: int = 1) -> Array:
    """A smooth map that fills every layer, `h w` in [0, 1]."""
    return jnp.asarray(_smooth(np.random.default_rng(seed), height, width))


def weight_map(height: int, width: int, *, seed: int = 2) -> Array:
    """Radiance weights, `h w 3`, positive."""
    rng = np.random.default_rng(seed)
    planes = [0.1 + 2.9 * _smooth(rng, height, width) for _ in range(3)]
    return jnp.asarray(np.stack(planes, axis=-1))


def parameters(
    config: architectures.D2FConfig, images: Array, *, train: bool = False
) -> architectures.D2FParams:
    """Random parameters whose defocus map of these pictures spans [0.02, 0.98].

    The last layer of the defocus network is scaled for it; otherwise the map of an untrained
    network would lie in one layer, or in none and leave the picture black.

    Args:
      config: The networks.
      images: Pictures at working size, `b h w 3`.
      train: Whether batch normalisation uses the statistics of these pictures.
    """
    place = jax.devices()[0]
    # On the CPU, which compiles in a fraction of a GPU's time.
    with jax.default_device(jax.devices("cpu")[0]):
        images = jnp.asarray(np.asarray(images))
        # The generator that compiles fastest: any values will do.
        params = architectures.init(config, jax.random.key(0, impl="rbg"))
        apply: Any = functools.partial(
            config.defocus_net.apply, train=train, mutable=["batch_stats"] if train else False
        )
        raw = jax.jit(apply)(params.defocus, images)
        raw = raw[0] if train else raw
        scale = 0.96 / (raw.max() - raw.min())
        head = params.defocus["params"]["decoder"]["head"]["conv3"]
        head["bias"] = scale * (head["bias"] - raw.min()) + 0.02
        head["kernel"] = scale * head["kernel"]
    return jax.device_put(params, place)


def _smooth(rng: np.random.Generator, height: int, width: int, cells: int = 12) -> np.ndarray:
    """Random values on a coarse grid, interpolated bilinearly, from 0 to 1."""
    coarse = rng.random((cells, cells), dtype=np.float32)
    rows, columns = (
        np.maximum(0, 1 - np.abs(np.linspace(0, cells - 1, n)[:, None] - np.arange(cells)))
        for n in (height, width)
    )
    fine = rows @ coarse @ columns.T
    return ((fine - fine.min()) / (fine.max() - fine.min())).astype(np.float32)
