"""RefineNet decoder as in MiDaS v1 (Ranftl et al. 2020), the one of the released D2F (errata h)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import DTypeLike, Float, Int

from d2f_jax import resize, strips


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


class Head(nn.Module):
    """3x3 convolution, doubling, 3x3, relu, 1x1: from half the image's size to all of it."""

    features: tuple[int, int]
    channels: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], row: Int[Array, " h"] | None = None, height: int = 0
    ) -> Float[Array, "b p q n"]:
        """Applies the head.

        Args:
          x: Features, or a strip of their rows.
          row: Index of each row of a strip in the whole, see `strips.over_rows`.
          height: Rows of the whole.
        """
        x = conv3(self.features[0], self.dtype, "conv1")(x)
        if row is not None:  # doubling repeats the border's row, not what lies in a strip beyond it
            x = jnp.take(x, jnp.clip(row, 0, height - 1) - row[0], axis=1, mode="clip")
        x = resize.double(x)
        if row is not None:  # and the next convolution pads with zeros
            inside = jnp.repeat((row >= 0) & (row < height), 2)
            x = jnp.where(inside[None, :, None, None], x, 0)
        x = nn.relu(conv3(self.features[1], self.dtype, "conv2")(x))
        return nn.Conv(self.channels, (1, 1), dtype=self.dtype, name="conv3")(x)


class RefineNet(nn.Module):
    """Four features of an encoder, finest first, to `channels` maps of the image's size.

    Attributes:
      features: Channels of laterals and fusion blocks.
      head: Channels of the head's first two convolutions.
      channels: Maps at the end; no activation is applied to them.
      strip: Rows of the head's input to run at a time, which bounds its memory; None takes all. The
        result is the same.
      dtype: Precision of the activations.
    """

    features: int = 256
    head: tuple[int, int] = (128, 32)
    channels: int = 1
    strip: int | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, pyramid: Sequence[Float[Array, "..."]]) -> Float[Array, "b h w n"]:
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
            )(pyramid[level - 1])
            x = Fusion(self.features, self.dtype, name=f"fusion{level}")(lateral, x)
        head = Head(self.head, self.channels, self.dtype, parent=None)
        if self.strip is None or self.is_initializing():
            return head.clone(parent=self, name="head")(x)
        variables, height = {"params": self.variables["params"]["head"]}, x.shape[1]

        def run(parts: list[Array], row: Array) -> Any:
            return head.apply(variables, parts[0], row, height)

        return strips.over_rows(run, (x,), rows=self.strip, halo=2)


def conv3(features: int, dtype: DTypeLike, name: str) -> nn.Conv:
    """Makes a 3x3 convolution with bias, padding 1."""
    return nn.Conv(features, (3, 3), padding=((1, 1), (1, 1)), dtype=dtype, name=name)
