"""Which networks make a D2F, by name: configurations, their parameters, how they start."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from d2f_jax.models import defocus as hallucination
from d2f_jax.models import fusion, radiance
from d2f_jax.models.networks.efficientnet import EfficientNetLite
from d2f_jax.models.networks.resnext import ResNeXt
from d2f_jax.render import kernels


class D2FParams(NamedTuple):
    """Variables of the three networks, as `Module.init` returns them.

    Attributes:
      defocus: `params` and `batch_stats` of the defocus network.
      radiance: `params` of the radiance network.
      fusion: `params` of the fusion network; None after stage 1, when the mask is
        `fusion.naive_mask` instead.
    """

    defocus: dict[str, Any]
    radiance: dict[str, Any]
    fusion: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class D2FConfig:
    """Networks and constants of Algorithm 1; the defaults are the released code's (errata).

    Attributes:
      defocus_net: Defocus hallucination (Eq. 2).
      radiance_net: Radiance virtualization (Eq. 3), or what takes its place in Table 7; it sees one
        pixel at a time.
      fusion_net: Fusion mask (Eq. 17).
      sizes: Kernel sizes, one per layer (Eq. 14).
      sharpness: Slope of the layer masks (gamma of Eq. 7).
      alpha: Largest weight of a highlight (Eq. 4).
      beta: Spread of a highlight's channels (Eq. 4).
      highlight: Channel value from which a pixel is a highlight (Alg. 1 line 4).
      theta: Defocus from which a pixel is all bokeh where there is no fusion network, and whose
        half is the edge that outlines move; above 0.
      sharp: Defocus up to which a pixel is all photograph there, if the map is the network's own;
        from 0 to below theta.
      defocus_side: Long side at which the defocus network sees every picture [px]; None: working
        size, as released.
      outline_side: Long side at which `outline_net` sees the picture once more, for the outlines of
        the map (`outlines`) [px]; None: it does not.
      ground: How much of the blur of what is out of focus comes from its height in the picture
        (`defocus.receding`), from 0 to 0.5; 0 leaves the network's map. It goes with the
        architecture, so weights trained for it have it too.
    """

    defocus_net: hallucination.DefocusNet = hallucination.DefocusNet()  # noqa: RUF009
    radiance_net: nn.Module = radiance.RadianceNet()  # noqa: RUF009
    fusion_net: fusion.FusionNet = fusion.FusionNet()  # noqa: RUF009
    sizes: tuple[int, ...] = kernels.PAPER_SIZES
    sharpness: float = 100.0
    alpha: float = 3.0
    beta: float = 5.0
    highlight: float = 0.99
    theta: float = 0.25
    sharp: float = 0.0
    defocus_side: int | None = None
    outline_side: int | None = None
    ground: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.sharp < self.theta:
            raise ValueError(
                f"sharp is from 0 to below theta, got {self.sharp:g} and theta {self.theta:g}"
            )

    @property
    def outline_net(self) -> hallucination.DefocusNet:
        """The defocus network that makes outlines: with the last half of its decoders, or one."""
        return self.defocus_net.clone(last=max(1, self.defocus_net.decoders // 2))


ARCHITECTURES: dict[str, D2FConfig] = {
    "d2f-resnext50": D2FConfig(),
    # Light enough to train on one small GPU.
    "d2f-small": D2FConfig(
        defocus_net=hallucination.DefocusNet(
            encoder=ResNeXt(blocks=(2, 2, 2, 2), groups=16, width=32),
            features=64,
            head=(32, 16),
        ),
    ),
    # The default weights: an encoder that stays as ImageNet made it, light all the way.
    "d2f-lite": D2FConfig(
        defocus_net=hallucination.DefocusNet(
            encoder=EfficientNetLite(), features=64, head=(32, 16)
        ),
        fusion_net=fusion.FusionNet(features=(16, 8, 8)),
        defocus_side=256,  # as in training
        outline_side=384,  # at 512 twice as slow, at 320 a tenth more is wrong along outlines
        theta=0.4,
        sharp=0.1,
        ground=0.15,
    ),
    # For trying out training on a CPU: pictures of 128 pixels, blur of up to 16.
    "d2f-smoke": D2FConfig(
        defocus_net=hallucination.DefocusNet(
            encoder=ResNeXt(blocks=(1, 1, 1, 1), groups=4, width=8),
            features=24,
            head=(16, 8),
        ),
        fusion_net=fusion.FusionNet(features=(16, 8, 8)),
        sizes=kernels.uniform_sizes(9, step=2),
        sharpness=20.0,  # wide slopes, on which training finds a gradient everywhere
    ),
}
"""Configurations by the name that a weights file carries; only the first is the paper's."""


def named(name: str, decoders: int = 1) -> D2FConfig:
    """The architecture of this name, its defocus network with so many decoders.

    Raises:
      ValueError: if there is none of this name.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"there is no architecture {name!r}, only {', '.join(ARCHITECTURES)}")
    config = ARCHITECTURES[name]
    return replace(config, defocus_net=config.defocus_net.clone(decoders=decoders))


def init(config: D2FConfig, key: PRNGKeyArray) -> D2FParams:
    """Initialises all three networks with random weights."""
    keys = jax.random.split(key, 3)
    image, plane = jnp.zeros((1, 64, 64, 3)), jnp.zeros((1, 64, 64))
    return D2FParams(
        jax.jit(config.defocus_net.init)(keys[0], image),
        jax.jit(config.radiance_net.init)(keys[1], image),
        jax.jit(config.fusion_net.init)(keys[2], image, plane),
    )


def with_precision(config: D2FConfig, dtype: Any) -> D2FConfig:
    """The same networks with activations in another precision; rendering stays in float32."""
    return replace(
        config,
        defocus_net=config.defocus_net.clone(
            encoder=config.defocus_net.encoder.clone(dtype=dtype), dtype=dtype
        ),
        radiance_net=config.radiance_net.clone(dtype=dtype),
        fusion_net=config.fusion_net.clone(dtype=dtype),
    )
