import jax.numpy as jnp
import numpy as np

from d2f_jax.models import radiance
from tests.conftest import load_golden
from tests.tolerances import EXACT, GOLDEN_NETWORK


def test_equals_the_released_network_and_rule(released_d2f):
    golden = load_golden("stage1.npz")
    image = jnp.asarray(golden["image"])
    ours = released_d2f.config.radiance_net.apply(released_d2f.params.radiance, image)
    np.testing.assert_allclose(ours[..., 0], golden["radiance"], atol=GOLDEN_NETWORK)
    weight = radiance.highlight_weight(image, ours)
    np.testing.assert_allclose(weight, golden["weight"], atol=GOLDEN_NETWORK)


def test_one_bright_channel_makes_a_highlight():
    image = jnp.array([[[0.99, 0.5, 0.1], [0.98, 0.98, 0.98]]])
    weight = radiance.highlight_weight(image, jnp.full((1, 2, 1), 0.4))
    np.testing.assert_allclose(weight[0, 0], 3 * image[0, 0] ** 5, atol=EXACT)
    np.testing.assert_allclose(weight[0, 1], 0.4, atol=EXACT)
    other = radiance.highlight_weight(
        image, jnp.full((1, 2, 1), 0.4), alpha=2.0, beta=1.0, threshold=0.9
    )
    np.testing.assert_allclose(other, 2 * image, atol=EXACT)
