"""EfficientNet-Lite encoder (Tan and Le, ICML 2019; the Lite variants: Liu, TensorFlow blog 2020).

The Lite networks leave out what small devices are slow at: no squeeze-and-excitation, ReLU6 in
place of swish, and a stem that does not grow.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import DTypeLike, Float

from d2f_jax.models.networks.layers import Canvas, Pointwise, cleared

MEAN, DEVIATION = 127 / 255, 128 / 255
"""What the Lite networks subtract from and divide by pictures in [0, 1]."""


class Stage(NamedTuple):
    """Blocks of one size: their number, kernel, first stride, expansion and channels."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


B0 = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
"""The smallest network (Table 1), which Lite0 shares."""


def lite_stages(width: float, depth: float) -> tuple[Stage, ...]:
    """Widens and deepens `B0`: channels to multiples of 8; the outer stages keep their one block.

    Lite2 is `lite_stages(1.1, 1.2)`.
    """
    scaled = []
    for index, stage in enumerate(B0):
        channels = max(8, int(stage.channels * width + 4) // 8 * 8)
        if channels < 0.9 * stage.channels * width:
            channels += 8
        inner = 0 < index < len(B0) - 1
        blocks = math.ceil(stage.blocks * depth) if inner else stage.blocks
        scaled.append(stage._replace(blocks=blocks, channels=channels))
    return tuple(scaled)


LITE2 = lite_stages(1.1, 1.2)


class DepthwiseConv(nn.Module):
    """One kernel per channel, padded as TensorFlow does, no bias; the kernel is `k k 1 c`."""

    size: int
    stride: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b p q c"]:
        """Convolves; on a CPU as a sum of shifted pictures."""
        channels = x.shape[-1]
        init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        kernel = self.param("kernel", init, (self.size, self.size, 1, channels))

        def shifted(x, kernel):
            # XLA:CPU runs grouped convolutions one channel at a time; a fused sum of slices takes
            # the channels of a pixel together.
            pads = [_same(side, self.size, self.stride) for side in x.shape[1:3]]
            height, width = (-(-side // self.stride) for side in x.shape[1:3])
            x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
            total = jnp.zeros((x.shape[0], height, width, channels), x.dtype)
            for row in range(self.size):
                for column in range(self.size):
                    last = (row + (height - 1) * self.stride, column + (width - 1) * self.stride)
                    part = jax.lax.slice(
                        x,
                        (0, row, column, 0),
                        (x.shape[0], last[0] + 1, last[1] + 1, channels),
                        (1, self.stride, self.stride, 1),
                    )
                    total += part * kernel[row : row + 1, column : column + 1]
            return total

        def grouped(x, kernel):
            return jax.lax.conv_general_dilated(
                x,
                kernel,
                (self.stride, self.stride),
                "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=channels,
            )

        x, kernel = x.astype(self.dtype), jnp.asarray(kernel, self.dtype)
        return jax.lax.platform_dependent(x, kernel, cpu=shifted, default=grouped)


class InvertedBottleneck(nn.Module):
    """1x1 to many channels, depthwise, 1x1 to few, plus the input where the shapes agree."""

    stage: Stage
    stride: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, canvas: Canvas | None = None
    ) -> Float[Array, "b p q d"]:
        """Applies the block; `train` normalises by the statistics of the batch."""
        shortcut = x
        if self.stage.expansion != 1:
            x = Pointwise(self.stage.expansion * x.shape[-1], dtype=self.dtype, name="expand")(x)
            x = nn.relu6(_norm(train, self.dtype, "bn0")(x))
        x = cleared(x, canvas)
        x = DepthwiseConv(self.stage.kernel, self.stride, self.dtype, name="depthwise")(x)
        x = nn.relu6(_norm(train, self.dtype, "bn1")(x))
        x = Pointwise(self.stage.channels, dtype=self.dtype, name="project")(x)
        x = _norm(train, self.dtype, "bn2")(x)
        return x + shortcut if x.shape == shortcut.shape else x


class EfficientNetLite(nn.Module):
    """Encoder: features at 1/4, 1/8, 1/16 and 1/32 of the image.

    Attributes:
      stages: Blocks; `LITE2` is the network of that name.
      stem: Channels of the first convolution.
      remat: Whether to recompute the blocks in the backward pass instead of storing them.
      dtype: Precision of the activations; parameters stay float32.
    """

    stages: tuple[Stage, ...] = LITE2
    stem: int = 32
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w 3"], train: bool, canvas: Canvas | None = None
    ) -> list[Float[Array, "..."]]:
        """Returns the four feature maps, finest first; the image is sRGB in [0, 1]."""
        x = nn.Conv(self.stem, (3, 3), 2, "SAME", use_bias=False, dtype=self.dtype, name="stem")(
            cleared((image - MEAN) / DEVIATION, canvas)
        )
        x = nn.relu6(_norm(train, self.dtype, "bn0")(x))
        block = nn.remat(InvertedBottleneck, static_argnums=2) if self.remat else InvertedBottleneck
        features = []
        for index, stage in enumerate(self.stages):
            if stage.stride == 2 and index > 1:
                features.append(x)
            for number in range(stage.blocks):
                stride = 1 if number else stage.stride
                name = f"stage{index + 1}_{number}"
                x = block(stage, stride, self.dtype, name=name)(x, train, canvas)
        return [*features, x]


def _same(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding of "SAME": the odd pixel goes to the end."""
    total = max(0, (-(-side // stride) - 1) * stride + kernel - side)
    return total // 2, total - total // 2


def _norm(train: bool, dtype: DTypeLike, name: str) -> nn.BatchNorm:
    return nn.BatchNorm(not train, momentum=0.99, epsilon=1e-3, dtype=dtype, name=name)
