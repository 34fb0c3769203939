"""RefineNet decoder as in MiDaS v1 (Ranftl et al. 2020), the one of the released D2F (errata h)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import DTypeLike, Float

from d2f_jax.models import resize, strips
from d2f_jax.models.networks import layers


class ResidualUnit(nn.Module):
    """relu, 3x3, relu, 3x3, plus the input after its ReLU.

    The first ReLU of the released code works in place, so its skip carries relu(x), not x.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], canvas: layers.Canvas | None = None
    ) -> Float[Array, "b h w c"]:
        """Applies the unit."""
        x = layers.cleared(nn.relu(x), canvas)
        y = padded_conv(self.features, self.dtype, "conv1")(x)
        y = layers.cleared(nn.relu(y), canvas)
        return x + padded_conv(self.features, self.dtype, "conv2")(y)


class Fusion(nn.Module):
    """Adds a refined lateral to what comes from below, refines the sum and doubles it.

    Attributes:
      features: Channels.
      dtype: Precision of the activations.
      double: Whether it doubles; the head does it for the finest block.
    """

    features: int
    dtype: DTypeLike = jnp.float32
    double: bool = True

    @nn.compact
    def __call__(
        self,
        lateral: Float[Array, "b h w c"],
        previous: Float[Array, "b h w c"] | None,
        canvas: layers.Canvas | None = None,
    ) -> Float[Array, "b p q c"]:
        """Fuses; the deepest block has no `previous` and refines its lateral once only."""
        x = lateral
        if previous is not None:
            unit = ResidualUnit(self.features, self.dtype, name="unit1")
            x = previous + unit(lateral, canvas)
        x = ResidualUnit(self.features, self.dtype, name="unit2")(x, canvas)
        if not self.double:
            return x
        extent = None if canvas is None else canvas.extent(x)
        return resize.double(x, aligned=True, extent=extent)


class Head(nn.Module):
    """3x3 convolution, doubling, 3x3, relu, 1x1; the doubling of the last fusion block before it.

    Attributes:
      features: Channels of the first two convolutions.
      channels: Maps at the end.
      strip: Rows of the result to run at a time, at least 32; None for all. The result is the same.
        What the first convolution makes is held whole.
      dtype: Precision of the activations.
    """

    features: tuple[int, int]
    channels: int
    strip: int | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], canvas: layers.Canvas | None = None
    ) -> Float[Array, "b p q n"]:
        """Applies the head, from a quarter of the image's size to all of it."""
        wide = layers.Parameters(self.features[0], name="conv1")(x.shape[-1])
        narrow = layers.Parameters(self.features[1], name="conv2")(self.features[0])
        last = layers.Parameters(self.channels, 1, name="conv3")(self.features[1])

        height, width = x.shape[1:3] if canvas is None else canvas.extent(x)

        def enlarge(parts: list[Array], row: Array) -> Any:
            return layers.doubled_conv3(
                parts[0], *wide, aligned=True, strip=(row, height), columns=width
            )

        def finish(parts: list[Array], row: Array) -> Any:
            y = layers.doubled_conv3(
                parts[0], *narrow, aligned=False, strip=(row, 2 * height), columns=2 * width
            )
            return layers.conv1(nn.relu(y), *last)

        x = layers.cleared(x.astype(self.dtype), canvas)
        x = strips.over_rows(enlarge, (x,), rows=self._rows(4), halo=1)
        x = layers.cleared(x, canvas)
        return strips.over_rows(finish, (x,), rows=self._rows(2), halo=1)

    def _rows(self, factor: int) -> int | None:
        """Rows of a strip where one becomes `factor` of the result; under 8, most would be halo."""
        if self.strip is None:
            return None
        return self.strip if self.strip < 1 else max(8, self.strip // factor)


class RefineNet(nn.Module):
    """Four features of an encoder, finest first, to `channels` maps of the image's size.

    Attributes:
      features: Channels of laterals and fusion blocks.
      head: Channels of the head's first two convolutions.
      channels: Maps at the end; no activation is applied to them.
      strip: Rows of the result that the head runs at a time, which bounds its memory; None takes
        all. The result is the same.
      dtype: Precision of the activations.
    """

    features: int = 256
    head: tuple[int, int] = (128, 32)
    channels: int = 1
    strip: int | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, pyramid: Sequence[Float[Array, "..."]], canvas: layers.Canvas | None = None
    ) -> Float[Array, "b h w n"]:
        """Decodes from the deepest feature up."""
        x: Any = None
        for level in range(len(pyramid), 0, -1):
            lateral = nn.Conv(
                self.features,
                (3, 3),
                padding=((1, 1), (1, 1)),
                use_bias=False,
                dtype=self.dtype,
                name=f"lateral{level}",
            )(layers.cleared(pyramid[level - 1], canvas))
            fusion = Fusion(self.features, self.dtype, level > 1, name=f"fusion{level}")
            x = fusion(lateral, x, canvas)
        return Head(self.head, self.channels, self.strip, self.dtype, name="head")(x, canvas)


def padded_conv(features: int, dtype: DTypeLike, name: str) -> nn.Conv:
    """Makes a 3x3 convolution with bias, padding 1."""
    return nn.Conv(features, (3, 3), padding=((1, 1), (1, 1)), dtype=dtype, name=name)
