import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax import color
from tests.tolerances import EXACT


def test_known_values_and_round_trip():
    np.testing.assert_allclose(color.srgb_to_linear(jnp.array([0.0, 0.5, 1.0])), [0, 0.21404114, 1])
    encoded = jnp.linspace(0, 1, 257)
    back = color.linear_to_srgb(color.srgb_to_linear(encoded))
    np.testing.assert_allclose(back, encoded, atol=EXACT)


@pytest.mark.parametrize("convert", [color.srgb_to_linear, color.linear_to_srgb])
def test_gradients_are_finite_from_zero_on(convert):
    gradient = jax.vmap(jax.grad(convert))(jnp.linspace(0, 4, 101))
    assert bool(jnp.isfinite(gradient).all())
    assert bool((gradient > 0).all())


def test_luma_weighs_rec_601():
    primaries = jnp.eye(3).reshape(1, 3, 3)
    np.testing.assert_allclose(color.luma(primaries)[0], [0.299, 0.587, 0.114], atol=EXACT)


def test_encoded_leaves_srgb_and_cuts_linear_light():
    image = np.asarray([[[0.0, 0.5, 1.0]]], np.float32)
    np.testing.assert_array_equal(color.encoded(image, linear=False), image)
    bright = np.asarray(color.encoded(4 * image, linear=True))
    np.testing.assert_allclose(bright, [[[0, 1, 1]]], atol=EXACT)
