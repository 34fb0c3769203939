"""Where the disparity map of a photograph comes from: a file, or a depth network."""

import functools
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from d2f_jax import color, files
from d2f_jax.photo import depth, depth_io, focus
from d2f_jax.photo.image_io import Photo
from d2f_jax.photo.settings import Convention, Settings

MapSource = Callable[[Path, Photo, Callable[[str], None]], Float[np.ndarray, "h w"]]
"""From a photograph's file, the photograph and a way to tell the user something, to its map."""


def find(settings: Settings) -> MapSource | None:
    """The source that the settings name; None if they name none.

    Raises:
      ValueError: if they name two, or a depth network that cannot be loaded.
    """
    if settings.disparity is not None and settings.depth_model is not None:
        raise ValueError("--disparity and --depth-model both give a map: name one of them")
    if settings.disparity is not None:
        return functools.partial(_from_file, settings.disparity, settings.convention)
    if settings.depth_model is not None:
        return functools.partial(_from_network, depth.load_onnx(settings.depth_model))
    return None


def _from_network(
    model: depth.DepthModel, source: Path, photo: Photo, notify: Callable[[str], None]
) -> Float[np.ndarray, "h w"]:
    image = jnp.clip(jnp.asarray(photo.image), 0, 1)
    with files.naming(source):
        return model(np.asarray(color.linear_to_srgb(image) if photo.linear else image))


def _from_file(
    place: Path,
    convention: Convention,
    source: Path,
    photo: Photo,
    notify: Callable[[str], None],
) -> Float[np.ndarray, "h w"]:
    if place.is_dir():
        named = (place / (source.stem + suffix) for suffix in depth_io.SUFFIXES)
        itself = files.identity(source)
        matching = [p for p in named if p.is_file() and files.identity(p) != itself]
        if not matching:
            raise ValueError(f"{source}: no map {source.stem}.* in {place}")
        place = matching[0]
    values = depth_io.read_disparity(place)
    holes = int((~np.isfinite(values)).sum())
    with files.naming(place):
        values = depth_io.fill_holes(values)
        values, notice = focus.to_disparity(values, convention)
    if notice:
        notify(f"d2f: note: {place}: {notice}")
    if holes:
        notify(f"d2f: note: {place}: {holes} NaN or infinite values, filled from beside them")
    (height, width), (rows, columns) = photo.image.shape[:2], values.shape
    if (height, width) != (rows, columns):
        sizes = f"{columns}x{rows} pixels, resized to the photograph's {width}x{height}"
        notify(f"d2f: note: {place}: {sizes}")
    return values
