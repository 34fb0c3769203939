"""Stage 2: trains deep Poisson fusion at full size, behind a frozen first stage.

    python -m train.stage2 PRESET --stage1 DIR --workdir DIR2

The loss (Eq. 22) compares the fused picture with the wide-aperture photograph, and its gradients
with those of the sharp picture pasted in by a binary mask (Eq. 19).
"""

import dataclasses
import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import tyro

from d2f_jax import pipeline
from d2f_jax.models import architectures, fusion, resize
from d2f_jax.render import kernels
from d2f_jax.training import losses
from train import commands, devices, export, features, loop, messages, state
from train.config import STAGE2, TrainConfig
from train.stage1 import clip_inward

THETA = 1 / 8
"""Threshold of the binary mask of Eq. 19, as in the released code (errata b)."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Trains deep Poisson fusion.

    Attributes:
      stage1: Work folder of a finished stage 1, whose best checkpoint is taken and whose model
        replaces that of the preset.
      workdir: Folder of the run; an interrupted run in it is continued.
      config: Settings of the preset, each of which can be changed.
    """

    stage1: Path
    workdir: Path
    config: Annotated[TrainConfig, tyro.conf.arg(name="")]


def run(
    config: TrainConfig, stage1: str | os.PathLike[str], workdir: str | os.PathLike[str]
) -> dict[str, float]:
    """Trains stage 2.

    Args:
      config: Settings; the model is that of stage 1.
      stage1: Work folder of stage 1.
      workdir: Folder of the run.

    Returns:
      The last validation.

    Raises:
      ValueError: if `stage1` holds no run of stage 1, and as `loop.train`.
    """
    trained = export.read_run(stage1, stage="stage1")
    if jax.process_index() == 0:
        line = messages.taken(Path(stage1), trained.step, trained.model, config.model)
        print(line, file=sys.stderr)
    config = dataclasses.replace(config, model=trained.model)
    return loop.train(make_stage(config, trained), config, workdir)


def make_stage(config: TrainConfig, trained: export.Trained) -> loop.Stage:
    """Makes what the loop needs.

    Raises:
      ValueError: for a first stage of several channels, or VGG weights that are missing.
    """
    if config.model.channels != 1:
        raise ValueError("stage 2 needs a first stage with one channel: train its last step first")
    model = state.build_model(config.model, bfloat16=config.bfloat16)
    vgg = features.load(config.vgg, config.loss)
    apply = devices.on_own_part(
        functools.partial(
            pipeline.apply,
            model,
            kernels=jnp.asarray(kernels.kernel_bank(model.sizes, blur=config.scale)),
            layer_batch=config.layer_batch,
        )
    )

    def init(key):
        fresh, stats = state.split_variables(architectures.init(model, key))
        return fresh | trained.params, stats | trained.stats

    def loss(params, stats, batch):
        image = batch["image"]
        size = image.shape[-3:-1]
        frozen = jax.lax.stop_gradient({name: params[name] for name in ("defocus", "radiance")})
        out = apply(state.join_variables(params | frozen, stats), image)
        full = resize.bilinear(out.defocus[..., None], size)[..., 0]
        pasted = fusion.fuse(
            image, resize.bilinear(out.rendered, size), fusion.binary_mask(full, THETA)
        )
        # Most pixels of a trained mask lie at the ends of its clamp, and those at the wrong end
        # would stay there.
        blend = fusion.blend(
            model.fusion_net,
            {"params": params["fusion"]},
            image,
            out.rendered,
            out.defocus,
            clamp=clip_inward,
        )
        small = resize.bilinear(image, out.defocus.shape[-2:])
        return losses.stage2_loss(
            blend.bokeh,
            batch["bokeh"],
            pasted,
            out.defocus,
            small,
            features=vgg,
            weights=config.loss,
        ), stats

    def predict(params, stats, image):
        return apply(state.join_variables(params, stats), image)

    return loop.Stage("stage2", False, model, init, loss, predict)


def main() -> None:
    """The command."""
    with commands.user_errors(commands.CHECKPOINT):
        _, config = commands.take_preset(STAGE2)
        default = Arguments(stage1=tyro.MISSING, workdir=tyro.MISSING, config=config)
        arguments = commands.parse(Arguments, commands.rest(), default=default)
        commands.check(arguments.config)
        commands.join_hosts(arguments.config.hosts)
        run(arguments.config, arguments.stage1, arguments.workdir)


if __name__ == "__main__":
    main()
