import numpy as np
import pytest
from PIL import Image

from d2f_jax.training.data import folder


def save(path, size=(24, 32), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


WAYS = {
    "challenge": ("Training/original/{}.jpg", "Training/bokeh/{}.jpg"),
    "PyNET": ("train/original/{}.jpg", "train/bokeh/{}.png"),
    "Bokehlicious": ("validation/in/{}.jpg", "validation/gt/{}.jpg"),
    "BokehDiff": ("input/{}.jpg", "bokeh/{}.jpg"),
    "plain": ("original/{}.png", "bokeh/{}.png"),
    "EBokehNet": ("{}_src.jpg", "{}_tgt.jpg"),
}


@pytest.mark.parametrize("name", WAYS)
def test_every_layout_is_recognised_and_read_in_order(tmp_path, name):
    for number in (10, 9, 100):
        for template in WAYS[name]:
            save(tmp_path / template.format(number), seed=number)
    found = folder.find_pairs(tmp_path)
    assert found.layout.name == name
    assert [pair.name for pair in found.pairs] == ["9", "10", "100"]
    assert not found.lonely
    assert folder.check_pairs(found) == []
    sample = folder.FolderSource(found.pairs)[1]
    assert sample["image"].shape == sample["bokeh"].shape == (24, 32, 3)
    assert sample["image"].dtype == np.float32
    pixels = np.asarray(Image.open(tmp_path / WAYS[name][0].format(10)))
    np.testing.assert_allclose(sample["image"], pixels / np.float32(255))


def test_every_layout_has_a_test():
    assert {layout.name for layout in folder.LAYOUTS} == set(WAYS)


def test_the_parts_of_a_layout_are_joined(tmp_path):
    for part, number in (("train", 0), ("train", 1), ("test", 0)):
        for kind in ("original", "bokeh", "original_depth"):
            save(tmp_path / part / kind / f"{number}.jpg")
    found = folder.find_pairs(tmp_path)
    assert [(p.part, p.name) for p in found.pairs] == [
        ("train", "0"),
        ("train", "1"),
        ("test", "0"),
    ]


def test_all_faults_are_reported_at_once(tmp_path):
    for number in range(5):
        save(tmp_path / f"input/{number}.jpg")
        save(tmp_path / f"bokeh/{number}.jpg")
    (tmp_path / "bokeh/0.jpg").unlink()
    (tmp_path / "input/1.jpg").unlink()
    save(tmp_path / "bokeh/2.jpg", size=(24, 30))
    (tmp_path / "input/3.jpg").write_bytes((tmp_path / "input/3.jpg").read_bytes()[:300])
    found = folder.find_pairs(tmp_path)
    with pytest.raises(ValueError, match="4 faults in the data set") as error:
        folder.require_sound(found)
    message = str(error.value)
    assert "input/0.jpg has no partner" in message
    assert "bokeh/1.jpg has no partner" in message
    assert "input/2.jpg is 24x32 but its partner" in message
    assert "input/3.jpg: the picture is damaged or cut short" in message
    assert len(folder.FolderSource(found.pairs)) == 3
    with pytest.raises(ValueError, match="24x30"):
        folder.FolderSource(found.pairs)[0]
    with pytest.raises(ValueError, match=r"3\.jpg: the picture is damaged or cut short"):
        folder.FolderSource(found.pairs)[1]


def test_folders_without_pairs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="nothing is not a folder"):
        folder.find_pairs(tmp_path / "nothing")
    with pytest.raises(ValueError, match="no pairs in any known layout") as error:
        folder.find_pairs(tmp_path)
    for layout in folder.LAYOUTS:
        assert str(layout) in str(error.value)
    save(tmp_path / "a_src.jpg")
    save(tmp_path / "b_tgt.jpg")
    with pytest.raises(ValueError, match="no pairs in any known layout"):
        folder.find_pairs(tmp_path)


def test_layouts_describe_themselves():
    texts = {layout.name: str(layout) for layout in folder.LAYOUTS}
    assert texts["challenge"] == "Training/{original,bokeh}/<name>.jpg"
    assert texts["PyNET"] == "{train,test}/{original,bokeh}/<name>.jpg"
    assert texts["BokehDiff"] == "{input,bokeh}/<name>.jpg"
    assert texts["EBokehNet"] == "<name>_src.jpg, <name>_tgt.jpg"
