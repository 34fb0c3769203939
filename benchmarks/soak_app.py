"""Uses the page of `d2f app` for long, and watches the server's memory.

Opens twenty photographs of different shapes, each with and without a map, and makes two hundred
moves on them in headless Chromium (`--chromium`). The server's resident memory after five
photographs, when all is compiled that they share, is compared with that at the end.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import bench_app, common

PHOTOGRAPHS = 20
MOVES = 200
WARM = 5
"""Photographs after which growth counts."""

SHAPES = ((1200, 1600), (1067, 1600), (1600, 1200), (900, 1600), (1600, 1067))


def main(options: argparse.Namespace) -> Path:
    """Runs, and writes the results file."""
    memory = []
    with (
        tempfile.TemporaryDirectory() as folder,
        bench_app.page(options.chromium) as (page, server),
    ):
        for number in range(PHOTOGRAPHS):
            photo, disparity = _photograph(Path(folder), number)
            page.open(photo, disparity)
            if number == 0:
                page.wait_until_warm()
            rng = np.random.default_rng(number)
            for move in range(MOVES // PHOTOGRAPHS):
                page.click(*rng.uniform(0.1, 0.9, 2))
                if move == 0:
                    page.slide("blur", 0.05 * (number % 5 + 12))
            memory.append(_resident(server.pid))
            print(f"{number + 1} photographs: {memory[-1]:.0f} MB", flush=True)
    growth = memory[-1] - memory[WARM - 1]
    print(f"from photograph {WARM} to {PHOTOGRAPHS}: {growth:+.0f} MB")
    row = {"photographs": PHOTOGRAPHS, "moves": MOVES, "memory_mb": memory, "growth_mb": growth}
    return common.save("soak", options, [row])


def _photograph(folder: Path, number: int) -> tuple[Path, Path | None]:
    """One of five shapes, other pixels each time; every other one has a map."""
    height, width = SHAPES[number % len(SHAPES)]
    rng = np.random.default_rng(number)
    small = rng.integers(0, 255, (height // 40, width // 40, 3)).astype(np.uint8)
    photo = folder / f"{number}.jpg"
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(photo)
    if number % 2:
        return photo, None
    disparity = folder / f"{number}.npy"
    np.save(disparity, np.linspace(0, 1, height * width, dtype=np.float32).reshape(height, width))
    return photo, disparity


def _resident(process: int) -> float:
    """Resident memory of a process [MB]."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(common.run(main, __doc__, bench_app.parser(__doc__)))
