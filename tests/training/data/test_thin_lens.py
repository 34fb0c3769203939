import numpy as np
import pytest

from d2f_jax.training.data import textures
from d2f_jax.training.data.thin_lens import Emitter, Layer, Lens, Plane, photograph, pinhole

MARGIN = 24


def canvas(height, width):
    return height + 2 * MARGIN, width + 2 * MARGIN


FAR = Plane(0.0)


def plain(size, value, alpha=1.0, plane=FAR, emitters=()):
    color = np.full((3, *size), value, np.float32)
    return Layer(color, np.broadcast_to(np.float32(alpha), size).copy(), plane, emitters)


def photographed(layers, lens, seed=0):
    return photograph(layers, lens, MARGIN, np.random.default_rng(seed))


def left_of(disc_radius, distance):
    """Share of a disc on one side of a line `distance` from its centre (signed)."""
    t = np.clip(distance / disc_radius, -1, 1)
    return (np.arccos(t) - t * np.sqrt(1 - t * t)) / np.pi


def reference(layers, lens, samples, size):
    """Every pixel and lens point on its own, by ray: the slow twin, without emitters."""
    rng = np.random.default_rng(1)
    u = np.sqrt(rng.random(samples)) * np.exp(2j * np.pi * rng.random(samples))
    total = np.zeros((*size, 3))
    y, x = np.mgrid[: size[0], : size[1]] + float(MARGIN)
    for point in u:
        view = np.zeros((*size, 3))
        for layer in layers:
            # Fixed point of q = p - radius(q) * u, found by iteration.
            qy, qx = y.copy(), x.copy()
            for _ in range(30):
                radius = lens.blur * (layer.plane.at(qy, qx) - lens.focus)
                qy, qx = y - radius * point.imag, x - radius * point.real
            alpha = bilinear(layer.alpha, qy, qx)[..., None]
            color = np.stack([bilinear(c * layer.alpha, qy, qx) for c in layer.color], -1)
            view = view * (1 - alpha) + color
        total += view
    return total / samples


def bilinear(plane, y, x):
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    fy, fx = y - top, x - left
    return (
        plane[top, left] * (1 - fy) * (1 - fx)
        + plane[top + 1, left] * fy * (1 - fx)
        + plane[top, left + 1] * (1 - fy) * fx
        + plane[top + 1, left + 1] * fy * fx
    )


def test_uniform_scenes_stay_as_they_are():
    size = canvas(32, 48)
    layers = [plain(size, 0.3), plain(size, 0.3, alpha=0.5, plane=Plane(1.0, -0.005, 0.002))]
    picture = photographed(layers, Lens(focus=0.2, blur=15))
    np.testing.assert_allclose(picture, 0.3, atol=1e-5)


def test_what_is_in_focus_is_sharp():
    rng = np.random.default_rng(0)
    size = canvas(32, 40)
    color = rng.random((3, *size), np.float32)
    layers = [Layer(color, np.ones(size, np.float32), Plane(0.4))]
    image, disparity = pinhole(layers, MARGIN)
    np.testing.assert_allclose(photographed(layers, Lens(0.4, 20)), image, atol=1e-5)
    np.testing.assert_allclose(disparity, 0.4, rtol=1e-6)


def test_a_blurred_edge_in_front_lets_through_what_the_disc_leaves():
    # A black half-plane, nearer than the focus, over white in focus.
    size = canvas(24, 64)
    alpha = np.zeros(size, np.float32)
    alpha[:, MARGIN + 32 :] = 1
    front = Layer(np.zeros((3, *size), np.float32), alpha, Plane(1.0))
    picture = photographed([plain(size, 1.0), front], Lens(0.0, 12, samples=256))
    distance = np.arange(64) - 31.5
    wanted = 1 - left_of(12, -distance)
    np.testing.assert_allclose(picture[12, :, 0], wanted, atol=0.02)


def test_a_sharp_edge_in_front_hides_a_blurred_edge_behind():
    # Behind the sharp black half the white must not bleed over: it stays black to the pixel.
    size = canvas(24, 64)
    alpha = np.zeros(size, np.float32)
    alpha[:, MARGIN + 32 :] = 1
    front = Layer(np.zeros((3, *size), np.float32), alpha, Plane(1.0))
    picture = photographed([plain(size, 1.0), front], Lens(1.0, 15))
    np.testing.assert_allclose(picture[:, 32:], 0, atol=1e-6)
    np.testing.assert_allclose(picture[:, :32], 1, atol=1e-5)


@pytest.mark.parametrize(("disparity", "blur"), [(0.9, 20.0), (0.1, 20.0), (0.9, 8.0)])
def test_a_light_becomes_a_disc_of_its_energy_and_radius(disparity, blur):
    size = canvas(64, 64)
    light = Emitter(MARGIN + 31.5, MARGIN + 30.0, 1.0, np.array([50.0, 20.0, 5.0], np.float32))
    layers = [plain(size, 0.0, plane=Plane(disparity), emitters=(light,))]
    picture = photographed(layers, Lens(0.5, blur))
    np.testing.assert_allclose(picture.sum((0, 1)), np.pi * light.color, rtol=1e-4)
    y, x = np.mgrid[:64, :64]
    square = (y - 31.5) ** 2 + (x - 30.0) ** 2
    spread = (picture[..., 0] * square).sum() / picture[..., 0].sum()
    # The mean squared distance in a disc is half its squared radius; both discs' add up.
    wanted = (blur * (disparity - 0.5)) ** 2 / 2 + 0.5
    np.testing.assert_allclose(spread, wanted, rtol=0.1)


def test_small_circles_of_confusion_keep_the_energy_of_lights():
    size = canvas(64, 64)
    light = Emitter(MARGIN + 20.3, MARGIN + 40.2, 1.4, np.ones(3, np.float32))
    layers = [plain(size, 0.0, plane=Plane(0.6), emitters=(light,))]
    for blur in (0.0, 10.0, 25.0):
        picture = photographed(layers, Lens(0.5, blur))
        np.testing.assert_allclose(picture.sum((0, 1)), np.pi * 1.4**2, rtol=1e-3)


@pytest.mark.parametrize(("disparity", "cut"), [(0.5, 24.0), (0.75, 22.7), (0.25, 28.0)])
def test_an_edge_in_front_cuts_the_disc_of_a_light(disparity, cut):
    # The light at column 20 has the radius -10; the occluder that begins at column 24 has the
    # radius r. Pixel p sees it at 20 + (1 + r / 10) * (p - 20), so it is cut where that is 24.
    size = canvas(48, 48)
    light = Emitter(MARGIN + 24.0, MARGIN + 20.0, 1.0, np.full(3, 100.0, np.float32))
    far = plain(size, 0.0, emitters=(light,))
    alpha = np.zeros(size, np.float32)
    alpha[:, MARGIN + 24 :] = 1
    front = Layer(np.zeros((3, *size), np.float32), alpha, Plane(disparity))
    whole = photographed([far], Lens(0.5, 20))[24, :, 0]
    row = photographed([far, front], Lens(0.5, 20))[24, :, 0]
    seen = np.arange(48) < cut
    assert abs((row > 0).sum() - (whole[seen] > 0).sum()) <= 1
    assert not row[np.arange(48) > cut + 1].any()
    np.testing.assert_allclose(row[12:22], whole[12:22])


def test_layers_equal_ray_by_ray_sampling():
    rng = np.random.default_rng(4)
    size = canvas(40, 56)
    back = Layer(textures.surface(rng, size), np.ones(size, np.float32), Plane(0.1, 0.0, 0.001))
    ground = np.zeros(size, np.float32)
    ground[MARGIN + 15 :] = 1
    floor = Layer(textures.surface(rng, size), ground, Plane(0.1 - 0.02 * (MARGIN + 15), 0.02))
    front = Layer(textures.surface(rng, size), textures.outline(rng, size), Plane(0.9))
    layers, lens = [back, floor, front], Lens(0.5, 12.0, samples=256)
    wanted = reference(layers, lens, 400, (40, 56))
    error = photographed(layers, lens) - wanted
    assert np.sqrt((error**2).mean()) < 0.012  # both sides are sampled
    assert abs(error.mean()) < 0.002


def test_parts_of_one_plane_fit_without_a_seam():
    size = canvas(32, 32)
    plane = Plane(-0.5, 0.02)
    layers = [plain(size, 5.0, plane=Plane(-0.5))]
    for rows in (slice(0, 40), slice(40, 47), slice(47, size[0])):
        strip = plain(size, 0.25, plane=plane)
        strip.alpha[:] = 0
        strip.alpha[rows] = 1
        layers.append(strip)
    inner = photographed(layers, Lens(0.3, 10))
    np.testing.assert_allclose(inner, 0.25, atol=1e-5)


def test_pinhole_shows_lights_and_the_nearest_disparity():
    size = canvas(16, 16)
    alpha = np.zeros(size, np.float32)
    alpha[: MARGIN + 8] = 1
    light = Emitter(MARGIN + 12.0, MARGIN + 4.0, 1.5, np.full(3, 10.0, np.float32))
    layers = [
        plain(size, 0.2, plane=Plane(0.1), emitters=(light,)),
        Layer(np.full((3, *size), 0.7, np.float32), alpha, Plane(0.8)),
    ]
    image, disparity = pinhole(layers, MARGIN)
    assert image.max() > 5
    np.testing.assert_allclose(image[:8], 0.7)
    np.testing.assert_allclose(disparity[:8], 0.8)
    np.testing.assert_allclose(disparity[8:], 0.1)
