import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageOps

from d2f_jax import render
from d2f_jax.photo import disparity

RAMP = np.linspace(0, 1, 30 * 40, dtype=np.float32).reshape(30, 40)


def test_conventions_agree_on_what_is_near():
    metres = np.asarray([[4.0, 2.0], [1.0, np.inf]], np.float32)
    expected = [[0.25, 0.5], [1, 0]]
    np.testing.assert_allclose(disparity.to_disparity(metres, "metres").disparity, expected)
    dark = disparity.to_disparity(1 - np.asarray(expected, np.float32), "near_is_dark").disparity
    np.testing.assert_allclose(dark, expected)
    same = np.asarray(expected, np.float32)
    for name in ("disparity", "inverse_depth"):
        np.testing.assert_allclose(disparity.to_disparity(same, name).disparity, expected)
    with pytest.raises(ValueError, match="100% of the map"):
        disparity.to_disparity(np.full((2, 2), np.nan, np.float32), "metres")


def test_constant_and_inverted_maps_are_noticed():
    assert disparity.to_disparity(RAMP, "disparity").notice is None
    assert "near and far are swapped" in str(disparity.to_disparity(RAMP[::-1], "disparity").notice)
    assert "constant" in str(disparity.to_disparity(np.full((9, 9), 2.0), "metres").notice)


def test_holes_take_the_farther_neighbour_of_their_row():
    nan = np.nan
    holed = np.array(
        [
            [nan, nan, nan, nan],
            [9, nan, np.inf, 3],
            [nan, 5, 6, -np.inf],
            [1, 2, 3, 4],
            [nan, nan, 7, 8],
        ],
        np.float32,
    )
    expected = [[9, 3, 3, 3], [9, 3, 3, 3], [5, 5, 6, 6], [1, 2, 3, 4], [7, 7, 7, 8]]
    np.testing.assert_array_equal(disparity.fill_holes(holed), expected)


def test_a_map_without_holes_stays():
    np.testing.assert_array_equal(disparity.fill_holes(RAMP), RAMP)


def test_a_map_of_holes_is_refused():
    with pytest.raises(ValueError, match="100% of the map has no measurement"):
        disparity.fill_holes(RAMP * np.nan)


@pytest.mark.parametrize(("unit", "convention"), [(1, "metres"), (1000, "millimetres")])
def test_distances_are_judged_as_distances(unit, convention):
    """The sky is far however it is written, and an unknown patch takes the farther side."""
    metres = np.tile(np.linspace(1, 4, 8, dtype=np.float32), (6, 1))
    expected = 1 / metres
    metres[0], metres[1], metres[2] = np.inf, 1e10, 65504
    expected[:3] = 0
    metres[3, 2:4], metres[4, 2:4], metres[5, 2:4] = np.nan, 0, -1
    expected[3:, 2:4] = expected[3, 4]
    made = disparity.to_disparity(metres * unit, convention)
    np.testing.assert_allclose(made.disparity, expected, atol=2e-5 * unit)
    assert (made.holes, made.metric) == (6, True)


def test_disparity_of_zero_is_far_and_infinite_is_unknown():
    values = np.asarray([[0, 2, np.inf, 1, np.nan, 3]], np.float32)
    for convention in ("disparity", "inverse_depth"):
        made = disparity.to_disparity(values, convention)
        np.testing.assert_array_equal(made.disparity, [[0, 2, 1, 1, 1, 3]])
        assert (made.holes, made.metric) == (2, convention == "inverse_depth")
    dark = np.asarray([[0, 2, np.inf, 1, -np.inf, 3]], np.float32)
    made = disparity.to_disparity(dark, "near_is_dark")
    np.testing.assert_array_equal(made.disparity, [[3, 1, 0, 2, 0, 0]])
    for values in (np.full((2, 2), np.inf), np.full((2, 2), 1e-45), np.zeros((2, 2))):
        disparity.to_disparity(np.where(np.eye(2), 1, values), "metres")  # without a warning


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("like_sensor", [True, False])
def test_maps_are_turned_like_their_photograph(orientation, like_sensor):
    picture = Image.fromarray(np.rint(RAMP * 255).astype(np.uint8))
    picture.getexif()[274] = orientation
    upright = np.asarray(ImageOps.exif_transpose(picture))
    stored = np.asarray(picture)
    size = 3 * upright.shape[0], 3 * upright.shape[1]
    lies_so = stored if like_sensor else upright
    way = disparity.placed(lies_so, size, orientation, like_sensor=like_sensor)
    np.testing.assert_array_equal(way.pixels, upright)
    assert way.ambiguous == (orientation in (2, 3, 4))
    if orientation > 4:  # then the shape decides, whatever was thought
        way = disparity.placed(lies_so, size, orientation, like_sensor=not like_sensor)
        np.testing.assert_array_equal(way.pixels, upright)


def test_square_maps_lie_as_their_kind_mostly_does():
    square = np.arange(100).reshape(10, 10)
    for like_sensor in (True, False):
        way = disparity.placed(square, (50, 50), 6, like_sensor=like_sensor)
        assert way.ambiguous
        assert np.array_equal(way.pixels, square) != like_sensor


@pytest.mark.parametrize(
    ("shape", "orientation", "message"),
    [
        (
            (300, 300),
            1,
            "300x300 pixels have another aspect ratio than the photograph's 400x300; give one of "
            "the whole photograph",
        ),
        ((300, 410), 1, "410x300 pixels have another aspect ratio"),
        ((400, 300), 1, "its sides are swapped, turn it like the photograph"),
        ((400, 300), 3, "its sides are swapped"),
    ],
)
def test_maps_of_another_shape_are_refused_and_not_squeezed(shape, orientation, message):
    with pytest.raises(ValueError, match=message):
        disparity.placed(np.zeros(shape), (300, 400), orientation, like_sensor=False)
    disparity.placed(np.zeros((300, 405)), (300, 400), orientation, like_sensor=False)
    disparity.placed(np.zeros((10, 13)), (300, 400), orientation, like_sensor=False)


def slope(height=120, width=160):
    """A plane with an edge, and the same in 8 bits."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    exact = 0.001 * x + 0.003 * y + 0.4 * (x > 100)
    return exact, np.rint(exact * 255).astype(np.float32) / 255


def test_steps_of_eight_bits_are_smoothed_and_edges_stay():
    _, stepped = slope()
    smooth = disparity.without_steps(stepped)
    assert np.abs(smooth - stepped).max() <= 2.001 / 255
    inside = np.s_[40:80, 30:70]
    second = [np.abs(np.diff(values[inside], 2, axis=1)).max() for values in (stepped, smooth)]
    assert second[1] < 0.25 * second[0]
    np.testing.assert_allclose(smooth[40, 101] - smooth[40, 100], 0.4, atol=4.1 / 255)


@pytest.mark.slow
@pytest.mark.parametrize("radius", [20, 60])
@pytest.mark.parametrize(("levels", "decibels"), [(256, 55), (64, 50)])
def test_a_slanted_ground_of_few_levels_shows_no_seams(radius, levels, decibels):
    image = jnp.asarray(skimage.data.astronaut()[:256, 100:420])
    ground = np.broadcast_to(np.linspace(0.003, 0.997, 256, dtype=np.float32)[:, None], (256, 320))
    stepped = np.rint(ground * (levels - 1)) / np.float32(levels - 1)
    blurred = [
        render.lens_blur(image / 255, jnp.asarray(map_), focus=0.5, blur=2.0 * radius)
        for map_ in (ground, disparity.without_steps(stepped))
    ]
    difference = np.abs(np.asarray(blurred[1] - blurred[0]))
    assert difference.max() < 0.03
    assert -10 * np.log10((difference**2).mean()) > decibels


def test_other_maps_are_not_smoothed():
    exact, stepped = slope()
    holed = stepped.copy()
    holed[3, 3] = np.nan
    cut_out = (stepped > 0.5).astype(np.float32)
    for values in (exact, holed, cut_out, np.zeros_like(exact), np.rint(exact * 65535) / 65535):
        assert disparity.without_steps(values.astype(np.float32)).tobytes() == (
            values.astype(np.float32).tobytes()
        )
