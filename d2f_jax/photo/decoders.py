"""From the bytes of a picture file to its pixels, as they lie there."""

import contextlib
import contextvars
import io
import logging
import os
import struct
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
import pi_heif
import tifffile
from PIL import Image, ImageCms

from d2f_jax.photo import exif as metadata
from d2f_jax.photo import exr, jpeg

for _library in ("tifffile", "imagecodecs"):  # what they say of damage, we say in one line
    logging.getLogger(_library).addHandler(logging.NullHandler())

MAX_PIXELS = 2**27
"""Larger pictures are refused (134 million pixels): a header can claim any size (a "bomb")."""

_allowed: contextvars.ContextVar[int | None] = contextvars.ContextVar(
    "allowed pixels", default=None
)


class Decoded(NamedTuple):
    """What lies in a picture file.

    Attributes:
      pixels: `h w 3` or `h w 4`.
      icc: Profile of the RGB values, or None.
      tags: EXIF.
      xmp: XMP packet, or empty.
      notes: What the user should know about how the file was read.
      is_upright: Whether the pixels are turned already, whatever the orientation tag says.
    """

    pixels: np.ndarray
    icc: bytes | None = None
    tags: Image.Exif = Image.Exif()
    xmp: bytes = b""
    notes: tuple[str, ...] = ()
    is_upright: bool = False


_PILLOW_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "AVIF", "JPEG2000")

_HEIF_BRANDS = frozenset({"heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"})
_AVIF_BRANDS = frozenset({"avif", "avis"})

GAIN_MAP = "holds a gain map for HDR screens, which the result has not"

_GAIN_MAPS = (b"http://ns.adobe.com/hdr-gain-map/", b"http://ns.apple.com/HDRGainMap/")

_LAST_ROWS = 17
"""The lowest row of a JPEG's blocks, and one row that chroma is smoothed over."""


class Refused(Exception):  # noqa: N818
    """What is wrong with a picture that decodes well; becomes a ValueError with the path."""


@contextlib.contextmanager
def at_most(pixels: int) -> Iterator[None]:
    """Refuses, in the body, pictures that are larger than this, below `MAX_PIXELS`."""
    token = _allowed.set(pixels)
    try:
        yield
    finally:
        _allowed.reset(token)


def _most() -> int:
    return min(_allowed.get() or MAX_PIXELS, MAX_PIXELS)


def check_size(width: int, height: int) -> None:
    """Refuses, by `Refused`, more than `MAX_PIXELS` or what `at_most` allows."""
    most = _most()
    if width * height > most:
        raise Refused(
            f"{width}x{height} pixels, more than the {most / 1e6:.0f} million allowed; "
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
        check_size(*picture.size)
        icc, packet = picture.info.get("icc_profile"), _packet(picture)
        notes = () if "tmap" not in brands(data) else (GAIN_MAP,)
        if picture.format not in ("JPEG", "MPO") and getattr(picture, "is_animated", False):
            notes += (f"the first of {getattr(picture, 'n_frames', 2)} pictures in the file",)
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
        pixels = np.asarray(picture.convert("RGBA" if has_alpha else "RGB"))
        return Decoded(pixels, icc, tags, packet, notes)


def read_jpeg(data: bytes, path: Path) -> Decoded:
    """Decodes JPEG, also if only its last bytes are missing, and MPO, of which it takes the first.

    Where bytes are missing is seen by what other bytes in their place would change.
    """
    notes = (GAIN_MAP,) if any(name in data for name in _GAIN_MAPS) else ()
    try:
        return read_pillow(data, path)._replace(notes=notes)
    except OSError as error:
        rest = data.rstrip(b"\xff")
        if "truncated" not in str(error) or jpeg.END in rest[-2:]:
            raise
        decoded = read_pillow(rest + jpeg.END, path)
        other = read_pillow(rest + b"\xaa" * 4096 + jpeg.END, path)
        rows = np.flatnonzero((decoded.pixels != other.pixels).any(axis=(1, 2)))
        missing = len(decoded.pixels) - rows[0] if rows.size else 0
        if missing > _LAST_ROWS:
            raise
    note = "its last bytes are missing"
    note += f", parts of the last {missing} rows are grey" if missing else "; no pixel is"
    return decoded._replace(notes=(*notes, note))


def read_heif(data: bytes, path: Path) -> Decoded:
    """Decodes HEIC, of which libheif turns the picture upright, with 8 bits or more."""
    try:
        file = pi_heif.open_heif(data, convert_hdr_to_8bit=False, hdr_to_16bit=False)
        picture = file[file.primary_index]
        check_size(*picture.size)
        pixels = _as_rgb(np.array(picture))  # a copy: the memory goes with the picture
    except RuntimeError as error:
        if "nsupported" not in str(error):
            raise
        raise Refused(f"{str(error).strip()}; convert it to JPEG") from error
    top = 2 ** picture.info["bit_depth"] - 1
    if picture.premultiplied_alpha:
        share = np.maximum(pixels[..., -1:], 1) / top
        pixels[..., :-1] = np.minimum(np.rint(pixels[..., :-1] / share), top)
    if top > 255:
        pixels = np.rint(pixels * np.float32(65535 / top)).astype(np.uint16)
    gains = "tmap" in brands(data) or any("gainmap" in kind for kind in picture.info["aux"])
    code = picture.info.get("nclx_profile", {})  # the numbers are of ITU-T H.273
    notes = (GAIN_MAP,) if gains else ()
    if code.get("transfer_characteristics") in (16, 18):  # PQ, HLG
        notes += ("an HDR picture, whose values are taken for those of a common one",)
    if code.get("color_primaries") in (9, 11, 12):  # BT.2020, P3; without a profile to carry along
        notes += ("wide colours without a profile, which are taken for sRGB",)
    return Decoded(
        pixels,
        _rgb_profile(picture.info.get("icc_profile")),
        metadata.parse((picture.info.get("exif") or b"").removeprefix(b"Exif\0\0")),
        picture.info.get("xmp", b""),
        notes,
        is_upright=True,
    )


def read_jpeg2000(data: bytes, path: Path) -> Decoded:
    """Decodes JPEG 2000; more than 8 bits itself, which Pillow would cut down."""
    start = data.find(b"\xff\x4f\xff\x51")  # the codestream and its first segment
    bits = 1 + (data[start + 42] & 0x7F) if 0 <= start < len(data) - 42 else 8
    if bits <= 8:
        return read_pillow(data, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture = Image.open(io.BytesIO(data), formats=("JPEG2000",))
        check_size(*picture.size)
        icc, tags = picture.info.get("icc_profile"), metadata.read(picture)
    pixels = _as_rgb(np.asarray(imagecodecs.jpeg2k_decode(data)))
    pixels = np.rint(pixels * np.float32(65535 / (2**bits - 1))).astype(np.uint16)
    return Decoded(pixels, _rgb_profile(icc), tags)


_one_at_a_time = threading.Lock()


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keeps libtiff and the JPEG library in it off the screen, to which C code writes itself.

    What they find wrong raises an exception too.
    """
    with _one_at_a_time, contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a process without a screen
            screen = os.dup(2)
            stack.callback(os.close, screen)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            stack.callback(os.close, nowhere)
            os.dup2(nowhere, 2)
            stack.callback(os.dup2, screen, 2)
        yield


def is_heif(data: bytes) -> bool:
    """Whether a file is HEIC or HEIF, and not AVIF, which may call itself HEIF too."""
    return not _HEIF_BRANDS.isdisjoint(brands(data)) and not is_avif(data)


def is_avif(data: bytes) -> bool:
    """Whether a file is AVIF."""
    return not _AVIF_BRANDS.isdisjoint(brands(data))


def brands(data: bytes) -> frozenset[str]:
    """What an ISO base media file (HEIC, AVIF) says that it can be read as."""
    if data[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(data[:4]), 256, len(data))
    places = (8, *range(16, end - 3, 4))
    return frozenset(data[place : place + 4].decode("latin-1") for place in places)


def read_png(data: bytes, path: Path) -> Decoded:
    """Decodes 16 bits itself, which Pillow would cut down."""
    if data[24:25] != b"\x10":
        return read_pillow(data, path)
    check_size(*struct.unpack(">II", data[16:24]))
    pixels = imagecodecs.png_decode(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture = Image.open(io.BytesIO(data), formats=("PNG",))
        icc, tags = picture.info.get("icc_profile"), metadata.read(picture)
        packet = _packet(picture)
    return Decoded(_as_rgb(pixels), _rgb_profile(icc), tags, packet)


def read_tiff(data: bytes, path: Path) -> Decoded:
    """Decodes more than 8 bits itself, which Pillow would cut down."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        if page.bitspersample <= 8:
            with _silenced():
                return read_pillow(data, path)
        check_size(page.imagewidth, page.imagelength)
        if page.samplesperpixel > 5:
            raise Refused(f"{page.samplesperpixel} channels; grey or RGB pictures are read")
        icc = page.tags.valueof(34675)
        packet = bytes(page.tags.valueof(700) or b"")
        return Decoded(_tiff_pixels(page), _rgb_profile(icc), metadata.parse(data), packet)


def read_exr(data: bytes, path: Path) -> Decoded:
    """Decodes scene-linear R, G, B or Y, and A."""
    try:
        channels = exr.read(path, max_pixels=_most())
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


def _packet(picture: Image.Image) -> bytes:
    packet = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp") or b""
    return packet.encode() if isinstance(packet, str) else packet


def _as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Repeats the grey channel of `h w`, `h w 1` and `h w 2`; others stay."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.shape[-1] <= 2:
        pixels = np.concatenate([pixels[..., :1].repeat(3, axis=-1), pixels[..., 1:]], axis=-1)
    return pixels


def _rgb_profile(icc: bytes | None) -> bytes | None:
    return icc if icc and icc[16:20] == b"RGB " else None
