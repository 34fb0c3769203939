"""A method of the user's own, `bench_ground_truth --method FILE.py:FUNCTION`."""

import functools
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from d2f_jax import files


class MethodError(ValueError):
    """What is wrong with the file, or with what its function gave for a sample."""


def read(text: str) -> Callable[[Any], np.ndarray]:
    """Imports FILE.py and takes its function.

    Args:
      text: FILE.py:FUNCTION; the function takes a `bench_ground_truth.Sample` and returns its
        picture through the lens, `h w 3`, sRGB in [0, 1].

    Returns:
      The function, whose results are checked: it raises MethodError where the function raises or
      returns anything else.

    Raises:
      MethodError: if there is no such file or function, or the file cannot be imported.
    """
    file, _, name = text.rpartition(":")
    path = Path(file)
    if path.suffix != ".py" or not name:
        raise MethodError(f"{text}: write FILE.py:FUNCTION")
    if not path.is_file():
        raise MethodError(f"{path}: no such file")
    spec: Any = importlib.util.spec_from_file_location(f"method_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its own classes look for themselves
    sys.path.append(str(path.resolve().parent))  # for the modules beside it
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise MethodError(f"{path}: cannot be imported: {files.one_line(error)}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise MethodError(f"{path}: has no function {name}")
    return functools.partial(_checked, text, function)


def _checked(text: str, function: Callable[[Any], Any], sample: Any) -> np.ndarray:
    where = f"{text} at {sample.name}"
    try:
        made = np.asarray(function(sample), np.float32)
    except (Exception, SystemExit) as error:
        raise MethodError(f"{where}: {files.one_line(error)}") from error
    if made.shape != sample.image.shape:
        raise MethodError(f"{where}: gave shape {made.shape}, not {sample.image.shape}")
    if not np.isfinite(made).all():
        raise MethodError(f"{where}: gave values that are not finite")
    low, high = float(made.min()), float(made.max())
    if low < -1e-3 or high > 1 + 1e-3:  # rounding is none of its faults
        raise MethodError(f"{where}: gave values from {low:g} to {high:g}, not sRGB in [0, 1]")
    return np.clip(made, 0, 1)
