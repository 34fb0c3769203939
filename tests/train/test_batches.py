import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from train import batches, devices
from train.config import DataConfig

CONFIG = DataConfig(
    size=(64, 64),
    batch_size=2,
    train_samples=4,
    validation_samples=2,
    lens_samples=4,
    threads=1,
)


@pytest.fixture
def folder(tmp_path):
    """Five pairs of 160x192, each of one grey, its partner a little darker."""
    for part in ("original", "bokeh"):
        (tmp_path / part).mkdir()
    for number in range(5):
        for part, value in (("original", 40 * number + 20), ("bokeh", 40 * number + 10)):
            picture = Image.new("RGB", (192, 160), (value,) * 3)
            picture.save(tmp_path / part / f"{number}.png")
    return tmp_path


def greys(pairs, name="image"):
    return {round(float(picture.mean()) * 255) for picture in pairs[name]}


def test_synthetic_batches_are_endless_and_repeat_their_samples():
    data = batches.train_batches(CONFIG, half=True, radius=8)
    seen = [next(data) for _ in range(4)]
    assert seen[0]["image"].shape == (2, 64, 64, 3)
    assert seen[0].keys() == {"image", "bokeh", "defocus"}
    pictures = {picture.tobytes() for batch in seen for picture in batch["image"]}
    assert len(pictures) == 4


def test_held_out_pairs_are_full_size_and_never_trained_on():
    held = batches.validation_pairs(CONFIG, half=False, radius=4)
    assert held["image"].shape == (2, 64, 64, 3)
    data = batches.train_batches(CONFIG, half=False, radius=4)
    trained = {picture.tobytes() for _ in range(2) for picture in next(data)["image"]}
    assert not trained & {picture.tobytes() for picture in held["image"]}


def test_a_folder_gives_its_last_pairs_to_validation(folder):
    config = dataclasses.replace(CONFIG, source=folder, size=(32, 32))
    held = batches.validation_pairs(config, half=True, radius=8)
    assert held["image"].shape == (2, 64, 64, 3)
    assert greys(held) == {140, 180}
    assert greys(held, "bokeh") == {130, 170}
    data = batches.train_batches(config, half=True, radius=8)
    trained = [next(data) for _ in range(3)]
    assert trained[0]["image"].shape == (2, 32, 32, 3)
    assert set().union(*(greys(batch) for batch in trained)) == {20, 60, 100}


def test_a_folder_without_enough_pairs_is_refused(folder, tmp_path):
    config = dataclasses.replace(CONFIG, source=folder, validation_samples=5)
    with pytest.raises(ValueError, match="5 pairs, none left to train on"):
        batches.train_batches(config, half=True, radius=8)
    (tmp_path / "empty").mkdir()
    config = dataclasses.replace(CONFIG, source=tmp_path / "empty")
    with pytest.raises(ValueError, match="holds no pairs"):
        batches.train_batches(config, half=True, radius=8)


def test_the_test_part_of_a_layout_is_left_to_tests(folder, tmp_path):
    data = tmp_path / "data"
    for part, numbers in (("train", range(4)), ("test", [4])):
        for kind in ("original", "bokeh"):
            (data / part / kind).mkdir(parents=True)
            for number in numbers:
                (folder / kind / f"{number}.png").rename(data / part / kind / f"{number}.png")
    config = dataclasses.replace(CONFIG, source=data, size=(32, 32), validation_samples=1)
    assert greys(batches.validation_pairs(config, half=True, radius=8)) == {140}
    trained = batches.train_batches(config, half=True, radius=8)
    seen = [next(trained) for _ in range(3)]
    assert set().union(*(greys(batch) for batch in seen)) == {20, 60, 100}


def test_an_unreadable_pair_is_named(folder):
    (folder / "bokeh" / "3.png").write_bytes(b"not a picture")
    config = dataclasses.replace(CONFIG, source=folder)
    with pytest.raises(ValueError, match=r"3\.png: not a picture of a known kind"):
        batches.train_batches(config, half=True, radius=8)


def test_the_last_chunk_is_filled_up():
    pairs = {"image": np.arange(5)[:, None], "bokeh": np.arange(5)[:, None]}
    parts = list(batches.chunks(pairs, 3))
    assert [count for _, count in parts] == [3, 2]
    np.testing.assert_array_equal(parts[1][0]["image"][:, 0], [3, 4, 4])


def test_batches_lie_on_the_devices():
    batch = {name: np.zeros((2, 4, 4, 3), np.float32) for name in ("image", "bokeh")}
    placed = batches.to_devices(batch, devices.split())
    assert placed["image"].sharding.is_equivalent_to(devices.split(), 4)
    assert isinstance(placed["bokeh"], jax.Array)
