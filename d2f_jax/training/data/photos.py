"""Photographs on disk for the data sources: 8-bit sRGB files read with Pillow into numpy.

Listing folders of them, and light in numpy, which is all that loaders in threads want.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from d2f_jax import files
from d2f_jax.photo import image_io

SUFFIXES = tuple(suffix for suffix in image_io.SUFFIXES if suffix != ".exr")
"""Endings of the pictures in data sets: all that are read but scene-linear ones."""


def read(path: str | Path) -> Float[np.ndarray, "h w 3"]:
    """Reads an sRGB picture as float32 in [0, 1], turned as its EXIF orientation says.

    Raises:
      ValueError: if the file is missing or not a whole picture.
    """
    return image_io.read_photo(path).image


def read_cutout(path: str | Path) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """Reads colour and alpha of a cut-out.

    Raises:
      ValueError: as `read`, or if the file has no alpha.
    """
    photo = image_io.read_photo(path)
    if photo.alpha is None:
        raise ValueError(f"{path}: has no alpha, so nothing is cut out of it")
    return photo.image, photo.alpha


def size(path: str | Path) -> tuple[int, int]:
    """(height, width) as `read` gives them, from a full read of the file: it finds torn ones.

    Raises:
      ValueError: as `read`.
    """
    height, width, _ = read(path).shape
    return height, width


def listed(folder: str | Path) -> list[Path]:
    """Picture files of a folder in the order of their numbers, then names.

    Raises:
      ValueError: if there is no such folder or no picture in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    files = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    if not files:
        raise ValueError(f"{folder} holds no pictures (looked for {', '.join(SUFFIXES)})")
    return sorted(files, key=order)


def refuse(faults: Sequence[str], where: str) -> None:
    """Lists the faults of a folder, one line each; none, no error.

    Raises:
      ValueError: with all of them.
    """
    if faults:
        count = files.counted(len(faults), "fault")
        raise ValueError(f"{count} in {where}:\n  " + "\n  ".join(faults))


def order(path: Path) -> tuple[int, str]:
    """Sorting key: a number as name counts as that number, other names come after."""
    return (int(path.stem) if path.stem.isdecimal() else 2**63, path.name)


def decode(image: np.ndarray) -> np.ndarray:
    """The sRGB curve to linear light, as `color.srgb_to_linear` but in numpy."""
    return np.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)


def encode(image: np.ndarray) -> np.ndarray:
    """Linear light clipped to [0, 1] and encoded as sRGB, float32."""
    image = np.clip(image, 0, 1)
    high = 1.055 * np.maximum(image, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(image <= 0.0031308, 12.92 * image, high).astype(np.float32)
