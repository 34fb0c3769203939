"""The lens as light sees it: layers of equal defocus, completed where hidden, laid near over far.

The picture is cut into layers whose circles of confusion differ by about a pixel. A layer is
completed under what stands in front of it (`inpaint`), blurred together with its coverage, and laid
behind the layers before it. Coverage follows two rules. Parts of one surface cover disjoint parts
of the lens, so that neighbouring layers add up; whatever is separated by a step in depth is hidden
independently, so that a far layer is dimmed by the coverage in front of it.

Planes are channels-first and linear in light; radii are in pixels, positive nearer than the focus.
Layers are numbered by a signed index, 0 in focus.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from d2f_jax.render import convolution
from d2f_jax.render.inpaint import double, halve, local_maximum, push_pull
from d2f_jax.render.kernels import Aperture, Vignetted, lens_kernel
from d2f_jax.render.tiles import over_tiles

FINE_RADIUS = 64
"""Layers up to this radius [px] are rendered at full size, up to twice of it at half size, ..."""

_CONNECTED = 4  # layers that may belong to one surface at a place; more is a step in depth
_TILE_OVERLAP = 32  # pixels, a multiple of the coarser blocks of `push_pull`
_NOTHING = 1e-6  # coverage below is none


class LayerPlan(NamedTuple):
    """Which layers to render; hashable, so that it can be a static argument."""

    radii: tuple[float, ...]  # of the layers on one side of the focus, from 0 [px]
    nearest: int  # signed index of the first layer
    farthest: int  # signed index of the last layer


def plan_layers(lowest: float, highest: float) -> LayerPlan:
    """Chooses the layers for signed radii between two bounds [px].

    Radii are 0, 1, 2, ... px. Layers that are rendered at half size lie 2 px apart, at quarter size
    4 px: a pixel of their own size. The bounds are moved outwards to a multiple of four layers, so
    that pictures of a similar range share a compiled function; empty layers cost nothing.
    """
    largest = max(abs(lowest), abs(highest), 1.0)
    radii = [0.0]
    while radii[-1] < largest - 1e-3 or len(radii) % 4 != 1:
        radii.append(radii[-1] + 2 ** _level(radii[-1] + 1e-3))
    low, high = np.interp([abs(lowest), abs(highest)], radii, np.arange(len(radii)))
    low, high = np.sign(lowest) * low, np.sign(highest) * high
    farthest = int(4 * np.floor(low / 4 + 1e-3))
    return LayerPlan(tuple(radii), max(int(4 * np.ceil(high / 4 - 1e-3)), farthest), farthest)


def blur(
    radiance: Float[Array, "*b h w 3"],
    coc_radius: Float[Array, "*b h w"],
    plan: LayerPlan,
    *,
    aperture: Aperture,
    cat_eye: float,
    layer_batch: int,
    tile: int | None,
) -> Float[Array, "*b h w 3"]:
    """Blurs a whole picture of linear light, in one piece or in tiles.

    Args:
      radiance: Linear light.
      coc_radius: Signed circle-of-confusion radius [px].
      plan: Layers, from `plan_layers`; radii beyond them are rendered as the outermost.
      aperture: Opening of the lens.
      cat_eye: Shift of the second rim in the corners, in radii of the opening.
      layer_batch: Layers blurred at a time.
      tile: Side of a tile [px], None for one piece.
    """
    size = (coc_radius.shape[-2], coc_radius.shape[-1])
    margin = _level_margin(plan.radii, _level(plan.radii[-1]))
    canvases = (extend(jnp.moveaxis(radiance, -1, -3), margin), extend(coc_radius, margin))
    layers = functools.partial(blur_layers, margin=margin, plan=plan, layer_batch=layer_batch)
    if tile is None and not cat_eye:
        return jnp.moveaxis(layers(*canvases, aperture=aperture), -3, -1)

    middle = np.asarray(size, np.float32) / 2

    def blur_tile(radiance, coc_radius, centre):
        down, right = cat_eye * (centre - middle) / np.hypot(*middle)
        opening = Vignetted(aperture=aperture, shift=(right, down)) if cat_eye else aperture
        return layers(radiance, coc_radius, aperture=opening)

    tile, overlap = tile or max(size), _TILE_OVERLAP
    if cat_eye:  # the opening changes with the place: eight half overlapping tiles or more
        tile = min(tile, 2 * _TILE_OVERLAP * -(-max(size) // (8 * _TILE_OVERLAP)))
        overlap = tile // 2
    tiled = over_tiles(blur_tile, canvases, size=size, margin=margin, tile=tile, overlap=overlap)
    return jnp.moveaxis(tiled, -3, -1)


def extend(array: Array, margin: int, *, size: tuple[int, int] | None = None) -> Array:
    """Repeats the border of `... h w` by `margin`, and further on the right to a size without it.

    Repeating was measured better than mirroring, which doubles the lights near the border, and than
    smooth filling.
    """
    height, width = array.shape[-2:]
    size = size or (height, width)
    border = [(0, 0)] * (array.ndim - 2)
    border += [(margin, margin + size[0] - height), (margin, margin + size[1] - width)]
    return jnp.pad(array, border, mode="edge")


def blur_layers(
    radiance: Float[Array, "*b 3 p q"],
    coc_radius: Float[Array, "*b p q"],
    *,
    margin: int,
    plan: LayerPlan,
    aperture: Aperture,
    layer_batch: int,
) -> Float[Array, "*b 3 h w"]:
    """Blurs an extended picture by its map of radii.

    Args:
      radiance: Linear light, extended by `margin` on all sides.
      coc_radius: Signed circle-of-confusion radius [px], extended alike.
      margin: Pixels, enough for the largest radius in whole blocks of the coarsest level.
      plan: Layers, from `plan_layers`.
      aperture: Opening of the lens.
      layer_batch: Layers blurred at a time.

    Returns:
      The blurred picture without the margin.
    """
    radii = np.asarray(plan.radii, coc_radius.dtype)
    layer = _layer_of(coc_radius, radii)
    reach = _surface_reach(layer, coc_radius)
    size = (layer.shape[-2] - 2 * margin, layer.shape[-1] - 2 * margin)
    covered = jnp.zeros((*layer.shape[:-2], *size), layer.dtype)
    planes = jnp.concatenate([radiance, jnp.ones_like(radiance[..., :1, :, :])], axis=-3)
    planes = convolution.pack(planes)  # red with blue, green with coverage
    light = jnp.zeros((*layer.shape[:-2], 2, *size), planes.dtype)
    carry = _Laid(light, covered, jnp.stack([covered] * _CONNECTED))
    for level, indices in _levels(plan):
        level_margin = _level_margin(plan.radii, level)
        scene = _crop(_Scene(planes, layer, reach), margin - level_margin, level)
        blurred = functools.partial(
            _blurred_layer, scene, level=level, margin=level_margin, size=size, aperture=aperture
        )
        lay = functools.partial(_lay_chunk, scene.layer, blurred)
        carry = _over_chunks(lay, carry, indices, radii, layer_batch)
    light = carry.light / jnp.maximum(carry.covered, _NOTHING)[..., None, :, :]
    return convolution.unpack(light, 3)


class _Scene(NamedTuple):
    """What the layers are cut from, extended by the margin of a level."""

    planes: Array  # ... 2 p q, light and a plane of ones, packed to complex pairs
    layer: Array  # ... p q, fractional signed index
    reach: Array  # ... p q, how many layers behind it a pixel's own surface may go on


class _Laid(NamedTuple):
    """The composition so far, near to far."""

    light: Array  # ... 2 h w, packed like the planes
    covered: Array  # ... h w, share of the lens that is taken
    before: Array  # i ... h w, `covered` as it was i + 1 layers ago


class _Chunk(NamedTuple):
    """Layers that are blurred together; index and radius are 0 where there is none."""

    index: Array  # n
    radius: Array  # n, signed
    exists: Array  # n


def _over_chunks(lay, carry, indices, radii, layer_batch):
    """Scans over `indices`, `layer_batch` at a time; gradients recompute the blurred planes."""
    size = min(layer_batch, len(indices))
    missing = -len(indices) % size
    index = np.pad(np.asarray(indices, np.int32), (0, missing))
    chunks = _Chunk(
        jnp.asarray(index, radii.dtype),
        jnp.asarray(np.sign(index) * radii[np.abs(index)], radii.dtype),
        jnp.arange(len(index)) < len(indices),
    )
    chunks = jax.tree.map(lambda x: x.reshape(-1, size), chunks)
    return jax.lax.scan(lambda c, chunk: (jax.checkpoint(lay)(c, chunk), None), carry, chunks)[0]


def _lay_chunk(layer, blurred_layer, carry, chunk):
    """Blurs some layers side by side and lays them one after the other."""
    cover = jax.vmap(functools.partial(_membership, layer))(chunk.index)
    # Many layers of a picture (and most of a tile) are empty: those cost nothing.
    blurred = jax.lax.cond(
        jnp.any(cover > 0),
        lambda: jax.vmap(blurred_layer)(chunk.index, chunk.radius),
        lambda: jnp.zeros((len(chunk.index), *carry.light.shape), carry.light.dtype),
    )
    for i in range(len(chunk.index)):
        laid = _lay(carry, blurred[i])
        carry = jax.tree.map(functools.partial(jnp.where, chunk.exists[i]), laid, carry)
    return carry


def _lay(laid: _Laid, layer: Array) -> _Laid:
    """Lays one blurred layer, premultiplied by its coverage, behind the others."""
    coverage = jnp.clip(layer[..., 1, :, :].imag, 0.0, 1.0)
    # Seen through what separate surfaces leave free, and not more than there is left.
    share = jnp.minimum(coverage * (1 - laid.before[-1]), 1 - laid.covered)
    scale = share / jnp.maximum(coverage, _NOTHING)
    return _Laid(
        laid.light + scale[..., None, :, :] * layer,
        laid.covered + share,
        jnp.concatenate([laid.covered[None], laid.before[:-1]]),
    )


def _blurred_layer(scene, index, radius, *, level, margin, size, aperture):
    """Cuts out one layer, completes it under nearer surfaces and blurs it: `... 2 h w`."""
    cover = _membership(scene.layer, index)
    # Whatever is farther, or goes on behind as the same surface, is known not to hide this layer.
    known = jnp.clip(index + 1 + scene.reach - scene.layer, 0.0, 1.0)
    planes = cover[..., None, :, :] * scene.planes
    for _ in range(level):
        planes, known = halve(planes), halve(known)
    planes = push_pull(planes, known)

    height, width = planes.shape[-2:]
    scale = 2**level
    fast = (convolution.fast_size(height), convolution.fast_size(width))
    border = [(0, 0)] * (planes.ndim - 2) + [(0, fast[0] - height), (0, fast[1] - width)]
    spectrum = jnp.fft.fft2(lens_kernel(aperture, radius / scale, fast))
    planes = convolution.convolve_packed(jnp.pad(planes, border), spectrum)
    planes = planes[..., :height, :width]
    for _ in range(level):
        planes = double(planes, (2 * planes.shape[-2], 2 * planes.shape[-1]))
    return planes[..., margin : margin + size[0], margin : margin + size[1]]


def _layer_of(coc_radius: Array, radii: np.ndarray) -> Array:
    """Fractional layer index of a radius, so that the mixture of two discs has the right spread.

    The variance of a disc grows with the square of its radius, so squares are interpolated; at the
    focus this leaves a smooth function.
    """
    steps = jnp.arange(len(radii), dtype=coc_radius.dtype)
    return jnp.sign(coc_radius) * jnp.interp(coc_radius**2, jnp.asarray(radii) ** 2, steps)


def _membership(layer: Array, index: Array) -> Array:
    """Share of each pixel that belongs to a layer: the two nearest layers share a pixel."""
    return jnp.maximum(0.0, 1 - jnp.abs(layer - index))


def _surface_reach(layer: Array, coc_radius: Array) -> Array:
    """Layers that the surface of a pixel crosses within the pixel's own circle of confusion.

    The slope is the smaller one of the two sides in each direction, so that a step in depth is not
    taken for a steep surface.
    """

    def slope(axis):
        ahead = jnp.abs(jnp.diff(layer, axis=axis))
        first = jax.lax.slice_in_dim(ahead, 0, 1, axis=axis)
        last = jax.lax.slice_in_dim(ahead, ahead.shape[axis] - 1, None, axis=axis)
        return jnp.minimum(
            jnp.concatenate([first, ahead], axis), jnp.concatenate([ahead, last], axis)
        )

    slopes = jnp.maximum(slope(-2), slope(-1))
    slopes = local_maximum(slopes)  # a pixel next to a step takes the slope of its surface
    return 1 + jnp.minimum(2 * slopes * jnp.abs(coc_radius), _CONNECTED)


def _crop(scene: _Scene, cut: int, level: int) -> _Scene:
    """Cuts off the margin that a level does not need, and fills up to whole blocks of it."""
    height, width = (n - 2 * cut for n in scene.layer.shape[-2:])
    whole = (height + -height % 2**level, width + -width % 2**level)

    def crop(array):
        return extend(array[..., cut : cut + height, cut : cut + width], 0, size=whole)

    return _Scene(*map(crop, scene))


def _level_margin(radii: tuple[float, ...], level: int) -> int:
    # Whole blocks of 8 keep the fine levels of `push_pull` where they are, whatever the margin.
    block = 2**level
    return 8 * block * (int(min(radii[-1] / block, FINE_RADIUS)) // 8 + 1)


def _levels(plan: LayerPlan) -> list[tuple[int, list[int]]]:
    """Groups the signed indices from near to far by the size they are rendered at."""
    groups: list[tuple[int, list[int]]] = []
    for index in range(plan.nearest, plan.farthest - 1, -1):
        level = _level(plan.radii[abs(index)])
        if not groups or groups[-1][0] != level:
            groups.append((level, []))
        groups[-1][1].append(index)
    return groups


def _level(radius: float) -> int:
    """How often the picture is halved for a radius."""
    return max(0, int(np.ceil(np.log2(max(radius, 1.0) / FINE_RADIUS) - 1e-6)))
