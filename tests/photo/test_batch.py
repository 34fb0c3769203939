import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2f_jax.photo import batch
from d2f_jax.photo.settings import Settings
from tests.fakes import save_bright_is_near, save_picture


@pytest.fixture
def folder(tmp_path):
    for name in ("b.JPG", "a.png", "a_bokeh.png", "a_bokeh_mask.png", "c_bokeh.png", ".h.png"):
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "sub.png").mkdir()
    (tmp_path / "sub.png" / "d.tif").touch()
    return tmp_path


def run(images, *, output=None, save_maps=False, **settings):
    return batch.run(images, Settings(**settings), output=output, save_maps=save_maps)


def names(paths):
    return [path.name for path in paths]


def test_folders_give_their_photographs_but_no_results(folder):
    (folder / "sub.png" / "d.tif").unlink()
    (folder / "sub.png").rmdir()
    assert names(batch.find_photographs([str(folder)])) == ["a.png", "b.JPG", "c_bokeh.png"]


def test_patterns_give_files_but_no_results(folder):
    assert names(batch.find_photographs([f"{folder}/*.png"])) == ["a.png", "c_bokeh.png"]
    assert names(batch.find_photographs([f"{folder}/**/*.tif"])) == ["d.tif"]


def test_results_that_a_shell_names_too_are_left_out_with_a_note(folder):
    notes = []
    named = [str(folder / name) for name in ("a.png", "a_bokeh.png", "a_bokeh_mask.png")]
    assert names(batch.find_photographs(named, notify=notes.append)) == ["a.png"]
    (note,) = notes
    assert note.endswith("results of an earlier run left out: a_bokeh.png, a_bokeh_mask.png")
    # Without its photograph a result is a photograph like any other.
    assert names(batch.find_photographs([str(folder / "a_bokeh.png")])) == ["a_bokeh.png"]


def test_subfolders_get_a_note_or_are_looked_into(folder):
    notes = []
    found = batch.find_photographs([str(folder)], notify=notes.append)
    assert "d.tif" not in names(found)
    assert notes == [f"d2f: note: {folder}: subfolders left out (sub.png); see --recursive"]
    found = batch.find_photographs([str(folder)], recursive=True, notify=notes.append)
    assert names(found) == ["a.png", "b.JPG", "c_bokeh.png", "d.tif"]
    assert len(notes) == 1


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


def test_names_stay_in_their_order_and_appear_once(folder):
    named = [str(folder / "b.JPG"), str(folder / "none.jpg"), str(folder / "b.JPG")]
    assert names(batch.find_photographs(named)) == ["b.JPG", "none.jpg"]


def test_a_name_with_brackets_is_a_name_if_there_is_such_a_file(tmp_path):
    (tmp_path / "a[1].jpg").touch()
    assert names(batch.find_photographs([str(tmp_path / "a[1].jpg")])) == ["a[1].jpg"]


def test_nothing_found_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no photographs named"):
        batch.find_photographs([])
    with pytest.raises(ValueError, match="no photographs there"):
        batch.find_photographs([str(tmp_path)])
    with pytest.raises(ValueError, match=r"\*.jpg: no photographs there"):
        batch.find_photographs([str(tmp_path / "*.jpg")])


def plan(sources, output=None, save_maps=False, **more):
    return batch.plan_targets([Path(s) for s in sources], output, save_maps=save_maps, **more)


def test_targets_lie_beside_their_photographs():
    assert plan(["x/a.jpg", "y/b.TIF", "c.gif"]) == [
        Path("x/a_bokeh.jpg"),
        Path("y/b_bokeh.TIF"),
        Path("c_bokeh.png"),
    ]


def test_an_output_folder_is_made(tmp_path):
    assert plan(["x/a.jpg"], f"{tmp_path}/new/deep") == [tmp_path / "new" / "deep" / "a_bokeh.jpg"]
    assert (tmp_path / "new" / "deep").is_dir()
    assert plan(["x/a.jpg"], f"{tmp_path}/v1.2/") == [tmp_path / "v1.2" / "a_bokeh.jpg"]


def test_an_output_folder_keeps_the_subfolders_of_named_folders(tmp_path):
    sources = ["in/a.jpg", "in/x/a.jpg", "in/x/y/a.jpg", "elsewhere/b.jpg"]
    out = tmp_path / "out"
    assert plan(sources, str(out), roots=[Path("in")]) == [
        out / "a_bokeh.jpg",
        out / "x" / "a_bokeh.jpg",
        out / "x" / "y" / "a_bokeh.jpg",
        out / "b_bokeh.jpg",
    ]
    assert (out / "x" / "y").is_dir()


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


@pytest.mark.parametrize("order", [1, -1])
def test_two_kinds_of_one_name_get_two_results(order):
    notes = []
    sources = ["x/a.heic", "x/a.jpg", "x/b.heic", "y/a.heic"]
    targets = plan(sources[::order], notify=notes.append)[::order]
    assert [str(target) for target in targets] == [
        "x/a_heic_bokeh.jpg",
        "x/a_bokeh.jpg",
        "x/b_bokeh.jpg",
        "y/a_bokeh.jpg",
    ]
    assert notes == [
        "d2f: note: x/a.heic: becomes a_heic_bokeh.jpg, since x/a.jpg becomes a_bokeh.jpg"
    ]


def test_maps_of_two_kinds_of_one_name_do_not_meet():
    assert plan(["a.jpg", "a.png"]) == [Path("a_bokeh.jpg"), Path("a_bokeh.png")]
    assert plan(["a.jpg", "a.png"], save_maps=True) == [
        Path("a_bokeh.jpg"),
        Path("a_png_bokeh.png"),
    ]


def test_a_result_with_its_kind_in_its_name_is_left_out_later(tmp_path):
    for name in ("a.heic", "a.jpg", "a_bokeh.jpg", "a_heic_bokeh.jpg", "a_heic_bokeh_mask.png"):
        (tmp_path / name).touch()
    assert names(batch.find_photographs([str(tmp_path)])) == ["a.heic", "a.jpg"]


def test_an_output_file_may_change_the_format(tmp_path):
    assert plan(["a.jpg"], str(tmp_path / "out.tif")) == [tmp_path / "out.tif"]


@pytest.mark.parametrize(
    ("sources", "output", "message"),
    [
        (["a.jpg", "b.jpg"], "out.jpg", "one file cannot hold 2 photographs"),
        (["a.jpg"], "out.gif", "choose an ending among .jpg"),
        (["a.exr"], "out.jpg", "EXR files come from EXR files"),
        (["a.jpg"], "none/out.jpg", "none: no such folder"),
        (["x/a.jpg", "y/a.jpg"], ".", "would replace"),
        (["a.jpg", "a_bokeh.jpg"], None, "a_bokeh.jpg: would replace a_bokeh.jpg"),
    ],
)
def test_harmful_targets_are_refused(tmp_path, monkeypatch, sources, output, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        plan(sources, output)


def test_the_photograph_is_never_the_target(tmp_path):
    save_picture(tmp_path / "a.png")
    os.symlink(tmp_path / "a.png", tmp_path / "link.png")
    for output in ("a.png", "link.png", "../" + tmp_path.name + "/a.png"):
        with pytest.raises(ValueError, match="would replace"):
            plan([tmp_path / "a.png"], str(tmp_path / output))
    with pytest.raises(ValueError, match="would replace"):  # a map would
        plan([tmp_path / "o_mask.png"], str(tmp_path / "o.png"), save_maps=True)


def test_maps_and_weights_are_never_the_target(tmp_path):
    with pytest.raises(ValueError, match=r"m.png: would replace .*m.png"):
        batch.plan_targets([tmp_path / "a.png"], str(tmp_path / "m.png"), keep=[tmp_path / "m.png"])


def test_a_locked_folder_of_photographs_is_refused(tmp_path, monkeypatch):
    def denied(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(ValueError, match=": cannot list it: Permission denied"):
        batch.find_photographs([str(tmp_path)])


def test_a_refused_plan_makes_no_folder(tmp_path):
    with pytest.raises(ValueError, match="would replace"):
        plan([tmp_path / "x" / "a.jpg", tmp_path / "y" / "a.jpg"], str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_the_target_s_name_and_a_locked_folder_are_refused(tmp_path, monkeypatch):
    (tmp_path / "a_bokeh.jpg").mkdir()
    with pytest.raises(ValueError, match="a folder has this name"):
        plan([tmp_path / "a.jpg"])
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot make this folder"):
        plan([tmp_path / "a.jpg"], str(tmp_path / "file" / "sub"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match="cannot write to this folder"):
        plan([tmp_path / "b.jpg"])


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
