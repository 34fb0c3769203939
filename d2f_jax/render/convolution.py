"""Convolution of image planes with one kernel: through the FFT, or directly where it is small.

Planes are channels-first here (`... c h w`), so that each transform runs over contiguous memory.
A circular transform of a picture padded by the kernel's radius is exact inside the picture: what
wraps around falls into the padding, which is cut off again.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Complex, Float, Inexact

from d2f_jax.types import Extent, Padding

_PAD_MODES = {"reflect": "reflect", "edge": "edge", "zero": "constant"}
DIRECT_SIZE = 7
"""Side of the largest kernel that is faster without transforms."""


def fast_size(size: int) -> int:
    """Smallest even number from `size` on that has no prime factor above 7 (fast to transform)."""
    size += size % 2
    while True:
        rest = size
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2


def fast_grid(height: int, width: int) -> tuple[int, int]:
    """Size that planes are filled up to for their transforms."""
    return fast_size(height), fast_size(width)


def pad(
    planes: Float[Array, "*b h w"], radius: int, padding: Padding, extent: Extent | None = None
) -> Float[Array, "*b p q"]:
    """Pads the last two axes by `radius` on all sides.

    Args:
      planes: What to pad.
      radius: Pixels on each side.
      padding: What they are, see `convolve`.
      extent: Where the picture ends, if rows and columns follow, which are replaced; may be traced.

    Raises:
      ValueError: for an unknown padding, or if "reflect" has too few pixels to mirror.
    """
    if padding not in _PAD_MODES:
        raise ValueError(f"padding is one of {', '.join(_PAD_MODES)}, got {padding!r}")
    height, width = planes.shape[-2:]
    if padding == "reflect" and min(height, width) <= radius:
        raise ValueError(
            f"an image of {height}x{width} is too small for kernels of radius {radius} with "
            f'padding="reflect" (each side must exceed the radius); use padding="edge", or '
            f"smaller kernels"
        )
    border = [(0, 0)] * (planes.ndim - 2) + [(radius, radius)] * 2
    if extent is None:
        return jnp.pad(planes, border, mode=_PAD_MODES[padding])
    for axis, end in zip((-2, -1), extent, strict=True):
        place = jnp.arange(-radius, planes.shape[axis] + radius)
        seen = jnp.clip(place, 0, end - 1)
        if padding == "reflect":
            seen = jnp.clip(end - 1 - jnp.abs(end - 1 - jnp.abs(place)), 0, end - 1)
        planes = jnp.take(planes, seen, axis=axis)
        if padding == "zero":
            others = [other for other in range(planes.ndim) if other != planes.ndim + axis]
            planes = jnp.where(jnp.expand_dims(place == seen, others), planes, 0)
    return planes


def pad_to(planes: Inexact[Array, "*b h w"], grid: tuple[int, int]) -> Inexact[Array, "*b p q"]:
    """Fills the last two axes up with zeros to a size that is fast to transform."""
    extra = [(0, size - now) for size, now in zip(grid, planes.shape[-2:], strict=True)]
    return jnp.pad(planes, [(0, 0)] * (planes.ndim - 2) + extra)


def kernel_spectrum(
    kernel: Float[Array, "*b k k"], size: tuple[int, int]
) -> Complex[Array, "*b p q"]:
    """Transforms a kernel that lies in the first corner of a grid of `size` pixels.

    There and not around the origin, which spares a pass over the grid: what is convolved with it
    comes out moved by half of the kernel, down and to the right.
    """
    return jnp.fft.fft2(pad_to(kernel, size))


def pack(planes: Float[Array, "*b c h w"]) -> Complex[Array, "*b p h w"]:
    """Packs pairs of real planes as the real and imaginary part of one: plane i with i + p.

    A real kernel does not mix the two parts, so a convolution of packed planes needs half of the
    transforms. An odd last plane is paired with zeros.
    """
    pairs = (planes.shape[-3] + 1) // 2
    missing = [(0, 0)] * planes.ndim
    missing[-3] = (0, 2 * pairs - planes.shape[-3])
    planes = jnp.pad(planes, missing)
    return jax.lax.complex(planes[..., :pairs, :, :], planes[..., pairs:, :, :])


def unpack(packed: Complex[Array, "*b p h w"], channels: int) -> Float[Array, "*b c h w"]:
    """Undoes `pack`, for the number of planes that went in."""
    return jnp.concatenate([packed.real, packed.imag], axis=-3)[..., :channels, :, :]


def convolve_packed(
    packed: Complex[Array, "*b h w"], spectrum: Complex[Array, "h w"]
) -> Complex[Array, "*b h w"]:
    """Convolves packed planes circularly with one real kernel, given as its spectrum."""
    spectrum = jnp.expand_dims(spectrum, range(packed.ndim - 2))
    return jnp.fft.ifft2(jnp.fft.fft2(packed) * spectrum)


def convolve(
    planes: Float[Array, "*b c h w"],
    kernel: Float[Array, "k k"],
    *,
    padding: Padding = "reflect",
) -> Float[Array, "*b c h w"]:
    """Convolves every plane with one kernel; same size out.

    Args:
      planes: Channels-first planes.
      kernel: Odd square kernel, centre in the middle.
      padding: What lies beyond the border: "reflect" (mirrored without repeating the border pixel),
        "edge" or "zero".

    Raises:
      ValueError: if the planes are too small to be mirrored, or for an unknown padding.
    """
    padded = pad(planes, kernel.shape[-1] // 2, padding)
    return convolve_valid(padded, kernel)


def convolve_valid(
    planes: Float[Array, "*b c p q"], kernel: Float[Array, "k k"]
) -> Float[Array, "*b c h w"]:
    """Convolves planes that bring a border of the kernel's radius, which the result lacks."""
    if kernel.shape[-1] <= DIRECT_SIZE:
        return _directly(planes, kernel)
    return _by_transforms(planes, kernel)


@jax.custom_jvp
def _directly(planes: Array, kernel: Array) -> Array:
    return _sum_of_shifted(planes, kernel)


@functools.partial(_directly.defjvp, symbolic_zeros=True)
def _(primals, tangents):
    # In reverse, sums of shifted copies take many times longer than transforms.
    planes, kernel = primals
    total = _directly(planes, kernel)
    change = jnp.zeros_like(total)
    if not isinstance(tangents[0], SymbolicZero):
        change += _by_transforms(tangents[0], kernel)
    if not isinstance(tangents[1], SymbolicZero):
        change += _by_transforms(planes, tangents[1])
    return total, change


def _by_transforms(planes: Array, kernel: Array) -> Array:
    height, width = planes.shape[-2:]
    grid = fast_grid(height, width)
    spectrum = kernel_spectrum(kernel, grid)
    blurred = unpack(convolve_packed(pack(pad_to(planes, grid)), spectrum), planes.shape[-3])
    border = kernel.shape[-1] - 1  # a radius on each side, and moved by one
    return blurred[..., border:height, border:width]


def convolve_reference(
    planes: Float[Array, "*b c h w"],
    kernel: Float[Array, "k k"],
    *,
    padding: Padding = "reflect",
) -> Float[Array, "*b c h w"]:
    """The obvious twin of `convolve`: pads by the radius and sums shifted copies."""
    radius = kernel.shape[-1] // 2
    border = [(0, 0)] * (planes.ndim - 2) + [(radius, radius)] * 2
    return _sum_of_shifted(jnp.pad(planes, border, mode=_PAD_MODES[padding]), kernel)


def _sum_of_shifted(padded: Array, kernel: Array) -> Array:
    side = kernel.shape[-1]
    height, width = (length - side + 1 for length in padded.shape[-2:])
    total = jnp.zeros((*padded.shape[:-2], height, width), padded.dtype)
    for dy in range(side):
        for dx in range(side):
            # A convolution: the kernel is mirrored against the picture.
            shifted = padded[..., dy : dy + height, dx : dx + width]
            total = total + kernel[side - 1 - dy, side - 1 - dx] * shifted
    return total
