import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from d2f_jax.training.data import ebb, synthetic
from tests.train.test_export import CONFIG, save_run
from train import evaluate, export


def sharp(image):
    """A model that blurs nothing."""
    return SimpleNamespace(bokeh=image)


class Sharp:
    """The same as a loaded model."""

    config = SimpleNamespace(sizes=(1, 69))

    def __call__(self, image):
        return sharp(image)


def ebb_like(root, numbers):
    rng = np.random.default_rng(0)
    for number in numbers:
        for kind in ("input", "bokeh"):
            path = root / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (80, 90, 3), np.uint8)).save(path)


def test_a_model_is_scored_against_the_bokeh():
    source = synthetic.Synthetic(synthetic.SyntheticConfig(size=(80, 96)), 3)
    scored = evaluate.evaluate(sharp, ["a", "b", "c"], source)
    sample = source[1]
    wanted = -10 * np.log10(np.mean((sample["image"] - sample["bokeh"]) ** 2))
    np.testing.assert_allclose(scored.scores["b"]["gaussian PSNR"], wanted, rtol=1e-5)
    assert list(scored.scores) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate.evaluate(sharp, [], [])


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["5", "4224", "4399", "4400"]),
        ({"split": "val294"}, ["4400"]),
        ({"split": "val470"}, ["4224", "4399", "4400"]),
        ({"split": "val470", "limit": 2}, ["4224", "4399"]),
    ],
)
def test_the_split_chooses_by_number(tmp_path, options, names):
    ebb_like(tmp_path, (5, 4224, 4399, 4400))
    config = evaluate.EvaluateConfig(weights=tmp_path, data=tmp_path, **options)
    got, source = evaluate.open_source(config)
    assert got == names
    assert len(source) == len(names)


def test_parts_of_a_layout_are_not_mixed(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for part, count in (("train", 3), ("test", 2)):
        for kind in ("original", "bokeh"):
            for number in range(count):
                path = tmp_path / part / kind / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 255, (80, 90, 3), np.uint8)).save(path)
    for split, names in (
        ("auto", ["test/0", "test/1"]),
        ("train", ["train/0", "train/1", "train/2"]),
        ("all", ["train/0", "train/1", "train/2", "test/0", "test/1"]),
    ):
        config = evaluate.EvaluateConfig(weights=tmp_path, data=tmp_path, split=split)
        assert evaluate.open_source(config)[0] == names
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"{tmp_path}: layout PyNET, 2 pairs of test",
        f"{tmp_path}: layout PyNET, 3 pairs of train",
        f"{tmp_path}: layout PyNET, 5 pairs",
    ]
    config = evaluate.EvaluateConfig(weights=tmp_path, data=tmp_path, split="train", limit=1)
    evaluate.open_source(config)
    assert "1 pair of train, the first of 3\n" in capsys.readouterr().err
    config = evaluate.EvaluateConfig(weights=tmp_path, data=tmp_path, split="validation")
    with pytest.raises(ValueError, match=r"\(PyNET\) has no part validation"):
        evaluate.open_source(config)


def test_synthetic_pairs_are_held_out(tmp_path):
    config = evaluate.EvaluateConfig(weights=tmp_path, limit=2, size=(64, 64))
    names, source = evaluate.open_source(config)
    assert len(names) == len(source) == 2
    assert source.start == evaluate.HELD_OUT
    assert source[0]["image"].shape == (64, 64, 3)


def test_synthetic_pairs_are_blurred_as_far_as_the_kernels_reach(tmp_path, monkeypatch):
    seen = []
    model = SimpleNamespace(config=SimpleNamespace(sizes=(1, 9, 17)))
    monkeypatch.setattr(export, "load", lambda path: model)
    monkeypatch.setattr(
        evaluate, "evaluate", lambda model, names, source, **_: seen.append(source) or SCORED
    )
    assert evaluate.main([str(tmp_path), "--limit", "1", "--size", "64", "64"]) == 0
    (source,) = seen
    assert source.config.full_radius == source.config.radius[1] == 16


SCORED = SimpleNamespace(table=lambda: "")


def test_the_command_writes_scores(tmp_path, monkeypatch, capsys):
    ebb_like(tmp_path / "data", (1, 2))
    monkeypatch.setattr(export, "load", lambda path: Sharp())
    arguments = ["w.safetensors", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    assert evaluate.main(arguments) == 0
    assert "| **gaussian** |" in capsys.readouterr().out
    content = json.loads((tmp_path / "out/scores.json").read_text())
    assert list(content["pictures"]) == ["1", "2"]


def test_a_run_is_scored_and_what_on_is_said(tmp_path, capsys):
    save_run(tmp_path / "run", CONFIG)
    assert evaluate.main([str(tmp_path / "run"), "--limit", "1", "--size", "80", "96"]) == 0
    said = capsys.readouterr()
    assert "1 picture; mean" in said.out
    assert said.err == "no --data: 1 synthetic pair of 80x96 that no preset trains on\n"


def test_mistakes_are_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    assert evaluate.main([str(tmp_path / "no.safetensors"), "--limit", "1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    monkeypatch.setattr(export, "load", lambda path: Sharp())
    assert evaluate.main(["w", "--data", str(tmp_path)]) == 2
    assert "no pairs in any known layout" in capsys.readouterr().err
    ebb_like(tmp_path, (1,))
    assert evaluate.main(["w", "--data", str(tmp_path), "--split", "val294"]) == 2
    assert "(BokehDiff) has no pair of val294" in capsys.readouterr().err


def test_a_prepared_ebb_is_read_by_its_splits(tmp_path):
    ebb_like(tmp_path / "raw", (5, 4300, 4400))
    ebb.prepare(tmp_path / "raw", tmp_path / "packed")
    config = evaluate.EvaluateConfig(
        weights=tmp_path, data=tmp_path / "packed", split="val470", limit=1
    )
    names, source = evaluate.open_source(config)
    assert names == ["4300"]
    assert source[0]["image"].shape == (80, 90, 3)
    with pytest.raises(ValueError, match="choose a split with --split"):
        evaluate.open_source(evaluate.EvaluateConfig(weights=tmp_path, data=tmp_path / "packed"))
