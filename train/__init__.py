"""Experiments: the two training stages, evaluation and the paper's ablations."""

import sys

from d2f_jax import extras

try:
    extras.check("train", "training")
except extras.MissingExtraError as error:
    if sys.argv[0] != "-m":  # what Python sets while it looks for the module of a command
        raise
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
