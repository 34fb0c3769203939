import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2f_jax.training.data import ebb, folder, loader

NUMBERS = (3, 20, 4223, 4224, 4399, 4400, 4693)


def pixels(number, kind):
    seed = 2 * number + (kind == "bokeh")
    return np.random.default_rng(seed).integers(0, 255, (24, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("ebb")
    for kind in ("original", "bokeh"):
        (root / "Training" / kind).mkdir(parents=True)
        for number in NUMBERS:
            path = root / "Training" / kind / f"{number}.png"
            Image.fromarray(pixels(number, kind)).save(path)
    return root


@pytest.fixture(scope="module")
def prepared(root, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("prepared")
    found = ebb.prepare(root, data_dir)
    assert found.layout.name == "challenge"
    return data_dir


@pytest.mark.parametrize(
    ("split", "wanted"),
    [
        ("train", (3, 20, 4223)),
        ("train294", (3, 20, 4223, 4224, 4399)),
        ("val294", (4400, 4693)),
        ("val470", (4224, 4399, 4400, 4693)),
    ],
)
def test_splits_hold_their_numbers_and_pictures(prepared, split, wanted):
    source = ebb.EbbSource(prepared, split)
    samples = [source[i] for i in range(len(source))]
    assert [int(s["number"]) for s in samples] == source.numbers == list(wanted)
    assert [n for n in NUMBERS if ebb.in_split(n, split)] == list(wanted)
    for sample in samples:
        number = int(sample["number"])
        assert sample["image"].dtype == np.float32
        np.testing.assert_allclose(sample["image"], pixels(number, "original") / np.float32(255))
        np.testing.assert_allclose(sample["bokeh"], pixels(number, "bokeh") / np.float32(255))


def test_it_feeds_the_chain_without_tensorflow(prepared):
    batch = next(iter(loader.make_loader(ebb.EbbSource(prepared, "train"), batch_size=3)))
    assert sorted(batch["number"].tolist()) == [3, 20, 4223]
    assert batch["bokeh"].shape == (3, 24, 32, 3)
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.99])
def test_half_written_records_are_named(root, tmp_path, kept):
    ebb.prepare(root, tmp_path)
    (path,) = tmp_path.rglob("ebb-train.array_record*")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match="damaged or half-written") as error:
        ebb.EbbSource(tmp_path, "train")
    assert "\n" not in str(error.value)
    assert len(ebb.EbbSource(tmp_path, "val294")) == 2


def test_a_flipped_bit_is_found(root, tmp_path):
    ebb.prepare(root, tmp_path)
    (path,) = tmp_path.rglob("ebb-train.array_record*")
    whole = bytearray(path.read_bytes())
    whole[900] ^= 1
    path.write_bytes(bytes(whole))
    with pytest.raises(ValueError, match="damaged or half-written"):
        ebb.EbbSource(tmp_path, "train")


def test_faulty_pairs_stop_the_packing(root, tmp_path):
    copy = tmp_path / "copy"
    for path in root.rglob("*.png"):
        target = copy / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes()[: 400 if path.stem == "20" else None])
    with pytest.raises(ValueError, match="2 faults in the data set"):
        ebb.prepare(copy, tmp_path / "out")
    with pytest.raises(ValueError, match="run prepare on the folder first"):
        ebb.EbbSource(tmp_path / "out")


def test_wrong_names_are_refused(prepared, tmp_path):
    with pytest.raises(ValueError, match="no split 'validation', choose one of train, val294"):
        ebb.EbbSource(prepared, "validation")
    with pytest.raises(ValueError, match="run prepare on the folder first"):
        ebb.EbbSource(tmp_path, "train")
    for kind in ("input", "bokeh"):
        (tmp_path / "few" / kind).mkdir(parents=True)
        Image.fromarray(pixels(1, kind)).save(tmp_path / "few" / kind / "1.png")
    ebb.prepare(tmp_path / "few", tmp_path / "out")
    with pytest.raises(ValueError, match="no pictures for 'val294': it holds train"):
        ebb.EbbSource(tmp_path / "out", "val294")


def pair(name, part=""):
    return folder.Pair(name, part, Path("a"), Path("b"))


def test_numbers_come_from_names_parts_and_order():
    assert ebb.numbers([pair("7"), pair("4400")]) == [7, 4400]
    assert ebb.numbers([pair("a"), pair("7")]) == [0, 1]
    twice = [pair("0", "train"), pair("5", "train"), pair("0", "test"), pair("2", "test")]
    assert ebb.numbers(twice) == [0, 5, 6, 8]


def test_the_paper_s_set_has_470_pictures():
    sizes = {name: sum(ebb.in_split(n, name) for n in range(4694)) for name in ebb.SPLITS}
    assert sizes == {"train": 4224, "val294": 294, "val470": 470, "train294": 4400}
