"""Running a local function on strips of rows, so that its intermediates stay small."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def over_rows(
    run: Callable[[list[Array], Array], Any],
    arrays: Sequence[Float[Array, "..."]],
    *,
    rows: int | None,
    halo: int,
) -> Any:
    """Maps `run` over strips of at most `rows` rows, each with `halo` more above and below.

    Args:
      run: Takes the strips (one `... n+2*halo w c` of each array, zero beyond the picture) and the
        index of each of their rows in the picture, outside of [0, h) beyond it; returns an array
        `... s*(n+2*halo) v d` for a whole factor s, or a tree of such. Their first and last
        `s*halo` rows are cut.
      arrays: Arrays `... h w c` with one height.
      rows: Rows of a strip at most; None, or as many as there are, runs on exactly the given rows
        at once, with nothing around them and nothing cut or made again for gradients.
      halo: Rows that a row's result depends on, to either side.

    Returns:
      `... s*h v d`, the same as running on all rows at once if `run` heeds the picture's border.

    Raises:
      ValueError: for strips without rows.
    """
    height = arrays[0].shape[-3]
    if rows is None or rows >= height:
        return run(list(arrays), jnp.arange(height))
    if rows < 1:
        raise ValueError(f"strip is None or at least 1 row, got {rows}")
    rows = -(-height // -(-height // rows))  # as many strips, but the last repeats little

    @jax.checkpoint  # gradients make the intermediates of a strip again
    def strip(top: Array) -> Any:
        row = top - halo + jnp.arange(rows + 2 * halo)
        beyond = jnp.where((row >= 0) & (row < height), row, height)
        parts = [jnp.take(x, beyond, axis=x.ndim - 3, mode="fill", fill_value=0) for x in arrays]
        out = run(parts, row)

        def cut(x: Array) -> Array:
            factor = x.shape[-3] // (rows + 2 * halo)
            return x[..., factor * halo : x.shape[-3] - factor * halo, :, :]

        return jax.tree.map(cut, out)

    def put(whole: Any, top: Array) -> tuple[Any, None]:
        def write(x: Array, part: Array) -> Array:
            factor = part.shape[-3] // rows
            return jax.lax.dynamic_update_slice_in_dim(x, part, factor * top, x.ndim - 3)

        return jax.tree.map(write, whole, strip(top)), None

    def blank(part: jax.ShapeDtypeStruct) -> Array:
        size = height * (part.shape[-3] // rows)
        return jnp.zeros((*part.shape[:-3], size, *part.shape[-2:]), part.dtype)

    whole = jax.tree.map(blank, jax.eval_shape(strip, jnp.zeros((), int)))
    # The last strip ends at the border, so that it may repeat rows of the one before it.
    tops = jnp.minimum(jnp.arange(-(-height // rows)) * rows, height - rows)
    return jax.lax.scan(put, whole, tops)[0]
