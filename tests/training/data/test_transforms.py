import numpy as np
import pytest

from d2f_jax.training.data import photos, transforms


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    disparity = rng.random((20, 30)).astype(np.float32)
    image = np.stack([disparity, 1 - disparity, disparity**2], -1)
    return {
        "image": image,
        "bokeh": 0.5 * image,
        "disparity": disparity,
        "blur": np.asarray(20, np.float32),
    }


def partners(sample):
    """Whether picture, partner and map still show the same thing."""
    np.testing.assert_allclose(sample["bokeh"], 0.5 * sample["image"], atol=1e-6)
    np.testing.assert_allclose(sample["image"][..., 0], sample["disparity"], atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_crop_and_flip_treat_partners_alike(sample, seed):
    crop = transforms.RandomCrop(size=(8, 12))(sample, np.random.default_rng(seed))
    assert crop["image"].shape == (8, 12, 3)
    assert crop["disparity"].shape == (8, 12)
    assert crop["blur"] == 20
    partners(crop)
    flipped = transforms.RandomFlip()(sample, np.random.default_rng(seed))
    partners(flipped)
    again = transforms.RandomFlip()(sample, np.random.default_rng(seed))
    np.testing.assert_array_equal(flipped["image"], again["image"])


def test_flips_happen_half_of_the_time(sample):
    flip = transforms.RandomFlip()
    flips = [
        not np.array_equal(flip(sample, np.random.default_rng(seed))["image"], sample["image"])
        for seed in range(60)
    ]
    assert 15 < sum(flips) < 45


def test_a_crop_that_does_not_fit_is_refused(sample):
    with pytest.raises(ValueError, match="32x12 does not fit into a sample of 20x30"):
        transforms.RandomCrop(size=(32, 12))(sample, np.random.default_rng(0))


def test_exposure_is_one_gain_in_linear_light(sample):
    sample = sample | {"image": 0.6 * sample["image"], "bokeh": 0.3 * sample["image"]}
    changed = transforms.RandomExposure(stops=0.5)(sample, np.random.default_rng(2))
    for name in ("image", "bokeh"):
        before, after = photos.decode(sample[name]), photos.decode(changed[name])
        bright = before > 0.01
        gain = after[bright] / before[bright]
        np.testing.assert_allclose(gain, gain[0], rtol=1e-3)
    assert 2**-0.5 <= gain[0] <= 2**0.5
    np.testing.assert_array_equal(changed["disparity"], sample["disparity"])


def test_resizing_averages_and_scales_the_blur(sample):
    small = transforms.Resize(size=(10, 15))(sample, np.random.default_rng(0))
    assert small["image"].shape == (10, 15, 3)
    assert small["blur"] == 10
    partners(small)
    flat = transforms.resize(np.full((9, 7), 0.3, np.float32), (4, 5))
    np.testing.assert_allclose(flat, 0.3, rtol=1e-6)
    ramp = np.broadcast_to(np.arange(32, dtype=np.float32), (4, 32))
    np.testing.assert_allclose(
        transforms.resize(ramp, (4, 16))[:, 2:-2],
        np.broadcast_to(np.arange(16) * 2 + 0.5, (4, 16))[:, 2:-2],
        rtol=1e-5,
    )
