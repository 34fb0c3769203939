"""The ladder of the lens: its radii, and which layers a circle belongs to."""

import jax.numpy as jnp
import numpy as np

from d2f_jax.render import ladder
from tests.tolerances import TWIN


def test_ladder_grows_by_levels_and_covers_the_radius():
    steps = ((0.0, 0, 4.3), (4.3, 0, 4.3), (4.4, 1, 32), (32.0, 1, 32), (33.0, 2, 128))
    for radius, levels, end in steps:
        assert ladder.levels_for(radius) == levels
        assert ladder.radii(levels)[-1] == end
    radii = np.asarray(ladder.radii(3))
    steps = np.diff(radii)
    assert (steps <= np.maximum(2.0, 0.36 * radii[1:])).all()
    assert (steps > 0).all()


def test_layers_are_interpolated_in_squares_of_the_radius():
    radii = np.asarray(ladder.radii(2), np.float32)
    radius = np.linspace(-140, 140, 5601, dtype=np.float32)
    layer = ladder.layer_of(jnp.asarray(radius), radii)
    twin = np.sign(radius) * np.interp(radius**2, radii**2, np.arange(len(radii)))
    np.testing.assert_allclose(layer, twin, atol=TWIN)
    np.testing.assert_allclose(ladder.layer_of(jnp.asarray(radii), radii), np.arange(len(radii)))
