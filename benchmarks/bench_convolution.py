"""Times the blur of one layer: three planes with one kernel, 512x768, by the size of the kernel.

Ours is `render.convolution.convolve`; PyTorch convolves directly, depthwise with reflected borders
as the authors' code does, and, as the strong one, by FFT.
"""

import argparse
import sys
from pathlib import Path

from benchmarks import common, inputs, torch_baseline  # isort: skip  (common before jax)

import jax
import jax.numpy as jnp
import torch

from d2f_jax.render import convolution, kernels

SIZES = (3, 7, 15, 33, 69)


def main(options: argparse.Namespace) -> Path:
    """Measures and writes the results file."""
    common.equal_footing()
    height, width = (256, 384) if options.quick else (512, 768)
    image = inputs.photograph(height, width)
    planes = jnp.moveaxis(image, -1, 0)
    rows = [row(planes, size, options) for size in SIZES]
    return common.save("convolution", options, rows)


def row(planes: jax.Array, size: int, options: argparse.Namespace) -> dict:
    """Measures one kernel size."""
    kernel = kernels.soft_disk(size)
    contenders = [
        common.ours(
            jax.jit(convolution.convolve), planes, jnp.asarray(kernel), view=lambda x: {"planes": x}
        )
    ]
    place = common.torch_device()
    if place is not None:
        there = common.to_torch(jnp.moveaxis(planes, 0, -1)), torch.from_numpy(kernel).to(place)
        for name, blur in (
            (common.TORCH, torch_baseline.blur_direct),
            (common.STRONG, torch_baseline.blur_fft),
        ):
            contenders.append(
                common.theirs(name, blur, *there, view=lambda x: {"planes": x[0].cpu().numpy()})
            )
    return common.measure(
        f"{size}x{size} kernel, 3 planes of {planes.shape[1]}x{planes.shape[2]}",
        contenders,
        tolerance=2e-5,
        repetitions=common.rounds(options),
        pause=0.1,
    )


if __name__ == "__main__":
    sys.exit(common.run(main, __doc__))
