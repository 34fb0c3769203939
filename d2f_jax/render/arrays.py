"""What every function that takes a picture asks of it, and how it takes it.

Floating-point pictures are taken as they are, unsigned integers by their range (255 is 1.0) and
given back as such. Values are looked at where arrays are concrete; under `jit`, `vmap` and `grad`
they have none yet, and nothing is refused for them.
"""

import math
import reprlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

_LOWEST, _HIGHEST = -1.0, 16.0  # beyond, another scale was meant; radiance may exceed 1


def check_picture(image: ArrayLike, map_: ArrayLike, name: str, *, linear: bool = False) -> None:
    """Refuses what cannot be a picture and its map.

    Args:
      image: As for `check_image`.
      map_: Should be `... h w`, finite.
      name: What the map is called.
      linear: As for `check_image`.

    Raises:
      ValueError: as `check_image`, and for another shape of the map, or values that are not finite.
    """
    check_image(image, linear=linear)
    shape = jnp.shape(image)
    if jnp.shape(map_) != shape[:-1]:
        raise ValueError(
            f"{name} must be '... h w' like the image, {shape[:-1]}, got {jnp.shape(map_)}"
        )
    check_range(map_, name)


def check_image(image: ArrayLike, *, linear: bool = False) -> None:
    """Refuses what cannot be a picture.

    Args:
      image: Should be `... h w 3`, sRGB in [0, 1], or linear light from 0 up.
      linear: Whether it is linear light.

    Raises:
      ValueError: for other shapes and types, no pixels, and, where the array is concrete, values
        that are not finite or lie far outside of the range.
    """
    check_numbers(image, "image")
    shape, dtype = jnp.shape(image), jnp.result_type(image)
    if len(shape) < 3 or shape[-1] != 3:
        raise ValueError(f"image must be '... h w 3' (channels last), got shape {shape}")
    if 0 in shape:
        raise ValueError(f"image has no pixels, got shape {shape}")
    if not jnp.issubdtype(dtype, jnp.floating) and not jnp.issubdtype(dtype, jnp.unsignedinteger):
        raise ValueError(f"image must be floating point or unsigned integers, got {dtype}")
    top = math.inf if linear else _HIGHEST
    if jnp.issubdtype(dtype, jnp.floating):
        check_range(image, "image", low=_LOWEST, high=top, hint="divide 8-bit values by 255")


def check_numbers(value: Any, name: str) -> None:
    """Refuses, by a ValueError, what holds no numbers: texts, None, objects."""
    dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
    if not (jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)):
        raise ValueError(f"{name} takes numbers, got {reprlib.repr(value)}")


def check_range(
    array: ArrayLike, name: str, *, low: float = -math.inf, high: float = math.inf, hint: str = ""
) -> None:
    """Refuses, by a ValueError, values that are not finite or beyond; nothing of traced arrays."""
    if isinstance(array, jax.core.Tracer):
        return
    lowest, highest = extent(array)
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise ValueError(f"{name} must be finite; found NaN or infinity")
    if lowest < low or highest > high:
        found = f"{name} reaches from {lowest:g} to {highest:g}"
        raise ValueError(f"{found}, far outside of its range{'; ' + hint if hint else ''}")


def extent(array: ArrayLike) -> tuple[float, float]:
    """Smallest and largest value of a concrete array; NaN if there is one."""
    if isinstance(array, np.ndarray):
        return float(array.min()), float(array.max())
    with jax.ensure_compile_time_eval():  # it may be a constant in a traced function
        lowest, highest = jax.device_get(_extent(jnp.asarray(array)))  # one wait, not two
        return float(lowest), float(highest)


@jax.jit
def _extent(array: Array) -> tuple[Array, Array]:
    return jnp.min(array), jnp.max(array)


def raised(array: Any) -> Any:
    """Raises half precision to float32, the precision of all rendering."""
    return array.astype(jnp.promote_types(array.dtype, jnp.float32), copy=False)


def scaled(image: Any) -> Any:
    """A picture as floating point: unsigned integers by their range, others as `raised`."""
    if jnp.issubdtype(image.dtype, jnp.unsignedinteger):
        return image.astype(jnp.float32) / jnp.iinfo(image.dtype).max
    return raised(image)


def shared_size(size: tuple[int, int], least: tuple[int, int] | None = None) -> tuple[int, int]:
    """Size of the canvas that a picture shares with others, and with it what is compiled.

    Sides are rounded up by less than a ninth of themselves: at most a fifth is padding. Beyond
    that, a least canvas is filled.
    """
    height, width = (
        n + -n % 2 ** max(0, (n // 9).bit_length() - 1) for n in map(max, size, least or size)
    )
    return height, width


def extended(array: Any, size: tuple[int, int], rows: int = -2) -> Any:
    """Repeats the border of a picture, whose rows are this axis, to a size: in numpy or in JAX."""
    border = [(0, 0)] * array.ndim
    for axis, wanted in zip((rows, rows + 1), size, strict=True):
        border[axis] = (0, wanted - array.shape[axis])
    xp: Any = np if isinstance(array, np.ndarray) else jnp
    return xp.pad(array, border, mode="edge") if any(after for _, after in border) else array


def cut(array: Array, size: tuple[int, int], rows: int = 0) -> Array:
    """The first corner of an array that is wanted on the host; compiles nothing."""
    index = [slice(None)] * array.ndim
    index[rows], index[rows + 1] = slice(size[0]), slice(size[1])
    if all(end >= n for end, n in zip(size, array.shape[rows:], strict=False)):
        return array
    return jnp.asarray(np.asarray(array)[tuple(index)])


def restored(image: Any, dtype: DTypeLike) -> Any:
    """A rendered picture in the type of what it was made from; the counterpart of `scaled`."""
    xp: Any = np if isinstance(image, np.ndarray) else jnp
    if jnp.issubdtype(dtype, jnp.unsignedinteger):
        return xp.rint(xp.clip(image, 0, 1) * jnp.iinfo(dtype).max).astype(dtype)
    return image.astype(dtype, copy=False)


def checked(image: Any, least: int = 64) -> Any:
    """A picture that can be taken, in float32, in numpy or in JAX as it was.

    Raises:
      ValueError: as `check_image`, and for sides below the least.
    """
    shape = np.shape(image)
    if len(shape) < 3 or shape[-1] != 3 or min(shape[-3:-1]) < least:
        raise ValueError(
            f"image must be '... h w 3' with sides of at least {least} pixels, got shape {shape}"
        )
    image = image if isinstance(image, np.ndarray) else jnp.asarray(image)
    check_image(image)
    return scaled(image).astype(np.float32, copy=False)


def checked_map(map_: Any, name: str, image: Any) -> Any:
    """A map of any size of a checked picture, in float32, in numpy or in JAX as the picture is.

    Raises:
      ValueError: for other leading axes, or values that are not finite.
    """
    shape = np.shape(map_)
    if len(shape) != image.ndim - 1 or shape[:-2] != image.shape[:-3]:
        raise ValueError(f"{name} must be '... h w' beside image {image.shape}, got {shape}")
    xp: Any = np if isinstance(image, np.ndarray) else jnp
    map_ = xp.asarray(map_, xp.float32)
    if not bool(xp.isfinite(map_).all()):
        raise ValueError(f"{name} holds NaN or infinite values: fill them first")
    return map_
