"""Measures the most memory that one large picture takes, in a process of its own for each row.

The default pipeline from picture to picture, and the command from JPEG to JPEG. Each process runs
once, so the seconds contain loading and compilation. Counted is what the process ever held in
memory, Python and libraries included; on a GPU, what it held on the device.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import common, inputs  # isort: skip  (common before jax)

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from d2f_jax import cli, pipeline
from d2f_jax.photo import develop

SIZES = ((4000, 6000), (8192, 12288))


def main(options: argparse.Namespace) -> Path:
    """Measures and writes the results file."""
    sizes = ((1024, 1536),) if options.quick else SIZES
    rows = [measure(*size) for size in sizes for measure in (row, command_row)]
    return common.save("memory", options, rows)


def picture(height: int, width: int) -> None:
    """Develops one picture and prints what it took, as JSON."""
    image = _tiled(height, width)
    start = time.perf_counter()
    d2f = pipeline.load()
    jax.block_until_ready(d2f(image, blur=develop.kernels_factor(d2f.config, height, width)))
    _print_taken(start)


def command(source: str, target: str) -> None:
    """Runs `d2f bokeh` on one file and prints what it took, as JSON."""
    start = time.perf_counter()
    if cli.main(["bokeh", source, "--output", target]):
        sys.exit(1)
    _print_taken(start)


def _tiled(height: int, width: int) -> jax.Array:
    """A tiled small picture: making it takes no more memory than it needs itself."""
    return jnp.tile(inputs.photograph(height // 16, width // 16), (16, 16, 1))


def _print_taken(start: float) -> None:
    seconds = time.perf_counter() - start
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if common.device() == "gpu":
        peak = (jax.devices()[0].memory_stats() or {})["peak_bytes_in_use"]
    print(json.dumps({"seconds": seconds, "peak_gb": peak / 1e9}))


def row(height: int, width: int) -> dict:
    """One size from picture to picture, in a process of its own.

    Raises:
      ValueError: with the last words of that process, if it failed.
    """
    return _measured(f"{height}x{width} photo, default weights", "picture", height, width)


def command_row(height: int, width: int) -> dict:
    """One size from file to file; the file is made before.

    Raises:
      ValueError: as `row`.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = f"{folder}/photo.jpg"
        pixels = np.rint(255 * np.asarray(_tiled(height, width))).astype(np.uint8)
        Image.fromarray(pixels).save(source, quality=92)
        case = f"{height}x{width} JPEG, d2f bokeh"
        return _measured(case, "command", source, f"{folder}/bokeh.jpg")


def _measured(case: str, function: str, *args: int | str) -> dict:
    code = f"from benchmarks import bench_memory; bench_memory.{function}(*{args!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["no word, perhaps out of memory"]
        raise ValueError(f"{case}: {words[-1]} (exit code {done.returncode})")
    taken = json.loads(done.stdout.splitlines()[-1])
    times = {"first_call_s": round(taken["seconds"], 4), **common.summary([taken["seconds"]])}
    measured = {
        "case": case,
        "contenders": {common.OURS: times},
        "times_ours_over": {},
        "peak_gb": round(taken["peak_gb"], 2),
    }
    print(common.describe(measured), f"{measured['peak_gb']} GB", flush=True)
    return measured


if __name__ == "__main__":
    sys.exit(common.run(main, __doc__))
