"""Aperture kernels and banks of them.

A kernel is a point-spread function on an odd square grid, normalised to sum 1. A bank stacks
kernels of growing size, centred and zero-padded to the largest, identity first: `n k k`. Kernels
are numpy constants, so that making one inside a traced function costs nothing.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float


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


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    if size < 1 or size % 2 == 0:
        raise ValueError(f"a kernel size is odd and at least 1, got {size}")
    axis = np.arange(size) - size // 2
    x, y = np.meshgrid(axis, axis)
    return x, y


def _normalised(kernel: np.ndarray) -> np.ndarray:
    return (kernel / kernel.sum()).astype(np.float32)
