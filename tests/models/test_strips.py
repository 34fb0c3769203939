import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax.models import strips
from tests.tolerances import EXACT


@pytest.mark.parametrize("rows", [1, 3, 4, 11])
def test_sums_over_neighbouring_rows(rows):
    """A function that looks two rows up and down, with zeros beyond the border, of a batch."""
    image = jax.random.normal(jax.random.key(0), (2, 11, 5, 3))

    def run(parts, row):
        padded = jnp.pad(parts[0] + parts[1], [(0, 0), (2, 2), (0, 0), (0, 0)])
        return sum(padded[:, k : k + parts[0].shape[1]] for k in range(5))

    whole = run((image, 2 * image), None)
    out = strips.over_rows(run, (image, 2 * image), rows=rows, halo=2)
    np.testing.assert_allclose(out, whole, atol=EXACT)


def test_strips_without_rows_are_refused():
    with pytest.raises(ValueError, match="at least 1 row, got 0"):
        strips.over_rows(lambda parts, row: parts[0], (jnp.ones((4, 4, 1)),), rows=0, halo=0)


def test_over_rows_takes_all_at_once():
    x = jnp.arange(12.0).reshape(4, 3, 1)
    out = strips.over_rows(
        lambda parts, row: parts[0] + row[:, None, None], (x,), rows=None, halo=3
    )
    np.testing.assert_array_equal(out, x + np.arange(4)[:, None, None])
