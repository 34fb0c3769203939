import jax.numpy as jnp
import numpy as np

from d2f_jax.render import inpaint
from tests.tolerances import EXACT


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


def test_halving_and_doubling_keep_a_ramp_inside():
    ramp = jnp.arange(24.0)[None, :] * jnp.ones((10, 1))
    back = inpaint.double(inpaint.halve(ramp), (10, 24))
    np.testing.assert_allclose(back[:, 2:-2], ramp[:, 2:-2], atol=EXACT * 24)
