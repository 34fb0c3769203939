"""What the settings make of a photograph and its map: lens or networks, and what stays sharp."""

import functools
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from d2f_jax import pipeline
from d2f_jax.photo import develop, exif
from d2f_jax.photo import focus as focus_names
from d2f_jax.photo.disparity import DisparityOutput
from d2f_jax.photo.image_io import Photo
from d2f_jax.photo.settings import Settings
from d2f_jax.render import kernels

Renderer = Callable[
    [Photo, DisparityOutput | None, Float[np.ndarray, "p q"] | None], develop.Developed
]
"""From a photograph, its map, and a mask of what stays sharp (if there are), to the result."""


def renderer(settings: Settings) -> Renderer:
    """Reads focus and blur, and chooses between lens and networks, for each photograph by its map.

    Raises:
      ValueError: for a focus or blur that cannot be read, options that belong to the other
        renderer, or weights that cannot be loaded. The renderer raises one for a lens without a
        map, options that belong to the other renderer, or a distance on a map without a unit.
    """
    focus, blur = focus_names.parse(settings.focus), develop.parse_blur(settings.blur)
    if not 0 <= settings.sharp <= 1:
        raise ValueError(f"--sharp {settings.sharp:g}: give a share of the map's range, 0 to 1")
    for name in ("f_number", "focal_length", "sensor"):
        value = getattr(settings, name)
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"--{name.replace('_', '-')} {value:g}: give a number above 0")
    if settings.f_number is None and (settings.focal_length or settings.sensor):
        raise ValueError("--focal-length and --sensor belong to --f-number")
    if settings.f_number is not None and blur.in_pixels:
        raise ValueError("--f-number and a blur in pixels both say how much: name one of them")
    load = functools.cache(functools.partial(pipeline.load, settings.weights))
    if settings.renderer == "d2f" or (settings.renderer == "auto" and settings.weights is not None):
        _refuse_lens_options(settings)
        load()  # what is wrong with weights is said before any photograph is read
        always = "d2f"
    else:
        always = "lens" if settings.renderer == "lens" else None
    blades = settings.blades
    lens = functools.partial(
        develop.through_lens,
        aperture=None if blades is None else kernels.Polygon(blades=blades),
        restore_highlights=settings.restore_highlights,
    )

    def chosen(
        photo: Photo, made: DisparityOutput, mask: Float[np.ndarray, "m n"] | None
    ) -> focus_names.Focus:
        """What is named; else, if no mask says it, where the network sees the subject."""
        if focus != "auto" or mask is not None:
            return focus
        return focus_names.subject(made.disparity, develop.sharpness(load(), photo))

    def render(
        photo: Photo, made: DisparityOutput | None, mask: Float[np.ndarray, "m n"] | None
    ) -> develop.Developed:
        if isinstance(focus, focus_names.Distance) and made is not None and not made.metric:
            raise ValueError(
                f"focus {settings.focus}: the map has no unit, a distance needs one in metres, "
                "millimetres or 1/m (--convention)"
            )
        if settings.mask is None and focus != "auto":
            mask = None  # the photograph's own matte gives way to what is named
        if (always or ("d2f" if made is None else "lens")) == "d2f":
            _refuse_lens_options(settings)
            if made is None and (mask is not None or settings.sharp):
                made = DisparityOutput(develop.hallucinated(load(), photo))
            disparity, sharp = None, focus
            if made is not None:
                sharp = chosen(photo, made, mask)
                disparity, sharp = _bent(photo, made.disparity, sharp, mask, settings)
            return develop.through_d2f(load(), photo, disparity, focus=sharp, blur=blur)
        if made is None:
            raise ValueError(
                "the renderer lens needs a disparity map: add --disparity FILE or --depth-model "
                "FILE"
            )
        sharp = chosen(photo, made, mask)
        disparity, sharp = _bent(photo, made.disparity, sharp, mask, settings)
        if settings.f_number is None:
            return lens(photo, disparity, focus=sharp, blur=blur)
        if not made.metric:
            raise ValueError("--f-number needs a map with distances (in metres, 1/m ...)")
        real = _real_lens(photo, settings)
        return lens(photo, disparity, focus=sharp, blur=blur, real=real)

    return render


def _refuse_lens_options(settings: Settings) -> None:
    if settings.blades is not None or settings.restore_highlights or settings.f_number is not None:
        raise ValueError(
            "--blades, --restore-highlights and --f-number belong to the renderer lens, which "
            "needs a map"
        )


def _bent(
    photo: Photo,
    disparity: Float[np.ndarray, "p q"],
    focus: focus_names.Focus,
    mask: Float[np.ndarray, "m n"] | None,
    settings: Settings,
) -> tuple[Float[np.ndarray, "h w"], focus_names.Focus]:
    """A map that is flat where all must stay sharp, and its focus."""
    if mask is None and not settings.sharp:
        return disparity, focus
    size = photo.image.shape[:2]
    disparity = develop.fitted(disparity, size)
    low, high = develop.extremes(disparity)
    sharp = develop.focused_value(disparity, focus)
    if mask is not None:
        inside = develop.fitted(mask, size) > 0.5
        sharp = focus_names.in_mask(disparity, inside) if focus == "auto" else sharp
        disparity = np.where(inside, np.float32(sharp), disparity)
    reach = settings.sharp * float(high - low)
    bent = focus_names.keep_sharp(disparity, sharp, nearest=sharp + reach, farthest=sharp - reach)
    return bent.astype(np.float32), sharp


def _real_lens(photo: Photo, settings: Settings) -> develop.RealLens:
    focal, sensor = exif.lens(photo.exif)
    focal, sensor = settings.focal_length or focal, settings.sensor or sensor
    if focal is None or sensor is None:
        missing = [
            name
            for name, value in (("--focal-length", focal), ("--sensor", sensor))
            if value is None
        ]
        raise ValueError(f"its EXIF does not say {' and '.join(missing)}: give it")
    return develop.RealLens(focal, settings.f_number or 0, sensor)
