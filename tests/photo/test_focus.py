import numpy as np
import pytest

from d2f_jax.photo import focus

RAMP = np.linspace(0, 1, 30 * 40, dtype=np.float32).reshape(30, 40)


def test_focus_is_read_as_people_write_it():
    assert focus.resolve(" 0.25 ", RAMP) == 0.25
    assert focus.resolve("2.5m", RAMP) == pytest.approx(0.4)
    assert focus.resolve("10,20", RAMP) == RAMP[20, 10]
    assert focus.resolve("0,0,40,30", RAMP) == pytest.approx(0.75)
    assert focus.resolve("nearest", RAMP) == pytest.approx(0.975)
    mask = RAMP > 0.8
    assert focus.in_mask(RAMP, mask) == pytest.approx(0.9, abs=1e-3)


def test_the_subject_is_near_where_a_small_map_of_sharpness_says():
    """Against every value repeated as often as it weighs."""
    sharpness = np.random.default_rng(0).integers(0, 5, (6, 10))
    places = RAMP[2::5, 2::4].ravel()  # the pixels in the middle of each
    nearness = (places - places.min()) / np.ptp(places)
    repeats = np.rint(1000 * sharpness.ravel() * nearness**2).astype(int)
    expected = np.median(np.repeat(places, repeats))
    assert focus.subject(RAMP, sharpness / np.float32(4)) == pytest.approx(expected, abs=0.03)
    for place in ((2, 3), (0, 0)):  # the last one is farthest
        one = np.zeros((3, 4), np.float32)
        one[place] = 1
        assert focus.subject(RAMP, one) == pytest.approx(
            RAMP[10 * place[0] + 5, 10 * place[1] + 5], abs=0.01
        )


def test_without_sharpness_the_subject_is_near_in_the_middle():
    y, x = np.mgrid[-1:1:60j, -1:1:80j]
    scene = np.where(y > 0.5, y, 0.1) + 0.01 * x  # ground, and a far wall
    thing = np.hypot(y / 0.5, x / 0.1) < 1
    scene[thing] = 0.6
    assert focus.subject(scene) == pytest.approx(0.6, abs=0.02)
    unsure = np.full((6, 10), focus.LEAST_SHARP / 2, np.float32)
    assert focus.subject(scene, unsure) == focus.subject(scene)
    assert focus.subject(3 * scene + 5) == pytest.approx(3 * focus.subject(scene) + 5)
    assert focus.subject(np.ones((5, 5))) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("middle", "give auto, nearest, X,Y or LEFT"),
        ("1,2,3", "give auto, nearest, X,Y or LEFT"),
        ("nan", "give auto, nearest, X,Y or LEFT"),
        ("40,3", "outside the picture"),
        ("5,5,5,9", "is empty or leaves"),
        ("-1m", "positive"),
    ],
)
def test_unreadable_focus_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        focus.resolve(text, RAMP)


def test_points_are_whole_pixels():
    bare = focus.at_pixel.__wrapped__  # without the type checks of the tests
    assert bare(RAMP, 4.0, 3.0) == focus.at_pixel(RAMP, 4, 3)
    with pytest.raises(ValueError, match=r"whole pixels, got 4\.5,3"):
        bare(RAMP, 4.5, 3)


def test_thin_lens_agrees_with_ray_geometry():
    """A 50 mm f/2 lens at 2 m: image distances from 1/f = 1/s + 1/s', similar triangles."""
    f, aperture_radius, near, far = 0.05, 0.0125, 2.0, 8.0

    def image_distance(distance):
        return 1 / (1 / f - 1 / distance)

    on_sensor = aperture_radius * abs(1 - image_distance(near) / image_distance(far))
    pixels = on_sensor * 3600 / 0.036
    blur = focus.thin_lens_blur(
        focal_length=50.0, f_number=2.0, sensor_width=36.0, focus_distance=near, image_width=3600
    )
    assert blur * (1 / near - 1 / far) == pytest.approx(pixels)
    with pytest.raises(ValueError, match="cannot focus"):
        focus.thin_lens_blur(
            focal_length=50.0, f_number=2.0, sensor_width=36.0, focus_distance=0.05, image_width=9
        )


def test_a_range_stays_sharp():
    bent = focus.keep_sharp(RAMP, 0.5, nearest=0.6, farthest=0.3)
    inside = (RAMP >= 0.3) & (RAMP <= 0.6)
    np.testing.assert_allclose(bent[inside], 0.5)
    np.testing.assert_allclose(bent[-1, -1] - 0.5, 0.4, rtol=1e-6)
    with pytest.raises(ValueError, match="must hold the focus"):
        focus.keep_sharp(RAMP, 0.9, nearest=0.6, farthest=0.3)
