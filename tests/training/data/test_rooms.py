"""Scenes by casting rays."""

import numpy as np
import pytest

from d2f_jax.training.data import layouts, room_scenes, rooms

SIZE = (48, 64)
GREY = rooms.texture(np.full((32, 32, 3), 0.5))


def _level(focal=64.0, height=2.0, down=0.0):
    c, s = np.cos(down), np.sin(down)
    turn = np.array([[1.0, 0, 0], [0, -c, -s], [0, -s, c]])
    return rooms.Camera(height, turn, focal, SIZE)


def _scene(quads=(), balls=(), subjects=()):
    return rooms.Scene(list(quads), list(balls), list(subjects), np.ones((2, 3)), 1e6)


def _rows():
    return (np.arange(0, 2 * SIZE[0], 2) - SIZE[0] + 0.5) / 2  # of the first of two casts each


def test_a_floor_has_the_disparity_of_a_plane():
    """A level camera at height h sees row y of the floor at depth f h / y."""
    made = rooms.cast(_scene([room_scenes.floor(GREY, 1.0)]), _level(), np.random.default_rng(0))
    below = _rows() > 0.4
    np.testing.assert_allclose(
        made.disparity[below, 5], _rows()[below] / 64 / 2, rtol=1e-4, atol=1e-5
    )
    assert (made.disparity[_rows() < 0] == 0).all()


def test_a_ball_is_nearest_in_its_middle_and_hides_what_is_behind():
    wall = rooms.Quad(np.array([0, 2.0, 10]), np.eye(3)[0], np.eye(3)[1], (50, 50), GREY)
    ball = rooms.Ball(np.array([0, 2.0, 5]), 1.0, None, GREY, 1.0)
    made = rooms.cast(_scene([wall], [ball]), _level(), np.random.default_rng(0))
    assert made.disparity.max() == pytest.approx(1 / 4, rel=1e-3)
    assert made.disparity[0, 0] == pytest.approx(1 / 10, rel=1e-4)
    radius = 64 * 1 / np.sqrt(5**2 - 1)
    assert (made.disparity > 0.15).sum() == pytest.approx(np.pi * radius**2, rel=0.05)
    behind = rooms.Ball(np.array([0, 2.0, 15]), 1.0, None, GREY, 1.0)
    hidden = rooms.cast(_scene([wall], [behind]), _level(), np.random.default_rng(0))
    assert hidden.disparity.max() == pytest.approx(1 / 10, rel=1e-4)


def test_a_cylinder_stands_on_its_centre():
    post = rooms.Ball(np.array([0, 0.0, 4]), 0.5, 2.0, GREY, 1.0)
    made = rooms.cast(_scene((), [post]), _level(height=1.0), np.random.default_rng(0))
    seen = made.disparity > 0
    columns = np.nonzero(seen.any(0))[0]
    assert len(columns) == pytest.approx(2 * 64 * 0.5 / np.sqrt(4**2 - 0.25), abs=2)
    rows = np.nonzero(seen[:, SIZE[1] // 2])[0]
    assert len(rows) == pytest.approx(2 * 64 / 3.5, abs=2)


def test_a_subject_is_where_and_as_high_as_it_was_put():
    pixels = np.ones((20, 10, 4), np.float32)
    pixels[:, :5, 3] = 0
    quad = rooms.subject_quad(layouts.Cutout(pixels, False), np.array([0, 0.0, 4]), 2.0)
    made = rooms.cast(_scene([quad], subjects=[0]), _level(height=1.0), np.random.default_rng(0))
    seen = made.quad == 0
    np.testing.assert_allclose(made.disparity[seen], 1 / 4, rtol=1e-4)
    assert np.nonzero(seen.any(1))[0].size == pytest.approx(64 * 2 / 4, abs=2)
    assert np.nonzero(seen.any(0))[0].size == pytest.approx(64 * 0.5 / 4, abs=2)  # half is clear


@pytest.mark.parametrize("place", room_scenes.PLACES[:1] + room_scenes.PLACES[2:])
def test_every_place_can_be_cast(place, monkeypatch):
    monkeypatch.setattr(room_scenes, "PLACES", (place,))
    cutout = layouts.Cutout(np.ones((8, 6, 4), np.float32), False)
    depths = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        scene, view = room_scenes.scene(rng, SIZE, lambda: GREY, lambda: cutout)
        made = rooms.cast(scene, view, rng)
        assert np.isfinite(made.image).all()
        assert np.isfinite(made.disparity).all()
        depths.append(len(np.unique(made.disparity)))
    assert max(depths) > 100


def test_focus_is_on_the_largest_subject_or_near_in_the_middle():
    disparity = np.tile(np.linspace(0, 1, 40, dtype=np.float32)[:, None], (1, 40))
    small, large = np.zeros((2, 40, 40), np.float32)
    small[5:15, 5:15], large[10:30, 10:30] = 1, 1
    rng = np.random.default_rng(0)
    assert rooms.focused(rng, disparity, [(small, 0.9), (large, 0.6)]) == (0.6, True)
    value, subject = rooms.focused(rng, disparity, [])
    assert not subject
    assert value == pytest.approx(float(np.percentile(disparity[10:30], 90)), abs=1e-6)
