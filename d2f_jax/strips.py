"""Running a local function on strips of rows, so that its intermediates stay small."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def over_rows(
    run: Callable[[list[Array], Array], Array],
    arrays: Sequence[Float[Array, "..."]],
    *,
    rows: int,
    halo: int,
) -> Float[Array, "..."]:
    """Maps `run` over strips of `rows` rows, each with `halo` more rows above and below.

    Args:
      run: Takes the strips (one `... rows+2*halo w c` of each array) and the index of each of their
        rows in the picture, which is outside of [0, h) for rows of padding; returns
        `... s*(rows+2*halo) v d` for a whole factor s. Its first and last `s*halo` rows are cut.
      arrays: Arrays `... h w c` with one height.
      rows: Rows of a strip.
      halo: Rows that a row's result depends on, to either side.

    Returns:
      `... s*h v d`, the same as running on all rows at once if `run` heeds the picture's border.
    """
    height = arrays[0].shape[-3]
    count = -(-height // rows)
    around = [(halo, count * rows - height + halo), (0, 0), (0, 0)]
    padded = [jnp.pad(array, [(0, 0)] * (array.ndim - 3) + around) for array in arrays]

    def strip(top: Array) -> Array:
        parts = [jax.lax.dynamic_slice_in_dim(x, top, rows + 2 * halo, x.ndim - 3) for x in padded]
        out = run(parts, top - halo + jnp.arange(rows + 2 * halo))
        cut = halo * (out.shape[-3] // (rows + 2 * halo))
        return out[..., cut : out.shape[-3] - cut, :, :]

    strips = jax.lax.map(strip, jnp.arange(count) * rows)  # n ... s*rows v d
    strips = jnp.moveaxis(strips, 0, -4)
    whole = strips.reshape(*strips.shape[:-4], -1, *strips.shape[-2:])
    return whole[..., : height * (strips.shape[-3] // rows), :, :]
