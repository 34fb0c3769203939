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
