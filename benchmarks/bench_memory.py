"""Measures the most memory that one large picture takes, in a process of its own for each size.

The default pipeline from picture to picture. Each process calls it once, so the seconds contain
loading and compilation. Counted is what the process ever held in memory, Python and libraries
included; on a GPU, what it held on the device.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import common, inputs  # isort: skip  (common before jax)

import jax
import jax.numpy as jnp

from d2f_jax import develop, pipeline

SIZES = ((4000, 6000), (8192, 12288))


def main(options: argparse.Namespace) -> Path:
    """Measures and writes the results file."""
    sizes = ((1024, 1536),) if options.quick else SIZES
    return common.save("memory", options, [row(*size) for size in sizes])


def picture(height: int, width: int) -> None:
    """Develops one picture and prints what it took, as JSON."""
    # A tiled small picture: making it takes no more memory than it needs itself.
    image = jnp.tile(inputs.photograph(height // 16, width // 16), (16, 16, 1))
    start = time.perf_counter()
    d2f = pipeline.load()
    jax.block_until_ready(d2f(image, blur=develop.kernels_factor(d2f.config, height, width)))
    seconds = time.perf_counter() - start
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if common.device() == "gpu":
        peak = (jax.devices()[0].memory_stats() or {})["peak_bytes_in_use"]
    print(json.dumps({"seconds": seconds, "peak_gb": peak / 1e9}))


def row(height: int, width: int) -> dict:
    """One size, in a process of its own.

    Raises:
      ValueError: with the last words of that process, if it failed.
    """
    code = f"from benchmarks import bench_memory; bench_memory.picture({height}, {width})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["no word, perhaps out of memory"]
        raise ValueError(f"{height}x{width}: {words[-1]} (exit code {done.returncode})")
    taken = json.loads(done.stdout.splitlines()[-1])
    times = {"first_call_s": round(taken["seconds"], 4), **common.summary([taken["seconds"]])}
    measured = {
        "case": f"{height}x{width} photo, default weights",
        "contenders": {common.OURS: times},
        "times_ours_over": {},
        "peak_gb": round(taken["peak_gb"], 2),
    }
    print(common.describe(measured), f"{measured['peak_gb']} GB", flush=True)
    return measured


if __name__ == "__main__":
    sys.exit(common.run(main, __doc__))
