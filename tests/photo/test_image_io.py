import io
import os
import warnings

import imagecodecs
import jax
import numpy as np
import OpenEXR
import pillow_heif
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from d2f_jax.photo import decoders
from d2f_jax.photo.image_io import Photo, read_photo, write_photo
from tests.fakes import bomb

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def scene(height=24, width=32, channels=3, seed=0):
    """Smooth colours, so that lossy formats stay close."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    parts = [x, y, 0.5 * (x + y), 0.2 + 0.6 * x * y][:channels]
    return np.stack(parts, axis=-1).astype(np.float32)


def bytes_of(picture, format, **options):
    out = io.BytesIO()
    if format == "HEIF":
        pillow_heif.from_pillow(picture).save(out)
    else:
        picture.save(out, format, **options)
    return out.getvalue()


def as_8bit(values):
    return np.rint(values * 255).astype(np.uint8)


def as_16bit(values):
    return np.rint(values * 65535).astype(np.uint16)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("a.png", 0),
        ("a.tif", 0),
        ("a.TIFF", 0),
        ("a.jpg", 3 / 255),
        ("a.bmp", 0),
        ("a.webp", 10 / 255),
    ],
)
def test_eight_bits_come_back(tmp_path, name, tolerance):
    image = as_8bit(scene()) / np.float32(255)
    write_photo(tmp_path / name, Photo(image))
    back = read_photo(tmp_path / name)
    assert back.image.dtype == np.float32
    assert back.bits == 8
    assert back.alpha is None
    np.testing.assert_allclose(back.image, image, atol=tolerance + 1e-6)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_tall_pictures_come_back_and_jax_shares_their_memory(tmp_path):
    image = as_8bit(scene(600, 20)) / np.float32(255)
    write_photo(tmp_path / "a.png", Photo(image * 1.2 - 0.1))
    back = read_photo(tmp_path / "a.png").image
    np.testing.assert_allclose(back, np.clip(image * 1.2 - 0.1, 0, 1), atol=0.51 / 255)
    shared = jax.device_put(back, jax.devices("cpu")[0])
    assert shared.unsafe_buffer_pointer() == back.ctypes.data


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_sixteen_bits_come_back(tmp_path, name, alpha):
    values = as_16bit(scene(channels=4)) / np.float32(65535)
    photo = Photo(values[..., :3], values[..., 3] if alpha else None, 16, icc=SRGB)
    write_photo(tmp_path / name, photo)
    back = read_photo(tmp_path / name)
    assert back.bits == 16
    assert back.icc == SRGB
    np.testing.assert_allclose(back.image, photo.image, atol=1e-7)
    if alpha:
        np.testing.assert_allclose(back.alpha, photo.alpha, atol=1e-7)
    else:
        assert back.alpha is None


def test_sixteen_bits_are_read_by_others(tmp_path):
    write_photo(tmp_path / "a.png", Photo(scene(), bits=16, icc=SRGB))
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.info["icc_profile"] == SRGB
        np.testing.assert_allclose(np.asarray(picture) / 255, scene(), atol=1.01 / 255)


def test_floating_point_tiff_comes_back(tmp_path):
    write_photo(tmp_path / "a.tif", Photo(scene(), bits=32))
    back = read_photo(tmp_path / "a.tif")
    assert back.bits == 32
    np.testing.assert_array_equal(back.image, scene())


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_alpha_comes_back(tmp_path, name):
    values = as_8bit(scene(channels=4)) / np.float32(255)
    write_photo(tmp_path / name, Photo(values[..., :3], values[..., 3]))
    np.testing.assert_allclose(read_photo(tmp_path / name).alpha, values[..., 3], atol=1e-6)


def test_jpeg_lays_a_transparent_picture_on_white(tmp_path):
    write_photo(tmp_path / "a.jpg", Photo(scene() * 0, scene()[..., 0] * 0))
    assert read_photo(tmp_path / "a.jpg").image.min() > 0.99


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr"])
def test_other_colour_modes_become_rgb(tmp_path, mode):
    picture = Image.fromarray(as_8bit(scene())).convert(mode)
    kind = "tif" if mode in ("CMYK", "YCbCr") else "png"
    picture.save(tmp_path / f"a.{kind}")
    photo = read_photo(tmp_path / f"a.{kind}")
    np.testing.assert_allclose(
        photo.image, np.asarray(picture.convert("RGB")) / np.float32(255), atol=1.01 / 255
    )
    assert (photo.alpha is not None) == (mode == "LA")


def test_palette_transparency_is_alpha(tmp_path):
    picture = Image.fromarray(as_8bit(scene())).quantize(8)
    picture.save(tmp_path / "a.png", transparency=0)
    photo = read_photo(tmp_path / "a.png")
    np.testing.assert_array_equal(photo.alpha == 0, np.asarray(picture) == 0)


@pytest.mark.parametrize("channels", [1, 2])
def test_grey_of_sixteen_bits_becomes_rgb(tmp_path, channels):
    grey = as_16bit(scene(channels=2))[..., :channels]
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(np.ascontiguousarray(grey)))
    photo = read_photo(tmp_path / "a.png")
    assert photo.bits == 16
    for channel in range(3):
        np.testing.assert_allclose(photo.image[..., channel], grey[..., 0] / 65535, atol=1e-7)
    if channels == 2:
        np.testing.assert_allclose(photo.alpha, grey[..., 1] / 65535, atol=1e-7)


@pytest.mark.parametrize("layout", ["planes", "white is zero", "premultiplied"])
def test_tiff_layouts(tmp_path, layout):
    values = as_16bit(scene(channels=4) * 0.5 + 0.25)
    expected = values[..., :3] / 65535
    path = tmp_path / "a.tif"
    if layout == "planes":
        planes = np.moveaxis(values[..., :3], -1, 0)
        tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate")
    elif layout == "white is zero":
        tifffile.imwrite(path, 65535 - values[..., 0], photometric="miniswhite")
        expected = values[..., :1].repeat(3, axis=-1) / 65535
    else:
        covered = values.copy()
        covered[..., :3] = np.rint(values[..., :3] * (values[..., 3:] / 65535))
        tifffile.imwrite(path, covered, photometric="rgb", extrasamples=["assocalpha"])
    np.testing.assert_allclose(read_photo(path).image, expected, atol=5e-5)


def test_grey_and_ink_profiles_do_not_outlive_their_colours(tmp_path):
    grey_profile = bytearray(SRGB)
    grey_profile[16:20] = b"GRAY"  # names greys; useless as a profile, and recognised as such
    Image.fromarray(as_8bit(scene())[..., 0]).save(
        tmp_path / "a.png", icc_profile=bytes(grey_profile)
    )
    photo = read_photo(tmp_path / "a.png")
    assert photo.icc is None
    np.testing.assert_allclose(photo.image[..., 0], scene()[..., 0], atol=1 / 255)


def test_a_profile_of_other_colours_is_used(tmp_path):
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    muted = 0.35 + 0.3 * scene()  # 8-bit Lab is coarse where colours are strong
    picture = Image.fromarray(as_8bit(muted))
    picture = ImageCms.profileToProfile(picture, srgb, lab, outputMode="LAB")
    profile = ImageCms.ImageCmsProfile(lab).tobytes()
    picture.save(tmp_path / "a.tif", icc_profile=profile)
    photo = read_photo(tmp_path / "a.tif")
    assert photo.icc is None
    np.testing.assert_allclose(photo.image, muted, atol=4 / 255)
    picture.info.clear()
    picture.save(tmp_path / "b.tif")
    with pytest.raises(ValueError, match="Lab colours without a usable profile"):
        read_photo(tmp_path / "b.tif")


def test_exr_is_linear_and_unbounded(tmp_path):
    image = scene() * 20
    write_photo(tmp_path / "a.exr", Photo(image, scene()[..., 0], bits=32, linear=True))
    back = read_photo(tmp_path / "a.exr")
    assert back.linear
    assert back.bits == 32
    np.testing.assert_allclose(back.image, image, rtol=1e-3)
    np.testing.assert_allclose(back.alpha, scene()[..., 0], rtol=1e-3)


def test_exr_without_colours_is_refused(tmp_path):
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"Z": scene()[..., 0].copy()}).write(str(tmp_path / "a.exr"))
    with pytest.raises(ValueError, match=r"a.exr: channels Z; R, G, B"):
        read_photo(tmp_path / "a.exr")


def tiff_bomb():
    out = io.BytesIO()
    tifffile.imwrite(out, as_16bit(scene()), photometric="rgb")
    out.seek(0)
    with tifffile.TiffFile(out, mode="r+") as tiff:
        tiff.pages.first.tags[256].overwrite(2**15 + 1)
        tiff.pages.first.tags[257].overwrite(2**15 + 1)
    return out.getvalue()


GOOD = {
    "a.jpg": bytes_of(Image.fromarray(as_8bit(scene(64, 64))), "JPEG"),
    "a.png": bytes_of(Image.fromarray(as_8bit(scene(64, 64))), "PNG"),
    "16.png": imagecodecs.png_encode(as_16bit(scene(64, 64))),
    "a.tif": bytes_of(Image.fromarray(as_8bit(scene(64, 64))), "TIFF", compression="tiff_lzw"),
    "a.webp": bytes_of(Image.fromarray(as_8bit(scene(64, 64))), "WEBP"),
    "a.heic": bytes_of(Image.fromarray(as_8bit(scene(64, 64))), "HEIF"),
    "a.avif": bytes_of(Image.fromarray(as_8bit(scene(64, 64))), "AVIF"),
    "a.gif": bytes_of(Image.fromarray(as_8bit(scene(64, 64))), "GIF"),
    "a.jp2": bytes_of(Image.fromarray(as_8bit(scene(64, 64))), "JPEG2000"),
}
BAD = {
    "text.jpg": (b"hello, this is no picture\n", "not a picture of a known kind"),
    "empty.jpg": (b"", "empty"),
    "half.jpg": (GOOD["a.jpg"][: len(GOOD["a.jpg"]) // 2], "damaged or cut short"),
    "half.png": (GOOD["a.png"][: len(GOOD["a.png"]) // 2], "damaged or cut short"),
    "half16.png": (GOOD["16.png"][: len(GOOD["16.png"]) // 2], "damaged or cut short"),
    "half.tif": (GOOD["a.tif"][: len(GOOD["a.tif"]) // 2], "damaged or cut short"),
    "half.webp": (GOOD["a.webp"][: len(GOOD["a.webp"]) // 2], "damaged or cut short"),
    "half.heic": (GOOD["a.heic"][: len(GOOD["a.heic"]) // 2], "damaged or cut short"),
    "half.avif": (GOOD["a.avif"][: len(GOOD["a.avif"]) // 2], "damaged or cut short|not a picture"),
    "half.gif": (GOOD["a.gif"][: len(GOOD["a.gif"]) // 2], "damaged or cut short"),
    "half.jp2": (GOOD["a.jp2"][: len(GOOD["a.jp2"]) // 2], "damaged or cut short"),
    "bomb.png": (bomb(8), "pixels"),
    "bomb16.png": (bomb(16), "32768x32768 pixels, more than the 134 million allowed"),
    "bomb.tif": (tiff_bomb(), "32769x32769 pixels"),
    "text.exr": (b"hello", "not a readable EXR"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_say_what_and_where_in_one_line(tmp_path, name):
    data, message = BAD[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        read_photo(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ValueError, match=r"none.jpg: no such file"):
        read_photo(tmp_path / "none.jpg")
    with pytest.raises(ValueError, match=r": a folder, not a file"):
        read_photo(tmp_path)
    with pytest.raises(ValueError, match=r": cannot read it"):
        read_photo("a\0b.jpg")


def test_a_picture_within_pillows_warning_range_is_refused_quietly(tmp_path, monkeypatch):
    monkeypatch.setattr(decoders, "MAX_PIXELS", 500)
    (tmp_path / "a.png").write_bytes(GOOD["a.png"])
    with pytest.raises(ValueError, match="64x64 pixels"):
        read_photo(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((8, 8, 3), np.nan, np.float32), "192 values are NaN or infinite"),
        (np.full((8, 8, 3), 7, np.float32), "scene-linear pictures go into EXR"),
        (np.full((8, 8, 3), 7, np.int16), "int16 values"),
    ],
)
def test_tiff_values_without_meaning_are_refused(tmp_path, values, message):
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
    with pytest.raises(ValueError, match=message):
        read_photo(tmp_path / "a.tif")


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(GOOD)), cut=st.floats(0, 1), flips=st.lists(st.floats(0, 1)))
def test_no_damage_leads_to_anything_but_a_value_error(tmp_path_factory, name, cut, flips):
    data = bytearray(GOOD[name])
    for place in flips:
        data[int(place * (len(data) - 1))] ^= 0x55
    path = tmp_path_factory.mktemp("damage") / name
    path.write_bytes(bytes(data[: int(cut * len(data))]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            photo = read_photo(path)
        except ValueError as error:
            assert str(error).startswith(str(path))  # noqa: PT017 - any damage may be harmless
        else:
            assert photo.image.shape[-1] == 3


def test_failed_writes_leave_nothing(tmp_path):
    image = np.zeros((2, 20000, 3), np.float32)
    with pytest.raises(ValueError, match="cannot write it as WEBP"):
        write_photo(tmp_path / "a.webp", Photo(image))
    with pytest.raises(ValueError, match=r"cannot write .gif; choose one of .jpg"):
        write_photo(tmp_path / "a.gif", Photo(image))
    with pytest.raises(ValueError, match="a file without ending"):
        write_photo(tmp_path / "a", Photo(image))
    with pytest.raises(ValueError, match="scene-linear"):
        write_photo(tmp_path / "a.exr", Photo(image))
    with pytest.raises(ValueError, match=r"a.png: cannot write there: No such file"):
        write_photo(tmp_path / "missing" / "a.png", Photo(image))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    write_photo(tmp_path / "a.png", Photo(scene()))
    before = (tmp_path / "a.png").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ValueError, match="No space left on device"):
        write_photo(tmp_path / "a.png", Photo(scene() * 0))
    assert (tmp_path / "a.png").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
