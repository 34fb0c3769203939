"""EXIF: reading it, turning pictures upright by it, and carrying it into written files."""

import struct

import numpy as np
from PIL import Image, TiffImagePlugin

ORIENTATION = 274
_EXIF, _GPS, _WIDTH, _HEIGHT = 34665, 34853, 40962, 40963
_FOCAL, _FOCAL_35MM = 37386, 41989  # as it is, and of the same view on 36 mm x 24 mm

# Tags that describe how one TIFF file stores its pixels (TIFF 6.0), and packets of other kinds.
_STRUCTURE = frozenset({273, 297, 301, 700, 33723, 34377, 34675, 37724}).union(
    range(254, 269), range(277, 282), range(284, 294), range(317, 348), range(512, 533)
)


def read(picture: Image.Image) -> Image.Exif:
    """Takes the EXIF of a picture; damaged EXIF counts as none."""
    try:
        return picture.getexif()
    except Exception:  # whatever the damage leads to; the pixels are still good
        return Image.Exif()


def parse(data: bytes) -> Image.Exif:
    """Takes the EXIF of a TIFF structure (an EXIF block, or a whole TIFF file)."""
    exif = Image.Exif()
    try:
        exif.load(data)
    except Exception:  # as above; big TIFF files too have no EXIF that Pillow reads
        return Image.Exif()
    return exif


def orientation(exif: Image.Exif) -> int:
    """The orientation tag, 1 to 8; 1, upright, where it is missing or says something else."""
    value = exif.get(ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def lens(block: bytes) -> tuple[float | None, float | None]:
    """Focal length and long side of the sensor [mm], of an EXIF block; None where it is silent.

    The sensor follows from the focal length that sees the same on 36 mm.
    """
    try:
        details = parse(block).get_ifd(_EXIF)
        focal, equivalent = float(details.get(_FOCAL) or 0), float(details.get(_FOCAL_35MM) or 0)
    except Exception:  # as above
        return None, None
    if not focal > 0:
        return None, None
    return focal, 36 * focal / equivalent if equivalent > 0 else None


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns and mirrors `h w ...` as an orientation tag says."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def cleaned(exif: Image.Exif, size: tuple[int, int]) -> bytes:
    """Packs EXIF for an upright picture of the given height and width.

    The orientation becomes 1, the thumbnail (it shows the old picture) and what described the old
    file's storage go; everything else stays. Without any EXIF the result is empty.
    """
    try:
        kept = Image.Exif()
        for tag, value in exif.items():
            if tag not in _STRUCTURE and tag not in (_EXIF, _GPS):
                kept[tag] = value
        for tag in (_EXIF, _GPS):
            if tag in exif:
                kept.get_ifd(tag).update(exif.get_ifd(tag))
                kept[tag] = kept.get_ifd(tag)
        if ORIENTATION in kept:
            kept[ORIENTATION] = 1
        details = kept.get_ifd(_EXIF)
        for tag, value in zip((_HEIGHT, _WIDTH), size, strict=True):
            if tag in details:
                details[tag] = value
        return kept.tobytes().removeprefix(b"Exif\0\0") if len(kept) else b""
    except Exception:  # damaged EXIF counts as none
        return b""


def append_to_tiff(data: bytes, block: bytes) -> bytes:
    """Adds an EXIF block to a little-endian TIFF file of one page.

    The page's directory is written anew behind the file, with the block's tags among its own.
    """
    if not block:
        return data
    exif = parse(block)
    tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
    for tag, value in exif.items():
        if tag not in (_EXIF, _GPS):
            tags[tag] = value
    for tag in (_EXIF, _GPS):
        if tag in exif:
            folder = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
            folder.update(exif.get_ifd(tag))
            data += b"\0" * (len(data) % 2)
            tags[tag] = len(data)
            tags.tagtype[tag] = 4  # LONG, an offset
            data += folder.tobytes(len(data))
    data += b"\0" * (len(data) % 2)
    start = len(data)
    data += tags.tobytes(start)
    page = struct.unpack_from("<I", data, 4)[0]
    entries = _entries(data, page) | _entries(data, start)
    data += b"\0" * (len(data) % 2)
    directory = struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries))
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + directory + b"\0\0\0\0"


def _entries(data: bytes, start: int) -> dict[int, bytes]:
    """The twelve bytes of every tag in the directory at `start`."""
    (count,) = struct.unpack_from("<H", data, start)
    places = range(start + 2, start + 2 + 12 * count, 12)
    return {struct.unpack_from("<H", data, at)[0]: data[at : at + 12] for at in places}
