"""Gives clipped lights their brightness back, so that they glow when they are out of focus.

A picture of 8 bit ends at white. A rule looks at the encoded picture, sRGB in [0, 1], and returns
the factor by which the linear light of each pixel is raised, 1 where nothing was lost.
"""

import dataclasses
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from d2f_jax import color
from d2f_jax.render.inpaint import local_maximum, push_pull
from d2f_jax.types import Scalar


@runtime_checkable
class HighlightRule(Protocol):
    """Any hashable callable `image -> gain` is a rule; those of this module are pytrees."""

    def __call__(self, image: Float[Array, "*b h w 3"]) -> Float[Array, "*b h w #3"]:
        """Returns the gain of each pixel for an encoded picture."""
        ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class ContrastRule:
    """Raises a clipped pixel by as much as white exceeds its surroundings.

    A lamp is cut off abruptly out of the dark, a white wall fades into its surroundings. With no
    more knowledge, white is taken for the geometric middle between the surroundings and the light:
    a light surrounded by luminance 0.2 is given radiance 1 / 0.2.

    Attributes:
      threshold: Encoded value from which on a pixel begins to count as clipped, in all channels.
      limit: Largest gain, which lights in the dark receive.
    """

    threshold: Scalar = 0.98
    limit: Scalar = 8.0

    def __call__(self, image: Float[Array, "*b h w 3"]) -> Float[Array, "*b h w 1"]:
        """Gain of an encoded picture."""
        clipped = _ramp(jnp.min(image, axis=-1), self.threshold)
        # Pixels next to a clipped one share its light: they do not count as surroundings.
        known = 1 - local_maximum(clipped)
        luminance = color.srgb_to_linear(image) @ jnp.asarray(color.LUMINANCE, image.dtype)
        around = push_pull((known * luminance)[..., None, :, :], known)[..., 0, :, :]
        gain = 1 / jnp.clip(around, 1 / self.limit, 1.0)
        return (1 + (gain - 1) * clipped)[..., None]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class GainRule:
    """Raises whatever is above a threshold in any channel by one factor.

    Attributes:
      threshold: Encoded value from which on the gain sets in.
      gain: Factor at 1.
    """

    threshold: Scalar = 0.98
    gain: Scalar = 4.0

    def __call__(self, image: Float[Array, "*b h w 3"]) -> Float[Array, "*b h w 1"]:
        """Gain of an encoded picture."""
        bright = _ramp(jnp.max(image, axis=-1, keepdims=True), self.threshold)
        return 1 + (self.gain - 1) * bright


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class PowerRule:
    """The rule of Defocus to Focus (Luo et al. 2023, Eq. 4) as a gain on linear light.

    There a highlight weighs `alpha * image**beta` and other pixels what the radiance network says;
    here those weigh `elsewhere`, and only the ratio matters.

    Attributes:
      alpha: Largest weight of a highlight.
      beta: How far the channels of a highlight are set apart.
      threshold: A pixel is a highlight where one channel reaches this encoded value.
      elsewhere: Weight of all other pixels.
    """

    alpha: Scalar = 3.0
    beta: Scalar = 5.0
    threshold: Scalar = 0.99
    elsewhere: Scalar = 0.5

    def __call__(self, image: Float[Array, "*b h w 3"]) -> Float[Array, "*b h w 3"]:
        """Gain of an encoded picture."""
        highlight = jnp.any(image >= self.threshold, axis=-1, keepdims=True)
        return jnp.where(highlight, self.alpha * image**self.beta / self.elsewhere, 1.0)


def _ramp(value: Array, threshold: Scalar) -> Array:
    """0 up to the threshold, 1 at white, smooth between."""
    x = jnp.clip((value - threshold) / (1 - threshold), 0.0, 1.0)
    return x * x * (3 - 2 * x)
