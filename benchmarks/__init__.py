"""Benchmarks against the PyTorch runtime and the classical peers; see README.md here."""

from importlib.util import find_spec

from d2f_jax import extras

if missing := [name for name in ("matplotlib", "optax", "torch") if find_spec(name) is None]:
    pip = f"{extras.python()} -m pip"
    line = f"benchmarks need {', '.join(missing)}: {pip} install -e '.[train,app]' --group dev"
    extras.end_or_raise(extras.MissingExtraError(line), "benchmarks")
