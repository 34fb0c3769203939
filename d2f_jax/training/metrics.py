"""Image quality: PSNR, SSIM and LPIPS, under every convention found in published bokeh code.

Images are channels-last sRGB in [0, 1] with optional leading batch axes. The same pair scores up
to a decibel apart between repositories, because they crop, round and window differently;
`CONVENTIONS` writes those differences down as data, so that a table can show them side by side.

References:
  Wang et al., Image quality assessment: from error visibility to structural similarity, 2004.
  Zhang et al., The unreasonable effectiveness of deep features as a perceptual metric, 2018.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

Window = tuple[float, ...]


def gaussian_window(size: int = 11, *, sigma: float = 1.5) -> Window:
    """Normalised Gaussian taps of an odd `size`; 11 and 1.5 are those of Wang et al. 2004."""
    taps = np.exp(-0.5 * ((np.arange(size) - size // 2) / sigma) ** 2)
    return tuple((taps / taps.sum()).tolist())


def uniform_window(size: int = 7) -> Window:
    """Equal taps of an odd `size`; 7 is scikit-image's default."""
    return (1 / size,) * size


GAUSSIAN = gaussian_window()
UNIFORM = uniform_window()


@dataclass(frozen=True, kw_only=True)
class Convention:
    """How one project scores a prediction against its reference.

    Attributes:
      name: Short name for tables and JSON.
      note: What it does and who does so.
      eight_bit: Rounds both images to 8 bits first, as saved files are.
      border: Pixels removed on each side.
      multiple: Crops the centre to sides that are multiples of this.
      reference_peak: Takes the reference's maximum as the peak of PSNR instead of 1.
      window: Taps of the SSIM window.
      sample_covariance: Divides by N - 1 in SSIM's variances instead of N.
      pooled: Average-pools by round(min(h, w) / 256) before SSIM.
    """

    name: str
    note: str
    eight_bit: bool = False
    border: int = 0
    multiple: int = 1
    reference_peak: bool = False
    window: Window = GAUSSIAN
    sample_covariance: bool = False
    pooled: bool = False


CONVENTIONS = (
    Convention(
        name="gaussian",
        note="whole picture, Gaussian window 11 / 1.5 (BokehMe)",
    ),
    Convention(
        name="8bit-uniform",
        note="8-bit files, SSIM as scikit-image's default: 7x7 uniform window (DMSHN)",
        eight_bit=True,
        window=UNIFORM,
        sample_covariance=True,
    ),
    Convention(
        name="crop4-gaussian",
        note="centre crop to a multiple of 4, Gaussian window 11 / 1.5 (Bokehlicious)",
        multiple=4,
    ),
    Convention(
        name="border32-gaussian",
        note="32 px border removed, Gaussian window 11 / 1.5 (PyNET-Bokeh)",
        border=32,
    ),
    Convention(
        name="pooled-gaussian",
        note="SSIM after average pooling by round(min(h, w) / 256) (EBokehNet, piq)",
        pooled=True,
    ),
    Convention(
        name="refpeak-uniform",
        note="PSNR peak is the reference's maximum, 7x7 uniform window (BokehOrNot)",
        reference_peak=True,
        window=UNIFORM,
        sample_covariance=True,
    ),
)
"""The conventions in use, each with the project it was read in."""

LIKELY = CONVENTIONS[0]
LIKELY_REASON = (
    "The paper of D2F names no convention. BokehMe, by the same group, published its script "
    "(JuewenPeng/BokehMe, issue 4): whole picture, peak 1, Gaussian window 11 / 1.5; the organiser "
    "of the EBB! challenge uses that window too (PyNET-Bokeh). So `gaussian` is the most likely "
    "one; scikit-image's default (`8bit-uniform`) cannot be ruled out."
)


def score(
    prediction: Float[Array, "*b h w 3"],
    reference: Float[Array, "*b h w 3"],
    convention: Convention,
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """PSNR [dB] and SSIM of a prediction under one convention.

    Raises:
      ValueError: if an image is too small for the convention's border and window.
    """
    if convention.eight_bit:
        prediction, reference = _rounded(prediction), _rounded(reference)
    prediction, reference = (_cropped(x, convention) for x in (prediction, reference))
    peak = reference.max((-3, -2, -1)) if convention.reference_peak else 1.0
    decibels = psnr(prediction, reference, peak=peak)
    if convention.pooled:
        factor = max(1, round(min(reference.shape[-3:-1]) / 256))
        prediction, reference = _pooled(prediction, factor), _pooled(reference, factor)
    similarity = ssim_map(
        prediction,
        reference,
        window=convention.window,
        sample_covariance=convention.sample_covariance,
    )
    return decibels, similarity.mean((-3, -2, -1))


def psnr(
    prediction: Float[Array, "*b h w c"],
    reference: Float[Array, "*b h w c"],
    *,
    peak: float | Float[Array, "*b"] = 1.0,
) -> Float[Array, "*b"]:
    """Peak signal-to-noise ratio [dB]; infinite for equal images."""
    error = jnp.mean((prediction - reference) ** 2, (-3, -2, -1))
    return 10 * jnp.log10(peak**2 / error)


def ssim_map(
    prediction: Float[Array, "*b h w c"],
    reference: Float[Array, "*b h w c"],
    *,
    window: Window = GAUSSIAN,
    sample_covariance: bool = False,
) -> Float[Array, "*b hv wv c"]:
    """Structural similarity of each window that lies inside the image (Wang et al. 2004).

    The mean over pixels and channels is the usual SSIM (peak 1, K1 = 0.01, K2 = 0.03).
    Differentiable, and finite on flat images.

    Args:
      prediction: Image in [0, 1].
      reference: Image in [0, 1].
      window: Symmetric taps of the separable window, odd in number, sum 1.
      sample_covariance: Divides the variances by N - 1 instead of N (scikit-image's default).

    Returns:
      SSIM in [-1, 1], smaller than the image by `len(window) - 1` on each axis.

    Raises:
      ValueError: if the image is smaller than the window.
    """
    if min(prediction.shape[-3:-1]) < len(window):
        height, width = prediction.shape[-3:-1]
        raise ValueError(
            f"an image of {height}x{width} is smaller than SSIM's window of {len(window)} pixels"
        )
    # Variances do not change with a shift of the origin; centring keeps float32 accurate.
    x, y = prediction - 0.5, reference - 0.5
    mean_x, mean_y = windowed(x, window), windowed(y, window)
    unbias = 1.0
    if sample_covariance:
        samples = len(window) ** 2
        unbias = samples / (samples - 1)
    variance_x = unbias * (windowed(x * x, window) - mean_x**2)
    variance_y = unbias * (windowed(y * y, window) - mean_y**2)
    covariance = unbias * (windowed(x * y, window) - mean_x * mean_y)
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    c1, c2 = 0.01**2, 0.03**2
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1) * structure


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def windowed(image: Float[Array, "*b h w c"], window: Window) -> Float[Array, "*b hv wv c"]:
    """Weighted mean of each window inside the image; `window` is symmetric and separable."""
    return _windowed(image, window)


@functools.partial(jax.jit, static_argnums=1)
def _windowed(image: Array, window: Window) -> Array:
    size = len(window)
    height, width = image.shape[-3] - size + 1, image.shape[-2] - size + 1
    zero = jnp.zeros((), image.dtype)
    rows = sum((tap * image[..., i : i + height, :, :] for i, tap in enumerate(window)), zero)
    return sum((tap * rows[..., i : i + width, :] for i, tap in enumerate(window)), zero)


def _windowed_forward(image: Array, window: Window) -> tuple[Array, None]:
    return windowed(image, window), None


def _windowed_backward(window: Window, _: None, cotangent: Array) -> tuple[Array]:
    # The adjoint of a symmetric filter is the filter on the zero-padded cotangent. XLA's own
    # transpose of the shifted sums takes about ten times as long on a CPU.
    margin = (len(window) - 1,) * 2
    batch = [(0, 0)] * (cotangent.ndim - 3)
    return (windowed(jnp.pad(cotangent, [*batch, margin, margin, (0, 0)]), window),)


windowed.defvjp(_windowed_forward, _windowed_backward)


def lpips(
    prediction: Float[Array, "*b h w 3"],
    reference: Float[Array, "*b h w 3"],
    features: Callable[[Array], Sequence[Array]],
    linear: Sequence[Float[Array, " _"]],
) -> Float[Array, "*b"]:
    """Learned perceptual distance (Zhang et al. 2018); 0 for equal images, lower is closer.

    Args:
      prediction: Image in [0, 1].
      reference: Image in [0, 1].
      features: Gives one map per layer, channels last (see `networks.vgg`).
      linear: Weight of each channel, one vector per layer.
    """
    distance = jnp.zeros(prediction.shape[:-3])
    pairs = zip(features(prediction), features(reference), linear, strict=True)
    for ours, theirs, weight in pairs:
        difference = (_unit(ours) - _unit(theirs)) ** 2
        distance += jnp.mean(difference @ weight, (-2, -1))
    return distance


def bootstrap_interval(
    values: Float[np.ndarray, " n"],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean; the same seed gives the same interval."""
    draws = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.asarray(values)[draws].mean(1), [tail, 1 - tail])
    return float(low), float(high)


def _unit(features: Array) -> Array:
    # The small constant is the one of the published implementation; the one under the root keeps
    # the gradient finite where a pixel has no features at all.
    return features / (jnp.sqrt(jnp.sum(features**2, -1, keepdims=True) + 1e-20) + 1e-10)


def _rounded(image: Array) -> Array:
    return jnp.round(jnp.clip(image, 0, 1) * 255) / 255


def _cropped(image: Array, convention: Convention) -> Array:
    height, width = image.shape[-3:-1]
    sides = [(side - 2 * convention.border) // convention.multiple for side in (height, width)]
    if min(sides) < 1:
        raise ValueError(
            f"an image of {height}x{width} is too small for the convention {convention.name!r}"
        )
    new_height, new_width = (side * convention.multiple for side in sides)
    top, left = (height - new_height) // 2, (width - new_width) // 2
    return image[..., top : top + new_height, left : left + new_width, :]


def _pooled(image: Array, factor: int) -> Array:
    *batch, height, width, channels = image.shape
    height, width = height // factor, width // factor
    image = image[..., : height * factor, : width * factor, :]
    return image.reshape(*batch, height, factor, width, factor, channels).mean((-4, -2))
