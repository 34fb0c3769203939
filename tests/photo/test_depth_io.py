import io
import zipfile

import numpy as np
import OpenEXR
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from d2f_jax.photo import depth_io, map_sources

RAMP = np.linspace(0, 1, 35, dtype=np.float32).reshape(5, 7)


def pfm(values, little=True, kind=b"Pf"):
    scale = b"-1.0" if little else b"1.0"
    height, width = values.shape
    header = kind + b"\n%d %d\n" % (width, height) + scale + b"\n"
    return header + values[::-1].astype("<f4" if little else ">f4").tobytes()


def exr(path, **channels):
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, channels).write(str(path))


def save(path, values):
    match path.name:
        case "8.png":
            Image.fromarray(np.rint(values * 255).astype(np.uint8)).save(path)
        case "16.png":
            Image.fromarray(np.rint(values * 65535).astype(np.uint16)).save(path)
        case "16.tif":
            tifffile.imwrite(path, np.rint(values * 65535).astype(np.uint16))
        case "float.tif":
            tifffile.imwrite(path, values)
        case "a.npy":
            np.save(path, values)
        case "only.npz":
            np.savez(path, whatever=values, shape=[5, 7])
        case "named.npz":
            np.savez_compressed(path, disparity=values, other=np.zeros_like(values))
        case "little.pfm":
            path.write_bytes(pfm(values))
        case "big.pfm":
            path.write_bytes(pfm(values, little=False))
        case "y.exr":
            exr(path, Y=values)
        case "one.exr":
            exr(path, anything=values)


FILES = ["8.png", "16.png", "16.tif", "float.tif", "a.npy", "only.npz", "named.npz"]
FILES += ["little.pfm", "big.pfm", "y.exr", "one.exr"]


@pytest.mark.parametrize("name", FILES)
def test_every_kind_is_read(tmp_path, name):
    save(tmp_path / name, RAMP)
    back = depth_io.read_disparity(tmp_path / name)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, RAMP, atol=0.51 / 255 if name == "8.png" else 1e-5)


@pytest.mark.parametrize("name", ["float.tif", "a.npy", "named.npz", "little.pfm", "y.exr"])
def test_floating_point_scale_and_holes_are_kept(tmp_path, name):
    values = RAMP * 100 - 7
    values[0, 0], values[1, 1] = np.nan, np.inf
    save(tmp_path / name, values)
    np.testing.assert_array_equal(depth_io.read_disparity(tmp_path / name), values)


def npy_bomb():
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (2**20, 2**20)}
    )
    return header.getvalue()


def npz_bomb():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("disparity.npy", npy_bomb())
    return out.getvalue()


def npy(values, **options):
    out = io.BytesIO()
    np.save(out, values, **options)
    return out.getvalue()


def colour_png():
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


BAD = {
    "a.txt": (b"1 2 3", r"not a map of a known kind; choose one of .png"),
    "empty.npy": (b"", "the file is empty"),
    "text.npy": (b"hello", "not a readable NPY map"),
    "half.npy": (npy(RAMP)[:150], "not a readable NPY map"),
    "pickle.npy": (npy(np.array([[{}]]), allow_pickle=True), "not a readable NPY map"),
    "volume.npy": (npy(np.zeros((2, 5, 7))), r"found array \(2, 5, 7\) float64"),
    "text.npz": (b"hello", "not a readable NPZ map"),
    "bomb.npz": (npz_bomb(), "too large"),
    "bomb.npy": (npy_bomb(), "too large"),
    "colour.pfm": (pfm(RAMP, kind=b"PF"), "no 'Pf' header"),
    "half.pfm": (pfm(RAMP)[:-9], "131 bytes do not make 7x5 pixels"),
    "colour.png": (colour_png(), "a picture in colour"),
    "text.png": (b"hello", "not a picture of a known kind"),
    "text.tif": (b"hello", "not a readable TIF map"),
    "text.exr": (b"hello", "not a readable EXR"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_say_what_and_where_in_one_line(tmp_path, name):
    data, message = BAD[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        depth_io.read_disparity(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_several_maps_without_the_name_are_listed(tmp_path):
    np.savez(tmp_path / "a.npz", near=RAMP, far=RAMP)
    with pytest.raises(ValueError, match=r"found near \(5, 7\) float32, far"):
        depth_io.read_disparity(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pfm", ".tif", ".png", ".exr"])
@settings(max_examples=15, deadline=None)
@given(data=st.binary(max_size=60))
def test_no_bytes_lead_to_anything_but_a_value_error(tmp_path_factory, suffix, data):
    path = tmp_path_factory.mktemp("bytes") / f"a{suffix}"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="a\\" + suffix):
        depth_io.read_disparity(path)


MM = np.rint(1000 + 4000 * RAMP).astype(np.uint16)


@pytest.mark.parametrize("name", ["16.png", "a.npy", "16.tif", "32.tif", "signed.tif"])
def test_millimetres_are_counted(tmp_path, name):
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, MM)
    elif name == "16.png":
        Image.fromarray(MM).save(path)
    else:
        dtype = {"16.tif": np.uint16, "32.tif": np.uint32, "signed.tif": np.int16}[name]
        tifffile.imwrite(path, MM.astype(dtype))
    made = map_sources.to_disparity(depth_io.read_map(path)._replace(convention="millimetres"))
    np.testing.assert_allclose(made.disparity, 1000 / MM, rtol=1e-6)


def saved(path, **arrays):
    np.savez(path, **arrays)
    return depth_io.read_map(path)


@pytest.mark.parametrize(
    ("name", "convention"),
    [
        ("depth", None),
        ("disparity", "disparity"),
        ("inverse_depth", "inverse_depth"),
        ("metric", "metres"),
    ],
)
def test_the_map_has_a_name_among_other_arrays(tmp_path, name, convention):
    stored = saved(tmp_path / "a.npz", confidence=np.ones_like(RAMP), **{name: RAMP})
    np.testing.assert_array_equal(stored.values, RAMP)
    assert (stored.convention, stored.name) == (convention, name)


def test_what_files_say_of_their_numbers(tmp_path):
    path = tmp_path / "a.npz"
    assert saved(path, depth=RAMP, focallength_px=700).convention == "metres"
    assert saved(path, depth=RAMP, convention="millimetres").convention == "millimetres"
    assert saved(path, disparity=RAMP, convention="inverse_depth").convention == "inverse_depth"
    assert saved(path, depth=RAMP, convention="furlongs").convention is None
    assert saved(path, whatever=RAMP).convention is None


def test_maps_are_written_with_what_they_are(tmp_path):
    values = 7 * RAMP - 2
    for metric, convention in ((True, "inverse_depth"), (False, "disparity")):
        for name in ("a.png", "a.npz"):
            depth_io.write_disparity(tmp_path / name, values, metric=metric)
            stored = depth_io.read_map(tmp_path / name)
            assert stored.convention == convention
            np.testing.assert_allclose(stored.values, values, atol=7.1 / 65535 / 2)
    for name in ("a.tif", "none/a.png"):
        with pytest.raises(ValueError, match=r"written as \.png|no such folder"):
            depth_io.write_disparity(tmp_path / name, values, metric=True)


@pytest.mark.parametrize("words", ["furlongs 0 1", "metres", "metres 0 inf", "metres a b"])
def test_a_text_that_is_no_convention_is_refused(tmp_path, words):
    text = PngImagePlugin.PngInfo()
    text.add_text("convention", words)
    Image.fromarray(MM).save(tmp_path / "a.png", pnginfo=text)
    with pytest.raises(ValueError, match=r"a.png: its text 'convention' is no convention"):
        depth_io.read_map(tmp_path / "a.png")


def test_three_equal_channels_of_an_exr_are_one_map(tmp_path):
    values = RAMP.copy()
    values[0, 0] = np.nan
    exr(tmp_path / "a.exr", R=values, G=values.copy(), B=values.copy())
    np.testing.assert_array_equal(depth_io.read_disparity(tmp_path / "a.exr"), values)
    exr(tmp_path / "a.exr", R=values, G=values.copy(), B=RAMP)
    with pytest.raises(ValueError, match="one map of numbers"):
        depth_io.read_disparity(tmp_path / "a.exr")


def test_maps_are_written_as_pictures_and_numbers(tmp_path):
    depth_io.write_map(tmp_path / "a.png", RAMP * 1.5)
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(picture, np.rint(np.clip(RAMP * 1.5, 0, 1) * 255))
    depth_io.write_maps(tmp_path / "a.npz", defocus=RAMP, weight=RAMP[..., None])
    with np.load(tmp_path / "a.npz") as back:
        np.testing.assert_array_equal(back["defocus"], RAMP)
        assert back["weight"].shape == (5, 7, 1)
    with pytest.raises(ValueError, match="cannot write there"):
        depth_io.write_maps(tmp_path / "none" / "a.npz", defocus=RAMP)
