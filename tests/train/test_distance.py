"""Figures about distance, in closed form."""

import numpy as np
import pytest
from PIL import Image

from train import distance

RAMP = np.tile(np.linspace(0, 1, 50), (40, 1))


def test_a_map_that_grows_with_distance_is_in_order():
    focus_right = np.clip(1 - RAMP - 0.05, 0, 1)
    assert distance.rank_correlation(focus_right, RAMP) == pytest.approx(1)
    assert distance.rank_correlation(focus_right**3, 7 * RAMP - 2) == pytest.approx(1)


def test_a_map_in_the_wrong_order_or_without_one():
    sharp_right = np.where(RAMP > 0.8, 0, 0.2 + 0.5 * RAMP)
    assert distance.rank_correlation(sharp_right, RAMP) == pytest.approx(-1)
    assert distance.rank_correlation(np.where(RAMP > 0.8, 0, 0.6), RAMP) == 0
    assert distance.rank_correlation(np.zeros_like(RAMP), RAMP) == 0


def test_what_is_blurred_and_where_outlines_go_wrong():
    inside = RAMP < 0.5
    assert distance.blurred_share(np.where(RAMP < 0.25, 0, 1), inside, 0.4) == pytest.approx(
        0.5, abs=0.05
    )
    matte = np.zeros((100, 100), bool)
    matte[30:70, 30:70] = True
    assert distance.outline_error(np.where(matte, 0, 1.0), matte, 0.4) == 0
    assert distance.outline_error(np.where(matte, 1.0, 0), matte, 0.4) == 1
    shifted = distance.outline_error(np.where(np.roll(matte, 3, 1), 0, 1.0), matte, 0.4)
    assert 0.15 < shifted < 0.35  # two of four sides, all of one half


def test_depth_beside_a_photograph_is_found(tmp_path):
    with pytest.raises(ValueError, match="no photograph with measured depth"):
        list(distance.measured(tmp_path))
    grey = np.rint(255 * RAMP).astype(np.uint8)
    Image.fromarray(grey).convert("RGB").save(tmp_path / "a-image.jpg")
    Image.fromarray(grey).save(tmp_path / "a-depth.jpg", quality=100)
    Image.fromarray(grey).save(tmp_path / "b.jpg")
    Image.fromarray(grey).save(tmp_path / "b_disparity.png")
    first, second = distance.measured(tmp_path)
    assert (first.name, second.name) == ("a-image", "b")
    assert first.disparity[0, 0] > first.disparity[0, -1]  # dark = near
    assert second.disparity[0, 0] < second.disparity[0, -1]
    with pytest.raises(ValueError, match="all_in_focus"):
        list(distance.traced(tmp_path))


def test_large_pictures_are_reduced_and_small_ones_left_alone():
    assert distance.reduced(np.zeros((100, 3000, 3)), 1500).shape == (50, 1500, 3)
    small = np.zeros((10, 20, 3))
    assert distance.reduced(small) is small
