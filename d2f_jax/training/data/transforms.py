"""Paired transforms of training samples: callables of a sample and a random generator.

A sample is a dict of numpy arrays: `image`, `bokeh` (`h w 3`, sRGB in [0, 1]) and, where known,
the maps `disparity` and `defocus` (`h w`) and scalars. Whatever is done to the picture is done to
its partner and maps. The loader gives each sample a generator that depends on the seed and on the
sample's place in the whole order alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from d2f_jax.training.data import photos

Sample = dict[str, np.ndarray]
Transform = Callable[[Sample, np.random.Generator], Sample]

PICTURES = ("image", "bokeh")


@dataclass(frozen=True, kw_only=True)
class RandomCrop:
    """Cuts the same random window of `size` (height, width) out of pictures and maps.

    Raises ValueError for a sample that is smaller than the window.
    """

    size: tuple[int, int]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Crops one sample."""
        spare = [have - want for have, want in zip(_size(sample), self.size, strict=True)]
        if min(spare) < 0:
            raise ValueError(
                f"a crop of {self.size[0]}x{self.size[1]} does not fit into a sample of "
                f"{_size(sample)[0]}x{_size(sample)[1]}: crop less or resize first"
            )
        top, left = (int(rng.integers(0, room + 1)) for room in spare)
        window = np.s_[top : top + self.size[0], left : left + self.size[1]]
        return {name: value[window] if value.ndim else value for name, value in sample.items()}


@dataclass(frozen=True, kw_only=True)
class RandomFlip:
    """Mirrors pictures and maps left to right, half of the time."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Flips one sample or leaves it."""
        if rng.random() < 0.5:
            return sample
        return {
            name: np.ascontiguousarray(value[:, ::-1]) if value.ndim else value
            for name, value in sample.items()
        }


@dataclass(frozen=True, kw_only=True)
class RandomExposure:
    """Makes both pictures brighter or darker by up to `stops` stops, in linear light."""

    stops: float = 0.3

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Changes the exposure of one sample."""
        gain = np.float32(2 ** rng.uniform(-self.stops, self.stops))
        changed = {name: photos.encode(gain * photos.decode(sample[name])) for name in PICTURES}
        return sample | changed


@dataclass(frozen=True, kw_only=True)
class Resize:
    """Resizes pictures and maps to `size` (height, width), antialiased; `blur` [px] follows."""

    size: tuple[int, int]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Resizes one sample."""
        height, _ = _size(sample)
        resized = {
            name: resize(value, self.size) if value.ndim else value
            for name, value in sample.items()
        }
        if "blur" in resized:
            resized["blur"] = np.asarray(resized["blur"] * self.size[0] / height, np.float32)
        return resized


def resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a float picture `h w c` or map `h w` with Pillow's antialiased bilinear filter."""
    if picture.ndim == 2:
        image = Image.fromarray(np.asarray(picture, np.float32))
        return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))
    return np.stack([resize(plane, size) for plane in np.moveaxis(picture, -1, 0)], -1)


def _size(sample: Sample) -> tuple[int, int]:
    height, width = sample["image"].shape[:2]
    return height, width
