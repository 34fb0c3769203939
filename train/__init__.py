"""Experiments: the two training stages, evaluation and the paper's ablations."""
