from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2f_jax.photo import batch, develop, renderers
from d2f_jax.photo.settings import Settings
from tests.fakes import save_bright_is_near, save_picture


def run(images, *, output=None, save_maps=False, **settings):
    return batch.run(images, Settings(**settings), output=output, save_maps=save_maps)


def test_finished_photographs_are_skipped_or_replaced(tmp_path, d2f, capsys):
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / name)
    (tmp_path / "a_bokeh.png").write_bytes(b"done before")
    assert batch.run([str(tmp_path)], Settings(), skip=True) == 0
    assert (tmp_path / "a_bokeh.png").read_bytes() == b"done before"
    out = capsys.readouterr()
    assert out.out == "1 of 1 photographs done, beside them, as NAME_bokeh\n"
    assert "1 done before, left alone" in out.err
    assert batch.run([str(tmp_path)], Settings()) == 0
    with Image.open(tmp_path / "a_bokeh.png") as picture:
        assert picture.size == (80, 64)


def test_a_stopped_folder_says_how_far_it_came(tmp_path, monkeypatch, capsys):
    for name in ("a", "b", "c", "d"):
        save_picture(tmp_path / f"{name}.png")
    (tmp_path / "a.png").write_bytes(b"no picture")
    developed = []

    def work(photo, *_, canvas):
        if developed:
            raise KeyboardInterrupt
        developed.append(photo)
        return develop.Developed(photo, {}, {}, None, 0.0)

    monkeypatch.setattr(renderers, "renderer", lambda settings: work)
    with pytest.raises(KeyboardInterrupt):
        batch.run([str(tmp_path)], Settings())
    said = capsys.readouterr().err
    assert "a.png: " in said
    assert "1 of 4 photographs done before; --skip goes on" in said


def test_a_terminal_is_told_why_the_first_picture_takes(tmp_path, d2f, monkeypatch, capsys):
    save_picture(tmp_path / "a.png")
    for terminal in (True, False):
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("FORCE_COLOR", "1" if terminal else "")
        assert batch.run([str(tmp_path / "a.png")], Settings()) == 0
        assert ("code is compiled" in capsys.readouterr().err) == terminal


def test_equal_names_in_two_subfolders_are_both_developed(tmp_path, d2f, monkeypatch):
    for place in ("in/spring", "in/summer"):
        (tmp_path / place).mkdir(parents=True)
        save_picture(tmp_path / place / "a.png")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert batch.run(["in"], Settings(), output="out", recursive=True) == 0
        assert sorted(str(path) for path in Path("out").rglob("*.png")) == [
            "out/spring/a_bokeh.png",
            "out/summer/a_bokeh.png",
        ]


def test_maps_lie_in_the_subfolders_of_their_photographs(tmp_path, lens, monkeypatch, capsys):
    for place in ("in/spring", "in/summer", "maps/spring", "maps/summer"):
        (tmp_path / place).mkdir(parents=True)
    for season, near in (("spring", "right"), ("summer", "left")):
        save_picture(tmp_path / "in" / season / "a.png")
        values = np.tile(np.linspace(0, 255, 80).astype(np.uint8), (64, 1))
        values = values if near == "right" else values[:, ::-1]
        Image.fromarray(values).save(tmp_path / "maps" / season / "a.png")
    monkeypatch.chdir(tmp_path)
    settings = Settings(disparity=Path("maps"), refine="off", focus="nearest")
    assert batch.run(["in"], settings, output="out", recursive=True) == 0
    assert [call.disparity[0, 0] for call in lens.calls] == [0, 1]
    # One map for two photographs of one name cannot be right for both.
    (tmp_path / "maps" / "spring" / "a.png").rename(tmp_path / "maps" / "a.png")
    (tmp_path / "maps" / "summer" / "a.png").unlink()
    assert batch.run(["in"], settings, output="out", recursive=True) == 1
    (line,) = [x for x in capsys.readouterr().err.splitlines() if "its map" in x]
    assert line == (
        "d2f: in/summer/a.png: its map maps/a.png is that of in/spring/a.png; give the maps the "
        "photographs' folders"
    )


@pytest.fixture
def photograph(tmp_path):
    """A photograph that gets brighter to the right, and the command's options to render it."""
    image = np.tile(np.linspace(30, 220, 96, dtype=np.uint8)[None, :, None], (72, 1, 3))
    path = tmp_path / "photo.png"
    Image.fromarray(image).save(path)
    return path


def test_a_depth_network_makes_the_map(tmp_path, photograph):
    """A network that calls bright pixels near, in an ONNX file, through the whole command."""
    model = save_bright_is_near(tmp_path / "depth.onnx")
    target = tmp_path / "out.png"
    code = run(
        [str(photograph)],
        output=str(target),
        depth_model=str(model),
        focus="nearest",
        save_maps=True,
    )
    assert code == 0
    with np.load(tmp_path / "out_maps.npz") as maps:
        disparity = maps["disparity"]
    assert disparity[:, 90].min() > disparity[:, 5].max()
    with Image.open(target) as done:
        assert done.size == (96, 72)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"disparity": Path("a.png"), "depth_model": "b.onnx"}, "name one of them"),
        ({"depth_model": "missing.onnx"}, "no such file"),
        ({"depth_model": "photo.png"}, "not a readable ONNX network"),
        ({"renderer": "lens"}, "--disparity FILE or --depth-model NAME"),
    ],
)
def test_wrong_ways_to_a_map(photograph, monkeypatch, options, message):
    monkeypatch.chdir(photograph.parent)
    with pytest.raises(ValueError, match=message):
        run([str(photograph)], **options)


@pytest.mark.parametrize("focus", ["nearest", "10,10,30,30", "0.5m"])
def test_conventions_and_named_focus(tmp_path, photograph, capsys, focus):
    """Metres that grow to the right: the left is near, in whatever words the focus is put."""
    metres = np.tile(np.linspace(0.5, 8.0, 96, dtype=np.float32), (72, 1))
    np.save(tmp_path / "depth.npy", metres)
    code = run(
        [str(photograph)],
        output=str(tmp_path / "out.png"),
        disparity=tmp_path / "depth.npy",
        convention="metres",
        focus=focus,
        save_maps=True,
    )
    assert code == 0
    with np.load(tmp_path / "out_maps.npz") as maps:
        radius = np.abs(maps["coc_radius"])
    assert radius.mean(axis=0).argmin() < 32


@pytest.mark.slow
def test_blades_and_restored_lights(tmp_path):
    """A clipped lamp in the dark opens into a brighter disc, of another shape with three blades."""
    image = np.full((96, 128, 3), 20, np.uint8)
    image[46:50, 62:66] = 255
    Image.fromarray(image).save(tmp_path / "lamp.png")
    disparity = np.full((96, 128), 0.0, np.float32)
    disparity[70:] = 1.0
    np.save(tmp_path / "map.npy", disparity)
    done = {}
    for name, options in (
        ("plain", {}),
        ("bright", {"restore_highlights": True}),
        ("blades", {"restore_highlights": True, "blades": 3}),
    ):
        target = tmp_path / f"{name}.png"
        run(
            [str(tmp_path / "lamp.png")],
            output=str(target),
            disparity=tmp_path / "map.npy",
            focus="1",
            blur="10px",
            **options,
        )
        with Image.open(target) as picture:
            done[name] = np.asarray(picture, np.float32)[30:66, 44:84]
    assert done["bright"].max() > done["plain"].max() + 10
    assert np.abs(done["bright"] - done["blades"]).max() > 10


def test_the_lens_has_blades_and_the_networks_have_not(photograph):
    with pytest.raises(ValueError, match=r"^--blades belongs to the renderer lens"):
        run([str(photograph)], renderer="d2f", weights=Path("w.safetensors"), blades=5)
