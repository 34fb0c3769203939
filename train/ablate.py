"""Runs one of the paper's experiments and prints it beside the printed numbers.

    python -m train.ablate table4 --preset smoke --workdir DIR

Every row is a run of its own in a folder below the work folder; an interrupted table goes on where
it stopped. PSNR and SSIM are means over the held-out pairs, with BRDE's naive blending after
stage 1, as the paper's equal rows imply (errata o).
"""

import dataclasses
import functools
import json
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro

from d2f_jax import pipeline
from d2f_jax.models import blending, fusion, resize
from d2f_jax.training import metrics
from train import batches, commands, export, stage1, stage2, state
from train.config import STAGE1, STAGE2, TrainConfig, preset
from train.tables import TABLE8, TABLES, Row

Name = Literal[
    "table4", "table5", "table6", "table7", "table8", "fig8-number", "fig8-size", "fig12"
]


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Runs one of the paper's experiments.

    Attributes:
      table: Which.
      workdir: Folder for all of its runs and for the table.
      preset: Settings that the rows start from.
      data: Folder of pairs, or a prepared EBB!; synthetic pairs when left out.
      vgg: VGG weights, without which rows with the perceptual loss are left out.
      steps: Steps of each run, when not those of the preset.
    """

    table: tyro.conf.Positional[Name]
    workdir: Path
    preset: str = "smoke"
    data: Path | None = None
    vgg: Path | None = None
    steps: int | None = None


@dataclass(frozen=True)
class Result:
    """A row of the finished table; no scores, but a note, where it could not be run."""

    label: str
    psnr: float | None
    ssim: float | None
    printed_psnr: float | None
    printed_ssim: float | None
    note: str = ""


def run(arguments: Arguments) -> list[Result]:
    """Runs all rows of a table and writes it to the work folder, as Markdown and JSON.

    Raises:
      ValueError: as training does.
    """
    configs = []
    for presets in (STAGE1, STAGE2):
        config = preset(presets, arguments.preset)
        data = dataclasses.replace(config.data, source=arguments.data)
        steps = arguments.steps or config.steps
        config = dataclasses.replace(config, data=data, vgg=arguments.vgg, steps=steps)
        configs.append(dataclasses.replace(config, save_every=min(config.save_every, steps)))
    first, second = configs
    if arguments.table == "table8":
        title, results = "fusion methods", _table8(first, second, arguments.workdir)
    else:
        table = TABLES[arguments.table]
        title = table.title
        if table.stage == 2:
            stage1.run(_runnable(first), arguments.workdir / "stage1")
        results = [
            _run_row(row, second if table.stage == 2 else first, table.stage, arguments.workdir)
            for row in table.rows
        ]
    text = f"{arguments.table}: {title} ({arguments.preset}, {arguments.data or 'synthetic'})\n\n"
    text += as_markdown(results)
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("md", text),
        ("json", json.dumps([dataclasses.asdict(r) for r in results], indent=1) + "\n"),
    ):
        part = arguments.workdir / f".{arguments.table}.{name}.part"
        part.write_text(content, encoding="utf-8")
        part.replace(arguments.workdir / f"{arguments.table}.{name}")
    print(text)
    return results


def as_markdown(results: Iterable[Result]) -> str:
    """The table in the paper's form, with the printed numbers beside ours."""
    lines = [
        "| | PSNR | SSIM | PSNR in print | SSIM in print |",
        "|---|---|---|---|---|",
    ]
    for r in results:
        cells = [
            "–" if value is None else f"{value:.4f}"
            for value in (r.psnr, r.ssim, r.printed_psnr, r.printed_ssim)
        ]
        label = f"{r.label} ({r.note})" if r.note else r.label
        lines.append("| " + " | ".join([label, *cells]) + " |")
    return "\n".join(lines) + "\n"


def _run_row(row: Row, base: TrainConfig, stage: int, workdir: Path) -> Result:
    folder = workdir / re.sub(r"\W+", "-", row.label.lower()).strip("-")
    scores: dict[str, float] = {}
    start = None
    for number, change in enumerate(row.steps, start=1):
        config = change(base)
        if config.loss.perceptual and config.vgg is None:
            return Result(row.label, None, None, row.psnr, row.ssim, "needs --vgg")
        place = folder if len(row.steps) == 1 else folder / f"step{number}"
        print(f"== {row.label}: {place}", file=sys.stderr)
        if stage == 2:
            scores = stage2.run(config, workdir / "stage1", place)
        else:
            scores = stage1.run(config, place, start=start)
            if number < len(row.steps):
                start = export.read_run(place).params
    return Result(row.label, scores["val_psnr"], scores["val_ssim"], row.psnr, row.ssim)


def _table8(first: TrainConfig, second: TrainConfig, workdir: Path) -> list[Result]:
    """Trains both stages once and blends the held-out pairs in every way."""
    stage1.run(_runnable(first), workdir / "stage1")
    stage2.run(_runnable(second), workdir / "stage1", workdir / "stage2")
    trained = export.read_run(workdir / "stage2")
    model = state.build_model(trained.model)
    d2f = pipeline.D2F(model, state.join_variables(trained.params, trained.stats), {})
    pairs = batches.validation_pairs(second.data, half=False, radius=model.sizes[-1] // 2)
    scores: dict[str, list[tuple[float, float]]] = {}
    blend = jax.jit(functools.partial(blend_all, theta=model.theta))
    for image, target in zip(pairs["image"], pairs["bokeh"], strict=True):
        out = d2f(image)
        for name, picture in {**blend(image, out), "D2F": out.bokeh}.items():
            ssim = metrics.ssim_map(picture, target).mean()
            scores.setdefault(name, []).append((float(metrics.psnr(picture, target)), float(ssim)))
    results = []
    for name, printed in TABLE8.items():
        if name in scores:
            psnr, ssim = np.mean(scores[name], axis=0)
            results.append(Result(name, float(psnr), float(ssim), *printed))
        else:
            note = "needs a dictionary learnt by K-SVD, see d2f_jax.models.blending"
            results.append(Result(name, None, None, *printed, note))
    return results


def blend_all(image: Any, out: pipeline.D2FOutput, *, theta: float) -> dict[str, Any]:
    """The sharp picture over the rendered bokeh, by every baseline of Table 8 that is here."""
    size = image.shape[-3:-1]
    rendered = resize.bilinear(out.rendered, size)
    defocus = resize.bilinear(out.defocus[..., None], size)[..., 0]
    binary, soft = fusion.binary_mask(defocus, theta), fusion.naive_mask(defocus, theta)
    methods: dict[str, tuple[Callable, Any]] = {
        "naive Poisson blending": (blending.poisson_blend, binary),
        "Laplacian Pyramid": (blending.laplacian_pyramid_blend, soft),
        "BRDE": (fusion.fuse, soft),
        "Conv-Pyramid": (blending.convolution_pyramid_blend, binary),
    }
    return {name: method(image, rendered, mask) for name, (method, mask) in methods.items()}


def _runnable(config: TrainConfig) -> TrainConfig:
    """Without the perceptual loss where there are no weights for it."""
    if config.vgg is not None:
        return config
    return dataclasses.replace(config, loss=dataclasses.replace(config.loss, perceptual=0.0))


def main() -> None:
    """The command."""
    with commands.user_errors(commands.CHECKPOINT):
        run(commands.parse(Arguments))


if __name__ == "__main__":
    main()
