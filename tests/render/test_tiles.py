"""Large pictures in numpy, tile by tile."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax import render
from d2f_jax.render import kernels, tiles
from d2f_jax.render import lens as lens_module
from tests.conftest import enable_x64


def scene(height=150, width=210):
    y, x = np.mgrid[:height, :width].astype(np.float32)
    image = np.stack([np.sin(x / 5), np.cos(y / 7), np.sin((x + y) / 9)], -1) * 0.3 + 0.5
    square = np.maximum(abs(y - 70), abs(x - 100)) < 40
    return image.astype(np.float32), (0.2 + 0.3 * y / height + 0.4 * square).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"cat_eye": 0.8}, {"encoding": "linear"}, {"aperture": kernels.Polygon(blades=6)}],
)
def test_tiles_of_pictures_in_numpy_are_those_of_others(options):
    image, disparity = scene()
    image[20, 30] = image[90, 150] = 1.0
    options = {"focus": 0.3, "blur": 40.0, "tile": 96} | options
    on_host = render.lens_blur(image, disparity, **options)
    assert isinstance(on_host, jax.Array)
    of_jax = render.lens_blur(jnp.asarray(image), jnp.asarray(disparity), **options)
    np.testing.assert_allclose(on_host, of_jax, atol=1e-5)


@pytest.mark.slow
def test_tiles_of_pictures_in_numpy_take_batches_and_integers():
    image, disparity = scene()
    options = {"blur": 40.0, "tile": 96, "max_radius": 20.0}
    single = render.lens_blur(image, disparity, focus=0.5, **options)
    both = render.lens_blur(
        np.stack([image, image]),
        np.stack([disparity, disparity]),
        focus=jnp.array([0.3, 0.5]),
        **options,
    )
    np.testing.assert_allclose(both[1], single, atol=1e-5)
    whole = np.rint(255 * image).astype(np.uint8)
    integers = render.lens_blur(whole, disparity, focus=0.5, **options)
    assert integers.dtype == np.uint8
    np.testing.assert_allclose(integers / 255.0, single, atol=0.01)


def test_tiles_serve_pictures_of_all_sizes():
    image, disparity = scene()
    options = {"blur": 40.0, "tile": 96, "max_radius": 20.0}
    render.lens_blur(image, disparity, focus=0.5, **options)
    compiled = lens_module._tile._cache_size(), lens_module._encoded._cache_size()
    for height, width in ((100, 150), (149, 90), (64, 205)):
        part = np.s_[:height, :width]
        render.lens_blur(image[part], disparity[part], focus=0.4, **options)
    assert compiled == (lens_module._tile._cache_size(), lens_module._encoded._cache_size())


def test_a_stopped_picture_leaves_its_tiles():
    begun = []

    def part(window, centre):
        begun.append(centre)
        if len(begun) > 1:
            time.sleep(0.05)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiles.blended(part, (np.zeros((4000, 4000, 1)),), margin=0, tile=64, overlap=0)
    assert len(begun) < 100


@pytest.mark.slow
def test_focus_has_gradients_in_tiles_and_values_under_jit():
    image, disparity = scene(100, 130)
    options = {"blur": 40.0, "tile": 96, "max_radius": 20.0}

    def mean(focus, image=image, disparity=disparity):
        return render.lens_blur(image, disparity, focus=focus, **options).mean()

    slope = jax.grad(mean)(0.4, jnp.asarray(image), jnp.asarray(disparity))
    np.testing.assert_allclose(jax.grad(mean)(0.4), slope, rtol=1e-4)
    assert abs(slope) > 1e-3
    np.testing.assert_allclose(jax.jit(lambda x: x + mean(0.4))(1.0), 1 + mean(0.4), rtol=1e-6)


@pytest.mark.slow
def test_tiles_are_as_precise_as_their_caller():
    image, disparity = (array.astype(np.float64) for array in scene(100, 130))
    options = {"focus": 0.4, "blur": 40.0, "tile": 96}
    with enable_x64(True):
        on_host = render.lens_blur(image, disparity, **options)
        of_jax = render.lens_blur(jnp.asarray(image), jnp.asarray(disparity), **options)
        assert on_host.dtype == jnp.float64
        np.testing.assert_allclose(on_host, of_jax, atol=1e-9)
