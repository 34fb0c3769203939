"""Disparity maps from files, the holes in them, and maps as pictures.

A map is `h w`, greater = nearer, on any affine scale. Pictures of integers are read as [0, 1],
all other files as they are.
"""

import io
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tifffile
from jaxtyping import Float, Shaped
from PIL import Image

from d2f_jax import files
from d2f_jax.photo import decoders, exr, image_io

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".npy", ".npz", ".pfm", ".exr")
"""Endings of the files that are read."""


def read_disparity(path: str | os.PathLike[str]) -> Float[np.ndarray, "h w"]:
    """Reads a disparity map.

    PNG (8 or 16 bit) and other grey pictures, float TIFF, NPY, NPZ (its only map, or the one named
    "disparity"), PFM, and EXR (its only channel, or "disparity", "Y" or "Z").

    Args:
      path: File to read; its ending says what it is.

    Returns:
      The map as float32. Pixels without a measurement may be NaN or infinite, see `fill_holes`.

    Raises:
      ValueError: if the file is missing, unreadable, of an unknown kind, damaged, in colour, or
        holds no map or several.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".exr":
        files.read_bytes(path)  # missing, empty and unreadable files in our words
        with files.naming(path):
            channels = exr.read(path, max_pixels=decoders.MAX_PIXELS)
        return _only(channels, ("disparity", "Y", "Z"), path)
    if suffix in _READERS:
        data = files.read_bytes(path)
        try:
            arrays = _READERS[suffix](data)
        except Exception as error:  # parsers raise whatever a damaged file leads them to
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise ValueError(
                f"{path}: not a readable {suffix[1:].upper()} map ({reason})"
            ) from error
        if arrays:
            return _only(arrays, ("disparity",), path)
    elif suffix not in SUFFIXES:
        raise ValueError(f"{path}: not a map of a known kind; choose one of {', '.join(SUFFIXES)}")
    photo = image_io.read_photo(path)
    if np.ptp(photo.image, axis=-1).max() > 0.02:  # a grey JPEG may be off by a hair
        raise ValueError(f"{path}: a picture in colour; a disparity map has one grey channel")
    return photo.image[..., 0]


def fill_holes(disparity: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Fills pixels that are NaN or infinite from their row.

    A hole takes the farther one of its two neighbours, as what a stereo camera cannot measure is
    mostly background that the other eye does not see. Rows of holes take the row above (or below).

    Raises:
      ValueError: if more than half of the pixels are holes.
    """
    holes = ~np.isfinite(disparity)
    if 2 * holes.sum() > holes.size:
        raise ValueError(f"{holes.mean():.0%} of the values are NaN or infinite; half may be")
    left, right = _carried(disparity, ~holes), _carried(disparity[:, ::-1], ~holes[:, ::-1])
    filled = np.where(holes, np.fmin(left, right[:, ::-1]), disparity).T
    for _ in range(2):  # downwards, then upwards
        filled = _carried(filled, np.isfinite(filled))[:, ::-1]
    return np.ascontiguousarray(filled.T)


def write_map(path: str | os.PathLike[str], values: Float[np.ndarray, "h w"]) -> None:
    """Writes a map in [0, 1] as an 8-bit grey PNG; see `files.write_bytes` for the errors."""
    out = io.BytesIO()
    Image.fromarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)).save(out, "PNG")
    files.write_bytes(path, out.getvalue())


def write_maps(path: str | os.PathLike[str], **maps: Float[np.ndarray, "..."]) -> None:
    """Writes maps with all their digits to one NPZ; see `files.write_bytes` for the errors."""
    out = io.BytesIO()
    np.savez_compressed(out, allow_pickle=False, **maps)
    files.write_bytes(path, out.getvalue())


def _carried(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Carries every known value to the right until the next one; NaN before the first."""
    places = np.where(known, np.arange(values.shape[1]), -1)
    places = np.maximum.accumulate(places, axis=1)
    carried = np.take_along_axis(values, np.maximum(places, 0), axis=1)
    return np.where(places >= 0, carried, np.nan).astype(np.float32)


def _only(
    arrays: Mapping[str, Shaped[np.ndarray, "..."]], names: tuple[str, ...], path: Path
) -> np.ndarray:
    """Takes the one map among arrays: by name, or because there is no other."""
    maps = {name: array for name, array in arrays.items() if np.squeeze(array).ndim == 2}
    maps = {name: array for name, array in maps.items() if array.dtype.kind in "fiu"}
    for name in (*names, *maps):
        if name in maps and (name in names or len(maps) == 1):
            return np.squeeze(maps[name]).astype(np.float32)
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
    """Takes floating-point pages; the integers are left to `image_io`."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        if page.dtype is None or page.dtype.kind != "f":
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
