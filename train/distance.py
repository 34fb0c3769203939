"""How well a defocus map follows distances, and what it keeps sharp: figures for `held_out`."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float
from scipy import ndimage

from d2f_jax.photo import depth_io, image_io, map_sources
from d2f_jax.photo.settings import MapSettings
from d2f_jax.training.data import layouts, photos, synthetic

SHARP = 0.1
"""Defocus up to which a place counts as sharp."""

LEAST = 0.05
"""Share of the picture that is taken for the sharp part where less is below `SHARP`."""


class Known(NamedTuple):
    """A picture whose disparity is known."""

    name: str
    image: Float[np.ndarray, "h w 3"]
    disparity: Float[np.ndarray, "p q"]


def rank_correlation(
    defocus: Float[np.ndarray, "h w"], disparity: Float[np.ndarray, "h w"]
) -> float:
    """Spearman's correlation of defocus and distance from the focus, beyond the sharp part.

    The focus is where the map is sharp: the median disparity of what is below `SHARP`, or of the
    least blurred twentieth where that is less. Distance is the absolute difference of disparity
    from it, to which the blur of a lens is proportional.

    Returns:
      The correlation over all other pixels; 0 where the map or the distance is constant there, or
      less than a hundredth of the picture is left.
    """
    sharp = defocus <= max(SHARP, float(np.quantile(defocus, LEAST)))
    focus = float(np.median(disparity[sharp]))
    ours, true = defocus[~sharp], np.abs(disparity - focus)[~sharp]
    if ours.size < 0.01 * defocus.size or np.ptp(ours) == 0 or np.ptp(true) == 0:
        return 0.0
    return float(scipy.stats.spearmanr(ours, true).statistic)


def traced(folder: Path) -> Iterator[Known]:
    """Path-traced scenes: subfolders with all_in_focus.png and disparity.npz.

    Raises:
      ValueError: if there are none, or one cannot be read.
    """
    found = sorted(folder.glob("*/all_in_focus.png"))
    if not found:
        raise ValueError(f"{folder}: no subfolder holds an all_in_focus.png")
    for path in found:
        values = depth_io.read_disparity(path.parent / "disparity.npz")
        yield Known(path.parent.name, photos.read(path), values)


def measured(folder: Path) -> Iterator[Known]:
    """Photographs with measured depth: inside of them, or in a file beside.

    NAME.jpg may come with NAME_disparity.png (near = bright), and NAME-image.jpg with
    NAME-depth.jpg (near = dark).

    Raises:
      ValueError: if there are none, or one cannot be read.
    """
    count = 0
    inside = map_sources.find(MapSettings())
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in (".jpg", ".heic") or path.stem.endswith("-depth"):
            continue
        beside = path.with_name(f"{path.stem}_disparity.png")
        dark = path.with_name(path.name.replace("-image", "-depth"))
        photo = image_io.read_photo(path)
        if beside.exists():
            values = depth_io.read_disparity(beside)
        elif dark != path and dark.exists():
            values = 1 - photos.read(dark).mean(-1)
        else:
            mapped = inside(path, photo, lambda line: None)
            if mapped.map is None:
                continue
            photo, values = mapped.photo, mapped.map.disparity
        count += 1
        yield Known(path.stem, reduced(photo.image), values)
    if not count:
        raise ValueError(f"{folder}: no photograph with measured depth")


def drawn(paths: tuple[Path, ...], table: dict[str, layouts.Layout]) -> Iterator[Known]:
    """Photographs of a table of layouts, with what was drawn of them."""
    for path in paths:
        if path.name in table:
            image = photos.read(path)
            yield Known(path.stem, image, table[path.name].disparity(image.shape[:2]))


def people(
    folder: Path, table: dict[str, layouts.Layout]
) -> Iterator[tuple[str, Float[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]]:
    """Photographs of a folder with people outlined by a table: name, picture, where they are."""
    for name, layout in table.items():
        if (folder / name).exists():
            image = photos.read(folder / name)
            yield Path(name).stem, image, layout.disparity(image.shape[:2]) > 0


def blurred_share(
    defocus: Float[np.ndarray, "h w"], inside: Bool[np.ndarray, "h w"], theta: float
) -> float:
    """Share of a part of the picture whose defocus is beyond theta / 2, the edge of outlines."""
    return float((defocus[inside] > theta / 2).mean())


def outline_error(
    defocus: Float[np.ndarray, "h w"], matte: Bool[np.ndarray, "h w"], theta: float
) -> float:
    """Share of wrong pixels near a matte's edge: sharp outside of it, or blurred within.

    Near is up to 3 % of the long side; half of that would be wrong by chance.
    """
    reach = 2 * round(0.03 * max(matte.shape)) + 1
    grown, shrunk = ndimage.maximum_filter(matte, reach), ndimage.minimum_filter(matte, reach)
    wrong = (defocus < theta / 2) != matte
    return float(wrong[grown & ~shrunk].mean())


def reduced(image: Float[np.ndarray, "h w 3"], side: int = 1536) -> Float[np.ndarray, "p q 3"]:
    """A picture of no more than this long side [px]; the network sees less of it anyway."""
    scale = side / max(image.shape)
    if scale >= 1:
        return image
    size = round(scale * image.shape[0]), round(scale * image.shape[1])
    return np.clip(synthetic.resized(image, size), 0, 1)
