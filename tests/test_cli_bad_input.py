"""The list of what people do wrong: one line on stderr, exit code 2, and nothing written."""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from d2f_jax import cli, render
from tests.fakes import bomb, listing, make_disparity, make_picture


def refused(capsys, *arguments):
    """Runs the command, which must fail with code 2 and one line on stderr; returns the line."""
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    notes = [line for line in lines if line.startswith("d2f: note: ")]
    assert len(lines) == len(notes) + 1, err
    assert lines[-1].startswith("d2f: ")
    assert "Traceback" not in err
    return lines[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Expected one of {bokeh, depth, app, convert, evaluate, doctor}; see d2f --help"),
        (["bokhe", "a.png"], "no command bokhe: there are bokeh, depth, app, convert, evaluate"),
        (["bokhe", "a.png"], "did you mean bokeh?"),
        (["a.png"], "a.png: name a command first, as in d2f bokeh a.png"),
        (["bokeh"], "no photographs named: d2f bokeh IMAGE"),
        (
            ["bokeh", "a.png", "--outptu", "x"],
            "Unrecognized options: --outptu, x; did you mean --output?; see d2f bokeh --help",
        ),
        (
            ["depth", "a.png", "b.png"],
            "d2f: b.png: more than this command takes; see d2f depth",
        ),
        (["depth", "a.png", "b.png", "--foo"], "Unrecognized options: b.png, --foo; see d2f depth"),
        (["--foo"], "see d2f --help"),
        (["bokeh", "a.png", "--blades", "six"], "d2f: --blades six: give a whole number; see d2f"),
        (["bokeh", "a.png", "--sharp", "much"], "d2f: --sharp much: give a number; see d2f"),
        (["app", "--port", "abc"], "d2f: --port abc: give a whole number; see d2f"),
        (["bokeh", "a.png", "--focus", "375"], "a focus of 375: the network's map has values"),
        (["bokeh", "a.png", "--renderer", "gl"], "--renderer gl: give one of auto, lens, d2f"),
        (["bokeh", "a.png", "--focus"], "Missing value for argument '--focus'"),
        (["bokeh", "a.png", "--focus", "eye"], "focus 'eye': give auto, nearest, X,Y"),
        (["bokeh", "a.png", "--blur", "-1"], "blur '-1': give a factor (1 = default) or a radius"),
        (["bokeh", "a.png", "--blur", "nan"], "blur 'nan': give a factor"),
        (["bokeh", "a.png", "--renderer", "lens"], "needs a disparity map: add --disparity FILE"),
        (["bokeh", "*.jpg"], "*.jpg: no photographs there"),
        (["bokeh", "a.png", "b.png", "--disparity", "a.npy"], "one map cannot serve 2 photographs"),
        (["bokeh", "a.png", "b.png", "--disparity", "mapz"], "mapz: no such folder; give a folder"),
        (["bokeh", "a.png", "--output", "a.png"], "a.png: would replace a.png"),
        (["bokeh", "a.png", "--output", "./x/../a.png"], "would replace a.png"),
        (["bokeh", "a.png", "--output", "a.gif"], "a.gif: choose an ending among .jpg"),
        (["bokeh", "a.png", "--output", "none/a.png"], "none: no such folder"),
        (["bokeh", "a.png", "--weights", "none"], "none: no such weights file"),
        (["bokeh", "a.png", "--weights", "a.png"], "a.png: not a safetensors file"),
        (["evaluate", "none", "none"], "none"),
        (["evaluate", "a.png"], "Missing from d2f evaluate: TRUTHS"),
        (["convert", "--stage1", "a"], "Missing from d2f convert: OUT.safetensors --stage2 B.pth"),
        (["convert", "--stage1", "a", "--stage2", "b", "./b"], "b: would replace a checkpoint"),
        (["convert", "--stage1", "a", "--stage2", "b", "c"], "a: no such checkpoint"),
    ],
)
def test_wrong_usage(here, capsys, arguments, message):
    before = listing(here)
    assert message in refused(capsys, *arguments)
    assert listing(here) == before


def png(height, width, mode="RGB"):
    with tempfile.TemporaryFile() as file:
        Image.fromarray(make_picture(height, width)).convert(mode).save(file, "PNG")
        file.seek(0)
        return file.read()


BAD_PHOTOGRAPHS = {
    "text.jpg": (b"dear diary", "text.jpg: not a picture of a known kind"),
    "empty.jpg": (b"", "empty.jpg: the file is empty (0 bytes)"),
    "half.png": (png(64, 80)[:150], "half.png: the picture is damaged or cut short"),
    "pixel.png": (png(1, 1), "pixel.png: 1x1 pixels; each side must have 64 or more"),
    "bomb.png": (bomb(8), "bomb.png: "),
    "bomb16.png": (bomb(16), "bomb16.png: 32768x32768 pixels, more than the 134 million allowed"),
}


@pytest.mark.parametrize("name", BAD_PHOTOGRAPHS)
def test_bad_photographs(here, lens, capsys, name):
    data, message = BAD_PHOTOGRAPHS[name]
    Path(name).write_bytes(data)
    before = listing(here)
    assert message in refused(capsys, "bokeh", name, "--disparity", "a.npy")
    assert listing(here) == before


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg"])
def test_libraries_under_ours_write_nothing_to_the_screen(here, lens, capfd, compression):
    """libtiff and its JPEG library are C, and write to the file descriptor itself."""
    Image.fromarray(make_picture()).save("b.tif", compression=compression)
    data = bytearray(Path("b.tif").read_bytes())
    data[12:600] = b"\x55" * 588
    Path("b.tif").write_bytes(data)
    assert "b.tif: the picture is damaged" in refused(
        capfd, "bokeh", "b.tif", "--disparity", "a.npy"
    )
    print("still there", file=sys.__stderr__, flush=True)
    os.write(2, b"and here\n")
    assert capfd.readouterr().err == "still there\nand here\n"


@pytest.mark.parametrize("name", BAD_PHOTOGRAPHS)
def test_bad_photographs_have_no_map_either(here, d2f, capsys, name):
    data, message = BAD_PHOTOGRAPHS[name]
    Path(name).write_bytes(data)
    before = listing(here)
    assert message in refused(capsys, "depth", name)
    assert listing(here) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.jpg"], "no.jpg: no such file"),
        (["folder"], "folder: a folder, not a file"),
        (["a.png", "--disparity", "no.npy"], "no.npy: no such file"),
        (["a.png", "--disparity", "nan.npy"], "nan.npy: 100% of the map has no measurement"),
        (["a.png", "--disparity", "folder"], "a.png: no map a.* in folder"),
        (["a.png", "--output", "a.png"], "a.png: would replace a.png"),
        (["a.png", "--output", "x.jpg"], "x.jpg: maps are written as .png (16 bit) or .npz"),
        (["a.png", "--output", "none/x.png"], "none: no such folder; make it or name another"),
        (["a.png", "--weights", "a.npy"], "a.npy: not a safetensors file"),
        ([], "Missing from d2f depth: IMAGE"),
    ],
)
def test_wrong_usage_of_depth(here, capsys, arguments, message):
    (here / "folder").mkdir()
    np.save("nan.npy", bad_map("nan"))
    before = listing(here)
    assert message in refused(capsys, "depth", *arguments)
    assert listing(here) == before


def test_missing_photograph_and_map(here, lens, capsys):
    assert "no.jpg: no such file" in refused(capsys, "bokeh", "no.jpg", "--disparity", "a.npy")
    assert "no.npy: no such file" in refused(capsys, "bokeh", "a.png", "--disparity", "no.npy")
    (here / "maps").mkdir()
    message = refused(capsys, "bokeh", "a.png", "--disparity", "maps")
    assert "a.png: no map a.* in maps" in message


def test_locked_file_and_folder(here, lens, capsys, monkeypatch):
    def denied(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", denied)
        line = refused(capsys, "bokeh", "a.png", "--disparity", "a.npy")
    assert line == "d2f: a.png: cannot read it: Permission denied"
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", denied)
        line = refused(capsys, "bokeh", "a.png", "--disparity", "a.npy")
    assert line == "d2f: a_bokeh.png: cannot write there: Permission denied"
    monkeypatch.setattr(os, "access", denied_access)
    line = refused(capsys, "bokeh", "a.png", "--disparity", "a.npy")
    assert line == "d2f: .: cannot write to this folder; name another with --output"
    assert listing(here) == ["a.npy", "a.png"]


def denied_access(path, mode):
    return mode != os.W_OK


def test_disk_full_leaves_nothing(here, lens, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    line = refused(capsys, "bokeh", "a.png", "--disparity", "a.npy")
    assert "a_bokeh.png: cannot write there: No space left on device" in line
    assert listing(here) == ["a.npy", "a.png"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK"])
def test_other_colour_modes_are_no_error(here, lens, mode):
    Image.fromarray(make_picture()).convert(mode).save("b.tif" if mode == "CMYK" else "b.png")
    name = "b.tif" if mode == "CMYK" else "b.png"
    assert cli.main(["bokeh", name, "--disparity", "a.npy"]) == 0
    with Image.open(Path(name).with_stem("b_bokeh")) as written:
        assert written.mode == ("RGBA" if mode == "LA" else "RGB")


def bad_map(kind):
    values = make_disparity()
    if kind == "constant":
        values[:] = 0.5
    elif kind == "nan":
        values[:] = np.nan
    elif kind == "infinite":
        values[:, :60] = np.inf
    elif kind == "volume":
        values = values[..., None].repeat(3, axis=-1)
    return values


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("constant", "the disparity map is constant (0.5)"),
        ("nan", "m.npy: 100% of the map has no measurement"),
        ("infinite", "m.npy: 75% of the map has no measurement"),
        ("volume", "m.npy: one map of numbers, h x w, is needed, found array (64, 80, 3)"),
    ],
)
def test_bad_maps(here, lens, capsys, kind, message):
    np.save("m.npy", bad_map(kind))
    assert message in refused(capsys, "bokeh", "a.png", "--disparity", "m.npy")
    assert "a_bokeh.png" not in listing(here)


def test_a_map_with_holes_or_of_another_size_is_used_with_a_notice(here, lens, capsys):
    values = make_disparity(32, 40)
    values[3:5, 7], values[9, 9] = np.nan, -np.inf
    np.save("m.npy", values)
    assert cli.main(["bokeh", "a.png", "--disparity", "m.npy"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "d2f: note: m.npy: 3 pixels without a measurement, filled from beside",
        "d2f: note: m.npy: 40x32 pixels, resized to the photograph's 80x64",
    ]
    assert np.isfinite(lens.calls[0].disparity).all()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (80, 64),
            "m.npy: 64x80 pixels have another aspect ratio than the photograph's 80x64; its",
        ),
        ((64, 64), "m.npy: 64x64 pixels have another aspect ratio than the photograph's 80x64"),
    ],
)
def test_maps_of_another_shape(here, lens, capsys, shape, message):
    np.save("m.npy", make_disparity(*shape))
    assert message in refused(capsys, "bokeh", "a.png", "--disparity", "m.npy")
    assert "a_bokeh.png" not in listing(here)


def test_depth_that_does_not_say_whether_it_is_distance(here, lens, capsys):
    np.savez("m.npz", depth=make_disparity() + 1, confidence=make_disparity())
    assert cli.main(["bokeh", "a.png", "--disparity", "m.npz"]) == 0
    assert "add --convention metres" in capsys.readouterr().err
    assert cli.main(["bokeh", "a.png", "--disparity", "m.npz", "--convention", "metres"]) == 0
    assert capsys.readouterr().err == ""
    np.testing.assert_allclose(lens.calls[0].disparity[0, 0], 0)
    np.testing.assert_allclose(lens.calls[1].disparity[0, 0], 1)


@pytest.mark.parametrize("focus", ["80,0", "0,64", "-1,3"])
def test_focus_outside_the_picture(here, lens, capsys, focus):
    line = refused(capsys, "bokeh", "a.png", "--disparity", "a.npy", "--focus", focus)
    assert f"a.png: focus {focus} lies outside the picture, which is 80 wide and 64 high" in line


@pytest.mark.slow
@pytest.mark.optimised
def test_no_memory_is_a_message(here, monkeypatch, capsys):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(render, "lens_blur", fail)
    line = refused(capsys, "bokeh", "a.png", "--disparity", "a.npy")
    assert line == "d2f: a.png: not enough memory; scale the picture down"


@settings(max_examples=40, deadline=None)
@given(words=st.lists(st.text(min_size=1, max_size=6).filter(lambda w: "h" not in w), max_size=4))
def test_no_words_lead_to_a_traceback(words):
    with tempfile.TemporaryDirectory() as folder:
        assert cli.main(["bokeh", f"{folder}/none.png", *words]) in (1, 2)
