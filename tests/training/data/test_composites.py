"""Pairs from photographs with mattes."""

import numpy as np
import pytest
from PIL import Image

from d2f_jax.training.data import composites, synthetic


@pytest.fixture
def folder(tmp_path):
    """Ten red subjects before green, ten blue scenes."""
    for name in ("subjects", "mattes", "scenes"):
        (tmp_path / name).mkdir()
    matte = np.zeros((60, 90), np.uint8)
    matte[20:55, 30:60] = 255
    picture = np.full((60, 90, 3), (40, 160, 40), np.uint8)
    picture[matte > 0] = (200, 40, 40)
    for n in range(10):
        Image.fromarray(picture).save(tmp_path / "subjects" / f"s{n}.png")
        Image.fromarray(matte).save(tmp_path / "mattes" / f"s{n}.png")
        Image.new("RGB", (90, 60), (40, 40, 200)).save(tmp_path / "scenes" / f"b{n}.png")
    return tmp_path


def _config(folder, **changes):
    material = composites.find_material(folder, held_out=False)
    options = {"size": (48, 64), "radius": (3.0, 5.0), "full_radius": 5.0, "lens_samples": 16}
    options |= {"subjects": material.subjects, "scenes": material.scenes, "lights": 0.0}
    options |= {"camouflage": 0.0}
    return composites.CompositesConfig(**(options | changes))


def test_a_fifth_is_held_out_and_never_trained_on(folder):
    train = composites.find_material(folder, held_out=False)
    held = composites.find_material(folder, held_out=True)
    assert [s.photo.stem for s in held.subjects] == ["s0", "s5"]
    assert not {*train.subjects, *train.scenes} & {*held.subjects, *held.scenes}
    assert len(train.subjects) == len(train.scenes) == 8


def test_another_folder_is_no_material(tmp_path):
    with pytest.raises(ValueError, match=r"subjects is not a folder; docs/weights\.md says how"):
        composites.find_material(tmp_path, held_out=False)


def test_missing_mattes_are_named(folder):
    (folder / "mattes" / "s3.png").unlink()
    with pytest.raises(ValueError, match=r"no matte for s3\.png"):
        composites.find_material(folder, held_out=False)


@pytest.mark.parametrize("whole", [0.0, 1.0])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_subject_is_sharp_and_the_same_seed_gives_the_same_pair(folder, whole, index):
    config = _config(folder, whole=whole)
    sample = composites.make_sample(config, index)
    again = composites.make_sample(config, index)
    assert all(np.array_equal(sample[name], again[name]) for name in sample)
    assert sample["image"].shape == sample["bokeh"].shape == (48, 64, 3)
    red = (sample["image"][..., 0] > 0.6) & (sample["image"][..., 2] < 0.3)
    assert red.sum() > 30
    assert np.median(sample["defocus"][red]) == 0
    assert sample["defocus"].max() > 0.3


def test_a_camouflaged_subject_has_the_mean_colour_of_what_it_hides():
    rng = np.random.default_rng(0)
    color, behind = rng.uniform(0.2, 0.4, (2, 3, 20, 30)).astype(np.float32)
    behind *= np.array([1.0, 0.5, 2.0], np.float32)[:, None, None]
    alpha = np.zeros((20, 30), np.float32)
    alpha[5:15, 10:20] = 1
    inside = np.s_[:, 5:15, 10:20]
    changed = composites._in_colors_of(color, alpha, behind)
    np.testing.assert_allclose(changed[inside].mean((1, 2)), behind[inside].mean((1, 2)), rtol=0.01)


def test_nothing_of_the_subject_is_left_in_the_background(folder):
    subject = composites.find_material(folder, held_out=True).subjects[0]
    behind = composites._background(subject)
    assert behind[..., 1].min() > 3 * behind[..., 0].max()


def test_defocus_is_zero_only_where_the_disparity_is_that_of_the_focus(folder):
    sample = composites.make_sample(_config(folder, ground=1.0), 3)
    away = np.abs(sample["disparity"] - sample["focus"]) * sample["blur"]
    np.testing.assert_array_equal(sample["defocus"] > 0, away > 1e-6)


def test_bad_settings_are_refused(folder):
    with pytest.raises(ValueError, match="at least one photograph"):
        composites.CompositesConfig(subjects=())
    with pytest.raises(ValueError, match="blur radii"):
        _config(folder, radius=(5.0, 3.0))
    with pytest.raises(IndexError):
        synthetic.Synthetic(_config(folder), 2, make=composites.make_sample)[2]
