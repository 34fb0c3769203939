"""Deep Poisson fusion (Luo et al. 2023, Sec. 3.3): the sharp original over the rendered bokeh."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, DTypeLike, Float

from d2f_jax import color
from d2f_jax.models import resize, strips
from d2f_jax.models.networks import layers
from d2f_jax.types import Extent


class FusionNet(nn.Module):
    """Predicts the fusion mask from defocus and luma (Eq. 17): 3x3, 2 -> 64 -> 16 -> 16 -> 1.

    Attributes:
      features: Channels of the hidden layers.
      dtype: Precision of the activations.
    """

    features: tuple[int, ...] = (64, 16, 16)
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "*b h w 3"],
        defocus: Float[Array, "*b h w"],
        inside: Bool[Array, "h #w 1"] | None = None,
    ) -> Float[Array, "*b h w"]:
        """Predicts the raw mask, not clamped.

        Args:
          image: Full-size sRGB image.
          defocus: Defocus map at the same size, 0 in focus.
          inside: Which pixels belong to the picture, where a strip of rows overlaps its border, or
            a picture lies on a canvas: what the hidden layers make beyond is cleared, as zero
            padding would.
        """
        x = jnp.stack([1 - defocus, color.luma(image)], axis=-1).astype(self.dtype)
        inside = jnp.ones((1, 1, 1), bool) if inside is None else inside
        mine = jnp.expand_dims(inside, range(x.ndim - 3)).astype(self.dtype)
        for index, features in enumerate(self.features, start=1):
            conv = nn.Conv(features, (3, 3), dtype=self.dtype, name=f"conv{index}")
            x = mine * nn.relu(conv(mine * x))
        # A mask that starts at one half lies inside its clamp, where training moves it.
        half, name = nn.initializers.constant(0.5), f"conv{len(self.features) + 1}"
        last = layers.Parameters(1, bias_init=half, name=name)(x.shape[-1])
        return layers.conv3(x, *last)[..., 0].astype(jnp.float32)


class Blend(NamedTuple):
    """The fused picture, and the mask that it was fused with."""

    bokeh: Float[Array, "*b h w 3"]
    fusion_mask: Float[Array, "*b h w"]


def binary_mask(defocus: Float[Array, "*b h w"], theta: float = 1 / 8) -> Float[Array, "*b h w"]:
    """Marks what is in focus: 1 where the defocus is below the threshold (Eq. 19, errata b).

    Args:
      defocus: Defocus map.
      theta: Threshold; 1/8 in the released code, 0.25 in print. A picture whose smallest defocus
        reaches it is cut at that share of its own range instead, so that something stays sharp.
    """
    low = defocus.min(axis=(-2, -1), keepdims=True)
    high = defocus.max(axis=(-2, -1), keepdims=True)
    threshold = jnp.where(low >= theta, low + theta * (high - low), theta)
    return (defocus < threshold).astype(jnp.float32)


def naive_mask(
    defocus: Float[Array, "*b h w"], theta: float = 0.25, *, sharp: float = 0.0
) -> Float[Array, "*b h w"]:
    """Soft mask straight from the defocus map, for blending without a network (BRDE, Table 8).

    The paper names the method without a formula; this is our reading: 1 up to `sharp`, falling
    linearly to 0 where the defocus reaches theta.

    Args:
      defocus: Defocus map.
      theta: Defocus from which nothing is in focus.
      sharp: Defocus up to which all is, below theta: a depth of field for maps that are seldom
        exactly 0. BRDE has none.
    """
    return jnp.clip((theta - defocus) / (theta - sharp), 0, 1)


def fuse(
    image: Float[Array, "*b h w 3"],
    rendered: Float[Array, "*b h w 3"],
    fusion_mask: Float[Array, "*b h w"],
) -> Float[Array, "*b h w 3"]:
    """Takes the sharp image where the mask is 1, the bokeh where it is 0 (Alg. 1, line 11)."""
    mask = fusion_mask[..., None]
    return jnp.clip(mask * image + (1 - mask) * rendered, 0, 1)


def _clamped(mask: Float[Array, "*b h w"]) -> Float[Array, "*b h w"]:
    return jnp.clip(mask, 0, 1)


def blend(
    net: FusionNet,
    variables: dict | None,
    image: Float[Array, "*b h w 3"],
    rendered: Float[Array, "*b p q 3"],
    defocus: Float[Array, "*b u v"],
    *,
    theta: float = 0.25,
    sharp: float = 0.0,
    strip: int | None = None,
    extents: tuple[Extent, Extent] | None = None,
    clamp: Callable[[Array], Array] = _clamped,
) -> Blend:
    """Predicts the mask at full size (Eq. 17) and lays the sharp image over the rendered bokeh.

    Args:
      net: The network that predicts the mask.
      variables: Its variables; None takes `naive_mask` in its place.
      image: Full-size sRGB image.
      rendered: Rendered bokeh at any size; resized bilinearly.
      defocus: Defocus map at any size; resized bilinearly.
      theta: Of `naive_mask`.
      sharp: Of `naive_mask`.
      strip: Rows to run at a time, which bounds the memory; None takes all. The result is the same.
      extents: Where the picture ends in `rendered` and `defocus`, and where in `image`, if rows and
        columns follow; may be traced. None: it fills them.
      clamp: Brings the network's mask to [0, 1]; training takes one with another gradient.
    """
    size = image.shape[-3], image.shape[-2]
    height, width = size if extents is None else extents[1]
    predict: Any = net.apply

    def run(parts: list[Array], row: Array) -> tuple[Array, Array]:
        resized = resize.bilinear(defocus[..., None], size, row=row, extents=extents)[..., 0]
        if variables is None:
            mask = naive_mask(resized, theta, sharp=sharp)
        else:
            rows, columns = (row >= 0) & (row < height), jnp.arange(size[1]) < width
            inside = rows[:, None, None] & columns[None, :, None]
            mask = clamp(predict(variables, parts[0], resized, inside))
        enlarged = resize.bilinear(rendered, size, row=row, extents=extents)
        return fuse(parts[0], enlarged, mask), mask[..., None]

    halo = 0 if variables is None else len(net.features) + 1  # of the 3x3 convolutions
    bokeh, mask = strips.over_rows(run, (image,), rows=strip, halo=halo)
    return Blend(bokeh, mask[..., 0])
