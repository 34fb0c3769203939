"""Times the making of synthetic training samples, which must keep up with the steps they feed.

One call makes one sample, in numpy on one core; each call takes the next index, as training does.
There is no other contender: the released code made no data.
"""

import argparse
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import common  # isort: skip  (common before jax)

import numpy as np

from d2f_jax.training.data import synthetic


def main(options: argparse.Namespace) -> Path:
    """Measures and writes the results file."""
    rows = []
    for side in (128,) if options.quick else (256, 512):
        radius = 34.0 * side / 512  # as a share of the picture that of stage 1 of the paper
        size = (side, side)
        configs = {
            "blur as in stage 1": synthetic.SyntheticConfig(
                size=size, radius=(radius / 4, radius), full_radius=radius
            ),
            "default blur": synthetic.SyntheticConfig(size=size),
        }
        for name, config in configs.items():
            row = common.measure(
                f"a synthetic sample of {side}x{side}, {name}",
                [common.Contender(common.OURS, samples(config), view)],
                tolerance=0.0,
                repetitions=common.rounds(options),
            )
            rows.append(row)
    return common.save("data", options, rows)


def samples(config: synthetic.SyntheticConfig) -> Callable[[], Any]:
    """Makes the next sample at each call."""
    indices = itertools.count()
    return lambda: synthetic.make_sample(config, next(indices))


def view(sample: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The pictures of a sample."""
    return {name: sample[name] for name in ("image", "bokeh")}


if __name__ == "__main__":
    sys.exit(common.run(main, __doc__))
