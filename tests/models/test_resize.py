import functools

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


@pytest.mark.parametrize("size", [(5, 8), (31, 17), (64, 90)])
def test_numpy_does_as_jax_does(size):
    image = np.random.default_rng(0).random((37, 51, 2), np.float32)
    ours = resize.bilinear(image, size)
    assert isinstance(ours, np.ndarray)
    np.testing.assert_allclose(ours, resize.bilinear(jnp.asarray(image), size), atol=EXACT)
    whole = resize.in_strips(image, (64, 40), rows=16)
    np.testing.assert_array_equal(whole, resize.bilinear(image, (64, 40)))
    np.testing.assert_allclose(whole, resize.in_strips(jnp.asarray(image), (64, 40)), atol=EXACT)
    wide = resize.antialiased(image, size, (70, 95))
    np.testing.assert_allclose(
        wide[: size[0], : size[1]], jax.image.resize(image, (*size, 2), "linear"), atol=EXACT
    )
    assert not wide[size[0] :].any()
    assert not wide[:, size[1] :].any()


def test_the_corner_of_a_canvas_is_resized_as_if_alone():
    image = np.random.default_rng(0).random((37, 51, 2), np.float32)
    canvas = np.pad(image, ((0, 9), (0, 5), (0, 0)), constant_values=7)
    ends = ((37, 51), (64, 20))
    ours = jax.jit(functools.partial(resize.bilinear, size=(80, 32)))(canvas, extents=ends)
    np.testing.assert_allclose(ours[:64, :20], resize.bilinear(image, (64, 20)), atol=EXACT)
