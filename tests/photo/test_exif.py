import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from d2f_jax.photo import exif
from d2f_jax.photo.image_io import Photo, read_photo, write_photo
from tests.fakes import make_picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PICTURE = make_picture(24, 32)


def camera_exif(orientation=1):
    tags = Image.Exif()
    tags[271] = "Maker"
    tags[274] = orientation
    tags[305] = "Firmware 1"
    tags[33432] = "A. Photographer"
    tags.get_ifd(34665).update({33437: 2.8, 40962: 32, 40963: 24, 36867: "2024:01:02 03:04:05"})
    tags[34665] = tags.get_ifd(34665)
    tags.get_ifd(34853).update({1: "N", 2: (48.0, 8.0, 30.0)})
    tags[34853] = tags.get_ifd(34853)
    return tags


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png16", "tif16"])
def test_orientation_is_applied_and_reset(tmp_path, orientation, kind):
    tags = camera_exif(orientation)
    picture = Image.fromarray(PICTURE)
    picture.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture))
    source = tmp_path / f"a.{kind[:3]}"
    if kind == "jpg":
        picture.save(source, exif=tags.tobytes(), quality=98, subsampling=0)
    else:  # the same EXIF with 16-bit pixels; orientation as found
        block = tags.tobytes().removeprefix(b"Exif\0\0")
        write_photo(source, Photo(PICTURE / np.float32(255), bits=16, exif=block))
    photo = read_photo(source)
    np.testing.assert_allclose(photo.image, expected / 255, atol=0.05 if kind == "jpg" else 1e-5)

    target = tmp_path / "b.jpg"
    write_photo(target, photo)
    with Image.open(target) as written:
        tags = written.getexif()
        assert tags[274] == 1
        assert tags[271] == "Maker"
        assert tags.get_ifd(34665)[40962] == written.width
        assert tags.get_ifd(34665)[40963] == written.height
    np.testing.assert_allclose(read_photo(target).image, photo.image, atol=0.05)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", ["b.jpg", "b.png", "b.webp", "b.tif"])
def test_exif_and_profile_survive(tmp_path, name, bits):
    Image.fromarray(PICTURE).save(
        tmp_path / "a.jpg", exif=camera_exif(6).tobytes(), icc_profile=SRGB
    )
    write_photo(tmp_path / name, read_photo(tmp_path / "a.jpg")._replace(bits=bits))
    again = read_photo(tmp_path / name)  # and through a second trip
    write_photo(tmp_path / f"2{name}", again)
    for file in (name, f"2{name}"):
        if bits == 16 and name == "b.tif":  # Pillow cannot open it
            tags = Image.Exif()
            tags.load((tmp_path / file).read_bytes())
            with tifffile.TiffFile(tmp_path / file) as tiff:
                icc = tiff.pages.first.tags.valueof(34675)
        else:
            with Image.open(tmp_path / file) as picture:
                tags, icc = picture.getexif(), picture.info["icc_profile"]
                tags.get_ifd(34665)  # read before the file is closed
                tags.get_ifd(34853)
        assert icc == SRGB
        assert (tags[271], tags[305], tags[33432]) == ("Maker", "Firmware 1", "A. Photographer")
        assert tags[274] == 1
        assert float(tags.get_ifd(34665)[33437]) == pytest.approx(2.8)
        assert tags.get_ifd(34665)[36867] == "2024:01:02 03:04:05"
        assert tags.get_ifd(34665)[40962] == 24
        assert tags.get_ifd(34853)[1] == "N"


def test_damaged_exif_does_not_lose_the_picture(tmp_path):
    block = bytearray(camera_exif(6).tobytes())
    block[14:] = b"\xff" * (len(block) - 14)
    Image.fromarray(PICTURE).save(tmp_path / "a.jpg", exif=bytes(block))
    photo = read_photo(tmp_path / "a.jpg")
    write_photo(tmp_path / "b.jpg", photo)
    assert read_photo(tmp_path / "b.jpg").image.shape == photo.image.shape


def test_the_thumbnail_and_the_old_file_s_layout_do_not_stay():
    tags = camera_exif()
    tags[256], tags[259], tags[34675] = 32, 6, b"profile"
    tags.get_ifd(1).update({513: 0, 514: 3})
    kept = exif.parse(exif.cleaned(tags, (24, 32)))
    assert set(kept) == {271, 274, 305, 33432, 34665, 34853}
    assert not kept.get_ifd(1)


def test_no_exif_stays_no_exif():
    assert exif.cleaned(Image.Exif(), (24, 32)) == b""
    assert exif.append_to_tiff(b"II*\0", b"") == b"II*\0"


def test_garbage_counts_as_no_exif():
    for data in (b"", b"hello, no TIFF structure", b"II*\0\xff\xff\xff\xff"):
        assert len(exif.parse(data)) == 0
