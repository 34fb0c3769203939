import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax.render import inpaint
from tests.tolerances import EXACT


@pytest.mark.slow
def test_known_pixels_stay_and_holes_take_their_surroundings():
    plane = np.linspace(0, 1, 40, dtype=np.float32)[None, None] * np.ones((1, 33, 1), np.float32)
    weight = np.ones((33, 40), np.float32)
    weight[10:22, 12:25] = 0
    filled = np.asarray(inpaint.push_pull(jnp.asarray(plane * weight), jnp.asarray(weight)))
    np.testing.assert_allclose(filled[0][weight == 1], plane[0][weight == 1], atol=EXACT)
    np.testing.assert_allclose(filled[0], plane[0], atol=0.12)
    constant = inpaint.push_pull(jnp.asarray(3 * weight[None]), jnp.asarray(weight))
    np.testing.assert_allclose(constant, 3, rtol=1e-5)
    assert not inpaint.push_pull(jnp.zeros((1, 9, 9)), jnp.zeros((9, 9))).any()


def test_filling_knows_no_direction():
    """Between a light and the dark around it, all places of one distance are filled alike."""
    y, x = np.mgrid[:257, :257] - 128.0
    distance = np.hypot(y, x)
    weight = ((distance < 12) | (distance > 120)).astype(np.float32)
    light = ((distance < 12) * weight).astype(np.float32)
    filled = np.asarray(inpaint.push_pull(jnp.asarray(light[None]), jnp.asarray(weight)))[0]
    for radius in (40, 60, 80):
        angle = np.linspace(0, 2 * np.pi, 64)
        rows, columns = (np.rint(128 + radius * f(angle)).astype(int) for f in (np.sin, np.cos))
        around = filled[rows, columns]
        assert np.ptp(around) < 0.09  # a kernel that is a product of fading lines has 0.20
        assert 0.01 < around.mean() < 0.9


def test_halving_and_doubling_keep_a_ramp_inside():
    ramp = jnp.arange(24.0)[None, :] * jnp.ones((10, 1))
    back = inpaint.double(inpaint.halve(ramp), (10, 24))
    np.testing.assert_allclose(back[:, 2:-2], ramp[:, 2:-2], atol=EXACT * 24)


def test_blocks_are_averaged_at_once_as_by_halving():
    planes = jnp.asarray(np.random.default_rng(0).random((2, 64, 96), np.float32))
    twin = planes
    for halvings in range(6):
        np.testing.assert_allclose(inpaint.shrink(planes, halvings), twin, atol=EXACT)
        twin = inpaint.halve(twin)


def test_the_largest_of_five_by_five_pixels():
    plane = np.random.default_rng(0).random((3, 20, 31), np.float32)
    around = np.pad(plane, [(0, 0), (2, 2), (2, 2)], constant_values=-np.inf)
    twin = np.lib.stride_tricks.sliding_window_view(around, (5, 5), (-2, -1)).max((-2, -1))
    np.testing.assert_array_equal(inpaint.local_maximum(jnp.asarray(plane)), twin)
