"""What visitors send."""

import io

import numpy as np
from PIL import Image

from tests.fakes import make_disparity, make_picture
from tests.photo import containers


def jpeg(height=64, width=80, **options):
    out = io.BytesIO()
    Image.fromarray(make_picture(height, width)).save(out, "JPEG", quality=95, **options)
    return out.getvalue()


def with_depth(height=96, width=128):
    """A HEIC file with depth in 1/m: near at the right."""
    depth = np.rint(255 * make_disparity(height, width)).astype(np.uint8)
    exif = Image.Exif()
    exif[271] = "Apple"
    said = containers.representation(1, d_min=0.5, d_max=2.5)
    return containers.heic(make_picture(height, width), depth, metadata=said, exif=exif.tobytes())


def map_bytes(height=64, width=80):
    out = io.BytesIO()
    np.save(out, make_disparity(height, width))
    return out.getvalue()


def npz(height=64, width=80):
    out = io.BytesIO()
    np.savez(out, disparity=make_disparity(height, width))
    return out.getvalue()


def grey(values):
    out = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def pixels(picture):
    with Image.open(io.BytesIO(picture)) as opened:
        return np.asarray(opened, np.float32) / 255
