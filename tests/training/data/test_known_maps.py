"""Pictures with known defocus maps."""

import numpy as np
import pytest
from PIL import Image

from d2f_jax.training.data import composites, layouts, maps


@pytest.fixture
def config(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("subjects", "mattes", "scenes"):
        (tmp_path / name).mkdir()
    matte = np.zeros((60, 80), np.uint8)
    matte[10:50, 25:55] = 255
    for n in range(6):
        picture = rng.integers(0, 255, (60, 80, 3), np.uint8)
        Image.fromarray(picture).save(tmp_path / "subjects" / f"s{n}.png")
        Image.fromarray(matte).save(tmp_path / "mattes" / f"s{n}.png")
        Image.fromarray(picture).save(tmp_path / "scenes" / f"b{n}.png")
    material = composites.find_material(tmp_path, held_out=False)
    table = {
        path.name: layouts.parse("40", "@70: 0,30 40,30 40,70 0,70") for path in material.scenes
    }
    return maps.MapsConfig(
        size=(48, 64),
        subjects=material.subjects,
        scenes=material.scenes,
        drawn=maps.drawn_scenes(material.scenes, table),
    )


@pytest.mark.parametrize("kind", range(5))
def test_each_kind_has_a_map_and_the_same_seed_gives_the_same_sample(config, kind):
    kinds = tuple(float(k == kind) for k in range(5))
    config = maps.MapsConfig(**(vars(config) | {"kinds": kinds}))
    for index in range(3):
        sample, again = (maps.make_sample(config, index) for _ in range(2))
        assert all(np.array_equal(sample[name], again[name]) for name in sample)
        assert sample["image"].shape == (48, 64, 3)
        assert 0 <= sample["image"].min() <= sample["image"].max() <= 1
        defocus = sample["defocus"]
        assert defocus.min() == (
            np.float32(-maps.OUT_OF_FOCUS) if kind == 3 else pytest.approx(0, abs=0.1)
        )
        assert defocus.max() <= 1


def test_the_drawn_background_of_a_subject_is_known(config):
    own = {subject.photo.name: layouts.parse("0", "@80: matte") for subject in config.subjects[1:]}
    settings = vars(config) | {"kinds": (0.0, 0.0, 0.0, 1.0, 0.0)}
    with_layouts = maps.MapsConfig(**(settings | {"own": own}))
    known = 0
    for index in range(12):
        sample = maps.make_sample(with_layouts, index)
        plain = maps.make_sample(maps.MapsConfig(**settings), index)
        np.testing.assert_array_equal(sample["image"], plain["image"])
        if (sample["defocus"] < 0).any():  # of the subject that was not drawn
            np.testing.assert_array_equal(sample["defocus"], plain["defocus"])
            continue
        known += 1
        subject = plain["defocus"] == 0
        inner = np.lib.stride_tricks.sliding_window_view(subject, (3, 3)).all((2, 3))
        assert sample["defocus"][1:-1, 1:-1][inner].max() < 0.05
        column = sample["defocus"][:, 0]
        assert column[0] > column[len(column) // 2]  # the ground recedes
        assert config.amount[0] <= sample["defocus"].max() < 1
    assert 6 < known < 12


@pytest.mark.slow
def test_composites_among_other_kinds_have_every_blur(config, monkeypatch):
    made = composites.make_sample
    radii = []

    def note(settings, index):
        rng = np.random.default_rng((settings.seed, index))
        radii.append(rng.uniform(*settings.radius) / settings.full_radius)
        return made(settings, index)

    monkeypatch.setattr(composites, "make_sample", note)
    for index in range(120):
        maps.make_sample(config, index)
    assert 10 < len(radii) < 45  # a fifth
    assert min(radii) < 0.55
    assert 0.6 < np.mean(radii) < 0.8


def test_the_target_grows_with_distance_and_reaches_its_amount():
    disparity = np.linspace(0, 1, 101, dtype=np.float32)[None]
    full = maps.target(disparity, 1.0, 1.0)
    assert full[0, 0] == 1
    assert full[0, -1] == 0
    assert (np.diff(full[0]) < 0).all()
    np.testing.assert_allclose(full, maps.target(5 * disparity - 3, 2.0, 1.0), atol=1e-5)
    between = maps.target(disparity, 0.4, 0.5)
    assert between[0, 40] == pytest.approx(0, abs=1e-6)
    assert between.max() == between[0, -1] < 1  # the nearest is farthest from the focus
