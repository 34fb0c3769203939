"""Radiance virtualization (Luo et al. 2023, Sec. 3.2.1): how much light a pixel stands for."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import DTypeLike, Float

from d2f_jax import color


class RadianceNet(nn.Module):
    """Three 1x1 convolutions, 3 -> 16 -> 16 -> 1, sigmoid at the end (Eq. 3, errata i)."""

    features: int = 16
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "*b h w 3"]) -> Float[Array, "*b h w 1"]:
        """Predicts the radiance map R_0 of an sRGB image, in (0, 1)."""
        x = nn.relu(nn.Dense(self.features, dtype=self.dtype, name="conv1")(image))
        x = nn.relu(nn.Dense(self.features, dtype=self.dtype, name="conv2")(x))
        return nn.sigmoid(nn.Dense(1, dtype=self.dtype, name="conv3")(x).astype(jnp.float32))


class EqualRadiance(nn.Module):
    """Gives every pixel the same weight: rendering without radiance (Table 7)."""

    @nn.compact
    def __call__(self, image: Float[Array, "*b h w 3"]) -> Float[Array, "*b h w 1"]:
        """Returns ones."""
        return jnp.ones_like(image[..., :1])


class GreyRadiance(nn.Module):
    """Takes the grey value for the radiance (Table 7)."""

    @nn.compact
    def __call__(self, image: Float[Array, "*b h w 3"]) -> Float[Array, "*b h w 1"]:
        """Returns the luma, in [0, 1]."""
        return color.luma(image)[..., None]


def highlight_weight(
    image: Float[Array, "*b h w 3"],
    radiance: Float[Array, "*b h w 1"],
    *,
    alpha: float = 3.0,
    beta: float = 5.0,
    threshold: float = 0.99,
) -> Float[Array, "*b h w 3"]:
    """Gives highlights the weight alpha * image**beta, everything else its radiance (Eq. 4).

    Args:
      image: sRGB in [0, 1].
      radiance: Output of `RadianceNet`, or any map >= 0.
      alpha: Largest weight of a highlight [1].
      beta: How far the channels of a highlight are set apart [1].
      threshold: A pixel is a highlight where at least one channel reaches this value (errata a).

    Returns:
      Weight per channel, >= 0.
    """
    highlight = (image >= threshold).any(axis=-1, keepdims=True)
    return jnp.where(highlight, alpha * image**beta, radiance)
