"""Weights in one flat safetensors file, with a header that says what they are and where from.

Arrays are named by their path in the parameter tree, `defocus/params/encoder/conv1/kernel`, and can
be read from torch as well. (Training checkpoints are Orbax's business, in `checkpoints`.)
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors
import safetensors.numpy

from d2f_jax import files

FORMAT = "d2f_jax-1"


class Weights(NamedTuple):
    """A tree of numpy arrays and the text fields of the file's header."""

    tree: dict[str, Any]
    metadata: dict[str, str]


def save(
    path: str | os.PathLike[str],
    tree: Mapping[str, Any],
    *,
    architecture: str,
    source: str,
    licence: str,
    half: bool = False,
    **more: str,
) -> None:
    """Writes a tree of arrays; the file appears whole or not at all.

    Args:
      path: File to write, usually `*.safetensors`.
      tree: Nested mappings of arrays.
      architecture: Name of the network that the weights fit (`architectures.ARCHITECTURES`).
      source: Where the weights come from.
      licence: What one may do with them.
      half: Whether to store float16 instead of float32.
      **more: Further header fields.

    Raises:
      ValueError: if the folder cannot be written.
    """
    dtype = np.float16 if half else np.float32
    arrays = {name: np.ascontiguousarray(x, dtype) for name, x in flatten(tree).items()}
    metadata = {"format": FORMAT, "architecture": architecture, "source": source}
    metadata |= {"licence": licence, "sha256": _digest(arrays), **more}
    files.write_bytes(path, safetensors.numpy.save(arrays, metadata))


def load(path: str | os.PathLike[str]) -> Weights:
    """Reads a file that `save` wrote; arrays come back as float32.

    Raises:
      ValueError: if the file is missing, not safetensors, not written by this library, or its
        arrays are not those whose checksum the header gives.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such weights file")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(
            f"{path}: not a safetensors file ({error}); torch checkpoints go through `d2f convert`"
        ) from error
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path}: a safetensors file, but not one of d2f_jax (its header lacks "
            f"format={FORMAT}); torch checkpoints go through `d2f convert`"
        )
    if metadata.get("sha256", found := _digest(arrays)) != found:
        raise ValueError(f"{path}: damaged, its checksum is not the one in its header; get it anew")
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    return Weights(unflatten(arrays), metadata)


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Names every array of a tree by its path, joined by slashes."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(str(step.key) for step in path): leaf for path, leaf in leaves}


def unflatten(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Undoes `flatten`."""
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *folders, leaf = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = array
    return tree


def check(tree: Mapping[str, Any], like: Mapping[str, Any], what: str) -> None:
    """Refuses a tree whose arrays are not exactly those of `like`.

    Raises:
      ValueError: naming missing, unexpected and mis-shaped arrays, the first 3 of many.
    """
    have = {name: np.shape(x) for name, x in flatten(tree).items()}
    want = {name: np.shape(x) for name, x in flatten(like).items()}
    problems = [f"missing {name} {want[name]}" for name in want if name not in have]
    problems += [f"unexpected {name} {have[name]}" for name in have if name not in want]
    problems += [
        f"{name} is {have[name]}, expected {want[name]}"
        for name in want
        if name in have and have[name] != want[name]
    ]
    refuse(problems, what)


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names and values in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def refuse(problems: Sequence[str], what: str) -> None:
    """Raises one ValueError that lists the problems (the first 3 of many); none, no error."""
    if problems:
        shown = "; ".join(problems[:3])
        rest = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(f"{what}: {len(problems)} arrays do not fit: {shown}{rest}")
