"""Every source of a map with every orientation of the photograph: the map lies on the picture.

The photograph is as bright as its depth is near, so that one is checked by the other.
"""

import numpy as np
import pytest
from PIL import Image, ImageOps

from d2f_jax import pipeline
from d2f_jax.photo import batch, depth_io, develop, image_io, map_sources
from d2f_jax.photo.settings import MapSettings
from tests.fakes import FakeD2F, save_bright_is_near
from tests.photo import containers
from tests.photo.containers import ramp, representation

STORED = ramp(128, 192)
PICTURE = STORED[..., None].repeat(3, axis=-1)
FIELDS = 'Format="RangeInverse" Near="1" Far="4"'

# EXIF's orientations as quarter turns (counterclockwise) and a mirror (left and right) after them.
TURNS = {1: (0, 0), 2: (0, 1), 3: (2, 0), 4: (2, 1), 5: (3, 1), 6: (3, 0), 7: (1, 1), 8: (1, 0)}


def upright(orientation):
    picture = Image.fromarray(STORED)
    picture.getexif()[274] = orientation
    return np.asarray(ImageOps.exif_transpose(picture))


def tag(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif.tobytes()


def as_heic(orientation):
    turns, mirror = TURNS[orientation]
    metadata = representation(0, z_near=1, z_far=4)
    return "heic", containers.heic(
        PICTURE,
        ramp(),
        turns=(turns, turns),
        mirror=bool(mirror),
        metadata=metadata,
        exif=tag(orientation),
    )


def as_heic_with_depth_of_the_sensor(orientation):
    turns, _ = TURNS[orientation]
    return "heic", containers.heic(PICTURE, ramp(), turns=(turns, 0), exif=tag(orientation))


def as_gdepth(orientation):
    data = containers.gdepth(
        PICTURE, 255 - ramp(), original=PICTURE, fields=_named("GDepth"), exif=tag(orientation)
    )
    return "jpg", data


def as_dynamic_depth(orientation):
    data = containers.dynamic(
        PICTURE, 255 - ramp(), fields=_named("DepthMap"), exif=tag(orientation)
    )
    return "jpg", data


def as_apple_s_jpeg(orientation):
    return "jpg", containers.apple(PICTURE, ramp(), exif=tag(orientation))


def as_apple_s_jpeg_with_turned_depth(orientation):
    """The depth says for itself how it lies."""
    data = containers.apple(PICTURE, ramp(), exif=tag(orientation))
    start = data.rindex(b"\xff\xd8\xff\xe1")
    return "jpg", data[: start + 2] + containers.segment(tag(orientation)) + data[start + 2 :]


def _named(space):
    return " ".join(f"{space}:{field}" for field in FIELDS.split())


WAYS = [
    as_heic,
    as_gdepth,
    as_dynamic_depth,
    as_apple_s_jpeg,
    as_apple_s_jpeg_with_turned_depth,
]


def plain(folder, orientation, kind="jpg"):
    path = folder / f"a.{kind}"
    Image.fromarray(PICTURE).save(path, quality=95, exif=tag(orientation))
    return path


def check(path, orientation, **settings):
    notes = []
    photo = image_io.read_photo(path)
    mapped = map_sources.find(MapSettings(**settings))(path, photo, notes.append)
    expected = upright(orientation)
    assert mapped.photo.image.shape[:2] == expected.shape
    np.testing.assert_allclose(mapped.photo.image[..., 0], expected / 255, atol=0.03)
    assert mapped.map is not None, notes
    made = develop.fitted(np.ascontiguousarray(mapped.map.disparity), expected.shape)
    likeness = np.corrcoef(made.ravel(), expected.ravel())[0, 1]
    assert likeness > 0.98
    return notes


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("way", WAYS)
def test_own_depth(tmp_path, way, orientation):
    suffix, data = way(orientation)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(data)
    (note,) = check(path, orientation)
    assert "used, " in note


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_own_depth_of_a_heic_that_nothing_turns(tmp_path, orientation):
    path = tmp_path / "a.heic"
    path.write_bytes(as_heic_with_depth_of_the_sensor(orientation)[1])
    check(path, orientation)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["npy", "png"])
def test_files_that_lie_upright(tmp_path, orientation, suffix):
    path, place = plain(tmp_path, orientation), tmp_path / f"m.{suffix}"
    values = np.ascontiguousarray(upright(orientation)[::2, ::2])
    if suffix == "npy":
        np.save(place, values)
    else:
        Image.fromarray(values).save(place)
    notes = check(path, orientation, disparity=place)
    said = f"d2f: note: {place}: taken as upright, though the photograph was turned"
    assert (said in notes) == (orientation in (2, 3, 4))


@pytest.mark.parametrize("orientation", range(5, 9))
def test_files_that_lie_like_the_sensor(tmp_path, orientation):
    path, place = plain(tmp_path, orientation), tmp_path / "m.npy"
    np.save(place, ramp())
    notes = check(path, orientation, disparity=place)
    assert f"d2f: note: {place}: turned like the photograph" in notes


@pytest.mark.parametrize("orientation", range(1, 9))
def test_files_that_say_how_they_lie(tmp_path, orientation):
    path, place = plain(tmp_path, orientation), tmp_path / "m.png"
    Image.fromarray(ramp()).save(place, exif=tag(orientation))
    check(path, orientation, disparity=place)


@pytest.fixture(scope="module")
def bright_is_near(tmp_path_factory):
    return str(save_bright_is_near(tmp_path_factory.mktemp("network") / "depth.onnx"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "avif"])
def test_depth_networks(tmp_path, bright_is_near, orientation, kind):
    check(plain(tmp_path, orientation, kind), orientation, depth_model=bright_is_near)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_depth_networks_by_name(tmp_path, bright_is_near, orientation):
    named = f"depth-anything-v2-small={bright_is_near}"
    check(plain(tmp_path, orientation), orientation, depth_model=named)


class SeesBrightness(FakeD2F):
    """Networks that call what is bright near."""

    def __call__(self, image, **options):
        out = super().__call__(image, **options)
        small = develop.fitted(np.asarray(image[..., 0]), out.defocus.shape)
        return out._replace(defocus=1 - small)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_networks(tmp_path, monkeypatch, orientation):
    monkeypatch.setattr(pipeline, "load", lambda path=None: SeesBrightness())
    path = plain(tmp_path, orientation)
    assert batch.write_map(str(path), MapSettings()) == 0
    stored = depth_io.read_map(tmp_path / "a_depth.png").values
    expected = upright(orientation)
    assert stored.shape == tuple(
        round(64 * np.ceil(max(expected.shape) / 128) * side / max(expected.shape))
        for side in expected.shape
    )
    made = develop.fitted(stored, expected.shape)
    assert np.corrcoef(made.ravel(), expected.ravel())[0, 1] > 0.98
