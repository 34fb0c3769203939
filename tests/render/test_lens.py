"""Lens blur: closed forms of light, the ray-traced photograph, gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from d2f_jax import color, render
from d2f_jax.render import arrays, convolution, highlights, kernels
from d2f_jax.render import lens as lens_module
from tests.conftest import enable_x64, load_golden
from tests.tolerances import EXACT, FINITE_DIFFERENCE, TWIN


def lens_blur(image, disparity, **options):
    return render.lens_blur(jnp.asarray(image), jnp.asarray(disparity), **options)


def linear_blur(radiance, disparity, **options):
    options = {"focus": 0.0, "blur": 1.0, "encoding": "linear"} | options
    return np.asarray(lens_blur(radiance, disparity, **options))


def smooth_scene(height=96, width=128):
    """A ground that rises to a nearer square, all of it smooth enough for finite differences."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    image = np.stack([np.sin(x / 5), np.cos(y / 7), np.sin((x + y) / 9)], -1) * 0.3 + 0.5
    square = 0.5 + 0.5 * np.tanh(14 - np.maximum(abs(y - 40), abs(x - 60)))
    return image.astype(np.float32), (0.2 + 0.3 * y / height + 0.4 * square).astype(np.float32)


@pytest.fixture(scope="module")
def photograph():
    data = load_golden("lens_slant.npz")
    return (
        data["image"].astype(np.float32) / 255,
        data["disparity"].astype(np.float32),
        data["bokeh"].astype(np.float32) / 255,
        float(data["focus"]),
        float(data["blur"]),
    )


def inner_psnr(a, b):
    return -10 * np.log10(np.mean((a - b)[24:-24, 24:-24] ** 2))


def compilations():
    return lens_module._lens_blur._cache_size()


def test_moves_of_focus_blur_map_and_opening_compile_nothing():
    image, disparity = smooth_scene(64, 96)
    jax.clear_caches()
    for focus in (0.2, 0.5, 0.9):
        lens_blur(image, disparity, focus=focus, blur=25.0)
        lens_blur(image, disparity[::-1] ** 2, focus=focus, blur=30.0)
    assert compilations() == 1
    for blades, roundness, rotation in ((5, 0.2, 0.0), (7, 0.0, 20.0)):
        opening = kernels.Polygon(blades=blades, roundness=roundness, rotation=rotation)
        for ratio in (0.5, 0.8):
            squeezed = kernels.Squeeze(aperture=opening, ratio=ratio)
            lens_blur(image, disparity, focus=0.4, blur=25.0, aperture=squeezed)
    assert compilations() == 2
    lens_blur(image, disparity, focus=0.4, blur=3.0)  # another level
    assert compilations() == 3


@pytest.mark.slow
def test_sizes_share_what_is_compiled_and_change_nothing():
    """Rounded up to a common size, or compiled for its own: the same within 1e-5."""
    scene, map_ = smooth_scene(80, 112)
    jax.clear_caches()
    for height, width in ((80, 112), (77, 109), (73, 107)):
        image, disparity = scene[:height, :width], map_[:height, :width]
        shared = lens_blur(image, disparity, focus=0.4, blur=40.0)
        exact = jax.jit(lambda i, d: lens_blur(i, d, focus=0.4, blur=40.0, max_radius=24.0))
        np.testing.assert_allclose(shared, exact(image, disparity), atol=1e-5)
    assert compilations() == 1


def test_padding_is_at_most_a_fifth():
    for side in range(1, 5000):
        height, width = arrays.shared_size((side, side))
        assert side <= height == width <= side * 1.25**0.5
    assert arrays.shared_size((100, 30), (50, 90)) == (104, 96)


@pytest.mark.slow
@pytest.mark.parametrize("radius", [10.0, 30.0, 60.0])
def test_a_single_light_is_the_disc_of_its_own_radius(radius):
    """Against the full-size kernel; radii between two layers too."""
    side = 4 * int(radius) + 9
    image = np.full((side, side, 3), 0.02, np.float32)
    image[side // 2, side // 2] = radius**2 * np.asarray([3.0, 2.0, 1.0])
    for exact in (radius, radius + 0.6):
        disparity = np.full((side, side), -exact, np.float32)
        kernel = np.fft.fftshift(kernels.lens_kernel(kernels.Circle(), exact, (side, side)))
        expected = 0.02 + kernel[..., None] * (image[side // 2, side // 2] - 0.02)
        result = linear_blur(image, disparity)
        error = np.mean((result - expected) ** 2) / expected.max() ** 2
        assert -10 * np.log10(error) > 45


@pytest.mark.slow
def test_a_light_behind_a_sharp_object_stays_behind_it():
    """Also through the translucent edge of a blurred one, and with several pictures at once."""
    image = np.zeros((96, 96, 3), np.float32)
    image[48, 30] = 2000.0
    disparity = np.full((96, 96), -16.0, np.float32)
    disparity[:, 40:] = 0.0
    sharp = linear_blur(image, disparity)
    np.testing.assert_allclose(sharp[:, 40:], 0, atol=EXACT)
    assert sharp[48, 34, 0] > 1.0
    disparity[:, 40:] = 16.0
    through = linear_blur(image, disparity)[48, :, 0]
    assert through[26] > through[34] > through[42] > 0.0
    both = linear_blur(np.stack([image, image[:, ::-1]]), np.stack([disparity, disparity[:, ::-1]]))
    np.testing.assert_allclose(both[0, 48, :, 0], through, atol=TWIN)


@pytest.mark.parametrize("radius", [-9.0, 6.0])
def test_a_point_becomes_the_disc_of_its_radius(radius):
    radiance = np.zeros((41, 45, 3), np.float32)
    radiance[20, 22] = 100.0
    disc = linear_blur(radiance, np.full((41, 45), radius, np.float32))[..., 0]
    np.testing.assert_allclose(disc.sum(), 100, rtol=1e-4)
    y, x = np.mgrid[:41, :45]
    second_moment = (disc * ((y - 20) ** 2 + (x - 22) ** 2)).sum() / disc.sum()
    np.testing.assert_allclose(second_moment, radius**2 / 2, rtol=0.02)


def test_focus_leaves_the_picture_and_constants_stay():
    image, disparity = smooth_scene()
    same = lens_blur(image, np.full_like(disparity, 0.3), focus=0.3, blur=20.0)
    np.testing.assert_allclose(same, image, atol=TWIN)
    flat = linear_blur(np.full_like(image, 3.0), disparity, focus=0.4, blur=25.0)
    np.testing.assert_allclose(flat, 3.0, rtol=TWIN)


def test_near_edge_is_half_transparent_and_hides_what_is_sharp():
    """A blurred black half plane in front of sharp white: coverage 1/2 over its edge, 1 inside."""
    disparity = np.zeros((48, 96), np.float32)
    disparity[:, 48:] = 10.0
    radiance = np.repeat((disparity == 0)[..., None], 3, -1).astype(np.float32)
    row = linear_blur(radiance, disparity)[24, :, 0]
    np.testing.assert_allclose(row[[47, 48]].mean(), 0.5, atol=0.01)
    np.testing.assert_allclose(row[:36], 1, atol=TWIN)
    np.testing.assert_allclose(row[60:], 0, atol=TWIN)
    distance = (np.arange(48 - 8, 48 + 8) + 0.5 - 48) / 10
    covered = 0.5 + (distance * np.sqrt(1 - distance**2) + np.arcsin(distance)) / np.pi
    np.testing.assert_allclose(row[40:56], 1 - covered, atol=0.01)


def test_sharp_near_object_keeps_a_clean_edge():
    """Nothing of a blurred background enters a sharp object, and none of the object leaves it."""
    disparity = np.full((48, 96), -10.0, np.float32)
    disparity[:, 48:] = 0.0
    radiance = np.zeros((48, 96, 3), np.float32)
    radiance[:, 48:] = 1.0
    row = linear_blur(radiance, disparity)[24, :, 0]
    np.testing.assert_allclose(row[:48], 0, atol=TWIN)
    np.testing.assert_allclose(row[48:], 1, atol=TWIN)


def test_coarse_layers_stay_within_the_stated_error():
    """A smooth picture at one radius, against the kernel at full size."""
    image, _ = smooth_scene(96, 128)
    for radius in (11.0, 20.0, 30.0):
        coarse = linear_blur(image, np.full((96, 128), radius, np.float32))
        kernel = jnp.fft.fftshift(kernels.lens_kernel(kernels.Circle(), radius, (97, 97)))
        planes = jnp.moveaxis(jnp.asarray(image), -1, 0)
        exact = jnp.moveaxis(convolution.convolve(planes, kernel, padding="edge"), 0, -1)
        error = np.abs(coarse - exact)
        assert 0 < error.max() < 0.03
        assert error.mean() < 0.005


def test_photograph_is_met(photograph):
    image, disparity, bokeh, focus, blur = photograph
    result = np.asarray(lens_blur(image, disparity, focus=focus, blur=blur))
    assert inner_psnr(result, bokeh) > 42
    assert inner_psnr(image, bokeh) < 25


@pytest.mark.slow
def test_batches_vmap_tiles_and_layer_batch_agree(photograph):
    image, disparity, _, focus, _ = photograph
    options = {"blur": 16.0, "max_radius": 12.0}
    images, maps = np.stack([image, image[::-1]]), np.stack([disparity, disparity[::-1]])
    focuses = jnp.asarray([focus, 0.6])
    single = lens_blur(image[::-1], disparity[::-1], focus=0.6, **options)
    batch = lens_blur(images, maps, focus=focuses, **options)
    np.testing.assert_allclose(batch[1], single, atol=TWIN)
    mapped = jax.vmap(lambda i, d, f: lens_blur(i, d, focus=f, **options))
    np.testing.assert_allclose(
        mapped(jnp.asarray(images), jnp.asarray(maps), focuses)[1], single, atol=TWIN
    )
    several = lens_blur(images[1], maps[1], focus=0.6, layer_batch=5, **options)
    np.testing.assert_allclose(several, single, atol=TWIN)
    tiled = lens_blur(images[1], maps[1], focus=0.6, tile=96, **options)
    np.testing.assert_allclose(tiled, single, atol=0.02)
    assert np.abs(tiled - single).mean() < 1e-4


@pytest.mark.slow
def test_what_fills_up_the_last_layers_is_no_layer():
    """Two at a time, -4 is the last, alone, and empty: what lies behind it stays as it is."""
    rng = np.random.default_rng(0)
    radius = -rng.choice(np.asarray([1.0, 2.0, 3.0, 6.0, 8.0], np.float32), (16, 16))
    radius = radius.repeat(4, 0).repeat(4, 1)
    light = rng.random((64, 64, 3), np.float32)
    blurred = functools.partial(linear_blur, light, radius, max_radius=8.0)
    np.testing.assert_allclose(blurred(layer_batch=2), blurred(), atol=TWIN)


@functools.cache
def slopes(**options):
    """A weighted sum of the blurred picture, with its gradients; one function for all tests."""

    @jax.jit
    def value_and_slopes(probe, image, disparity, focus, blur):
        def loss(image, disparity, focus, blur):
            bokeh = render.lens_blur(
                image, disparity, focus=focus, blur=blur, encoding="linear", **options
            )
            return jnp.sum(bokeh * probe)

        return jax.value_and_grad(loss, argnums=(0, 1, 2, 3))(image, disparity, focus, blur)

    return value_and_slopes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("focus", "blur", "options"),
    [
        (0.31, 9.7, {"max_radius": 8.0}),
        (0.31, 9.7, {"max_radius": 8.0, "tile": 64}),
        (0.83, 43.0, {"max_radius": 30.0}),  # coarse layers, and lights with discs of their own
    ],
)
def test_gradients_match_finite_differences(focus, blur, options):
    """In float64, where a step is too small to cross a kink between layers; float32 must agree."""
    image, disparity = smooth_scene()
    # Without ties between neighbours, at which the slope of a surface has kinks.
    disparity += 1e-3 * np.random.default_rng(1).standard_normal(disparity.shape, np.float32)
    if blur > 10:
        image[20, 30] = image[45, 60] = 900.0
    probe = np.random.default_rng(0).standard_normal(image.shape) / 1e3
    both = slopes(**options)
    wave = np.cos(np.arange(image.size).reshape(image.shape) / 50.0)
    directions = (wave, wave[..., 0], np.asarray(1.0), np.asarray(1.0))
    inputs = (probe, image, disparity, focus, blur)
    _, single = both(*(jnp.asarray(value, jnp.float32) for value in inputs))
    with enable_x64(True):
        probe, *at = (jnp.asarray(value, jnp.float64) for value in inputs)
        _, double = both(probe, *at)
        for index, direction in enumerate(directions):
            step = 1e-7 * direction
            ends = [
                both(probe, *(v + sign * step if n == index else v for n, v in enumerate(at)))[0]
                for sign in (1, -1)
            ]
            expected = float(ends[0] - ends[1]) / 2e-7
            np.testing.assert_allclose(
                jnp.sum(double[index] * direction), expected, rtol=FINITE_DIFFERENCE
            )
    for low, high in zip(single, double, strict=True):
        difference = np.linalg.norm(np.ravel(np.asarray(low) - np.asarray(high)))
        assert difference < 0.02 * np.linalg.norm(np.ravel(np.asarray(high)))


@pytest.mark.slow
def test_gradients_of_several_layers_at_a_time():
    """As of one at a time; in float64, as single layers of small kernels are blurred otherwise."""
    image, disparity = smooth_scene()
    probe = np.random.default_rng(0).standard_normal(image.shape)
    with enable_x64(True):
        inputs = [jnp.asarray(x, jnp.float64) for x in (probe, image, disparity, 0.31, 9.7)]
        _, several = slopes(max_radius=8.0, layer_batch=3)(*inputs)
        _, single = slopes(max_radius=8.0)(*inputs)
        for ours, expected in zip(several, single, strict=True):
            difference = np.linalg.norm(np.ravel(ours - expected))
            assert difference < 1e-8 * np.linalg.norm(np.ravel(expected))


@pytest.mark.optimised
@pytest.mark.slow
def test_focus_and_blur_are_recovered_from_a_photograph(photograph):
    """Adam finds what the lens was set to, within 2 %, from the photograph alone."""
    image, disparity, bokeh, focus, blur = photograph

    def loss(parameters):
        result = lens_blur(
            image,
            disparity,
            focus=parameters["focus"],
            blur=jnp.exp(parameters["log_blur"]),
            max_radius=24.0,
        )
        return jnp.mean((result - bokeh)[24:-24, 24:-24] ** 2)

    step = jax.jit(jax.value_and_grad(loss))
    parameters = {"focus": jnp.asarray(0.55), "log_blur": jnp.log(jnp.asarray(15.0))}
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 80))
    state = optimizer.init(parameters)
    for _ in range(80):
        _, gradient = step(parameters)
        update, state = optimizer.update(gradient, state)
        parameters = optax.apply_updates(parameters, update)
    np.testing.assert_allclose(parameters["focus"], focus, rtol=0.02)
    np.testing.assert_allclose(jnp.exp(parameters["log_blur"]), blur, rtol=0.02)


def test_cat_eye_cuts_the_disc_in_the_corner_and_keeps_its_light():
    radiance = np.zeros((128, 128, 3), np.float32)
    radiance[16, 16] = radiance[64, 64] = 100.0
    disparity = np.full((128, 128), -7.0, np.float32)
    plain, cat = linear_blur(radiance, disparity), linear_blur(radiance, disparity, cat_eye=1.0)
    corner, middle = (slice(0, 32), slice(0, 32)), (slice(48, 80), slice(48, 80))
    np.testing.assert_allclose(cat[corner].sum(), plain[corner].sum(), rtol=0.01)
    assert (cat[corner] > 0.2).sum() < 0.8 * (plain[corner] > 0.2).sum()
    assert (cat[middle] > 0.2).sum() > 0.9 * (plain[middle] > 0.2).sum()


def test_hdr_lights_and_encodings():
    image, disparity = smooth_scene()
    linear = linear_blur(color.srgb_to_linear(jnp.asarray(image)), disparity, blur=12.0)
    encoded = lens_blur(image, disparity, focus=0.0, blur=12.0)
    np.testing.assert_allclose(color.linear_to_srgb(jnp.asarray(linear)), encoded, atol=TWIN)
    assert lens_blur(image.astype(np.float16), disparity, focus=0.0, blur=3.0).dtype == "f2"


@pytest.mark.slow
def test_highlights_glow_when_restored():
    image = np.full((48, 48, 3), 0.1, np.float32)
    image[23:26, 23:26] = 1.0
    options = {"focus": 0.0, "blur": 8.0}
    disparity = np.full((48, 48), -1.0, np.float32)
    plain = lens_blur(image, disparity, **options)
    for rule in (highlights.ContrastRule(), highlights.GainRule(), highlights.PowerRule()):
        glowing = lens_blur(image, disparity, highlights=rule, **options)
        assert glowing[24, 24, 0] > plain[24, 24, 0] + 0.1


def test_apertures_shape_the_disc():
    radiance = np.zeros((48, 48, 3), np.float32)
    radiance[24, 24] = 100.0
    disparity = np.full((48, 48), -10.0, np.float32)
    ring = linear_blur(radiance, disparity, aperture=kernels.Ring(inner=0.5))
    assert abs(ring[24, 24, 0]) < EXACT * 100
    np.testing.assert_allclose(ring[..., 0].sum(), 100, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"disparity": np.zeros((20, 21), np.float32)}, "disparity must be"),
        ({"disparity": np.full((20, 20), np.nan, np.float32)}, "must be finite"),
        ({"encoding": "gamma"}, "encoding is one of"),
        ({"focus": jnp.zeros(3)}, "focus is one number"),
        ({"tile": 40}, "multiple of 32"),
        ({"max_radius": -1.0}, "max_radius is a positive"),
        ({"cat_eye": 2.0}, "cat_eye is in"),
        ({"blur": "40px"}, "blur takes numbers, got '40px'"),
        ({"focus": "nearest"}, "focus takes numbers, got 'nearest'"),
        ({"disparity": None}, "disparity takes numbers, got None"),
        ({"aperture": kernels.Polygon}, "aperture is None or a function such as"),
        ({"highlights": highlights.ContrastRule}, "highlights is None or a function such as"),
    ],
)
def test_bad_input_is_refused_in_one_line(change, message):
    arguments = {
        "image": np.zeros((20, 20, 3), np.float32),
        "disparity": np.zeros((20, 20), np.float32),
        "focus": 0.0,
        "blur": 3.0,
    } | change
    bare = render.lens_blur.__wrapped__  # without the type checks of the tests
    with pytest.raises(ValueError, match=message):
        bare(**arguments)


def test_traced_arguments_need_max_radius():
    image, disparity = smooth_scene(32, 32)
    with pytest.raises(ValueError, match="max_radius"):
        jax.jit(lambda f: lens_blur(image, disparity, focus=f, blur=3.0))(0.1)


def test_a_canvas_changes_nothing_but_what_is_compiled():
    y, x = np.mgrid[:66, :90].astype(np.float32)
    image = np.stack([0.5 + 0.4 * np.sin(x / 5), 0.5 + 0.4 * np.cos(y / 7), x / 90], axis=-1)
    disparity = np.broadcast_to(np.linspace(0, 1, 90, dtype=np.float32), (66, 90))
    blurred = functools.partial(lens_blur, image, disparity, focus=0.6, blur=7.0)
    np.testing.assert_allclose(blurred(canvas=(96, 128)), blurred(), atol=1e-5)
