from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from d2f_jax import color
from d2f_jax.training.data import photos


def test_reading_gives_floats_and_turns_by_exif(tmp_path):
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_allclose(photos.read(tmp_path / "a.png"), pixels / np.float32(255))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    Image.fromarray(pixels).save(tmp_path / "b.png", exif=exif)
    turned = np.rot90(pixels, -1) / np.float32(255)
    np.testing.assert_allclose(photos.read(tmp_path / "b.png"), turned)
    assert photos.size(tmp_path / "b.png") == (3, 2)


def test_cutouts_have_alpha(tmp_path):
    pixels = np.zeros((4, 5, 4), np.uint8)
    pixels[1:3, 1:4] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture, alpha = photos.read_cutout(tmp_path / "a.png")
    np.testing.assert_array_equal(alpha, pixels[..., 3] / 255)
    assert picture.shape == (4, 5, 3)
    Image.fromarray(pixels[..., :3]).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"b.png: has no alpha, so nothing is cut out of it"):
        photos.read_cutout(tmp_path / "b.png")


def test_the_curve_equals_the_one_in_color():
    values = np.linspace(0, 1, 300, dtype=np.float32)
    np.testing.assert_allclose(
        photos.decode(values), color.srgb_to_linear(jnp.asarray(values)), atol=1e-6
    )
    np.testing.assert_allclose(
        photos.encode(values), color.linear_to_srgb(jnp.asarray(values)), atol=1e-6
    )
    np.testing.assert_allclose(photos.encode(np.array([-1.0, 7.0])), [0, 1], atol=1e-6)


def test_files_are_listed_in_the_order_of_their_numbers(tmp_path):
    for name in ("10.png", "9.png", "b.png", "a.png", "notes.txt"):
        (tmp_path / name).touch()
    names = [path.name for path in photos.listed(tmp_path)]
    assert names == ["9.png", "10.png", "a.png", "b.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n half", "not a picture of a known kind"),
        (b"text", "not a picture of a known kind"),
    ],
)
def test_unreadable_files_are_named(tmp_path, content, message):
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"x\.png: {message}"):
        photos.read(path)


def test_a_torn_jpeg_is_found_by_its_size(tmp_path):
    path = tmp_path / "x.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(ValueError, match=r"x\.jpg: the picture is damaged or cut short"):
        photos.size(path)


def test_one_fault_is_one():
    with pytest.raises(ValueError, match=r"^1 fault in the folder:\n  a$"):
        photos.refuse(["a"], "the folder")
    with pytest.raises(ValueError, match=r"^2 faults in the folder:\n  a\n  b$"):
        photos.refuse(["a", "b"], "the folder")
    photos.refuse([], "the folder")


def test_missing_things_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no\.png: no such file"):
        photos.read(tmp_path / "no.png")
    with pytest.raises(ValueError, match="is not a folder"):
        photos.listed(Path(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="holds no pictures"):
        photos.listed(tmp_path)
