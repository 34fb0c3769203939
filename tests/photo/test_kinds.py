"""What phones and cameras write beside JPEG, PNG and TIFF."""

import io

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageOps

from d2f_jax.photo import image_io, jpeg, xmp
from d2f_jax.photo.image_io import Photo, read_photo, write_photo
from tests.fakes import make_picture
from tests.photo.test_exif import SRGB, camera_exif

PICTURE = make_picture(64, 96)

PACKET = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"
 xmp:Rating="5" tiff:Orientation="6" hdrgm:Version="1.0">
<Depth:Data xmlns:Depth="http://ns.google.com/photos/1.0/depthmap/">AAAA</Depth:Data>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def encoded(format, picture=PICTURE, **options):
    out = io.BytesIO()
    if format == "HEIC":
        pillow_heif.from_pillow(Image.fromarray(picture)).save(out, quality=90, **options)
    else:
        Image.fromarray(picture).save(out, format, **options)
    return out.getvalue()


def written(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["HEIC", "AVIF", "WEBP"])
def test_orientation_is_applied_exactly_once(tmp_path, kind, orientation):
    """HEIC and AVIF say it twice, in EXIF and as a property of the container."""
    turned = Image.fromarray(PICTURE)
    turned.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(turned)) / 255
    tags = camera_exif(orientation).tobytes()
    data = encoded(kind, exif=tags, icc_profile=SRGB)
    photo = read_photo(written(tmp_path, f"a.{kind.lower()}", data))
    np.testing.assert_allclose(photo.image, expected, atol=0.06)
    assert photo.orientation == orientation
    write_photo(tmp_path / "b.jpg", photo)
    with Image.open(tmp_path / "b.jpg") as back:
        assert back.size == expected.shape[1::-1]
        assert (back.getexif()[271], back.getexif().get(274, 1)) == ("Maker", 1)
        assert back.getexif().get_ifd(34665)[40962] == back.width
        assert back.info["icc_profile"] == SRGB


def test_ten_bits_of_a_heic_are_kept(tmp_path):
    values = np.linspace(0, 1023, 64 * 96).reshape(64, 96, 1).repeat(3, 2).astype(np.uint16)
    out = io.BytesIO()
    picture = pillow_heif.from_bytes("RGB;16", (96, 64), (values << 6).tobytes())
    picture.save(out, quality=-1, chroma=444, bit_depth=10)
    photo = read_photo(written(tmp_path, "a.HEIC", out.getvalue()))
    assert photo.bits == 16
    np.testing.assert_allclose(photo.image, values / 1023, atol=2.1 / 1023)
    assert (photo.image.min(), photo.image.max()) == (0, 1)


def test_transparent_heic(tmp_path):
    picture = np.dstack([PICTURE, np.full((64, 96), 128, np.uint8)])
    photo = read_photo(written(tmp_path, "a.heic", encoded("HEIC", picture)))
    np.testing.assert_allclose(photo.alpha, 128 / 255, atol=0.02)


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("a.heic", ".jpg"),
        ("a.HIF", ".jpg"),
        ("a.gif", ".png"),
        ("a.jp2", ".png"),
        ("a.mpo", ".jpg"),
        ("a.JPG", ".JPG"),
        ("a.jfif", ".jfif"),
        ("a.avif", ".avif"),
        ("a.bmp", ".bmp"),
        ("a.xyz", ".png"),
    ],
)
def test_results_have_an_ending_that_can_be_written(tmp_path, name, result):
    suffix = image_io.result_suffix(tmp_path / name)
    assert suffix == result
    write_photo(tmp_path / f"b{suffix}", Photo(PICTURE / np.float32(255)))


def test_the_first_picture_of_an_animation_is_taken_and_said(tmp_path):
    frames = [Image.fromarray(PICTURE), Image.fromarray(255 - PICTURE)]
    for name in ("a.gif", "a.webp", "a.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        photo = read_photo(tmp_path / name)
        np.testing.assert_allclose(photo.image, PICTURE / 255, atol=0.15)
        assert photo.notes == ("the first of 2 pictures in the file",)
    frames[0].save(tmp_path / "a.mpo", "MPO", save_all=True, append_images=frames[1:])
    photo = read_photo(tmp_path / "a.mpo")
    np.testing.assert_allclose(photo.image, PICTURE / 255, atol=0.1)
    assert photo.notes == ()


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_2000(tmp_path, bits):
    top = 2**bits - 1
    values = np.rint(PICTURE / 255 * top).astype(np.uint8 if bits == 8 else np.uint16)
    data = imagecodecs.jpeg2k_encode(values, bitspersample=bits, level=0, reversible=True)
    photo = read_photo(written(tmp_path, "a.jp2", bytes(data)))
    assert photo.bits == (8 if bits == 8 else 16)
    np.testing.assert_allclose(photo.image, values / top, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"color_primaries": 12}, "wide colours without a profile, which are taken for sRGB"),
        ({"transfer_characteristics": 16}, "an HDR picture, whose values are taken for those of a"),
        ({"color_primaries": 1}, ""),
    ],
)
def test_heic_of_other_colours_says_so(tmp_path, options, note):
    data = encoded("HEIC", save_nclx_profile=True, **options)
    notes = read_photo(written(tmp_path, "a.heic", data)).notes
    assert " ".join(notes).startswith(note)
    assert len(notes) == bool(note)


# --- JPEG without its end -------------------------------------------------------------------------


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("cut", [1, 2])
def test_a_jpeg_without_its_end_is_read_with_a_note(tmp_path, progressive, cut):
    data = encoded("JPEG", quality=95, progressive=progressive)
    whole = read_photo(written(tmp_path, "a.jpg", data))
    photo = read_photo(written(tmp_path, "b.jpg", data[:-cut]))
    np.testing.assert_array_equal(photo.image, whole.image)
    assert photo.notes == ("its last bytes are missing; no pixel is",)


def test_a_jpeg_without_its_last_pixels_says_how_many_rows(tmp_path):
    data = encoded("JPEG", quality=95)
    photo = read_photo(written(tmp_path, "b.jpg", data[:-20]))
    (note,) = photo.notes
    rows = int(note.split("last ")[2].split()[0])
    whole = read_photo(written(tmp_path, "a.jpg", data)).image
    np.testing.assert_array_equal(photo.image[:-rows], whole[:-rows])
    assert 1 <= rows <= 17


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_a_jpeg_that_is_cut_is_refused(tmp_path, progressive, share):
    data = encoded("JPEG", make_picture(256, 384), quality=95, progressive=progressive)
    path = written(tmp_path, "a.jpg", data[: int(share * len(data))])
    with pytest.raises(ValueError, match="damaged or cut short"):
        read_photo(path)


def test_the_pictures_of_a_file_follow_one_another():
    one, two = encoded("JPEG"), encoded("JPEG", 255 - PICTURE, progressive=True)
    data = one + bytes(7) + two + b"trailer"
    places = [(picture.start, picture.end) for picture in jpeg.pictures(data)]
    assert places == [(0, len(one)), (len(one) + 7, len(one) + 7 + len(two))]
    assert [p.end for p in jpeg.pictures(one[:-9])] == [len(one) - 9]
    assert len(list(jpeg.pictures(jpeg.START * 1000))) <= jpeg.MAX_PICTURES


# --- What is said about HDR, and XMP --------------------------------------------------------------


def test_a_gain_map_is_dropped_and_said(tmp_path):
    data = encoded("JPEG", xmp=PACKET) + encoded("JPEG", PICTURE[:32])
    photo = read_photo(written(tmp_path, "a.jpg", data))
    assert photo.notes == ("holds a gain map for HDR screens, which the result has not",)
    write_photo(tmp_path / "b.jpg", photo)
    assert read_photo(tmp_path / "b.jpg").notes == ()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "avif"])
def test_xmp_is_carried_without_what_describes_the_old_file(tmp_path, suffix, bits):
    for kind in ("JPEG", "HEIC"):
        photo = read_photo(written(tmp_path, f"a.{kind}", encoded(kind, xmp=PACKET)))
        assert b"xmp:Rating" in photo.xmp
        for gone in (b"Orientation", b"hdr", b"depthmap"):
            assert gone not in photo.xmp
        write_photo(tmp_path / f"b.{suffix}", photo._replace(bits=bits))
        back = read_photo(tmp_path / f"b.{suffix}")
        assert back.xmp == photo.xmp
        assert back.image.shape == photo.image.shape


BOMB = b'<!DOCTYPE a [<!ENTITY b "boom"><!ENTITY c "&b;&b;&b;&b;">]><a>&c;&c;</a>'


@pytest.mark.parametrize(
    "packet",
    [
        BOMB,
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b"<a>" * 5000 + b"</a>" * 5000,
        b"<a",
        b"\xff\xfe",
        b"   ",
        b"<a xmlns:ns1='u' ns1:b='1'/>" + b"<b/>",
    ],
)
def test_harmful_xmp_counts_as_none(tmp_path, packet):
    photo = read_photo(written(tmp_path, "a.jpg", encoded("JPEG", xmp=packet)))
    assert photo.xmp == b""
    with pytest.raises(ValueError, match="its XMP"):
        xmp.parse(packet)


def test_long_xmp_is_left_out(tmp_path):
    packet = PACKET.replace(b'Rating="5"', b'Label="' + b"x" * 70_000 + b'"')
    photo = read_photo(written(tmp_path, "a.webp", encoded("WEBP", xmp=packet)))
    assert len(photo.xmp) > 70_000
    write_photo(tmp_path / "b.jpg", photo)
    assert read_photo(tmp_path / "b.jpg").xmp == b""


@pytest.mark.parametrize("brand", [b"qt  ", b"isom"])
def test_films_are_no_pictures(tmp_path, brand):
    data = (24).to_bytes(4) + b"ftyp" + brand + bytes(4) + brand * 2 + bytes(100)
    with pytest.raises(ValueError, match="not a picture of a known kind"):
        read_photo(written(tmp_path, "a.mov", data))
