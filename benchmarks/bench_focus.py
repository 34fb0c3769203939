"""How often the focus that is chosen by itself lies within the subject's depths.

    python -m benchmarks.bench_focus FOLDER [--output FILE.json] [--weights FILE]

FOLDER is what `train.held_out` takes: `subjects`, `mattes`, `scenes`; the material that training
never saw is used. Nobody has measured the depth of these photographs, so that maps are made: each
is a composite of `data.composites`, a subject in front of a ground and a wall, before its own
background (the photograph as it is) or another one. The subject is no plane: a smooth relief is
added to its disparity, and edges are softened by a pixel, as in maps of cameras and networks.

A focus is right if it lies between the 2nd and 98th hundredth of the subject's disparity. Rules:
what 90 % of the central quarter do not exceed, `focus.subject` from the map alone, and with the
sharpness that the network sees. Its numbers were chosen on the other photographs.
"""

import json
import platform
from pathlib import Path

import jax
import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks import words
from d2f_jax import pipeline
from d2f_jax.photo import develop, focus
from d2f_jax.photo.image_io import Photo
from d2f_jax.training.data import composites

START = 6_000_000
"""First composite that only this benchmark uses."""

SIZE = (384, 512)
RELIEF = 0.12
"""Of the subject, up and down, as a share of its disparity."""

KINDS = {"own background": 1.0, "other background": 0.0}
RULES = ("central quarter", "map alone", "with the network")


def relieved(
    disparity: np.ndarray, nearness: float, rng: np.random.Generator
) -> tuple[np.ndarray, float, float]:
    """Gives the plane of the subject a relief.

    Returns:
      The map, and the range of the subject's disparity.
    """
    subject = np.abs(disparity - nearness) <= 0.004 * np.ptp(disparity)
    relief = gaussian_filter(rng.standard_normal(disparity.shape), 25)
    relief *= RELIEF * nearness / np.abs(relief).max()
    disparity = gaussian_filter(np.where(subject, disparity + relief, disparity), 1.5)
    low, high = np.quantile(disparity[subject], (0.02, 0.98))
    return disparity.astype(np.float32), float(low), float(high)


def right(d2f: pipeline.D2F, config: composites.CompositesConfig, index: int) -> list[bool]:
    """Whether each rule is right about one composite."""
    sample = composites.make_sample(config, START + index)
    rng = np.random.default_rng(index)
    disparity, low, high = relieved(sample["disparity"], float(sample["focus"]), rng)
    sharpness = develop.sharpness(d2f, Photo(sample["image"]))
    chosen = central(disparity), focus.subject(disparity), focus.subject(disparity, sharpness)
    return [low <= value <= high for value in chosen]


def central(disparity: np.ndarray) -> float:
    """The disparity that 90 % of the central quarter (half of each side) do not exceed."""
    height, width = disparity.shape
    middle = disparity[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return float(np.percentile(middle, 90))


def main() -> None:
    """Runs the comparison."""
    parser = words.Parser(description="How often the focus lies on the subject.")
    parser.add_argument("folder", type=Path, help="subjects, mattes, scenes")
    parser.add_argument("--count", type=int, default=100, help="composites of each kind")
    parser.add_argument("--weights", type=Path, help="instead of those of the package")
    parser.add_argument("--output", type=words.file_to_write, help="JSON file for the results")
    arguments = parser.parse_args()
    try:
        d2f = pipeline.load(arguments.weights)
        material = composites.find_material(arguments.folder, held_out=True)
    except ValueError as error:
        parser.error(str(error))
    shares: dict[str, dict[str, float]] = {}
    for kind, whole in KINDS.items():
        config = composites.CompositesConfig(
            size=SIZE,
            subjects=material.subjects,
            scenes=material.scenes,
            whole=whole,
            camouflage=0.0,
            lens_samples=1,
        )
        found = [right(d2f, config, index) for index in range(arguments.count)]
        shares[kind] = dict(zip(RULES, np.mean(found, axis=0).tolist(), strict=True))
        print(f"{kind}: " + ", ".join(f"{rule} {shares[kind][rule]:.2f}" for rule in RULES))
    if arguments.output:
        content = {
            "subjects": [subject.photo.stem for subject in material.subjects],
            "composites_of_each_kind": arguments.count,
            "weights": d2f.metadata.get("source", ""),
            "machine": {"jax": jax.__version__, "processor": platform.machine()},
            "share_within_the_subject": shares,
        }
        arguments.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    with words.interruptible():
        main()
