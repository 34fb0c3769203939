"""The paper's experiments as data: what each row of a table changes, and what is printed there."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from d2f_jax.models import architectures
from d2f_jax.render import kernels
from d2f_jax.training.losses import LossWeights
from train.config import TrainConfig

Change = Callable[[TrainConfig], TrainConfig]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One experiment.

    Attributes:
      label: As printed.
      steps: Runs of stage 1, each starting from the one before (Fig. 12); usually one. In a table
        of stage 2, the one run of it.
      psnr: Printed PSNR on Val470 [dB]; None where the paper shows a curve only.
      ssim: Printed SSIM.
    """

    label: str
    steps: tuple[Change, ...]
    psnr: float | None = None
    ssim: float | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table or figure of the paper.

    Attributes:
      title: What it compares.
      stage: Stage that the rows train.
      rows: Experiments.
    """

    title: str
    stage: int
    rows: tuple[Row, ...]


def _loss(**weights: float) -> Change:
    """Other weights of the loss; the parts that are not named keep those of the preset."""

    def change(config: TrainConfig) -> TrainConfig:
        return dataclasses.replace(config, loss=dataclasses.replace(config.loss, **weights))

    return change


def _model(**fields: Any) -> Change:
    """Other fields of the model."""

    def change(config: TrainConfig) -> TrainConfig:
        return dataclasses.replace(config, model=dataclasses.replace(config.model, **fields))

    return change


def _sizes(make: Callable[[int, int], tuple[int, ...]]) -> Change:
    """Other kernel sizes, made from the number and largest size of the preset's own."""

    def change(config: TrainConfig) -> TrainConfig:
        own = architectures.ARCHITECTURES[config.model.architecture].sizes
        model = dataclasses.replace(config.model, sizes=make(len(own), own[-1]))
        return dataclasses.replace(config, model=model)

    return change


def _count(number: int) -> Change:
    """The number of kernels, as a share of the paper's 15."""
    return _sizes(lambda count, largest: kernels.growing_sizes(round(count * number / 15), largest))


def _largest(size: int) -> Change:
    """The largest kernel, as a share of the paper's 69."""
    return _sizes(
        lambda count, largest: kernels.growing_sizes(count, 2 * round(largest * size / 138) + 1)
    )


def _uniform(count: int, largest: int) -> tuple[int, ...]:
    """Sizes with one step throughout: 4 for the paper's 69."""
    return kernels.uniform_sizes(count, step=max(2, 2 * round(2 * largest / 69)))


def _step(
    *, share: float, zoom: float = 1.0, channels: Literal[1, 6] = 1, last: bool = False
) -> Change:
    """A step of a training strategy: its share of the preset's steps, its size, its channels.

    `last` trains the last two convolutions alone, as BRDE did.
    """

    def change(config: TrainConfig) -> TrainConfig:
        height, width = (int(side * zoom) for side in config.data.size)
        steps = max(1, round(config.steps * share))
        optimizer = config.optimizer
        if last:
            ends = ("defocus/decoder/head/conv2", "defocus/decoder/head/conv3")
            optimizer = dataclasses.replace(optimizer, trainable=ends)
        return dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, size=(height, width)),
            optimizer=optimizer,
            model=dataclasses.replace(config.model, channels=channels),
            steps=steps,
            save_every=min(config.save_every, steps),
        )

    return change


_PAPER = LossWeights()
_FULL = {"perceptual": _PAPER.perceptual, "gradient": _PAPER.gradient}
_AS_IT_IS = _model()


def _row(label: str, psnr: float | None, ssim: float | None, *steps: Change) -> Row:
    return Row(label=label, steps=steps, psnr=psnr, ssim=ssim)


TABLES: dict[str, Table] = {
    "table4": Table(
        title="losses of stage 1",
        stage=1,
        rows=(
            _row("L1", 23.6241, 0.8730, _loss(perceptual=0.0, ssim=0.0, gradient=0.0)),
            _row("L1 + grad", 23.6202, 0.8745, _loss(perceptual=0.0, ssim=0.0)),
            _row("L1 + ssim + grad", 23.6780, 0.8794, _loss(perceptual=0.0)),
            _row("total", 23.7091, 0.8795, _loss(**_FULL)),
        ),
    ),
    "table5": Table(
        title="losses of stage 2",
        stage=2,
        rows=(
            _row("L1 + Poisson", 23.6605, 0.8776, _loss(perceptual=0.0, ssim=0.0, gradient=0.0)),
            _row("L1 + ssim + Poisson", 23.7123, 0.8817, _loss(perceptual=0.0, gradient=0.0)),
            _row("L1 + ssim + vgg + Poisson", 23.7298, 0.8817, _loss(**_FULL | {"gradient": 0.0})),
            _row("total", 23.7342, 0.8818, _loss(**_FULL)),
        ),
    ),
    "table6": Table(
        title="sampling of kernel sizes",
        stage=1,
        rows=(
            _row("growing", 23.7091, 0.8795, _sizes(kernels.growing_sizes)),
            _row("uniform", 23.5260, 0.8628, _sizes(_uniform)),
        ),
    ),
    "table7": Table(
        title="radiance",
        stage=1,
        rows=(
            _row("with radiance", 23.7091, 0.8795, _AS_IT_IS),
            _row("without", 23.6780, 0.8794, _model(radiance="none")),
            _row("grey image", 23.6527, 0.8774, _model(radiance="grey")),
        ),
    ),
    "fig8-number": Table(
        title="number of kernels (the paper's, at 69 px; in proportion for other presets)",
        stage=1,
        rows=tuple(_row(str(n), None, None, _count(n)) for n in (11, 13, 15, 17, 19)),
    ),
    "fig8-size": Table(
        title="largest kernel (the paper's, of 15; in proportion for other presets)",
        stage=1,
        rows=tuple(_row(str(n), None, None, _largest(n)) for n in (49, 59, 69, 79, 89)),
    ),
    "fig12": Table(
        title="training strategies",
        stage=1,
        rows=(
            _row("direct (D2F)", None, None, _AS_IT_IS),
            _row(
                "two steps",
                None,
                None,
                _step(share=2 / 5, channels=6),
                _step(share=3 / 5, last=True),
            ),
            _row(
                "three steps (BRDE)",
                None,
                None,
                _step(share=3 / 8, zoom=0.5, channels=6),
                _step(share=2 / 8, channels=6),
                _step(share=3 / 8, last=True),
            ),
        ),
    ),
}
"""Experiments that train; Table 8 compares fusion methods on one model and is in `ablate`."""

TABLE8: dict[str, tuple[float, float]] = {
    "naive Poisson blending": (23.3353, 0.8708),
    "Laplacian Pyramid": (23.6455, 0.8698),
    "LP-SR": (23.6805, 0.8713),
    "BRDE": (23.7091, 0.8795),
    "Conv-Pyramid": (23.7247, 0.8812),
    "D2F": (23.7342, 0.8818),
}
"""Printed PSNR and SSIM of the fusion methods."""
