import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from d2f_jax import cli, convert, pipeline, render
from tests.fakes import FakeD2F, FakeLens, bomb, make_disparity, make_picture, save_picture

ROOT = Path(__file__).parent.parent


@pytest.fixture
def lens(monkeypatch):
    fake = FakeLens()
    monkeypatch.setattr(render, "lens_blur", fake, raising=False)
    return fake


@pytest.fixture
def d2f(monkeypatch):
    fake = FakeD2F()
    monkeypatch.setattr(pipeline, "load", lambda path=None: fake)
    return fake


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a photograph and its map, and nothing else."""
    monkeypatch.chdir(tmp_path)
    save_picture("a.png")
    np.save("a.npy", make_disparity())
    return tmp_path


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


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


# --- What it does ---------------------------------------------------------------------------------


def test_a_map_without_weights_goes_through_the_lens(here, lens, capsys):
    assert cli.main(["bokeh", "a.png", "--disparity", "a.npy"]) == 0
    assert capsys.readouterr().out == "a_bokeh.png\n"
    assert listing(here) == ["a.npy", "a.png", "a_bokeh.png"]
    assert len(lens.calls) == 1
    with Image.open("a_bokeh.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), 255 - make_picture())


def test_a_map_with_weights_goes_through_the_networks(here, d2f):
    assert cli.main(["bokeh", "a.png", "--disparity", "a.npy", "--weights", "w"]) == 0
    np.testing.assert_array_equal(d2f.calls[0]["disparity"], make_disparity())


def test_renderers_by_name(here, lens, d2f):
    assert cli.main(["bokeh", "a.png", "--disparity", "a.npy", "--renderer", "d2f"]) == 0
    command = ["bokeh", "a.png", "--disparity", "a.npy", "--weights", "w", "--renderer", "lens"]
    assert cli.main(command) == 0
    assert (len(d2f.calls), len(lens.calls)) == (1, 1)


def test_focus_and_blur_reach_the_renderer(here, lens):
    common = ["bokeh", "a.png", "--disparity", "a.npy"]
    assert cli.main([*common, "--focus", "20,5", "--blur", "40px"]) == 0
    assert cli.main([*common, "--focus", "-0.5", "--blur", "0"]) == 0
    assert lens.calls[0].focus == pytest.approx(20 / 79, abs=0.01)
    assert lens.calls[0].blur == 40
    assert lens.calls[1].focus == pytest.approx(-0.5, abs=0.02)
    assert lens.calls[1].blur == 0


def test_maps_are_saved(here, d2f):
    assert cli.main(["bokeh", "a.png", "--save-maps", "--output", "o.tif"]) == 0
    pictures = ["o_defocus.png", "o_mask.png", "o_radiance.png"]
    assert listing(here) == ["a.npy", "a.png", "o.tif", *pictures[:1], "o_maps.npz", *pictures[1:]]
    for name in pictures:
        with Image.open(name) as picture:
            assert picture.mode == "L"
    with np.load("o_maps.npz") as maps:
        assert maps["defocus"].shape == (64, 64)
        assert maps["weight"].shape == (64, 64, 3)
        assert maps["fusion_mask"].shape == (64, 80)


def test_the_lens_saves_its_maps(here, lens):
    assert cli.main(["bokeh", "a.png", "--disparity", "a.npy", "--save-maps"]) == 0
    assert listing(here)[3:] == ["a_bokeh_defocus.png", "a_bokeh_maps.npz"]
    with np.load("a_bokeh_maps.npz") as maps:
        assert set(maps) == {"disparity", "coc_radius"}


def test_exif_alpha_and_depth_in_bits_go_all_the_way(here, lens):
    exif = Image.Exif()
    exif[271], exif[274] = "Maker", 6
    picture = Image.fromarray(make_picture()).convert("RGBA")
    picture.putalpha(77)
    picture.save("turned.png", exif=exif)
    np.save("turned.npy", make_disparity(80, 64))
    command = ["bokeh", "turned.png", "--disparity", "turned.npy", "--focus", "63,79"]
    assert cli.main(command) == 0
    with Image.open("turned_bokeh.png") as written:
        assert written.size == (64, 80)
        assert set(written.getchannel("A").tobytes()) == {77}
        assert (written.getexif()[271], written.getexif()[274]) == ("Maker", 1)


def test_many_photographs_into_a_folder(here, lens, capsys):
    (here / "in").mkdir()
    for name in ("b.jpg", "c.jpg", "d.webp"):
        save_picture(here / "in" / name)
        np.save(here / "in" / f"{Path(name).stem}.npy", make_disparity())
    assert cli.main(["bokeh", "in", "--output", "out", "--disparity", "in"]) == 0
    assert listing(here / "out") == ["b_bokeh.jpg", "c_bokeh.jpg", "d_bokeh.webp"]
    assert capsys.readouterr().out == "3 of 3 photographs done\n"


def test_one_bad_file_does_not_stop_the_rest(here, d2f, capsys):
    Path("bad.jpg").write_text("hello")
    save_picture("z.png")
    assert cli.main(["bokeh", "a.png", "bad.jpg", "missing.jpg", "z.png"]) == 1
    out, err = capsys.readouterr()
    assert out == "2 of 4 photographs done\n"
    assert [line.split(":")[1].strip() for line in err.splitlines()] == [
        "bad.jpg",
        "missing.jpg",
        "2 of 4 photographs failed",
    ]
    assert listing(here)[1:] == ["a.png", "a_bokeh.png", "bad.jpg", "z.png", "z_bokeh.png"]


def test_a_second_run_takes_the_originals_again(here, d2f):
    for _ in range(2):
        assert cli.main(["bokeh", "*.png"]) == 0
    assert listing(here) == ["a.npy", "a.png", "a_bokeh.png"]


def test_convert_hands_over_its_paths(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(convert, "convert_checkpoints", lambda *paths: calls.append(paths))
    assert cli.main(["convert", "--stage1", "a", "--stage2", "b", "out.safetensors"]) == 0
    assert calls == [(Path("a"), Path("b"), Path("out.safetensors"))]
    assert capsys.readouterr().out == "out.safetensors\n"


def test_help_and_version(capsys):
    for command in (["--help"], ["bokeh", "--help"], ["convert", "-h"]):
        assert cli.main(command) == 0
        assert capsys.readouterr().out.startswith("usage: d2f")
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("d2f 0.")


def test_interruption_is_no_crash(here, monkeypatch, capsys):
    def interrupt(path=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "load", interrupt)
    assert cli.main(["bokeh", "a.png"]) == 130
    assert capsys.readouterr().err == "d2f: interrupted\n"


# --- What it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Expected one of {bokeh, convert}; see d2f --help"),
        (["bokhe", "a.png"], "bokhe, a.png Available subcommands: bokeh, convert"),
        (["bokeh"], "no photographs named: d2f bokeh IMAGE"),
        (["bokeh", "a.png", "--outptu", "x"], "--outptu, x Perhaps you meant: --output FILE|DIR"),
        (["bokeh", "a.png", "--renderer", "gl"], "invalid choice 'gl' for argument '--renderer'"),
        (["bokeh", "a.png", "--focus"], "Missing value for argument '--focus'"),
        (["bokeh", "a.png", "--focus", "eye"], "focus 'eye': give auto, a value of the map"),
        (["bokeh", "a.png", "--blur", "-1"], "blur '-1': give a factor (1 = default) or a radius"),
        (["bokeh", "a.png", "--blur", "nan"], "blur 'nan': give a factor"),
        (["bokeh", "a.png", "--renderer", "lens"], "needs a disparity map: add --disparity FILE"),
        (["bokeh", "*.jpg"], "*.jpg: no photographs there"),
        (["bokeh", "a.png", "b.png", "--disparity", "a.npy"], "one map cannot serve 2 photographs"),
        (["bokeh", "a.png", "--output", "a.png"], "a.png: would replace a.png"),
        (["bokeh", "a.png", "--output", "./x/../a.png"], "would replace a.png"),
        (["bokeh", "a.png", "--output", "a.gif"], "a.gif: choose an ending among .jpg"),
        (["bokeh", "a.png", "--output", "none/a.png"], "none: no such folder"),
        (["bokeh", "a.png", "--weights", "none"], "none: no such weights file"),
        (["bokeh", "a.png", "--weights", "a.png"], "a.png: not a safetensors file"),
        (["convert", "--stage1", "a"], "Missing from d2f convert: OUT.safetensors --stage2 B.pth"),
        (["convert", "--stage1", "a", "--stage2", "b", "./b"], "b: would replace a checkpoint"),
        (["convert", "--stage1", "a", "--stage2", "b", "c"], "a: no such checkpoint"),
    ],
)
def test_wrong_usage(here, capsys, arguments, message):
    before = listing(here)
    assert message in refused(capsys, *arguments)
    assert listing(here) == before


def test_weights_are_needed_until_some_are_shipped(here, capsys):
    line = refused(capsys, "bokeh", "a.png")
    assert "weights" in line
    assert listing(here) == ["a.npy", "a.png"]


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
        ("nan", "m.npy: 100% of the values are NaN or infinite"),
        ("infinite", "m.npy: 75% of the values are NaN or infinite"),
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
        "d2f: note: m.npy: 3 NaN or infinite values, filled from beside them",
        "d2f: note: m.npy: 40x32 pixels, resized to the photograph's 80x64",
    ]
    assert np.isfinite(lens.calls[0].disparity).all()


@pytest.mark.parametrize("focus", ["80,0", "0,64", "-1,3"])
def test_focus_outside_the_picture(here, lens, capsys, focus):
    line = refused(capsys, "bokeh", "a.png", "--disparity", "a.npy", "--focus", focus)
    assert f"a.png: focus {focus} lies outside the picture, which is 80 wide and 64 high" in line


def test_no_memory_is_a_message(here, monkeypatch, capsys):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(render, "lens_blur", fail, raising=False)
    line = refused(capsys, "bokeh", "a.png", "--disparity", "a.npy")
    assert line == "d2f: a.png: not enough memory; scale the picture down"


@settings(max_examples=40, deadline=None)
@given(words=st.lists(st.text(min_size=1, max_size=6).filter(lambda w: "h" not in w), max_size=4))
def test_no_words_lead_to_a_traceback(words):
    with tempfile.TemporaryDirectory() as folder:
        assert cli.main(["bokeh", f"{folder}/none.png", *words]) in (1, 2)


# --- As a program ---------------------------------------------------------------------------------


def program(*arguments, **options):
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, **options)


def test_help_and_usage_errors_need_neither_jax_nor_numpy():
    code = """
import sys
from d2f_jax import cli
assert cli.main(sys.argv[1:]) == int(sys.argv[-1] == "--nope") * 2
heavy = {"jax", "numpy", "flax", "PIL", "torch", "rich"} & set(sys.modules)
assert not heavy, heavy
"""
    for arguments in (["--help"], ["bokeh", "--help"], ["bokeh", "a.jpg", "--nope"]):
        done = program("-c", code, *arguments)
        assert done.returncode == 0, done.stderr


def test_a_bad_file_from_outside(tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    done = program("-m", "d2f_jax", "bokeh", str(tmp_path / "text.jpg"), "--disparity", "a.npy")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"d2f: {tmp_path}/text.jpg: not a picture")
    assert listing(tmp_path) == ["text.jpg"]
