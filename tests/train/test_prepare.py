"""EBB! from a folder to what training reads, by the command."""

import sys

import numpy as np
import pytest
from PIL import Image

from d2f_jax.training.data import ebb
from train import prepare

NUMBERS = (0, 7, 4224, 4400, 4693)


@pytest.fixture
def pairs(tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("original", "bokeh"):
        (tmp_path / "EBB/Training" / kind).mkdir(parents=True)
        for number in NUMBERS:
            picture = Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8))
            picture.save(tmp_path / "EBB/Training" / kind / f"{number}.jpg")
    return tmp_path / "EBB"


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["train/prepare.py", *map(str, words)])
    try:
        prepare.main()
    except SystemExit as stop:
        return stop.code
    return 0


def test_the_pairs_are_packed_and_counted(pairs, tmp_path, monkeypatch, capsys):
    out = tmp_path / "packed"
    assert run(monkeypatch, pairs, out) == 0
    said = capsys.readouterr()
    assert "EBB: 5 pairs, reading each picture\n" in said.out
    assert "packed: layout challenge\n" in said.out
    counts = [line.split()[:2] for line in said.out.splitlines() if line.startswith("  ")]
    assert counts == [["train", "2"], ["val294", "2"], ["val470", "3"], ["train294", "3"]]
    last = said.out.splitlines()[-1]
    assert last.endswith(f"paper --data.source {out} --vgg vgg19.pth --workdir runs/1")
    assert said.err == ""
    assert ebb.EbbSource(out, "val470").numbers == [4224, 4400, 4693]
    assert run(monkeypatch, pairs, out) == 2
    assert capsys.readouterr().err == f"error: {out}: is there already; name a new folder\n"


def test_other_numbers_are_packed_but_not_to_be_trained_on(pairs, tmp_path, monkeypatch, capsys):
    for kind in ("original", "bokeh"):
        for number in (4224, 4400, 4693):
            (pairs / "Training" / kind / f"{number}.jpg").unlink()
    assert run(monkeypatch, pairs, tmp_path / "packed") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("not to be trained on: no pairs for val470, as the numbers of EBB!")
    assert f"--data.source {pairs} takes any pairs" in last


def test_what_lies_beside_stays(pairs, tmp_path, monkeypatch, capsys):
    root = pairs.rename(tmp_path / "packed.part")
    assert run(monkeypatch, root, tmp_path / "packed") == 0
    assert (root / "Training/bokeh/7.jpg").exists()
    (tmp_path / "file").touch()
    capsys.readouterr()
    assert run(monkeypatch, root, tmp_path / "file/packed") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path / 'file/packed'}: cannot be written")
    assert said.count("\n") == 1


def test_an_interrupted_run_leaves_nothing(pairs, tmp_path, monkeypatch, capsys):
    def interrupted(root, folder):
        (folder / "begun").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(ebb, "prepare", interrupted)
    assert run(monkeypatch, pairs, tmp_path / "packed") == 130
    assert capsys.readouterr().err == "interrupted; nothing was written\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["EBB"]


def test_faults_are_named_and_nothing_is_left_half_done(pairs, tmp_path, monkeypatch, capsys):
    out = tmp_path / "packed"
    (pairs / "Training/bokeh/7.jpg").unlink()
    (pairs / "Training/bokeh/0.jpg").write_bytes(b"no picture")
    assert run(monkeypatch, pairs, out) == 2
    said = capsys.readouterr().err
    assert "2 faults" in said
    assert "original/7.jpg has no partner" in said
    assert "bokeh/0.jpg" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["EBB"]
    assert run(monkeypatch, tmp_path / "none", out) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'none'} is not a folder\n"
