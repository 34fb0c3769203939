"""`python -m d2f_jax` is the command `d2f`."""

import sys

from d2f_jax.cli import command

if __name__ == "__main__":
    sys.exit(command())
