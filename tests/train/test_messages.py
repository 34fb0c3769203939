import dataclasses
import shlex
from pathlib import Path

import pytest
import tyro

from d2f_jax import extras
from d2f_jax.training.losses import LossWeights
from train import evaluate, export, held_out, messages, plot, stage2
from train.config import STAGE1, STAGE2

SCORES = {"val_psnr": 25.257, "val_ssim": 0.79891, "val_psnr_input": 23.08}
PARSERS = {
    "train.plot": plot.Arguments,
    "train.export": export.Arguments,
    "train.evaluate": evaluate.EvaluateConfig,
    "train.held_out": held_out.Arguments,
}


def closing(config, preset, workdir="runs/first", stage="stage1"):
    """The closing lines: the score, and each command as its own parser reads it, by module."""
    score, *lines = messages.closing(
        Path(workdir), stage, config, SCORES, best=config.steps, preset=preset
    )
    read = {}
    for line in lines:
        name, command = line.split(":", 1)
        assert name in ("curves", "weights", "score", "stage 2")
        python, module_flag, module, *words = shlex.split(command)
        assert (python, module_flag) == (extras.python(), "-m")
        if module == "train.stage2":
            default = stage2.Arguments(
                stage1=tyro.MISSING, workdir=tyro.MISSING, config=STAGE2[words[0]]
            )
            read[module] = tyro.cli(stage2.Arguments, default=default, args=words[1:])
        else:
            read[module] = tyro.cli(PARSERS[module], args=words)
    return score, read


def changed(config, **data):
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **data))


def test_the_start_says_what_runs_and_what_it_goes_on_from():
    folder, config = Path("runs/first"), STAGE1["smoke"]
    assert messages.opening(folder, "stage1", config, 0) == (
        "runs/first: stage1 of d2f-smoke, a new run of 300 steps; a checkpoint every 100; "
        "stopped, the same command goes on from the last of them; "
        "the first step waits for compilation"
    )
    assert messages.opening(folder, "stage1", config, 200) == (
        "runs/first: stage1 of d2f-smoke, goes on from checkpoints/200, step 200 of 300; a "
        "checkpoint every 100; stopped, the same command goes on from the last of them; the first "
        "step waits for compilation"
    )
    assert messages.opening(folder, "stage1", config, 300) == (
        "runs/first: stage1 of d2f-smoke, finished before at step 300; its weights are scored again"
    )


def test_stage_2_says_which_stage_1_it_takes():
    smoke, small = STAGE1["smoke"].model, STAGE2["small"].model
    taken = "runs/first: its best checkpoint, step 200, is taken as stage 1"
    assert messages.taken(Path("runs/first"), 200, smoke, smoke) == taken
    assert messages.taken(Path("runs/first"), 200, smoke, small) == (
        f"{taken}; its model (d2f-smoke) replaces the preset's (d2f-small)"
    )


def test_checkpoints_are_named():
    assert messages.checkpoint(Path("run"), 7, best=False) == "checkpoint saved: run/checkpoints/7"
    assert messages.checkpoint(Path("run"), 7, best=True).endswith("/7, the best so far")


def test_the_end_names_commands_that_can_be_pasted():
    score, read = closing(STAGE1["smoke"], "smoke")
    assert score == (
        "runs/first: done, 300 steps; validation 25.26 dB, SSIM 0.7989 (the input has 23.08 dB)"
    )
    best = {"best": 200, "preset": "smoke"}
    first, *_ = messages.closing(Path("runs/first"), "stage1", STAGE1["smoke"], SCORES, **best)
    used = "is what is exported and what stage 2 starts from"
    assert first == f"{score}; step 200 was better and {used}"
    first, *_ = messages.closing(Path("runs/first"), "stage2", STAGE2["small"], SCORES, **best)
    assert first.endswith("; step 200 was better and is what is exported")
    weights = Path("runs/first/weights.safetensors")
    assert read["train.plot"].run == Path("runs/first")
    assert (read["train.export"].workdir, read["train.export"].out) == (Path("runs/first"), weights)
    assert read["train.evaluate"].weights == weights
    assert read["train.evaluate"].size == (128, 128)
    second = read["train.stage2"]
    assert (second.stage1, second.workdir) == (Path("runs/first"), Path("runs/first-stage2"))
    assert second.config == STAGE2["smoke"]


def test_stage_2_takes_over_the_data_and_what_the_loss_needs():
    config = changed(STAGE1["small"], source=Path("my pairs"), size=(128, 192), seed=3)
    config = dataclasses.replace(config, loss=LossWeights(), vgg=Path("vgg19.pth"))
    _, read = closing(config, "small", workdir="it's here/run")
    assert read["train.evaluate"].data == Path("my pairs")
    second = read["train.stage2"]
    assert second.stage1 == Path("it's here/run")
    data = dataclasses.replace(
        STAGE2["small"].data, source=Path("my pairs"), size=(256, 384), seed=3
    )
    assert second.config == dataclasses.replace(
        STAGE2["small"], data=data, loss=LossWeights(), vgg=Path("vgg19.pth")
    )


def test_composites_are_judged_on_what_was_held_out():
    _, read = closing(changed(STAGE1["default"], composites=Path("material")), "default")
    assert read["train.held_out"].folder == Path("material")
    assert read["train.held_out"].weights == Path("runs/first/weights.safetensors")
    assert read["train.stage2"].config.data.composites == Path("material")


def test_a_prepared_ebb_is_scored_on_what_it_was_validated_on(tmp_path):
    (tmp_path / "ebb").mkdir()
    _, read = closing(changed(STAGE1["paper"], source=tmp_path), "paper")
    assert (read["train.evaluate"].data, read["train.evaluate"].split) == (tmp_path, "val470")


@pytest.mark.parametrize("workdir", [".", "run"])
def test_stage_2_of_a_run_here_has_a_folder_of_its_own(workdir, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run" if workdir == "." else tmp_path)
    _, read = closing(STAGE1["smoke"], "smoke", workdir=workdir)
    assert read["train.stage2"].workdir == Path("run-stage2")


def test_no_command_is_named_that_would_be_refused():
    _, read = closing(STAGE2["smoke"], "smoke", stage="stage2")
    assert read.keys() == {"train.plot", "train.export", "train.evaluate"}
    assert read["train.evaluate"].size == (128, 128)
    # A row of an experiment: another model than its architecture's, and no preset of its own.
    variant = dataclasses.replace(STAGE1["smoke"].model, radiance="grey")
    _, read = closing(dataclasses.replace(STAGE1["smoke"], model=variant), None)
    assert read.keys() == {"train.plot"}
