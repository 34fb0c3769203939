import pytest

from d2f_jax import budget


@pytest.mark.parametrize("radius", [0, 35, 280, 700])
@pytest.mark.parametrize("size", [(4096, 6144), (2048, 16384), (16, 1024, 1536)])
def test_tiles_are_about_a_thousand_pixels_and_only_for_large_pictures(size, radius):
    assert budget.tile_side((1984, 3008), radius) is None
    side = budget.tile_side(size, radius)
    assert side is not None
    least = max(768, 2 * radius)
    assert least <= side <= least + 512


def test_the_chosen_tiles_fit_the_picture():
    assert budget.tile_side((4096, 6144), 280) == 1024


def test_one_tile_serves_all_large_pictures(monkeypatch):
    assert budget.lens_tile((2304, 3456), 30.0) is None
    assert budget.lens_tile((2828, 4243), 30.0) == budget.lens_tile((8660, 11547), 128.0) == 544
    assert budget.lens_tile((2828, 4243), 129.0) == 1056
    assert budget.lens_tile((2828, 4243), 30.0, cat_eye=True) == 1056
    monkeypatch.setattr(budget.os, "cpu_count", lambda: 8)
    assert [budget.threads(window) for window in (640, 1312, 2592)] == [4, 2, 1]
    monkeypatch.setattr(budget.jax, "default_backend", lambda: "gpu")
    assert budget.lens_tile((2828, 4243), 30.0) == 1056
    assert budget.threads(640) == 1


def test_the_opening_of_a_cat_s_eye_changes_from_tile_to_tile():
    assert budget.lens_tiling((300, 400), None, cat_eye=False) == (400, budget.LENS_OVERLAP)
    assert budget.lens_tiling((300, 400), 64, cat_eye=False) == (64, budget.LENS_OVERLAP)
    assert budget.lens_tiling((300, 1024), None, cat_eye=True) == (256, 128)
    assert budget.lens_tiling((4000, 6000), 544, cat_eye=True) == (544, 272)


def test_layers_by_device_and_size(monkeypatch):
    assert budget.layers(15, (512, 768)) == 1
    monkeypatch.setattr(budget.jax, "default_backend", lambda: "gpu")
    assert budget.layers(15, (512, 768)) is None
    assert budget.layers(15, (2, 2048, 3072)) == 1
    assert budget.layers(15, (2048, 3072)) == 1
    assert budget.layers(15, (1024, 1536)) == 7


def test_strips_have_rows_for_any_width():
    assert budget.strip(100) > budget.strip(1000) >= budget.strip(10**9) == 32


def test_the_renderer_gets_tiles_and_layers_that_go_together(monkeypatch):
    assert budget.rendering((512, 768), 34, 15) == (None, 1)
    monkeypatch.setattr(budget.jax, "default_backend", lambda: "gpu")
    whole, tiled = budget.rendering((4096, 6144), 34, 15), budget.rendering((512, 768), 34, 15, 256)
    assert whole.tile == budget.tile_side((4096, 6144), 34)
    assert whole.layer_batch == budget.layers(15, (whole.tile + 68, whole.tile + 68))
    assert tiled == (256, budget.layers(15, (324, 324)))
