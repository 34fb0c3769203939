"""One photograph on the page, without the page."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from d2f_jax import cli, pipeline
from d2f_jax.app import form, strokes, uploads
from d2f_jax.photo import develop
from d2f_jax.photo.settings import Settings, words
from d2f_jax.render import lens as lens_module
from tests import fakes
from tests.app import photographs


def look(session, **sent):
    return session.preview(form.read(sent))


def paint(session, kind, *points, **options):
    session.paint(strokes.read([{"kind": kind, "points": points, **options}]))


def with_map(session, **sent):
    session.open("a.jpg", photographs.jpeg())
    session.put("map", "m.npy", photographs.map_bytes())
    return look(session, source="file", **sent)


# --- Looking --------------------------------------------------------------------------------------


def test_a_click_is_the_focus(session, lens):
    seen = with_map(session, focus="20,5")
    assert lens.calls[-1].focus == pytest.approx(20 / 79, abs=0.01)
    assert seen.line == "d2f bokeh a.jpg --disparity m.npy --focus 20,5"
    assert (seen.renderer, seen.is_metric, seen.needs) == ("lens", False, ())
    np.testing.assert_allclose(
        photographs.pixels(seen.picture), 1 - fakes.make_picture() / 255, atol=0.04
    )


def test_large_photographs_are_looked_at_small(session, lens):
    session.open("big.jpg", photographs.jpeg(1200, 1600))
    session.put("map", "m.npy", photographs.map_bytes(60, 80))
    small = look(session, source="file", focus="1599,1199", blur="40px")
    assert photographs.pixels(small.picture).shape == (576, 768, 3)
    assert lens.calls[-1].canvas == (576, 832)
    assert lens.calls[-1].blur == pytest.approx(40 * 768 / 1600)
    assert lens.calls[-1].focus == pytest.approx(1, abs=0.01)
    look(session, source="file", focus="400,300,1600,1200")
    assert lens.calls[-1].focus == pytest.approx(0.25 + 0.75 * 0.75, abs=0.01)
    with pytest.raises(ValueError, match="outside"):
        look(session, source="file", focus="1700,20")


def test_its_own_depth_is_used_and_knows_distances(session, lens):
    opened = session.open("p.heic", photographs.with_depth())
    assert opened.has_depth
    assert opened.size == (128, 96)
    seen = look(session, focus="64,48", f_number=2.0, focal_length=50.0, sensor=36.0)
    assert seen.is_metric
    assert float(seen.sharp.removesuffix(" m")) == pytest.approx(1 / 1.5, rel=0.02)
    assert seen.line.startswith("d2f bokeh p.heic --focus 64,48 --f-number 2.0")
    assert any("depth of the HEIC file used" in note for note in seen.notes)
    assert str(session.folder) not in "".join(seen.notes)


def test_the_network_runs_once_a_photograph(session, d2f):
    session.open("a.jpg", photographs.jpeg())
    for focus in ("auto", "20,30", "60,10"):
        seen = look(session, source="networks", focus=focus)
    alone = [call for call in d2f.calls if not call]
    assert (seen.renderer, len(alone), len(d2f.calls)) == ("d2f", 1, 4)
    assert seen.line == "d2f bokeh a.jpg --focus 60,10"


@pytest.mark.slow
def test_moves_compile_nothing(session):
    with_map(session, focus="10,10", blur="0.5", blades=5)
    look(session, source="networks", focus="10,10", blur="0.5")
    lens, networks = lens_module._lens_blur._cache_size(), pipeline._jitted_rest._cache_size()
    for focus, blur in (("70,10", "0.6"), ("5,60", "0.75"), ("nearest", "0.65")):
        shape = {"blades": 7, "roundness": 0.4, "rotation": 10.0, "squeeze": 0.8}
        look(session, source="file", focus=focus, blur=blur, sharp=0.05, **shape)
        look(session, source="file", focus=focus, blur=blur)
    for focus, blur in (("70,10", "0.6"), ("5,60", "0.75")):
        look(session, source="networks", focus=focus, blur=blur)
    assert lens_module._lens_blur._cache_size() == lens
    assert pipeline._jitted_rest._cache_size() == networks


def test_more_than_the_networks_serve_goes_through_their_map(session, d2f, lens):
    session.open("a.jpg", photographs.jpeg())
    boxed = look(session, source="networks", focus="10,10,40,40")
    assert boxed.line == "d2f bokeh a.jpg --disparity a_map.npz --focus 10,10,40,40 --renderer d2f"
    assert d2f.calls[-1]["disparity"].shape == (64, 80)
    assert not lens.calls
    through = look(session, source="networks", renderer="lens", blades=5)
    assert through.line == "d2f bokeh a.jpg --disparity a_map.npz --blades 5 --renderer lens"
    assert (through.renderer, through.needs, len(lens.calls)) == ("lens", ("a_map.npz",), 1)


def test_a_depth_network_of_the_servers(session, lens, tmp_path):
    session._depth_model = str(fakes.save_bright_is_near(tmp_path / "net.onnx"))
    session.open("a.jpg", photographs.jpeg())
    seen = look(session, source="model", focus="nearest")
    assert seen.line.endswith(f"--depth-model {tmp_path / 'net.onnx'} --focus nearest")
    assert lens.calls[-1].focus > 0.9
    session._depth_model = None
    session.open("a.jpg", photographs.jpeg())
    with pytest.raises(ValueError, match="no depth network"):
        look(session, source="model")


@pytest.mark.parametrize("view", ["map", "defocus", "radiance", "mask"])
def test_views_are_of_the_last_picture(session, lens, view):
    with_map(session, focus="79,5", blur="3")
    seen = photographs.pixels(
        look(session, source="file", focus="79,5", blur="3", view=view).picture
    )
    assert len(lens.calls) == 1
    assert seen.shape == (64, 80)
    expected = {"map": (0, 1), "defocus": (1, 0), "mask": (0, 1), "radiance": (0, 0)}[view]
    assert (seen[30, 1], seen[30, 78]) == pytest.approx(expected, abs=0.08)


def test_apertures_and_lights_reach_the_lens(session, lens):
    hexagon = {"blades": 6, "roundness": 0.3, "rotation": 20.0, "squeeze": 0.7}
    seen = with_map(session, **hexagon, cat_eye=0.5, restore_highlights=True, highlight_gain=4.0)
    call = lens.calls[-1]
    inner = call.aperture.aperture
    assert (inner.blades, inner.roundness, inner.rotation) == (6, 0.3, 20.0)
    assert (call.aperture.ratio, call.cat_eye, call.highlights.limit) == (0.7, 0.5, 4.0)
    assert seen.line.endswith(
        "--blades 6 --roundness 0.3 --rotation 20.0 --squeeze 0.7 --cat-eye 0.5 "
        "--restore-highlights --highlight-gain 4.0"
    )
    with pytest.raises(ValueError, match="send a picture of the opening first"):
        look(session, source="file", shape=True)
    session.put("shape", "star.png", photographs.grey(255 * np.eye(9)))
    assert "--shape star.png" in look(session, source="file", shape=True).line


# --- The brush ------------------------------------------------------------------------------------


def two_halves(height=60, width=80):
    image = np.full((height, width, 3), 0.2, np.float32)
    image[:, width // 2 :] = 0.8
    return image


def test_a_stroke_spreads_along_the_colours():
    (stroke,) = strokes.read([{"kind": "nearer", "points": [[0.2, 0.5]], "spread": 0.5}])
    weight = strokes.weight(two_halves(), stroke)
    assert weight[:, :38].min() > 0.5
    assert weight[:, 43:].max() < 0.05
    alone = strokes.weight(two_halves(), stroke._replace(spread=0.0))
    assert alone[30, 16] == 1
    assert alone[:, 30:].max() < 0.05


def test_painting_moves_the_map_and_goes_into_the_line(session, lens):
    with_map(session)
    before = np.array(lens.calls[-1].disparity)
    paint(session, "nearer", [0.1, 0.5], strength=0.5, spread=0.0, size=0.1)
    seen = look(session, source="file")
    after = np.array(lens.calls[-1].disparity)
    assert after[32, 8] > before[32, 8] + 0.25
    np.testing.assert_allclose(np.diff(after[5]), np.diff(before[5]), atol=0.02)
    assert seen.line == "d2f bokeh a.jpg --disparity a_map.npz"
    assert seen.needs == ("a_map.npz",)
    session.paint([])
    assert look(session, source="file").line == "d2f bokeh a.jpg --disparity m.npy"


def test_a_corrected_map_sent_again_is_not_written_over(session, lens):
    session.open("a.jpg", photographs.jpeg())
    session.put("map", "a_map.npy", photographs.map_bytes())
    session.put("map", "a_map.npz", photographs.npz())
    paint(session, "nearer", [0.1, 0.5])
    wanted = form.read({"source": "file"})
    assert session.preview(wanted).needs == ("page_a_map.npz",)
    session.write_files(wanted)
    assert (session.folder / "a_map.npz").read_bytes() == photographs.npz()


def test_strokes_one_by_one_are_strokes_at_once(session):
    session.open("a.jpg", photographs.jpeg())
    sent = [
        {"kind": kind, "points": [[x, 0.4]]}
        for kind, x in (("nearer", 0.2), ("subject", 0.5), ("farther", 0.7), ("subject", 0.1))
    ]
    painted = strokes.read(sent)
    for count in range(1, 5):
        session.paint(painted[:count])
    step_by_step = session._added, session._subject
    session.paint([])
    session.paint(painted)
    np.testing.assert_allclose(step_by_step[0], session._added, atol=1e-6)
    np.testing.assert_array_equal(step_by_step[1], session._subject)


def test_the_distance_told_is_the_one_rendered(session, lens, monkeypatch):
    """Left open, the focus lies where the network sees the subject; here, in the corner."""
    corner = np.ones((32, 64), np.float32)
    corner[:4, :4] = 0
    monkeypatch.setattr(fakes.FakeD2F, "glance", lambda self, image: corner)
    session.open("p.heic", photographs.with_depth())
    assert look(session, view="map").sharp == ""
    told = look(session).sharp
    low, high = develop.extremes(session._base.map.disparity)
    rendered = low + lens.calls[-1].focus * (high - low)
    assert float(told.removesuffix(" m")) == pytest.approx(1 / rendered, rel=0.01)
    assert look(session, view="map").sharp == told


def test_a_painted_subject_is_kept_sharp(session, lens):
    with_map(session)
    paint(session, "subject", [0.75, 0.5], size=0.2, spread=0.0)
    seen = look(session, source="file")
    assert lens.calls[-1].focus == pytest.approx(0.75, abs=0.05)
    assert seen.line == "d2f bokeh a.jpg --disparity m.npy --mask a_subject.png"
    assert seen.needs == ("a_subject.png",)


@pytest.mark.parametrize(
    "sent",
    [
        3,
        [{"kind": "nearer"}],
        [{"kind": "colder", "points": [[0, 0]]}],
        [{"kind": "nearer", "points": []}],
        [{"kind": "nearer", "points": [[0, float("nan")]]}],
        [{"kind": "nearer", "points": [[0, 0]], "size": 7}],
        [{"kind": "nearer", "points": [[0, 0]]}] * 501,
    ],
)
def test_strokes_that_no_page_sends(sent):
    with pytest.raises(ValueError, match=r"\w"):
        strokes.read(sent)


# --- The same on the command line -----------------------------------------------------------------


def run_line(line, folder):
    d2f = [sys.executable, "-m", "d2f_jax"]
    shell = f"{shlex.join(d2f)} {line.removeprefix('d2f ')}"
    done = subprocess.run(
        shell, shell=True, cwd=folder, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    return Path(folder, done.stdout.strip())


@pytest.mark.slow
@pytest.mark.parametrize("painted", [False, True])
def test_the_line_in_a_shell_makes_the_same_file(session, tmp_path, painted):
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[271] = "Maker"
    name, data = "it's a photo.jpg", photographs.jpeg(icc_profile=icc, exif=exif)
    session.open(name, data)
    session.put("map", "m.npy", photographs.map_bytes())
    if painted:
        paint(session, "farther", [0.5, 0.5], strength=0.4)
        session.paint([*session._strokes, strokes.Stroke("subject", ((0.9, 0.9),))])
    wanted = form.read(
        {"source": "file", "focus": "70,30", "blur": "0.75", "blades": 5, "squeeze": 0.85}
    )
    seen, task = session.preview(wanted), session.task(wanted)
    done = subprocess.run(
        [sys.executable, "-m", "d2f_jax", *task.arguments], cwd=task.folder, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / name).write_bytes(data)
    (tmp_path / "user" / "m.npy").write_bytes(photographs.map_bytes())
    for needed in seen.needs:
        (tmp_path / "user" / needed).write_bytes(session.file(needed).read_bytes())
    mine = run_line(seen.line, tmp_path / "user")
    assert mine.read_bytes() == (task.folder / task.target).read_bytes()
    with Image.open(mine) as picture:
        assert picture.getexif()[271] == "Maker"
        assert picture.info["icc_profile"] == icc


def test_words_say_what_the_command_reads():
    settings = Settings(
        focus="-0.25",
        blur="0.1px",
        sharp=0.1,
        own_depth=False,
        blades=7,
        rotation=-30.0,
        restore_highlights=True,
        disparity=Path("a b.npz"),
        convention="metres",
        renderer="lens",
    )
    read = cli.parse(["bokeh", "x.jpg", *words(settings)])
    assert all(getattr(read, name) == value for name, value in vars(settings).items())
    assert words(Settings()) == []


# --- What goes wrong ------------------------------------------------------------------------------


def test_a_bad_file_leaves_the_photograph_before(session, lens):
    with_map(session)
    with pytest.raises(ValueError, match=r"^note\.jpg: not a picture of a known kind"):
        session.open("note.jpg", b"hello, I am no picture")
    with pytest.raises(ValueError, match=r"^b\.npy: not a readable NPY map"):
        session.put("map", "b.npy", b"nothing")
    assert look(session, source="file").line == "d2f bokeh a.jpg --disparity m.npy"
    session.open("b.jpg", photographs.jpeg())
    assert sorted(path.name for path in session.folder.iterdir()) == ["b.jpg"]
    with pytest.raises(ValueError, match="send a map first"):
        look(session, source="file")


def test_large_pictures_are_refused_before_they_are_decoded(session):
    session._max_pixels = 5000
    with pytest.raises(ValueError, match="80x64 pixels, more than the 0 million allowed"):
        session.open("a.jpg", photographs.jpeg())
    session._max_pixels = 2**26
    with pytest.raises(ValueError, match="more pixels than are allowed"):
        session.open("bomb.png", fakes.bomb(8))


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\x.jpg", "x.jpg"),
        ("--output.jpg", "output.jpg"),
        (".hidden.png", "hidden.png"),
        ("a\n\0b.jpg", "ab.jpg"),
        ("Füße 猫.jpg", "Füße 猫.jpg"),
        ("x" * 300 + ".jpeg", "x" * 80 + ".jpeg"),
    ],
)
def test_names_stay_in_the_folder(name, clean):
    assert uploads.clean_name(name) == clean


def test_a_file_without_a_name_is_refused(session):
    with pytest.raises(ValueError, match="no name"):
        session.open("../..", photographs.jpeg())


@pytest.mark.parametrize(
    "sent",
    [
        [],
        {"disparity": "/etc/passwd"},
        {"shape": "/etc/passwd", "mask": "x"},
        {"sharp": "0.1"},
        {"sharp": float("inf")},
        {"focus": 7},
        {"source": "elsewhere"},
        {"renderer": "other"},
    ],
)
def test_settings_that_no_page_sends(sent):
    with pytest.raises(ValueError, match=r"\w"):
        form.read(sent)


def test_the_sessions_files_go_with_it(session):
    session.open("a.jpg", photographs.jpeg())
    assert session.folder.is_dir()
    session.close()
    assert not session.folder.exists()
    assert not list(session.folder.parent.iterdir())
