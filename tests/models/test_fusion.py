import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax.models import fusion, resize
from tests.conftest import load_golden
from tests.tolerances import EXACT, GOLDEN_NETWORK


@pytest.mark.optimised
@pytest.mark.parametrize("case", [0, 1])
@pytest.mark.parametrize("strip", [None, 37, 64])
def test_equals_the_released_network(released_d2f, case, strip):
    golden = {name: jnp.asarray(x) for name, x in load_golden(f"fusion_{case}.npz").items()}
    image = golden["image"]
    config, params = released_d2f.config, released_d2f.params
    scene = image, golden["bokeh_up"], golden["defocus"]
    bokeh, mask = fusion.blend(config.fusion_net, params.fusion, *scene, strip=strip)
    np.testing.assert_allclose(mask, jnp.clip(golden["mask_raw"], 0, 1), atol=GOLDEN_NETWORK)
    np.testing.assert_allclose(bokeh, golden["bokeh"], atol=GOLDEN_NETWORK)
    full = resize.bilinear(golden["defocus"][..., None], image.shape[:2])[..., 0]
    np.testing.assert_array_equal(fusion.binary_mask(full), golden["mask_binary"])


def test_strips_of_a_batch_change_nothing():
    net = fusion.FusionNet(features=(4, 3))
    keys = jax.random.split(jax.random.key(0), 3)
    image, defocus = (
        jax.random.uniform(keys[0], (2, 21, 16, 3)),
        jax.random.uniform(keys[1], (2, 9, 8)),
    )
    rendered = jax.random.uniform(keys[0], (2, 10, 8, 3))
    for variables in (net.init(keys[2], image, jnp.zeros((2, 21, 16))), None):
        whole = fusion.blend(net, variables, image, rendered, defocus)
        up = resize.bilinear(rendered, (21, 16))
        np.testing.assert_allclose(whole[0], fusion.fuse(image, up, whole[1]), atol=EXACT)
        for strip in (1, 5, 20, 21):
            part = fusion.blend(net, variables, image, rendered, defocus, strip=strip)
            np.testing.assert_allclose(part[0], whole[0], atol=EXACT)
            np.testing.assert_allclose(part[1], whole[1], atol=EXACT)


def test_threshold_follows_a_picture_without_focus():
    """Errata b: each picture by itself; below theta, or below that share of its own range."""
    sharp = jnp.array([[0.0, 0.1], [0.2, 1.0]])
    blurred = 0.5 + sharp / 2
    masks = fusion.binary_mask(jnp.stack([sharp, blurred]))
    np.testing.assert_array_equal(masks, [[[1, 1], [0, 0]], [[1, 1], [0, 0]]])
    np.testing.assert_array_equal(fusion.binary_mask(sharp, theta=0.25), [[1, 1], [1, 0]])
    np.testing.assert_array_equal(fusion.binary_mask(jnp.full((2, 2), 0.1)), 1)


def test_naive_mask_is_one_up_to_its_sharp_end():
    values = jnp.array([[0.0, 0.1, 0.2, 0.3, 0.4, 1.0]])
    mask = fusion.naive_mask(values, 0.4, sharp=0.1)
    np.testing.assert_allclose(mask, [[1, 1, 2 / 3, 1 / 3, 0, 0]], atol=1e-6)


def test_naive_mask_falls_to_the_threshold():
    np.testing.assert_allclose(
        fusion.naive_mask(jnp.array([[0.0, 0.125, 0.25, 1.0]])), [[1, 0.5, 0, 0]], atol=EXACT
    )
