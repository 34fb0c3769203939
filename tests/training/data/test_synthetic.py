from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from d2f_jax import render
from d2f_jax.render import kernels
from d2f_jax.render.kernels import PAPER_SIZES
from d2f_jax.training.data import synthetic

SMALL = synthetic.SyntheticConfig(size=(48, 64), radius=(4.0, 12.0))


def psnr(a, b):
    return -10 * np.log10(np.mean((np.asarray(a) - b) ** 2))


@pytest.mark.parametrize("index", range(12))
def test_samples_keep_the_conventions(index):
    sample = synthetic.make_sample(SMALL, index)
    for name in ("image", "bokeh"):
        assert sample[name].shape == (48, 64, 3)
    for name in ("disparity", "defocus"):
        assert sample[name].shape == (48, 64)
    for value in sample.values():
        assert value.dtype == np.float32
        assert np.isfinite(value).all()
        if value.ndim:
            assert value.min() >= 0
            assert value.max() <= 1.2 if value.ndim == 2 else value.max() <= 1
    radius = sample["blur"] * (sample["disparity"] - sample["focus"])
    assert 1.0 < np.abs(radius).max() <= 12.0 + 1e-3
    np.testing.assert_allclose(sample["defocus"], synthetic.defocus_of(radius), atol=1e-6)


def test_blur_fills_its_range_and_stays_above_the_ground():
    largest = []
    for index in range(24):
        sample = synthetic.make_sample(SMALL, index)
        radius = sample["blur"] * (sample["disparity"] - sample["focus"])
        largest.append(np.abs(radius).max())
        # One row down a slanted plane changes the radius by less than a pixel.
        middle = np.median(np.abs(np.diff(radius, axis=0)))
        assert middle <= 0.61
    assert np.mean(np.array(largest) >= 4) > 0.7
    assert max(largest) > 10


def test_a_folder_is_no_list_of_files():
    with pytest.raises(ValueError, match="photos takes files"):
        # Not by the class, whose types are checked before by the tests.
        synthetic.SyntheticConfig.__post_init__(SimpleNamespace(photos="folder", cutouts=()))


def test_the_seed_and_the_index_decide_everything():
    again = synthetic.Synthetic(SMALL, 10)[3]
    shifted = synthetic.Synthetic(SMALL, 10, start=3)[0]
    first = synthetic.make_sample(SMALL, 3)
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
        np.testing.assert_array_equal(value, shifted[name])
    other = synthetic.SyntheticConfig(size=(48, 64), radius=(4.0, 12.0), seed=1)
    assert np.abs(synthetic.make_sample(other, 3)["image"] - first["image"]).mean() > 0.01
    assert len(synthetic.Synthetic(SMALL, 10)) == 10
    with pytest.raises(IndexError):
        synthetic.Synthetic(SMALL, 10)[10]


def test_defocus_is_the_place_of_the_kernel_in_the_bank():
    radii = np.array([size // 2 for size in PAPER_SIZES], float)
    np.testing.assert_allclose(synthetic.defocus_of(radii), np.arange(15) / 14, rtol=1e-6)
    np.testing.assert_allclose(synthetic.defocus_of(-radii), np.arange(15) / 14, rtol=1e-6)
    # The same blur takes half as many pixels at half the size.
    np.testing.assert_allclose(
        synthetic.defocus_of(2 * radii, full_radius=68.0), np.arange(15) / 14, rtol=1e-6
    )
    assert synthetic.defocus_of(np.array([50.0])) == 1


def test_sharp_where_the_defocus_is_zero():
    config = synthetic.SyntheticConfig(size=(48, 64), radius=(2.0, 4.0))
    agreed = 0
    for index in range(20):
        sample = synthetic.make_sample(config, index)
        # Far from any blurred neighbour's reach: a whole 15x15 window in focus.
        focused = sample["defocus"] < 0.02
        windows = np.lib.stride_tricks.sliding_window_view(focused, (15, 15)).all((2, 3))
        for y, x in np.argwhere(windows):
            np.testing.assert_allclose(
                sample["bokeh"][y + 7, x + 7], sample["image"][y + 7, x + 7], atol=0.02
            )
            agreed += 1
    assert agreed > 200


def test_the_layered_renderer_comes_nearer_with_the_true_defocus():
    # The renderer knows neither linear light nor hidden things, but the map must help it.
    gains, bank = [], jnp.asarray(kernels.kernel_bank())
    for index in range(6):
        config = synthetic.SyntheticConfig(size=(96, 128), lights=0.0, near_focus=1.0)
        sample = synthetic.make_sample(config, index)
        rendered = render.layered_render(
            jnp.asarray(sample["image"]), jnp.asarray(sample["defocus"]), kernels=bank
        )
        gains.append(psnr(rendered, sample["bokeh"]) - psnr(sample["image"], sample["bokeh"]))
    assert np.mean(gains) > 2


def test_photographs_and_cutouts_are_used(tmp_path):
    rng = np.random.default_rng(0)
    red = np.zeros((60, 80, 3), np.uint8)
    red[..., 0] = rng.integers(100, 200, (60, 80))
    Image.fromarray(red).save(tmp_path / "red.png")
    cut = np.zeros((50, 30, 4), np.uint8)
    cut[10:40, 5:25] = (0, 180, 0, 255)
    Image.fromarray(cut).save(tmp_path / "cut.png")
    config = synthetic.SyntheticConfig(
        size=(64, 64),
        radius=(2.0, 8.0),
        lights=0.0,
        photos=(tmp_path / "red.png",),
        cutouts=(tmp_path / "cut.png",),
    )
    greens = 0
    for index in range(6):
        image = synthetic.make_sample(config, index)["image"]
        assert image[..., 2].max() < 0.01
        assert image[..., 0].mean() > 0.05
        greens += (image[..., 1] > 0.1).sum()
    assert greens > 500


def test_an_unreadable_photograph_is_named(tmp_path):
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    config = synthetic.SyntheticConfig(size=(32, 32), photos=(tmp_path / "torn.jpg",))
    with pytest.raises(ValueError, match=r"torn\.jpg: not a picture of a known kind"):
        synthetic.make_sample(config, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (8, 64)}, "16 pixels or more"),
        ({"layers": (1, 3)}, "at least 2 layers"),
        ({"radius": (9.0, 3.0)}, "smallest first"),
    ],
)
def test_impossible_configurations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        synthetic.SyntheticConfig(**options)
