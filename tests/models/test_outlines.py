"""Maps that take the outlines of their picture: a disc, slopes, canvases, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from d2f_jax.models import outlines
from tests.conftest import enable_x64

SIDE, THETA, RADIUS = 256, 0.4, 60
AWAY = np.hypot(*np.mgrid[-128:128, -128:128] + 0.5)
DISC = AWAY < RADIUS


def map_of(radius):
    """A blurred map of a disc, whose edge (half of `THETA`) lies at this radius."""
    return np.clip((AWAY - radius) / 16 + THETA / 2, 0, 0.9).astype(np.float32)


def scene(seed=0):
    """A disc of two colours in front of others, and its map."""
    rng = np.random.default_rng(seed)
    noise = 0.04 * rng.standard_normal((SIDE, SIDE, 3))
    squares = (np.indices((SIDE, SIDE)).sum(0) // 8 % 2)[..., None]
    near = np.where(squares, (0.7, 0.3, 0.2), 0.8)
    image = np.clip(np.where(DISC[..., None], near, (0.2, 0.45, 0.3)) + noise, 0, 1)
    return image.astype(np.float32), map_of(RADIUS)


def wrong(defocus):
    """Share of pixels around the edge that are on the wrong side of it."""
    band = np.abs(AWAY - RADIUS) < 8
    return float(((np.asarray(defocus) < THETA / 2) != DISC)[band].mean())


@pytest.mark.parametrize("radius", [RADIUS - 4, RADIUS, RADIUS + 4])
def test_an_edge_moves_to_where_the_colours_change(radius):
    image, _ = scene()
    moved = outlines.follow(jnp.asarray(map_of(radius)), jnp.asarray(image), theta=THETA)
    assert wrong(map_of(radius)) == pytest.approx(abs(radius - RADIUS) / 16, abs=0.03)
    assert wrong(moved) < 0.02
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1


def test_the_colours_are_normal_distributions_of_the_surroundings():
    """Against sums over all pixels and scipy's density; cells are the only approximation."""
    image, defocus = scene()
    weight = np.clip(1 - defocus / THETA, 0.02, 0.98) ** 2
    around = outlines._around((SIDE, SIDE), None)
    moments = [np.ones_like(image[..., :1]), image]
    moments += [image[..., i : i + 1] * image[..., j : j + 1] for i, j in outlines._PAIRS]
    planes = jnp.asarray(np.concatenate(moments, -1))
    ours = outlines._log_likelihood(around, planes, jnp.asarray(image), jnp.asarray(weight))
    y, x = np.indices((SIDE, SIDE)) // 4 * 4 + 2.0
    for row, column in ((128, 128), (128, 187), (128, 190), (75, 160), (200, 200)):
        square = (y - row - 0.5) ** 2 + (x - column - 0.5) ** 2
        near = weight * np.exp(-square / (2 * (outlines.SPREAD * SIDE) ** 2))
        colours = image.reshape(-1, 3)
        mean = np.average(colours, 0, near.ravel())
        spread = np.cov(colours.T, aweights=near.ravel(), bias=True) + 1e-3 * np.eye(3)
        density = scipy.stats.multivariate_normal(mean, spread).logpdf(image[row, column])
        expected = density + 1.5 * np.log(2 * np.pi)
        np.testing.assert_allclose(ours[row, column], expected, atol=0.05, rtol=0.02)


def test_flat_maps_and_slopes_stay_as_they_are():
    image, _ = scene()
    slope = np.broadcast_to(np.linspace(0, 0.04, SIDE, dtype=np.float32), (SIDE, SIDE))
    for defocus in (np.zeros((SIDE, SIDE), np.float32), np.full_like(slope, 0.7)):
        followed = outlines.follow(jnp.asarray(defocus), jnp.asarray(image), theta=THETA)
        np.testing.assert_array_equal(followed, defocus)
    followed = outlines.follow(jnp.asarray(slope), jnp.asarray(image), theta=THETA)
    np.testing.assert_allclose(followed, slope, atol=0.01)


def test_far_from_edges_nothing_changes():
    image, defocus = scene()
    far = np.abs(AWAY - RADIUS) > 44
    other = np.clip(defocus + 0.3, 0, 1)
    joined = outlines.joined(jnp.asarray(defocus), jnp.asarray(other))
    followed = outlines.follow(jnp.asarray(defocus), jnp.asarray(image), theta=THETA)
    np.testing.assert_allclose(joined[far], defocus[far], atol=0.01)
    np.testing.assert_allclose(followed[far], defocus[far], atol=1e-6)
    edge = np.abs(AWAY - RADIUS) < 3
    taken = (np.asarray(joined) - defocus)[edge] / (other - defocus)[edge]
    assert taken.min() > 0.35
    assert taken.max() <= 0.5 + 1e-5


@pytest.mark.parametrize("extent", [(192, 256), (256, 160)])
def test_what_follows_a_picture_on_its_canvas_counts_for_nothing(extent):
    rows, columns = extent
    image, defocus = scene()
    rng = np.random.default_rng(1)
    wide, map_ = rng.random((SIDE, SIDE, 3), np.float32), rng.random((SIDE, SIDE), np.float32)
    wide[:rows, :columns], map_[:rows, :columns] = (
        image[:rows, :columns],
        defocus[:rows, :columns],
    )
    inside = (slice(rows), slice(columns))
    on_canvas = outlines.follow(
        jnp.asarray(map_), jnp.asarray(wide), theta=THETA, extent=(rows, columns)
    )
    alone = outlines.follow(jnp.asarray(defocus[inside]), jnp.asarray(image[inside]), theta=THETA)
    np.testing.assert_allclose(on_canvas[inside], alone, atol=2e-5)
    on_canvas = outlines.joined(jnp.asarray(map_), jnp.asarray(1 - map_), extent=(rows, columns))
    alone = outlines.joined(jnp.asarray(defocus[inside]), jnp.asarray(1 - defocus[inside]))
    np.testing.assert_allclose(on_canvas[inside], alone, atol=2e-5)


def test_batches_and_gradients():
    scenes = [scene(seed) for seed in (0, 1)]
    images, maps = (jnp.asarray(np.stack(part)) for part in zip(*scenes, strict=True))
    follow = jax.jit(lambda d, x: outlines.follow(d, x, theta=THETA))
    np.testing.assert_allclose(follow(maps, images)[1], follow(maps[1], images[1]), atol=1e-5)
    gradients = jax.grad(lambda d, x: follow(d, x).sum(), argnums=(0, 1))(maps, images)
    for gradient in gradients:
        assert bool(jnp.isfinite(gradient).all())
        assert float(jnp.abs(gradient).max()) > 0


def test_float32_stays_float32():
    image, defocus = scene()
    with enable_x64(True):
        for extent in (None, (192, 160)):
            joined = outlines.joined(jnp.asarray(defocus), jnp.asarray(defocus), extent=extent)
            followed = outlines.follow(joined, jnp.asarray(image), theta=THETA, extent=extent)
            assert joined.dtype == followed.dtype == jnp.float32
