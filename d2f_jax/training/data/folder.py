"""Folders of picture pairs: which of the known layouts they have, whether they are whole, a source.

EBB! and the data sets made like it lie on disk in as many ways as there are projects. A pair is an
all-in-focus picture and its wide-aperture partner of the same name.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, SupportsIndex

import numpy as np

from d2f_jax.training.data import photos


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A way in which pairs lie on disk.

    Attributes:
      name: Who uses it.
      parts: Folders below the root that may hold pairs; "" is the root itself.
      image: Folder of all-in-focus pictures in a part, or the ending of their names.
      bokeh: The same of their partners.
      endings: True when both lie in one folder and differ by the ending of their names.
    """

    name: str
    parts: tuple[str, ...]
    image: str
    bokeh: str
    endings: bool = False

    def __str__(self) -> str:
        parts = "".join(f"{part}/" for part in self.parts if part)
        if len(self.parts) > 1:
            parts = "{" + ",".join(self.parts) + "}/"
        if self.endings:
            return f"{parts}<name>{self.image}.jpg, {parts}<name>{self.bokeh}.jpg"
        return f"{parts}{{{self.image},{self.bokeh}}}/<name>.jpg"


LAYOUTS = (
    Layout(name="challenge", parts=("Training",), image="original", bokeh="bokeh"),
    Layout(name="PyNET", parts=("train", "test"), image="original", bokeh="bokeh"),
    Layout(name="Bokehlicious", parts=("train", "validation", "test"), image="in", bokeh="gt"),
    Layout(name="BokehDiff", parts=("",), image="input", bokeh="bokeh"),
    Layout(name="plain", parts=("",), image="original", bokeh="bokeh"),
    Layout(name="EBokehNet", parts=("",), image="_src", bokeh="_tgt", endings=True),
)
"""All layouts that are recognised, tried in this order."""


class Pair(NamedTuple):
    """One pair: its name, the part it lies in, and its two files."""

    name: str
    part: str
    image: Path
    bokeh: Path


class Found(NamedTuple):
    """What a folder holds: its layout, the whole pairs in order, and pictures without a partner."""

    layout: Layout
    pairs: tuple[Pair, ...]
    lonely: tuple[Path, ...]


def find_pairs(root: str | Path) -> Found:
    """Recognises the layout of a folder and lists its pairs; reads no picture.

    Raises:
      ValueError: if there is no such folder, no known layout in it, or no pair.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder")
    for layout in LAYOUTS:
        pairs, lonely = [], []
        for part in layout.parts:
            found = _matched(root / part, layout, part)
            pairs += found[0]
            lonely += found[1]
        if pairs:
            return Found(layout, tuple(pairs), tuple(lonely))
    known = "; ".join(f"{layout} ({layout.name})" for layout in LAYOUTS)
    raise ValueError(f"{root} holds no pairs in any known layout: {known}")


def check_pairs(found: Found, *, threads: int = 4) -> list[str]:
    """Reads every picture and lists all that is wrong: no partner, other size, unreadable."""
    faults = [f"{path} has no partner" for path in found.lonely]
    with ThreadPoolExecutor(threads) as pool:
        for wrong in pool.map(_faults, found.pairs):
            faults += wrong
    return faults


def require_sound(found: Found) -> None:
    """Checks all pairs.

    Raises:
      ValueError: with everything that is wrong, one line each.
    """
    photos.refuse(check_pairs(found), "the data set")


class FolderSource:
    """Pairs of a folder as samples: dicts of `image` and `bokeh`, float32 `h w 3` in [0, 1]."""

    def __init__(self, pairs: Sequence[Pair]):
        """Takes the pairs of `find_pairs`, or some of them."""
        self.pairs = tuple(pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: SupportsIndex) -> dict[str, np.ndarray]:
        pair = self.pairs[index]
        image, bokeh = photos.read(pair.image), photos.read(pair.bokeh)
        if image.shape != bokeh.shape:
            raise ValueError(_other_size(pair, image.shape[:2], bokeh.shape[:2]))
        return {"image": image, "bokeh": bokeh}


def _matched(folder: Path, layout: Layout, part: str) -> tuple[list[Pair], list[Path]]:
    if layout.endings:
        images, bokehs = _by_name(folder, layout.image), _by_name(folder, layout.bokeh)
    else:
        images, bokehs = _by_name(folder / layout.image), _by_name(folder / layout.bokeh)
    both = sorted(images.keys() & bokehs.keys(), key=lambda name: photos.order(Path(name)))
    pairs = [Pair(name, part, images[name], bokehs[name]) for name in both]
    lonely = [images[name] for name in sorted(images.keys() - bokehs.keys())]
    lonely += [bokehs[name] for name in sorted(bokehs.keys() - images.keys())]
    return pairs, lonely


def _by_name(folder: Path, ending: str = "") -> dict[str, Path]:
    """Pictures of a folder by their name without the ending and suffix; {} without a folder."""
    if not folder.is_dir():
        return {}
    return {
        path.stem.removesuffix(ending): path
        for path in folder.iterdir()
        if path.suffix.lower() in photos.SUFFIXES and path.stem.endswith(ending)
    }


def _faults(pair: Pair) -> list[str]:
    faults, sizes = [], []
    for path in (pair.image, pair.bokeh):
        try:
            sizes.append(photos.size(path))
        except ValueError as error:
            faults.append(str(error))
    if len(sizes) == 2 and sizes[0] != sizes[1]:
        faults.append(_other_size(pair, *sizes))
    return faults


def _other_size(pair: Pair, image: tuple[int, ...], bokeh: tuple[int, ...]) -> str:
    return (
        f"{pair.image} is {image[0]}x{image[1]} but its partner {pair.bokeh} is "
        f"{bokeh[0]}x{bokeh[1]}"
    )
