"""Layered bokeh rendering, differentiable in everything (Luo et al. 2023, Sec. 3.2).

Images are channels-last sRGB in [0, 1]; every argument takes leading batch axes. The defocus map
is cut into soft layers, each layer is blurred by the kernel of its amount, and the layers are laid
over one another from the front to the back, each seen through what the layers before it leave free.
"""

import functools
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Shaped

from d2f_jax.render import arrays, convolution
from d2f_jax.render.kernels import kept_bank
from d2f_jax.render.tiles import over_tiles
from d2f_jax.types import Extent, Kernels, LayerOrder, Padding

_EPSILON = 1e-10  # of the released code's divisions
_ACTIVE = 1e-4  # share of a pixel from which layers are active: below, transforms leave noise
_KEPT = 2**28  # most bytes of spectra that are kept for the next call


def layered_render(
    image: Shaped[Array, "*b h w 3"],
    defocus: Float[Array, "*b h w"],
    *,
    kernels: Kernels | None = None,
    sharpness: float | Float[Array, ""] = 100.0,
    padding: Padding = "reflect",
    layer_batch: int | None = None,
    tile: int | None = None,
    order: LayerOrder = "released",
) -> Shaped[Array, "*b h w 3"]:
    """Renders bokeh from an image and its defocus map (Luo et al. 2023, Eqs. 6-10).

    Args:
      image: All-in-focus image, sRGB in [0, 1], or unsigned integers, which count by their range.
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
      ValueError: if a side of the image does not exceed the largest kernel's radius (reflect), if
        shapes disagree, for an unknown padding or order, and, unless traced, for values that are
        not finite or far outside of their range.
    """
    kernels = _checked(image, None, defocus, kernels, order, layer_batch, tile)
    options = {"padding": padding, "layer_batch": layer_batch, "tile": tile, "order": order}
    bank = _bank(kernels, (image, defocus), tile)
    return _layered_render(image, defocus, bank, sharpness, **options)


def weighted_layered_render(
    image: Shaped[Array, "*b h w 3"],
    weight: Float[Array, "*b h w #3"],
    defocus: Float[Array, "*b h w"],
    *,
    kernels: Kernels | None = None,
    sharpness: float | Float[Array, ""] = 100.0,
    padding: Padding = "reflect",
    layer_batch: int | None = None,
    tile: int | None = None,
    order: LayerOrder = "released",
    extent: Extent | None = None,
) -> Shaped[Array, "*b h w 3"]:
    """Renders bokeh from a radiance-weighted image (Luo et al. 2023, Eqs. 15-16).

    Bright pixels with a large weight keep their share when they are spread over a disc, which is
    what makes discs of highlights visible.

    Args:
      image: All-in-focus image, sRGB in [0, 1], or unsigned integers, which count by their range.
      weight: Relative scene radiance of each pixel, >= 0 [1].
      defocus: Defocus map, as for `layered_render`.
      kernels: As for `layered_render`.
      sharpness: As for `layered_render`.
      padding: As for `layered_render`.
      layer_batch: As for `layered_render`.
      tile: As for `layered_render`.
      order: As for `layered_render`.
      extent: Where the picture ends, if rows and columns follow, which count for nothing: so
        pictures of several sizes share what is compiled. None: it fills the arrays.

    Returns:
      Bokeh image in [0, 1], the ratio of Eq. 15; 0 where no weight arrives.

    Raises:
      ValueError: as `layered_render`.
    """
    kernels = _checked(image, weight, defocus, kernels, order, layer_batch, tile)
    options = {"padding": padding, "layer_batch": layer_batch, "tile": tile, "order": order}
    bank = _bank(kernels, (image, weight, defocus), tile)
    return _weighted_layered_render(
        image, weight, defocus, bank, sharpness, extent=extent, **options
    )


_LAYERED_STATIC = ("padding", "layer_batch", "tile", "order")


@functools.partial(jax.jit, static_argnames=_LAYERED_STATIC)
def _layered_render(image, defocus, bank, sharpness, **options):
    def divide(total):
        active = total[..., -1:, :, :]
        ratio = total[..., :-1, :, :] / (jnp.maximum(active, _ACTIVE) + _EPSILON)
        return jnp.where(active > _ACTIVE, ratio, 0.0)

    planes = _composite(
        _planes(arrays.scaled(image)), defocus, bank, sharpness, divide=divide, **options
    )
    return arrays.restored(jnp.moveaxis(planes, -3, -1), image.dtype)


@functools.partial(jax.jit, static_argnames=_LAYERED_STATIC)
def _weighted_layered_render(image, weight, defocus, bank, sharpness, **options):
    def divide(total):
        # Both sums of Eq. 9 share one denominator (the masks), which the ratio of Eq. 15 cancels.
        radiance, arrived = total[..., :3, :, :], total[..., 3:-1, :, :]
        active = (total[..., -1:, :, :] > _ACTIVE) & (arrived > 0)
        return jnp.where(active, radiance / jnp.where(active, arrived, 1.0), 0.0)

    dtype = image.dtype
    image, weight = arrays.scaled(image), arrays.raised(weight)
    planes = _planes(weight * image, weight)
    planes = _composite(planes, defocus, bank, sharpness, divide=divide, **options)
    return arrays.restored(jnp.moveaxis(planes, -3, -1), dtype)


class _Bank(NamedTuple):
    """Kernels, and what was made of them before."""

    kernels: Array  # n k k
    spectra: Array | None  # n-1 p q, of all but the first, on the grid of a piece


class _Layers(NamedTuple):
    """Layers that one loop runs over, front to back: the defocus of each and its kernel."""

    centres: Array  # n
    kernels: Array  # n k k, or the spectra n p q


def _composite(
    planes,
    defocus,
    bank,
    sharpness,
    *,
    divide,
    padding,
    layer_batch,
    tile,
    order,
    extent=None,
):
    """Sums the blurred layers, each dimmed by those in front of it, and divides (Eq. 9 or 15).

    `planes` are arrays `... c h w`, the last of them ones: it becomes the denominator of Eq. 9 and,
    layer by layer, the blurred mask. `divide` takes the sums of all planes.
    """
    height, width = defocus.shape[-2:]
    radius = bank.kernels.shape[-1] // 2
    planes = [convolution.pad(array, radius, padding, extent) for array in planes]
    # Beyond the border the planes decide; the map only needs a value there.
    defocus = convolution.pad(
        arrays.raised(defocus), radius, "edge" if padding == "zero" else padding, extent
    )

    def lay(*arrays):
        *planes, defocus, _ = arrays
        planes = jnp.concatenate(planes, axis=-3)  # only now: together they are large
        return divide(_lay(bank, sharpness, layer_batch, order, planes, defocus))

    if not _is_tiled(tile, (height, width)):
        return lay(*planes, defocus, None)
    return over_tiles(
        lay, (*planes, defocus), size=(height, width), margin=radius, tile=tile, overlap=0
    )


def _lay(bank, sharpness, layer_batch, order, planes, defocus):
    """Lays the layers of a picture, or of a tile of one, that is padded by the kernels' radius."""
    channels, height, width = planes.shape[-3:]
    radius = bank.kernels.shape[-1] // 2
    inside = (..., slice(radius, height - radius), slice(radius, width - radius))
    moved = (..., slice(2 * radius, height), slice(2 * radius, width))  # by a kernel's radius
    grid = convolution.fast_grid(height, width)
    # Pairs are arrays of their own: in a loop, each core of a CPU transforms one array at a time.
    pairs = jnp.unstack(convolution.pack(convolution.pad_to(planes, grid)), axis=-3)
    defocus = convolution.pad_to(defocus, grid)
    steps = len(bank.kernels) - 1

    # Eq. 7 with centres i / (n - 1) and half-width 1 / (n - 1) (errata f). Such layers overlap: a
    # pixel is in two. By depth they must not, or a blurred half would cover what is in focus.
    half_width = (0.5 if order == "depth" else 1.0) / steps

    def mask(centre):
        return 0.5 + 0.5 * jnp.tanh(sharpness * (half_width - jnp.abs(defocus - centre)))

    def blurred_layer(centre, kernel):  # Eqs. 6 and 8
        cover = mask(centre)
        spectrum = kernel
        if bank.spectra is None:
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
        if missing:
            centres = jnp.pad(layers.centres, (0, missing), constant_values=jnp.inf)
            kernels = jnp.pad(layers.kernels, ((0, missing), (0, 0), (0, 0)))
            layers = _Layers(centres, kernels)
        parts = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), layers)
        return jax.lax.scan(chunk, carry, parts)[0]

    sharp_mask = mask(jnp.zeros((), defocus.dtype))[inside]
    sharp = ([_dim(pair[inside], sharp_mask) for pair in pairs], sharp_mask)  # needs no transform
    centres = jnp.arange(1, steps + 1, dtype=defocus.dtype) / steps
    kernels = bank.spectra
    if kernels is None:
        kernels = bank.kernels[1:].astype(defocus.dtype)
    carry = (jax.tree.map(jnp.zeros_like, sharp[0]), jnp.ones_like(sharp_mask))
    if order != "released":  # the most blurred, or the nearest, in front
        carry = put_blurred(carry, _Layers(centres[::-1], kernels[::-1]))
    carry = put(carry, sharp)
    if order == "released":  # the sharpest in front
        carry = put_blurred(carry, _Layers(centres, kernels))
    elif order == "depth":  # the map falls on below 0
        carry = put_blurred(carry, _Layers(-centres, kernels))
    return convolution.unpack(jnp.stack(carry[0], axis=-3), channels)


def _is_tiled(tile, size):
    """Whether a picture is rendered in tiles of a side."""
    return tile is not None and tile < max(size)


def _bank(kernels, pictures, tile) -> _Bank:
    """The bank with its spectra, if it and the pictures are concrete and they are not too large.

    Under a trace they would be constants of the program.
    """
    bank = _Bank(jnp.asarray(kernels), None)
    traced = any(isinstance(picture, jax.core.Tracer) for picture in pictures)
    if traced or not isinstance(kernels, np.ndarray):
        return bank
    size, radius = pictures[-1].shape[-2:], kernels.shape[-1] // 2
    piece = (tile, tile) if _is_tiled(tile, size) else size
    grid = convolution.fast_grid(*(side + 2 * radius for side in piece))
    dtype = arrays.raised(pictures[-1][..., :0, :0]).dtype
    if (len(kernels) - 1) * grid[0] * grid[1] * 2 * dtype.itemsize > _KEPT:
        return bank
    return bank._replace(
        spectra=_spectra(kernels.tobytes(), kernels.shape, kernels.dtype, grid, dtype)
    )


@functools.lru_cache(maxsize=4)
def _spectra(data: bytes, shape: tuple[int, ...], dtype, grid, to) -> Array:
    kernels = np.frombuffer(data, dtype).reshape(shape)[1:].astype(to)
    return jax.jit(functools.partial(convolution.kernel_spectrum, size=grid))(kernels)


def _dim(packed: Array, factor: Array) -> Array:
    """Complex times real, for which gradients would keep the factor as a complex copy."""
    return jax.lax.complex(factor * packed.real, factor * packed.imag)


def _planes(*images: Array) -> list[Array]:
    """Channels-last images, and ones, as `... c h w`."""
    ones = jnp.ones_like(images[0][..., :1])
    return [jnp.moveaxis(arrays.raised(image), -1, -3) for image in (*images, ones)]


def _checked(image, weight, defocus, kernels, order, layer_batch, tile) -> Kernels:
    """Refuses shapes and options that cannot be meant; returns the kernels to use."""
    arrays.check_picture(image, defocus, "defocus")
    if weight is not None:
        arrays.check_range(weight, "weight", low=0.0, hint="weights are 0 or more")
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
    kernels = kept_bank() if kernels is None else kernels
    n, height, width = kernels.shape
    if n < 2 or height != width or height % 2 == 0:
        raise ValueError(f"kernels must be 'n k k' with n >= 2 and k odd, got {(n, height, width)}")
    return kernels
