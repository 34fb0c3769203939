"""Depth inside photographs: every way of storing it, and files that lie."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2f_jax import cli
from d2f_jax.photo import depth_io, disparity, image_io, own_depth
from tests.fakes import listing, make_picture
from tests.photo import containers
from tests.photo.containers import ramp, representation

PICTURE = make_picture(128, 192)
VALUES = ramp() / np.float32(255)
APPLE = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x0f\0\x02\0\0\0\x06\0\0\0\x1a\0\0\0\0Apple\0"


def found(data):
    out = own_depth.find(data)
    assert out is not None
    return out


def close(values, expected):
    """To two levels of eight bits, which are smoothed, and one of coding; inverses bend those."""
    np.testing.assert_allclose(values, expected, atol=np.ptp(expected) * 12 / 255)


@pytest.mark.parametrize(
    ("metadata", "exif", "convention", "expected"),
    [
        (representation(1, d_min=1.5, d_max=4.5), APPLE, "inverse_depth", 1.5 + 3 * VALUES),
        (representation(1, d_min=-2, d_max=6), b"", "disparity", 8 * VALUES - 2),
        (representation(0, z_near=0.5, z_far=4), b"", "inverse_depth", 0.25 + 1.75 * VALUES),
        (representation(2, z_near=0.5, z_far=4), b"", "metres", 0.5 + 3.5 * VALUES),
        (representation(2), b"", "near_is_dark", VALUES),
        (representation(3, d_min=1, d_max=4), APPLE, "disparity", VALUES),
        (representation(1, d_min=4, d_max=1), APPLE, "disparity", VALUES),
        (b"", APPLE, "disparity", VALUES),
    ],
)
def test_heic(metadata, exif, convention, expected):
    data = containers.heic(PICTURE, ramp(), metadata=metadata, exif=exif)
    depth = found(data).map
    assert depth.convention == convention
    close(depth.values, expected)


NEAR, FAR = 2.0, 10.0
INVERSE = (FAR - VALUES * (FAR - NEAR)) / (FAR * NEAR)
LINEAR = 1 / (NEAR + VALUES * (FAR - NEAR))


@pytest.mark.parametrize("make", [containers.gdepth, containers.dynamic])
@pytest.mark.parametrize(
    ("fields", "convention", "expected"),
    [
        ('Format="RangeInverse" Near="2" Far="10" Units="m"', "inverse_depth", INVERSE),
        ('Format="RangeInverse" Near="2" Far="10"', "disparity", INVERSE),
        ('Format="RangeLinear" Near="2" Far="10" Units="m"', "inverse_depth", LINEAR),
        ('Format="RangeLinear" Near="2000" Far="10000" Units="mm"', "inverse_depth", LINEAR),
        ('Format="RangeLinear" Near="2" Far="1"', "near_is_dark", VALUES),
        ('Format="RangeInverse" Near="x" Far="nan"', "near_is_dark", VALUES),
    ],
)
def test_google(make, fields, convention, expected):
    space = "GDepth" if make is containers.gdepth else "DepthMap"
    fields = " ".join(f"{space}:{field}" for field in fields.split())
    depth = found(make(PICTURE, ramp(), fields=fields)).map
    assert depth.convention == convention
    close(depth.values, expected)


@pytest.mark.parametrize(
    ("kind", "convention"), [("disparity", "inverse_depth"), ("depth", "metres")]
)
def test_apple_in_jpeg(kind, convention):
    depth = found(containers.apple(PICTURE, ramp(), kind=kind)).map
    assert depth.convention == convention
    close(depth.values, 1 + 2 * VALUES)
    assert found(containers.apple(PICTURE, ramp(), low=3, high=1)).map.convention in (
        "disparity",
        "near_is_dark",
    )
    assert own_depth.find(containers.apple(PICTURE, ramp(), kind="portraiteffectsmatte")) is None


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("trailer", [b"", b"a private trailer"])
def test_listed_pictures_are_found_behind_the_first(padding, trailer):
    data = containers.dynamic(
        PICTURE, ramp(), padding=padding, original=PICTURE[::-1], trailer=trailer
    )
    out = found(data)
    close(out.map.values, VALUES)
    np.testing.assert_allclose(out.original.image, PICTURE[::-1] / 255, atol=0.1)


def test_no_depth_is_none():
    for data in (
        containers.heic(PICTURE),
        containers.picture_bytes(PICTURE, "JPEG"),
        containers.picture_bytes(PICTURE, "AVIF"),
        containers.picture_bytes(PICTURE),
        containers.with_xmp(
            containers.picture_bytes(PICTURE, "JPEG"), b"<no XML", b"piece", length=9
        ),
        b"hello",
    ):
        assert own_depth.find(data) is None


def hostile():
    name = containers.GOOGLE["GDepth"].encode()
    entity = b'<!DOCTYPE a [<!ENTITY b "boom"><!ENTITY c "&b;&b;&b;">]><a x="%s">&c;</a>' % name
    deep = b"<a>" * 500 + name + b"</a>" * 500
    plain = containers.picture_bytes(PICTURE, "JPEG")
    main = containers.packet('GDepth:Near="1">', **containers.GOOGLE)
    extension = containers.packet('GDepth:Data="%s">' % ("A" * 900), **containers.GOOGLE)
    yield "entities", containers.with_xmp(plain, entity)
    yield "deep", containers.with_xmp(plain, deep)
    yield "no XML", containers.with_xmp(plain, b"<a" + name)
    yield "pieces longer than said", containers.with_xmp(plain, main, extension, length=2**32 - 1)
    yield "pieces shorter than said", containers.with_xmp(plain, main, extension, length=3)
    yield "no picture in base64", containers.with_xmp(plain, main, extension)
    yield "a directory of 4 GB", containers.dynamic(PICTURE, ramp(), length=2**32)
    yield "negative lengths", containers.dynamic(PICTURE, ramp(), length=-5)
    yield "lengths of nothing", containers.dynamic(PICTURE, ramp(), length="1e9")
    yield "endless numbers", containers.dynamic(PICTURE, ramp(), length="9" * 9999)
    yield "a short length", containers.dynamic(PICTURE, ramp(), length=40)
    yield "depth in colour", containers.gdepth(PICTURE, PICTURE)
    yield "cut depth of HEIC", containers.heic(PICTURE, ramp(), shift=2**31)


HOSTILE = dict(hostile())


@pytest.mark.parametrize("name", HOSTILE)
def test_files_that_lie_get_one_line_and_are_done_without(tmp_path, monkeypatch, capsys, d2f, name):
    with pytest.raises(ValueError, match="the depth inside cannot be used: ") as caught:
        own_depth.find(HOSTILE[name])
    assert "\n" not in str(caught.value)
    monkeypatch.chdir(tmp_path)
    suffix = "heic" if "HEIC" in name else "jpg"
    (tmp_path / f"a.{suffix}").write_bytes(HOSTILE[name])
    assert cli.main(["bokeh", f"a.{suffix}"]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "depth inside" in line]
    assert line.startswith(f"d2f: note: a.{suffix}: the depth inside cannot be used: ")
    assert listing(tmp_path) == [f"a.{suffix}", "a_bokeh.jpg"]
    assert len(d2f.calls) == 1


@pytest.mark.parametrize("refers_to", [2, 9])
def test_depth_that_belongs_to_itself_or_to_nothing(refers_to):
    """References in a circle end in a message, or in no depth."""
    data = containers.heic(PICTURE, ramp(), refers_to=refers_to)
    try:
        assert own_depth.find(data) is None
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either will do


@settings(max_examples=60, deadline=None)
@given(
    make=st.sampled_from(["heic", "gdepth", "dynamic", "apple"]),
    cut=st.floats(0, 1),
    flips=st.lists(st.floats(0, 1), max_size=8),
)
def test_no_damage_leads_to_anything_but_a_value_error(make, cut, flips):
    data = bytearray(GOOD[make])
    for place in flips:
        data[int(place * (len(data) - 1))] ^= 0x55
    try:
        own_depth.find(bytes(data[: int(cut * len(data))]))
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017 - any damage may be harmless


GOOD = {
    "heic": containers.heic(PICTURE, ramp(), metadata=representation(1, d_min=1, d_max=2)),
    "gdepth": containers.gdepth(PICTURE, ramp(), original=PICTURE),
    "dynamic": containers.dynamic(PICTURE, ramp(), original=PICTURE),
    "apple": containers.apple(PICTURE, ramp()),
    "plain": containers.picture_bytes(PICTURE, "JPEG"),
}


# --- Through the command --------------------------------------------------------------------------


@pytest.fixture
def phone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, data in GOOD.items():
        (tmp_path / f"{name}.{'heic' if name == 'heic' else 'jpg'}").write_bytes(data)
    return tmp_path


@pytest.mark.parametrize("name", ["heic.heic", "gdepth.jpg", "dynamic.jpg", "apple.jpg"])
def test_the_depth_inside_goes_through_the_lens(phone, lens, capsys, name):
    assert cli.main(["bokeh", name]) == 0
    (call,) = lens.calls
    seen = np.asarray(call.disparity)
    inverted = name in ("gdepth.jpg", "dynamic.jpg")  # without a range: dark is near
    expected = -VALUES if inverted else VALUES
    fitted = np.interp(np.arange(192), np.arange(96) * 2 + 0.5, expected[32])
    fitted = (fitted - expected.min()) / np.ptp(expected)
    np.testing.assert_allclose(seen[64], fitted, atol=0.05)
    out, err = capsys.readouterr()
    assert out == f"{name.split('.')[0]}_bokeh.jpg\n"
    assert f"{name}: " in err
    assert "used, 96x64 pixels" in err


def test_the_depth_inside_can_be_left(phone, lens, d2f, capsys):
    assert cli.main(["bokeh", "apple.jpg", "--no-own-depth"]) == 0
    assert (len(lens.calls), len(d2f.calls)) == (0, 1)
    assert "disparity" not in d2f.calls[0]
    assert capsys.readouterr().err == ""


def test_a_map_that_is_named_goes_before_the_depth_inside(phone, lens):
    np.save("m.npy", np.flip(ramp().astype(np.float32), 1))
    assert cli.main(["bokeh", "apple.jpg", "--disparity", "m.npy"]) == 0
    assert lens.calls[0].disparity[64, 10] > lens.calls[0].disparity[64, 170]


def test_a_named_map_or_the_networks_do_without(phone, lens, d2f):
    assert cli.main(["bokeh", "apple.jpg", "--renderer", "d2f"]) == 0
    assert d2f.calls[0]["disparity"].shape == (128, 192)
    assert cli.main(["bokeh", "apple.jpg", "--blades", "5"]) == 0
    assert len(lens.calls) == 1


def test_the_sharp_original_takes_the_place_of_what_the_phone_blurred(phone, lens, capsys):
    blurred = np.full_like(PICTURE, 128)
    (phone / "b.jpg").write_bytes(containers.gdepth(blurred, ramp(), original=PICTURE))
    assert cli.main(["bokeh", "b.jpg", "--output", "c.png"]) == 0
    done = image_io.read_photo("c.png").image
    np.testing.assert_allclose(done, 1 - PICTURE / 255, atol=0.1)  # the stand-in's negative
    assert "with the sharp original" in capsys.readouterr().err


def test_distances_need_a_unit(phone, lens, capsys):
    assert cli.main(["bokeh", "apple.jpg", "--focus", "0.5m"]) == 0
    assert cli.main(["bokeh", "gdepth.jpg", "--focus", "0.5m"]) == 2
    assert "focus 0.5m: the map has no unit" in capsys.readouterr().err.splitlines()[-1]


def test_the_sharp_original_under_a_named_map_is_said(phone, lens, capsys):
    np.save("m.npy", ramp().astype(np.float32))
    assert cli.main(["bokeh", "gdepth.jpg", "--disparity", "m.npy"]) == 0
    used = "the sharp original inside used (--no-own-depth takes the picture itself)"
    assert used in capsys.readouterr().err


def test_only_pictures_lose_a_gain_map(phone, lens, capsys):
    gain = '<rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"/>'
    (phone / "gain.jpg").write_bytes(GOOD["apple"] + gain.encode())
    assert cli.main(["bokeh", "gain.jpg"]) == 0
    assert "gain map" in capsys.readouterr().err
    assert cli.main(["depth", "gain.jpg"]) == 0
    assert "gain map" not in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["png", "npz"])
def test_the_map_is_written_and_read_again(phone, lens, capsys, suffix):
    assert cli.main(["depth", "apple.jpg", "--output", f"m.{suffix}"]) == 0
    out, err = capsys.readouterr()
    assert out == f"m.{suffix}\n"
    assert "1/m, greater = nearer, 0.3" in err.splitlines()[-1]
    back = depth_io.read_map(f"m.{suffix}")
    assert back.convention == "inverse_depth"
    close(back.values, jax.image.resize(1 + 2 * VALUES, PICTURE.shape[:2], "linear"))
    small = ["depth", "apple.jpg", "--output", f"small.{suffix}", "--refine", "off"]
    assert cli.main(small) == 0
    close(depth_io.read_map(f"small.{suffix}").values, 1 + 2 * VALUES)
    capsys.readouterr()
    assert cli.main(["bokeh", "apple.jpg", "--disparity", f"m.{suffix}", "--focus", "0.5m"]) == 0
    assert cli.main(["bokeh", "apple.jpg", "--focus", "0.5m"]) == 0
    first, second = lens.calls
    np.testing.assert_allclose(first.disparity, second.disparity, atol=1e-3)
    assert first.focus == pytest.approx(second.focus, abs=1e-3)


def test_the_map_of_the_networks_is_written(phone, d2f, capsys):
    assert cli.main(["depth", "apple.jpg", "--no-own-depth"]) == 0
    out, err = capsys.readouterr()
    assert out == "apple_depth.png\n"
    assert "on a scale of its own" in err
    stored = depth_io.read_map("apple_depth.png")
    assert stored.convention == "disparity"
    made = disparity.to_disparity(stored.values, "disparity")
    assert made.disparity[0, 0] > made.disparity[0, -1]  # the stand-in's map grows to the right


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["apple.jpg", "--output", "m.jpg"], "m.jpg: maps are written as .png (16 bit) or .npz"),
        (["apple.jpg", "--output", "no/m.png"], "no: no such folder"),
        (["none.jpg"], "none.jpg: no such file"),
        (["a_depth.png", "--output", "a_depth.png"], "a_depth.png: would replace a_depth.png"),
    ],
)
def test_wrong_usage_of_depth(phone, capsys, arguments, message):
    before = listing(phone)
    assert cli.main(["depth", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert listing(phone) == before
