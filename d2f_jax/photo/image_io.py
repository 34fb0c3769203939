"""Photographs from and to files of every kind in `KINDS`.

A `Photo` holds the upright picture as float32 and what has to survive the trip: alpha, EXIF, XMP,
the colour profile and the depth in bits. Pixels are taken as sRGB-encoded; a profile of another RGB
space is carried along, not converted. EXR files, and only they, hold scene-linear values.
"""

import functools
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile
from jaxtyping import Float
from PIL import Image, PngImagePlugin

from d2f_jax import files
from d2f_jax.photo import decoders, exr, xmp
from d2f_jax.photo import exif as metadata


class Photo(NamedTuple):
    """A picture and what comes with it.

    Attributes:
      image: Upright picture, `h w 3` float32: sRGB in [0, 1], or scene-linear from 0 up.
      alpha: Opacity in [0, 1], `h w`, or None.
      bits: Bits per channel of the file: 8, 16 or 32 (floating point).
      exif: EXIF block (a TIFF structure) with its orientation reset to upright, or empty.
      icc: Profile of the RGB values, or None.
      linear: Whether `image` is scene-linear (EXR).
      xmp: XMP packet without what describes other pictures of the file, or empty.
      orientation: The orientation tag (1 to 8) by which `image` was turned.
      notes: What the user should know about how the file was read.
    """

    image: Float[np.ndarray, "h w 3"]
    alpha: Float[np.ndarray, "h w"] | None = None
    bits: int = 8
    exif: bytes = b""
    icc: bytes | None = None
    linear: bool = False
    xmp: bytes = b""
    orientation: int = 1
    notes: tuple[str, ...] = ()


def read_photo(path: str | os.PathLike[str]) -> Photo:
    """Reads a photograph and turns it upright.

    Greyscale, palette and CMYK pictures become RGB (through their profile if they have one); of
    several frames or pages the first is taken. A JPEG may lack its last bytes.

    Args:
      path: A file of one of `KINDS`; its content decides which, else its ending.

    Returns:
      The picture with what comes with it.

    Raises:
      ValueError: if the file is missing, unreadable, empty, no picture, damaged, cut short, or
        larger than `decoders.MAX_PIXELS`, or if it holds values that are not finite or (float TIFF)
        lie outside [0, 1].
    """
    return decode(files.read_bytes(path), Path(path))


def decode(data: bytes, path: Path) -> Photo:
    """Does for the bytes of a file what `read_photo` does; the path is for messages, and for EXR.

    Raises:
      ValueError: as `read_photo`.
    """
    kind = next((kind for kind in KINDS if kind.holds(data)), None)
    kind = kind or next((kind for kind in KINDS if path.suffix.lower() in kind.suffixes), None)
    try:
        if kind is None:
            raise Image.UnidentifiedImageError
        decoded = kind.read(data, path)
    except decoders.Refused as error:
        raise ValueError(f"{path}: {error}") from None
    except Image.UnidentifiedImageError:
        names = ", ".join(kind.name for kind in KINDS)
        raise ValueError(
            f"{path}: not a picture of a known kind ({names}); convert it to one"
        ) from None
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(
            f"{path}: the picture is damaged or cut short ({reason}); make a new copy of it"
        ) from error

    dtype, orientation = decoded.pixels.dtype, metadata.orientation(decoded.tags)
    pixels = _scaled(decoded.pixels, path, linear=kind.linear)
    pixels = pixels if decoded.is_upright else metadata.upright(pixels, orientation)
    alpha = pixels[..., 3] if pixels.shape[-1] == 4 else None
    height, width = pixels.shape[:2]
    return Photo(
        _aligned(pixels[..., :3]),
        None if alpha is None else np.ascontiguousarray(alpha),
        32 if dtype.kind == "f" else 8 * dtype.itemsize,
        metadata.cleaned(decoded.tags, (height, width)),
        decoded.icc,
        kind.linear,
        xmp.cleaned(decoded.xmp),
        orientation,
        decoded.notes,
    )


def write_photo(path: str | os.PathLike[str], photo: Photo) -> None:
    """Writes a photograph; the file appears whole or not at all.

    The ending decides the format. JPEG (quality 95, full colour resolution), WebP and AVIF have 8
    bits; PNG and TIFF keep 16, TIFF also floating point. JPEG and BMP lay transparent pictures on
    white.

    Args:
      path: File to write; an existing one is replaced.
      photo: What to write. Values outside of [0, 1] are cut, except in EXR.

    Raises:
      ValueError: for an unknown ending, a folder that cannot be written, or a picture that the
        format cannot hold (WebP ends at 16383 pixels a side, JPEG at 65500).
    """
    path = Path(path)
    suffix = path.suffix.lower()
    kind = next((kind for kind in KINDS if suffix in kind.suffixes), None)
    if kind is None or kind.write is None:
        raise ValueError(
            f"{path}: cannot write {suffix or 'a file without ending'}; choose one of "
            f"{', '.join(WRITTEN_SUFFIXES)}"
        )
    if photo.linear != kind.linear:
        raise ValueError(f"{path}: scene-linear pictures are written as .exr, and only they")
    pixels = photo.image
    if photo.alpha is not None and not kind.has_alpha:
        pixels = pixels * photo.alpha[..., None] + 1 - photo.alpha[..., None]
    elif photo.alpha is not None:
        pixels = np.concatenate([pixels, photo.alpha[..., None]], axis=-1)
    with files.replacing(path) as temporary:
        try:
            kind.write(temporary, pixels, photo)
        except (OSError, ValueError, struct.error) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk, not of the format
            raise ValueError(f"{path}: cannot write it as {suffix[1:].upper()}: {error}") from error


def _scaled(pixels: np.ndarray, path: Path, *, linear: bool) -> np.ndarray:
    if pixels.dtype.kind == "u":
        return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    if pixels.dtype.kind != "f":
        raise ValueError(f"{path}: {pixels.dtype} values; convert it to 8 or 16 bits unsigned")
    bad = int((~np.isfinite(pixels)).sum())
    if bad:
        raise ValueError(f"{path}: {bad} values are NaN or infinite; repair the picture")
    if linear:
        return np.maximum(pixels, 0).astype(np.float32)
    if pixels.min() < -0.05 or pixels.max() > 1.05:
        raise ValueError(
            f"{path}: floating-point values from {pixels.min():.3g} to {pixels.max():.3g}; a TIFF "
            "must hold sRGB-encoded values in [0, 1] (scene-linear pictures go into EXR files)"
        )
    return np.clip(pixels, 0, 1).astype(np.float32)


def _aligned(pixels: np.ndarray) -> np.ndarray:
    """A float32 copy at a multiple of 64 bytes, where JAX shares the memory instead of copying."""
    size = 4 * pixels.size
    room = np.empty(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    out = room[start : start + size].view(np.float32).reshape(pixels.shape)
    out[...] = pixels
    return out


def _quantised(pixels: np.ndarray, dtype: type[np.unsignedinteger]) -> np.ndarray:
    out = np.empty(pixels.shape, dtype)
    for top in range(0, len(pixels), 256):  # a whole copy in float32 is up to four times this
        rows = slice(top, top + 256)
        out[rows] = np.rint(np.clip(pixels[rows], 0, 1) * np.iinfo(dtype).max)
    return out


def _write_pillow(path: Path, pixels: np.ndarray, photo: Photo, **options: Any) -> None:
    if photo.exif and options["format"] != "BMP":
        options["exif"] = b"Exif\0\0" + photo.exif
    if photo.xmp and options["format"] == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt(_XMP_IN_PNG, photo.xmp.decode())
    elif len(photo.xmp) < _XMP_LIMIT and options["format"] != "BMP":
        options["xmp"] = photo.xmp
    picture = Image.fromarray(_quantised(pixels, np.uint8))
    picture.save(path, icc_profile=photo.icc, **options)


def _write_png(path: Path, pixels: np.ndarray, photo: Photo) -> None:
    if photo.bits == 8:
        _write_pillow(path, pixels, photo, format="PNG")
        return
    data = bytes(imagecodecs.png_encode(_quantised(pixels, np.uint16), level=6))
    extra = b""
    if photo.icc:
        extra += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.icc))
    if photo.exif:
        extra += _chunk(b"eXIf", photo.exif)
    if photo.xmp:
        extra += _chunk(b"iTXt", _XMP_IN_PNG.encode() + b"\0\0\0\0\0" + photo.xmp)
    header = 8 + 25  # signature and IHDR, after which all three may stand
    path.write_bytes(data[:header] + extra + data[header:])


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + checksum


def _write_tiff(path: Path, pixels: np.ndarray, photo: Photo) -> None:
    if photo.bits < 32:
        pixels = _quantised(pixels, np.uint16 if photo.bits > 8 else np.uint8)
    else:
        pixels = np.clip(pixels, 0, 1)
    out = io.BytesIO()
    tifffile.imwrite(
        out,
        pixels,
        byteorder="<",
        photometric="rgb",
        compression="zlib",
        predictor=True,
        extrasamples=["unassalpha"] if photo.alpha is not None else None,
        iccprofile=photo.icc,
        extratags=[(700, "B", len(photo.xmp), photo.xmp, True)] if photo.xmp else None,
        software=False,
        metadata=None,
    )
    path.write_bytes(metadata.append_to_tiff(out.getvalue(), photo.exif))


def _write_exr(path: Path, pixels: np.ndarray, photo: Photo) -> None:
    exr.write(path, {name: pixels[..., n] for n, name in enumerate("RGBA"[: pixels.shape[-1]])})


class Kind(NamedTuple):
    """A kind of picture file.

    Attributes:
      name: What people call it.
      suffixes: Endings of its files.
      holds: Whether bytes begin as such a file does.
      read: Decodes bytes (the path is for libraries that take no bytes).
      write: Writes `h w 3`, or `h w 4` if it has alpha; None if it is only read.
      becomes: Ending of what is made of it, if it is only read.
      has_alpha: Whether it has room for opacity.
      linear: Whether its values are scene-linear.
    """

    name: str
    suffixes: tuple[str, ...]
    holds: Callable[[bytes], bool]
    read: Callable[[bytes, Path], decoders.Decoded]
    write: Callable[[Path, np.ndarray, Photo], None] | None
    becomes: str = ""
    has_alpha: bool = True
    linear: bool = False


def result_suffix(path: Path) -> str:
    """The ending of the result of a photograph: its own if such files are written."""
    suffix = path.suffix.lower()
    kind = next((kind for kind in KINDS if suffix in kind.suffixes), None)
    if kind is None:
        return ".png"
    return kind.becomes or path.suffix


def _starts(*magics: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(magics)


_JPEG = functools.partial(_write_pillow, format="JPEG", quality=95, subsampling=0)
_WEBP = functools.partial(_write_pillow, format="WEBP", quality=95, exact=True)
_BMP = functools.partial(_write_pillow, format="BMP")
_AVIF = functools.partial(_write_pillow, format="AVIF", quality=90, subsampling="4:4:4")

_XMP_IN_PNG = "XML:com.adobe.xmp"
_XMP_LIMIT = 65_000
"""JPEG has room for so many bytes; longer packets are left out, in other formats too."""

KINDS = (
    Kind(
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        _starts(b"\xff\xd8"),
        decoders.read_jpeg,
        _JPEG,
        has_alpha=False,
    ),
    Kind("PNG", (".png",), _starts(b"\x89PNG\r\n\x1a\n"), decoders.read_png, _write_png),
    Kind(
        "TIFF",
        (".tif", ".tiff"),
        _starts(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        decoders.read_tiff,
        _write_tiff,
    ),
    Kind("WebP", (".webp",), lambda data: data[8:12] == b"WEBP", decoders.read_pillow, _WEBP),
    Kind("BMP", (".bmp",), _starts(b"BM"), decoders.read_pillow, _BMP, has_alpha=False),
    Kind("AVIF", (".avif",), decoders.is_avif, decoders.read_pillow, _AVIF),
    Kind(
        "EXR", (".exr",), _starts(b"\x76\x2f\x31\x01"), decoders.read_exr, _write_exr, linear=True
    ),
    Kind("HEIC", (".heic", ".heif", ".hif"), decoders.is_heif, decoders.read_heif, None, ".jpg"),
    Kind("GIF", (".gif",), _starts(b"GIF8"), decoders.read_pillow, None, ".png"),
    Kind(
        "JPEG 2000",
        (".jp2", ".j2k", ".jpx", ".jpf"),
        _starts(b"\0\0\0\x0cjP  \r\n", b"\xff\x4f\xff\x51"),
        decoders.read_jpeg2000,
        None,
        ".png",
    ),
    Kind("MPO", (".mpo",), _starts(b"\xff\xd8"), decoders.read_jpeg, None, ".jpg"),
)
"""Every kind that is read, and how it is written. The first that fits is taken."""

SUFFIXES = tuple(suffix for kind in KINDS for suffix in kind.suffixes)
"""Endings of the files that are read."""

WRITTEN_SUFFIXES = tuple(suffix for kind in KINDS if kind.write for suffix in kind.suffixes)
"""Endings of the files that are written."""
