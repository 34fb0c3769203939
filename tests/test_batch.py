import os
from pathlib import Path

import pytest

from d2f_jax import batch
from tests.fakes import save_picture


@pytest.fixture
def folder(tmp_path):
    for name in ("b.JPG", "a.png", "a_bokeh.png", "a_bokeh_mask.png", "c_bokeh.png", ".h.png"):
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "sub.png").mkdir()
    (tmp_path / "sub.png" / "d.tif").touch()
    return tmp_path


def names(paths):
    return [path.name for path in paths]


def test_folders_give_their_photographs_but_no_results(folder):
    (folder / "sub.png" / "d.tif").unlink()
    (folder / "sub.png").rmdir()
    assert names(batch.find_photographs([str(folder)])) == ["a.png", "b.JPG", "c_bokeh.png"]


def test_patterns_give_files_but_no_results(folder):
    assert names(batch.find_photographs([f"{folder}/*.png"])) == ["a.png", "c_bokeh.png"]
    assert names(batch.find_photographs([f"{folder}/**/*.tif"])) == ["d.tif"]


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


def plan(sources, output=None, save_maps=False):
    return batch.plan_targets([Path(s) for s in sources], output, save_maps=save_maps)


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


def test_an_output_file_may_change_the_format(tmp_path):
    assert plan(["a.jpg"], str(tmp_path / "out.tif")) == [tmp_path / "out.tif"]


@pytest.mark.parametrize(
    ("sources", "output", "message"),
    [
        (["a.jpg", "b.jpg"], "out.jpg", "one file cannot hold 2 photographs"),
        (["a.jpg"], "out.bmp", "choose an ending among .jpg"),
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
