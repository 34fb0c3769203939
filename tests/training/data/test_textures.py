import numpy as np
import pytest

from d2f_jax.training.data import textures

SIZE = (90, 120)


@pytest.mark.parametrize("seed", range(16))
def test_surfaces_are_pictures_with_contrast(seed):
    color = textures.surface(np.random.default_rng(seed), SIZE)
    assert color.shape == (3, *SIZE)
    assert color.dtype == np.float32
    assert color.min() >= 0
    assert color.max() <= 1
    assert color.std() > 0.005


@pytest.mark.parametrize(
    "draw",
    [
        textures._blob,
        textures._card,
        textures.figure,
        textures._branches,
        textures._bars,
        textures._blades,
    ],
)
def test_outlines_cover_a_part_with_soft_edges(draw):
    for seed in range(4):
        alpha = draw(np.random.default_rng(seed), SIZE)
        assert alpha.shape == SIZE
        assert alpha.min() >= 0
        assert alpha.max() == 1
        assert 0.005 < alpha.mean() < 0.95
        assert ((alpha > 0) & (alpha < 1)).any()


def test_an_object_is_never_outside_of_its_picture():
    rng = np.random.default_rng(623)
    assert rng.integers(9) == 6  # branches
    assert textures._branches(rng, (96, 128)).max() < 0.5
    assert textures.outline(np.random.default_rng(623), (96, 128)).max() > 0.5


def test_noise_is_smooth_and_seeded():
    draw = [textures.noise(np.random.default_rng(1), SIZE, cells=4, octaves=1) for _ in range(2)]
    np.testing.assert_array_equal(*draw)
    assert np.abs(np.diff(draw[0], axis=0)).max() < 1.6 / (SIZE[1] / 4)


def test_a_stroke_off_the_canvas_is_cut():
    alpha = np.zeros(SIZE, np.float32)
    textures._stroke(alpha, np.array([-30.0, -30.0]), np.array([20.0, 20.0]), 2.0)
    textures._stroke(alpha, np.array([500.0, 500.0]), np.array([600.0, 600.0]), 2.0)
    assert alpha[10, 10] == 1
    assert not alpha[30:].any()
