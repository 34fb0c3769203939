"""Lens blur for any map of disparity: what a person calls, and how it becomes layers.

Images are channels-last; every argument takes leading batch axes. The method is `lens_layers`.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Shaped

from d2f_jax import budget, color
from d2f_jax.render import arrays, ladder, lens_layers, tiles
from d2f_jax.render.highlights import HighlightRule
from d2f_jax.render.kernels import Aperture, Circle, vignetted
from d2f_jax.types import Encoding

_CHUNK = 2**20  # values of a large picture that are encoded at a time


def lens_blur(
    image: Shaped[Array | np.ndarray, "*b h w 3"],
    disparity: Float[Array | np.ndarray, "*b h w"],
    *,
    focus: float | Float[Array, "*#b"],
    blur: float | Float[Array, "*#b"],
    aperture: Aperture | None = None,
    encoding: Encoding = "srgb",
    highlights: HighlightRule | None = None,
    cat_eye: float = 0.0,
    max_radius: float | None = None,
    layer_batch: int = 1,
    tile: int | None = None,
    canvas: tuple[int, int] | None = None,
) -> Shaped[Array, "*b h w 3"]:
    """Blurs a picture as a lens would, for any map of disparity; near objects melt over far ones.

    The circle of confusion of a pixel has the signed radius `blur * (disparity - focus)` (thin
    lens; the convention of BokehMe, Peng et al. 2022), positive in front of the focus. The method
    is in `lens_layers`. Differentiable in the image, the disparity, the focus and the blur.

    Args:
      image: All-in-focus image; unsigned integers count by their range. With image and disparity
        of numpy, nothing is compiled for a size but the blur itself, which many sizes share; in
        tiles, without a rule for highlights, all sizes do.
      disparity: Inverse depth in any affine scale, larger = nearer. `photo.disparity` makes it of
        other kinds of depth.
      focus: Disparity that is in focus; one number, or one for each image of the batch.
      blur: Radius of the circle of confusion per unit of disparity, >= 0 [px]; like `focus`.
      aperture: Opening of the lens, e.g. `kernels.Polygon(blades=6)`; a circle when None.
      encoding: "srgb" for pictures, in [0, 1]; "linear" for linear light, which may exceed 1.
      highlights: How to restore clipped lights, e.g. `highlights.ContrastRule()`; None leaves them.
      cat_eye: How far the opening is cut off in the corners: the shift of the rim in radii, in
        [0, 1.5]. Costs about four times the time.
      max_radius: Largest radius that is rendered [px]; larger ones are clipped to it. When None it
        is read off the values, which takes concrete arrays: it must be given under `jit`, `vmap` of
        the disparity and `grad` with respect to disparity, focus or blur.
      layer_batch: Layers that are blurred at a time. More than 1 helps accelerators only.
      tile: Side of the tiles that a large picture is rendered in, to bound memory [px]; None
        renders in one piece.
      canvas: Height and width to pad smaller pictures to, so that all of them share one program;
        pictures of numpy in tiles need none.

    Returns:
      The image through the lens in the encoding and dtype of `image`; sRGB is clipped to [0, 1].

    Raises:
      ValueError: for what is no number, shapes that disagree, an unknown encoding, what is no
        aperture or rule, if `max_radius` is missing where it is needed, and, unless traced, for
        values that are not finite or far outside of their range, a negative blur, or a radius wider
        than the picture.
    """
    arguments = {"image": image, "disparity": disparity, "focus": focus, "blur": blur}
    for name, value in arguments.items():
        arrays.check_numbers(value, name)
    on_host = isinstance(image, np.ndarray) and isinstance(disparity, np.ndarray)
    if not on_host:
        image, disparity = jnp.asarray(image), jnp.asarray(disparity)
    if encoding not in get_args(Encoding):
        raise ValueError(f"encoding is one of {', '.join(get_args(Encoding))}, got {encoding!r}")
    arrays.check_picture(image, disparity, "disparity", linear=encoding == "linear")
    arrays.check_range(blur, "blur", low=0.0, hint="a radius is 0 or more")
    arrays.check_range(focus, "focus")
    for name, value, example in (
        ("aperture", aperture, "kernels.Polygon(blades=6)"),
        ("highlights", highlights, "highlights.ContrastRule()"),
    ):
        if value is not None and (not callable(value) or isinstance(value, type)):
            raise ValueError(f"{name} is None or a function such as {example}, got {value!r}")
    if layer_batch < 1 or (tile is not None and (tile < 64 or tile % 32)):
        raise ValueError(
            f"layer_batch is at least 1 and tile a multiple of 32 from 64 on, "
            f"got layer_batch={layer_batch} and tile={tile}"
        )
    if not 0 <= cat_eye <= 1.5:
        raise ValueError(f"cat_eye is in [0, 1.5], got {cat_eye}")
    if max_radius is not None and not 0 < max_radius < math.inf:
        raise ValueError(f"max_radius is a positive number of pixels, got {max_radius}")
    blur, focus = _per_image(blur, "blur", disparity), _per_image(focus, "focus", disparity)
    largest = _largest_radius(disparity, focus, blur) if max_radius is None else max_radius
    height, width = disparity.shape[-2:]
    size = None
    how = {
        "focus": focus,
        "blur": blur,
        "largest": largest,
        "encoding": encoding,
        "levels": ladder.levels_for(largest),
        "aperture": Circle() if aperture is None else _argument(aperture),
        "cat_eye": cat_eye or None,
        "layer_batch": layer_batch,
    }
    values = jax.tree.leaves((focus, blur, how["aperture"]))
    concrete = on_host and not any(isinstance(value, jax.core.Tracer) for value in values)
    if concrete and tile is not None and highlights is None:  # a rule looks at the whole picture
        with jax.ensure_compile_time_eval():  # it may stand in a traced function
            return _in_tiles(image, disparity, tile, how)
    if not any(isinstance(array, jax.core.Tracer) for array in (image, disparity)):
        size, whole = (height, width), arrays.shared_size((height, width), canvas)
        image, disparity = arrays.extended(image, whole, -3), arrays.extended(disparity, whole)
    bokeh = _lens_blur(
        image,
        disparity,
        highlights=None if highlights is None else _argument(highlights),
        size=size,
        tile=tile,
        **how,
    )
    if on_host and not isinstance(bokeh, jax.core.Tracer):
        return arrays.cut(bokeh, (height, width), -3)
    padded = bokeh.shape[-3:-1] != (height, width)
    return bokeh[..., :height, :width, :] if padded else bokeh


@functools.partial(jax.jit, static_argnames=("levels", "encoding", "layer_batch", "tile"))
def _lens_blur(image, disparity, *, focus, blur, largest, encoding, highlights, **options):
    radiance, coc_radius = _light(image, disparity, focus, blur, largest, encoding, highlights)
    bokeh = _encoded(lens_layers.blur(radiance, coc_radius, **options), encoding)
    return arrays.restored(bokeh, image.dtype)


def _in_tiles(image: Any, disparity: Any, tile: int, how: dict[str, Any]) -> Array:
    """A picture in numpy, whose tiles share what is compiled with those of any other."""
    size = (disparity.shape[-2], disparity.shape[-1])
    tile, overlap = budget.lens_tiling(size, tile, cat_eye=how["cat_eye"] is not None)

    def part(window, near, centre):
        away = np.float32((centre - np.asarray(size) / 2) / (np.hypot(*size) / 2))
        return np.asarray(_tile(window, near[..., 0], away, **how))

    margin = ladder.canvas_margin(how["levels"])
    whole = image, disparity[..., None]
    bokeh = tiles.blended(part, whole, margin=margin, tile=tile, overlap=overlap)
    values = bokeh.reshape(-1)
    count = values.size if how["encoding"] == "srgb" else 0
    for start in range(0, count, _CHUNK):  # one program, and little memory
        chunk = values[start : start + _CHUNK]
        padded = np.pad(chunk, (0, _CHUNK - chunk.size))
        chunk[:] = np.asarray(_encoded(padded, how["encoding"]))[: chunk.size]
    return jax.device_put(arrays.restored(bokeh, jax.dtypes.canonicalize_dtype(image.dtype)))


@functools.partial(jax.jit, static_argnames=("levels", "encoding", "layer_batch"))
def _tile(image, disparity, away, *, focus, blur, largest, encoding, aperture, cat_eye, **options):
    radiance, coc_radius = _light(image, disparity, focus, blur, largest, encoding, None)
    planes = jnp.moveaxis(radiance, -1, -3)
    opening = vignetted(aperture, cat_eye, away)
    bokeh = lens_layers.blur_layers(planes, coc_radius, aperture=opening, **options)
    return jnp.moveaxis(bokeh, -3, -1)


def _light(image, disparity, focus, blur, largest, encoding, highlights):
    """Linear light, and signed radii."""
    radiance = arrays.scaled(image)
    encoded = radiance if encoding == "srgb" else jnp.clip(color.linear_to_srgb(radiance), 0, 1)
    if encoding == "srgb":
        radiance = color.srgb_to_linear(radiance)
    if highlights is not None:
        radiance = radiance * highlights(encoded)
    return radiance, jnp.clip(blur * (arrays.raised(disparity) - focus), -largest, largest)


@functools.partial(jax.jit, static_argnames="encoding")
def _encoded(bokeh: Array, encoding: Encoding) -> Array:
    return color.linear_to_srgb(jnp.clip(bokeh, 0.0, 1.0)) if encoding == "srgb" else bokeh


def _argument(function: Callable) -> Callable:
    """A function as an argument of a compiled one: what is no array in it becomes static."""

    def static(leaf):
        return jax.tree_util.Partial(leaf) if callable(leaf) else leaf

    return jax.tree.map(static, function)


def _largest_radius(disparity: Any, focus: Any, blur: Any) -> float:
    if any(isinstance(x, jax.core.Tracer) for x in (disparity, focus, blur)):
        raise ValueError(
            "max_radius (the largest radius in pixels, e.g. max_radius=40) must be given under "
            "jit, vmap and grad, where disparity, focus or blur have no values: the layers depend "
            "on it"
        )
    lowest, highest = arrays.extent(disparity)
    away = np.maximum(highest - np.asarray(focus), np.asarray(focus) - lowest)
    largest = float(np.max(np.asarray(blur) * away))
    size = disparity.shape[-2:]
    if largest > max(size):
        raise ValueError(
            f"a blur of {largest:.0f} px radius is wider than the picture ({size[1]}x{size[0]}); "
            f"blur is in pixels per unit of disparity"
        )
    return largest


def _per_image(value: Any, name: str, disparity: Any) -> Any:
    """A number, or one per image, as an array that broadcasts against `... h w`."""
    dtype, batch = arrays.raised(disparity).dtype, disparity.shape[:-2]
    xp: Any = jnp if isinstance(value, Array) else np
    value = xp.asarray(value, dtype)
    if value.shape not in ((), batch):
        raise ValueError(
            f"{name} is one number or one per image, of shape {batch}, got shape {value.shape}"
        )
    return xp.broadcast_to(value, batch)[..., None, None]
