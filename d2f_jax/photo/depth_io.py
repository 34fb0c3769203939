"""Depth and disparity maps from and to files, and maps as pictures.

Pictures of 8 and 16 bits are read as [0, 1], all other files as they are.
"""

import io
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import tifffile
from jaxtyping import Float, Shaped
from PIL import Image, PngImagePlugin

from d2f_jax import files
from d2f_jax.photo import decoders, exr, image_io
from d2f_jax.photo.disparity import DepthMap
from d2f_jax.photo.settings import Convention

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".npy", ".npz", ".pfm", ".exr")
"""Endings of the files that are read."""

NAMES: dict[str, Convention | None] = {
    "disparity": "disparity",
    "inverse_depth": "inverse_depth",
    "metric": "metres",
    "depth": None,
}
"""Names of arrays that are the map when others lie beside it, and what they say of it."""


def read_disparity(path: str | os.PathLike[str]) -> Float[np.ndarray, "h w"]:
    """Reads a map's values as they lie in the file; see `read_map`."""
    return read_map(path).values


def read_map(path: str | os.PathLike[str]) -> DepthMap:
    """Reads a map, and what the file says of it.

    PNG (8 or 16 bit) and other grey pictures, TIFF, NPY, NPZ (its only map, or the one whose name
    is in `NAMES`), PFM, and EXR (its only channel, "disparity", "Y" or "Z", or three equal ones).
    Depth beside a focal length, as Depth Pro writes it, is in metres; an entry or a line of text
    called "convention" says what else it is.

    Args:
      path: File to read; its ending says what it is.

    Returns:
      The map as float32. Pixels without a measurement may be NaN, infinite or 0.

    Raises:
      ValueError: if the file is missing, unreadable, of an unknown kind, damaged, in colour, or
        holds no map or several.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    data = files.read_bytes(path)
    if suffix == ".exr":
        with files.naming(path):
            channels = exr.read(path, max_pixels=decoders.MAX_PIXELS)
        colours = [channels[name] for name in "RGB" if name in channels]
        if len(colours) == 3 and all(np.array_equal(colours[0], c, True) for c in colours):
            channels = {"Y": colours[0]}
        return _only(channels, ("disparity", "Y", "Z"), path)
    if suffix in _READERS:
        try:
            arrays = _READERS[suffix](data)
        except Exception as error:  # parsers raise whatever a damaged file leads them to
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise ValueError(
                f"{path}: not a readable {suffix[1:].upper()} map ({reason})"
            ) from error
        if arrays:
            return _only(arrays, tuple(NAMES), path)
    elif suffix not in SUFFIXES:
        raise ValueError(f"{path}: not a map of a known kind; choose one of {', '.join(SUFFIXES)}")
    photo = image_io.decode(data, path)
    with files.naming(path):
        values = grey(photo)
        convention, low, high = _described(data) if suffix == ".png" else (None, 0.0, 1.0)
    if convention is None:
        return DepthMap(values, levels=2**photo.bits - 1)
    return DepthMap(np.float32(low) + np.float32(high - low) * values, convention)


def grey(photo: image_io.Photo) -> Float[np.ndarray, "h w"]:
    """Takes the one channel of a grey picture, or refuses, by a ValueError, one in colour."""
    if np.ptp(photo.image, axis=-1).max() > 0.02:  # a grey JPEG may be off by a hair
        raise ValueError("a picture in colour; a map or mask has one grey channel")
    return photo.image[..., 0]


def write_map(path: str | os.PathLike[str], values: Float[np.ndarray, "h w"]) -> None:
    """Writes a map in [0, 1] as an 8-bit grey PNG; see `files.write_bytes` for the errors."""
    out = io.BytesIO()
    Image.fromarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)).save(out, "PNG")
    files.write_bytes(path, out.getvalue())


def write_maps(path: str | os.PathLike[str], **maps: Float[np.ndarray, "..."]) -> None:
    """Writes maps with all their digits to one NPZ; see `files.write_bytes` for the errors."""
    out = io.BytesIO()
    arrays: dict[str, Any] = maps  # allow_pickle is an argument of newer NumPy, an array to older
    np.savez_compressed(out, **arrays)
    files.write_bytes(path, out.getvalue())


def write_disparity(
    path: str | os.PathLike[str], disparity: Float[np.ndarray, "h w"], *, metric: bool
) -> None:
    """Writes a disparity map as `read_map` understands it without being told.

    PNG has 16 bits from the smallest value to the largest, and both in a line of text; NPZ has the
    values themselves.

    Args:
      path: File to write, .png or .npz.
      disparity: The map, finite.
      metric: Whether it is in 1/m.

    Raises:
      ValueError: for another ending, or a file that cannot be written.
    """
    path = check_written(path)
    name = "inverse_depth" if metric else "disparity"
    if path.suffix.lower() == ".npz":
        write_maps(path, **{name: disparity})
        return
    low, high = float(disparity.min()), float(disparity.max())
    steps = (disparity - low) / max(high - low, 1e-30) * 65535
    text = PngImagePlugin.PngInfo()
    text.add_text("convention", f"{name} {low!r} {high!r}")
    out = io.BytesIO()
    Image.fromarray(np.rint(steps).astype(np.uint16)).save(out, "PNG", pnginfo=text)
    files.write_bytes(path, out.getvalue())


def check_written(path: str | os.PathLike[str]) -> Path:
    """Refuses, by a ValueError, files that `write_disparity` does not write."""
    path = Path(path)
    if path.suffix.lower() not in (".png", ".npz"):
        raise ValueError(f"{path}: maps are written as .png (16 bit) or .npz")
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent}: no such folder; make it or name another")
    return path


def _described(data: bytes) -> tuple[Convention | None, float, float]:
    """The convention of a PNG's values, and what black and white stand for."""
    with Image.open(io.BytesIO(data)) as picture:
        words = str(picture.info.get("convention", "")).split()
    if not words:
        return None, 0.0, 1.0
    try:
        convention, low, high = _known(words[0]), float(words[1]), float(words[2])
        if convention and np.isfinite(high - low):
            return convention, low, high
    except (IndexError, ValueError):
        pass
    raise ValueError("its text 'convention' is no convention with the values of black and white")


def _known(word: str) -> Convention | None:
    return next((known for known in get_args(Convention) if known == word), None)


def _only(
    arrays: Mapping[str, Shaped[np.ndarray, "..."]], names: tuple[str, ...], path: Path
) -> DepthMap:
    """Takes the one map among arrays: by name, or because there is no other."""
    maps = {name: array for name, array in arrays.items() if np.squeeze(array).ndim == 2}
    maps = {name: array for name, array in maps.items() if array.dtype.kind in "fiu"}
    named = [name for name in names if name in maps] or list(maps)
    if named[:1] and (named[0] in names or len(maps) == 1):
        said = arrays.get("convention", np.asarray(""))
        convention = _known(str(said)) or NAMES.get(named[0])
        if named[0] == "depth" and "focallength_px" in arrays:
            convention = convention or "metres"
        values = np.squeeze(maps[named[0]]).astype(np.float32)
        return DepthMap(values, convention, name=named[0])
    listed = ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in arrays.items())
    raise ValueError(f"{path}: one map of numbers, h x w, is needed, found {listed or 'nothing'}")


def _read_npy(data: bytes) -> dict[str, np.ndarray]:
    _check_header(data)
    return {"array": np.load(io.BytesIO(data), allow_pickle=False)}


def _read_npz(data: bytes) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            with archive.open(name) as stream:
                _check_header(stream.read(2**16))
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)


def _check_header(data: bytes) -> None:
    """Looks at the size before anything is allocated: a header can claim any."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0
    shape, _, _ = (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(stream)
    if np.prod(shape, dtype=float) > 4 * decoders.MAX_PIXELS:
        raise ValueError(f"an array of shape {shape} is too large")


def _read_pfm(data: bytes) -> dict[str, np.ndarray]:
    """Portable float map: "Pf", width, height, scale (negative: little-endian), rows from below."""
    match = re.match(rb"Pf\s+(\d{1,9})\s+(\d{1,9})\s+(-?[0-9.eE+-]{1,30})[ \t\r]?\n", data)
    if match is None:
        raise ValueError("no 'Pf' header of one channel")
    width, height, scale = int(match[1]), int(match[2]), float(match[3])
    if len(data) - match.end() != 4 * width * height:
        raise ValueError(f"{len(data) - match.end()} bytes do not make {width}x{height} pixels")
    values = np.frombuffer(data, "<f4" if scale < 0 else ">f4", offset=match.end())
    return {"map": values.reshape(height, width)[::-1].astype(np.float32)}


def _read_tiff(data: bytes) -> dict[str, np.ndarray]:
    """Takes numbers as they are; pictures of 8 and 16 bits are left to `image_io`."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        if page.dtype is None or page.dtype in (np.bool_, np.uint8, np.uint16):
            return {}
        if page.imagewidth * page.imagelength * page.samplesperpixel > decoders.MAX_PIXELS:
            raise ValueError(f"{page.imagewidth}x{page.imagelength} pixels are too many")
        return {"page": np.asarray(page.asarray())}


_READERS: dict[str, Callable[[bytes], dict[str, np.ndarray]]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".pfm": _read_pfm,
    ".tif": _read_tiff,
    ".tiff": _read_tiff,
}
