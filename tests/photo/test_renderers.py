"""What stays sharp, and how much a real lens blurs, through the command."""

import numpy as np
import pytest
from PIL import Image

from d2f_jax import cli, render
from d2f_jax.photo import exif, focus
from tests.fakes import make_disparity, make_picture

MAP = ["bokeh", "a.png", "--disparity", "a.npy"]


def metric(path="m.npz"):
    """From 1/m at the left to 2/m at the right."""
    np.savez(path, inverse_depth=make_disparity() + 1)
    return ["bokeh", "a.png", "--disparity", path]


def save_mask(path, box=(50, 10, 70, 40), alpha=False):
    left, top, right, bottom = box
    mask = np.zeros((64, 80), np.uint8)
    mask[top:bottom, left:right] = 255
    picture = Image.fromarray(mask)
    if alpha:
        picture = Image.fromarray(make_picture())
        picture.putalpha(Image.fromarray(mask))
    picture.save(path)


def test_a_range_around_the_focus_stays_sharp(here, lens):
    assert cli.main([*MAP, "--focus", "40,30", "--sharp", "0.1"]) == 0
    (call,) = lens.calls
    radius = call.blur * np.abs(np.asarray(call.disparity)[30] - call.focus)
    assert radius[33:47].max() < 0.02
    assert radius[30] > 0.02
    assert radius[0] == radius.max()


@pytest.mark.parametrize("alpha", [False, True])
def test_a_cut_out_stays_sharp_and_is_the_focus(here, lens, alpha):
    save_mask("mask.png", alpha=alpha)
    assert cli.main([*MAP, "--mask", "mask.png"]) == 0
    assert cli.main([*MAP, "--mask", "mask.png", "--focus", "5,5"]) == 0
    first, second = lens.calls
    assert first.focus == pytest.approx(59.5 / 79, abs=0.03)
    assert second.focus == pytest.approx(5 / 79, abs=0.03)
    for call in lens.calls:
        inside = np.asarray(call.disparity)[12:38, 52:68]
        np.testing.assert_allclose(inside, call.focus, atol=1e-3)
        assert np.abs(np.asarray(call.disparity)[12, 30] - call.focus) > 0.1


def test_masks_for_many_lie_in_a_folder(here, lens, capsys):
    (here / "masks").mkdir()
    save_mask("masks/a_mask.png")
    Image.fromarray(make_picture()).save("b.png")
    assert cli.main(["bokeh", "a.png", "b.png", "--mask", "masks", "--depth-model", "no"]) == 2
    capsys.readouterr()
    np.save("b.npy", make_disparity())
    assert cli.main(["bokeh", "a.png", "b.png", "--mask", "masks", "--disparity", "."]) == 1
    assert "b.png: no mask b.* in masks" in capsys.readouterr().err
    assert len(lens.calls) == 1


def test_the_networks_own_map_is_bent(here, d2f):
    save_mask("mask.png")
    assert cli.main(["bokeh", "a.png", "--mask", "mask.png", "--sharp", "0.05"]) == 0
    first, second = d2f.calls
    assert "disparity" not in first
    inside = np.asarray(second["disparity"])[12:38, 52:68]
    np.testing.assert_allclose(inside, second["focus"], atol=1e-3)


def test_a_real_lens_says_how_much(here, lens):
    options = ["--focus", "0.8m", "--f-number", "2", "--focal-length", "50", "--sensor", "36"]
    assert cli.main([*metric(), *options]) == 0
    assert cli.main([*metric(), *options, "--blur", "0.5"]) == 0
    expected = focus.thin_lens_blur(
        focal_length=50.0, f_number=2.0, sensor_width=36.0, focus_distance=0.8, image_width=80
    )
    first, second = lens.calls
    assert first.blur == pytest.approx(expected, rel=0.02)  # the map spans 1/m
    assert second.blur == pytest.approx(first.blur / 2)


def test_exif_fills_in_the_lens(here, lens):
    tags = Image.Exif()
    tags.get_ifd(34665).update({37386: 6.0, 41989: 24})
    tags[34665] = tags.get_ifd(34665)
    Image.fromarray(make_picture()).save("a.png", exif=tags)
    assert cli.main([*metric(), "--f-number", "1.8", "--focus", "0.8m"]) == 0
    expected = focus.thin_lens_blur(
        focal_length=6.0, f_number=1.8, sensor_width=9.0, focus_distance=0.8, image_width=80
    )
    assert lens.calls[0].blur == pytest.approx(expected, rel=0.02)
    for block in (b"", b"II*\0\xff\xff\xff\xff", b"hello"):
        assert exif.lens(block) == (None, None)


@pytest.fixture
def sees_the_left(d2f, monkeypatch):
    """The network keeps the left fifth sharp; gives how often it looked."""
    looks = []

    def glance(image):
        looks.append(image.shape)
        return np.where(np.arange(80) < 16, np.float32(0), np.float32(0.9))[None].repeat(64, axis=0)

    monkeypatch.setattr(type(d2f), "glance", lambda self, image: glance(image))
    return looks


@pytest.mark.parametrize("renderer", ["lens", "d2f"])
def test_auto_is_where_the_network_sees_the_subject(here, lens, d2f, sees_the_left, renderer):
    assert cli.main([*MAP, "--renderer", renderer]) == 0
    sharp = lens.calls[0].focus if renderer == "lens" else d2f.calls[0]["focus"]
    assert sharp == pytest.approx(16 * 0.5 ** (1 / 3) / 79, abs=0.01)  # the cube: nearness
    assert sees_the_left == [(64, 80, 3)]


def test_sharp_keeps_what_the_network_chose(here, d2f, sees_the_left):
    """The stand-in's own map grows to the right: it is sharpest at the left."""
    assert cli.main(["bokeh", "a.png", "--sharp", "0.1"]) == 0
    assert d2f.calls[1]["focus"] == pytest.approx(1 - 7.5 / 79, abs=0.03)


def test_a_focus_means_the_same_on_the_networks_map_with_and_without_a_range(here, d2f, capsys):
    """The map that is bent is the network's turned round, so its values are too."""
    save_mask("mask.png")
    for options in ([], ["--sharp", "0.05"], ["--mask", "mask.png"]):
        for named, expected in (("0.25", 0.25), ("40,30", float(make_disparity()[30, 40]))):
            d2f.calls.clear()
            assert cli.main(["bokeh", "a.png", "--focus", named, *options]) == 0
            value = d2f.calls[-1]["focus"]
            assert (1 - value if options else value) == pytest.approx(expected, abs=0.02)
        looks = len(d2f.calls)
        for named in ("2m", "nearest", "0,0,30,30"):
            assert cli.main(["bokeh", "a.png", "--focus", named, *options]) == 2
            assert "needs a disparity map" in capsys.readouterr().err
        assert cli.main(["bokeh", "a.png", "--focus", "7", *options]) == 2
        assert "a focus of 7: the network's map" in capsys.readouterr().err
        assert cli.main(["bokeh", "a.png", "--focus", "500,3", *options]) == 2
        assert "500,3" in capsys.readouterr().err
        assert len(d2f.calls) == looks  # it is refused before the network runs


def test_a_note_does_not_name_values_that_nobody_gave(here, d2f, monkeypatch, capsys):
    whole = type(d2f).__call__

    def nothing_sharp(self, image, **options):
        return whole(self, image, **options)._replace(fusion_mask=np.zeros(image.shape[:2]))

    monkeypatch.setattr(type(d2f), "__call__", nothing_sharp)
    assert cli.main(["bokeh", "a.png", "--focus", "0.25", "--sharp", "0.05"]) == 0
    note = " ".join(capsys.readouterr().err.split())
    assert "nothing is sharp; name another focus" in note
    assert "0.75" not in note


@pytest.mark.parametrize("options", [["--focus", "nearest"], ["--mask", "mask.png"], []])
def test_the_network_looks_only_where_nothing_else_says_what_is_sharp(
    here, lens, d2f, sees_the_left, options
):
    save_mask("mask.png")
    arguments = [*MAP, *options] if options else ["bokeh", "a.png"]
    assert cli.main(arguments) == 0
    assert not sees_the_left


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--f-number", "2"], "--f-number needs a map with distances"),
        (["--f-number", "0"], "--f-number 0: give a number above 0"),
        (["--f-number", "nan"], "--f-number nan: give a number above 0"),
        (["--sensor", "36"], "--focal-length and --sensor belong to --f-number"),
        (["--f-number", "2", "--blur", "9px"], "both say how much"),
        (["--f-number", "2", "--renderer", "d2f"], "--f-number belongs to the renderer lens"),
        (["--sharp", "2"], "--sharp 2: give a share"),
        (["--sharp", "nan"], "--sharp nan: give a share"),
        (["--mask", "none.png"], "none.png: no such file"),
        (["--mask", "empty.png"], "empty.png: nothing is white"),
        (["--mask", "colour.png"], "colour.png: a picture in colour"),
        (["--mask", "square.png"], "square.png: 64x64 pixels have another aspect ratio"),
        (["--mask", "mask.png", "--output", "mask.png"], "mask.png: would replace mask.png"),
    ],
)
def test_wrong_usage(here, lens, d2f, capsys, options, message):
    save_mask("mask.png")
    save_mask("empty.png", box=(0, 0, 0, 0))
    Image.fromarray(make_picture()).save("colour.png")
    Image.fromarray(np.full((64, 64), 255, np.uint8)).save("square.png")
    assert cli.main([*MAP, *options]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (here / "a_bokeh.png").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--focus", "99999,20"], "focus 99999,20 lies outside the picture"),
        (["--focus", "0,0,99,20"], "the focus box (0, 0, 99, 20) is empty or leaves the picture"),
        (["--focus", "0.4m"], "focus 0.4m: the map has no unit"),
        (["--f-number", "1.8"], "--f-number needs a map with distances"),
    ],
)
def test_what_a_map_cannot_give_is_said_before_it_is_refined(
    here, lens, capsys, monkeypatch, options, message
):
    monkeypatch.setattr(render, "refine", None)
    assert cli.main([*MAP, *options]) == 2
    assert capsys.readouterr().err.startswith(f"d2f: a.png: {message}")


def test_what_exif_does_not_say_must_be_given(here, lens, capsys):
    assert cli.main([*metric(), "--f-number", "2"]) == 2
    assert "its EXIF does not say --focal-length and --sensor" in capsys.readouterr().err
    assert cli.main([*metric(), "--f-number", "2", "--sensor", "36"]) == 2
    assert "its EXIF does not say --focal-length: give it" in capsys.readouterr().err
