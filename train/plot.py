"""Draws what a run has measured: `python -m train.plot RUN [--output FILE.png]`.

One picture with a panel for the loss, each of its parts, the gradient's norm and the validation,
from the run's metrics.jsonl; no viewer is needed, and the run may still be going on.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from d2f_jax import extras, files
from train import commands

_COLUMNS = 3

# What a panel is called; all other names, the parts of the loss, stand for themselves.
_TITLES = {
    "loss": "loss",
    "val_psnr": "validation PSNR [dB]",
    "val_ssim": "validation SSIM",
    "gradient_norm": "norm of the gradient",
}
_HIDDEN = {"step", "images_per_second", "val_psnr_input"}  # the input is a line beside val_psnr


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Draws the curves of a training run.

    Attributes:
      run: Folder of the run.
      output: Picture to write, of the kind that its ending names (png, svg, pdf); curves.png in
        the run's folder when left out.
    """

    run: tyro.conf.Positional[Path]
    output: Path | None = None


def read_metrics(run: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Reads the metrics.jsonl of a run, oldest step first.

    A last line without its end is left out: the run is about to write the rest of it.

    Raises:
      ValueError: if there is no such folder, no metrics in it, or a line is broken.
    """
    run = Path(run)
    if not run.is_dir():
        raise ValueError(f"{run}: no such folder; name the --workdir of a run")
    path = run / "metrics.jsonl"
    if not path.exists():
        raise ValueError(f"{run}: no metrics.jsonl there; name the --workdir of a run")
    try:
        *lines, _ = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot read it: {error}") from error
    entries = [_entry(line, f"{path}: line {number}") for number, line in enumerate(lines, start=1)]
    if not entries:
        raise ValueError(f"{path}: nothing measured yet; try again after the first logged step")
    return entries


def _entry(line: str, where: str) -> dict[str, float]:
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or "step" not in entry:
        raise ValueError(f"{where} is broken; mend or delete it")
    if wrong := [name for name, value in entry.items() if not isinstance(value, int | float)]:
        raise ValueError(f"{where} is broken: {wrong[0]} is not a number; mend or delete it")
    return entry


def curves(
    entries: Sequence[Mapping[str, float]],
) -> dict[str, tuple[list[float], list[float]]]:
    """Steps and values by name, in the order of first appearance; those zero throughout left out.

    Losses that a preset leaves out are written down as zeros.
    """
    names = dict.fromkeys(name for entry in entries for name in entry if name != "step")
    drawn = {}
    for name in names:
        points = [(entry["step"], entry[name]) for entry in entries if name in entry]
        if any(value != 0 for _, value in points):
            steps, values = zip(*points, strict=True)
            drawn[name] = list(steps), list(values)
    return drawn


def draw(entries: Sequence[Mapping[str, float]], output: str | os.PathLike[str]) -> None:
    """Draws all curves as small multiples of one picture.

    Args:
      entries: Lines of metrics.jsonl.
      output: Picture to write.

    Raises:
      ValueError: if matplotlib is missing or does not know the ending, or for a place that cannot
        be written.
    """
    with extras.needed("drawing"):
        from matplotlib.figure import Figure

    drawn = curves(entries)
    panels = [name for name in drawn if name not in _HIDDEN]
    panels.sort(key=_place)
    rows = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(4 * _COLUMNS, 2.6 * rows), layout="constrained")
    last = max(entry["step"] for entry in entries)
    for place, name in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, _COLUMNS, place)
        _panel(axes, name, drawn)
        axes.set_xlim(0, 1.03 * max(last, 1))  # the last points whole
    with files.replacing(output) as temporary, files.naming(output):
        figure.savefig(temporary, dpi=120)


def _place(name: str) -> int:
    """The scores come first: they are what the rest is for."""
    if name.startswith("val_"):
        return 0
    return {"loss": 1, "gradient_norm": 3}.get(name, 2)


def _panel(axes: Any, name: str, drawn: Mapping[str, tuple[list[float], list[float]]]) -> None:
    few = len(drawn[name][0]) <= 40
    axes.plot(*drawn[name], color="C0", linewidth=1.2, marker="o" if few else None, markersize=3)
    if name == "val_psnr" and "val_psnr_input" in drawn:
        steps, values = drawn["val_psnr_input"]  # the same pairs at each step: seen from the first
        axes.plot(
            [0, *steps], [values[0], *values], color="0.5", linestyle="--", label="the input's own"
        )
        axes.legend(fontsize="small")
    axes.set_title(_TITLES.get(name, f"{name} (part of the loss)"), fontsize="medium")
    axes.set_xlabel("step", fontsize="small")
    axes.tick_params(labelsize="small")
    axes.grid(alpha=0.3)


def main() -> None:
    """The command."""
    with commands.user_errors():
        arguments = commands.parse(Arguments)
        output = arguments.output or arguments.run / "curves.png"
        draw(read_metrics(arguments.run), output)
        print(f"wrote {output}")


if __name__ == "__main__":
    main()
