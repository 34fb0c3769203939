"""Colour encodings: sRGB to linear light and back (IEC 61966-2-1), and luma. Channels last."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

LUMA = (0.299, 0.587, 0.114)
"""Rec. 601 luma coefficients, the ones of the released fusion network (errata j)."""


LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Weights of linear sRGB channels in luminance (IEC 61966-2-1)."""


def srgb_to_linear(image: Float[Array, "..."]) -> Float[Array, "..."]:
    """Decodes sRGB values in [0, 1] to linear light in [0, 1]; differentiable everywhere."""
    low = image / 12.92
    # The clamp keeps the gradient of the unused branch finite below the toe.
    high = ((jnp.maximum(image, 0.04045) + 0.055) / 1.055) ** 2.4
    return jnp.where(image <= 0.04045, low, high)


def linear_to_srgb(image: Float[Array, "..."]) -> Float[Array, "..."]:
    """Encodes linear light as sRGB; values above 1 go on along the same curve."""
    low = image * 12.92
    high = 1.055 * jnp.maximum(image, 0.0031308) ** (1 / 2.4) - 0.055
    return jnp.where(image <= 0.0031308, low, high)


def encoded(image: Float[Array | np.ndarray, "..."], *, linear: bool) -> Float[Array, "..."]:
    """A picture as sRGB: as it is, or of linear light, which is cut to [0, 1]."""
    light: Array = jax.device_put(image)  # shares memory on a CPU, jnp.asarray copies
    return linear_to_srgb(jnp.clip(light, 0, 1)) if linear else light


def luma(image: Float[Array, "*b h w 3"]) -> Float[Array, "*b h w"]:
    """Weighs the encoded channels to one grey value (Rec. 601, as the released code does)."""
    return image @ jnp.asarray(LUMA, image.dtype)
