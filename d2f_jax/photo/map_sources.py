"""Where the map of a photograph comes from: a file, a depth network, or the photograph itself."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from d2f_jax import color, files, render
from d2f_jax.photo import depth, depth_io, depth_models, disparity, exif, image_io, own_depth
from d2f_jax.photo.disparity import DepthMap, DisparityOutput
from d2f_jax.photo.image_io import Photo
from d2f_jax.photo.settings import Convention, MapSettings

Notify = Callable[[str], None]
"""Takes a line for the user."""


class Mapped(NamedTuple):
    """A photograph with its map.

    Attributes:
      photo: The photograph, or the sharp one that its file held beside it.
      map: Its map, upright and without holes, at any size; None if there is none.
      mask: What must stay sharp, in [0, 1], upright, at any size; None if nothing must.
    """

    photo: Photo
    map: DisparityOutput | None = None
    mask: Float[np.ndarray, "h w"] | None = None


MapSource = Callable[[Path, Photo, Notify], Mapped]
"""From a photograph's file, the photograph and a way to tell the user something, to its map."""

Check = Callable[[Photo, DisparityOutput], None]
"""Refuses a photograph and its map by a ValueError."""


def find(
    settings: MapSettings,
    notify: Notify = lambda line: None,
    check: Check = lambda photo, made: None,
) -> MapSource:
    """The source that the settings name; without one, the depth in the photographs themselves.

    What it gives is refined by the colours of the photograph, unless the settings say no.

    Args:
      settings: What the user named.
      notify: Gets a line on a depth network that has a name, and may have to be fetched.
      check: Sees a map before it is refined, which takes a while.

    Raises:
      ValueError: if they name two, or a depth network that cannot be fetched or loaded.
    """
    source = _source(settings, notify)
    return source if settings.refine == "off" else functools.partial(_refined, source, check)


def _source(settings: MapSettings, notify: Notify) -> MapSource:
    if settings.disparity is not None and settings.depth_model is not None:
        raise ValueError("--disparity and --depth-model both give a map: name one of them")
    source = _named(settings, notify)
    if not settings.own_depth:
        return source or (lambda place, photo, notify: Mapped(photo))
    return functools.partial(_with_matte, source or _from_itself)


def _named(settings: MapSettings, notify: Notify) -> MapSource | None:
    convention = None if settings.convention == "auto" else settings.convention
    if settings.disparity is not None:
        from_file = functools.partial(_from_file, settings.disparity, convention, {})
        return _of_the_original(from_file) if settings.own_depth else from_file
    if settings.depth_model is not None:
        path, config = depth_models.find(settings.depth_model, notify)
        if convention is not None:
            config = dataclasses.replace(config, convention=convention)
        metric = config.convention in disparity.METRIC
        return functools.partial(_from_network, depth.load_onnx(path, config), metric)
    return None


def _refined(
    find_map: MapSource, check: Check, source: Path, photo: Photo, notify: Notify
) -> Mapped:
    """The map of another source with the outlines of its photograph."""
    mapped = find_map(source, photo, notify)
    if mapped.map is None:
        return mapped
    with files.naming(source):
        check(mapped.photo, mapped.map)
    disparity, size = mapped.map.disparity, mapped.photo.image.shape[:2]
    if any(mine > its for mine, its in zip(disparity.shape, size, strict=True)):
        return mapped
    image = color.encoded(mapped.photo.image, linear=mapped.photo.linear)
    refined = np.asarray(render.refine(disparity, image))
    return mapped._replace(map=mapped.map._replace(disparity=refined))


def _with_matte(find_map: MapSource, source: Path, photo: Photo, notify: Notify) -> Mapped:
    """Takes the portrait matte in a photograph's file for a mask, whatever the map is from."""
    mapped = find_map(source, photo, notify)
    try:
        found = own_depth.find_matte(files.read_bytes(source))
        if found is None:
            return mapped
        values, like_sensor = found
        size = mapped.photo.image.shape[:2]
        way = disparity.placed(values, size, photo.orientation, like_sensor=like_sensor)
    except ValueError as error:
        notify(f"d2f: note: {source}: {error}")
        return mapped
    used = "portrait matte used, stays sharp unless --focus names a place"
    notify(f"d2f: note: {source}: {used} (--no-own-depth does without)")
    return mapped._replace(mask=np.ascontiguousarray(way.pixels))


def _from_network(
    model: depth.DepthModel, metric: bool, source: Path, photo: Photo, notify: Notify
) -> Mapped:
    with files.naming(source):
        values = model(np.clip(color.encoded(photo.image, linear=photo.linear), 0, 1))
    return Mapped(photo, DisparityOutput(values, metric=metric))


def _from_file(
    place: Path,
    convention: Convention | None,
    used: dict[Path, Path],
    source: Path,
    photo: Photo,
    notify: Notify,
) -> Mapped:
    place = _beside(place, source, ("", "_depth"), "map")
    other = used.setdefault(place, source)
    if other.parent != source.parent:  # a.heic and a.jpg of one folder are one picture
        raise ValueError(
            f"{source}: its map {place} is that of {other}; give the maps the photographs' folders"
        )
    stored = depth_io.read_map(place)
    if stored.name in ("depth", "Z") and not (convention or stored.convention):
        what = f"{stored.name} is taken for disparity, greater = nearer"
        notify(f"d2f: note: {place}: {what}; if it is distance, add --convention metres")
    with files.naming(place):
        made = to_disparity(stored._replace(convention=convention or stored.convention))
        way = disparity.placed(
            made.disparity, photo.image.shape[:2], photo.orientation, like_sensor=False
        )
    if made.notice:
        notify(f"d2f: note: {place}: {made.notice}")
    if made.holes:
        holes = files.counted(made.holes, "pixel")
        notify(f"d2f: note: {place}: {holes} without a measurement, filled from beside")
    (height, width), (rows, columns) = photo.image.shape[:2], way.pixels.shape
    if way.pixels.shape != made.disparity.shape:
        notify(f"d2f: note: {place}: turned like the photograph")
    elif way.ambiguous:
        notify(f"d2f: note: {place}: taken as upright, though the photograph was turned")
    if (height, width) != (rows, columns):
        sizes = f"{columns}x{rows} pixels, resized to the photograph's {width}x{height}"
        notify(f"d2f: note: {place}: {sizes}")
    return Mapped(photo, made._replace(disparity=way.pixels))


def _of_the_original(map_of: MapSource) -> MapSource:
    """Takes a map for the sharp photograph that a phone kept in the file, if it kept one."""

    def source(path: Path, photo: Photo, notify: Notify) -> Mapped:
        try:
            found = own_depth.find(files.read_bytes(path))
            sharp = photo if found is None else _with_original(photo, found)
        except ValueError:  # depth that cannot be used is not asked for
            sharp = photo
        if sharp is not photo:
            used = "the sharp original inside used (--no-own-depth takes the picture itself)"
            notify(f"d2f: note: {path}: {used}")
        return map_of(path, sharp, notify)

    return source


def _with_original(photo: Photo, found: own_depth.OwnDepth) -> Photo:
    """The sharp original of a photograph, turned like it, if its file holds one of its size."""
    if found.original is None or found.original.image.size < photo.image.size:
        return photo
    image = disparity.placed(
        found.original.image,
        photo.image.shape[:2],
        photo.orientation,
        like_sensor=found.original.orientation == 1,
    ).pixels
    tags = exif.cleaned(exif.parse(photo.exif), image.shape[:2])
    return photo._replace(image=np.ascontiguousarray(image), exif=tags, alpha=None)


def mask(place: Path, source: Path, photo: Photo) -> Float[np.ndarray, "h w"]:
    """Reads what must stay sharp: the opacity of a cut-out, or a picture that is white there.

    Args:
      place: The picture, or a folder with one of the photograph's name.
      source: The photograph's file.
      photo: The photograph.

    Returns:
      It in [0, 1], upright, at any size.

    Raises:
      ValueError: if there is no such picture, it is in colour and opaque, of another shape than the
        photograph, or holds nothing.
    """
    place = _beside(place, source, ("", "_mask"), "mask")
    picture = image_io.read_photo(place)
    with files.naming(place):
        values = depth_io.grey(picture) if picture.alpha is None else picture.alpha
        size = photo.image.shape[:2]
        way = disparity.placed(values, size, photo.orientation, like_sensor=False)
        if not (way.pixels > 0.5).any():
            raise ValueError("nothing is white (or opaque) in this mask")
    return np.ascontiguousarray(way.pixels)


def _beside(place: Path, source: Path, ends: tuple[str, ...], what: str) -> Path:
    """The file itself, or the one in a folder that has the photograph's name.

    In the subfolder that the photograph lies in, as far as the folder has it: of `a/b/p.jpg` in
    `b`, else in the folder itself.
    """
    if not place.is_dir():
        return place
    parents = source.absolute().parent.parts
    below = (place.joinpath(*parents[start:]) for start in range(1, len(parents)))
    names = [source.stem + end + suffix for end in ends for suffix in depth_io.SUFFIXES]
    itself = files.identity(source)
    for folder in (*below, place):
        for name in names if folder.is_dir() else ():
            if (folder / name).is_file() and files.identity(folder / name) != itself:
                return folder / name
    raise ValueError(f"{source}: no {what} {source.stem}.* in {place}")


def _from_itself(source: Path, photo: Photo, notify: Notify) -> Mapped:
    """Uses the depth in a photograph's file; what cannot be used is said, and done without."""
    try:
        found = own_depth.find(files.read_bytes(source))
        if found is None:
            return Mapped(photo)
        made = to_disparity(found.map)
        if made.disparity.min() == made.disparity.max():
            raise ValueError("the depth inside is the same everywhere")
        size = photo.image.shape[:2]
        way = disparity.placed(
            made.disparity, size, photo.orientation, like_sensor=found.like_sensor
        )
        photo = _with_original(photo, found)
    except ValueError as error:
        notify(f"d2f: note: {source}: {error}")
        return Mapped(photo)
    rows, columns = way.pixels.shape
    used = f"{found.kind} used, {columns}x{rows} pixels{described(made)}"
    also = "" if found.original is None else ", with the sharp original"
    notify(f"d2f: note: {source}: {used}{also} (--no-own-depth does without)")
    return Mapped(photo, made._replace(disparity=way.pixels))


def described(made: DisparityOutput) -> str:
    """The range of a map in 1/m in words; nothing for others."""
    if not made.metric:
        return ""
    low, high = (float(value) for value in (made.disparity.min(), made.disparity.max()))
    far = f"{1 / low:.3g} m" if low > 1e-6 else "infinity"
    return f", {1 / high:.3g} m to {far}" if high > 1e-6 else ""


def to_disparity(stored: DepthMap) -> DisparityOutput:
    """Turns a stored map into disparity by its convention, or as disparity if it has none.

    The steps of pictures of 8 bits are smoothed (`disparity.without_steps`).

    Raises:
      ValueError: as `disparity.to_disparity`.
    """
    convention = stored.convention or "disparity"
    values = stored.values
    if convention == "millimetres":  # counted, where others are shares of the whole
        values = np.rint(values * stored.levels) if stored.levels > 1 else values
    if stored.levels == 255:
        values = disparity.without_steps(values)
    return disparity.to_disparity(values, convention)
