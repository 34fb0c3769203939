"""Judges weights on photographs that training never saw.

    python -m train.held_out FOLDER --out DIR [--weights FILE|RUN]

FOLDER is what `data.composites` was given in training: `subjects`, `mattes`, `scenes`, and perhaps
`others`. Every fifth file of each by name is held out. Writes a contact sheet (photograph, defocus
map, bokeh) and scores.json with

- the area under the ROC curve of each defocus map as a detector of what the matte leaves out,
- how far the picture changes inside the eroded matte, as a mean absolute difference times 255,
- the PSNR, over pairs made of the held-out material, of the bokeh, of the unblurred input, and of
  blurring all that lies outside a centred ellipse by the same renderer.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Bool, Float
from PIL import Image, ImageFilter

from d2f_jax import files, pipeline
from d2f_jax.models import resize
from d2f_jax.training import metrics
from d2f_jax.training.data import composites, photos
from train import commands, export, state

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
      pairs: Number of made pairs.
    """

    folder: tyro.conf.Positional[Path]
    out: Path
    weights: Path | None = None
    pairs: int = 96


def load(weights: Path | None) -> pipeline.D2F:
    """Loads a weights file as `pipeline.load`, or the best checkpoint of a run, also of a variant.

    Raises:
      ValueError: as `pipeline.load` and `export.read_run`.
    """
    if weights is None or not weights.is_dir():
        return pipeline.load(weights)
    run = export.read_run(weights)
    params = state.join_variables(run.params, run.stats)
    return pipeline.D2F(state.build_model(run.model), params, {})


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
    image: Float[np.ndarray, "h w 3"], out: pipeline.D2FOutput, subject: composites.Subject
) -> dict[str, float]:
    """Separation, and change inside the matte eroded by 1 % of the long side, of one photograph.

    Args:
      image: The subject's photograph.
      out: What the model made of it.
      subject: Whose matte decides.
    """
    size = image.shape[:2]
    matte = photos.read(subject.matte)[..., 0] > 0.5
    defocus = np.asarray(resize.bilinear(out.defocus[..., None], size)[..., 0])
    reach = 2 * round(0.01 * max(size)) + 1
    eroded = Image.fromarray(matte).convert("L").filter(ImageFilter.MinFilter(reach))
    inside = np.asarray(eroded) > 0
    change = np.abs(np.asarray(out.bokeh) - image).mean(-1)
    return {
        "auc": separation(defocus, matte),
        "change_inside": 255 * float(change[inside].mean()) if inside.any() else 0.0,
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
    image: Float[np.ndarray, "h w 3"], out: pipeline.D2FOutput, width: int = CELL_WIDTH
) -> Image.Image:
    """Photograph, defocus map and bokeh side by side, each of this width [px]."""
    height = round(width * image.shape[0] / image.shape[1])
    planes = [image, np.repeat(np.asarray(out.defocus)[..., None], 3, -1), np.asarray(out.bokeh)]
    cell = Image.new("RGB", (3 * width, height))
    for place, plane in enumerate(planes):
        picture = Image.fromarray((255 * plane + 0.5).astype(np.uint8)).resize((width, height))
        cell.paste(picture, (place * width, 0))
    return cell


def contact_sheet(cells: list[Image.Image], width: int = CELL_WIDTH) -> Image.Image:
    """Cells of pictures of this width [px], two to a row."""
    rows = [cells[n : n + 2] for n in range(0, len(cells), 2)]
    heights = [max(cell.height for cell in row) for row in rows]
    sheet = Image.new("RGB", (6 * width + 12, sum(heights) + 6 * len(rows)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for place, cell in enumerate(row):
            sheet.paste(cell, (place * (3 * width + 12), top))
        top += height + 6
    return sheet


def main() -> None:
    """The command."""
    with commands.user_errors():
        arguments = tyro.cli(Arguments, description=__doc__)
        model = load(arguments.weights)
        material = composites.find_material(arguments.folder, held_out=True)
        subjects, cells = {}, []
        for subject in material.subjects:
            image = photos.read(subject.photo)
            out = model(jnp.asarray(image))
            subjects[subject.photo.stem] = judge_subject(image, out, subject)
            cells.append(contact_cell(image, out))
        area = [scores["auc"] for scores in subjects.values()]
        change = [scores["change_inside"] for scores in subjects.values()]
        scores = {
            "auc_mean": float(np.mean(area)),
            "auc_least": float(np.min(area)),
            "change_inside_mean": float(np.mean(change)),
            **judge_pairs(model, material, arguments.pairs),
            "subjects": subjects,
        }
        paths = list(material.scenes)
        if (arguments.folder / "others").is_dir():
            paths += sorted(photos.listed(arguments.folder / "others"))[::5]
        arguments.out.mkdir(parents=True, exist_ok=True)
        for path in paths:
            image = photos.read(path)
            cells.append(contact_cell(image, model(jnp.asarray(image))))
        sheet = contact_sheet(cells)
        with files.replacing(arguments.out / "contact_sheet.jpg") as temporary:
            sheet.save(temporary, "JPEG", quality=88)
        text = json.dumps(scores, indent=2)
        files.write_bytes(arguments.out / "scores.json", text.encode())
        print(text)


if __name__ == "__main__":
    main()
