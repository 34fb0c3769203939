"""Training losses (Luo et al. 2023, Sec. 3.3 and 3.4).

Images are channels-last sRGB in [0, 1] with any leading batch axes. `l1_loss`, `ssim_loss` and
`poisson_gradient_loss` return maps and leave the mean to the caller; losses that compare several
scales or layers return one value per image. `stage1_loss` and `stage2_loss` are the two totals.

References:
  Li and Snavely, MegaDepth: learning single-view depth prediction from internet photos, 2018.
  Xian et al., Monocular relative depth perception with web stereo data supervision, 2018.
  Johnson et al., Perceptual losses for real-time style transfer and super-resolution, 2016.
  Zhao et al., Loss functions for image restoration with neural networks, 2017.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from d2f_jax.training import metrics

Features = Callable[[Array], Sequence[Array]]
"""Maps images `b h w 3` in [0, 1] to feature maps, channels last (see `networks.vgg`)."""


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the parts of Eqs. 20 and 22; a part of weight 0 is not computed.

    The rows of Tables 4 and 5 are other weights: `LossWeights(perceptual=0.0, ssim=0.0,
    gradient=0.0)` is the first one of Table 4.

    Attributes:
      l1: Of the absolute difference.
      perceptual: Of the difference of features (lambda).
      ssim: Of 1 - SSIM.
      gradient: Of the pyramid gradient loss of the defocus map (delta).
      poisson: Of the Poisson gradient loss, stage 2 only (zeta).
      defocus: Of the absolute difference from a known defocus map, stage 1 only; not the paper's,
        which learns from pictures alone.
    """

    l1: float = 1.0
    perceptual: float = 0.1
    ssim: float = 1.0
    gradient: float = 0.1
    poisson: float = 10.0
    defocus: float = 0.0


class Stage1Loss(NamedTuple):
    """Parts of Eq. 20 before weighting, and their weighted sum, all scalars."""

    l1: Array
    perceptual: Array
    ssim: Array
    gradient: Array
    defocus: Array
    total: Array


class Stage2Loss(NamedTuple):
    """Parts of Eq. 22 before weighting, and their weighted sum, all scalars."""

    l1: Array
    perceptual: Array
    ssim: Array
    gradient: Array
    poisson: Array
    total: Array


def stage1_loss(
    bokeh: Float[Array, "*b h w 3"],
    target: Float[Array, "*b h w 3"],
    defocus: Float[Array, "*b p q"],
    image: Float[Array, "*b p q 3"],
    *,
    known: Float[Array, "*b p q"] | None = None,
    features: Features | None = None,
    weights: LossWeights | None = None,
) -> Stage1Loss:
    """Loss of defocus hallucination and radiance virtualization (Eq. 20).

    Args:
      bokeh: Rendered image; at half size in stage 1, where nothing is fused yet (errata l).
      target: Wide-aperture photograph at the same size.
      defocus: Predicted defocus map in [0, 1].
      image: All-in-focus image at the size of `defocus`.
      known: The true defocus map, where there is one; not compared when None.
      features: Feature network of the perceptual loss; needed unless its weight is 0.
      weights: Weights of the parts; the paper's when None.

    Raises:
      ValueError: if `features` is missing, or an image is too small (see the parts).
    """
    weights = LossWeights() if weights is None else weights
    nothing = jnp.zeros(())
    if weights.perceptual and features is None:
        raise ValueError(
            f"the perceptual loss has weight {weights.perceptual} but no feature network was "
            "given: pass `features`, or LossWeights(perceptual=0.0)"
        )
    l1 = l1_loss(bokeh, target).mean() if weights.l1 else nothing
    perceptual = nothing
    if weights.perceptual and features is not None:
        perceptual = perceptual_loss(bokeh, target, features).mean()
    ssim = ssim_loss(bokeh, target).mean() if weights.ssim else nothing
    gradient = pyramid_gradient_loss(defocus, image).mean() if weights.gradient else nothing
    compared = weights.defocus and known is not None
    difference = jnp.abs(defocus - known).mean() if compared else nothing
    total = (
        weights.l1 * l1
        + weights.perceptual * perceptual
        + weights.ssim * ssim
        + weights.gradient * gradient
        + weights.defocus * difference
    )
    return Stage1Loss(l1, perceptual, ssim, gradient, difference, total)


def stage2_loss(
    bokeh: Float[Array, "*b h w 3"],
    target: Float[Array, "*b h w 3"],
    pasted: Float[Array, "*b h w 3"],
    defocus: Float[Array, "*b p q"],
    image: Float[Array, "*b p q 3"],
    *,
    features: Features | None = None,
    weights: LossWeights | None = None,
) -> Stage2Loss:
    """Loss of deep Poisson fusion (Eq. 22).

    Args:
      bokeh: Fused image at full size.
      target: Wide-aperture photograph.
      pasted: The sharp image pasted into the upsampled bokeh by the binary mask (Eq. 19).
      defocus: Defocus map of the frozen first stage, in [0, 1].
      image: All-in-focus image at the size of `defocus`.
      features: As for `stage1_loss`.
      weights: As for `stage1_loss`.

    Raises:
      ValueError: as `stage1_loss`.
    """
    weights = LossWeights() if weights is None else weights
    first = stage1_loss(bokeh, target, defocus, image, features=features, weights=weights)
    poisson = jnp.zeros(())
    if weights.poisson:
        poisson = poisson_gradient_loss(bokeh, pasted).mean()
    total = first.total + weights.poisson * poisson
    return Stage2Loss(first.l1, first.perceptual, first.ssim, first.gradient, poisson, total)


def l1_loss(
    bokeh: Float[Array, "*b h w c"], target: Float[Array, "*b h w c"]
) -> Float[Array, "*b h w c"]:
    """Absolute difference of each value."""
    return jnp.abs(bokeh - target)


def ssim_loss(
    bokeh: Float[Array, "*b h w c"], target: Float[Array, "*b h w c"]
) -> Float[Array, "*b hv wv c"]:
    """1 - SSIM of each 11x11 Gaussian window inside the image (Zhao et al. 2017; errata l).

    Raises:
      ValueError: if the image is smaller than 11 pixels.
    """
    return 1 - metrics.ssim_map(bokeh, target)


def perceptual_loss(
    bokeh: Float[Array, "*b h w 3"],
    target: Float[Array, "*b h w 3"],
    features: Features,
    *,
    layer_weights: Sequence[float] | None = None,
) -> Float[Array, "*b"]:
    """Mean absolute difference of features, averaged over the layers (after Johnson et al. 2016).

    The paper gives neither layers nor norm. With the absolute difference and VGG's ReLU layers 1_2
    to 4_3, lambda = 0.1 times this loss is about as large as the L1 loss between a sharp image and
    its bokeh (both 0.04 to 0.07 in our measurements); squares would be five to ten times as much.

    Args:
      bokeh: Image in [0, 1].
      target: Image in [0, 1].
      features: Feature network; one map per layer.
      layer_weights: Factor of each layer; equal shares of 1 when None.
    """
    pairs = list(zip(features(bokeh), features(target), strict=True))
    if layer_weights is None:
        layer_weights = (1 / len(pairs),) * len(pairs)
    loss = jnp.zeros(bokeh.shape[:-3], bokeh.dtype)
    for (ours, theirs), weight in zip(pairs, layer_weights, strict=True):
        loss += weight * jnp.abs(ours - theirs).mean((-3, -2, -1))
    return loss


def pyramid_gradient_loss(
    defocus: Float[Array, "*b h w"], image: Float[Array, "*b h w 3"], *, scales: int = 4
) -> Float[Array, "*b"]:
    """Keeps the defocus map smooth where the image is (Eq. 21), over a pyramid of scales.

    Each scale halves the one before by 2x2 means; derivatives are forward differences, and the
    norm of the image's derivative is the sum over its channels.

    Args:
      defocus: Defocus map in [0, 1].
      image: All-in-focus image of the same size.
      scales: Number of scales (S), the full size included.

    Raises:
      ValueError: if a side is shorter than 2**scales.
    """
    height, width = defocus.shape[-2:]
    if min(height, width) < 2**scales:
        raise ValueError(
            f"{scales} scales of the pyramid gradient loss need sides of {2**scales} pixels or "
            f"more, got {height}x{width}"
        )
    loss = jnp.zeros(defocus.shape[:-2], defocus.dtype)
    for scale in range(scales):
        if scale > 0:
            defocus = _halved(defocus[..., None])[..., 0]
            image = _halved(image)
        for axis in (-2, -1):
            slope = jnp.abs(jnp.diff(defocus, axis=axis))
            edge = jnp.abs(jnp.diff(image, axis=axis - 1)).sum(-1)
            loss += (slope * jnp.exp(-edge)).mean((-2, -1))
    return loss / scales


def poisson_gradient_loss(
    bokeh: Float[Array, "*b h w 3"], pasted: Float[Array, "*b h w 3"]
) -> Float[Array, "*b h w"]:
    """Half the squared difference of the Laplacians (Eq. 18), summed over the colour channels.

    The mean over pixels is Eq. 18, whose bracket we read as a vector of three channels.

    Args:
      bokeh: Fused image.
      pasted: The sharp image pasted into the upsampled bokeh by the binary mask (Eq. 19).
    """
    return 0.5 * (laplacian(pasted - bokeh) ** 2).sum(-1)


def ranking_loss(
    defocus: Float[Array, "*b h w"],
    known: Float[Array, "*b h w"],
    sure: Bool[Array, "*b h w"],
    *,
    least: float = 0.03,
    softness: float = 0.05,
) -> Float[Array, "*b"]:
    """How often two places of a map are in the wrong order, and by how much (after Xian 2018).

    Pairs lie a fixed set of offsets apart, up to half of the picture, on every fourth pixel; those
    whose known values differ by `least` count, by a logistic function of the map's difference.

    Args:
      defocus: Map to judge.
      known: True map.
      sure: Where it is known.
      least: Smallest known difference that is an order.
      softness: Difference of the map at which an order is half sure; the loss falls further beyond.
    """
    ours, true, mask = (array[..., ::4, ::4] for array in (defocus, known, sure))
    height, width = ours.shape[-2:]
    loss, count = jnp.zeros(ours.shape[:-2]), jnp.zeros(ours.shape[:-2])
    for y, x in ((1, 3), (3, -2), (7, 1), (2, 9), (9, -7), (0, 17), (15, 4), (13, -15), (19, 11)):
        move = {"shift": (y % height, x % width), "axis": (-2, -1)}
        difference = true - jnp.roll(true, **move)
        both = mask & jnp.roll(mask, **move) & (jnp.abs(difference) > least)
        order = jnp.sign(difference) * (ours - jnp.roll(ours, **move))
        loss += jnp.where(both, softness * jax.nn.softplus(-order / softness), 0).sum((-2, -1))
        count += both.sum((-2, -1))
    return loss / jnp.maximum(count, 1)


def map_gradient_loss(
    defocus: Float[Array, "*b h w"],
    known: Float[Array, "*b h w"],
    sure: Bool[Array, "*b h w"],
    *,
    scales: int = 4,
) -> Float[Array, "*b"]:
    """Differences of the slopes of two maps over several scales (after Li and Snavely 2018).

    Args:
      defocus: Map to judge.
      known: True map.
      sure: Where it is known; only slopes between two such pixels count.
      scales: Number of scales; each takes every second pixel of the one before.
    """
    difference = jnp.where(sure, defocus - known, 0)
    loss = jnp.zeros(defocus.shape[:-2])
    for scale in range(scales):
        step = 1 << scale
        part, mask = difference[..., ::step, ::step], sure[..., ::step, ::step]
        for axis in (-2, -1):
            length = part.shape[axis]
            first, second = (
                jnp.take(mask, jnp.arange(start, length - 1 + start), axis=axis) for start in (0, 1)
            )
            slope = jnp.abs(jnp.diff(part, axis=axis)) * (first & second)
            loss += slope.mean((-2, -1))
    return loss / scales


def laplacian(image: Float[Array, "*b h w c"]) -> Float[Array, "*b h w c"]:
    """Four-neighbour Laplacian; pixels beyond the border repeat the border."""
    total = jnp.zeros_like(image)
    for axis in (-3, -2):
        # Differences between neighbours, none across the border; then inflow minus outflow.
        flow = jnp.diff(image, axis=axis)
        margin = [(0, 0)] * image.ndim
        margin[axis] = (1, 1)
        total += jnp.diff(jnp.pad(flow, margin), axis=axis)
    return total


def _halved(image: Array) -> Array:
    *batch, height, width, channels = image.shape
    image = image[..., : height // 2 * 2, : width // 2 * 2, :]
    return image.reshape(*batch, height // 2, 2, width // 2, 2, channels).mean((-4, -2))
