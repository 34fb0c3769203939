"""The portrait matte in a phone's file: a mask, and the focus."""

import numpy as np
import pytest

from d2f_jax import cli
from d2f_jax.photo import develop, image_io, map_sources, own_depth
from d2f_jax.photo.settings import MapSettings
from tests.photo import containers
from tests.photo.test_turns import PICTURE, TURNS, tag, upright

BRIGHT = 128  # from there on the photograph is a person


def matte():
    return np.where(containers.ramp() > BRIGHT, 255, 0).astype(np.uint8)


def as_heic(orientation, matte):
    turns, mirror = TURNS[orientation]
    return "a.heic", containers.heic(
        PICTURE,
        matte,
        turns=(turns, turns),
        mirror=bool(mirror),
        exif=tag(orientation),
        kind=containers.MATTE_AUX,
    )


def as_jpeg(orientation, matte):
    data = containers.apple(PICTURE, matte, kind="PortraitEffectsMatte", exif=tag(orientation))
    return "a.jpg", data


WAYS = pytest.mark.parametrize("way", [as_heic, as_jpeg])


@WAYS
@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_lies_on_the_picture(tmp_path, way, orientation):
    name, data = way(orientation, matte())
    (tmp_path / name).write_bytes(data)
    notes = []
    photo = image_io.read_photo(tmp_path / name)
    mapped = map_sources.find(MapSettings())(tmp_path / name, photo, notes.append)
    assert mapped.map is None
    assert "portrait matte used, stays sharp" in notes[-1]
    expected = upright(orientation)
    mask = develop.fitted(mapped.mask, expected.shape)
    clear = np.abs(expected.astype(int) - BRIGHT) > 8
    np.testing.assert_array_equal((mask > 0.5)[clear], (expected > BRIGHT)[clear])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.heic").write_bytes(as_heic(1, matte())[1])
    np.save("m.npy", containers.ramp().astype(np.float32))
    return ["bokeh", "a.heic", "--disparity", "m.npy"]


def test_it_is_the_focus_and_stays_sharp(here, lens, capsys):
    assert cli.main(here) == 0
    (call,) = lens.calls
    person = np.repeat(np.repeat(matte(), 2, 0), 2, 1) > 0
    values = np.asarray(call.disparity)
    np.testing.assert_allclose(values[4:-4, 120:][person[4:-4, 120:]], call.focus, atol=1e-3)
    assert np.abs(values[:, :60] - call.focus).min() > 0.1
    assert capsys.readouterr().err.count("portrait matte") == 1


@pytest.mark.parametrize("options", [["--focus", "5,60"], ["--no-own-depth"]])
def test_it_gives_way(here, lens, options):
    assert cli.main([*here, *options]) == 0
    values = np.asarray(lens.calls[0].disparity)
    assert np.ptp(values[60, 130:]) > 0.1


@WAYS
def test_nobody_in_it_is_no_matte(way):
    assert own_depth.find_matte(way(1, np.zeros_like(matte()))[1]) is None
    assert own_depth.find_matte(containers.picture_bytes(PICTURE, "JPEG")) is None
    assert own_depth.find_matte(containers.heic(PICTURE, containers.ramp())) is None


def test_a_damaged_one_is_a_note(tmp_path, monkeypatch, d2f, capsys):
    monkeypatch.chdir(tmp_path)
    name, data = as_jpeg(1, matte())
    (tmp_path / name).write_bytes(data[:-900])
    assert cli.main(["bokeh", name]) == 0
    assert "a.jpg: the portrait matte inside cannot be used: " in capsys.readouterr().err
    assert "disparity" not in d2f.calls[0]
