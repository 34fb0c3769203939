import dataclasses
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax import pipeline
from d2f_jax.models import architectures
from d2f_jax.training import checkpoints
from train import ablate, batches, commands, export, loop, stage1, state
from train.config import STAGE1, DataConfig, ModelConfig, TrainConfig
from train.workdir import WorkDir

CONFIG = TrainConfig(
    model=ModelConfig(architecture="d2f-smoke"),
    data=DataConfig(size=(64, 64), batch_size=2, train_samples=2, threads=1),
)


def save_run(folder, config):
    """A run of one checkpoint, with random parameters."""
    WorkDir(folder, config, stage="stage1").close()
    init = functools.partial(architectures.init, state.build_model(config.model))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda x: jnp.asarray(rng.standard_normal(x.shape), x.dtype),
        jax.eval_shape(init, jax.random.key(0)),
    )
    params, stats = state.split_variables(variables._replace(fusion=None))
    saved = checkpoints.Checkpoints(folder / "checkpoints")
    data = batches.train_batches(config.data, half=True, radius=8)
    saved.save(3, state.make_state(config, params, stats, jax.random.key(1)), data, score=20.0)
    saved.close()
    return params


def test_exported_weights_are_loaded_by_the_pipeline(tmp_path):
    params = save_run(tmp_path / "run", CONFIG)
    export.export(tmp_path / "run", tmp_path / "w.safetensors", licence="CC0-1.0")
    d2f = pipeline.load(tmp_path / "w.safetensors")
    assert d2f.params.fusion is None
    assert d2f.metadata["architecture"] == "d2f-smoke"
    assert d2f.metadata["licence"] == "CC0-1.0"
    assert "step 3" in d2f.metadata["source"]
    for ours, theirs in zip(
        jax.tree.leaves(params["defocus"]),
        jax.tree.leaves(d2f.params.defocus["params"]),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_a_run_is_loaded_like_its_exported_weights(tmp_path):
    save_run(tmp_path / "run", CONFIG)
    model = export.load(tmp_path / "run")
    assert model.config == architectures.ARCHITECTURES["d2f-smoke"]
    picture = np.random.default_rng(0).uniform(0, 1, (64, 64, 3)).astype(np.float32)
    export.export(tmp_path / "run", tmp_path / "w.safetensors")
    exported = export.load(tmp_path / "w.safetensors")
    ours, theirs = (m(jnp.asarray(picture), blur=0.3).bokeh for m in (model, exported))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_variant_cannot_be_exported(tmp_path):
    model = dataclasses.replace(CONFIG.model, radiance="grey")
    save_run(tmp_path / "run", dataclasses.replace(CONFIG, model=model))
    with pytest.raises(ValueError, match="a variant of d2f-smoke"):
        export.export(tmp_path / "run", tmp_path / "w.safetensors")


def test_a_missing_first_stage_is_named(tmp_path):
    with pytest.raises(ValueError, match="no training run there"):
        export.read_run(tmp_path / "nothing", stage="stage1")
    WorkDir(tmp_path / "empty", CONFIG, stage="stage1").close()
    with pytest.raises(ValueError, match="holds a run of stage1, not of stage2"):
        export.read_run(tmp_path / "empty", stage="stage2")
    with pytest.raises(ValueError, match="no checkpoints there"):
        export.read_run(tmp_path / "empty", stage="stage1")


def test_commands_end_with_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["stage1", "smok", "--workdir", str(tmp_path)])
    with pytest.raises(SystemExit) as exit_, commands.user_errors():
        commands.take_preset(STAGE1)
    assert exit_.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "error: there is no preset 'smok', only paper, small, default, smoke; did you mean 'smoke'?"
    ]


def fake_stage(error=None):
    """A stage whose network is one number, and whose loss is that number times the picture."""
    model = state.build_model(CONFIG.model)

    def init(key):
        return {"defocus": {"w": jnp.ones(())}}, {}

    def loss(params, stats, batch):
        if error is not None:
            raise error
        total = jnp.mean(jnp.log(-params["defocus"]["w"] * batch["image"]))
        return loop_loss(total), stats

    return loop.Stage("stage1", True, model, init, loss, lambda p, s, image: None)


def loop_loss(total):
    from d2f_jax.training.losses import Stage1Loss

    return Stage1Loss(*6 * (total,))


def test_a_loss_that_is_not_finite_stops_with_its_batch(tmp_path):
    config = dataclasses.replace(
        CONFIG, data=dataclasses.replace(CONFIG.data, validation_samples=1, lens_samples=4)
    )
    with pytest.raises(ValueError, match="step 1: the loss or its gradient is not finite"):
        loop.train(fake_stage(), config, tmp_path)
    with np.load(tmp_path / "nonfinite_step1_process0.npz") as batch:
        assert batch["image"].shape == batch["bokeh"].shape == (2, 64, 64, 3)
    # The folder is free again.
    WorkDir(tmp_path, config, stage="stage1").close()


class Numbered:
    """Batches of one grey each, which grows; that of `bad` is not finite. Keeps its place."""

    def __init__(self, bad=None):
        self.taken, self.bad = 0, bad

    def __next__(self):
        self.taken += 1
        picture = np.full((2, 8, 8, 3), self.taken / 100, np.float32)
        picture[0, 0, 0, 0] = np.nan if self.taken == self.bad else picture[0, 0, 0, 0]
        return {"image": picture, "bokeh": picture}


@pytest.fixture
def numbered(monkeypatch):
    """Lets the loop run on numbered batches, without validation; takes the number of the bad."""

    def make(bad=None):
        data = Numbered(bad)
        monkeypatch.setattr(batches, "train_batches", lambda *_, **__: data)
        monkeypatch.setattr(batches, "validation_pairs", lambda *_, **__: {})
        scores = {"val_psnr": 1.0, "val_ssim": 1.0, "val_psnr_input": 1.0}
        monkeypatch.setattr(loop, "_validate", lambda *_: (scores, {}))
        return data

    return make


def mean_stage():
    """A stage whose loss is the mean of the pictures, which its number does not change."""

    def loss(params, stats, batch):
        return loop_loss(jnp.mean(batch["image"]) + 0 * params["defocus"]["w"]), stats

    return fake_stage()._replace(loss=loss)


def test_a_bad_step_between_the_logged_ones_is_named_with_its_own_batch(tmp_path, numbered):
    numbered(bad=3)
    config = dataclasses.replace(CONFIG, log_every=100)
    with pytest.raises(ValueError, match="step 3: the loss or its gradient is not finite"):
        loop.train(mean_stage(), config, tmp_path)
    with np.load(tmp_path / "nonfinite_step3_process0.npz") as batch:
        assert batch["image"][1, 0, 0, 0] == np.float32(0.03)


def test_a_bad_step_is_never_saved(tmp_path, numbered):
    numbered(bad=4)
    config = dataclasses.replace(CONFIG, save_every=4, log_every=100)
    with pytest.raises(ValueError, match="step 4"):
        loop.train(mean_stage(), config, tmp_path)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_batches_are_taken_ahead_but_never_past_a_checkpoint(tmp_path, numbered, monkeypatch):
    data, seen = numbered(), []

    def save(self, step, now, data, *, score):
        seen.append((f"step {step} is saved", data.taken))

    def numbers(parts):
        seen.append(("the device is waited for", data.taken))
        return {"loss": 0.0}

    monkeypatch.setattr(checkpoints.Checkpoints, "save", save)
    monkeypatch.setattr(checkpoints.Checkpoints, "best", 4)
    monkeypatch.setattr(loop, "_numbers", numbers)
    config = dataclasses.replace(CONFIG, steps=4, save_every=2, log_every=1)
    loop.train(mean_stage(), config, tmp_path)
    assert seen == [
        ("the device is waited for", 2),
        ("the device is waited for", 2),
        ("step 2 is saved", 2),
        ("the device is waited for", 4),
        ("the device is waited for", 4),
        ("step 4 is saved", 4),
    ]


def test_out_of_memory_names_the_knobs(tmp_path):
    config = dataclasses.replace(
        CONFIG, data=dataclasses.replace(CONFIG.data, validation_samples=1, lens_samples=4)
    )
    error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes")
    with pytest.raises(ValueError, match=r"out of memory: lower data\.batch-size"):
        loop.train(fake_stage(error), config, tmp_path)


def test_tables_stand_beside_the_printed_numbers():
    rows = [
        ablate.Result("ours", 25.0, 0.8, 23.7091, 0.8795),
        ablate.Result("other", None, None, 23.5, 0.87, "needs --vgg"),
    ]
    assert ablate.as_markdown(rows).splitlines()[2:] == [
        "| ours | 25.0000 | 0.8000 | 23.7091 | 0.8795 |",
        "| other (needs --vgg) | – | – | 23.5000 | 0.8700 |",
    ]


def test_every_row_of_every_table_makes_a_stage():
    from train.tables import TABLES

    base = dataclasses.replace(
        STAGE1["smoke"], loss=dataclasses.replace(STAGE1["smoke"].loss, perceptual=0.0)
    )
    for table in TABLES.values():
        for row in table.rows:
            for number, change in enumerate(row.steps):
                config = change(base)
                if not config.loss.perceptual:
                    stage = stage1.make_stage(config, start={} if number else None)
                    assert stage.model.sizes[0] == 1
