import json

import numpy as np
import pytest

from train.writers import Writers


@pytest.fixture
def open_writers(tmp_path):
    opened = []

    def make(**changes):
        settings = {"steps": 10, "step": 0, "batch": 4} | changes
        opened.append(Writers(tmp_path, **settings))
        return opened[-1]

    yield make
    for writers in opened:
        writers.close()


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_one_object_a_line(tmp_path, open_writers):
    out = open_writers()
    out.step(1)
    out.metrics(1, {"loss": 0.5, "l1": 0.25}, speed=out.lap(1))
    out.metrics(2, {"loss": 0.25, "l1": 0.125}, speed=3.0)
    first, second = lines(tmp_path)
    assert first["step"] == 1
    assert first["images_per_second"] > 0
    assert second == {"step": 2, "loss": 0.25, "l1": 0.125, "images_per_second": 3.0}


def test_going_on_drops_what_will_be_written_again(tmp_path, open_writers):
    text = '{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste'
    (tmp_path / "metrics.jsonl").write_text(text)
    open_writers(step=2)
    assert lines(tmp_path) == [{"step": 1}, {"step": 2}]


def test_a_log_file_gets_a_line_for_every_entry(open_writers, capsys):
    """The time left is told once compiling no longer counts in it."""
    out = open_writers()
    out.step(1)
    out.metrics(1, {"loss": 0.5}, speed=2.0)
    out.metrics(5, {"loss": 0.25, "val_psnr": 24.961}, speed=4.0)
    out.close()
    assert capsys.readouterr().err.splitlines() == [
        "step 1/10  loss 0.5000  2.0 images/s",
        "step 5/10  loss 0.2500  validation 24.96 dB  4.0 images/s  0:00:05 left",
    ]


def test_pictures_and_scalars_share_no_tag(open_writers, monkeypatch):
    out, tags = open_writers(), []
    monkeypatch.setattr(out._board, "add_scalar", lambda tag, *_: tags.append(tag))
    monkeypatch.setattr(out._board, "add_image", lambda tag, *_, **__: tags.append(tag))
    out.metrics(1, {"loss": 0.5, "defocus": 0.1}, speed=1.0)
    out.pictures(1, {"defocus": np.ones((8, 8))})
    assert sorted(tags) == ["defocus", "loss", "pictures/defocus"]


def test_pictures_go_to_tensorboard(tmp_path, open_writers):
    out = open_writers()
    out.pictures(3, {"input": np.zeros((8, 8, 3)), "defocus": np.ones((8, 8))})
    out.close()
    assert any((tmp_path / "tensorboard").iterdir())


def test_other_processes_are_quiet(tmp_path):
    out = Writers(tmp_path, steps=10, step=0, batch=4, quiet=True)
    out.step(1)
    out.metrics(1, {"loss": 0.5}, speed=out.lap(1))
    out.pictures(1, {})
    out.say("nothing")
    out.close()
    assert list(tmp_path.iterdir()) == []
