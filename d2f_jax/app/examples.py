"""Photographs that the page offers, and pictures in the form that it shows."""

import base64
import functools
import io
from pathlib import Path

import numpy as np
from PIL import Image

from d2f_jax.photo import image_io, names

FOLDER = Path(__file__).parent / "examples"
"""What comes with the package; the licence lies beside it."""


def listed(folder: Path | None) -> tuple[Path, ...]:
    """The photographs of a folder, or those of the package.

    Raises:
      ValueError: if it is no folder, or there is no photograph in it.
    """
    if folder is None:
        return tuple(sorted(FOLDER.glob("*.jpg")))
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder of photographs")
    return tuple(names.find_photographs([str(folder)]))


@functools.lru_cache(maxsize=200)
def thumbnail(path: Path) -> bytes:
    """A photograph in 160 pixels, as JPEG; an empty grey one if it cannot be read."""
    try:
        photo = image_io.read_photo(path)
        pixels = np.rint(np.clip(photo.image, 0, 1) * 255).astype(np.uint8)
        picture, icc = Image.fromarray(pixels), photo.icc
    except ValueError:
        picture, icc = Image.new("RGB", (160, 120), "grey"), None
    picture.thumbnail((160, 160))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=85, icc_profile=icc)
    return out.getvalue()


def as_address(picture: bytes) -> str:
    """A JPEG as an address that a page shows without asking for it."""
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode()
