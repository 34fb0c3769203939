"""Layered bokeh rendering, differentiable in everything (Luo et al. 2023, Sec. 3.2).

Images are channels-last sRGB in [0, 1]; every argument takes leading batch axes. The defocus map
is cut into soft layers, each layer is blurred by the kernel of its amount, and the layers are laid
over one another from the front to the back, each seen through what the layers before it leave free.
"""

import functools
import math
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from d2f_jax import color, convolution, lens
from d2f_jax.highlights import HighlightRule
from d2f_jax.kernels import Aperture, Circle, kernel_bank
from d2f_jax.tiles import over_tiles
from d2f_jax.types import Encoding, Kernels, LayerOrder, Padding

_EPSILON = 1e-10  # of the released code's divisions


def layered_render(
    image: Float[Array, "*b h w 3"],
    defocus: Float[Array, "*b h w"],
    *,
    kernels: Kernels | None = None,
    sharpness: float | Float[Array, ""] = 100.0,
    padding: Padding = "reflect",
    layer_batch: int | None = None,
    tile: int | None = None,
    order: LayerOrder = "released",
) -> Float[Array, "*b h w 3"]:
    """Renders bokeh from an image and its defocus map (Luo et al. 2023, Eqs. 6-10).

    Args:
      image: All-in-focus image, sRGB in [0, 1].
      defocus: Defocus map in [0, 1]; 0 is in focus, 1 takes the last kernel. Where it leaves about
        [-0.05, 1.05] no layer is active and the picture turns black (errata g). With
        `order="depth"` it is signed, in [-1, 1], positive nearer than the focus.
      kernels: Aperture kernels, each summing to 1, identity first; `PAPER_SIZES` when None.
      sharpness: Slope of the soft layer masks (gamma of Eq. 7) [1].
      padding: What lies beyond the border: "reflect", "edge" or "zero".
      layer_batch: How many layers are transformed at a time; None takes all at once (`vmap`),
        which is fastest where memory is plentiful. The result is the same.
      tile: Side of the tiles to render one after another, None for one piece. The result is the
        same; tiles bound the memory.
      order: "released" puts less blurred layers in front and lets the blurred masks cover, as the
        released code does; "printed" is Eq. 9 as printed, more blurred layers in front and
        covering by their sharp masks (errata e); "depth" orders a signed map near to far, with
        blurred masks and without overlap, which is right once the focus leaves the nearest object
        (Sec. 4.5).

    Returns:
      Bokeh image in [0, 1], in the dtype of `image`; rendered in float32 (float64 inputs: float64).
      bfloat16 inputs cost what their rounding costs: about 0.004 absolute.

    Raises:
      ValueError: if a side of the image does not exceed the largest kernel's radius (reflect),
        if shapes disagree, or for an unknown padding or order.
    """
    kernels = _checked(image, None, defocus, kernels, order, layer_batch, tile)
    options = {"padding": padding, "layer_batch": layer_batch, "tile": tile, "order": order}
    return _layered_render(image, defocus, kernels, sharpness, **options)


def weighted_layered_render(
    image: Float[Array, "*b h w 3"],
    weight: Float[Array, "*b h w #3"],
    defocus: Float[Array, "*b h w"],
    *,
    kernels: Kernels | None = None,
    sharpness: float | Float[Array, ""] = 100.0,
    padding: Padding = "reflect",
    layer_batch: int | None = None,
    tile: int | None = None,
    order: LayerOrder = "released",
) -> Float[Array, "*b h w 3"]:
    """Renders bokeh from a radiance-weighted image (Luo et al. 2023, Eqs. 15-16).

    Bright pixels with a large weight keep their share when they are spread over a disc, which is
    what makes discs of highlights visible.

    Args:
      image: All-in-focus image, sRGB in [0, 1].
      weight: Relative scene radiance of each pixel, >= 0 [1].
      defocus: Defocus map, as for `layered_render`.
      kernels: As for `layered_render`.
      sharpness: As for `layered_render`.
      padding: As for `layered_render`.
      layer_batch: As for `layered_render`.
      tile: As for `layered_render`.
      order: As for `layered_render`.

    Returns:
      Bokeh image in [0, 1], the ratio of Eq. 15; 0 where no weight arrives.

    Raises:
      ValueError: as `layered_render`.
    """
    kernels = _checked(image, weight, defocus, kernels, order, layer_batch, tile)
    options = {"padding": padding, "layer_batch": layer_batch, "tile": tile, "order": order}
    return _weighted_layered_render(image, weight, defocus, kernels, sharpness, **options)


def lens_blur(
    image: Float[Array, "*b h w 3"],
    disparity: Float[Array, "*b h w"],
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
) -> Float[Array, "*b h w 3"]:
    """Blurs a picture as a lens would, for any map of disparity; near objects melt over far ones.

    The circle of confusion of a pixel has the signed radius `blur * (disparity - focus)` (thin
    lens; the convention of BokehMe, Peng et al. 2022), positive in front of the focus. See
    `d2f_jax.lens` for the method. Differentiable in the image, the disparity, the focus and the
    blur.

    Args:
      image: All-in-focus image.
      disparity: Inverse depth in any affine scale, larger = nearer. `focus.to_disparity` makes it
        of other kinds of depth.
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

    Returns:
      The image through the lens in the encoding and dtype of `image`; sRGB is clipped to [0, 1].

    Raises:
      ValueError: for shapes that disagree, an unknown encoding, values that are not finite, or if
        `max_radius` is missing where it is needed.
    """
    image, disparity = jnp.asarray(image), jnp.asarray(disparity)
    _check_picture(image, disparity, "disparity")
    if encoding not in get_args(Encoding):
        raise ValueError(f"encoding is one of {', '.join(get_args(Encoding))}, got {encoding!r}")
    if layer_batch < 1 or (tile is not None and (tile < 64 or tile % 32)):
        raise ValueError(
            f"layer_batch is at least 1 and tile a multiple of 32 from 64 on, "
            f"got layer_batch={layer_batch} and tile={tile}"
        )
    if not 0 <= cat_eye <= 1.5:
        raise ValueError(f"cat_eye is in [0, 1.5], got {cat_eye}")
    coc_radius = _per_image(blur, "blur", disparity) * (
        _float(disparity) - _per_image(focus, "focus", disparity)
    )
    return _lens_blur(
        image,
        coc_radius,
        plan=_layer_plan(coc_radius, max_radius),
        aperture=Circle() if aperture is None else aperture,
        encoding=encoding,
        highlights=highlights,
        cat_eye=cat_eye,
        layer_batch=layer_batch,
        tile=tile,
    )


_LAYERED_STATIC = ("padding", "layer_batch", "tile", "order")


@functools.partial(jax.jit, static_argnames=_LAYERED_STATIC)
def _layered_render(image, defocus, kernels, sharpness, **options):
    def divide(total):
        return total[..., :-1, :, :] / (total[..., -1:, :, :] + _EPSILON)

    planes = _composite(_planes(image), defocus, kernels, sharpness, divide=divide, **options)
    return jnp.moveaxis(planes, -3, -1).astype(image.dtype)


@functools.partial(jax.jit, static_argnames=_LAYERED_STATIC)
def _weighted_layered_render(image, weight, defocus, kernels, sharpness, **options):
    def divide(total):
        # Both sums of Eq. 9 share one denominator (the masks), which the ratio of Eq. 15 cancels.
        radiance, arrived = total[..., :3, :, :], total[..., 3:-1, :, :]
        return jnp.where(arrived > 0, radiance / jnp.where(arrived > 0, arrived, 1.0), 0.0)

    dtype = image.dtype
    image, weight = _float(image), _float(weight)
    planes = _planes(weight * image, weight)
    planes = _composite(planes, defocus, kernels, sharpness, divide=divide, **options)
    return jnp.moveaxis(planes, -3, -1).astype(dtype)


_LENS_STATIC = ("plan", "aperture", "encoding", "highlights", "cat_eye", "layer_batch", "tile")


@functools.partial(jax.jit, static_argnames=_LENS_STATIC)
def _lens_blur(image, coc_radius, *, encoding, highlights, **options):
    radiance = _float(image)
    encoded = radiance if encoding == "srgb" else jnp.clip(color.linear_to_srgb(radiance), 0, 1)
    if encoding == "srgb":
        radiance = color.srgb_to_linear(radiance)
    if highlights is not None:
        radiance = radiance * highlights(encoded)
    bokeh = lens.blur(radiance, coc_radius, **options)
    if encoding == "srgb":
        bokeh = color.linear_to_srgb(jnp.clip(bokeh, 0.0, 1.0))
    return bokeh.astype(image.dtype)


def _layer_plan(coc_radius: Array, max_radius: float | None) -> lens.LayerPlan:
    if max_radius is not None:
        if not 0 < max_radius < math.inf:
            raise ValueError(f"max_radius is a positive number of pixels, got {max_radius}")
        return lens.plan_layers(-max_radius, max_radius)
    if isinstance(coc_radius, jax.core.Tracer):
        raise ValueError(
            "max_radius (the largest radius in pixels, e.g. max_radius=40) must be given when "
            "disparity, focus or blur are traced by jit, vmap or grad: the layers depend on it"
        )
    lowest, highest = float(jnp.min(coc_radius)), float(jnp.max(coc_radius))
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise ValueError("disparity, focus and blur must be finite; found NaN or infinity")
    return lens.plan_layers(lowest, highest)


def _per_image(value: float | Array, name: str, disparity: Array) -> Array:
    """A number, or one per image, as an array that broadcasts against `... h w`."""
    value = jnp.asarray(value, _float(disparity).dtype)
    if value.ndim and value.shape != disparity.shape[:-2]:
        raise ValueError(
            f"{name} is one number or one per image, of shape {disparity.shape[:-2]}, "
            f"got shape {value.shape}"
        )
    return jnp.broadcast_to(value, disparity.shape[:-2])[..., None, None]


class _Layers(NamedTuple):
    """Layers that one loop runs over, front to back: the defocus of each and its kernel."""

    centres: Array  # n
    kernels: Array  # n k k


def _composite(planes, defocus, kernels, sharpness, *, divide, padding, layer_batch, tile, order):
    """Sums the blurred layers, each dimmed by those in front of it, and divides (Eq. 9 or 15).

    `planes` are arrays `... c h w`, the last of them ones: it becomes the denominator of Eq. 9 and,
    layer by layer, the blurred mask. `divide` takes the sums of all planes.
    """
    height, width = defocus.shape[-2:]
    radius = kernels.shape[-1] // 2
    planes = [convolution.pad(array, radius, padding) for array in planes]
    # Beyond the border the planes decide; the map only needs a value there.
    defocus = convolution.pad(_float(defocus), radius, "edge" if padding == "zero" else padding)

    def lay(*arrays):
        *planes, defocus, _ = arrays
        planes = jnp.concatenate(planes, axis=-3)  # only now: together they are large
        return divide(_lay(kernels, sharpness, layer_batch, order, planes, defocus))

    if tile is None or tile >= max(height, width):
        return lay(*planes, defocus, None)
    return over_tiles(
        lay, (*planes, defocus), size=(height, width), margin=radius, tile=tile, overlap=0
    )


def _lay(kernels, sharpness, layer_batch, order, planes, defocus):
    """Lays the layers of a picture, or of a tile of one, that is padded by the kernels' radius."""
    channels, height, width = planes.shape[-3:]
    radius = kernels.shape[-1] // 2
    inside = (..., slice(radius, height - radius), slice(radius, width - radius))
    moved = (..., slice(2 * radius, height), slice(2 * radius, width))  # by a kernel's radius
    grid = (convolution.fast_size(height), convolution.fast_size(width))
    # Pairs are arrays of their own: in a loop, each core of a CPU transforms one array at a time.
    pairs = jnp.unstack(convolution.pack(convolution.pad_to(planes, grid)), axis=-3)
    defocus = convolution.pad_to(defocus, grid)
    steps = len(kernels) - 1

    # Eq. 7 with centres i / (n - 1) and half-width 1 / (n - 1) (errata f). Such layers overlap: a
    # pixel is in two. By depth they must not, or a blurred half would cover what is in focus.
    half_width = (0.5 if order == "depth" else 1.0) / steps

    def mask(centre):
        return 0.5 + 0.5 * jnp.tanh(sharpness * (half_width - jnp.abs(defocus - centre)))

    def blurred_layer(centre, kernel):  # Eqs. 6 and 8
        cover = mask(centre)
        spectrum = convolution.kernel_spectrum(kernel, grid)
        blurred = [convolution.convolve_packed(_dim(x, cover), spectrum)[moved] for x in pairs]
        return blurred, cover[inside] if order == "printed" else blurred[ones].imag

    ones = channels // 2 - 1  # the plane of ones travels as the imaginary part of this pair

    def put(carry, layer):
        total, free = carry
        blurred, cover = layer
        total = [x + _dim(y, free) for x, y in zip(total, blurred, strict=True)]
        return total, free * (1 - cover)

    def put_blurred(carry, layers: _Layers):
        """Puts blurred layers behind those of the carry, `layer_batch` of them at a time."""
        count = len(layers.centres)
        size = min(layer_batch or count, count)

        def chunk(carry, part: _Layers):
            # Gradients make masks and spectra again instead of keeping those of every layer.
            blurred = jax.vmap(jax.checkpoint(blurred_layer, prevent_cse=False))(*part)
            for index in range(size):
                carry = put(carry, jax.tree.map(lambda x, i=index: x[i], blurred))
            return carry, None

        if size == count:
            return chunk(carry, layers)[0]
        # A layer at infinity has an empty mask: it fills the last chunk and adds nothing.
        missing = -count % size
        centres = jnp.pad(layers.centres, (0, missing), constant_values=jnp.inf)
        kernels = jnp.pad(layers.kernels, ((0, missing), (0, 0), (0, 0)))
        parts = _Layers(centres.reshape(-1, size), kernels.reshape(-1, size, *kernels.shape[1:]))
        return jax.lax.scan(chunk, carry, parts)[0]

    sharp_mask = mask(jnp.zeros((), defocus.dtype))[inside]
    sharp = ([_dim(pair[inside], sharp_mask) for pair in pairs], sharp_mask)  # needs no transform
    centres = jnp.arange(1, steps + 1, dtype=defocus.dtype) / steps
    kernels = kernels[1:].astype(defocus.dtype)
    carry = (jax.tree.map(jnp.zeros_like, sharp[0]), jnp.ones_like(sharp_mask))
    if order != "released":  # the most blurred, or the nearest, in front
        carry = put_blurred(carry, _Layers(centres[::-1], kernels[::-1]))
    carry = put(carry, sharp)
    if order == "released":  # the sharpest in front
        carry = put_blurred(carry, _Layers(centres, kernels))
    elif order == "depth":  # the map falls on below 0
        carry = put_blurred(carry, _Layers(-centres, kernels))
    return convolution.unpack(jnp.stack(carry[0], axis=-3), channels)


def _dim(packed: Array, factor: Array) -> Array:
    """Complex times real, for which gradients would keep the factor as a complex copy."""
    return jax.lax.complex(factor * packed.real, factor * packed.imag)


def _planes(*images: Array) -> list[Array]:
    """Channels-last images, and ones, as `... c h w`."""
    ones = jnp.ones_like(images[0][..., :1])
    return [jnp.moveaxis(_float(image), -1, -3) for image in (*images, ones)]


def _float(array: Array) -> Array:
    """Raises half precision and integers to float32, the precision of all rendering."""
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def _checked(image, weight, defocus, kernels, order, layer_batch, tile) -> Array:
    """Refuses shapes and options that cannot be meant; returns the kernels to use."""
    _check_picture(image, defocus, "defocus")
    shape = jnp.shape(image)
    if weight is not None and jnp.shape(weight) not in (shape, (*shape[:-1], 1)):
        raise ValueError(
            f"weight must be '... h w 1' or '... h w 3' like the image, got {jnp.shape(weight)}"
        )
    if order not in get_args(LayerOrder):
        raise ValueError(f"order is one of {', '.join(get_args(LayerOrder))}, got {order!r}")
    for name, value in (("layer_batch", layer_batch), ("tile", tile)):
        if value is not None and value < 1:
            raise ValueError(f"{name} is None or at least 1, got {value}")
    kernels = jnp.asarray(kernel_bank() if kernels is None else kernels)
    n, height, width = kernels.shape
    if n < 2 or height != width or height % 2 == 0:
        raise ValueError(f"kernels must be 'n k k' with n >= 2 and k odd, got {(n, height, width)}")
    return kernels


def _check_picture(image, map_, name: str) -> None:
    shape = jnp.shape(image)
    if len(shape) < 3 or shape[-1] != 3:
        raise ValueError(f"image must be '... h w 3' (channels last), got shape {shape}")
    if jnp.shape(map_) != shape[:-1]:
        raise ValueError(
            f"{name} must be '... h w' like the image, {shape[:-1]}, got {jnp.shape(map_)}"
        )
