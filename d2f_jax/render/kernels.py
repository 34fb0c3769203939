"""Aperture kernels and banks of them.

A kernel is a point-spread function on an odd square grid, normalised to sum 1. A bank stacks
kernels of growing size, centred and zero-padded to the largest, identity first: `n k k`. Kernels
are numpy constants, so that making one inside a traced function costs nothing.

The apertures below them are the openings of `render.lens_blur`: functions on the plane of the lens,
from which `lens_kernel` makes a kernel of any radius.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Float

from d2f_jax.types import Scalar


def growing_sizes(layers: int = 15, largest: int = 69) -> tuple[int, ...]:
    """Kernel sizes whose steps grow with the layer (Eq. 14), for any count and largest size.

    The paper's schedule is `growing_sizes(15, 69)`; the other entries of Fig. 8 (11 to 19 kernels,
    largest size 49 to 89) stretch the same piecewise linear curve, rounded to odd sizes.

    Args:
      layers: Number of kernels, at least 2; the first is the identity.
      largest: Size of the last kernel, odd.

    Returns:
      `layers` odd sizes from 1 to `largest`, never falling.
    """
    if layers < 2 or largest < 3 or largest % 2 == 0:
        raise ValueError(
            f"a bank needs at least 2 layers and an odd largest size of 3 or more, "
            f"got layers={layers}, largest={largest}"
        )
    position = np.linspace(0, 14, layers)
    size = np.interp(position, np.arange(15), [_paper_size(level) for level in range(15)])
    radius = np.round((size - 1) / 2 * (largest - 1) / 68)
    return tuple(int(2 * r + 1) for r in radius)


def uniform_sizes(layers: int = 15, step: int = 4) -> tuple[int, ...]:
    """Kernel sizes with one step throughout (the uniform sampling of Table 6): 1, 1 + step, ..."""
    if layers < 2 or step < 2 or step % 2:
        raise ValueError(f"needs 2 layers or more and an even step, got {layers} and {step}")
    return tuple(1 + step * level for level in range(layers))


def _paper_size(level: int) -> int:
    """Eq. 14 with l = 0 ... 14, as the released code counts (errata c)."""
    if level < 3:
        return 2 * level + 1
    if level < 8:
        return 4 * (level - 3) + 7
    if level < 11:
        return 6 * (level - 8) + 27
    return 8 * (level - 11) + 45


PAPER_SIZES = tuple(_paper_size(level) for level in range(15))
"""1, 3, 5, 7, 11, 15, 19, 23, 27, 33, 39, 45, 53, 61, 69: the schedule of the paper (Eq. 14)."""


def soft_disk(size: int, *, sigma: float = 0.25, phi: float = 0.5) -> Float[np.ndarray, "k k"]:
    """Disk with a soft rim (Eq. 13), normalised to sum 1.

    Args:
      size: Side of the kernel, odd; the radius is `size // 2` (errata d).
      sigma: Steepness of the rim [1/px^2].
      phi: Shift of the rim [1].

    Returns:
      Kernel of shape `(size, size)`, non-negative, sum 1. Size 1 is the identity.
    """
    x, y = _grid(size)
    radius = size // 2
    return _normalised(0.5 + 0.5 * np.tanh(sigma * (radius**2 - x**2 - y**2) + phi))


def hard_disk(size: int) -> Float[np.ndarray, "k k"]:
    """Disk of zeros and ones (Eq. 11), normalised to sum 1; `size` is odd, radius `size // 2`."""
    x, y = _grid(size)
    return _normalised((x**2 + y**2 <= (size // 2) ** 2).astype(float))


def kernel_bank(
    sizes: Sequence[int] = PAPER_SIZES,
    *,
    aperture: Callable[[int], Float[np.ndarray, "s s"]] = soft_disk,
    blur: float = 1.0,
) -> Float[np.ndarray, "n k k"]:
    """Stacks one kernel per layer, each centred in the largest size.

    Args:
      sizes: Odd kernel sizes, smallest first; the first must be 1 (the layer in focus).
      aperture: Makes the kernel of one size: `soft_disk`, `hard_disk` or a function of your own.
      blur: Scales every radius (Fig. 14) [1]. A radius between two whole ones mixes their kernels,
        so that the picture changes smoothly with the factor and 1.0 gives the table's own kernels.

    Returns:
      Bank of shape `(len(sizes), k, k)` with k the largest scaled size; each kernel sums to 1.

    Raises:
      ValueError: if the sizes are not odd, fall, or do not start at 1, or if `blur` is negative.
    """
    odd = all(size % 2 for size in sizes)
    if len(sizes) < 2 or sizes[0] != 1 or list(sizes) != sorted(sizes) or not odd:
        raise ValueError(f"kernel sizes are odd, start at 1 and grow, got {tuple(sizes)}")
    if not 0 <= blur < np.inf:
        raise ValueError(f"blur is a factor of 0 or more, got {blur}")
    radii = [blur * (size // 2) for size in sizes]
    largest = max(1, int(np.ceil(radii[-1])))
    bank = np.zeros((len(sizes), 2 * largest + 1, 2 * largest + 1), np.float32)
    for layer, radius in enumerate(radii):
        low = int(radius)
        for whole, share in ((low, 1 - (radius - low)), (low + 1, radius - low)):
            if share > 0:
                part = slice(largest - whole, largest + whole + 1)
                kernel = aperture(2 * whole + 1) if whole else np.ones((1, 1), np.float32)
                bank[layer, part, part] += np.float32(share) * kernel
    return bank


@functools.lru_cache(maxsize=8)
def kept_bank(
    sizes: tuple[int, ...] = PAPER_SIZES, blur: float = 1.0
) -> Float[np.ndarray, "n k k"]:
    """`kernel_bank` of soft disks, made once for these sizes and this blur; read-only.

    Raises:
      ValueError: as `kernel_bank`.
    """
    bank = kernel_bank(sizes, blur=blur)
    bank.setflags(write=False)
    return bank


@runtime_checkable
class Aperture(Protocol):
    """An opening of the lens: how much light passes at each point of it.

    The lens is seen from behind the camera, `u` to the right and `v` downwards; the rim of a full
    circle is at distance 1. `softness` is the width of a pixel of the picture in these units: an
    edge should rise over that width, so that small kernels are antialiased. What lies outside of
    [-1, 1] is cut off. Any hashable callable of this form is an aperture; the kernel is normalised
    afterwards, so no opening changes the brightness. The openings of this module are pytrees: their
    numbers may be traced, and others compile nothing anew.
    """

    def __call__(
        self, u: Float[Array, "h w"], v: Float[Array, "h w"], softness: Float[Array, ""]
    ) -> Float[Array, "h w"]:
        """Returns the transmission at each point, in [0, 1]."""
        ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Circle:
    """A round opening."""

    def __call__(self, u: Array, v: Array, softness: Array) -> Array:
        """Transmission at points of the lens."""
        return _inside(1 - jnp.hypot(u, v), softness)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Polygon:
    """An iris of straight or curved blades.

    Attributes:
      blades: Number of blades, at least 3.
      roundness: 0 for straight blades, 1 for a circle.
      rotation: Turn of the iris, clockwise as seen from behind the camera [degrees]; at 0 a corner
        points to the right.
    """

    blades: Scalar = 6
    roundness: Scalar = 0.0
    rotation: Scalar = 0.0

    def __post_init__(self):
        if not (_within(self.blades, 3.0, math.inf) and _within(self.roundness, 0.0, 1.0)):
            raise ValueError(
                f"a polygon needs 3 blades or more and a roundness in [0, 1], "
                f"got blades={self.blades}, roundness={self.roundness}"
            )

    def __call__(self, u: Array, v: Array, softness: Array) -> Array:
        """Transmission at points of the lens."""
        sector = 2 * jnp.pi / self.blades
        angle = jnp.arctan2(v, u) - jnp.deg2rad(self.rotation)
        off_middle = jnp.mod(angle, sector) - sector / 2  # from the middle of a blade
        straight = jnp.cos(sector / 2) / jnp.cos(off_middle)
        rim = (1 - self.roundness) * straight + self.roundness
        return _inside(rim - jnp.hypot(u, v), softness)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Ring:
    """The opening of a mirror lens; `inner` is the radius of the dark middle, in [0, 1)."""

    inner: Scalar = 0.5

    def __post_init__(self):
        if not _within(self.inner, 0.0, math.nextafter(1, 0)):
            raise ValueError(f"the inner radius of a ring is in [0, 1), got {self.inner}")

    def __call__(self, u: Array, v: Array, softness: Array) -> Array:
        """Transmission at points of the lens."""
        distance = jnp.hypot(u, v)
        return _inside(1 - distance, softness) * _inside(distance - self.inner, softness)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Squeeze:
    """Another opening made narrower: `ratio` is width over height (0.5: an anamorphic lens)."""

    aperture: Aperture = Circle()
    ratio: Scalar = 0.5

    def __post_init__(self):
        if not _within(self.ratio, math.nextafter(0, 1), 1.0):
            raise ValueError(f"the ratio of a squeezed aperture is in (0, 1], got {self.ratio}")

    def __call__(self, u: Array, v: Array, softness: Array) -> Array:
        """Transmission at points of the lens."""
        return self.aperture(u / self.ratio, v, softness)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Vignetted:
    """The cat's eye away from the centre of the picture: a second rim cuts into the opening.

    Attributes:
      aperture: The opening itself.
      shift: Where the second rim's centre lies, `(right, down)`, in radii.
    """

    aperture: Aperture = Circle()
    shift: tuple[Scalar, Scalar] = (0.0, 0.0)

    def __call__(self, u: Array, v: Array, softness: Array) -> Array:
        """Transmission at points of the lens."""
        rim = _inside(1 - jnp.hypot(u - self.shift[0], v - self.shift[1]), softness)
        return self.aperture(u, v, softness) * rim


def vignetted(
    aperture: Aperture, cat_eye: float | Float[Array, ""] | None, away: Float[Array, "2"]
) -> Aperture:
    """The opening as it is seen from a place.

    Args:
      aperture: The whole opening.
      cat_eye: Shift of the second rim in the corners, in radii of the opening; None for no rim.
      away: Down and to the right from the middle of the picture, 1 in the corners.
    """
    if cat_eye is None:
        return aperture
    return Vignetted(aperture=aperture, shift=(cat_eye * away[1], cat_eye * away[0]))


@jax.tree_util.register_pytree_node_class
class Picture:
    """A grey picture as an opening, bright is open; its longer side spans the circle."""

    def __init__(self, picture: Float[np.ndarray, "h w"]):
        picture = np.asarray(picture, np.float32)
        if picture.ndim != 2 or picture.min() < 0 or picture.max() <= 0:
            raise ValueError(
                f"an aperture picture is one grey plane 'h w', >= 0 and not all dark, "
                f"got shape {picture.shape}"
            )
        self._plane = picture

    def tree_flatten(self):
        """The picture as a leaf of a pytree."""
        return (self._plane,), None

    @classmethod
    def tree_unflatten(cls, _, leaves):
        """Puts a pytree together again."""
        opening = object.__new__(cls)
        opening._plane = leaves[0]
        return opening

    def __call__(self, u: Array, v: Array, softness: Array) -> Array:
        """Transmission at points of the lens."""
        height, width = self._plane.shape
        half = max(height, width) / 2
        total = jnp.zeros_like(u)
        steps = np.array([-3, -1, 1, 3]) / 8  # sixteen points of a pixel
        for dy in steps:
            for dx in steps:
                rows = (v + dy * softness) * half + (height - 1) / 2
                columns = (u + dx * softness) * half + (width - 1) / 2
                total += map_coordinates(self._plane, [rows, columns], order=1, cval=0.0)
        return total / len(steps) ** 2


def lens_kernel(
    aperture: Aperture, radius: float | Float[Array, ""], size: tuple[int, int]
) -> Float[Array, "h w"]:
    """Point-spread function of a point out of focus, its centre at the origin of a periodic grid.

    Args:
      aperture: The opening of the lens.
      radius: Signed circle-of-confusion radius [px]; far points (negative) show the opening
        upright, near points turned by half a turn, as a lens does.
      size: Height and width of the grid, larger than the circle [px].

    Returns:
      Kernel with sum 1; radius 0 is the identity.
    """
    radius = jnp.asarray(radius, jnp.result_type(radius, jnp.float32))
    y = jnp.fft.fftfreq(size[0], 1 / size[0], dtype=radius.dtype)[:, None]
    x = jnp.fft.fftfreq(size[1], 1 / size[1], dtype=radius.dtype)[None, :]
    scale = jnp.where(radius > 0, -1.0, 1.0) / jnp.maximum(jnp.abs(radius), 0.5)
    u, v = jnp.broadcast_arrays(x * scale, y * scale)
    centre = ((x == 0) & (y == 0)).astype(x.dtype)
    # The trace in the centre is the kernel of an opening that lets nothing through at this size.
    kernel = aperture(u, v, jnp.abs(scale)).astype(radius.dtype) + 1e-9 * centre
    return jnp.where(radius == 0, centre, kernel / jnp.sum(kernel))


def _within(value: Scalar, low: float, high: float) -> bool:
    """Whether a number lies in a range; arrays, which may be traced, are not looked at."""
    return not isinstance(value, int | float) or low <= value <= high


def _inside(depth: Array, softness: Array) -> Array:
    """Coverage of a pixel that lies `depth` inside an edge: 0.5 on it, 1 half a pixel inside."""
    return jnp.clip(depth / softness + 0.5, 0.0, 1.0)


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    if size < 1 or size % 2 == 0:
        raise ValueError(f"a kernel size is odd and at least 1, got {size}")
    axis = np.arange(size) - size // 2
    x, y = np.meshgrid(axis, axis)
    return x, y


def _normalised(kernel: np.ndarray) -> np.ndarray:
    return (kernel / kernel.sum()).astype(np.float32)
