import dataclasses

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import metrics as sk

from d2f_jax.models.networks import vgg
from d2f_jax.training import metrics


@pytest.fixture
def pair():
    rng = np.random.default_rng(5)
    smooth = np.add.outer(np.linspace(0, 0.6, 90), np.linspace(0, 0.4, 120))[..., None]
    reference = np.clip(smooth + 0.1 * rng.standard_normal((90, 120, 3)), 0, 1)
    prediction = np.clip(reference + 0.05 * rng.standard_normal(reference.shape), 0, 1)
    return jnp.asarray(prediction, jnp.float32), jnp.asarray(reference, jnp.float32)


def convention(name):
    return next(c for c in metrics.CONVENTIONS if c.name == name)


def test_psnr_equals_scikit_image(pair):
    prediction, reference = map(np.asarray, pair)
    wanted = sk.peak_signal_noise_ratio(reference, prediction, data_range=1)
    np.testing.assert_allclose(metrics.psnr(*pair), wanted, rtol=1e-5)


def test_psnr_of_equal_images_is_infinite(pair):
    assert np.isinf(metrics.psnr(pair[0], pair[0]))


def test_gaussian_ssim_equals_scikit_image_and_dm_pix(pair):
    wanted = sk.structural_similarity(
        *map(np.asarray, pair),
        data_range=1,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    np.testing.assert_allclose(metrics.ssim_map(*pair).mean(), wanted, atol=1e-6)
    np.testing.assert_allclose(metrics.ssim_map(*pair).mean(), dm_pix.ssim(*pair), atol=1e-5)


def test_eight_bit_uniform_equals_scikit_image_on_uint8(pair):
    files = [np.asarray(jnp.round(x * 255)).astype(np.uint8) for x in pair]
    decibels, similarity = metrics.score(*pair, convention("8bit-uniform"))
    wanted = sk.peak_signal_noise_ratio(files[1], files[0])
    np.testing.assert_allclose(decibels, wanted, rtol=1e-5)
    wanted = sk.structural_similarity(*files, channel_axis=-1)
    np.testing.assert_allclose(similarity, wanted, atol=1e-5)


def test_ssim_is_accurate_on_bright_flat_images():
    rng = np.random.default_rng(0)
    a = (0.98 + 0.01 * rng.random((64, 64, 3))).astype(np.float32)
    b = (0.98 + 0.01 * rng.random((64, 64, 3))).astype(np.float32)
    wanted = sk.structural_similarity(
        a.astype(float), b.astype(float), data_range=1, channel_axis=-1
    )
    got = metrics.ssim_map(
        jnp.asarray(a), jnp.asarray(b), window=metrics.UNIFORM, sample_covariance=True
    ).mean()
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_border_and_multiple_crop_the_centre(pair):
    prediction, reference = pair
    got = metrics.score(prediction, reference, convention("border32-gaussian"))
    inner = (x[32:-32, 32:-32] for x in pair)
    plain = dataclasses.replace(convention("border32-gaussian"), border=0)
    np.testing.assert_allclose(got, metrics.score(*inner, plain), rtol=1e-5)
    got = metrics.score(prediction, reference, convention("crop4-gaussian"))
    inner = (x[1:89] for x in pair)
    np.testing.assert_allclose(got, metrics.score(*inner, plain), rtol=1e-5)


def test_the_reference_peak_shifts_psnr(pair):
    prediction, reference = pair[0] / 2, pair[1] / 2
    with_peak, _ = metrics.score(prediction, reference, convention("refpeak-uniform"))
    shift = 20 * np.log10(float(reference.max()))
    np.testing.assert_allclose(with_peak, metrics.psnr(prediction, reference) + shift, rtol=1e-5)


def test_pooling_averages_before_ssim():
    rng = np.random.default_rng(1)
    pair = [jnp.asarray(rng.random((515, 640, 3)), jnp.float32) for _ in range(2)]
    _, got = metrics.score(*pair, convention("pooled-gaussian"))
    means = [np.asarray(x)[:514].reshape(257, 2, 320, 2, 3).mean((1, 3)) for x in pair]
    wanted = metrics.ssim_map(*map(jnp.asarray, means)).mean()
    np.testing.assert_allclose(got, wanted, rtol=1e-4)


@pytest.mark.parametrize("entry", metrics.CONVENTIONS, ids=lambda c: c.name)
def test_every_convention_takes_batches_and_is_perfect_on_equal_images(pair, entry):
    batch = jnp.stack([pair[0], pair[1]])
    decibels, similarity = metrics.score(batch, jnp.stack([pair[1], pair[1]]), entry)
    assert decibels.shape == similarity.shape == (2,)
    assert np.isinf(decibels[1])
    np.testing.assert_allclose(similarity[1], 1, atol=1e-5)
    np.testing.assert_allclose(decibels[0], metrics.score(*pair, entry)[0], rtol=1e-5)


def test_an_image_inside_the_border_is_refused():
    small = jnp.zeros((60, 90, 3))
    with pytest.raises(ValueError, match="60x90 is too small for the convention"):
        metrics.score(small, small, convention("border32-gaussian"))


def test_windowed_gradient_equals_the_transpose():
    rng = np.random.default_rng(2)
    image = jnp.asarray(rng.random((3, 96, 130, 2)), jnp.float32)
    cotangent = jnp.asarray(rng.random((3, 86, 120, 2)), jnp.float32)
    _, pull = jax.vjp(lambda x: metrics.windowed(x, metrics.GAUSSIAN), image)
    # A linear map and its adjoint: <A x, y> = <x, A* y>.
    forward = (np.asarray(metrics.windowed(image, metrics.GAUSSIAN), float) * cotangent).sum()
    backward = (np.asarray(pull(cotangent)[0], float) * image).sum()
    np.testing.assert_allclose(forward, backward, rtol=1e-6)


def test_lpips_is_zero_for_equal_images_and_grows_with_noise(pair):
    net = vgg.VGG(blocks=(1, 1), taps=((1, 1), (2, 1)), widths=(4, 8))
    params = jax.jit(net.init)(jax.random.key(0), pair[0])
    linear = [jnp.ones(width) for width in net.widths]

    @jax.jit
    def distance(image):
        return metrics.lpips(image, pair[1], lambda x: net.apply(params, x), linear)

    noise = jax.random.normal(jax.random.key(1), pair[0].shape)
    near, far = distance(pair[1] + 0.02 * noise), distance(pair[1] + 0.2 * noise)
    np.testing.assert_allclose(distance(pair[1]), 0, atol=1e-7)
    assert 0 < near < far
    assert np.isfinite(jax.grad(distance)(jnp.zeros_like(pair[0]))).all()


def test_lpips_of_hand_made_features():
    # Unit vectors (1, 0) and (0, 1) differ by 1 in each channel, whatever their length.
    a, b = jnp.full((4, 4, 3), 0.5), jnp.full((4, 4, 3), 0.25)

    def features(x):
        first = jnp.where(x[..., :1] > 0.3, 1.0, 0.0)
        return (jnp.concatenate([7 * first, 2 * (1 - first)], -1),)

    got = metrics.lpips(a, b, features, [jnp.asarray([0.25, 0.5])])
    np.testing.assert_allclose(got, 0.75, rtol=1e-6)


def test_the_bootstrap_interval_covers_the_mean_and_repeats():
    values = np.random.default_rng(0).normal(23.7, 2.0, 400)
    low, high = metrics.bootstrap_interval(values)
    assert low < values.mean() < high
    np.testing.assert_allclose(high - low, 2 * 1.96 * 2.0 / 20, rtol=0.15)
    assert (low, high) == metrics.bootstrap_interval(values)
    assert metrics.bootstrap_interval(np.full(5, 3.0)) == (3.0, 3.0)
