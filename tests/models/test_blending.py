import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax.models import blending
from tests import tolerances

SIZE = (24, 32)
METHODS = (
    blending.poisson_blend,
    blending.laplacian_pyramid_blend,
    blending.convolution_pyramid_blend,
)
COMPILED = {method: jax.jit(method) for method in METHODS}


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    image, rendered = (
        jnp.asarray(rng.uniform(0.3, 0.7, (*SIZE, 3)), jnp.float32) for _ in range(2)
    )
    mask = np.zeros(SIZE, np.float32)
    mask[6:18, 8:22] = 1
    return image, rendered, jnp.asarray(mask)


@pytest.mark.parametrize("method", METHODS)
def test_equal_pictures_stay_as_they_are(method, pictures):
    image, _, mask = pictures
    np.testing.assert_allclose(COMPILED[method](image, image, mask), image, atol=tolerances.TWIN)


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_mask_gives_the_bokeh(method, pictures):
    image, rendered, mask = pictures
    blended = COMPILED[method](image, rendered, jnp.zeros_like(mask))
    np.testing.assert_allclose(blended, rendered, atol=tolerances.TWIN)


@pytest.mark.parametrize("method", [blending.poisson_blend, blending.convolution_pyramid_blend])
def test_a_constant_difference_is_taken_away(method, pictures):
    # The membrane between equal values is flat, so the sharp part moves by that value.
    image, _, mask = pictures
    blended = COMPILED[method](image, image + 0.1, mask)
    np.testing.assert_allclose(blended, image + 0.1, atol=1e-4)


def test_poisson_keeps_the_laplacian_inside_and_the_bokeh_outside(pictures):
    image, rendered, mask = pictures
    blended = COMPILED[blending.poisson_blend](image, rendered, mask)
    deep = np.s_[7:17, 9:21]

    def laplacian(x):
        x = np.asarray(x)
        return (x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:] - 4 * x[1:-1, 1:-1])[
            6:16, 8:20
        ]

    np.testing.assert_allclose(laplacian(blended), laplacian(image), atol=1e-3)
    outside = np.asarray(mask) == 0
    np.testing.assert_array_equal(np.asarray(blended)[outside], np.asarray(rendered)[outside])
    assert float(np.abs(blended[deep] - image[deep]).max()) > 0


def test_convolution_pyramid_is_near_the_poisson_solution(pictures):
    image, _, mask = pictures
    slope = jnp.linspace(-0.1, 0.1, SIZE[1])[None, :, None] * jnp.ones((*SIZE, 3))
    exact = COMPILED[blending.poisson_blend](image, image + slope, mask)
    near = COMPILED[blending.convolution_pyramid_blend](image, image + slope, mask)
    inside = np.asarray(mask) == 1
    # A membrane over a slope is that slope; the filters spread values a little differently.
    np.testing.assert_allclose(exact, image + slope, atol=1e-3)
    assert float(np.abs(near - exact)[inside].max()) < 0.05
    assert float(np.abs(near - exact)[inside].mean()) < 0.02


def test_laplacian_pyramid_with_half_a_mask_is_the_mean(pictures):
    image, rendered, mask = pictures
    blended = COMPILED[blending.laplacian_pyramid_blend](image, rendered, jnp.full_like(mask, 0.5))
    np.testing.assert_allclose(blended, (image + rendered) / 2, atol=tolerances.TWIN)


@pytest.mark.parametrize("method", METHODS)
def test_batches_are_blended_one_by_one(method, pictures):
    image, rendered, mask = pictures
    pair = [jnp.stack([x, x[::-1, ::-1]]) for x in (image, rendered, mask)]
    both = jax.jit(method)(*pair)
    np.testing.assert_allclose(both[0], COMPILED[method](image, rendered, mask), atol=1e-3)
