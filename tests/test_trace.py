import importlib.util
import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from benchmarks import bench_ground_truth
from benchmarks.trace import __main__ as command
from benchmarks.trace import scenes, shapes, suite, textures, tracer
from d2f_jax import extras
from d2f_jax.render import kernels

SIZE = (128, 96)


def camera(*surfaces, lights=(), size=SIZE):
    """A tracer of some surfaces before a black wall at depth 10."""
    wall = scenes.backdrop(10, None)
    scene = scenes.Scene(
        name="test",
        description="",
        tags=(),
        surfaces=(wall, *surfaces),
        lights=lights,
        photographs=(),
    )
    return tracer.Tracer(scene, textures.Textures(0), size, "scalar_rgb")


def place(column, row, depth):
    """Where the given pixel of a picture of `SIZE` lies at a depth."""
    pixel = 2 * scenes.HALF_WIDTH * depth / SIZE[0]
    return (column - SIZE[0] / 2) * pixel, (SIZE[1] / 2 - row) * pixel, depth


def two_discs(random):
    """A shining disc that Mitsuba's lens sees, and a light, at other depths; one thing is near."""
    pixel = 2 * scenes.HALF_WIDTH / SIZE[0]
    return scenes.Scene(
        name="two_discs",
        description="",
        tags=(),
        surfaces=(
            scenes.backdrop(10, None),
            shapes.card(place(3, 3, 1.0), (3 * pixel, 3 * pixel), texture=None),
            shapes.disc(place(40.25, 50.5, 5.0), 3 * 5 * pixel, texture="white", gain=9),
        ),
        lights=(scenes.Light(place(90.5, 45.75, 2.5), 2.5 * pixel, (20.0, 10.0, 5.0)),),
        photographs=((3.2, 160.0), (10.0, 160.0), (1.2, 64.0)),
    )


def moments(light, columns):
    """Sum, centre (column, row) and radius of the even disc with the same second moments."""
    rows, columns = np.mgrid[: SIZE[1], columns] + 0.5
    light = light[..., 0][np.ix_(rows[:, 0].astype(int), columns[0].astype(int))]
    weight = light / light.sum()
    x, y = (weight * columns).sum(), (weight * rows).sum()
    # An even disc has half the square of its radius there; a pixel adds a sixth.
    squares = (weight * ((columns - x) ** 2 + (rows - y) ** 2)).sum() - 1 / 6
    return light.sum(), (x, y), np.sqrt(2 * squares)


@pytest.fixture(scope="module")
def two_discs_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite") / "two_discs"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(scenes.SCENES, "two_discs", two_discs)
        suite.trace("two_discs", folder, suite.Options(size=SIZE, samples=64))
    return folder


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize(
    ("half", "at", "own_radius"),
    [(slice(8, 66), (40.25, 50.5), 3.0), (slice(66, 128), (90.5, 45.75), 1.0)],
    ids=["surface", "light"],
)
def test_discs_have_the_radius_that_the_folder_tells(two_discs_folder, index, half, at, own_radius):
    sample = list(bench_ground_truth.read_suite(two_discs_folder.parent))[index]
    bokeh = np.load(two_discs_folder / f"bokeh_{index}_linear.npz")["rgb"].astype(np.float64)
    expected = sample.blur * (sample.disparity[int(at[1]), int(at[0])] - sample.focus)
    total, centre, radius = moments(bokeh, half)
    sharp_total, _, sharp_radius = moments(sample.radiance, half)
    assert abs(expected) > 3
    assert sharp_radius == pytest.approx(own_radius, abs=0.1)
    # Both are even discs, and the squares of radii add up.
    assert math.sqrt(radius**2 - own_radius**2) == pytest.approx(abs(expected), abs=0.1)
    assert centre == pytest.approx(at, abs=0.1)
    assert total == pytest.approx(sharp_total, rel=0.02)


def test_the_folder_says_what_the_pictures_are(two_discs_folder):
    meta = json.loads((two_discs_folder / "meta.json").read_text())
    disparity = np.load(two_discs_folder / "disparity.npz")["disparity"]
    assert disparity.dtype == np.float16
    assert (disparity.min(), disparity.max()) == (0, 1)
    map_of = meta["disparity"]
    assert map_of["depth_min"] == pytest.approx(1, rel=1e-4)
    assert map_of["depth_max"] == pytest.approx(10, rel=1e-4)
    for sample in meta["samples"]:
        lens = sample["aperture_radius"] * meta["focal_length_px"] * map_of["scale"]
        assert sample["K"] == pytest.approx(lens)
        inverse = map_of["offset"] + map_of["scale"] * sample["focus"]
        assert 1 / inverse == pytest.approx(sample["focus_depth"])
        assert 30 < sample["noise_psnr_db"] < 80
        linear = np.load(two_discs_folder / sample["linear"])["rgb"]
        assert linear.dtype == np.float16
        assert not np.any(linear.view(np.uint16) & 0xF)
        shown = bench_ground_truth.read_picture(two_discs_folder / sample["image"])
        cut = suite.encoded(linear.astype(np.float32))
        np.testing.assert_allclose(shown, cut, atol=0.008)


def test_a_plane_has_its_depth_in_closed_form():
    height = SIZE[1]
    floor = camera(scenes.ground(0.5, 0.5, 9.9, "white", 1.0))
    depth = floor.depth()
    rows = np.arange(height) + 0.5 - height / 2
    inverse = rows / (floor.focal_length * 0.5)
    on_floor = inverse > 1 / 9.5
    assert on_floor.sum() > 20
    np.testing.assert_allclose(
        1 / depth[on_floor], inverse[on_floor, None] + 0 * depth[on_floor], rtol=1e-6
    )
    np.testing.assert_allclose(depth[inverse < 1 / 10], 10, rtol=1e-6)


def test_what_is_in_focus_is_as_the_pinhole_sees_it():
    pictures = camera(shapes.card((0, 0, 2), (4, 3), texture="coffee"))
    lens = tracer.Lens(0.1, 2.0)
    sharp = suite.encoded(pictures.picture(64, 1))
    halves = [suite.encoded(pictures.picture(64, seed, lens)) for seed in (2, 3)]
    noise = suite.psnr(*halves)
    assert noise > 35
    assert suite.psnr(sharp, halves[0]) > noise - 1
    assert suite.psnr(sharp, suite.encoded(pictures.picture(64, 4, tracer.Lens(0.1, 3.0)))) < 30


@pytest.mark.parametrize("blades", [0, 5])
def test_no_opening_changes_the_brightness(blades):
    grey = camera(shapes.card((0, 0, 3), (6, 5), texture="white", gain=0.5))
    for radius in (0.01, 0.2):
        lens = tracer.Lens(radius, 1.5, tracer.Opening(blades, 10))
        np.testing.assert_allclose(grey.picture(16, 0, lens), 0.5, rtol=1e-5)


@pytest.mark.parametrize("focus", [9.0, 1.5], ids=["near", "far"])
@pytest.mark.parametrize("kind", ["surface", "light"])
def test_blades_show_as_the_renderer_has_them(kind, focus):
    """A small light shows the opening, turned if it is nearer than the focus."""
    at, own = place(64.5, 48.5, 3.0), 3 * 2 * scenes.HALF_WIDTH * 3 / SIZE[0]
    if kind == "surface":
        traced = camera(shapes.disc(at, own, texture="white", gain=9))
    else:
        traced = camera(lights=(scenes.Light(at, own, (9.0, 9.0, 9.0)),))
    radius = 14 / (traced.focal_length * abs(1 / 3 - 1 / focus))
    lens = tracer.Lens(radius, focus, tracer.Opening(3, 20))
    light = traced.picture(64, 0, lens)[..., 0]
    signed = 14.0 if focus > 3 else -14.0
    expected = kernels.lens_kernel(kernels.Polygon(blades=3, rotation=20), signed, SIZE[::-1])
    own_disc = kernels.lens_kernel(kernels.Circle(), 3.0, SIZE[::-1])
    expected = jnp.fft.ifft2(jnp.fft.fft2(expected) * jnp.fft.fft2(own_disc)).real
    # Turned by half a turn, or mirrored, it is another picture.
    origin = np.asarray(expected)
    others = [
        np.roll(origin[::-1, ::-1], (1, 1), (0, 1)),
        np.roll(origin[::-1], 1, 0),
        np.roll(origin[:, ::-1], 1, 1),
    ]
    likeness = [
        np.corrcoef(light.ravel(), np.fft.fftshift(picture).ravel())[0, 1]
        for picture in (origin, *others)
    ]
    assert light.sum() == pytest.approx(np.pi * 3**2 * 9, rel=0.02)
    assert likeness[0] > 0.9
    assert max(likeness[1:]) < likeness[0] - 0.04


def test_half_of_a_light_behind_an_edge():
    """In focus, it keeps its place and loses the half of the lens that the edge hides."""
    pixel = 2 * scenes.HALF_WIDTH / SIZE[0]
    light = scenes.Light((0, 0, 4.0), 4 * pixel, (10.0, 10.0, 10.0))
    hiding = shapes.card((0.5, 0, 1.0), (1.0, 2.0), texture=None)
    lens = tracer.Lens(0.1, 4.0)
    whole = camera(lights=(light,)).picture(64, 0, lens).sum()
    half = camera(hiding, lights=(light,)).picture(64, 0, lens).sum()
    assert half == pytest.approx(whole / 2, rel=0.02)


def test_surfaces_turn_their_light_side_to_the_lens():
    random = np.random.default_rng(0)
    line = np.array([[(-0.3, -0.3, 2.0), (0, 0.1, 2.1), (0.2, 0.2, 2.0)]])
    ball, tube = (
        shapes.ball((0, 0, 3), 0.5, texture="white"),
        shapes.tubes(line, 0.05, texture="white"),
    )
    leaf = shapes.leaves(np.array([[0, 0, 2.0], [0.1, 0, 1.9]]), 0.3, random, texture="white")
    card = shapes.card((0, 0, 2), (0.5, 0.5), roll=30, yaw=50, texture="white")
    for surface in (ball, tube, leaf, card):
        light = camera(surface).picture(16, 0)[..., 0]
        nearer = camera(surface).depth() < 9
        assert nearer.sum() > 50
        assert np.quantile(light[nearer], 0.05) > 0.2
        assert np.quantile(light[nearer], 0.3) == pytest.approx(1)


def test_pictures_lie_upright(monkeypatch):
    corner = np.zeros((8, 8, 3))
    corner[:4, :4, 0] = corner[:4, 4:, 1] = 1
    monkeypatch.setitem(textures.MADE, "white", lambda random: corner)
    light = camera(shapes.card((0, 0, 2), (2, 2), texture="white")).picture(4, 0)
    middle = light[12:-12, 24:-24]
    rows, columns = middle.shape[0] // 2, middle.shape[1] // 2
    assert middle[: rows - 12, : columns - 12, 0].mean() > 0.95
    assert middle[: rows - 12, columns + 12 :, 1].mean() > 0.95
    assert middle[rows + 12 :].max() < 0.05


def test_a_scene_with_a_hole_is_refused():
    scene = camera(size=(16, 12))
    scene._scene = scene._load({"card": scene._mesh(scenes.backdrop(3, None, margin=0.5), None)})
    with pytest.raises(ValueError, match="a ray leaves the scene"):
        scene.depth()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_command_makes_suites(tmp_path, capsys):
    small = ["--size", "32x24", "--samples", "4"]
    command.main(["all", "--out", str(tmp_path / "all"), *small])
    assert "fence/3: " in capsys.readouterr().out
    samples = list(bench_ground_truth.read_suite(tmp_path / "all"))
    assert len(samples) == 24
    published = bench_ground_truth.SUITE / "p03_fence"
    assert contents(tmp_path / "all/fence").keys() == contents(published).keys()
    for sample in samples:
        assert sample.image.shape == sample.bokeh.shape == (24, 32, 3)
        assert (sample.disparity.min(), sample.disparity.max()) == (0, 1)
        assert sample.bokeh.mean() == pytest.approx(sample.image.mean(), abs=0.1)
    for path in (tmp_path / "all").glob("*/meta.json"):
        meta, known = (
            json.loads(path.read_text()),
            json.loads((published / "meta.json").read_text()),
        )
        assert meta.keys() == known.keys()
        assert meta["samples"][0].keys() == known["samples"][0].keys()
        assert all(source["author"] and source["licence"] for source in meta["sources"])

    command.main(["fence", "--out", str(tmp_path / "again"), *small])
    assert contents(tmp_path / "again/fence") == contents(tmp_path / "all/fence")
    command.main(["fence", "--out", str(tmp_path / "other"), "--seed", "1", *small])
    assert contents(tmp_path / "other/fence") != contents(tmp_path / "all/fence")


def test_photographs_of_a_folder_are_named_with_their_licence(tmp_path):
    Image.new("RGB", (40, 30), (200, 0, 0)).save(tmp_path / "red.png")
    (tmp_path / "licences.tsv").write_text("red.png\tA. Painter\tCC0-1.0\n")
    pictures = textures.Textures(0, tmp_path)
    assert pictures("coffee")[0, 0] == pytest.approx((0.578, 0, 0), abs=1e-3)
    pictures("astronaut")
    assert [source.author for source in pictures.used.values()] == ["A. Painter", "NASA"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "x"], "scene"),
        (["castle", "--out", "x"], "castle: no such scene; there are portrait, "),
        (["fence"], "--out"),
        (["fence", "--out", "x", "--size", "512"], "512: a size is WIDTHxHEIGHT"),
        (["fence", "--out", "x", "--size", "30x22"], "multiples of 4"),
        (["fence", "--out", "x", "--size", "96x128"], "4:3 or wider"),
        (["fence", "--out", "x", "--samples", "100"], "power of four"),
        (["fence", "--out", "x", "--aperture", "2"], "3 to 64 blades"),
        (["fence", "--out", "x", "--blur", "nan"], "blur is a factor"),
        (["fence", "--out", "x", "--rotation", "inf"], "inf: a rotation is"),
        (["fence", "--out", "x", "--seed", "-1"], "a seed is a whole number"),
        (["fence", "--out", "x", "--variant", "gpu"], "gpu: Mitsuba's variants"),
        (["fence", "--out", "x", "--textures", "nowhere"], "nowhere: no such folder"),
        (["fence", "--out", "x", "--textures", "empty"], "empty: holds no pictures"),
        (["fence", "--out", "x", "--textures", "bare"], "licences.tsv: needed"),
        (
            ["fence", "--out", "x", "--textures", "part"],
            "no line (file, author, licence) for a.png",
        ),
        (["fence", "--out", "x", "--textures", "torn"], "a.png: cannot read this picture"),
        (["fence", "--out", "full"], "fence: is there already"),
        (["all", "--out", "full"], "fence: is there already"),
        (["fence", "--out", "bare/a.png"], "bare/a.png: is no folder; name another --out"),
    ],
)
def test_wrong_usage_gets_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "bare", "part", "torn", "full/fence"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("bare", "part"):
        Image.new("RGB", (8, 8)).save(tmp_path / name / "a.png")
    (tmp_path / "part/licences.tsv").write_text("b.png\tsomeone\tCC0-1.0\n")
    (tmp_path / "torn/a.png").write_bytes(b"torn")
    (tmp_path / "torn/licences.tsv").write_text("a.png\tsomeone\tCC0-1.0\n")
    with pytest.raises(SystemExit) as left:
        command.main(words)
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("x/*"))


def test_without_mitsuba_the_extra_is_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as left:
        command.main(["fence", "--out", str(tmp_path / "x")])
    assert left.value.code == 2
    assert f"ray tracing needs mitsuba, scikit-image, scipy: {extras.hint('truth')}\n" in (
        capsys.readouterr().err
    )


def test_a_scene_that_fails_leaves_nothing(monkeypatch, capsys, tmp_path):
    def failing(name, folder, options):
        (folder / "disparity.npz").write_bytes(b"half")
        raise ValueError("no more light")

    monkeypatch.setattr(suite, "trace", failing)
    with pytest.raises(SystemExit) as left:
        command.main(["fence", "--out", str(tmp_path)])
    assert left.value.code == 2
    assert "no more light" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
