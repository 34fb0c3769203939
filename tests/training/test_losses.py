import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax.training import losses, metrics
from tests.conftest import enable_x64


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def picture(rng, *shape):
    return jnp.asarray(rng.random(shape), jnp.float32)


def pyramid_reference(defocus, image, scales):
    """Eq. 21 pixel by pixel."""
    total = 0.0
    for _ in range(scales):
        height, width = defocus.shape
        along_x = [
            abs(defocus[y, x + 1] - defocus[y, x])
            * np.exp(-np.abs(image[y, x + 1] - image[y, x]).sum())
            for y in range(height)
            for x in range(width - 1)
        ]
        along_y = [
            abs(defocus[y + 1, x] - defocus[y, x])
            * np.exp(-np.abs(image[y + 1, x] - image[y, x]).sum())
            for y in range(height - 1)
            for x in range(width)
        ]
        total += np.mean(along_x) + np.mean(along_y)
        even = height // 2 * 2, width // 2 * 2
        defocus, image = (
            sum(a[i : even[0] : 2, j : even[1] : 2] for i in (0, 1) for j in (0, 1)) / 4
            for a in (defocus, image)
        )
    return total / scales


def test_l1_is_the_absolute_difference(rng):
    a, b = picture(rng, 4, 5, 3), picture(rng, 4, 5, 3)
    np.testing.assert_allclose(losses.l1_loss(a, b), np.abs(np.asarray(a) - np.asarray(b)))


def test_ssim_loss_is_one_minus_ssim(rng):
    a, b = picture(rng, 16, 20, 3), picture(rng, 16, 20, 3)
    np.testing.assert_allclose(losses.ssim_loss(a, b), 1 - metrics.ssim_map(a, b))
    np.testing.assert_allclose(losses.ssim_loss(a, a), 0, atol=1e-6)


def test_pyramid_gradient_loss_equals_its_slow_twin(rng):
    defocus, image = picture(rng, 2, 21, 34), picture(rng, 2, 21, 34, 3)
    wanted = [
        pyramid_reference(np.asarray(d, float), np.asarray(i, float), 3)
        for d, i in zip(defocus, image, strict=True)
    ]
    got = losses.pyramid_gradient_loss(defocus, image, scales=3)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_pyramid_gradient_loss_of_a_ramp():
    # On a grey image the loss is the mean slope; each scale doubles the step between pixels.
    ramp = jnp.broadcast_to(jnp.arange(64.0) / 100, (32, 64))
    got = losses.pyramid_gradient_loss(ramp, jnp.full((32, 64, 3), 0.5))
    np.testing.assert_allclose(got, (0.01 + 0.02 + 0.04 + 0.08) / 4, rtol=1e-5)


def test_an_edge_of_the_image_excuses_an_edge_of_the_defocus():
    step = jnp.broadcast_to((jnp.arange(32) >= 16).astype(jnp.float32), (16, 32))
    flat = jnp.full((16, 32, 3), 0.5)
    on_flat = losses.pyramid_gradient_loss(step, flat, scales=1)
    on_edge = losses.pyramid_gradient_loss(step, jnp.repeat(step[..., None], 3, -1), scales=1)
    np.testing.assert_allclose(on_edge / on_flat, np.exp(-3), rtol=1e-5)


def test_laplacian_of_a_parabola_and_of_a_constant():
    x = jnp.arange(8.0)
    parabola = jnp.broadcast_to((x**2)[None, :, None], (6, 8, 1))
    np.testing.assert_allclose(losses.laplacian(parabola)[:, 1:-1], 2.0)
    assert not losses.laplacian(jnp.full((5, 7, 3), 0.3)).any()


def test_laplacian_equals_the_replicated_stencil(rng):
    image = picture(rng, 7, 9, 3)
    p = np.pad(np.asarray(image), ((1, 1), (1, 1), (0, 0)), mode="edge")
    wanted = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] - 4 * p[1:-1, 1:-1]
    np.testing.assert_allclose(losses.laplacian(image), wanted, atol=1e-6)


def test_poisson_gradient_loss_of_one_pixel():
    # A difference of 1 in one channel: Laplacian -4 there and 1 at four neighbours.
    bokeh = jnp.zeros((5, 6, 3))
    pasted = bokeh.at[2, 3, 1].set(1.0)
    got = losses.poisson_gradient_loss(bokeh, pasted)
    np.testing.assert_allclose(got.sum(), 0.5 * (16 + 4))
    np.testing.assert_allclose(got.mean(), (16 + 4) / (2 * 5 * 6), rtol=1e-6)


def test_perceptual_loss_weighs_its_layers(rng):
    a, b = picture(rng, 2, 8, 8, 3), picture(rng, 2, 8, 8, 3)

    def features(x):
        return x, 10 * x

    difference = jnp.abs(a - b).mean((1, 2, 3))
    got = losses.perceptual_loss(a, b, features)
    np.testing.assert_allclose(got, 5.5 * difference, rtol=1e-5)
    got = losses.perceptual_loss(a, b, features, layer_weights=(1.0, 0.0))
    np.testing.assert_allclose(got, difference, rtol=1e-5)


def test_totals_are_the_weighted_sums_of_eqs_20_and_22(rng):
    bokeh, target, pasted = (picture(rng, 2, 32, 48, 3) for _ in range(3))
    defocus, image = picture(rng, 2, 16, 24), picture(rng, 2, 16, 24, 3)
    first = losses.stage1_loss(bokeh, target, defocus, image, features=lambda x: (x**2,))
    wanted = first.l1 + 0.1 * first.perceptual + first.ssim + 0.1 * first.gradient
    np.testing.assert_allclose(first.total, wanted, rtol=1e-6)
    assert first.defocus == 0  # not part of Eq. 20
    assert min(map(float, first._replace(defocus=first.total))) > 0
    known = losses.stage1_loss(
        bokeh,
        target,
        defocus,
        image,
        known=1 - defocus,
        features=lambda x: (x**2,),
        weights=losses.LossWeights(defocus=2.0),
    )
    np.testing.assert_allclose(known.defocus, np.abs(1 - 2 * defocus).mean(), rtol=1e-5)
    np.testing.assert_allclose(known.total, first.total + 2 * known.defocus, rtol=1e-6)
    second = losses.stage2_loss(bokeh, target, pasted, defocus, image, features=lambda x: (x**2,))
    np.testing.assert_allclose(second.total, first.total + 10 * second.poisson, rtol=1e-6)


def test_a_part_of_weight_zero_is_not_computed(rng):
    bokeh, target = picture(rng, 8, 8, 3), picture(rng, 8, 8, 3)
    weights = losses.LossWeights(perceptual=0.0, ssim=0.0, gradient=0.0)
    # 8 pixels are too few for SSIM and for the pyramid, and there is no feature network.
    got = losses.stage1_loss(bokeh, target, bokeh[..., 0], bokeh, weights=weights)
    np.testing.assert_allclose(got.total, losses.l1_loss(bokeh, target).mean())
    assert got.perceptual == got.ssim == got.gradient == 0


def test_the_perceptual_loss_asks_for_its_network(rng):
    image = picture(rng, 32, 32, 3)
    with pytest.raises(ValueError, match="no feature network was given"):
        losses.stage1_loss(image, image, image[..., 0], image)


def test_small_images_are_refused_in_one_line(rng):
    image = picture(rng, 10, 30, 3)
    with pytest.raises(ValueError, match="sides of 16 pixels or more, got 10x30"):
        losses.pyramid_gradient_loss(image[..., 0], image)
    with pytest.raises(ValueError, match="10x30 is smaller than SSIM's window of 11"):
        losses.ssim_loss(image, image)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_flat_images_give_finite_losses_and_gradients(value):
    flat = jnp.full((1, 32, 32, 3), value)

    def total(bokeh, defocus):
        return losses.stage2_loss(bokeh, flat, flat, defocus, flat, features=lambda x: (x,)).total

    loss, gradients = jax.jit(jax.value_and_grad(total, (0, 1)))(flat, flat[..., 0])
    np.testing.assert_allclose(loss, 0, atol=1e-6)
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.slow
def test_gradients_agree_with_finite_differences(rng):
    # 96x128 and larger is where a compiler fault in gradients of padded sums once showed.
    shape = (2, 96, 128, 3)
    bokeh, target, pasted, image = (picture(rng, *shape) for _ in range(4))
    defocus = picture(rng, *shape[:-1])
    direction = picture(rng, *shape) - 0.5, picture(rng, *shape[:-1]) - 0.5
    with enable_x64(True):
        bokeh, target, pasted, image, defocus, *direction = (
            jnp.asarray(np.asarray(x), jnp.float64)
            for x in (bokeh, target, pasted, image, defocus, *direction)
        )

        def total(step):
            return losses.stage2_loss(
                bokeh + step * direction[0],
                target,
                pasted,
                defocus + step * direction[1],
                image,
                features=lambda x: (x**2,),
            ).total

        value = jax.jit(total)
        for slope in (jax.grad(total), jax.jit(jax.grad(total))):
            step = 1e-7
            wanted = (value(step) - value(-step)) / (2 * step)
            np.testing.assert_allclose(slope(0.0), wanted, rtol=1e-5)


def ramp(height=40, width=64):
    return jnp.broadcast_to(jnp.linspace(0.0, 1.0, width), (2, height, width))


def test_ranking_counts_order_alone():
    known, sure = ramp(), jnp.ones((2, 40, 64), bool)
    right = losses.ranking_loss(10 * known, known, sure)
    assert float(right.max()) < 0.01
    # Reversed by as much, each pair costs about its difference.
    assert float(losses.ranking_loss(1 - known, known, sure).min()) > 0.2
    flat = losses.ranking_loss(jnp.zeros_like(known), known, sure)
    np.testing.assert_allclose(flat, 0.05 * np.log(2), rtol=1e-5)
    assert float(losses.ranking_loss(known, known, ~sure).max()) == 0
    gradient = jax.grad(lambda x: losses.ranking_loss(x, known, sure).sum())(jnp.zeros_like(known))
    assert float(gradient[0, ::4, 0].sum()) > 0  # what should be smallest is to fall
    assert float(gradient[0, ::4, 60].sum()) < 0


def test_slopes_of_maps_are_compared_where_they_are_known():
    known, sure = ramp(), jnp.ones((2, 40, 64), bool)
    assert float(losses.map_gradient_loss(known + 0.3, known, sure).max()) < 1e-6
    # A slope that is missing: 1 / 63 from pixel to pixel, twice as much at each further scale.
    slope = losses.map_gradient_loss(jnp.zeros_like(known), known, sure)
    np.testing.assert_allclose(slope, (1 + 2 + 4 + 8) / 63 / 4, rtol=1e-4)
    half = sure.at[:, :, 32:].set(False)
    wrong = known.at[:, :, 32:].set(-1.0)
    assert float(losses.map_gradient_loss(known, wrong, half).max()) < 1e-6
