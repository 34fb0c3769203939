"""OpenEXR pictures and maps, if the `OpenEXR` package is there (extra `exr`)."""

import importlib
import os
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float

from d2f_jax import extras


def read(path: str | os.PathLike[str], *, max_pixels: int) -> dict[str, Float[np.ndarray, "h w"]]:
    """Reads the channels of the first part as float32, by name ("R", "G", "B", "A", "Y", "Z" ...).

    Raises:
      ValueError: if the package is missing, the file is no EXR, or it is larger than `max_pixels`;
        the caller names the file.
    """
    library = _library()
    try:
        header = library.File(str(path), header_only=True).header()
        low, high = np.asarray(header["dataWindow"], dtype=np.int64)
        width, height = high - low + 1
        if width * height <= max_pixels:
            channels = library.File(str(path), separate_channels=True).channels()
            return {name: np.asarray(c.pixels, np.float32) for name, c in channels.items()}
    except Exception as error:  # the library raises RuntimeError, TypeError and others
        raise ValueError(f"not a readable EXR file ({_line(error)})") from error
    raise ValueError(f"{width}x{height} pixels, more than the {max_pixels} allowed")


def write(path: str | os.PathLike[str], channels: dict[str, Float[np.ndarray, "h w"]]) -> None:
    """Writes channels as half floats, compressed without loss.

    Raises:
      ValueError: if the package is missing or the file cannot be written; the caller names it.
    """
    library = _library()
    header: dict[str, Any] = {
        "compression": library.ZIP_COMPRESSION,
        "type": library.scanlineimage,
    }
    half = {name: np.ascontiguousarray(c, np.float16) for name, c in channels.items()}
    try:
        library.File(header, half).write(str(path))
    except Exception as error:
        raise ValueError(f"cannot write it as EXR ({_line(error)})") from error


def _library() -> ModuleType:
    with extras.needed("an EXR file"):
        return importlib.import_module("OpenEXR")


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
