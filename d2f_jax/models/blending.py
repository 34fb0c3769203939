"""Other ways to lay the sharp picture over the rendered bokeh: the baselines of Table 8.

All take the full-size picture, the bokeh brought up to its size, and the full-size defocus map.
BRDE's naive blending is `fusion.naive_mask` with `fusion.fuse`; D2F's own way is
`fusion.blend`. LP-SR (Liu et al. 2015) is not here: it codes the lowest band of a Laplacian
pyramid in a dictionary learnt from photographs (K-SVD), and neither the dictionary nor how D2F's
authors handed it the in-focus region is published.

References:
  Burt and Adelson, A multiresolution spline with application to image mosaics, 1983.
  Pérez et al., Poisson image editing, 2003.
  Farbman et al., Convolution pyramids, 2011.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
# Filters for boundary interpolation (Farbman et al. 2011, Sec. 4.2): analysis and synthesis, the
# factor of the latter, and the one applied at each level.
_REACH = (0.1507, 0.6836, 1.0334, 0.6836, 0.1507)
_REACH_UP = 0.0270
_REACH_SAME = (0.0312, 0.7753, 0.0312)


def poisson_blend(
    image: Float[Array, "*b h w 3"],
    rendered: Float[Array, "*b h w 3"],
    mask: Float[Array, "*b h w"],
    *,
    iterations: int = 500,
) -> Float[Array, "*b h w 3"]:
    """Naive Poisson blending (Pérez et al. 2003): the sharp picture's gradients where mask is 1.

    Solves for the picture that has the Laplacian of `image` inside the binary mask and equals
    `rendered` outside of it.

    Args:
      image: Sharp picture, sRGB in [0, 1].
      rendered: Bokeh at the same size.
      mask: 1 in focus, 0 elsewhere (`fusion.binary_mask`).
      iterations: Most steps of the conjugate gradients.

    Returns:
      Blended picture in [0, 1].
    """
    inside = mask[..., None]

    def operator(x: Array) -> Array:  # minus the Laplacian inside, the identity outside
        return jnp.where(inside > 0, _minus_laplacian(inside * x), x)

    # The solution is image + membrane; outside, the membrane is rendered - image and known.
    known = (1 - inside) * (rendered - image)
    pull = jnp.where(inside > 0, -_minus_laplacian(known), 0.0)
    membrane, _ = jax.scipy.sparse.linalg.cg(operator, pull, tol=1e-4, maxiter=iterations)
    return jnp.clip(image + jnp.where(inside > 0, membrane, known), 0, 1)


def laplacian_pyramid_blend(
    image: Float[Array, "*b h w 3"],
    rendered: Float[Array, "*b h w 3"],
    mask: Float[Array, "*b h w"],
    *,
    levels: int = 5,
) -> Float[Array, "*b h w 3"]:
    """Blends every band of a Laplacian pyramid by a mask as smooth as the band (Burt 1983).

    Args:
      image: Sharp picture, sRGB in [0, 1].
      rendered: Bokeh at the same size.
      mask: 1 keeps the sharp picture (`fusion.naive_mask`), in [0, 1].
      levels: Bands.

    Returns:
      Blended picture in [0, 1].
    """
    share = mask[..., None]
    bands = []
    for _ in range(levels - 1):
        smaller = (_half(image), _half(rendered))
        size = image.shape[-3:-1]
        detail = [x - _double(y, size) for x, y in zip((image, rendered), smaller, strict=True)]
        bands.append(share * detail[0] + (1 - share) * detail[1])
        (image, rendered), share = smaller, _half(share)
    blended = share * image + (1 - share) * rendered
    for band in reversed(bands):
        blended = band + _double(blended, band.shape[-3:-1])
    return jnp.clip(blended, 0, 1)


def convolution_pyramid_blend(
    image: Float[Array, "*b h w 3"],
    rendered: Float[Array, "*b h w 3"],
    mask: Float[Array, "*b h w"],
) -> Float[Array, "*b h w 3"]:
    """Poisson blending with a membrane from convolution pyramids (Farbman et al. 2011).

    The difference of both pictures just outside of the mask is spread into it by a filter with a
    very wide support, and divided by the spread of ones.

    Args:
      image: Sharp picture, sRGB in [0, 1].
      rendered: Bokeh at the same size.
      mask: 1 in focus, 0 elsewhere (`fusion.binary_mask`).

    Returns:
      Blended picture in [0, 1].
    """
    inside = mask[..., None]
    # Pixels outside with a neighbour inside.
    rim = (1 - inside) * (_minus_laplacian(inside) < 0)
    spread = _wide_filter(jnp.concatenate([rim * (rendered - image), rim], axis=-1))
    membrane = spread[..., :3] / jnp.maximum(spread[..., 3:], 1e-12)
    return jnp.clip(jnp.where(inside > 0, image + membrane, rendered), 0, 1)


def _minus_laplacian(x: Float[Array, "*b h w c"]) -> Float[Array, "*b h w c"]:
    """Sum of the differences to the four neighbours; none across the border."""
    total = jnp.zeros_like(x)
    for axis in (-3, -2):
        flow = jnp.diff(x, axis=axis)
        margin = [(0, 0)] * x.ndim
        margin[axis] = (1, 1)
        total -= jnp.diff(jnp.pad(flow, margin), axis=axis)
    return total


def _wide_filter(x: Float[Array, "*b h w c"]) -> Float[Array, "*b h w c"]:
    """The convolution pyramid's transform: down to one pixel and up again."""
    size = x.shape[-3:-1]
    same = _filtered(x, _REACH_SAME, "constant")
    if max(size) <= 2:
        return same
    below = _wide_filter(_filtered(x, _REACH, "constant")[..., ::2, ::2, :])
    spaced = jnp.zeros_like(x).at[..., ::2, ::2, :].set(below)
    return same + _REACH_UP * _filtered(spaced, _REACH, "constant")


def _half(x: Float[Array, "*b h w c"]) -> Float[Array, "*b p q c"]:
    return _filtered(x, _BINOMIAL, "edge")[..., ::2, ::2, :]


def _double(x: Float[Array, "*b p q c"], size: tuple[int, ...]) -> Float[Array, "*b h w c"]:
    shape = (*x.shape[:-3], *size, x.shape[-1])
    ones = jnp.zeros(shape, x.dtype).at[..., ::2, ::2, :].set(1)
    spaced = jnp.zeros(shape, x.dtype).at[..., ::2, ::2, :].set(x)
    # Dividing by the filtered ones keeps flat pictures flat up to the border.
    return _filtered(spaced, _BINOMIAL, "constant") / _filtered(ones, _BINOMIAL, "constant")


def _filtered(x: Array, taps: Sequence[float], mode: str) -> Array:
    reach = len(taps) // 2
    for axis in (-3, -2):
        length = x.shape[axis]
        margin = [(0, 0)] * x.ndim
        margin[axis] = (reach, reach)
        padded = jnp.pad(x, margin, mode=mode)
        parts = [
            tap * jax.lax.slice_in_dim(padded, i, i + length, axis=padded.ndim + axis)
            for i, tap in enumerate(taps)
        ]
        x = jnp.stack(parts).sum(0)
    return x
