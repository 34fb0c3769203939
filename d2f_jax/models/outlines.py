"""Gives the defocus map of a network the outlines of its picture.

`joined` takes what lies near an edge of a small map half from a larger one, on which large things
would have holes; `follow` then moves the edge itself to where the colours change. The colours of
what is in focus and of what is not are a normal distribution each, of the surroundings of every
pixel, weighted by the map; the map is the prior, their likelihood the evidence, and both are looked
at twice, as in the expectation maximisation behind matting by colours (Chuang et al., A Bayesian
approach to digital matting, 2001).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from d2f_jax.render import inpaint
from d2f_jax.types import Extent, Scalar

# Chosen on the subjects that the default weights were trained on.
SPREAD = 1 / 32
"""Deviation of a surrounding, and how far an edge reaches [long sides]."""

_CELL = 4  # px: surroundings are made of the means of such cells
_EDGE = 0.5  # range within reach that is an edge altogether
_FINE = 0.5  # part of the larger map near edges
_TRUST = 1.2  # weight of the colours beside the map
_LARGEST = 4.0  # log ratio of likelihoods that is believed
_ROUNDS = 2
_NOISE = 1e-3  # variance of colours that is always there [sRGB in [0, 1], squared]

_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


class _Around(NamedTuple):
    """Means over the surroundings of pixels, as products of matrices from both sides.

    Attributes:
      pool: Of rows and of columns: means of cells, `p h` and `q w`.
      spread: Of rows and of columns: weights of the cells around a pixel, `h p` and `w q`.
      filled: Which cells hold something of the picture; the others count for nothing.
    """

    pool: tuple[Array, Array]
    spread: tuple[Array, Array]
    filled: Bool[Array, "p q"]

    def cells(self, planes: Float[Array, "*b h w c"]) -> Float[Array, "*b p q c"]:
        """Means of cells."""
        return jnp.einsum("ph,...hwc,qw->...pqc", self.pool[0], planes, self.pool[1])

    def smooth(self, cells: Float[Array, "*b p q c"]) -> Float[Array, "*b h w c"]:
        """Means of what lies around each pixel."""
        return jnp.einsum("hp,...pqc,wq->...hwc", self.spread[0], cells, self.spread[1])


def _around(size: Sequence[int], extent: Extent | None) -> _Around:
    pools, spreads, filled = [], [], []
    for length, end in zip(size, size if extent is None else extent, strict=True):
        places, cells = np.arange(length), np.arange(-(-length // _CELL))
        within = (places // _CELL == cells[:, None]) & (places < end)[None]
        count = within.sum(1, keepdims=True)
        pools.append((within / jnp.maximum(count, 1)).astype(np.float32))
        away = (places[:, None] + 0.5 - (cells + 0.5) * _CELL) / (SPREAD * max(size))
        weights = np.exp(-(away**2) / 2).astype(np.float32) * (count > 0).T
        total = jnp.maximum(weights.sum(1, keepdims=True), 1e-30)  # 0 far beyond the picture
        spreads.append(weights / total)
        filled.append(count > 0)
    return _Around((pools[0], pools[1]), (spreads[0], spreads[1]), filled[0] & filled[1].T)


def _near_edges(values: Float[Array, "*b h w"], around: _Around) -> Float[Array, "*b h w"]:
    """1 at edges of a map, 0 further from them than about twice a spread."""
    count = max(1, round(SPREAD * max(values.shape[-2:]) / _CELL))
    cells = around.cells(values[..., None])[..., 0]
    filled = jnp.broadcast_to(around.filled, cells.shape)

    most, least = (
        inpaint.local_maximum(jnp.where(filled, x, -jnp.inf), count) for x in (cells, -cells)
    )
    span = jnp.where(filled, most + least, 0)
    return around.smooth(jnp.clip(span / _EDGE, 0, 1)[..., None])[..., 0]


def joined(
    coarse: Float[Array, "*b h w"],
    fine: Float[Array, "*b h w"],
    *,
    extent: Extent | None = None,
) -> Float[Array, "*b h w"]:
    """A map that near its edges is half from a second one, made of a larger picture.

    Args:
      coarse: Map in [0, 1] of the picture at the size that the network was trained at, enlarged.
      fine: Map in [0, 1] of the picture at this size.
      extent: Where the picture ends, if rows and columns follow; None: it fills the maps.

    Returns:
      The map, in [0, 1].
    """
    around = _around(coarse.shape[-2:], extent)
    return coarse + _FINE * (fine - coarse) * _near_edges(coarse, around)


def follow(
    defocus: Float[Array, "*b h w"],
    image: Float[Array, "*b h w 3"],
    *,
    theta: Scalar,
    extent: Extent | None = None,
) -> Float[Array, "*b h w"]:
    """Moves the edges of what is in focus to where the colours change.

    Values change near edges only (`SPREAD`): a pixel that by its colour is in focus is drawn
    towards `theta / 2` or less, and one that is not towards so much or more.

    Args:
      defocus: Map in [0, 1], 0 in focus.
      image: The picture at this size, sRGB in [0, 1].
      theta: Defocus at which nothing is in focus any more, above 0; half of it is the edge.
      extent: Where the picture ends, if rows and columns follow; None: it fills both.

    Returns:
      The map, in [0, 1].
    """
    around = _around(defocus.shape[-2:], extent)
    near = _near_edges(defocus, around)
    image = image - 0.5  # variances lose fewer digits
    products = jnp.stack([image[..., i] * image[..., j] for i, j in _PAIRS], -1)
    moments = jnp.concatenate([jnp.ones_like(image[..., :1]), image, products], -1)
    focused = jnp.clip(1 - defocus / theta, 0.02, 0.98)
    prior = _log_odds(focused)
    for _ in range(_ROUNDS):
        evidence = _log_likelihood(around, moments, image, focused**2)
        evidence -= _log_likelihood(around, moments, image, (1 - focused) ** 2)
        evidence = jnp.clip(evidence, -_LARGEST, _LARGEST)
        focused = jnp.clip(jax.nn.sigmoid(prior + _TRUST * evidence), 1e-3, 1 - 1e-3)
    wanted = theta * (1 - focused)
    sided = jnp.where(focused > 0.5, jnp.minimum(defocus, wanted), jnp.maximum(defocus, wanted))
    return defocus + near * (sided - defocus)


def _log_odds(chance: Array) -> Array:
    return jnp.log(chance) - jnp.log(1 - chance)


def _log_likelihood(
    around: _Around,
    moments: Float[Array, "*b h w 10"],
    image: Float[Array, "*b h w 3"],
    weight: Float[Array, "*b h w"],
) -> Float[Array, "*b h w"]:
    """Of each colour under the normal distribution of the weighted colours around it."""
    sums = around.smooth(around.cells(weight[..., None] * moments))
    total = sums[..., :1] + 1e-12  # weights are 1e-6 or more
    mean = sums[..., 1:4] / total
    products: Any = sums[..., 4:] / total
    (xx, xy, xz, yy, yz, zz) = (
        products[..., n] - mean[..., i] * mean[..., j] + (_NOISE if i == j else 0)
        for n, (i, j) in enumerate(_PAIRS)
    )
    # The inverse of a symmetric matrix: its cofactors over its determinant.
    a, b, c = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    d, e, f = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    determinant = jnp.maximum(xx * a + xy * b + xz * c, _NOISE**3)
    x, y, z = (image[..., n] - mean[..., n] for n in range(3))
    away = a * x * x + d * y * y + f * z * z + 2 * (b * x * y + c * x * z + e * y * z)
    return -0.5 * (away / determinant + jnp.log(determinant))
