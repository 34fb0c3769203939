"""From the bytes of a picture file to its pixels, as they lie there."""

import io
import logging
import struct
import warnings
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageCms

from d2f_jax.photo import exif as metadata
from d2f_jax.photo import exr

for _library in ("tifffile", "imagecodecs"):  # what they say of damage, we say in one line
    logging.getLogger(_library).addHandler(logging.NullHandler())

MAX_PIXELS = 2**27
"""Larger pictures are refused (134 million pixels): a header can claim any size (a "bomb")."""


class Decoded(NamedTuple):
    """Pixels `h w 3` or `h w 4` as they lie in the file, its RGB profile and its EXIF."""

    pixels: np.ndarray
    icc: bytes | None = None
    tags: Image.Exif = Image.Exif()


_PILLOW_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")


class Refused(Exception):  # noqa: N818
    """What is wrong with a picture that decodes well; becomes a ValueError with the path."""


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Refused(
            f"{width}x{height} pixels, more than the {MAX_PIXELS / 1e6:.0f} million allowed; "
            "scale it down first"
        )


def read_pillow(data: bytes, path: Path) -> Decoded:
    """Decodes 8-bit pictures to `h w 3` or `h w 4`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own bomb warning, and what it says of bad EXIF
        try:
            picture = Image.open(io.BytesIO(data), formats=_PILLOW_FORMATS)
        except Image.DecompressionBombError as error:
            raise Refused("more pixels than are allowed; scale it down first") from error
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
            raise Refused("Lab colours without a usable profile; convert it to RGB")
        return Decoded(np.asarray(picture.convert("RGBA" if has_alpha else "RGB")), icc, tags)


def read_png(data: bytes, path: Path) -> Decoded:
    """Decodes 16 bits itself, which Pillow would cut down."""
    if data[24:25] != b"\x10":
        return read_pillow(data, path)
    _check_size(*struct.unpack(">II", data[16:24]))
    pixels = imagecodecs.png_decode(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture = Image.open(io.BytesIO(data), formats=("PNG",))
        icc, tags = picture.info.get("icc_profile"), metadata.read(picture)
    return Decoded(_as_rgb(pixels), _rgb_profile(icc), tags)


def read_tiff(data: bytes, path: Path) -> Decoded:
    """Decodes more than 8 bits itself, which Pillow would cut down."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        if page.bitspersample <= 8:
            return read_pillow(data, path)
        _check_size(page.imagewidth, page.imagelength)
        if page.samplesperpixel > 5:
            raise Refused(f"{page.samplesperpixel} channels; grey or RGB pictures are read")
        icc = page.tags.valueof(34675)
        return Decoded(_tiff_pixels(page), _rgb_profile(icc), metadata.parse(data))


def read_exr(data: bytes, path: Path) -> Decoded:
    """Decodes scene-linear R, G, B or Y, and A."""
    try:
        channels = exr.read(path, max_pixels=MAX_PIXELS)
    except ValueError as error:
        raise Refused(error) from None
    names = [name for name in ("RGB", "YYY") if set(name) <= set(channels)]
    if not names:
        raise Refused(f"channels {', '.join(channels)}; R, G, B (or Y) are needed")
    planes = [channels[name] for name in (*names[0], "A") if name in channels]
    return Decoded(np.stack(planes, axis=-1))


def _tiff_pixels(page: tifffile.TiffPage) -> np.ndarray:
    """Brings a page of any layout to `h w 3` or `h w 4`."""
    pixels = np.asarray(page.asarray())
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    elif page.axes not in ("YX", "YXS"):
        raise Refused(f"a TIFF with axes {page.axes}; only flat pictures are read")
    colours = {0: 1, 1: 1, 2: 3}.get(int(page.photometric))
    if colours is None:
        raise Refused(
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
