"""Benchmarks against the PyTorch runtime and the classical peers; see README.md here."""

import sys
from importlib.util import find_spec

from d2f_jax import extras

_has_own_extra = "benchmarks.trace" in sys.orig_argv  # which its command sees to
if not _has_own_extra and (
    missing := [name for name in ("matplotlib", "optax", "torch") if find_spec(name) is None]
):
    pip = f"{extras.python()} -m pip"
    install = f"{pip} install --upgrade pip && {pip} install -e '.[train,depth,app]' --group test"
    line = f"benchmarks need {', '.join(missing)}: {install}"
    extras.end_or_raise(extras.MissingExtraError(line), "benchmarks")
