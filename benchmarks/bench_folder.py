"""Times `d2f bokeh FOLDER` on ten photographs of ten sizes, beside ten of one size.

A new process each time, with nothing compiled before. The sizes, 0.7 to 1.5 megapixels in all
proportions, and the one size have as many pixels together. Without maps the networks run, with maps
the lens. The contender is not another program but the easier folder.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import common  # isort: skip  (common before jax)

import numpy as np
from PIL import Image

SAMPLES = Path(__file__).parents[1] / "docs" / "samples"
SIZES = (
    (1200, 800),
    (1100, 825),
    (1440, 810),
    (900, 1200),
    (1000, 1000),
    (1280, 853),
    (820, 1230),
    (1333, 1000),
    (1500, 844),
    (960, 720),
)
"""Width and height [px]."""

ONE_SIZE = (1280, 832)
"""About the mean of their pixels."""


def main(options: argparse.Namespace) -> Path:
    """Measures and writes the results file."""
    with tempfile.TemporaryDirectory() as folder:
        mixed = make(Path(folder) / "mixed", SIZES[:2] if options.quick else SIZES)
        same = make(Path(folder) / "same", [ONE_SIZE] * len(list(mixed.glob("*.jpg"))))
        rows = [
            common.measure(
                case,
                [
                    common.Contender(common.OURS, lambda m=maps: call(mixed, m), lambda _: {}),
                    common.Contender("all of one size", lambda m=maps: call(same, m), lambda _: {}),
                ],
                tolerance=0.0,
                repetitions=common.rounds(options),
                warm_up=False,
            )
            for case, maps in (
                ("photographs of ten sizes, networks", False),
                ("photographs of ten sizes with maps, lens", True),
            )
        ]
    return common.save("folder", options, rows)


def make(folder: Path, sizes) -> Path:
    """Writes the sample photograph and its map at these sizes."""
    (folder / "maps").mkdir(parents=True)
    photo = Image.open(SAMPLES / "motorcycle.jpg")
    disparity = Image.open(SAMPLES / "motorcycle_disparity.png")
    values = Image.fromarray(np.asarray(disparity, np.float32) / 65535)
    for number, size in enumerate(sizes):
        photo.resize(size, Image.Resampling.LANCZOS).save(folder / f"{number}.jpg", quality=90)
        resized = np.asarray(values.resize(size, Image.Resampling.NEAREST))
        np.save(folder / "maps" / f"{number}.npy", resized)
    return folder


def call(folder: Path, maps: bool) -> None:
    """Runs the command on a folder, with a cache of compiled code of its own.

    Raises:
      ValueError: if it fails.
    """
    with tempfile.TemporaryDirectory() as fresh:
        command = [sys.executable, "-m", "d2f_jax", "bokeh", str(folder), "--output", f"{fresh}/o/"]
        if maps:
            command += ["--disparity", str(folder / "maps")]
        environment = {**os.environ, "XDG_CACHE_HOME": fresh}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise ValueError(f"{folder.name}: {result.stderr.strip()}")


if __name__ == "__main__":
    sys.exit(common.run(main, __doc__))
