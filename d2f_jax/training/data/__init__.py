"""Data sets and synthetic samples for training and evaluation."""
