"""Losses, metrics, evaluation, checkpoints and data sets; the experiments are in `train/`."""
