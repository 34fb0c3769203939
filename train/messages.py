"""What a run says at its start, at its checkpoints and at its end.

The commands in it stand as they can be pasted: with the run's own folder, preset and data.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2f_jax import extras
from train.config import STAGE1, STAGE2, ModelConfig, TrainConfig, to_json

# What stage 2 takes over when it differs from the preset: where pictures come from and what they
# are compared with. Sizes, rates and lengths are each stage's own; the model comes with its run.
_SHARED = (
    "data.source",
    "data.photos",
    "data.cutouts",
    "data.composites",
    "data.validation_samples",
    "data.seed",
    "loss.perceptual",
    "scale",
    "vgg",
)


def opening(workdir: Path, stage: str, config: TrainConfig, start: int) -> str:
    """What is trained where, what it goes on from, and how it goes on after a stop."""
    what = f"{workdir}: {stage} of {config.model.architecture}"
    if start >= config.steps:
        return f"{what}, finished before at step {start}; its weights are scored again"
    begun = f"goes on from checkpoints/{start}, step {start} of {config.steps}"
    begun = begun if start else f"a new run of {config.steps} steps"
    again = "stopped, the same command goes on from the last of them"
    wait = "the first step waits for compilation"
    return f"{what}, {begun}; a checkpoint every {config.save_every}; {again}; {wait}"


def beginning(workdir: Path, stage: str) -> str:
    """What is said before anything is read."""
    return f"{workdir}: {stage}, reading its data"


def taken(stage1: Path, step: int, model: ModelConfig, preset: ModelConfig) -> str:
    """Which stage 1 is taken, and that its model is trained on where the preset has another."""
    line = f"{stage1}: its best checkpoint, step {step}, is taken as stage 1"
    if model == preset:
        return line
    return f"{line}; its model ({model.architecture}) replaces the preset's ({preset.architecture})"


def checkpoint(workdir: Path, step: int, *, best: bool) -> str:
    """Where a checkpoint lies."""
    return f"checkpoint saved: {workdir / 'checkpoints' / str(step)}" + best * ", the best so far"


def closing(
    workdir: Path,
    stage: str,
    config: TrainConfig,
    validated: Mapping[str, float],
    *,
    best: int,
    preset: str | None,
) -> list[str]:
    """The score, and the commands that a person wants next.

    Args:
      workdir: Folder of the run.
      stage: `stage1` or `stage2`.
      config: Its settings.
      validated: Its last validation.
      best: Step of its best checkpoint.
      preset: What the settings were made from; None for a run that no command can follow up, such
        as a row of an experiment.
    """
    used = "is what is exported" + (stage == "stage1") * " and what stage 2 starts from"
    lines = [
        f"{workdir}: done, {config.steps} steps; validation {validated['val_psnr']:.2f} dB, SSIM "
        f"{validated['val_ssim']:.4f} (the input has {validated['val_psnr_input']:.2f} dB)"
        + (f"; step {best} was better and {used}" if best != config.steps else ""),
        _command("curves", "plot", workdir),
    ]
    if config.model == ModelConfig(architecture=config.model.architecture):  # others have no name
        weights = workdir / "weights.safetensors"
        lines.append(_command("weights", "export", workdir, weights))
        lines.append(_command("score", *_score(config, stage, weights)))
    if preset is not None and stage == "stage1" and config.model.channels == 1:
        second = workdir.parent / f"{workdir.resolve().name}-stage2"
        places = "--stage1", workdir, "--workdir", second
        lines.append(_command("stage 2", "stage2", preset, *places, *_taken_over(config, preset)))
    return lines


def _command(name: str, module: str, *words: str | Path) -> str:
    command = shlex.join([extras.python(), "-m", f"train.{module}", *map(str, words)])
    return f"{name + ':':9} {command}"


def _score(config: TrainConfig, stage: str, weights: Path) -> list[str]:
    """The command that judges weights on pictures such as the run's own, which it never saw."""
    data = config.data
    if data.source is not None:
        split = ["--split", "val470"] if (data.source / "ebb").is_dir() else []
        return ["evaluate", str(weights), "--data", str(data.source), *split]
    if data.composites is not None:
        out = weights.with_name("held_out")
        return ["held_out", str(data.composites), "--out", str(out), "--weights", str(weights)]
    sides = (side * (2 if stage == "stage1" else 1) for side in data.size)
    return ["evaluate", str(weights), "--size", *map(str, sides)]


def _taken_over(config: TrainConfig, preset: str) -> list[str]:
    """The options that give stage 2 the data of stage 1 and what its loss needs."""
    ours, before, behind = map(to_json, (config, STAGE1[preset], STAGE2[preset]))
    words = []
    for path in _SHARED:
        value = _at(ours, path)
        if value not in (_at(before, path), _at(behind, path)):
            words += [f"--{path.replace('_', '-')}", str(value)]
    if config.data.size != STAGE1[preset].data.size:
        words += ["--data.size", *(str(2 * side) for side in config.data.size)]
    return words


def _at(settings: dict[str, Any], path: str) -> Any:
    for name in path.split("."):
        settings = settings[name]
    return settings
