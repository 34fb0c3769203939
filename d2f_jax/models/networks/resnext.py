"""ResNeXt-50 32x4d (Xie et al., CVPR 2017), with the layer names of torchvision."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import DTypeLike, Float

from d2f_jax.models.networks.layers import Pointwise


class GroupedConv(nn.Module):
    """3x3 convolution in groups, padding 1, no bias; the kernel is `3 3 c/groups c`."""

    channels: int
    groups: int
    stride: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b p q d"]:
        """Convolves; on a CPU by dense kernels over a few groups each, zero off their diagonal."""
        each = x.shape[-1] // self.groups
        other = self.channels // self.groups
        init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        kernel = self.param("kernel", init, (3, 3, each, self.channels))

        def convolve(x, kernel, groups):
            return jax.lax.conv_general_dilated(
                x,
                kernel,
                (self.stride, self.stride),
                ((1, 1), (1, 1)),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=groups,
            )

        def dense(x, kernel):
            # XLA:CPU has no fast path for groups. Dense kernels of 16 channels run the fastest, as
            # larger ones are mostly zeros; but each takes time to compile, so there are 8 at most.
            together = min(self.groups, max(16 // each, -(-self.groups // 8)))
            parts = []
            for first in range(0, self.groups, together):
                count = min(together, self.groups - first)
                part = kernel[..., first * other : (first + count) * other]
                part = part.reshape(3, 3, each, count, other)
                full = jnp.einsum("yxigo,gG->yxGigo", part, jnp.eye(count, dtype=x.dtype))
                full = full.reshape(3, 3, count * each, count * other)
                parts.append(convolve(x[..., first * each : (first + count) * each], full, 1))
            return jnp.concatenate(parts, axis=-1)

        def grouped(x, kernel):
            return convolve(x, kernel, self.groups)

        x, kernel = x.astype(self.dtype), jnp.asarray(kernel, self.dtype)
        return jax.lax.platform_dependent(x, kernel, cpu=dense, default=grouped)


class Bottleneck(nn.Module):
    """1x1, grouped 3x3, 1x1, each with batch normalisation, plus the shortcut."""

    width: int
    channels: int
    groups: int
    stride: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b p q d"]:
        """Applies the block; `train` normalises by the statistics of the batch."""
        shortcut = x
        if self.stride != 1 or x.shape[-1] != self.channels:
            shortcut = Pointwise(self.channels, self.stride, self.dtype, name="downsample_conv")(x)
            shortcut = norm(train, self.dtype, "downsample_bn")(shortcut)
        x = Pointwise(self.width, dtype=self.dtype, name="conv1")(x)
        x = nn.relu(norm(train, self.dtype, "bn1")(x))
        x = GroupedConv(self.width, self.groups, self.stride, self.dtype, name="conv2")(x)
        x = nn.relu(norm(train, self.dtype, "bn2")(x))
        x = Pointwise(self.channels, dtype=self.dtype, name="conv3")(x)
        return nn.relu(norm(train, self.dtype, "bn3")(x) + shortcut)


class ResNeXt(nn.Module):
    """Encoder: features at 1/4, 1/8, 1/16 and 1/32 of the image.

    Attributes:
      blocks: Bottlenecks per stage; (3, 4, 6, 3) is the 50-layer network.
      groups: Cardinality.
      width: Channels of the stem; stage s gives `4 * width * 2**s`.
      group_width: Channels of a group in the first stage.
      remat: Whether to recompute the blocks in the backward pass instead of storing them.
      dtype: Precision of the activations; parameters stay float32.
    """

    blocks: Sequence[int] = (3, 4, 6, 3)
    groups: int = 32
    width: int = 64
    group_width: int = 4
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: Float[Array, "b h w 3"], train: bool) -> list[Float[Array, "..."]]:
        """Returns the four feature maps, finest first."""
        x = nn.Conv(
            self.width, (7, 7), 2, ((3, 3), (3, 3)), use_bias=False, dtype=self.dtype, name="conv1"
        )(image)
        x = nn.relu(norm(train, self.dtype, "bn1")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))  # pads with -inf, as torch does
        block = nn.remat(Bottleneck, static_argnums=2) if self.remat else Bottleneck
        features = []
        for stage, count in enumerate(self.blocks):
            for index in range(count):
                x = block(
                    self.groups * self.group_width * 2**stage,
                    4 * self.width * 2**stage,
                    self.groups,
                    2 if stage and not index else 1,
                    self.dtype,
                    name=f"layer{stage + 1}_{index}",
                )(x, train)
            features.append(x)
        return features


def norm(train: bool, dtype: DTypeLike, name: str) -> nn.BatchNorm:
    """Makes a batch normalisation with torch's defaults: momentum 0.1 is 0.9 here."""
    return nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=dtype, name=name)
