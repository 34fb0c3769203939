"""The lens as light sees it: layers of equal defocus, completed where hidden, laid near over far.

The picture is cut into layers by the radius of the circle of confusion. A layer is completed under
what stands in front of it (`inpaint`), blurred together with its coverage, and laid behind the
layers before it. Coverage follows two rules. Parts of one surface cover disjoint parts of the lens,
so that neighbouring layers add up; whatever is separated by a step in depth is hidden
independently, so that a far layer is dimmed by the coverage in front of it.

The layers form a fixed ladder (`ladder`), the same on both sides of the focus: up to 4.3 px at full
size, up to 32 px at half size, up to four times that at an eighth, ... (levels). What is
compiled depends on the number of levels alone, not on focus, blur or map. Small lights, whose discs
would lose their rims at a smaller size, are added at full size with their own radius (`lights`).

Planes are channels-first and linear in light; radii are in pixels, positive nearer than the focus.
Layers are numbered by a signed index, 0 in focus.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from d2f_jax import budget
from d2f_jax.render import convolution, ladder, lights
from d2f_jax.render.inpaint import double, push_pull, shrink
from d2f_jax.render.kernels import Aperture, lens_kernel, vignetted
from d2f_jax.render.tiles import extend, over_tiles
from d2f_jax.types import Extent

_DIRECT = (2, 3)  # radii up to which layers share a kernel that needs no transforms [px]
_RING = 2  # pixels of a level around the picture, for the interpolation to the next level
_NOTHING = 1e-6  # coverage below is none


def blur(
    radiance: Float[Array, "*b h w 3"],
    coc_radius: Float[Array, "*b h w"],
    *,
    size: Extent | None,
    levels: int,
    aperture: Aperture,
    cat_eye: float | Float[Array, ""] | None,
    layer_batch: int,
    tile: int | None,
) -> Float[Array, "*b h w 3"]:
    """Blurs a whole picture of linear light, in one piece or in tiles.

    Args:
      radiance: Linear light.
      coc_radius: Signed circle-of-confusion radius [px]; radii beyond the ladder are rendered as
        its last.
      size: Where the picture ends, if rows and columns follow that repeat its border; may be
        traced, so that pictures of several sizes share what is compiled.
      levels: Coarser levels, from `ladder.levels_for`.
      aperture: Opening of the lens.
      cat_eye: Shift of the second rim in the corners, in radii of the opening; None for no rim.
      layer_batch: Layers blurred at a time.
      tile: Side of a tile [px], None for one piece.
    """
    whole = (coc_radius.shape[-2], coc_radius.shape[-1])
    margin = ladder.canvas_margin(levels)
    canvases = (extend(jnp.moveaxis(radiance, -1, -3), margin), extend(coc_radius, margin))
    layers = functools.partial(blur_layers, levels=levels, layer_batch=layer_batch)
    if tile is None and cat_eye is None:
        return jnp.moveaxis(layers(*canvases, size=size, aperture=aperture), -3, -1)

    def blur_tile(radiance, coc_radius, centre):
        away = (centre - jnp.asarray(size or whole) / 2) / (jnp.hypot(*(size or whole)) / 2)
        return layers(radiance, coc_radius, aperture=vignetted(aperture, cat_eye, away))

    tile, overlap = budget.lens_tiling(whole, tile, cat_eye=cat_eye is not None)
    tiled = over_tiles(blur_tile, canvases, size=whole, margin=margin, tile=tile, overlap=overlap)
    return jnp.moveaxis(tiled, -3, -1)


def blur_layers(
    radiance: Float[Array, "*b 3 p q"],
    coc_radius: Float[Array, "*b p q"],
    *,
    levels: int,
    aperture: Aperture,
    layer_batch: int,
    size: Extent | None = None,
) -> Float[Array, "*b 3 h w"]:
    """Blurs an extended picture by its map of radii.

    Args:
      radiance: Linear light, extended by `ladder.canvas_margin` on all sides.
      coc_radius: Signed circle-of-confusion radius [px], extended alike.
      levels: Coarser levels of the ladder.
      aperture: Opening of the lens.
      layer_batch: Layers blurred at a time.
      size: As for `blur`.

    Returns:
      The blurred picture without the margin.
    """
    radii = np.asarray(ladder.radii(levels), coc_radius.dtype)
    margin = ladder.canvas_margin(levels)
    layer = ladder.layer_of(coc_radius, radii)
    batch, (height, width) = layer.shape[:-2], (n - 2 * margin for n in layer.shape[-2:])
    sizes = [(-(-height // 2**n), -(-width // 2**n)) for n in range(ladder.halvings(levels) + 1)]
    ones = jnp.ones_like(radiance[..., :1, :, :])
    found, dimmed = _find_lights(radiance, coc_radius, layer) if levels else (None, radiance)
    scene = _Scene(
        jnp.concatenate([dimmed, ones], axis=-3),
        layer,
        ladder.surface_reach(layer, coc_radius),
        size,
    )

    finer = functools.partial(_finer, sizes=sizes)
    laid = _nothing(batch, sizes[-1], scene.planes)
    near_free, far, far_free = [], [], []
    for level in range(levels, 0, -1):
        first, count = ladder.first(level), len(ladder.own_radii(level))
        nearest = np.arange(first + count - 1, first - 1, -1)
        part = _crop(scene, margin, ladder.halvings(level), sizes)
        layers = _blurred_layers(
            part,
            np.append(nearest, -nearest[::-1]),
            radii,
            ladder.halvings(level),
            aperture,
            layer_batch,
        )
        laid, free = jax.lax.scan(_lay, laid, layers[:count])
        laid = finer(laid, ladder.halvings(level), ladder.halvings(level - 1))
        near_free.append((ladder.halvings(level), free))
        far.insert(0, (ladder.halvings(level), layers[count:]))

    laid = _lay_fine(
        _crop(scene, margin, 0, sizes), laid, radii[: len(ladder.FINE)], aperture, layer_batch
    )
    for halvings, layers in far:
        larger = functools.partial(finer, halvings=halvings, fewer=0)
        lay = jax.checkpoint(functools.partial(_lay_finer, finer=larger))
        laid, free = jax.lax.scan(lay, laid, layers)
        far_free.append(free)
    light = laid.light
    if found is not None:

        def with_lights():
            near = [finer(free, halvings, 0) for halvings, free in near_free]
            free = jnp.moveaxis(jnp.concatenate([*near, *far_free]), 0, -3)
            return light + _discs(found, free, radii, margin - _RING, aperture)

        light = jax.lax.cond(jnp.any(found.light > 0), with_lights, lambda: light)
    light = light / jnp.maximum(laid.covered, _NOTHING)[..., None, :, :]
    return light[..., _RING : _RING + height, _RING : _RING + width]


def _find_lights(radiance, coc_radius, layer):
    """The lights that the coarser layers would lose, and the picture without them."""
    coarse = jnp.clip(jnp.abs(layer) - ladder.RIMLESS + 1, 0.0, 1.0)
    strength, find = lights.strength, lights.find
    for _ in layer.shape[:-2]:
        strength, find = jax.vmap(strength), jax.vmap(find)
    strength = strength(radiance, coc_radius, coarse)
    picture = (strength, radiance, coc_radius, coarse)
    found = jax.eval_shape(find, *picture)

    def none():
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), found[0])
        return nothing, jnp.ones_like(strength)

    found, rest = jax.lax.cond(jnp.any(strength > 0), lambda: find(*picture), none)
    return found, rest[..., None, :, :] * radiance


def _discs(found, free, radii, margin, aperture):
    """Light of the discs of `found`, seen through what leaves each coarser layer `free`."""
    step = jnp.abs(ladder.layer_of(found.radius, radii)) - len(ladder.FINE)
    count = free.shape[-3] // 2
    step = jnp.clip(step, 0, count - 1)
    step = jnp.where(found.radius > 0, count - 1 - step, count + step)
    discs = functools.partial(
        lights.discs, margin=margin, largest=int(radii[-1]), aperture=aperture
    )
    for _ in free.shape[:-3]:
        discs = jax.vmap(discs)
    return discs(found, free, step)


class _Scene(NamedTuple):
    """What the layers are cut from, extended by the margin of a level."""

    planes: Array  # ... 4 p q, light and a plane of ones
    layer: Array  # ... p q, fractional signed index
    reach: Array  # ... p q, how many layers behind it a pixel's own surface may go on
    extent: Extent | None  # where the picture with its margin ends, in pixels of the level


class _Laid(NamedTuple):
    """The composition so far, near to far, with a ring around the picture."""

    light: Array  # ... 3 h w
    covered: Array  # ... h w, share of the lens that is taken
    before: tuple[Array, ...]  # ... h w each, `covered` as it was 1, 2, ... layers ago


def _nothing(batch, size, like):
    """An empty composition of a picture of some size."""
    whole = (*batch, size[0] + 2 * _RING, size[1] + 2 * _RING)
    covered = jnp.zeros(whole, like.dtype)
    light = jnp.zeros((*batch, 3, *whole[-2:]), like.dtype)
    return _Laid(light, covered, (covered,) * ladder.CONNECTED)


def _lay(laid, layer):
    """Lays a blurred layer, premultiplied by its coverage, behind the others.

    Returns:
      The composition, and how much of the layer's light passes.
    """
    coverage = jnp.clip(layer[..., 3, :, :], 0.0, 1.0)
    # Seen through what separate surfaces leave free, and not more than there is left.
    share = jnp.minimum(coverage * (1 - laid.before[-1]), 1 - laid.covered)
    free = share / jnp.maximum(coverage, _NOTHING)
    light = laid.light + free[..., None, :, :] * layer[..., :3, :, :]
    return _Laid(light, laid.covered + share, (laid.covered, *laid.before[:-1])), free


def _lay_finer(laid, layer, *, finer):
    """`_lay` of a layer from a smaller size; one in which nothing is costs a look."""
    there = jnp.any(layer[..., 3, :, :] > 0)
    return jax.lax.cond(
        there, lambda laid, layer: _lay(laid, finer(layer)), _lay_nothing, laid, layer
    )


def _lay_nothing(laid, *_):
    """`_lay` of a layer in which nothing is."""
    return laid._replace(before=(laid.covered, *laid.before[:-1])), jnp.zeros_like(laid.covered)


def _finer(planes, halvings, fewer, *, sizes):
    """Brings what has a ring around it from one size of the picture to a larger one."""

    def doubled(planes, size):
        planes = double(planes, (2 * planes.shape[-2], 2 * planes.shape[-1]))
        rows, columns = (slice(_RING, n + 3 * _RING) for n in size)
        return planes[..., rows, columns]

    for n in range(halvings - 1, fewer - 1, -1):
        planes = jax.tree.map(functools.partial(doubled, size=sizes[n]), planes)
    return planes


def _blurred_layers(scene, indices, radii, halvings, aperture, batch):
    """Blurs the layers of a level, `n ... 4 h w`; empty ones cost a look."""
    one = functools.partial(
        _blurred,
        extent=scene.extent,
        halvings=halvings,
        aperture=aperture,
        widest=math.ceil(float(np.max(radii[np.abs(indices)])) / 2**halvings),
    )
    cut = functools.partial(_cut_out, scene, halvings=halvings)

    def blurred(step):
        index, radius = step
        there = _is_there(scene, index)
        # Two conditions: in one, XLA would make the cut-out again in each of its uses. Of a batch
        # both sides of each are made.
        layer = _if(there, cut, index)
        return _if(there, one, layer, radius)

    steps = _steps(indices, radii)
    return jax.lax.map(jax.checkpoint(blurred), steps, batch_size=batch if batch > 1 else None)


def _if(condition, function, *operands):
    """What a function makes of the operands, or zeros."""

    def nothing(*_):
        like = jax.eval_shape(function, *operands)
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)

    return jax.lax.cond(condition, function, nothing, *operands)


def _lay_fine(scene, laid, radii, aperture, batch):
    """Blurs and lays the layers at full size, `batch` at a time."""
    count = 2 * len(radii) - 1
    batch = min(batch, count)
    missing = -count % batch
    index = np.arange(len(radii) - 1, -len(radii) - missing, -1)
    steps = (*_steps(index, np.append(radii, np.zeros(missing, radii.dtype))), index > -len(radii))
    chunks = jax.tree.map(lambda x: jnp.asarray(x).reshape(-1, batch), steps)
    one = functools.partial(
        _blurred,
        extent=scene.extent,
        halvings=0,
        aperture=aperture,
        widest=math.ceil(float(radii[-1])),
        directly=batch == 1,  # layers that are blurred together are blurred in one way
    )

    def lay(laid, layers, radius, exists):
        if batch == 1:
            return _lay(laid, one(jax.tree.map(lambda x: x[0], layers), radius[0]))[0]
        blurred = jax.vmap(one)(layers, radius)
        return in_turn(laid, exists, lambda laid, place: _lay(laid, blurred[place])[0])

    def skip(laid, layers, radius, exists):
        return in_turn(laid, exists, lambda laid, place: _lay_nothing(laid)[0])

    def in_turn(laid, exists, change):
        for place in range(batch):
            now = change(laid, place)
            if missing:  # what fills up the last chunk is no layer
                now = jax.tree.map(functools.partial(jnp.where, exists[place]), now, laid)
            laid = now
        return laid

    def step(laid, chunk):
        index, radius, exists = chunk
        present = jnp.any(exists & jax.vmap(functools.partial(_is_there, scene))(index))
        # Two conditions, as for the coarser layers.
        layers = _if(present, jax.vmap(functools.partial(_cut_out, scene, halvings=0)), index)
        return jax.lax.cond(present, lay, skip, laid, layers, radius, exists), None

    return jax.lax.scan(jax.checkpoint(step), laid, chunks)[0]


def _steps(indices, radii):
    """Signed indices and radii of layers, as floating point."""
    index = indices.astype(radii.dtype)
    return jnp.asarray(index), jnp.asarray(np.sign(index) * radii[np.abs(indices)])


class _Layer(NamedTuple):
    """What belongs to one layer, at the size of its level."""

    planes: Array  # ... 4 p q, multiplied by the share of each pixel that belongs to it
    known: Array  # ... p q, where it is known how much that is; elsewhere something is in front


def _cut_out(scene, index, halvings):
    """Cuts out one layer."""
    cover = ladder.membership(scene.layer, index)
    # Whatever is farther, or goes on behind as the same surface, is known not to hide this layer.
    known = jnp.clip(index + 1 + scene.reach - scene.layer, 0.0, 1.0)
    planes = cover[..., None, :, :] * scene.planes
    return _Layer(shrink(planes, halvings), shrink(known, halvings))


def _is_there(scene, index):
    """Whether anything belongs to a layer."""
    return jnp.any(ladder.membership(scene.layer, index) > 0)


def _blurred(layer, radius, *, extent, halvings, aperture, widest, directly=False):
    """Completes one layer under nearer surfaces and blurs it: `... 4 h w`.

    `widest` is the largest radius of the level in its own pixels. Layers at full size may be in
    focus; small circles have a small kernel of their own there (`directly`) and at half size, which
    is faster.
    """
    planes = push_pull(layer.planes, layer.known, extent)
    if halvings:
        own = radius / 2**halvings
        radius = jnp.sign(own) * jnp.sqrt(own**2 - ladder.spread(halvings))
    edge = ladder.margin(halvings) - _RING

    def blurred(planes, reach):
        side = 2 * reach + 1
        kernel = jnp.fft.fftshift(lens_kernel(aperture, radius, (side, side)))
        cut = slice(edge - reach, reach - edge)
        return convolution.convolve_valid(planes[..., cut, cut], kernel)

    if halvings > 1:
        return blurred(planes, widest)
    reaches = [_DIRECT[-1], widest] if halvings else [0, *(_DIRECT if directly else ()), widest]
    ways = [functools.partial(blurred, reach=reach) for reach in reaches]
    if not halvings:
        ways[0] = lambda planes: planes[..., edge:-edge, edge:-edge]
    which = jnp.searchsorted(jnp.asarray(reaches, radius.dtype), jnp.abs(radius))
    return jax.lax.switch(which, ways, planes)


def _crop(scene: _Scene, margin: int, halvings: int, sizes: list[tuple[int, int]]) -> _Scene:
    """Cuts off the margin that a level does not need, and fills up to whole blocks of it."""
    block = 2**halvings
    own = ladder.margin(halvings)
    cut = margin - own * block
    height, width = (n - 2 * cut for n in scene.layer.shape[-2:])
    whole = tuple((n + 2 * own) * block for n in sizes[halvings])

    def crop(array):
        return extend(array[..., cut : cut + height, cut : cut + width], 0, size=whole)

    extent = scene.extent and tuple(-(-n // block) + 2 * own for n in scene.extent)
    return _Scene(crop(scene.planes), crop(scene.layer), crop(scene.reach), extent)
