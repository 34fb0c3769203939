import re

import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax import color
from d2f_jax.photo import develop, focus
from d2f_jax.photo.develop import Blur
from d2f_jax.photo.focus import Box, Distance, Point
from d2f_jax.photo.image_io import Photo
from tests.fakes import FakeD2F, make_disparity, make_picture


@pytest.fixture
def photo():
    return Photo(make_picture() / np.float32(255), bits=16, exif=b"kept")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("auto", "auto"),
        ("Nearest ", "nearest"),
        ("1,2,3,4", Box(1, 2, 3, 4)),
        ("2.5m", Distance(2.5)),
        ("0.25", 0.25),
        ("-3e1", -30.0),
        ("12,7", Point(12, 7)),
        ("-1,5", Point(-1, 5)),
    ],
)
def test_focus_is_read(text, value):
    assert focus.parse(text) == value


@pytest.mark.parametrize("text", ["", "near", "nan", "inf", "1,2,3", "1.5,2", ","])
def test_other_focus_is_refused(text):
    with pytest.raises(ValueError, match="give auto, nearest, X,Y or LEFT,TOP,RIGHT,BOTTOM"):
        focus.parse(text)


@pytest.mark.parametrize(
    ("text", "blur"),
    [("1", Blur()), ("0", Blur(0)), ("2.5", Blur(2.5)), ("40px", Blur(40, in_pixels=True))],
)
def test_blur_is_read(text, blur):
    assert develop.parse_blur(text) == blur


@pytest.mark.parametrize("text", ["", "px", "-1", "-1px", "nan", "inf", "much", "40 em"])
def test_other_blur_is_refused(text):
    with pytest.raises(ValueError, match="give a factor"):
        develop.parse_blur(text)


@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (60, -7), (1e-3, 5)])
def test_lens_does_not_depend_on_the_units_of_the_map(lens, photo, scale, offset):
    disparity = np.float32(scale) * make_disparity() + np.float32(offset)
    done = develop.through_lens(photo, disparity, focus=Point(20, 3))
    (call,) = lens.calls
    assert call.disparity.min() == 0
    assert call.disparity.max() == 1
    assert call.focus == pytest.approx(20 / 79, abs=2e-3)
    assert call.blur == pytest.approx(0.04 * 80)
    assert call.encoding == "srgb"
    np.testing.assert_allclose(done.photo.image, 1 - photo.image)
    assert (done.photo.bits, done.photo.exif) == (16, b"kept")
    np.testing.assert_array_equal(done.maps["disparity"], disparity)
    radius = done.maps["coc_radius"]
    assert radius[0, 20] == pytest.approx(0, abs=1e-3)
    assert radius[0, 79] == pytest.approx(0.04 * 80 * 59 / 79, abs=0.02)
    assert radius[0, 0] == pytest.approx(-0.04 * 80 * 20 / 79, abs=0.02)
    assert done.pictures["defocus"].max() == 1


def test_large_pictures_are_rendered_in_tiles(lens, photo):
    develop.through_lens(photo, make_disparity())
    large = Photo(np.zeros((2900, 2900, 3), np.float32))
    develop.through_lens(large, make_disparity(), blur=Blur(500, in_pixels=True))
    assert [call.tile for call in lens.calls] == [None, 1056]
    develop.through_lens(large, make_disparity(), blur=Blur(100, in_pixels=True))
    assert lens.calls[-1].tile == 544


def test_lens_blur_in_factors_and_pixels(lens, photo):
    develop.through_lens(photo, make_disparity(), blur=Blur(2))
    develop.through_lens(photo, make_disparity(), blur=Blur(40, in_pixels=True))
    assert [call.blur for call in lens.calls] == [pytest.approx(0.08 * 80), 40]


@pytest.mark.parametrize("way", ["lens", "networks"])
def test_the_most_blur_is_told_in_the_units_of_the_user(lens, photo, way):
    """What the message calls the most is taken, and the next is refused."""

    def develop_with(blur):
        if way == "lens":
            return develop.through_lens(photo, make_disparity(), blur=blur)
        return develop.through_d2f(FakeD2F(), photo, blur=blur)

    for blur in (Blur(700, in_pixels=True), Blur(700)):
        words = "700px" if blur.in_pixels else "700 times the default"
        with pytest.raises(ValueError, match=f"a blur of {words} is too much") as caught:
            develop_with(blur)
        message = str(caught.value)
        assert "for a picture of 80x64" in message
        assert ("pixels are written 700px" in message) == (not blur.in_pixels)
        most = float(re.search(r"([\d.]+)(px)? is the most", message)[1])
        develop_with(blur._replace(amount=most))
        with pytest.raises(ValueError, match="is the most"):
            develop_with(blur._replace(amount=most + 1))


def test_a_point_without_its_second_number_is_no_blur(lens, photo):
    """`--focus 375` in place of `375,330`: a value far outside of the map, and of the network's."""
    with pytest.raises(ValueError, match="sharp at a focus of 375: the map's values are 0 to 1"):
        develop.through_lens(photo, make_disparity(), focus=375.0)
    with pytest.raises(ValueError, match="a focus of 375: the network's map has values from 0"):
        develop.through_d2f(FakeD2F(), photo, focus=375.0)


def test_too_much_for_the_picture_by_a_real_lens(lens, photo):
    real = develop.RealLens(focal_length=200.0, f_number=1.0, sensor=36.0)
    with pytest.raises(ValueError, match=r"this lens blurs by \d+ px.*give a greater --f-number"):
        develop.through_lens(photo, make_disparity(), focus=Distance(1.0), real=real)


@pytest.mark.parametrize("way", ["lens", "networks"])
@pytest.mark.parametrize(
    ("focus", "notice"),
    [
        (7.0, "nothing is sharp at a focus of 7: the map's values are 0 to 1"),
        (-1.0, "nothing is sharp at a focus of -1"),
        (0.5, "nothing is sharp at a focus of 0.5"),  # between the two things of the map
        (Distance(0.2), "nothing is sharp at 0.2 m: the map reaches from 1 m to 1e+06 m"),
        (1.0, None),
        (Point(70, 3), None),
    ],
)
def test_a_focus_at_which_nothing_is_gets_a_notice(lens, photo, monkeypatch, way, focus, notice):
    disparity = np.zeros((64, 80), np.float32)
    disparity[:, 40:] = 1
    blur = Blur(5, in_pixels=True)
    if way == "lens":
        done = develop.through_lens(photo, disparity, focus=focus, blur=blur)
    else:
        whole = FakeD2F.__call__

        def masked(self, image, **options):
            sharp = np.abs(options["disparity"] - options["focus"]) < 0.1
            return whole(self, image, **options)._replace(fusion_mask=sharp.astype(np.float32))

        monkeypatch.setattr(FakeD2F, "__call__", masked)
        done = develop.through_d2f(FakeD2F(), photo, disparity, focus=focus, blur=blur)
    assert (done.notice or "")[: len(notice or "")] == (notice or "")
    assert (done.notice is None) == (notice is None)


def test_a_few_wild_values_do_not_set_the_scale(lens, photo):
    disparity = make_disparity()
    disparity[0, :10] = 1e6
    develop.through_lens(photo, disparity, focus=0.5)
    assert lens.calls[0].focus == pytest.approx(0.5, abs=0.02)


def test_a_map_of_two_values_has_a_scale(lens, photo):
    disparity = np.zeros((64, 80), np.float32)
    disparity[30, 30] = 7
    develop.through_lens(photo, disparity, focus=7.0)
    assert lens.calls[0].focus == 1


def test_auto_focus_takes_what_is_near_in_the_middle(lens, photo):
    disparity = np.zeros((64, 80), np.float32)
    disparity[20:44, 30:50] = 0.6  # the subject
    disparity[56:] = 1  # nearer, but at the border
    assert focus.subject(disparity) == pytest.approx(0.6)
    develop.through_lens(photo, disparity)
    assert lens.calls[0].focus == pytest.approx(0.6)


def test_a_map_of_another_size_is_fitted(lens, photo):
    develop.through_lens(photo, make_disparity(32, 40), focus=Point(79, 63))
    assert lens.calls[0].disparity.shape == (64, 80)
    assert lens.calls[0].focus == pytest.approx(1, abs=0.02)


def test_linear_photographs_stay_linear(lens, photo):
    develop.through_lens(photo._replace(linear=True), make_disparity())
    assert lens.calls[0].encoding == "linear"
    done = develop.through_d2f(FakeD2F(), photo._replace(linear=True))
    expected = color.srgb_to_linear(1 - color.linear_to_srgb(jnp.asarray(photo.image)))
    np.testing.assert_allclose(done.photo.image, expected, atol=1e-6)


def test_networks_get_what_was_asked_for(photo):
    d2f = FakeD2F()
    done = develop.through_d2f(d2f, photo, blur=Blur(1.5))
    develop.through_d2f(d2f, photo, focus=0.3)
    develop.through_d2f(d2f, photo, make_disparity(), focus=0.3)
    assert d2f.calls[0] == {"blur": 1.5, "focus": None, "canvas": None}
    assert d2f.calls[1] == {"blur": 1, "focus": 0.3, "canvas": None}
    assert d2f.calls[2]["focus"] == 0.3
    np.testing.assert_array_equal(d2f.calls[2]["disparity"], make_disparity())
    assert set(done.maps) == {"defocus", "weight", "fusion_mask"}
    assert done.pictures["radiance"].max() == 1
    assert done.pictures["mask"].shape == (64, 80)


def test_a_picture_with_nothing_sharp_gets_a_notice(photo, monkeypatch):
    assert develop.through_d2f(FakeD2F(), photo).notice is None
    whole = FakeD2F.__call__

    def blurred(self, image, **options):
        out = whole(self, image, **options)
        return out._replace(fusion_mask=0.4 * out.fusion_mask)

    monkeypatch.setattr(FakeD2F, "__call__", blurred)
    assert "nothing is sharp" in develop.through_d2f(FakeD2F(), photo).notice


def test_a_map_that_had_to_be_lowered_gets_a_notice(photo, monkeypatch):
    whole, moved = FakeD2F.__call__, [0.05, 0.5]

    def lowered(self, image, **options):
        return whole(self, image, **options)._replace(moved=np.float32(moved.pop(0)))

    monkeypatch.setattr(FakeD2F, "__call__", lowered)
    assert develop.through_d2f(FakeD2F(), photo).notice is None
    assert "blurs least" in develop.through_d2f(FakeD2F(), photo).notice


def test_maps_are_shown_in_the_proportions_of_the_photograph():
    done = develop.through_d2f(FakeD2F(), Photo(make_picture(576, 1024) / np.float32(255)))
    assert done.maps["defocus"].shape == (256, 512)  # what was computed
    assert done.pictures["defocus"].shape == (288, 512)
    assert done.pictures["radiance"].shape == (288, 512)


def test_a_radius_in_pixels_of_the_photograph_sets_the_largest_kernel():
    d2f = FakeD2F()
    photo = Photo(make_picture(512, 640) / np.float32(255))
    develop.through_d2f(d2f, photo, blur=Blur(68, in_pixels=True))
    # The largest kernel, 69 wide, has a radius of 34 at half size: 68 pixels of the photograph.
    assert d2f.config.sizes[-1] == 69
    assert d2f.calls[0]["blur"] == pytest.approx(1)


def test_a_point_focuses_the_networks_own_map(photo):
    d2f = FakeD2F()
    develop.through_d2f(d2f, photo, focus=Point(40, 10))
    first, second = d2f.calls
    assert "focus" not in first
    assert second["focus"] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("point", [Point(80, 0), Point(0, 64), Point(-1, 0), Point(0, -1)])
def test_a_point_outside_is_refused(lens, photo, point):
    message = f"focus {point.x},{point.y} lies outside the picture, which is 80 wide and 64 high"
    with pytest.raises(ValueError, match=message):
        develop.through_lens(photo, make_disparity(), focus=point)
    with pytest.raises(ValueError, match=message):
        develop.through_d2f(FakeD2F(), photo, focus=point)


def test_a_constant_map_is_refused(lens, photo):
    with pytest.raises(ValueError, match=r"the disparity map is constant \(0.5\)"):
        develop.through_lens(photo, np.full((64, 80), 0.5, np.float32))
    with pytest.raises(ValueError, match=r"the disparity map is constant \(0\)"):
        develop.through_d2f(FakeD2F(), photo, np.zeros((64, 80), np.float32))


@pytest.mark.parametrize("size", [(1, 1), (63, 200)])
def test_small_pictures_are_refused(lens, size):
    photo = Photo(np.zeros((*size, 3), np.float32))
    with pytest.raises(ValueError, match="each side must have 64 or more"):
        develop.through_lens(photo, make_disparity())
    with pytest.raises(ValueError, match="each side must have 64 or more"):
        develop.through_d2f(FakeD2F(), photo)
