"""A photograph made small for the screen, and the settings that fit it."""

import dataclasses
import io
import math
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from d2f_jax.photo import develop
from d2f_jax.photo import focus as focus_names
from d2f_jax.photo.image_io import Photo
from d2f_jax.photo.settings import Settings

CANVASES = ((576, 832), (832, 576))
"""Height and width that previews are held by, of landscapes and portraits: about half a megapixel.

All photographs share the code that is compiled for these two.
"""


def held_by(height: int, width: int) -> tuple[int, int]:
    """The canvas for a picture of these sides."""
    return CANVASES[int(height > width)]


def canvas(photo: Photo) -> tuple[int, int] | None:
    """The canvas that holds a small photograph; None if it is much smaller, or too long for it."""
    height, width = photo.image.shape[:2]
    held = held_by(height, width)
    is_held = height <= held[0] and width <= held[1]
    return held if is_held and 4 * height * width > math.prod(held) else None


def reduced(photo: Photo) -> Photo:
    """The photograph at the size of a preview; sides stay above the smallest allowed."""
    height, width = photo.image.shape[:2]
    held = held_by(height, width)
    scale = min(held[0] / height, held[1] / width)
    scale = max(scale, develop.MIN_SIDE / min(height, width))
    if scale >= 1:
        return photo
    size = round(scale * width), round(scale * height)
    planes = [Image.fromarray(photo.image[..., channel]) for channel in range(3)]
    planes = [np.asarray(each.resize(size, Image.Resampling.HAMMING)) for each in planes]
    image = np.maximum(np.stack(planes, axis=-1), 0)
    return photo._replace(image=image if photo.linear else np.minimum(image, 1), alpha=None)


def scaled(settings: Settings, scale: float, photo: Photo) -> Settings:
    """The settings for a photograph that was made smaller."""
    focus, blur = focus_names.parse(settings.focus), develop.parse_blur(settings.blur)
    changes: dict[str, Any] = {}
    if isinstance(focus, focus_names.Point | focus_names.Box):
        height, width = photo.image.shape[:2]
        places = [math.floor(place * scale) for place in focus[:2]]
        if isinstance(focus, focus_names.Box):
            places += [math.ceil(place * scale) for place in focus[2:]]
        last = (width - 1, height - 1, width, height)
        inside = all(place < 1.01 * side / scale for place, side in zip(focus, last, strict=False))
        places = [min(place, side) for place, side in zip(places, last, strict=False)]
        if inside:  # places outside of the photograph are left for the renderer to refuse
            changes["focus"] = ",".join(map(str, places))
    if blur.in_pixels:
        changes["blur"] = f"{blur.amount * scale!r}px"
    return dataclasses.replace(settings, **changes)


def jpeg(picture: Float[np.ndarray, "..."], icc: bytes | None = None) -> bytes:
    """A picture or map in [0, 1] as a JPEG file."""
    out = io.BytesIO()
    pixels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(out, "JPEG", quality=92, subsampling=0, icc_profile=icc)
    return out.getvalue()
