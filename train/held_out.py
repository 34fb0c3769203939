"""Judges weights on photographs that training never saw.

    python -m train.held_out FOLDER --out DIR [--weights FILE|RUN] [--beside FILE|RUN] ...

FOLDER is what `data.composites` was given in training: `subjects`, `mattes`, `scenes`, and perhaps
`others`. Every fifth file of each by name is held out. Writes a contact sheet (photograph, defocus
map, bokeh; and the same by the other weights), scores.json, and prints one table:

- of the mattes: the area under the ROC curve of each defocus map as a detector of what the matte
  leaves out, how far the picture changes inside the eroded matte (mean absolute difference times
  255), and the share of wrong pixels along the outline,
- of scenes with known disparity (`--traced`, `--measured`, `--layouts`): the rank correlation of
  defocus and distance from the focus beyond the sharp part, and in how many nothing was sharp,
- of people (`--people`): the share of them that is blurred,
- of pairs made of the held-out material: the PSNR of the bokeh, of the unblurred input, and of
  blurring all that lies outside a centred ellipse by the same renderer.
"""

import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax import Array
from jaxtyping import Bool, Float
from PIL import Image
from scipy import ndimage

from d2f_jax import files, pipeline
from d2f_jax.models import imagination, resize
from d2f_jax.photo import develop
from d2f_jax.training import metrics
from d2f_jax.training.data import composites, layouts, photos, synthetic
from train import commands, distance, export

PAIRS_START = 3_000_000
"""First composite that only this evaluation uses."""

CELL_WIDTH = 300
"""Of each picture in the contact sheet [px]."""

PAIRS_SIZE = (384, 512)
PAIRS_BLUR = 3 / 8
"""Size of the made pairs, and the kernels' factor that keeps the blur's share of the picture."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Judges weights on held-out photographs.

    Attributes:
      folder: Photographs and mattes.
      out: Folder to write to.
      weights: Weights file, or folder of a stage-1 run; those of the package when left out.
      beside: Other weights to judge in the same run.
      traced: Folder of path-traced scenes (`distance.traced`).
      measured: Folders of photographs with measured depth (`distance.measured`).
      layouts: Table of drawn scenes (docs/weights_layouts.tsv), of which the held-out ones count.
      people: Folder with the photographs of `outlines`.
      outlines: Table of where people are (docs/weights_people.tsv).
      pairs: Number of made pairs.
    """

    folder: tyro.conf.Positional[Path]
    out: Path
    weights: Path | None = None
    beside: Path | None = None
    traced: Path | None = None
    measured: tuple[Path, ...] = ()
    layouts: Path | None = None
    people: Path | None = None
    outlines: Path = Path("docs/weights_people.tsv")
    pairs: int = 96


def of_few_sizes(image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "p q 3"]:
    """A picture with a long side of 1024 and sides that are multiples of 128.

    The pipeline works at half of such a size anyway, and every other one would be compiled again.
    """
    scale = 1024 / max(image.shape)
    size = [max(1, round(scale * side / 128)) * 128 for side in image.shape[:2]]
    return np.clip(synthetic.resized(image, (size[0], size[1])), 0, 1)


def separation(defocus: Float[np.ndarray, "h w"], subject: Bool[np.ndarray, "h w"]) -> float:
    """Area under the ROC curve: how often the background is more blurred than the subject.

    Raises:
      ValueError: if one of the two is empty.
    """
    values, places = np.unique(defocus, return_inverse=True)
    inside = np.bincount(places.ravel(), subject.ravel(), len(values))
    outside = np.bincount(places.ravel(), ~subject.ravel(), len(values))
    if not inside.sum() or not outside.sum():
        raise ValueError("the matte needs both subject and background")
    below = np.cumsum(inside) - inside / 2
    return float(outside @ below / inside.sum() / outside.sum())


def judge_subject(
    image: Float[np.ndarray, "h w 3"],
    out: pipeline.D2FOutput,
    subject: composites.Subject,
    theta: float,
) -> dict[str, float]:
    """Separation, change inside the matte eroded by 1 % of the long side, error of the outline.

    Args:
      image: The subject's photograph.
      out: What the model made of it.
      subject: Whose matte decides.
      theta: Defocus at which the mask ends.
    """
    size = image.shape[:2]
    matte = synthetic.resized(photos.read(subject.matte)[..., :1], size)[..., 0] > 0.5
    defocus = np.asarray(resize.bilinear(out.defocus[..., None], size)[..., 0])
    reach = 2 * round(0.01 * max(size)) + 1
    inside = ndimage.minimum_filter(matte, reach)
    change = np.abs(np.asarray(out.bokeh) - image).mean(-1)
    return {
        "auc": separation(defocus, matte),
        "change_inside": 255 * float(change[inside].mean()) if inside.any() else 0.0,
        "outline_error": distance.outline_error(defocus, matte, theta),
    }


def judge_pairs(model: pipeline.D2F, material: composites.Material, count: int) -> dict[str, float]:
    """Mean PSNR of bokeh, input and centred ellipse over composites of the material."""
    radius = 2 * PAIRS_BLUR * (model.config.sizes[-1] // 2)
    config = composites.CompositesConfig(
        size=PAIRS_SIZE,
        subjects=material.subjects,
        scenes=material.scenes,
        radius=(0.4 * radius, radius),
        full_radius=radius,
        camouflage=0.0,
    )
    y, x = (np.linspace(-1, 1, length) for length in PAIRS_SIZE)
    away = np.hypot(*np.meshgrid(y / 0.6, x / 0.6, indexing="ij"))
    ellipse = jnp.asarray(1 - np.clip(4 * (away - 1), 0, 1), jnp.float32)
    scores: dict[str, list[float]] = {"bokeh": [], "input": [], "ellipse": []}
    for index in range(count):
        sample = composites.make_sample(config, PAIRS_START + index)
        image, truth = jnp.asarray(sample["image"]), jnp.asarray(sample["bokeh"])
        by_ellipse = model(image, blur=PAIRS_BLUR, disparity=ellipse, focus=1.0).bokeh
        pictures = {
            "bokeh": model(image, blur=PAIRS_BLUR).bokeh,
            "input": image,
            "ellipse": by_ellipse,
        }
        for name, picture in pictures.items():
            scores[name].append(float(metrics.psnr(picture, truth)))
    return {f"psnr_{name}": float(np.mean(values)) for name, values in scores.items()}


def contact_cell(
    image: Float[np.ndarray, "h w 3"], outs: Sequence[pipeline.D2FOutput], width: int = CELL_WIDTH
) -> Image.Image:
    """A photograph, then map and bokeh of each result, side by side, each of this width [px]."""
    height = round(width * image.shape[0] / image.shape[1])
    planes = [image]
    for out in outs:
        planes += [np.repeat(np.asarray(out.defocus)[..., None], 3, -1), np.asarray(out.bokeh)]
    cell = Image.new("RGB", (len(planes) * width, height))
    for place, plane in enumerate(planes):
        picture = Image.fromarray((255 * plane + 0.5).astype(np.uint8)).resize((width, height))
        cell.paste(picture, (place * width, 0))
    return cell


def contact_sheet(cells: list[Image.Image]) -> Image.Image:
    """Cells of one width, two to a row."""
    rows = [cells[n : n + 2] for n in range(0, len(cells), 2)]
    heights, width = [max(cell.height for cell in row) for row in rows], cells[0].width
    sheet = Image.new("RGB", (2 * width + 12, sum(heights) + 6 * len(rows)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for place, cell in enumerate(row):
            sheet.paste(cell, (place * (width + 12), top))
        top += height + 6
    return sheet


def judge_distance(model: pipeline.D2F, scenes: Iterable[distance.Known]) -> dict[str, Any]:
    """Rank correlation beyond the sharp part of each scene, and what share of each is sharp."""
    ranks, sharp = {}, {}
    for scene in scenes:
        defocus, moved = _map_of(model, scene.image)
        true = jnp.asarray(scene.disparity, jnp.float32)[..., None]
        true = np.asarray(resize.bilinear(true, defocus.shape))[..., 0]
        ranks[scene.name] = distance.rank_correlation(defocus, true)
        sharp[scene.name] = float((defocus + moved < model.config.theta / 2).mean())
    return {
        "rank_correlation": float(np.mean(list(ranks.values()))),
        "nothing_sharp_before_lowering": sum(
            share < develop.LEAST_SHARP for share in sharp.values()
        ),
        "pictures": len(ranks),
        "each": ranks,
    }


def _map_of(
    model: pipeline.D2F, image: Float[np.ndarray, "h w 3"]
) -> tuple[Float[np.ndarray, "p q"], float]:
    """The defocus map alone, and by how much it was lowered."""
    defocus, moved = _map_alone(model.config, model.params, jnp.asarray(of_few_sizes(image)))
    return np.asarray(defocus), float(moved)


@functools.partial(jax.jit, static_argnames="config")
def _map_alone(config: Any, params: Any, image: Array) -> tuple[Array, Array]:
    size = pipeline.working_size(*image.shape[:2])
    return imagination.hallucinate(config, params, resize.bilinear(image, size))


def judge(arguments: Arguments, model: pipeline.D2F) -> dict[str, Any]:
    """All figures of some weights."""
    material = composites.find_material(arguments.folder, held_out=True)
    subjects = {}
    for subject in material.subjects:
        image = of_few_sizes(photos.read(subject.photo))
        out = model(jnp.asarray(image))
        subjects[subject.photo.stem] = judge_subject(image, out, subject, model.config.theta)
    columns = {name: [s[name] for s in subjects.values()] for name in next(iter(subjects.values()))}
    scores: dict[str, Any] = {
        "auc_mean": float(np.mean(columns["auc"])),
        "auc_least": float(np.min(columns["auc"])),
        "change_inside_mean": float(np.mean(columns["change_inside"])),
        "outline_error_mean": float(np.mean(columns["outline_error"])),
        **judge_pairs(model, material, arguments.pairs),
        "subjects": subjects,
    }
    if arguments.traced is not None:
        scores["traced"] = judge_distance(model, distance.traced(arguments.traced))
    if arguments.measured:
        scenes = [scene for folder in arguments.measured for scene in distance.measured(folder)]
        scores["measured"] = judge_distance(model, scenes)
    if arguments.layouts is not None:
        drawn = distance.drawn(material.scenes, layouts.read_table(arguments.layouts))
        scores["layouts"] = judge_distance(model, drawn)
    if arguments.people is not None:
        table = layouts.read_table(arguments.outlines)
        each = {}
        for name, image, inside in distance.people(arguments.people, table):
            defocus = jnp.asarray(_map_of(model, image)[0])[..., None]
            defocus = np.asarray(resize.bilinear(defocus, inside.shape))[..., 0]
            each[name] = distance.blurred_share(defocus, inside, model.config.theta)
        scores["people"] = {"blurred_share": float(np.mean(list(each.values()))), "each": each}
    return scores


def table(judged: dict[str, dict[str, Any]]) -> str:
    """Figures of several weights side by side, as lines of Markdown."""
    flat = {name: _flat(scores) for name, scores in judged.items()}
    lines = ["| figure | " + " | ".join(flat) + " |", "|---|" + "---|" * len(flat)]
    for figure in next(iter(flat.values())):
        cells = [f"{scores[figure]:.4g}" for scores in flat.values()]
        lines.append(f"| {figure} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _flat(scores: dict[str, Any]) -> dict[str, float]:
    flat = {name: value for name, value in scores.items() if not isinstance(value, dict)}
    for group in ("traced", "measured", "layouts", "people"):
        for name, value in scores.get(group, {}).items():
            if name == "each":
                flat |= {f"{group}: {picture}": figure for picture, figure in value.items()}
            else:
                flat[f"{group}, {name}"] = value
    return flat


def main() -> None:
    """The command."""
    with commands.user_errors():
        arguments = commands.parse(Arguments, description=__doc__)
        models = {"weights": export.load(arguments.weights)}
        if arguments.beside is not None:
            models["beside"] = export.load(arguments.beside)
        judged = {name: judge(arguments, model) for name, model in models.items()}
        material = composites.find_material(arguments.folder, held_out=True)
        paths = [subject.photo for subject in material.subjects] + list(material.scenes)
        if (arguments.folder / "others").is_dir():
            paths += sorted(photos.listed(arguments.folder / "others"))[::5]
        width = CELL_WIDTH if len(models) == 1 else CELL_WIDTH * 3 // 4
        cells = []
        for path in paths:
            image = photos.read(path)
            seen = jnp.asarray(of_few_sizes(image))
            outs = [model(seen) for model in models.values()]
            cells.append(contact_cell(image, outs, width))
        arguments.out.mkdir(parents=True, exist_ok=True)
        sheet = contact_sheet(cells)
        with files.replacing(arguments.out / "contact_sheet.jpg") as temporary:
            sheet.save(temporary, "JPEG", quality=88)
        files.write_bytes(arguments.out / "scores.json", json.dumps(judged, indent=2).encode())
        print(table(judged))


if __name__ == "__main__":
    main()
