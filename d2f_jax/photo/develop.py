"""From a photograph and a disparity map to bokeh, with the settings that a person would name.

Two renderers: `through_lens` follows the light of a map through an ideal lens (`render.lens_blur`),
`through_d2f` takes the networks (`pipeline.D2F`), with a map in place of theirs if there is one.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from d2f_jax import color, pipeline, render
from d2f_jax.models import architectures, resize
from d2f_jax.photo import focus as focus_names
from d2f_jax.photo.image_io import Photo
from d2f_jax.render import kernels
from d2f_jax.render.highlights import ContrastRule

DEFAULT_RADIUS = 0.04
"""Default blur of `through_lens`: radius over the long side, for the whole range of the map."""

KERNELS_SIDE = 768
"""Working size of a 1536-pixel photograph [px], such as the paper's kernels are meant for."""

MIN_SIDE = 64
"""Smaller pictures are refused by both renderers."""


class Point(NamedTuple):
    """A place in the upright photograph, in whole pixels from its left and upper border."""

    x: int
    y: int


class Blur(NamedTuple):
    """An amount of blur: a factor on the default, or the radius of the largest blur in pixels."""

    amount: float = 1.0
    in_pixels: bool = False


class Developed(NamedTuple):
    """A finished photograph and what was computed on the way.

    Attributes:
      photo: The input with its picture replaced.
      maps: Arrays by name, exactly as computed.
      pictures: Maps scaled to [0, 1] for looking at, by name.
    """

    photo: Photo
    maps: dict[str, Shaped[np.ndarray, "..."]]
    pictures: dict[str, Float[np.ndarray, "h w"]]


def parse_focus(text: str) -> float | Point | str | None:
    """Reads "auto" (None), "X,Y" or a value.

    What only a map can tell ("nearest", a box, "2.5m"; see `focus.resolve`) stays text.

    Raises:
      ValueError: for anything else.
    """
    try:
        if text == "auto":
            return None
        if text == "nearest" or text.count(",") == 3 or text.endswith("m"):
            return text
        if "," in text:
            x, y = text.split(",")
            return Point(int(x), int(y))
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(
            f"focus {text!r}: give auto, nearest, X,Y or LEFT,TOP,RIGHT,BOTTOM in whole pixels, a "
            f"distance such as 2.5m, or a value of the map"
        )
    return value


def parse_blur(text: str) -> Blur:
    """Reads a factor such as "1.5" or a radius such as "40px".

    Raises:
      ValueError: for anything else, and for a negative amount.
    """
    try:
        amount = float(text.removesuffix("px"))
    except ValueError:
        amount = math.nan
    if not 0 <= amount < math.inf:
        raise ValueError(
            f"blur {text!r}: give a factor (1 = default) or a radius (40px), 0 or more"
        )
    return Blur(amount, text.endswith("px"))


def through_lens(
    photo: Photo,
    disparity: Float[np.ndarray, "p q"],
    *,
    focus: float | Point | str | None = None,
    blur: Blur = Blur(),  # noqa: B008 - immutable
    aperture: kernels.Aperture | None = None,
    restore_highlights: bool = False,
) -> Developed:
    """Renders at full resolution what an ideal lens would see.

    The map is scaled so that its range, without the outermost half per cent at either end, spans 1:
    the default blur does not depend on the map's units.

    Args:
      photo: All-in-focus photograph.
      disparity: Inverse depth without holes, greater = nearer, on any affine scale, at any size.
      focus: Value of the map, or the point, that is sharp; None: `subject`.
      blur: Radius of what lies the whole range of the map away from the focus.
      aperture: Opening of the lens, round when None.
      restore_highlights: Whether clipped lights get their brightness back (`highlights`).

    Returns:
      The picture, and the maps "disparity" and "coc_radius" (signed, pixels, positive = nearer).

    Raises:
      ValueError: for a picture below `MIN_SIDE`, a constant map, a point outside, or a blur wider
        than the picture.
    """
    check_size(photo)
    size = photo.image.shape[:2]
    disparity = fitted(disparity, size)
    focused = _focused(disparity, focus)
    low, high = np.percentile(disparity, (0.5, 99.5))
    if high <= low:  # all but a few pixels are equal
        low, high = disparity.min(), disparity.max()
    radius = blur.amount if blur.in_pixels else blur.amount * DEFAULT_RADIUS * max(size)
    if radius > max(size) / 2:
        raise ValueError(
            f"a blur of {radius:.0f} px radius is wider than the picture ({size[1]}x{size[0]})"
        )

    scaled = np.clip((disparity - low) / (high - low), 0, 1).astype(np.float32)
    sharp = float((focused - low) / (high - low))
    bokeh = render.lens_blur(
        jnp.asarray(photo.image),
        jnp.asarray(scaled),
        focus=sharp,
        blur=radius,
        encoding="linear" if photo.linear else "srgb",
        aperture=aperture,
        highlights=ContrastRule() if restore_highlights else None,
        tile=1024 if size[0] * size[1] > 2**23 else None,  # bounds memory, costs time
    )
    coc_radius = radius * (scaled - np.float32(sharp))
    picture = np.abs(coc_radius) / max(float(np.abs(coc_radius).max()), 1e-6)
    return Developed(
        photo._replace(image=np.asarray(bokeh)),
        {"disparity": disparity, "coc_radius": coc_radius},
        {"defocus": picture},
    )


def through_d2f(
    d2f: pipeline.D2F,
    photo: Photo,
    disparity: Float[np.ndarray, "p q"] | None = None,
    *,
    focus: float | Point | str | None = None,
    blur: Blur = Blur(),  # noqa: B008 - immutable
) -> Developed:
    """Renders with the networks.

    Args:
      d2f: Networks with weights.
      photo: All-in-focus photograph; a scene-linear one is cut to [0, 1].
      disparity: Inverse depth in place of the network's map, as in `through_lens`.
      focus: Value of the disparity map (without one: of the network's defocus map), or the point,
        that is sharp; None: `subject`, or what the network chooses.
      blur: Factor on the kernels, or the radius of the largest in pixels of the photograph. For
        networks that see every picture at one size, a factor of 1 is the same share of any picture.

    Returns:
      The picture, and the fields "defocus", "weight" and "fusion_mask" of `pipeline.D2FOutput`.

    Raises:
      ValueError: as `through_lens`, and what `pipeline.D2F` refuses.
    """
    check_size(photo)
    height, width = photo.image.shape[:2]
    image = jax.device_put(photo.image)  # shares memory on a CPU, jnp.asarray copies
    if photo.linear:
        image = color.linear_to_srgb(jnp.clip(image, 0, 1))
    options: dict[str, Any] = {"blur": blur.amount}
    options["blur"] *= kernels_factor(d2f.config, height, width)
    if blur.in_pixels:
        default = d2f.config.sizes[-1] // 2 * height / pipeline.working_size(height, width)[0]
        options["blur"] = blur.amount / default
    if disparity is not None:
        disparity = fitted(disparity, (height, width))
        options |= {"disparity": jnp.asarray(disparity), "focus": _focused(disparity, focus)}
    elif isinstance(focus, Point):
        _check_inside(focus, (height, width))
        defocus = np.asarray(d2f(image, **options).defocus)
        rows, columns = defocus.shape
        options["focus"] = float(defocus[focus.y * rows // height, focus.x * columns // width])
    elif isinstance(focus, str):
        raise ValueError(f"focus {focus}: needs a disparity map (--disparity or --depth-model)")
    else:
        options["focus"] = focus

    out = d2f(image, **options)
    bokeh = color.srgb_to_linear(out.bokeh) if photo.linear else out.bokeh
    maps = {name: np.asarray(getattr(out, name)) for name in ("defocus", "weight", "fusion_mask")}
    weight = maps["weight"].mean(axis=-1)
    return Developed(
        photo._replace(image=np.asarray(bokeh)),
        maps,
        {
            "defocus": maps["defocus"],
            "radiance": weight / max(float(weight.max()), 1e-6),
            "mask": maps["fusion_mask"],
        },
    )


def kernels_factor(config: architectures.D2FConfig, height: int, width: int) -> float:
    """What the default blur of a picture of this size multiplies the kernels with.

    1, but for networks that see every picture at one size: there nothing but the kernels depends on
    the size, which grow with it.
    """
    if config.defocus_side is None:
        return 1.0
    return max(pipeline.working_size(height, width)) / KERNELS_SIDE


def check_size(photo: Photo) -> None:
    """Refuses, by a ValueError, pictures with a side below `MIN_SIDE`."""
    height, width = photo.image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise ValueError(f"{width}x{height} pixels; each side must have {MIN_SIDE} or more")


def subject(disparity: Float[np.ndarray, "h w"]) -> float:
    """Guesses what a photographer would focus on: what is near in the middle of the picture.

    This is the disparity that 90 % of the central quarter (half of each side) do not exceed.
    """
    height, width = disparity.shape
    middle = disparity[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return float(np.percentile(middle, 90))


def fitted(disparity: Float[np.ndarray, "p q"], size: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """Brings a map to the size (height, width) of its photograph."""
    if disparity.shape == size:
        return disparity
    return np.asarray(resize.bilinear(jnp.asarray(disparity)[..., None], size)[..., 0])


def _focused(disparity: np.ndarray, focus: float | Point | str | None) -> float:
    low, high = float(disparity.min()), float(disparity.max())
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        raise ValueError(f"the disparity map is constant ({low:g}): nothing is nearer or farther")
    if isinstance(focus, Point):
        _check_inside(focus, disparity.shape)
        return float(disparity[focus.y, focus.x])
    if isinstance(focus, str):
        return focus_names.resolve(focus, disparity)
    return subject(disparity) if focus is None else focus


def _check_inside(point: Point, size: tuple[int, ...]) -> None:
    height, width = size
    if not (0 <= point.x < width and 0 <= point.y < height):
        raise ValueError(
            f"focus {point.x},{point.y} lies outside the picture, which is {width} wide and "
            f"{height} high (0,0 is the upper left pixel)"
        )
