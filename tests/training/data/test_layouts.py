"""Disparity drawn by eye."""

from pathlib import Path

import numpy as np
import pytest

from d2f_jax.training.data import layouts

DOCS = Path(__file__).parents[3] / "docs"


def test_the_ground_is_a_plane_from_the_horizon_down():
    ground = layouts.parse("50", "").disparity((100, 4))
    np.testing.assert_array_equal(ground[:50], 0)
    np.testing.assert_allclose(ground[50:, 0], (np.arange(50) + 0.5) / 50, atol=1e-6)
    # Above the picture: what is seen of it is a part of the same plane.
    assert layouts.parse("-100", "").disparity((10, 2))[0, 0] == pytest.approx(0.525)


def test_things_stand_on_the_ground_lie_before_others_and_slant():
    layout = layouts.parse("50", "@75: 0,20 50,20 50,75 0,75 | .2>.6: 50,0 100,0 100,100 50,100")
    drawn = layout.disparity((40, 40))
    np.testing.assert_allclose(drawn[10:28, 2:18], 0.5)  # half of the way from horizon to border
    np.testing.assert_allclose(drawn[:, 21], 0.2 + 0.4 * (21.5 / 40 - 0.5) / 0.5, atol=1e-6)
    assert (np.diff(drawn[5, 21:39]) > 0).all()
    upright = layouts.parse("-", "0^1: 0,0 100,0 100,100 0,100").disparity((10, 3))
    np.testing.assert_allclose(upright[:, 1], (np.arange(10) + 0.5) / 10, atol=1e-6)


@pytest.mark.parametrize(
    ("horizon", "things"),
    [("120", ""), ("low", ""), ("-", "1: 0,0 1,1"), ("-", "1>2>3: 0,0 1,1 1,0"), ("-", "0,0 1,1")],
)
def test_what_cannot_be_read_is_refused_with_its_line(tmp_path, horizon, things):
    table = tmp_path / "table.tsv"
    table.write_text(f"file\thorizon\tthings\na.jpg\t{horizon}\t{things}\n")
    with pytest.raises(ValueError, match=r"table\.tsv, line 2"):
        layouts.read_table(table)
    with pytest.raises(ValueError, match="cannot be read"):
        layouts.read_table(tmp_path / "none.tsv")


def test_a_subject_has_the_shape_of_its_matte():
    matte = np.zeros((10, 8), bool)
    matte[4:7, 2:6] = True
    drawn = layouts.parse("0", "@75: matte").disparity((10, 8), matte)
    assert (drawn[matte] == 0.75).all()
    np.testing.assert_array_equal(drawn[~matte], layouts.parse("0", "").disparity((10, 8))[~matte])
    receding = layouts.parse("-", ".2>.8: matte").disparity((10, 8), matte)
    np.testing.assert_allclose(receding[5, 2:6], [0.2, 0.4, 0.6, 0.8], atol=1e-6)
    for no_matte in (None, np.zeros((10, 8), bool), matte[:-1]):
        with pytest.raises(ValueError, match="give its matte"):
            layouts.parse("0", "@75: matte").disparity((10, 8), no_matte)


def test_the_tables_of_the_project_can_be_drawn():
    matte = np.zeros((60, 80), bool)
    matte[20:50, 30:60] = True
    for name in ("weights_layouts.tsv", "weights_people.tsv", "weights_subjects.tsv"):
        for layout in layouts.read_table(DOCS / name).values():
            assert layout.has_subject == (name == "weights_subjects.tsv")
            drawn = layout.disparity((60, 80), matte if layout.has_subject else None)
            assert np.isfinite(drawn).all()
            assert 0 <= drawn.min() < drawn.max() <= 1.2


def test_placed_subjects_are_as_near_as_the_ground_under_them():
    drawn = layouts.parse("30", "").disparity((60, 80))
    red = layouts.Cutout(np.ones((10, 6, 4), np.float32) * (1, 0, 0, 1), cut_off=False)
    image, count = np.zeros((60, 80, 3), np.float32), 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        placed = layouts.place(rng, image, drawn, lambda: red, 2)
        for alpha, near in placed.subjects:
            rows = np.nonzero(alpha.max(1) > 0.5)[0]
            if rows.size:
                count += 1
                under = drawn[rows[-1], 0]
                assert 0.9 * under <= near <= 1.2 * under + 0.05
                assert (placed.disparity[alpha > 0.99] == np.float32(near)).all()
        assert (placed.disparity[placed.image[..., 0] == 0] <= 1).all()
    assert count > 4


def test_nearer_subjects_hide_the_others():
    flat = np.full((40, 40), 0.5, np.float32)
    thing = layouts.Cutout(np.ones((20, 20, 4), np.float32), cut_off=True)
    placed = layouts.place(np.random.default_rng(0), np.zeros((40, 40, 3)), flat, lambda: thing, 4)
    values = [near for _, near in placed.subjects]
    assert values == sorted(values)
    total = sum(alpha for alpha, _ in placed.subjects)
    assert total.max() <= 1 + 1e-6
