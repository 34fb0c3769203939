"""Small maps brought to the outlines of their photograph."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax import render
from d2f_jax.render import edges, refinement
from tests.tolerances import EXACT, TWIN

SIZE = (96, 128)


def scene(size=SIZE):
    """A dark disc before a bright ground, both with some grain: the picture, and where it is."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    disc = (rows - size[0] / 2) ** 2 + (columns - size[1] / 2) ** 2 < (size[0] / 3.2) ** 2
    grain = np.random.default_rng(0).normal(0, 0.02, (*size, 3))
    picture = np.where(disc[..., None], [0.3, 0.2, 0.2], [0.6, 0.7, 0.5]) + grain
    return np.clip(picture, 0, 1).astype(np.float32), disc


def shrunk(values, factor):
    p, q = (n // factor for n in values.shape)
    return values.reshape(p, factor, q, factor).mean(axis=(1, 3)).astype(np.float32)


@pytest.mark.parametrize("factor", [2, 4])
def test_edges_follow_the_photograph(factor):
    image, disc = scene()
    truth = np.where(disc, 3.0, 1.0).astype(np.float32)
    refined = np.asarray(render.refine(jnp.asarray(shrunk(truth, factor)), image))
    assert refined.shape == SIZE
    smooth = np.asarray(jax.image.resize(shrunk(truth, factor), SIZE, "linear"))
    wrong, wrong_before = ((np.abs(x - truth) > 0.1).mean() for x in (refined, smooth))
    assert wrong < 0.1 * wrong_before


def test_a_map_enlarged_before_is_found_out_and_refined():
    image, disc = scene((192, 256))
    truth = disc.astype(np.float32)
    for size, halvings in (((192, 256), 2), ((96, 128), 1)):
        smooth = np.asarray(jax.image.resize(shrunk(truth, 4), size, "linear"))
        assert edges.coarseness(smooth) == halvings
        refined = np.asarray(render.refine(jnp.asarray(smooth), image))
        assert (np.abs(refined - truth) > 0.1).mean() < 0.01


def test_a_map_with_nothing_to_refine_comes_back_as_it_is():
    image, disc = scene()
    rows = np.linspace(0, 1, SIZE[0], dtype=np.float32)[:, None]
    for truth in (
        disc + 0.3 * rows,
        np.repeat([0.0, 0.3, 0.6], [40, 3, 85]) * np.ones_like(rows),  # a narrow strip
        np.broadcast_to(rows, SIZE),
        np.full(SIZE, 0.4),
    ):
        truth = np.asarray(truth, np.float32)
        np.testing.assert_array_equal(render.refine(jnp.asarray(truth), image), truth)


def test_pixels_that_hold_both_sides_of_an_edge_go_to_one():
    """In between they would lie at a distance where there is nothing, and might be in focus."""
    image, disc = scene((192, 256))
    image = image.reshape(96, 2, 128, 2, 3).mean(axis=(1, 3))
    smooth = shrunk(1 + 2 * disc.astype(np.float32), 2)
    assert ((smooth > 1.2) & (smooth < 2.8)).mean() > 0.005
    refined = np.asarray(render.refine(jnp.asarray(smooth), image))
    assert not ((refined > 1.2) & (refined < 2.8)).any()
    pure = (smooth == 1) | (smooth == 3)
    np.testing.assert_array_equal(refined[pure], smooth[pure])
    same = (np.abs(refined - smooth) <= 1)[~pure]  # most go where most of them lies
    assert same.mean() > 0.7


def test_edges_are_found_in_bands_as_in_one_piece(monkeypatch):
    disparity = np.random.default_rng(0).random((200, 30)).astype(np.float32)
    whole = edges.steps(disparity)
    monkeypatch.setattr(edges, "_BAND", 1)
    np.testing.assert_array_equal(edges.steps(disparity), whole)


def test_slopes_take_nothing_from_the_texture():
    """On an even slope, however steep, the map is enlarged smoothly, whatever the picture shows."""
    image = np.random.default_rng(1).random((*SIZE, 3)).astype(np.float32)
    slope = np.linspace(0, 1, SIZE[0])[:, None] + np.linspace(0, 2, SIZE[1])
    refined = np.asarray(render.refine(jnp.asarray(shrunk(slope, 4)), image))
    np.testing.assert_allclose(refined[4:-4, 4:-4], slope[4:-4, 4:-4], atol=TWIN)


def test_without_colours_the_shares_of_small_pixels_decide():
    """A small pixel at a quarter of the way to near stays near in a quarter of its area."""
    _, disc = scene()
    small = shrunk(disc.astype(np.float32), 2)
    refined = np.asarray(render.refine(jnp.asarray(small), np.full((*SIZE, 3), 0.5, np.float32)))
    assert abs(refined.mean() - disc.mean()) < 0.01
    assert (np.abs(refined - disc) > 0.5).mean() < 0.01


def twin(disparity, image, nearby, shifted):
    """A vote, written as it is explained, a pixel at a time; the border is left out.

    The map is half as large as the image, or as large.
    """
    times = len(image) // len(disparity)
    small = image.reshape(len(disparity), times, -1, times, 3).mean(axis=(1, 3))
    result = np.zeros(image.shape[:2])
    span = lambda window: window.max() - window.min()  # noqa: E731
    votes = np.zeros((*image.shape[:2], 4))
    for y in range(6, image.shape[0] - 6):
        for x in range(6, image.shape[1] - 6):
            i, j = y // times, x // times
            low, high = (f(disparity[i - 1 : i + 2, j - 1 : j + 2]) for f in (np.min, np.max))
            sums = np.zeros(6)
            for k in range(i - 2, i + 3):
                for m in range(j - 2, j + 3):
                    there = disparity[k, m]
                    far_off = ((k + 0.5) - (y + 0.5) / times) ** 2
                    far_off += ((m + 0.5) - (x + 0.5) / times) ** 2
                    share = np.clip((there - low) / max(high - low, 1e-6), 0, 1)
                    close = np.exp(-far_off / nearby**2 / 2)
                    alike = np.exp(-((image[y, x] - small[k, m]) ** 2).sum() / (2 * 0.06**2))
                    vote = close * (alike + 1e-4) * ((1 - 2 * share) ** 2 + 1e-3)
                    near, far = close * (1e-6 + share**4), close * (1e-6 + (1 - share) ** 4)
                    sums += [vote * share, vote, near * there, near, far * there, far]
            chance = sums[0] / sums[1]
            votes[y, x] = (
                np.log((chance + 1e-4) / (1 - chance + 1e-4)),
                (disparity[i, j] - low) / max(high - low, 1e-6),
                sums[2] / sums[3],
                sums[4] / sums[5],
            )
    sides = np.zeros(image.shape[:2])
    for y in range(6, image.shape[0] - 6):
        for x in range(6, image.shape[1] - 6):
            i, j = y // times, x // times
            inside = votes[times * i : times * (i + 1), times * j : times * (j + 1), 0]
            low, high = -3.0, 3.0
            for _ in range(6):
                middle = (low + high) / 2
                more = (1 / (1 + np.exp(-4 * (inside + middle)))).mean() < votes[y, x, 1]
                low, high = (middle, high) if more else (low, middle)
            sides[y, x] = votes[y, x, 0] + shifted * (low + high) / 2
    for y in range(8, image.shape[0] - 8):
        for x in range(8, image.shape[1] - 8):
            i, j = y // times, x // times
            around = np.s_[y - 1 : y + 2, x - 1 : x + 2]
            alike = np.exp(-((image[around] - image[y, x]) ** 2).sum(-1) / (2 * 0.06**2))
            alike *= np.outer([1, 2, 1], [1, 2, 1])
            side = (alike * sides[around]).sum()
            _, _, near, far = votes[y, x]
            steps = []
            for k in range(i - 1, i + 2):
                for m in range(j - 1, j + 2):
                    narrow = span(disparity[k - 1 : k + 2, m - 1 : m + 2])
                    steps.append(2 * narrow - span(disparity[k - 2 : k + 3, m - 2 : m + 3]))
            step = min(max(steps), span(disparity[i - 1 : i + 2, j - 1 : j + 2]))
            edge = np.clip((step - 0.02) / 0.03, 0, 1)
            up, left = 2 * (y % times) - 1, 2 * (x % times) - 1
            corner = disparity[np.ix_([i, i + up], [j, j + left])]
            there = np.asarray([0.75, 0.25]) if times == 2 else np.asarray([1, 0])
            linear = there @ corner @ there
            chosen = near if side > 0 else far
            result[y, x] = linear + (chosen - linear) * edge
    return result


def test_equals_the_slow_twin():
    image, disc = scene((60, 76))
    rows = np.linspace(0, 0.5, 30)[:, None]
    small = shrunk(disc.astype(np.float32), 2) + rows
    low, high = np.percentile(small, (0.5, 99.5))
    enlarged = twin((small - low) / (high - low), image, nearby=1.0, shifted=0.75)
    expected = twin(enlarged, image, nearby=1.5, shifted=0.25) * (high - low) + low
    refined = np.asarray(render.refine(jnp.asarray(small, jnp.float32), image, coarser=0))
    np.testing.assert_allclose(refined[14:-14, 14:-14], expected[14:-14, 14:-14], atol=TWIN)


@pytest.mark.slow
def test_jit_vmap_and_tiles_change_nothing():
    image, disc = scene((150, 131))
    small = jnp.asarray(jax.image.resize(disc.astype(np.float32), (61, 53), "linear"))
    eager = render.refine(small, image, coarser=0)
    refine = lambda disparity, image: render.refine(disparity, image, coarser=0)  # noqa: E731
    np.testing.assert_allclose(jax.jit(refine)(small, image), eager, atol=EXACT)
    both = jax.vmap(refine)(jnp.stack([small, 1 - small]), jnp.stack([image, image]))
    np.testing.assert_allclose(both[0], eager, atol=EXACT)


def test_pictures_of_all_sizes_share_what_is_compiled():
    image, disc = scene()
    render.refine(jnp.asarray(shrunk(disc, 4)), image)
    before = refinement._tile._cache_size()
    for size in ((144, 160), (97, 65), (200, 300)):
        image, disc = scene(size)
        small = jax.image.resize(disc.astype(np.float32), (40, 48), "linear")
        render.refine(small, image)
    assert refinement._tile._cache_size() == before


@pytest.mark.slow
def test_gradients_reach_the_map():
    image, disc = scene((64, 64))
    small = jnp.asarray(shrunk(disc, 4) + np.linspace(0, 0.5, 16)[:, None], jnp.float32)
    weight = np.random.default_rng(2).normal(size=(64, 64)).astype(np.float32)

    def total(small):
        return (weight * render.refine(small, image, coarser=0)).sum()

    gradient = jax.grad(total)(small)
    direction = jnp.ones_like(small)  # one that changes no side
    step = 1e-2
    change = total(small + step * direction) - total(small - step * direction)
    np.testing.assert_allclose((gradient * direction).sum(), change / (2 * step), rtol=1e-3)
    assert jnp.isfinite(gradient).all()
    assert (gradient != 0).mean() > 0.9


def test_integers_and_half_precision():
    image, disc = scene()
    small = jnp.asarray(shrunk(disc, 2))
    whole = np.rint(image * 255).astype(np.uint8)
    expected = render.refine(small, jnp.asarray(whole / np.float32(255)))
    np.testing.assert_allclose(render.refine(small, whole), expected, atol=EXACT)
    assert render.refine(small.astype(jnp.bfloat16), whole).dtype == jnp.float32


@pytest.mark.parametrize(
    ("disparity", "image", "message"),
    [
        (np.zeros((9, 4)), np.zeros((8, 8, 3)), r"a map of \(9, 4\) is larger than its image"),
        (np.full((4, 4), np.nan), np.zeros((8, 8, 3)), "disparity must be finite"),
        (np.zeros((0, 4)), np.zeros((8, 8, 3)), r"a map 'p q'.*got \(0, 4\)"),
        (np.zeros((4, 4)), np.full((8, 8, 3), 255.0), "divide 8-bit values by 255"),
    ],
)
def test_wrong_inputs_are_refused(disparity, image, message):
    with pytest.raises(ValueError, match=message):
        render.refine(disparity, image)


def test_under_jit_it_must_be_told_how_coarse_the_map_is():
    with pytest.raises(ValueError, match="refine needs `coarser`"):
        jax.jit(render.refine)(jnp.zeros((4, 4)), jnp.zeros((8, 8, 3)))
