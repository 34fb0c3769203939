import json
import sys

import numpy as np
import pytest
from PIL import Image

from train import plot

ENTRIES = [
    {"step": 10, "loss": 0.5, "l1": 0.25, "perceptual": 0.0, "images_per_second": 4.0},
    {"step": 20, "loss": 0.4, "l1": 0.2, "perceptual": 0.0}
    | {"val_psnr": 24.0, "val_psnr_input": 23.0, "val_ssim": 0.8, "gradient_norm": 1.0},
    {"step": 30, "loss": 0.3, "l1": 0.1, "perceptual": 0.0},
]


def write(folder, entries, rest=""):
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    (folder / "metrics.jsonl").write_text(text + rest)
    return folder


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["plot", *map(str, words)])
    plot.main()


def test_every_measure_is_a_curve_over_its_own_steps(tmp_path):
    drawn = plot.curves(plot.read_metrics(write(tmp_path, ENTRIES)))
    assert drawn["loss"] == ([10, 20, 30], [0.5, 0.4, 0.3])
    assert drawn["val_psnr"] == ([20], [24.0])
    assert "perceptual" not in drawn, "a loss that is left out is no curve"


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    write(tmp_path, ENTRIES[:2], '{"step": 30, "lo')
    assert [entry["step"] for entry in plot.read_metrics(tmp_path)] == [10, 20]


def test_the_command_writes_a_picture(tmp_path, monkeypatch, capsys):
    command(monkeypatch, write(tmp_path, ENTRIES))
    assert capsys.readouterr().out == f"wrote {tmp_path / 'curves.png'}\n"
    with Image.open(tmp_path / "curves.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    blue = (pixels[..., 2] - pixels[..., 0] > 100).mean()
    assert 0.0005 < blue < 0.05, "there are curves on the panels"
    command(monkeypatch, tmp_path, "--output", tmp_path / "curves.svg")
    assert (tmp_path / "curves.svg").read_text().startswith("<?xml")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"metrics.jsonl", "curves.png", "curves.svg"}


def test_a_single_line_is_enough(tmp_path):
    plot.draw([{"step": 1, "loss": 0.5}], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no metrics.jsonl there; name the --workdir of a run"),
        ("", "nothing measured yet"),
        ('{"step": 1, "loss": 1}\n{"ste\n', "metrics.jsonl: line 2 is broken; mend or delete it"),
        ("[1]\n", "line 1 is broken; mend or delete it"),
        ('{"loss": 1}\n', "line 1 is broken; mend or delete it"),
        ('{"step": 1, "loss": "x"}\n', "line 1 is broken: loss is not a number"),
        (b"\xff\n", "metrics.jsonl: cannot read it"),
    ],
)
def test_bad_metrics_are_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, content, message):
    if content is not None:
        content = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(SystemExit) as exit_:
        command(monkeypatch, tmp_path)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "curves.png").exists()


def test_other_mistakes_are_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no such folder"):
        plot.read_metrics(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"curves\.xyz: Format 'xyz' is not supported"):
        plot.draw(ENTRIES, tmp_path / "curves.xyz")
    with pytest.raises(ValueError, match="cannot write there"):
        plot.draw(ENTRIES, tmp_path / "nowhere" / "curves.png")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match=r"needs matplotlib: .*pip install '\.\[train\]'"):
        plot.draw(ENTRIES, tmp_path / "curves.png")
