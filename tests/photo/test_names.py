import os
from pathlib import Path

import pytest

from d2f_jax.photo import names
from tests.fakes import save_picture


@pytest.fixture
def folder(tmp_path):
    for name in ("b.JPG", "a.png", "a_bokeh.png", "a_bokeh_mask.png", "c_bokeh.png", ".h.png"):
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "sub.png").mkdir()
    (tmp_path / "sub.png" / "d.tif").touch()
    return tmp_path


def called(paths):
    return [path.name for path in paths]


def test_folders_give_their_photographs_but_no_results(folder):
    (folder / "sub.png" / "d.tif").unlink()
    (folder / "sub.png").rmdir()
    assert called(names.find_photographs([str(folder)])) == ["a.png", "b.JPG", "c_bokeh.png"]


def test_patterns_give_files_but_no_results(folder):
    assert called(names.find_photographs([f"{folder}/*.png"])) == ["a.png", "c_bokeh.png"]
    assert called(names.find_photographs([f"{folder}/**/*.tif"])) == ["d.tif"]


def test_results_that_a_shell_names_too_are_left_out_with_a_note(folder):
    notes = []
    named = [str(folder / name) for name in ("a.png", "a_bokeh.png", "a_bokeh_mask.png")]
    assert called(names.find_photographs(named, notify=notes.append)) == ["a.png"]
    (note,) = notes
    assert note.endswith("results of an earlier run left out: a_bokeh.png, a_bokeh_mask.png")
    # Without its photograph a result is a photograph like any other.
    assert called(names.find_photographs([str(folder / "a_bokeh.png")])) == ["a_bokeh.png"]


def test_subfolders_get_a_note_or_are_looked_into(folder):
    notes = []
    found = names.find_photographs([str(folder)], notify=notes.append)
    assert "d.tif" not in called(found)
    assert notes == [f"d2f: note: {folder}: subfolders left out (sub.png); see --recursive"]
    found = names.find_photographs([str(folder)], recursive=True, notify=notes.append)
    assert called(found) == ["a.png", "b.JPG", "c_bokeh.png", "d.tif"]
    assert len(notes) == 1


def test_names_stay_in_their_order_and_appear_once(folder):
    named = [str(folder / "b.JPG"), str(folder / "none.jpg"), str(folder / "b.JPG")]
    assert called(names.find_photographs(named)) == ["b.JPG", "none.jpg"]


def test_a_name_with_brackets_is_a_name_if_there_is_such_a_file(tmp_path):
    (tmp_path / "a[1].jpg").touch()
    assert called(names.find_photographs([str(tmp_path / "a[1].jpg")])) == ["a[1].jpg"]


def test_nothing_found_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no photographs named"):
        names.find_photographs([])
    with pytest.raises(ValueError, match="no photographs there"):
        names.find_photographs([str(tmp_path)])
    with pytest.raises(ValueError, match=r"\*.jpg: no photographs there"):
        names.find_photographs([str(tmp_path / "*.jpg")])


def plan(sources, output=None, save_maps=False, **more):
    return names.plan_targets([Path(s) for s in sources], output, save_maps=save_maps, **more)


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
    assert called(names.find_photographs([str(tmp_path)])) == ["a.heic", "a.jpg"]


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
        names.plan_targets([tmp_path / "a.png"], str(tmp_path / "m.png"), keep=[tmp_path / "m.png"])


def test_a_locked_folder_of_photographs_is_refused(tmp_path, monkeypatch):
    def denied(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(ValueError, match=": cannot list it: Permission denied"):
        names.find_photographs([str(tmp_path)])


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
