"""Bilinear resizing as torch does it, without antialiasing. Channels last."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def bilinear(image: Float[Array, "*b h w c"], size: tuple[int, int]) -> Float[Array, "*b p q c"]:
    """Resizes to `size` = (height, width); pixel centres at half integers (align_corners=False).

    Two rows and two columns are gathered for each output pixel, so that the cost grows with the
    output alone; `jax.image.resize` multiplies dense matrices, which a 24-megapixel photograph
    feels.
    """
    for axis, length in zip((image.ndim - 3, image.ndim - 2), size, strict=True):
        if image.shape[axis] == length:
            continue
        scale = image.shape[axis] / length
        position = jnp.clip((jnp.arange(length) + 0.5) * scale - 0.5, 0, image.shape[axis] - 1)
        low = jnp.floor(position).astype(jnp.int32)
        high = jnp.minimum(low + 1, image.shape[axis] - 1)
        part = (position - low).astype(image.dtype)
        part = jnp.expand_dims(part, [other for other in range(image.ndim) if other != axis])
        below = jnp.take(image, low, axis=axis)
        above = jnp.take(image, high, axis=axis)
        image = below * (1 - part) + above * part
    return image


def double_aligned(features: Float[Array, "*b h w c"]) -> Float[Array, "*b p q c"]:
    """Doubles both sides with the corner pixels kept in place (align_corners=True)."""
    height, width, channels = features.shape[-3:]
    size = (2 * height, 2 * width)
    # Corners at 0 and n - 1 stay put; a side of one pixel has no two corners and is repeated.
    scale = jnp.array([(2 * n - 1) / (n - 1) if n > 1 else 2.0 for n in (height, width)])
    shift = jnp.array([0.5 if n > 1 else 0.0 for n in (height, width)])
    return jax.image.scale_and_translate(
        features,
        (*features.shape[:-3], *size, channels),
        (features.ndim - 3, features.ndim - 2),
        scale,
        shift * (1 - scale),
        "linear",
        antialias=False,
    )


def double(features: Float[Array, "*b h w c"]) -> Float[Array, "*b p q c"]:
    """Doubles both sides, pixel centres at half integers (align_corners=False)."""
    height, width, channels = features.shape[-3:]
    shape = (*features.shape[:-3], 2 * height, 2 * width, channels)
    return jax.image.resize(features, shape, "bilinear", antialias=False)
