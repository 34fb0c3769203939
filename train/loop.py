"""The training loop of both stages, from top to bottom."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import NamedSharding

from d2f_jax import pipeline
from d2f_jax.models import architectures
from d2f_jax.training import checkpoints, metrics
from train import batches, commands, devices, messages, state, writers
from train.config import TrainConfig
from train.workdir import WorkDir

Batch = dict[str, Array]


class Stage(NamedTuple):
    """What the two stages do not share.

    Attributes:
      name: `stage1` or `stage2`.
      half: Whether the stage trains at half of the pictures' size.
      model: Networks and constants.
      init: Makes parameters and batch statistics from a key.
      loss: Takes parameters, statistics and a batch; gives the parts of the loss with their
        `total`, and the new statistics.
      predict: Takes parameters, statistics and full-size images; the whole line of Algorithm 1.
    """

    name: str
    half: bool
    model: architectures.D2FConfig
    init: Callable[[Array], tuple[state.Params, state.Params]]
    loss: Callable[[state.Params, state.Params, Batch], tuple[Any, state.Params]]
    predict: Callable[[state.Params, state.Params, Array], pipeline.D2FOutput]


def train(
    stage: Stage,
    config: TrainConfig,
    workdir: str | os.PathLike[str],
    *,
    preset: str | None = None,
) -> dict[str, float]:
    """Trains one stage, from its last checkpoint on if there is one.

    Args:
      stage: What to train.
      config: How.
      workdir: Folder of the run: config.json, metrics.jsonl, checkpoints, pictures.
      preset: What the settings were made from, named in the commands that a run ends with.

    Returns:
      The last validation.

    Raises:
      ValueError: for anything that the user can mend: data, folder, configuration, a full disk,
        too little memory, a loss that is no longer finite.
    """
    # 1. Processes and devices: parameters on every device, batches split among all.
    first = jax.process_index() == 0
    everywhere, split = devices.everywhere(), devices.split()

    # 2. Work folder.
    workdir = Path(workdir)
    folder = WorkDir(workdir, config, stage=stage.name) if first else None
    saved = checkpoints.Checkpoints(workdir / "checkpoints", keep=config.keep)
    try:
        # 3. Data.
        if first:
            _to_screen(messages.beginning(workdir, stage.name))
        radius = round(config.scale * (stage.model.sizes[-1] // 2))
        data = batches.train_batches(config.data, half=stage.half, radius=radius)
        held_out = batches.validation_pairs(config.data, half=stage.half, radius=radius)

        # 4. State: new, or the newest good checkpoint.
        key, init_key = jax.random.split(jax.random.key(config.seed))
        now = state.make_state(config, *stage.init(init_key), key)
        now = jax.device_put(now, everywhere)
        restored = saved.restore(now, data, report=_to_screen)
        now = now if restored is None else restored
        start = int(now.step)

        # 5. Compiled functions.
        update = jax.jit(
            make_update(stage, config, now.params),
            in_shardings=(everywhere, split),
            out_shardings=(everywhere, everywhere),
            donate_argnums=0,
        )
        score = jax.jit(
            _make_score(stage),
            in_shardings=(everywhere, everywhere, split),
            out_shardings=everywhere,
        )

        # 6. Steps.
        out = writers.Writers(
            workdir,
            steps=config.steps,
            step=start,
            batch=config.data.batch_size,
            quiet=not first,
        )
        out.say(messages.opening(workdir, stage.name, config, start))
        validated: dict[str, float] = {}
        ahead, before = None, None
        try:
            for step in range(start + 1, config.steps + 1):
                commands.stop_if_asked()
                batch = next(data) if ahead is None else ahead
                now, parts = update(now, batches.to_devices(batch, split))
                save = step % config.save_every == 0 or step == config.steps
                # The device works meanwhile: on the next batch, unless its place in the data goes
                # into a checkpoint first, and on the verdict over the step before.
                ahead = None if save else next(data)
                if before is not None:
                    _require_finite(*before, workdir)
                before = parts, batch, step
                out.step(step)
                if save or step % config.log_every == 0:
                    _require_finite(*before, workdir)
                    values = _numbers(parts)
                    speed = out.lap(step)
                    if save:
                        validated, first_output = _validate(score, now, held_out, config, split)
                        out.pictures(step, first_output)
                        saved.save(step, now, data, score=validated["val_psnr"])
                    out.metrics(step, values | validated if save else values, speed=speed)
                    if save:
                        best = saved.best == step
                        out.say(messages.checkpoint(workdir, step, best=best))
            if not validated:  # an already finished run
                validated, _ = _validate(score, now, held_out, config, split)
            closing = messages.closing(
                workdir, stage.name, config, validated, best=saved.best, preset=preset
            )
            for line in closing:
                out.say(line)
        finally:
            out.close()
        return validated
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise ValueError(
            "out of memory: lower data.batch-size (and raise optimizer.accumulate to train the "
            "same), lower data.size, set layer-batch 1, or turn on remat or bfloat16"
        ) from error
    finally:
        saved.close()
        if folder is not None:
            folder.close()


def make_update(stage: Stage, config: TrainConfig, params: state.Params) -> Callable:
    """One step: loss, gradients, optimiser, running average, and whether all of it is finite."""
    optimizer = state.make_optimizer(config, params)

    def norm(gradients: state.Params) -> Array:
        return optax.tree.norm(state.trained(gradients, config.optimizer))

    def update(now: state.TrainState, batch: Batch) -> tuple[state.TrainState, dict[str, Array]]:
        key = jax.random.fold_in(jax.random.wrap_key_data(now.key), now.step)
        batch = _flipped(batch, key)

        def loss(params):
            parts, stats = stage.loss(params, now.stats, batch)
            return parts.total, (parts, stats)

        gradients, (parts, stats) = jax.grad(loss, has_aux=True)(now.params)
        changes, memory = optimizer.update(gradients, now.optimizer, now.params)
        params: Any = optax.apply_updates(now.params, changes)
        average: Any = None
        if now.average is not None:
            share = 1 - config.optimizer.average
            average = optax.incremental_update(params, now.average, share)
        values = {"loss": parts.total, **parts._asdict(), "gradient_norm": norm(gradients)}
        del values["total"]
        values["finite"] = jnp.isfinite(parts.total) & jnp.isfinite(values["gradient_norm"])
        return state.TrainState(now.step + 1, params, stats, memory, average, now.key), values

    return update


def _flipped(batch: Batch, key: Array) -> Batch:
    """Mirrors each pair left to right, half of the time."""
    flip = jax.random.bernoulli(key, shape=(len(batch["image"]),))
    # Processes take turns in the order of samples, but their parts follow each other in the batch:
    # so that a sample's luck does not depend on how many there are.
    flip = flip.reshape(-1, jax.process_count()).T.reshape(-1, 1, 1, 1)
    return {name: jnp.where(flip, value[:, :, ::-1], value) for name, value in batch.items()}


def _make_score(stage: Stage) -> Callable:
    """PSNR and SSIM of each output and PSNR of each input, and the first output whole."""

    def score(params: state.Params, stats: state.Params, batch: Batch) -> Any:
        output = stage.predict(params, stats, batch["image"])
        scores = {
            "val_psnr": metrics.psnr(output.bokeh, batch["bokeh"]),
            "val_ssim": metrics.ssim_map(output.bokeh, batch["bokeh"]).mean((-3, -2, -1)),
            "val_psnr_input": metrics.psnr(batch["image"], batch["bokeh"]),
        }
        return scores, jax.tree.map(lambda x: x[0], output)

    return score


def _validate(
    score: Callable,
    now: state.TrainState,
    pairs: dict[str, np.ndarray],
    config: TrainConfig,
    split: NamedSharding,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Means over the held-out pairs, and pictures of the first of them."""
    params = now.params if now.average is None else now.average
    scores: dict[str, list[np.ndarray]] = {}
    pictures: dict[str, np.ndarray] = {}
    for part, count in batches.chunks(pairs, config.data.batch_size):
        arrays = {
            name: jax.make_array_from_callback(value.shape, split, lambda i, v=value: v[i])
            for name, value in part.items()
        }
        values, output = score(params, now.stats, arrays)
        for name, value in values.items():
            scores.setdefault(name, []).append(np.asarray(value)[:count])
        if not pictures:
            pictures = {"input": part["image"][0], "target": part["bokeh"][0]}
            maps = {name: np.asarray(value) for name, value in output._asdict().items()}
            pictures |= {name: value for name, value in maps.items() if value.ndim > 1}
    means = {name: float(np.concatenate(value).mean()) for name, value in scores.items()}
    return means, pictures


def _numbers(parts: dict[str, Array]) -> dict[str, float]:
    """What metrics.jsonl has of a step; waits for the device."""
    return {name: float(value) for name, value in parts.items() if name != "finite"}


def _require_finite(
    parts: dict[str, Array], batch: dict[str, np.ndarray], step: int, workdir: Path
) -> None:
    """Stops at a loss or gradient that is not finite and saves this process's part of the batch."""
    if parts["finite"]:
        return
    path = workdir / f"nonfinite_step{step}_process{jax.process_index()}.npz"
    np.savez(path, image=batch["image"], bokeh=batch["bokeh"])
    shown = ", ".join(f"{name} {value:g}" for name, value in _numbers(parts).items())
    raise ValueError(
        f"step {step}: the loss or its gradient is not finite ({shown}); its batch is in {path}. "
        "Lower optimizer.rate or optimizer.clip, or mend the data, and run the command again: it "
        "goes on from the last checkpoint"
    )


def _to_screen(line: str) -> None:
    print(line, file=sys.stderr)
