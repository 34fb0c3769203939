"""Experiments: the two training stages, evaluation and the paper's ablations."""

from d2f_jax import extras

try:
    extras.check("train", "training")
except extras.MissingExtraError as error:
    extras.end_or_raise(error, "error")
