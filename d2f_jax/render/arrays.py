"""What every renderer asks of the arrays it is given."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


def check_picture(image: ArrayLike, map_: ArrayLike, name: str) -> None:
    """Refuses, by a ValueError, an image that is not `... h w 3`, or a map of another size."""
    shape = jnp.shape(image)
    if len(shape) < 3 or shape[-1] != 3:
        raise ValueError(f"image must be '... h w 3' (channels last), got shape {shape}")
    if jnp.shape(map_) != shape[:-1]:
        raise ValueError(
            f"{name} must be '... h w' like the image, {shape[:-1]}, got {jnp.shape(map_)}"
        )


def raised(array: Array) -> Array:
    """Raises half precision and integers to float32, the precision of all rendering."""
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))
