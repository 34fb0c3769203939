"""Times cold starts of the command: a new process each time, from start to exit.

`d2f --help`, and `d2f bokeh` with the default weights, or with a disparity map. The first call
finds nothing compiled; the timed ones find what the first compiled, as a user's second picture of
a size does. There is no PyTorch command to compare with; starting Python with `import torch` alone
is timed beside them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import common

SAMPLES = Path(__file__).parents[1] / "docs" / "samples"


def main(options: argparse.Namespace) -> Path:
    """Measures and writes the results file."""
    rounds = min(5, common.rounds(options))
    command = [sys.executable, "-m", "d2f_jax"]
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        bokeh = [*command, "bokeh", "--output", f"{folder}/out.jpg"]
        alone = [*bokeh, str(SAMPLES / "otter.jpg")]
        mapped = [*bokeh, str(SAMPLES / "motorcycle.jpg")]
        mapped += ["--disparity", str(SAMPLES / "motorcycle_disparity.png")]
        rows = [
            _row("d2f --help", common.OURS, [*command, "--help"], rounds),
            _row("d2f bokeh, sample photo alone", common.OURS, alone, rounds),
            _row("d2f bokeh, sample photo with its map", common.OURS, mapped, rounds),
            _row("import torch", common.TORCH, [sys.executable, "-c", "import torch"], rounds),
        ]
    return common.save("cli", options, rows)


def _row(case: str, name: str, command: list[str], rounds: int) -> dict:
    def call() -> None:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise ValueError(f"{case}: {result.stderr.strip()}")

    contender = common.Contender(name, call, lambda _: {})
    return common.measure(case, [contender], tolerance=0.0, repetitions=rounds)


if __name__ == "__main__":
    sys.exit(common.run(main, __doc__))
