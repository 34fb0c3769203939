import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2f_jax import cli, pipeline
from d2f_jax.models import convert
from tests.fakes import listing, make_disparity, make_picture, save_picture

ROOT = Path(__file__).parent.parent


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
    assert capsys.readouterr().out == "3 of 3 photographs done, in out\n"


def test_one_bad_file_does_not_stop_the_rest(here, d2f, capsys):
    Path("bad.jpg").write_text("hello")
    save_picture("z.png")
    assert cli.main(["bokeh", "a.png", "bad.jpg", "missing.jpg", "z.png"]) == 1
    out, err = capsys.readouterr()
    assert out == "2 of 4 photographs done, beside them, as NAME_bokeh\n"
    assert [line.split(":")[1].strip() for line in err.splitlines()] == [
        "bad.jpg",
        "missing.jpg",
        "2 of 4 photographs failed",
    ]
    assert listing(here)[1:] == ["a.png", "a_bokeh.png", "bad.jpg", "z.png", "z_bokeh.png"]


def test_what_is_wrong_with_many_is_said_in_full_once(here, d2f, capsys):
    for name in ("b.png", "c.png"):
        save_picture(name)
    assert cli.main(["bokeh", ".", "--focus", "999,3"]) == 1
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("d2f: a.png: focus 999,3 lies outside the picture, which is 80 wide")
    assert rest == [
        "d2f: b.png: the same as of a.png",
        "d2f: c.png: the same as of a.png",
        "d2f: 3 of 3 photographs failed",
    ]


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


def test_evaluate_prints_and_writes_scores(here, capsys):
    for folder in ("ours", "theirs"):
        Path(folder).mkdir()
        save_picture(Path(folder) / "a.png", height=96, width=128)
    assert cli.main(["evaluate", "ours", "theirs", "--output", "scores"]) == 0
    assert "PSNR" in capsys.readouterr().out
    assert listing(here / "scores") == ["scores.json", "scores.md", "worst.jpg"]


def test_help_and_version(capsys):
    for command in (["--help"], ["bokeh", "--help"], ["convert", "-h"]):
        assert cli.main(command) == 0
        out = capsys.readouterr().out
        assert out.startswith("usage: d2f")
        assert "default: None" not in " ".join(out.split())
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("d2f 0.")


def test_interruption_is_no_crash(here, monkeypatch, capsys):
    def interrupt(path=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "load", interrupt)
    assert cli.main(["bokeh", "a.png"]) == 130
    assert capsys.readouterr().err == "d2f: interrupted\n"


# --- With the real renderer -----------------------------------------------------------------------


@pytest.mark.slow
def test_the_sample_through_the_lens(here):
    samples = ROOT / "docs" / "samples"
    picture = str(samples / "motorcycle.jpg")
    disparity = str(samples / "motorcycle_disparity.png")
    command = ["bokeh", picture, "--disparity", disparity, "--focus", "400,330"]
    assert cli.main([*command, "--output", "bokeh.png"]) == 0
    before, bokeh = (np.float32(read(name)) / 255 for name in (picture, "bokeh.png"))
    detail = [np.abs(np.diff(image, axis=1)) for image in (before, bokeh)]
    wall, engine = np.s_[20:90, 20:280], np.s_[280:360, 340:460]
    assert detail[1][wall].mean() < 0.2 * detail[0][wall].mean()
    assert detail[1][engine].mean() > 0.8 * detail[0][engine].mean()
    light = [
        (image**2.2).mean() for image in (before, bokeh)
    ]  # about linear; it is spread, not lost
    assert light[1] == pytest.approx(light[0], rel=0.03)


def test_a_photograph_and_nothing_else(here, capsys):
    assert cli.main(["bokeh", "a.png", "--save-maps"]) == 0
    assert capsys.readouterr().out == "a_bokeh.png\n"
    assert read("a_bokeh.png").shape == make_picture().shape
    assert "a_defocus.png" in listing(here) or "a_bokeh_defocus.png" in listing(here)


def test_no_blur_is_no_change(here):
    command = ["bokeh", "a.png", "--disparity", "a.npy", "--blur", "0"]
    assert cli.main(command) == 0
    np.testing.assert_array_equal(read("a_bokeh.png"), make_picture())


def read(name):
    with Image.open(name) as picture:
        return np.asarray(picture)


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


# --- Compiled code --------------------------------------------------------------------------------


def test_compiled_code_is_kept_in_the_users_cache(tmp_path, monkeypatch):
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    monkeypatch.setattr(cli.os, "environ", environment)
    cli._keep_compiled()
    folder = Path(environment["JAX_COMPILATION_CACHE_DIR"])
    assert folder.is_dir()
    assert folder.parent == tmp_path / "d2f_jax"


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    environment = {"XDG_CACHE_HOME": str(tmp_path / "file")}
    monkeypatch.setattr(cli.os, "environ", environment)
    cli._keep_compiled()
    assert list(environment) == ["XDG_CACHE_HOME"]


def test_a_cache_of_ones_own_stays(monkeypatch):
    environment = {"JAX_COMPILATION_CACHE_DIR": "mine"}
    monkeypatch.setattr(cli.os, "environ", environment)
    cli._keep_compiled()
    assert environment == {"JAX_COMPILATION_CACHE_DIR": "mine"}


def test_a_reader_that_stops_early_is_no_error():
    """`d2f --help | head -1`."""
    command = f"{sys.executable} -m d2f_jax bokeh --help | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
