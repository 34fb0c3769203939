"""Convolutions written as matrix products, with the parameters of `nn.Conv`.

A 3x3 convolution sums nine copies of its input, each multiplied by its own matrix and moved by a
pixel. Moving and enlarging are linear and treat all channels alike, so they may as well follow the
multiplication. That spares work in two places: where the input is first doubled, a quarter of the
multiplications is left; and where few channels come out, the copies that move are small.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import DTypeLike, Float, Int

from d2f_jax.models import resize
from d2f_jax.types import Extent, Scalar


class Canvas(NamedTuple):
    """What a picture lies on: networks clear what follows it, as zero padding of it alone would.

    Pictures of several shapes on one canvas share what is compiled. Rows and columns are whole
    multiples of the largest stride.
    """

    height: int
    width: int
    rows: Scalar
    columns: Scalar

    def extent(self, x: Float[Array, "*b h w c"]) -> Extent:
        """Where the picture ends in features of any size."""
        return self.rows * x.shape[-3] // self.height, self.columns * x.shape[-2] // self.width


def cleared(x: Float[Array, "*b h w c"], canvas: Canvas | None) -> Float[Array, "*b h w c"]:
    """Features that are zero beyond the picture."""
    if canvas is None:
        return x
    rows, columns = (
        jnp.arange(n) < end for n, end in zip(x.shape[-3:-1], canvas.extent(x), strict=True)
    )
    inside = rows[:, None, None] & columns[None, :, None]
    return jnp.where(jnp.expand_dims(inside, range(x.ndim - 3)), x, 0)


class Pointwise(nn.Module):
    """1x1 convolution without bias; the kernel is `1 1 c d`."""

    features: int
    stride: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b p q d"]:
        """Multiplies every pixel, or every `stride`-th, by one matrix."""
        shape = (1, 1, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        x = x[..., :: self.stride, :: self.stride, :].astype(self.dtype)
        return _product(x, jnp.asarray(kernel)[0, 0], self.dtype)


class Parameters(nn.Module):
    """Kernel `size size c d` and bias of a convolution, for the functions below."""

    features: int
    size: int = 3
    bias_init: Any = nn.initializers.zeros

    @nn.compact
    def __call__(self, channels: int) -> tuple[Float[Array, "k k c d"], Float[Array, " d"]]:
        """Makes or finds them, for so many input channels."""
        shape = (self.size, self.size, channels, self.features)
        kernel = jnp.asarray(self.param("kernel", nn.initializers.lecun_normal(), shape))
        return kernel, jnp.asarray(self.param("bias", self.bias_init, (self.features,)))


def conv1(
    x: Float[Array, "*b h w c"], kernel: Float[Array, "1 1 c d"], bias: Float[Array, " d"]
) -> Float[Array, "*b h w d"]:
    """Convolves with 1x1 to few channels: a sum for each of them.

    Args:
      x: Features; their dtype is that of the factors and of the result. Sums are float32.
      kernel: One column per channel.
      bias: Added at the end.
    """
    columns = jnp.expand_dims(kernel[0, 0].T.astype(x.dtype), range(1, x.ndim))
    full = x.astype(jnp.float32)
    maps = [jnp.sum(full * column.astype(jnp.float32), axis=-1) for column in columns]
    return _finished(jnp.stack(maps, axis=-1), bias, x.dtype)


def conv3(
    x: Float[Array, "*b h w c"], kernel: Float[Array, "3 3 c d"], bias: Float[Array, " d"]
) -> Float[Array, "*b h w d"]:
    """Convolves with 3x3, padding 1; fast where few channels come out.

    Args:
      x: Features; their dtype is that of the factors and of the result. Sums are float32.
      kernel: One matrix per tap.
      bias: Added at the end.
    """
    matrix = jnp.moveaxis(kernel, 2, 0).reshape(x.shape[-1], -1)
    top, middle, bottom = jnp.split(_product(x, matrix), 3, axis=-1)
    taps = jnp.split(resize.moved(top, -3, 1) + middle + resize.moved(bottom, -3, -1), 3, axis=-1)
    total = resize.moved(taps[0], -2, 1) + taps[1] + resize.moved(taps[2], -2, -1)
    return _finished(total, bias, x.dtype)


def doubled_conv3(
    x: Float[Array, "*b h w c"],
    kernel: Float[Array, "3 3 c d"],
    bias: Float[Array, " d"],
    *,
    aligned: bool,
    strip: tuple[Int[Array, " h"], Scalar] | None = None,
    columns: Scalar | None = None,
) -> Float[Array, "*b p q d"]:
    """Doubles both sides (`resize.double`), then convolves with 3x3, padding 1.

    Args:
      x: Features; their dtype is that of the factors and of the result. Sums are float32.
      kernel: One matrix per tap.
      bias: Added at the end.
      aligned: Whether the corner pixels keep their place, see `resize.double`.
      strip: Where `x` is a strip: the index of its rows in the whole (see `strips.over_rows`), and
        the rows of the whole.
      columns: Where the picture ends, if columns follow, which are zero; None: nowhere.
    """
    width = x.shape[-2]
    row, height = (jnp.arange(x.shape[-3]), x.shape[-3]) if strip is None else strip
    down = resize.double_weights(row, height, aligned=aligned)
    end = width if columns is None else columns
    across = resize.double_weights(jnp.arange(width), end, aligned=aligned)
    taps = [
        _sum_doubled([_product(x, kernel[y, column]) for y in range(3)], -3, down)
        for column in range(3)
    ]
    # One pass over rows, one over columns: fused into one, a pixel would cost their product.
    taps = jax.lax.optimization_barrier(taps)
    return _finished(_sum_doubled(taps, -2, across), bias, x.dtype)


def _product(x: Array, matrix: Array, dtype: DTypeLike = jnp.float32) -> Array:
    """Multiplies every pixel by a matrix. Flat, because a CPU sums flat gradients much faster."""
    flat = x.reshape(-1, x.shape[-1])
    out = jnp.matmul(flat, matrix.astype(x.dtype), preferred_element_type=dtype)
    return out.reshape(*x.shape[:-1], matrix.shape[-1])


def _finished(total: Array, bias: Array, dtype: DTypeLike) -> Array:
    return (total + jnp.expand_dims(bias, range(total.ndim - 1))).astype(dtype)


def _sum_doubled(taps: Sequence[Array], axis: int, weights: tuple[Array, Array]) -> Array:
    """Doubles three taps along an axis and sums them, each moved to its place."""
    first, middle, last = (resize.double_axis(tap, axis, *weights) for tap in taps)
    return resize.moved(first, axis, 1) + middle + resize.moved(last, axis, -1)
