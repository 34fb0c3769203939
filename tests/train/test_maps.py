"""Teaching a decoder distance."""

import dataclasses

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from d2f_jax import pipeline
from d2f_jax.models import architectures, weights
from d2f_jax.training.data import maps as data
from tests.conftest import quick_key
from train import maps


def test_of_a_background_only_too_little_blur_counts():
    known = jnp.full((1, 16, 16), -data.OUT_OF_FOCUS)
    options = {"ranking": 1.0, "gradient": 1.0}
    assert float(maps.map_loss(-2 * known, 2 * known, **options)) == 0  # blurred as before
    assert float(maps.map_loss(-known, 2 * known, **options)) == pytest.approx(
        data.OUT_OF_FOCUS, abs=1e-5
    )
    assert float(maps.map_loss(jnp.full((1, 16, 16), 0.5), known, **options)) == 0
    assert float(maps.map_loss(jnp.full((1, 16, 16), 0.1), known, **options)) == pytest.approx(0.25)
    assert float(maps.map_loss(-known, -known, **options)) == pytest.approx(0, abs=1e-6)


def make_start(path):
    fresh = architectures.init(architectures.ARCHITECTURES["d2f-smoke"], quick_key(0))
    about = {"architecture": "d2f-smoke", "source": "made", "licence": "CC0-1.0"}
    weights.save(path, {"defocus": fresh.defocus, "radiance": fresh.radiance}, **about)
    return path


def make_material(folder):
    rng = np.random.default_rng(0)
    for name in ("subjects", "mattes", "scenes"):
        (folder / name).mkdir(parents=True)
        for n in range(6):
            picture = rng.integers(0, 255, (64, 64, 3), np.uint8)
            if name == "mattes":
                picture[:] = 0
                picture[20:60, 20:40] = 255
            Image.fromarray(picture).save(folder / name / f"{n}.png")
    return folder


def make_table(path, names):
    lines = [f"{name}\t40\t@70: 0,30 40,30 40,70 0,70" for name in names]
    path.write_text("\n".join(["file\thorizon\tthings", *lines]) + "\n")
    return path


def test_a_table_of_other_scenes_is_refused(tmp_path):
    arguments = maps.Arguments(
        material=make_material(tmp_path / "material"),
        layouts=make_table(tmp_path / "table.tsv", ["other.png"]),
        start=make_start(tmp_path / "start.safetensors"),
        workdir=tmp_path / "w",
    )
    with pytest.raises(ValueError, match=r"table.tsv: describes no scene of .*material"):
        maps.run(arguments)
    scenes = make_table(tmp_path / "scenes.tsv", ["1.png"])
    arguments = dataclasses.replace(arguments, layouts=scenes, subjects=arguments.layouts)
    with pytest.raises(ValueError, match=r"table.tsv: describes no subject of .*material"):
        maps.run(arguments)
    subjects = tmp_path / "subjects.tsv"
    subjects.write_text("file\thorizon\tthings\n1.png\t0\t@70: 0,30 40,30 40,70\n")
    with pytest.raises(ValueError, match=r"subjects.tsv: 1.png has no VALUE: matte"):
        maps.run(dataclasses.replace(arguments, subjects=subjects))
    subjects.write_text("file\thorizon\tthings\n1.png\t0\t@70: matte\n")
    with pytest.raises(ValueError, match=r"subjects.tsv: 1.png is a scene, and has no matte"):
        maps.run(dataclasses.replace(arguments, layouts=subjects))


def test_features_of_other_samples_have_a_folder_of_their_own(tmp_path):
    table, other = (make_table(tmp_path / f"{n}.tsv", [f"{n}.png"]) for n in "ab")
    start, workdir = tmp_path / "start.safetensors", tmp_path / "w"
    arguments = maps.Arguments(material=tmp_path, layouts=table, start=start, workdir=workdir)
    network = {"params": {"kernel": np.ones(3, np.float32)}}
    changes = ({}, {"layouts": other}, {"subjects": other}, {"subjects": table})
    names = {maps._known_by(network, dataclasses.replace(arguments, **c)) for c in changes}
    assert len(names) == len(changes)
    assert maps._known_by(network, dataclasses.replace(arguments, steps=7)) in names


@pytest.mark.slow
def test_a_run_makes_features_once_and_changes_the_decoder_alone(tmp_path, monkeypatch, capsys):
    start = make_start(tmp_path / "start.safetensors")
    material = make_material(tmp_path / "material")
    table = make_table(tmp_path / "table.tsv", [f"{n}.png" for n in range(6)])
    monkeypatch.setattr(maps, "SHAPES", ((64, 64),))
    monkeypatch.setattr(maps, "SHARD", 8)
    arguments = maps.Arguments(
        material=material,
        layouts=table,
        start=start,
        workdir=tmp_path / "maps",
        shards=2,
        steps=3,
        batch_size=4,
        average=0.5,
    )
    out = maps.run(arguments)
    assert "shard 2 of 2" in capsys.readouterr().out
    kept = np.concatenate(
        [np.load(path) for path in tmp_path.glob("maps/features-*/*/defocus.npy")]
    )
    assert kept.shape == (16, 64, 64)
    # Of backgrounds whose distance is not known, what the start makes of them is kept as the least.
    least = -kept[kept < 0]
    assert least.size
    assert least.min() >= np.float16(data.OUT_OF_FOCUS)
    assert np.float16(data.OUT_OF_FOCUS) < least.max() <= 1  # of a start that blurs
    before, after = pipeline.load(start), pipeline.load(out)
    ours, old = (model.params.defocus["params"] for model in (after, before))
    kernel = ours["decoder"]["fusion1"]["unit2"]["conv1"]["kernel"]
    assert (
        float(jnp.abs(kernel - old["decoder"]["fusion1"]["unit2"]["conv1"]["kernel"]).max()) > 1e-3
    )
    np.testing.assert_allclose(
        ours["encoder"]["conv1"]["kernel"], old["encoder"]["conv1"]["kernel"], atol=1e-3
    )
    # Again: the features are there, and the same is learnt.
    again = pipeline.load(maps.run(arguments))
    assert "shard" not in capsys.readouterr().out
    chex.assert_trees_all_close(again.params, after.params, atol=2e-3)
