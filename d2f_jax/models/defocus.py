"""Defocus hallucination (Luo et al. 2023, Sec. 3.1): what is in focus, how blurred the rest."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import DTypeLike, Float

from d2f_jax.models.networks import layers
from d2f_jax.models.networks.refinenet import RefineNet
from d2f_jax.models.networks.resnext import ResNeXt
from d2f_jax.types import Extent

MULTI_CHANNEL_SIZES = (1, 9, 21, 37, 53, 69)
"""Kernel sizes that the six channels of Eq. 23 stand for (errata m)."""


LEAST_SHARP = 0.005
"""Share of a picture that is sharp at least, see `least_blurred`."""

_FOOT = 0.97  # share of what is in focus that lies above its foot
_LEAST_FOOT = 0.2  # rows on one side of the foot, as a share of the picture, that span the range


class DefocusNet(nn.Module):
    """Predicts the defocus map from a single sharp image (Eq. 2).

    Attributes:
      encoder: Any module `(image, train) -> features at 1/4, 1/8, 1/16, 1/32`.
      features: Channels of the decoder.
      head: Channels of the decoder's head.
      channels: 1 for the map, 6 for the softmax layers of Eq. 23.
      strip: Rows of the map that the decoder's head runs at a time, None for all.
      dtype: Precision of the decoder's activations.
      decoders: Decoders on the one encoder; the map is the mean of theirs, each cut to [0, 1].
        Networks that were trained apart fail in different places, so their mean fails less than
        most of them (Lakshminarayanan et al., Simple and scalable predictive uncertainty estimation
        using deep ensembles, 2017). Several are for maps alone, `channels == 1`.
      last: How many of the last decoders run; None runs all.
    """

    encoder: nn.Module = ResNeXt()
    features: int = 256
    head: tuple[int, int] = (128, 32)
    channels: int = 1
    strip: int | None = None
    dtype: DTypeLike = jnp.float32
    decoders: int = 1
    last: int | None = None

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "*b h w 3"],
        *,
        train: bool = False,
        extent: Extent | None = None,
    ) -> Float[Array, "..."]:
        """Hallucinates the map.

        Args:
          image: sRGB in [0, 1], not normalised further (errata k); sides multiples of 32.
          train: Whether batch normalisation uses (and updates) the statistics of the batch.
          extent: Where the picture ends, in multiples of 32, if rows and columns follow: the map is
            that of the picture alone. May be traced; for encoders that take a `layers.Canvas`.

        Returns:
          `channels == 1`: the raw defocus map `... h w`, about [0, 1], not clipped (errata g)
          where there is one decoder.
          Otherwise probabilities `... h w n` that sum to 1 over the channels.

        Raises:
          ValueError: if a side of the image is not a multiple of 32, or for several channels of
            several decoders.
        """
        batch, (height, width) = image.shape[:-3], image.shape[-3:-1]
        if self.channels > 1 and self.decoders > 1:
            raise ValueError("several decoders make maps alone: channels must be 1")
        if height % 32 or width % 32:
            raise ValueError(f"image sides must be multiples of 32, got {height}x{width}")
        image = image.reshape(-1, height, width, 3)
        canvas = None if extent is None else layers.Canvas(height, width, *extent)
        features = self.encoder(image, train, *(() if canvas is None else (canvas,)))
        maps = [
            RefineNet(self.features, self.head, self.channels, self.strip, self.dtype, name=name)(
                features, canvas
            ).astype(jnp.float32)
            for name in decoder_names(self.decoders)[-(self.last or self.decoders) :]
        ]
        out: Any = maps[0]
        if self.decoders > 1:
            out = sum(jnp.clip(x, 0, 1) for x in maps) / len(maps)
        out = out.reshape(*batch, height, width, self.channels)
        return out[..., 0] if self.channels == 1 else jax.nn.softmax(out, axis=-1)


def decoder_names(count: int) -> list[str]:
    """The names that the parameters of a network's decoders have, in their order."""
    return ["decoder", *(f"decoder{n}" for n in range(2, count + 1))]


def least_blurred(defocus: Float[Array | np.ndarray, "*b h w"], share: float = LEAST_SHARP) -> Any:
    """By how much a map is to be lowered so that its smallest part counts as in focus.

    The released code raises its threshold where a map never falls below it (errata b); here the map
    moves, so that blur grows from what the network blurs least, and the renderer sees it too.

    Args:
      defocus: Map of which 0 is in focus, not below it.
      share: Part of the picture that becomes sharp at least.

    Returns:
      The value `*b` that so much of the map does not exceed; 0 where that much is in focus already;
      of numpy for a map of numpy.
    """
    xp: Any = np if isinstance(defocus, np.ndarray) else jnp
    return xp.quantile(defocus, share, axis=(-2, -1), method="lower")


def receding(defocus: Float[Array | np.ndarray, "*b h w"], *, theta: float, share: float) -> Any:
    """Has what is out of focus recede: what is higher in a picture is mostly farther.

    A network that saw few photographs blurs a whole background alike. Things stand on a ground,
    and where they stand tells how far they are (Torralba and Oliva, Depth estimation from image
    structure, 2002); so a share of each value is taken from how far its row lies above the foot of
    what is in focus, or, counting half, below it.

    Args:
      defocus: Map in [0, 1] of which 0 is in focus.
      theta: Defocus at which nothing is in focus any more, above 0; up to half of it values stay.
      share: Part of a value from `theta` on that its row decides, in [0, 0.5].

    Returns:
      The map in [0, 1], of numpy for a map of numpy; as it was where nothing is in focus.

    Raises:
      ValueError: for a share beyond 0.5, with which what is out of focus could come into it.
    """
    if not 0 <= share <= 0.5:
        raise ValueError(f"the share that rows decide is from 0 to 0.5, got {share:g}")
    xp: Any = np if isinstance(defocus, np.ndarray) else jnp
    sharp = xp.clip(1 - 2 * defocus / theta, 0, 1).mean(-1)  # of each row
    count = xp.cumsum(sharp, -1)
    # Of a row so much as still belongs to what is above the foot: it moves without jumps.
    above = (_FOOT * count[..., -1:] - (count - sharp)) / xp.maximum(sharp, 1e-6)
    foot = xp.clip(above, 0, 1).mean(-1)[..., None]
    height = defocus.shape[-2]
    rows = (xp.arange(height, dtype=defocus.dtype) + 0.5) / height
    rows = xp.broadcast_to(rows, sharp.shape)
    behind = (foot - rows) / xp.maximum(foot, _LEAST_FOOT)
    before = 0.5 * (rows - foot) / xp.maximum(1 - foot, _LEAST_FOOT)
    away = xp.where(rows < foot, behind, before)[..., None]
    weight = share * xp.clip(2 * defocus / theta - 1, 0, 1) * (count[..., -1:, None] > 0)
    return defocus + weight * (away - defocus)


def from_disparity(
    disparity: Float[Array, "*b h w"], focus: float | Float[Array, "..."]
) -> Float[Array, "*b h w"]:
    """Signed defocus of a disparity map (Eq. 1), scaled so that its range spans 1.

    Args:
      disparity: Inverse depth on any affine scale, greater = nearer.
      focus: Disparity in focus, in the same units; a number or one value per picture.

    Returns:
      `(disparity - focus) / (max - min)`, positive nearer than the focus, cut to [-1, 1]: a
      difference of the map's whole range takes the last kernel. A constant map has no range and
      gives zeros where it equals the focus.
    """
    low = disparity.min(axis=(-2, -1), keepdims=True)
    high = disparity.max(axis=(-2, -1), keepdims=True)
    span = jnp.where(high > low, high - low, 1.0)
    focus = jnp.asarray(focus, disparity.dtype)[..., None, None]
    return jnp.clip((disparity - focus) / span, -1, 1)


def from_layers(probabilities: Float[Array, "*b h w n"]) -> Float[Array, "*b h w"]:
    """One map from the multi-channel output of Eq. 23: the expected blur, 1 = the last kernel.

    The six channels stand for `MULTI_CHANNEL_SIZES`; the released code shows them with the weights
    0, 2, 5, 9, 13 and 17 over 17 (errata m), which are those sizes.
    """
    sizes = np.asarray(MULTI_CHANNEL_SIZES)
    return probabilities @ jnp.asarray((sizes // 4) / (sizes[-1] // 4), probabilities.dtype)
