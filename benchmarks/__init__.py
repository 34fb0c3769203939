"""Benchmarks against the PyTorch runtime and the classical peers; see README.md here."""
