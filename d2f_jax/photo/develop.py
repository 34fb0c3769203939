"""From a photograph and a disparity map to bokeh, with the settings that a person would name.

Two renderers: `through_lens` follows the light of a map through an ideal lens (`render.lens_blur`),
`through_d2f` takes the networks (`pipeline.D2F`), with a map in place of theirs if there is one.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Shaped

from d2f_jax import budget, color, pipeline, render
from d2f_jax.models import architectures, resize
from d2f_jax.photo import focus as focus_names
from d2f_jax.photo.image_io import Photo
from d2f_jax.render import kernels
from d2f_jax.render.highlights import HighlightRule

DEFAULT_RADIUS = 0.04
"""Default blur of `through_lens`: radius over the long side, for the whole range of the map."""

MIN_SIDE = 64
"""Smaller pictures are refused by both renderers."""


NEARLY_SHARP = 0.1
"""Defocus from which `sharpness` is 0."""

LEAST_SHARP = 1e-3
"""Share of the picture that the networks keep sharp, below which there is a notice."""

NOTHING_SHARP = "nothing is sharp; name another focus (--focus X,Y) or bring a map (--disparity)"

SHARP_RADIUS = 1.0
"""Circles of confusion up to this radius count as sharp in `through_lens` [px]."""

LEAST_BLURRED = (
    "the network found nothing in focus, so what it blurs least is sharp; name a focus "
    "(--focus X,Y) or bring a map (--disparity)"
)


class Blur(NamedTuple):
    """An amount of blur: a factor on the default, or the radius of the largest blur in pixels."""

    amount: float = 1.0
    in_pixels: bool = False


class RealLens(NamedTuple):
    """A lens on a camera: focal length [mm], f-number, and the long side of its sensor [mm]."""

    focal_length: float
    f_number: float
    sensor: float


class Developed(NamedTuple):
    """A finished photograph and what was computed on the way.

    Attributes:
      photo: The input with its picture replaced.
      maps: Arrays by name, exactly as computed.
      pictures: Maps scaled to [0, 1] for looking at, in the photograph's proportions, by name.
      notice: What the user should know about the result.
      focused: The value of the map that is sharp, in its unit; None without a map.
    """

    photo: Photo
    maps: dict[str, Shaped[np.ndarray, "..."]]
    pictures: dict[str, Float[np.ndarray, "h w"]]
    notice: str | None = None
    focused: float | None = None


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
    focus: focus_names.Focus = "auto",
    blur: Blur = Blur(),  # noqa: B008 - immutable
    aperture: kernels.Aperture | None = None,
    highlights: HighlightRule | None = None,
    cat_eye: float = 0.0,
    real: RealLens | None = None,
    canvas: tuple[int, int] | None = None,
) -> Developed:
    """Renders at full resolution what an ideal lens would see.

    The map is scaled so that its range, without the outermost half per cent at either end, spans 1:
    the default blur does not depend on the map's units.

    Args:
      photo: All-in-focus photograph.
      disparity: Inverse depth without holes, greater = nearer, on any affine scale, at any size.
      focus: What is sharp; "auto": `focus.subject`.
      blur: Radius of what lies the whole range of the map away from the focus.
      aperture: Opening of the lens, round when None.
      highlights: How clipped lights get their brightness back (`render.highlights`).
      cat_eye: How far discs are cut off towards the corners, see `render.lens_blur`.
      real: A lens that says how much, for maps in 1/m (`focus.thin_lens_blur`); `blur` is a factor.
      canvas: Size that smaller pictures share compiled code in, see `render.lens_blur`.

    Returns:
      The picture, and the maps "disparity" and "coc_radius" (signed, pixels, positive = nearer).

    Raises:
      ValueError: for a picture below `MIN_SIDE`, a constant map, a point outside, or a blur wider
        than the picture.
    """
    check_size(photo)
    size = photo.image.shape[:2]
    disparity = fitted(disparity, size)
    focused = focused_value(disparity, focus)
    low, high = extremes(disparity)
    radius = blur.amount if blur.in_pixels else blur.amount * DEFAULT_RADIUS * max(size)
    if real is not None:
        per_dioptre = focus_names.thin_lens_blur(
            focal_length=real.focal_length,
            f_number=real.f_number,
            sensor_width=real.sensor,
            focus_distance=1 / max(focused, 1e-6),
            image_width=max(size),
        )
        radius = blur.amount * per_dioptre * float(high - low)
    widest = max(size) / 2
    if real is None:
        check_blur(blur, widest, DEFAULT_RADIUS * max(size), size)
    elif radius > widest:
        raise ValueError(
            f"this lens blurs by {radius:.0f} px, the picture of {size[1]}x{size[0]} takes up to "
            f"{widest:.0f}: give a greater --f-number"
        )

    scaled = np.clip((disparity - low) / (high - low), 0, 1).astype(np.float32)
    sharp = float((focused - low) / (high - low))
    if radius * max(abs(sharp), abs(1 - sharp)) > max(size):
        raise ValueError(_nothing_there(disparity, focus) or "the focus is far outside of the map")
    bokeh = render.lens_blur(
        photo.image,
        scaled,
        focus=sharp,
        blur=radius,
        encoding="linear" if photo.linear else "srgb",
        aperture=aperture,
        highlights=highlights,
        cat_eye=cat_eye,
        tile=budget.lens_tile(size, radius * max(sharp, 1 - sharp), cat_eye=cat_eye > 0),
        canvas=canvas,
    )
    coc_radius = radius * (scaled - np.float32(sharp))
    picture = np.abs(coc_radius) / max(float(np.abs(coc_radius).max()), 1e-6)
    notice = None
    if float((np.abs(coc_radius) <= SHARP_RADIUS).mean()) < LEAST_SHARP:
        notice = _nothing_there(disparity, focus)
    return Developed(
        photo._replace(image=np.asarray(bokeh)),
        {"disparity": disparity, "coc_radius": coc_radius},
        {"defocus": picture},
        notice,
        focused,
    )


def through_d2f(
    d2f: pipeline.D2F,
    photo: Photo,
    disparity: Float[np.ndarray, "p q"] | None = None,
    *,
    focus: focus_names.Focus = "auto",
    blur: Blur = Blur(),  # noqa: B008 - immutable
    seen: Float[Array, "m n"] | None = None,
    canvas: tuple[int, int] | None = None,
) -> Developed:
    """Renders with the networks.

    Args:
      d2f: Networks with weights.
      photo: All-in-focus photograph; a scene-linear one is cut to [0, 1].
      disparity: Inverse depth in place of the network's map, as in `through_lens`.
      focus: What is sharp; "auto": `focus.subject`. Without a map a value is one of the network's
        defocus map, "auto" is what the network chooses, and the rest needs a map.
      blur: Factor on the kernels, or the radius of the largest in pixels of the photograph. For
        networks that see every picture at one size, a factor of 1 is the same share of any picture.
      seen: What `defocus` made of this photograph before: that network does not run again.
      canvas: Size that smaller pictures share compiled code in, see `pipeline.D2F`.

    Returns:
      The picture, and the fields "defocus", "weight" and "fusion_mask" of `pipeline.D2FOutput`.

    Raises:
      ValueError: as `through_lens`, and what `pipeline.D2F` refuses.
    """
    check_size(photo)
    height, width = photo.image.shape[:2]
    image = encoded(photo)
    largest = d2f.config.sizes[-1] // 2 * height / pipeline.working_size(height, width)[0]
    factor = kernels_factor(d2f.config, height, width)
    most = largest * pipeline.largest_blur(d2f.config, height, width)
    check_blur(blur, most, largest * factor, (height, width))
    options: dict[str, Any] = {
        "blur": blur.amount / largest if blur.in_pixels else blur.amount * factor
    }
    if disparity is not None:
        disparity = fitted(disparity, (height, width))
        options |= {"disparity": disparity, "focus": focused_value(disparity, focus)}
    else:
        if isinstance(focus, focus_names.Point):
            focus = focus_names.inside(focus, (height, width))  # before the network runs
            seen = defocus(d2f, photo) if seen is None else seen
        options["focus"] = imagined_focus(focus, (height, width), lambda: seen)

    if disparity is None and seen is not None:
        options["seen"] = seen
    out = d2f(image, canvas=canvas, **options)
    bokeh = color.srgb_to_linear(jnp.asarray(out.bokeh)) if photo.linear else out.bokeh
    maps = {name: np.asarray(getattr(out, name)) for name in ("defocus", "weight", "fusion_mask")}
    weight = maps["weight"].mean(axis=-1)
    pictures = {"defocus": maps["defocus"], "radiance": weight / max(float(weight.max()), 1e-6)}
    scale = max(weight.shape) / max(height, width)
    size = max(1, round(scale * height)), max(1, round(scale * width))
    pictures = {name: fitted(picture, size) for name, picture in pictures.items()}
    notice = None
    if float((maps["fusion_mask"] > 0.5).mean()) < LEAST_SHARP:
        notice = NOTHING_SHARP if disparity is None else _nothing_there(disparity, focus)
    elif float(out.moved) > d2f.config.theta / 2:
        notice = LEAST_BLURRED
    return Developed(
        photo._replace(image=np.asarray(bokeh)),
        maps,
        pictures | {"mask": maps["fusion_mask"]},
        notice,
        None if disparity is None else options["focus"],
    )


def _nothing_there(disparity: Float[np.ndarray, "h w"], focus: focus_names.Focus) -> str | None:
    """What to say where nothing is at a focus that was named as a value or a distance."""
    low, high = float(disparity.min()), float(disparity.max())
    if isinstance(focus, float):
        return (
            f"nothing is sharp at a focus of {focus:g}: the map's values are {low:.4g} to "
            f"{high:.4g}, greater = nearer; a point is named X,Y"
        )
    if isinstance(focus, focus_names.Distance):
        near, far = (f"{1 / max(value, 1e-6):.3g} m" for value in (high, low))
        return f"nothing is sharp at {focus.metres:g} m: the map reaches from {near} to {far}"
    return None


def defocus(d2f: pipeline.D2F, photo: Photo) -> Float[Array, "p q"]:
    """The defocus map that the network imagines of a photograph, for `through_d2f`.

    Raises:
      ValueError: for a picture below `MIN_SIDE`.
    """
    check_size(photo)
    return d2f.defocus(encoded(photo))


def hallucinated(
    photo: Photo, seen: Float[np.ndarray, "m n"] | Float[Array, "m n"]
) -> Float[np.ndarray, "p q"]:
    """The map of what `defocus` made of a photograph: 1 in focus and less behind it."""
    size = photo.image.shape[:2]
    scale = max(seen.shape) / max(size)
    return 1 - fitted(np.asarray(seen), (round(scale * size[0]), round(scale * size[1])))


def imagined_focus(
    focus: focus_names.Focus, size: tuple[int, int], look: Callable[[], Any]
) -> float | None:
    """The value of the network's own map that a focus stands for.

    Args:
      focus: What is sharp.
      size: Height and width of the photograph.
      look: Gives what `defocus` made of it, at any size; called for points inside it alone.

    Returns:
      A value in [0, 1], 0 where the network sees the subject; None where it is to choose.

    Raises:
      ValueError: for values beyond the map's, points outside of the picture, and what needs a
        disparity map.
    """
    if focus == "auto":
        return None
    if isinstance(focus, focus_names.Point):
        place, (height, width), seen = focus_names.inside(focus, size), size, look()
        rows, columns = seen.shape
        return float(seen[place.y * rows // height, place.x * columns // width])
    if isinstance(focus, float):
        if not 0 <= focus <= 1:
            raise ValueError(
                f"a focus of {focus:g}: the network's map has values from 0, where it sees the "
                "subject, to 1; a point is named X,Y"
            )
        return focus
    raise ValueError(
        "a focus on nearest, on a box or at a distance needs a disparity map (--disparity or "
        "--depth-model)"
    )


def encoded(photo: Photo) -> Float[np.ndarray, "h w 3"]:
    """The picture in sRGB, a scene-linear one cut to [0, 1]; memory is shared where it can be."""
    return np.asarray(color.encoded(photo.image, linear=photo.linear))


def sharpness(d2f: pipeline.D2F, photo: Photo) -> Float[np.ndarray, "p q"]:
    """How sure the network is that a place is in focus: 1 at a defocus of 0, 0 at `NEARLY_SHARP`.

    It sees a small copy of the photograph (`pipeline.D2F.glance`), cut to [0, 1] if scene-linear.
    """
    seen = d2f.glance(encoded(photo))
    return np.maximum(0, 1 - np.asarray(seen) / np.float32(NEARLY_SHARP))


def kernels_factor(config: architectures.D2FConfig, height: int, width: int) -> float:
    """What the default blur of a picture of this size multiplies the kernels with.

    1, but for networks that see every picture at one size: there nothing but the kernels depends on
    the size, which grow with it.
    """
    if config.defocus_side is None:
        return 1.0
    return max(pipeline.working_size(height, width)) / pipeline.KERNELS_SIDE


def check_size(photo: Photo) -> None:
    """Refuses, by a ValueError, pictures with a side below `MIN_SIDE`."""
    height, width = photo.image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise ValueError(f"{width}x{height} pixels; each side must have {MIN_SIDE} or more")


def check_blur(blur: Blur, most: float, default: float, size: tuple[int, int]) -> None:
    """Refuses, by a ValueError in the user's own units, blur that a picture is too small for.

    Args:
      blur: What the user wants.
      most: Largest radius that can be had [px].
      default: Radius of a factor of 1 [px].
      size: Height and width of the picture.
    """
    if (blur.amount if blur.in_pixels else blur.amount * default) <= most:
        return
    picture = f"is too much for a picture of {size[1]}x{size[0]}"
    if blur.in_pixels:
        raise ValueError(f"a blur of {blur.amount:g}px {picture}: {int(most)}px is the most")
    factor = math.floor(10 * most / default) / 10
    raise ValueError(
        f"a blur of {blur.amount:g} times the default {picture}: {factor:g} is the most, or "
        f"{int(most)}px; {blur.amount:g} pixels are written {blur.amount:g}px"
    )


def fitted(disparity: Float[np.ndarray, "p q"], size: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """Brings a map to the size (height, width) of its photograph."""
    if disparity.shape == size:
        return disparity
    return resize.bilinear(disparity[..., None], size)[..., 0]


def extremes(disparity: Float[np.ndarray, "h w"]) -> tuple[np.floating, np.floating]:
    """The range of a map without the outermost half per cent at either end, if that is a range."""
    low, high = np.percentile(disparity, (0.5, 99.5))
    if high <= low:  # all but a few pixels are equal
        low, high = disparity.min(), disparity.max()
    return low, high


def focused_value(disparity: Float[np.ndarray, "h w"], focus: focus_names.Focus) -> float:
    """The value of the map that is sharp; a constant map is refused by a ValueError."""
    low, high = float(disparity.min()), float(disparity.max())
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        raise ValueError(f"the disparity map is constant ({low:g}): nothing is nearer or farther")
    return focus_names.resolve(focus, disparity)
