"""What the settings make of a photograph and its map: lens or networks, and what stays sharp."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jax import Array
from jaxtyping import Float

from d2f_jax import files, pipeline
from d2f_jax.photo import develop, exif, image_io
from d2f_jax.photo import focus as focus_names
from d2f_jax.photo.disparity import DisparityOutput
from d2f_jax.photo.image_io import Photo
from d2f_jax.photo.settings import Settings
from d2f_jax.render import highlights, kernels

Renderer = Callable[..., develop.Developed]
"""From a photograph, its map, a mask of what stays sharp (both may be None), and, if smaller
pictures are to share compiled code, a canvas (height, width), to the result."""

_LENS_OPTIONS = ("blades", "squeeze", "cat_eye", "shape", "restore_highlights", "f_number")


class Networks:
    """The networks, loaded when first used, and what the first saw in the last photograph."""

    def __init__(self, weights: Path | None = None):
        self._weights = weights
        self._photo: np.ndarray | None = None
        self._found: dict[str, Any] = {}

    @functools.cached_property
    def d2f(self) -> pipeline.D2F:
        """The networks; a ValueError says what is wrong with their weights."""
        return pipeline.load(self._weights)

    def defocus(self, photo: Photo) -> Float[Array, "p q"]:
        """The defocus map of a photograph (`develop.defocus`), kept until the next one."""
        return self._kept("defocus", develop.defocus, photo)

    def sharpness(self, photo: Photo) -> Float[np.ndarray, "p q"]:
        """How sure the network is that places are in focus (`develop.sharpness`), kept alike."""
        return self._kept("sharpness", develop.sharpness, photo)

    def _kept(self, name: str, look: Callable[[pipeline.D2F, Photo], Any], photo: Photo) -> Any:
        if self._photo is not photo.image:
            self._photo, self._found = photo.image, {}
        if name not in self._found:
            self._found[name] = look(self.d2f, photo)
        return self._found[name]


def renderer(
    settings: Settings,
    networks: Networks | None = None,
) -> Renderer:
    """Reads focus and blur, and chooses between lens and networks, for each photograph by its map.

    Args:
      settings: What the user chose.
      networks: Those of the settings, where the same photograph is rendered again and again.

    Returns:
      A function of photograph, map, mask and canvas.

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
    again = networks is not None
    networks = networks or Networks(settings.weights)
    if settings.renderer == "d2f" or (settings.renderer == "auto" and settings.weights is not None):
        _refuse_lens_options(settings)
        _ = networks.d2f  # what is wrong with weights is said before any photograph is read
        always = "d2f"
    else:
        always = "lens" if settings.renderer == "lens" else None
    lens = functools.partial(
        develop.through_lens,
        aperture=opening(settings),
        highlights=_highlights(settings),
        cat_eye=settings.cat_eye,
    )

    def chosen(
        photo: Photo,
        made: DisparityOutput,
        mask: Float[np.ndarray, "m n"] | None,
        named: focus_names.Focus = focus,
    ) -> focus_names.Focus:
        """What is named; else, if no mask says it, where the network sees the subject."""
        if named != "auto" or mask is not None:
            return named
        return focus_names.subject(made.disparity, networks.sharpness(photo))

    def render(
        photo: Photo,
        made: DisparityOutput | None,
        mask: Float[np.ndarray, "m n"] | None,
        canvas: tuple[int, int] | None = None,
    ) -> develop.Developed:
        through_d2f = functools.partial(develop.through_d2f, canvas=canvas)
        if made is not None:
            check(settings, photo, made)
        if settings.mask is None and focus != "auto":
            mask = None  # the photograph's own matte gives way to what is named
        if (always or ("d2f" if made is None else "lens")) == "d2f":
            _refuse_lens_options(settings)
            named, imagined = focus, made is None
            if made is None and (mask is not None or settings.sharp):
                size, look = photo.image.shape[:2], functools.partial(networks.defocus, photo)
                value = develop.imagined_focus(focus, size, look)
                named = focus if value is None else 1 - value  # as the map is turned round
                made = DisparityOutput(develop.hallucinated(photo, look()))
            if made is None:
                seen = networks.defocus(photo) if again else None  # alone, all is one program
                return through_d2f(networks.d2f, photo, focus=focus, blur=blur, seen=seen)
            sharp = chosen(photo, made, mask, named)
            disparity, sharp = _bent(photo, made.disparity, sharp, mask, settings)
            done = through_d2f(networks.d2f, photo, disparity, focus=sharp, blur=blur)
            if imagined and done.notice is not None:  # it tells of the map that was turned round
                return done._replace(notice=develop.NOTHING_SHARP)
            return done
        if made is None:
            raise ValueError(
                "the renderer lens needs a disparity map: add --disparity FILE or --depth-model "
                "NAME"
            )
        sharp = chosen(photo, made, mask)
        disparity, sharp = _bent(photo, made.disparity, sharp, mask, settings)
        if settings.f_number is None:
            return lens(photo, disparity, focus=sharp, blur=blur, canvas=canvas)
        real = _real_lens(photo, settings)
        return lens(photo, disparity, focus=sharp, blur=blur, real=real, canvas=canvas)

    return render


def check(settings: Settings, photo: Photo, made: DisparityOutput) -> None:
    """Refuses what a map or its photograph cannot give, before anything is computed of them.

    Args:
      settings: What the user chose.
      photo: The photograph.
      made: Its map, at any size.

    Raises:
      ValueError: for a point or box outside of the picture, a distance or an f-number on a map
        without a unit, or a lens that neither the settings nor the EXIF describe.
    """
    focus = focus_names.parse(settings.focus)
    if isinstance(focus, focus_names.Distance) and not made.metric:
        raise ValueError(
            f"focus {settings.focus}: the map has no unit, a distance needs one in metres, "
            "millimetres or 1/m (--convention)"
        )
    if isinstance(focus, focus_names.Point):
        focus_names.inside(focus, photo.image.shape[:2])
    if isinstance(focus, focus_names.Box):
        focus_names.check_box(focus, photo.image.shape[:2])
    if settings.f_number is not None:
        if not made.metric:
            raise ValueError("--f-number needs a map with distances (in metres, 1/m ...)")
        _real_lens(photo, settings)


def opening(settings: Settings) -> kernels.Aperture:
    """The opening of the lens.

    A circle is blades of full roundness, and every opening is squeezed by some ratio: so all but
    pictures share their compiled code.

    Raises:
      ValueError: for numbers outside of their ranges, options that do not fit together, or a
        picture that cannot be read.
    """
    blades, shape = settings.blades, settings.shape
    if not math.isfinite(settings.rotation):
        raise ValueError(f"--rotation {settings.rotation:g}: give an angle in degrees")
    if not 0 <= settings.cat_eye <= 1.5:
        raise ValueError(f"--cat-eye {settings.cat_eye:g}: give a shift in radii, 0 to 1.5")
    if not 0 < settings.squeeze <= 1:
        raise ValueError(f"--squeeze {settings.squeeze:g}: give width over height, above 0 to 1")
    if blades is None and (settings.roundness or settings.rotation):
        raise ValueError("--roundness and --rotation belong to --blades")
    if shape is not None and blades is not None:
        raise ValueError("--shape and --blades both say what the opening is: name one of them")
    if shape is not None:
        photo = image_io.read_photo(shape)
        picture = photo.image.mean(axis=-1) if photo.alpha is None else photo.alpha
        with files.naming(shape):
            inner: kernels.Aperture = kernels.Picture(picture)
    elif blades is None:
        inner = kernels.Polygon(roundness=1.0)
    else:
        inner = kernels.Polygon(
            blades=blades, roundness=settings.roundness, rotation=settings.rotation
        )
    return kernels.Squeeze(aperture=inner, ratio=settings.squeeze)


def _highlights(settings: Settings) -> highlights.ContrastRule | None:
    if not 1 <= settings.highlight_gain < math.inf:
        raise ValueError(
            f"--highlight-gain {settings.highlight_gain:g}: give a factor of 1 or more"
        )
    if not settings.restore_highlights:
        return None
    return highlights.ContrastRule(limit=settings.highlight_gain)


def _refuse_lens_options(settings: Settings) -> None:
    used = [n for n in _LENS_OPTIONS if getattr(settings, n) != getattr(Settings, n)]
    if used:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in used)
        belong = "belongs" if len(used) == 1 else "belong"
        raise ValueError(
            f"{names} {belong} to the renderer lens, which needs a map (--disparity FILE or "
            "--depth-model NAME)"
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
        them = "them" if len(missing) > 1 else "it"
        raise ValueError(f"its EXIF does not say {' and '.join(missing)}: give {them}")
    return develop.RealLens(focal, settings.f_number or 0, sensor)
