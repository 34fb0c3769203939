"""RefineNet decoder as in MiDaS v1 (Ranftl et al. 2020), the one of the released D2F (errata h)."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import DTypeLike, Float

from d2f_jax import resize


class ResidualUnit(nn.Module):
    """relu, 3x3, relu, 3x3, plus the input after its ReLU.

    The first ReLU of the released code works in place, so its skip carries relu(x), not x.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Applies the unit."""
        x = nn.relu(x)
        y = conv3(self.features, self.dtype, "conv1")(x)
        return x + conv3(self.features, self.dtype, "conv2")(nn.relu(y))


class Fusion(nn.Module):
    """Adds a refined lateral to what comes from below, refines the sum and doubles it."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, lateral: Float[Array, "b h w c"], previous: Float[Array, "b h w c"] | None
    ) -> Float[Array, "b p q c"]:
        """Fuses; the deepest block has no `previous` and refines its lateral once only."""
        x = lateral
        if previous is not None:
            x = previous + ResidualUnit(self.features, self.dtype, name="unit1")(lateral)
        x = ResidualUnit(self.features, self.dtype, name="unit2")(x)
        return resize.double_aligned(x)


class RefineNet(nn.Module):
    """Four features of an encoder, finest first, to `channels` maps of the image's size.

    Attributes:
      features: Channels of laterals and fusion blocks.
      head: Channels of the head's first two convolutions.
      channels: Maps at the end; no activation is applied to them.
      dtype: Precision of the activations.
    """

    features: int = 256
    head: tuple[int, int] = (128, 32)
    channels: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, pyramid: Sequence[Float[Array, "..."]]) -> Float[Array, "b h w n"]:
        """Decodes from the deepest feature up."""
        x = None
        for level in range(len(pyramid), 0, -1):
            lateral = nn.Conv(
                self.features,
                (3, 3),
                padding=((1, 1), (1, 1)),
                use_bias=False,
                dtype=self.dtype,
                name=f"lateral{level}",
            )(pyramid[level - 1])
            x = Fusion(self.features, self.dtype, name=f"fusion{level}")(lateral, x)
        x = conv3(self.head[0], self.dtype, "head1")(x)
        x = resize.double(x)
        x = nn.relu(conv3(self.head[1], self.dtype, "head2")(x))
        return nn.Conv(self.channels, (1, 1), dtype=self.dtype, name="head3")(x)


def conv3(features: int, dtype: DTypeLike, name: str) -> nn.Conv:
    """Makes a 3x3 convolution with bias, padding 1."""
    return nn.Conv(features, (3, 3), padding=((1, 1), (1, 1)), dtype=dtype, name=name)
