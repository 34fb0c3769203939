import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from d2f_jax.models import resize
from tests.tolerances import EXACT, TWIN


def torch_resize(image, **options):
    channels_first = torch.from_numpy(np.array(image)).movedim(-1, 1)
    out = torch.nn.functional.interpolate(channels_first, mode="bilinear", **options)
    return out.movedim(1, -1).numpy()


@pytest.mark.optimised
@pytest.mark.parametrize("size", [(5, 7), (20, 33), (11, 13), (40, 4), (1, 1)])
def test_bilinear_equals_torch(size):
    image = jax.random.normal(jax.random.key(0), (2, 11, 13, 3))
    expected = torch_resize(image, size=size, align_corners=False)
    np.testing.assert_allclose(resize.bilinear(image, size), expected, atol=TWIN)


@pytest.mark.parametrize("size", [(20, 33), (11, 13), (4, 13)])
def test_rows_by_number_repeat_the_border(size):
    image = jax.random.normal(jax.random.key(0), (2, 11, 13, 3))
    row = np.array([-3, 0, 2, 1, size[0] - 1, size[0] + 4])
    expected = resize.bilinear(image, size)[:, row.clip(0, size[0] - 1)]
    np.testing.assert_allclose(
        resize.bilinear(image, size, row=jnp.asarray(row)), expected, atol=EXACT
    )


@pytest.mark.optimised
def test_doubling_equals_torch():
    features = jax.random.normal(jax.random.key(0), (2, 6, 9, 4))
    aligned = torch_resize(features, scale_factor=2, align_corners=True)
    np.testing.assert_allclose(resize.double(features, aligned=True), aligned, atol=1e-5)
    centred = torch_resize(features, scale_factor=2, align_corners=False)
    np.testing.assert_allclose(resize.double(features, aligned=False), centred, atol=EXACT)


def test_doubling_one_pixel_repeats_it():
    np.testing.assert_allclose(
        resize.double(jnp.full((1, 1, 1, 2), 3.0), aligned=True), 3.0, atol=EXACT
    )


def test_same_size_is_the_same_array():
    image = jax.random.normal(jax.random.key(0), (4, 5, 3))
    assert resize.bilinear(image, (4, 5)) is image
