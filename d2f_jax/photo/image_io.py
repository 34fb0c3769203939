"""Photographs from and to files: JPEG, PNG and TIFF (8 and 16 bit), WebP, float TIFF, EXR.

A `Photo` holds the upright picture as float32 and what has to survive the trip: alpha, EXIF, the
colour profile and the depth in bits. Pixels are taken as sRGB-encoded; a profile of another RGB
space is carried along, not converted. EXR files, and only they, hold scene-linear values.
"""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile
from jaxtyping import Float
from PIL import Image, ImageCms

from d2f_jax import files
from d2f_jax.photo import exif as metadata
from d2f_jax.photo import exr

MAX_PIXELS = 2**27
"""Larger pictures are refused (134 million pixels): a header can claim any size (a "bomb")."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".exr")
"""Endings of the files that are read and written."""

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class Photo(NamedTuple):
    """A picture and what comes with it.

    Attributes:
      image: Upright picture, `h w 3` float32: sRGB in [0, 1], or scene-linear from 0 up.
      alpha: Opacity in [0, 1], `h w`, or None.
      bits: Bits per channel of the file: 8, 16 or 32 (floating point).
      exif: EXIF block (a TIFF structure) with its orientation reset to upright, or empty.
      icc: Profile of the RGB values, or None.
      linear: Whether `image` is scene-linear (EXR).
    """

    image: Float[np.ndarray, "h w 3"]
    alpha: Float[np.ndarray, "h w"] | None = None
    bits: int = 8
    exif: bytes = b""
    icc: bytes | None = None
    linear: bool = False


def read_photo(path: str | os.PathLike[str]) -> Photo:
    """Reads a photograph and turns it upright.

    Greyscale, palette and CMYK pictures become RGB (through their profile if they have one); of
    several frames or pages the first is taken.

    Args:
      path: JPEG, PNG, TIFF, WebP or EXR file; what it is decides its content, for EXR its ending.

    Returns:
      The picture with what comes with it.

    Raises:
      ValueError: if the file is missing, unreadable, empty, no picture, damaged, cut short, or
        larger than `MAX_PIXELS`, or if it holds values that are not finite or (float TIFF) lie
        outside [0, 1].
    """
    path = Path(path)
    if path.suffix.lower() == ".exr":
        return _read_exr(path)
    data = files.read_bytes(path)
    try:
        deep = _read_deep(data)
        if deep is not None:
            pixels, icc, tags = deep
        else:
            pixels, icc, tags = _read_pillow(data)
    except _Refused as error:
        raise ValueError(f"{path}: {error}") from None
    except Image.UnidentifiedImageError:
        raise ValueError(
            f"{path}: not a picture of a known kind (JPEG, PNG, TIFF, WebP); convert it to one"
        ) from None
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(
            f"{path}: the picture is damaged or cut short ({reason}); make a new copy of it"
        ) from error

    bits = 32 if pixels.dtype.kind == "f" else 8 * pixels.dtype.itemsize
    pixels = metadata.upright(_scaled(pixels, path), tags)
    alpha = pixels[..., 3] if pixels.shape[-1] == 4 else None
    height, width = pixels.shape[:2]
    return Photo(
        _aligned(pixels[..., :3]),
        None if alpha is None else np.ascontiguousarray(alpha),
        bits,
        metadata.cleaned(tags, (height, width)),
        icc,
    )


def write_photo(path: str | os.PathLike[str], photo: Photo) -> None:
    """Writes a photograph; the file appears whole or not at all.

    The ending decides the format. JPEG (quality 95, full colour resolution) and WebP have 8 bits;
    PNG and TIFF keep 16, TIFF also floating point. JPEG has no alpha: the picture is laid on white.

    Args:
      path: File to write; an existing one is replaced.
      photo: What to write. Values outside of [0, 1] are cut, except in EXR.

    Raises:
      ValueError: for an unknown ending, a folder that cannot be written, or a picture that the
        format cannot hold (WebP ends at 16383 pixels a side, JPEG at 65500).
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: cannot write {suffix or 'a file without ending'}; {_CHOICE}")
    if photo.linear != (suffix == ".exr"):
        raise ValueError(f"{path}: scene-linear pictures are written as .exr, and only they")
    if suffix == ".exr":
        channels = {name: photo.image[..., n] for n, name in enumerate("RGB")}
        if photo.alpha is not None:
            channels["A"] = photo.alpha
        exr.write(path, channels)
        return

    pixels = photo.image
    if photo.alpha is not None and suffix in (".jpg", ".jpeg"):
        pixels = pixels * photo.alpha[..., None] + 1 - photo.alpha[..., None]
    elif photo.alpha is not None:
        pixels = np.concatenate([pixels, photo.alpha[..., None]], axis=-1)
    try:
        if suffix in (".tif", ".tiff"):
            data = _encode_tiff(pixels, photo)
        elif suffix == ".png" and photo.bits > 8:
            data = _encode_png16(_quantised(pixels, np.uint16), photo)
        else:
            data = _encode_pillow(_quantised(pixels, np.uint8), photo, suffix)
    except (OSError, ValueError, struct.error) as error:
        raise ValueError(f"{path}: cannot write it as {suffix[1:].upper()}: {error}") from error
    files.write_bytes(path, data)


_CHOICE = f"choose one of {', '.join(SUFFIXES)}"


class _Refused(Exception):  # noqa: N818
    """What is wrong with a picture that decodes well; becomes a ValueError with the path."""


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _Refused(
            f"{width}x{height} pixels, more than the {MAX_PIXELS / 1e6:.0f} million allowed; "
            "scale it down first"
        )


def _read_pillow(data: bytes) -> tuple[np.ndarray, bytes | None, Image.Exif]:
    """Decodes 8-bit pictures to `h w 3` or `h w 4`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own bomb warning, and what it says of bad EXIF
        try:
            picture = Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "TIFF", "WEBP"))
        except Image.DecompressionBombError as error:
            raise _Refused("more pixels than are allowed; scale it down first") from error
        _check_size(*picture.size)
        icc = picture.info.get("icc_profile")
        has_alpha = "A" in picture.getbands() or "a" in picture.getbands()
        has_alpha = has_alpha or "transparency" in picture.info
        picture.load()
        tags = metadata.read(picture)
        if icc and icc[16:20] != b"RGB ":
            try:  # a profile of greys or inks: use it, then it has had its day
                target = ImageCms.createProfile("sRGB")
                source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
                converted = ImageCms.profileToProfile(picture, source, target, outputMode="RGB")
                picture = converted or picture
            except (ImageCms.PyCMSError, OSError, ValueError):
                pass  # unusable, or grey with alpha: the plain conversion below
            icc = None
        if picture.mode == "LAB":
            raise _Refused("Lab colours without a usable profile; convert it to RGB")
        return np.asarray(picture.convert("RGBA" if has_alpha else "RGB")), icc, tags


def _read_deep(data: bytes) -> tuple[np.ndarray, bytes | None, Image.Exif] | None:
    """Decodes PNG and TIFF of more than 8 bits, which Pillow would cut down; None for others."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:25] == b"\x10":
        _check_size(*struct.unpack(">II", data[16:24]))
        pixels = imagecodecs.png_decode(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(io.BytesIO(data), formats=("PNG",))
            icc, tags = picture.info.get("icc_profile"), metadata.read(picture)
        return _as_rgb(pixels), _rgb_profile(icc), tags
    if data[:4] in _TIFF_MAGIC:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            if page.bitspersample <= 8:
                return None
            _check_size(page.imagewidth, page.imagelength)
            if page.samplesperpixel > 5:
                raise _Refused(f"{page.samplesperpixel} channels; grey or RGB pictures are read")
            icc = page.tags.valueof(34675)
            return _tiff_pixels(page), _rgb_profile(icc), metadata.parse(data)
    return None


def _tiff_pixels(page: tifffile.TiffPage) -> np.ndarray:
    """Brings a page of any layout to `h w 3` or `h w 4`."""
    pixels = np.asarray(page.asarray())
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    elif page.axes not in ("YX", "YXS"):
        raise _Refused(f"a TIFF with axes {page.axes}; only flat pictures are read")
    colours = {0: 1, 1: 1, 2: 3}.get(int(page.photometric))
    if colours is None:
        raise _Refused(
            f"a TIFF of {page.bitspersample} bits in colour mode {int(page.photometric)}; "
            "convert it to RGB"
        )
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    associated = colours < pixels.shape[-1] and page.extrasamples[:1] == (1,)
    has_alpha = colours < pixels.shape[-1] and page.extrasamples[:1] in ((1,), (2,))
    pixels = pixels[..., : colours + has_alpha]
    if int(page.photometric) == 0 and pixels.dtype.kind == "u":
        pixels[..., 0] = np.iinfo(pixels.dtype).max - pixels[..., 0]
    if associated:
        scale = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
        alpha = np.maximum(pixels[..., -1:], 1e-9) / scale
        straight = np.minimum(pixels[..., :-1] / alpha, scale).astype(pixels.dtype)
        pixels = np.concatenate([straight, pixels[..., -1:]], axis=-1)
    return _as_rgb(pixels)


def _as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Repeats the grey channel of `h w`, `h w 1` and `h w 2`; others stay."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.shape[-1] <= 2:
        pixels = np.concatenate([pixels[..., :1].repeat(3, axis=-1), pixels[..., 1:]], axis=-1)
    return pixels


def _rgb_profile(icc: bytes | None) -> bytes | None:
    return icc if icc and icc[16:20] == b"RGB " else None


def _scaled(pixels: np.ndarray, path: Path) -> np.ndarray:
    if pixels.dtype.kind == "u":
        return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    if pixels.dtype.kind != "f":
        raise ValueError(f"{path}: {pixels.dtype} values; convert it to 8 or 16 bits unsigned")
    _check_finite(pixels, path)
    if pixels.min() < -0.05 or pixels.max() > 1.05:
        raise ValueError(
            f"{path}: floating-point values from {pixels.min():.3g} to {pixels.max():.3g}; a TIFF "
            "must hold sRGB-encoded values in [0, 1] (scene-linear pictures go into EXR files)"
        )
    return np.clip(pixels, 0, 1).astype(np.float32)


def _check_finite(pixels: np.ndarray, path: Path) -> None:
    bad = int((~np.isfinite(pixels)).sum())
    if bad:
        raise ValueError(f"{path}: {bad} values are NaN or infinite; repair the picture")


def _read_exr(path: Path) -> Photo:
    channels = exr.read(path, max_pixels=MAX_PIXELS)
    names = [name for name in ("RGB", "YYY") if set(name) <= set(channels)]
    if not names:
        raise ValueError(f"{path}: channels {', '.join(channels)}; R, G, B (or Y) are needed")
    image = np.stack([channels[name] for name in names[0]], axis=-1)
    _check_finite(image, path)
    return Photo(np.maximum(image, 0), channels.get("A"), 32, linear=True)


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


def _encode_pillow(pixels: np.ndarray, photo: Photo, suffix: str) -> bytes:
    picture = Image.fromarray(pixels)
    options: dict[str, Any] = {"icc_profile": photo.icc}
    if photo.exif:
        options["exif"] = b"Exif\0\0" + photo.exif
    if suffix in (".jpg", ".jpeg"):
        options |= {"format": "JPEG", "quality": 95, "subsampling": 0}
    elif suffix == ".webp":
        options |= {"format": "WEBP", "quality": 95, "exact": True}
    else:
        options |= {"format": "PNG"}
    out = io.BytesIO()
    picture.save(out, **options)
    return out.getvalue()


def _encode_png16(pixels: np.ndarray, photo: Photo) -> bytes:
    data = bytes(imagecodecs.png_encode(pixels, level=6))
    extra = b""
    if photo.icc:
        extra += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.icc))
    if photo.exif:
        extra += _chunk(b"eXIf", photo.exif)
    header = 8 + 25  # signature and IHDR, after which both chunks may stand
    return data[:header] + extra + data[header:]


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + checksum


def _encode_tiff(pixels: np.ndarray, photo: Photo) -> bytes:
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
        software=False,
        metadata=None,
    )
    return metadata.append_to_tiff(out.getvalue(), photo.exif)
