"""Backbones and decoders, without opinions on what they are used for."""
