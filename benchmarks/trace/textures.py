"""Pictures for the surfaces: free photographs, made ones, or those of a folder; linear light.

Each has an author and a licence, which `meta.json` repeats.
"""

import csv
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import Image

from d2f_jax import color, files

LICENCES = "licences.tsv"
KINDS = {".jpg", ".jpeg", ".png"}


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a picture is from."""

    name: str
    file: str
    origin: str
    author: str
    licence: str


def _sample(name: str, author: str, licence: str) -> Source:
    return Source(
        name, f"{name}.jpg" if name == "rocket" else f"{name}.png", SKIMAGE, author, licence
    )


SKIMAGE = "scikit-image sample data"
SAMPLES = {
    "astronaut": _sample("astronaut", "NASA", "public domain"),
    "brick": _sample("brick", "CC0Textures.com", "CC0-1.0"),
    "chelsea": _sample("chelsea", "Stefan van der Walt", "CC0-1.0"),
    "coffee": _sample("coffee", "Rachel Michetti", "CC0-1.0"),
    "grass": _sample("grass", "linolafett", "CC0-1.0"),
    "gravel": _sample("gravel", "CC0Textures.com", "CC0-1.0"),
    "rocket": _sample("rocket", "SpaceX", "public domain"),
}
OTTER = Source("otter", "otter.jpg", "docs/samples", "Debian package budgie-backgrounds", "CC0-1.0")


@functools.cache
def _decoding() -> np.ndarray:
    return np.asarray(color.srgb_to_linear(jnp.arange(256) / 255))


def decoded(picture: np.ndarray) -> np.ndarray:
    """Linear light of an 8-bit sRGB picture, grey or coloured: `h w 3`."""
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=-1)
    return _decoding()[picture[..., :3]]


def fractal(
    shape: tuple[int, int], random: np.random.Generator, *, power: float = 1.5, stretch: float = 1
) -> np.ndarray:
    """Noise without seams, mean 0, deviation 1; features are `stretch` times as tall as wide."""
    y = np.fft.fftfreq(shape[0])[:, None] * shape[0] * stretch
    x = np.fft.fftfreq(shape[1])[None, :] * shape[0]
    frequency = np.hypot(x, y)
    frequency[0, 0] = np.inf
    spectrum = np.fft.fft2(random.normal(size=shape)) / frequency**power
    noise = np.fft.ifft2(spectrum).real
    return noise / noise.std()


def _mixed(low: tuple, high: tuple, share: np.ndarray) -> np.ndarray:
    share = np.clip(share, 0, 1)[..., None]
    return np.asarray(low) * (1 - share) + np.asarray(high) * share


def landscape(random: np.random.Generator, *, sun: float = 0.0) -> np.ndarray:
    """Sky with clouds, ridges that fade into haze, woods; with a low sun of that radiance."""
    height, width = 576, 768
    y, x = np.mgrid[:height, :width] / height
    clouds = np.clip(0.6 * fractal((height, width), random, power=1.6, stretch=0.3), 0, 1.2)
    if sun:
        picture = _mixed((0.16, 0.30, 0.60), (1.0, 0.68, 0.38), y / 0.55)
        distance = np.hypot(x - 0.78, y - 0.38)
        picture += np.array([1, 0.72, 0.4]) * (1.1 * np.exp(-distance / 0.14))[..., None]
        picture += np.array([1, 0.9, 0.7]) * (sun / (1 + (distance / 0.03) ** 6))[..., None]
        picture += np.array([0.5, 0.35, 0.25]) * (0.4 * clouds * (1 - y))[..., None]
        haze = np.array([0.62, 0.33, 0.16])
    else:
        picture = _mixed((0.13, 0.28, 0.62), (0.62, 0.74, 0.86), y / 0.5)
        picture = picture * (1 - 0.6 * clouds[..., None]) + 0.55 * clouds[..., None]
        haze = np.array([0.40, 0.50, 0.62])
    woods = fractal((height, width), random, power=0.8)
    for index, base in enumerate((0.47, 0.53, 0.58, 0.63)):
        ridge = fractal((1, width), random, power=1.5)[0] * (0.05 - 0.01 * index) + base
        near = (index + 1) / 4
        green = np.array([0.05, 0.09, 0.03]) if not sun else np.array([0.03, 0.025, 0.015])
        rock = green * (1 + 0.5 * np.clip(woods, -1.6, 3)[..., None])
        hill = haze * (1 - near) ** 1.3 + rock * near
        picture = np.where((y > ridge[None, :])[..., None], hill, picture)
    return picture


def night(random: np.random.Generator) -> np.ndarray:
    """A skyline after sunset."""
    height, width = 576, 768
    y, x = np.mgrid[:height, :width]
    clouds = fractal((height, width), random, power=1.7, stretch=0.3)
    picture = _mixed((0.008, 0.014, 0.05), (0.16, 0.09, 0.10), (y / height / 0.68) ** 2)
    picture *= (1 + 0.2 * clouds)[..., None]
    for layer in range(3):
        left = 0
        while left < width:
            wide, top = (
                random.integers(36, 100),
                int(height * random.uniform(0.36, 0.62) + 40 * layer),
            )
            part = np.s_[top:, left : left + wide]
            panes = (y[part] % 14 < 7) & (x[part] % 12 < 6)
            on = random.random((height // 14 + 1, width // 12 + 1)) < 0.3
            on = on[y[part] // 14, x[part] // 12] & panes
            wall = np.array([0.012, 0.013, 0.02]) / (1 + layer)
            picture[part] = np.where(
                on[..., None], random.uniform(0.1, 0.4) * np.array([1, 0.7, 0.35]), wall
            )
            left += wide + random.integers(0, 30)
    return picture


def bark(random: np.random.Generator) -> np.ndarray:
    """Furrows along a stem."""
    noise = fractal((512, 256), random, power=1.0, stretch=5)
    return _mixed((0.025, 0.017, 0.011), (0.20, 0.15, 0.10), 0.45 + 0.25 * noise)


def leaf(random: np.random.Generator) -> np.ndarray:
    """A leaf with its veins."""
    v, u = np.mgrid[:256, :128] / np.array([255, 127])[:, None, None]
    veins = np.abs((v - 0.8 * np.abs(u - 0.5)) * 9 % 1 - 0.5) < 0.06
    light = (np.abs(u - 0.5) < 0.02) | veins
    picture = _mixed(
        (0.05, 0.13, 0.015), (0.16, 0.30, 0.05), 0.4 + 0.2 * fractal((256, 128), random)
    )
    return picture * (1 + 0.7 * light[..., None])


def metal(random: np.random.Generator) -> np.ndarray:
    """Weathered paint."""
    noise = fractal((256, 256), random, power=1.2)
    picture = _mixed((0.12, 0.13, 0.14), (0.30, 0.31, 0.32), 0.5 + 0.2 * noise)
    return np.where((noise > 1.7)[..., None], np.array([0.12, 0.05, 0.02]), picture)


def white(random: np.random.Generator) -> np.ndarray:
    """Radiance 1."""
    return np.ones((4, 4, 3))


MADE: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "bark": bark,
    "landscape": landscape,
    "leaf": leaf,
    "metal": metal,
    "night": night,
    "sunset": lambda random: landscape(random, sun=30.0),
    "white": white,
}


class Textures:
    """Pictures by name, and a note of those that were used.

    Photographs of a folder take the places of the free ones in turn; the astronaut stays, as her
    outline is known, and so do the made textures.
    """

    def __init__(self, seed: int, folder: Path | None = None):
        self.used: dict[str, Source] = {}
        self._seed = seed
        self._folder = folder
        self._own = list_folder(folder) if folder else []

    def __call__(self, name: str) -> np.ndarray:
        """Returns linear light, `h w 3`."""
        if name in MADE:
            self.used[name] = Source(
                name, "", "benchmarks/trace/textures.py", "d2f_jax", "Apache-2.0"
            )
            random = np.random.default_rng([self._seed, sorted(MADE).index(name)])
            return np.maximum(MADE[name](random), 0)
        if self._own and self._folder and name != "astronaut":
            places = sorted({*SAMPLES, "otter"} - {"astronaut"})
            source = self._own[(places.index(name) + self._seed) % len(self._own)]
            self.used[source.name] = source
            return decoded(read(self._folder / source.file))
        if name == "otter":
            self.used[name] = OTTER
            return decoded(read(Path(__file__).parents[2] / OTTER.origin / OTTER.file))
        import skimage.data

        self.used[name] = SAMPLES[name]
        return decoded(getattr(skimage.data, name)())


def read(path: Path) -> np.ndarray:
    """Reads a picture in 8 bits.

    Raises:
      ValueError: if it cannot be read.
    """
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise ValueError(f"{path}: cannot read this picture: {error}") from error


def check_folder(folder: Path) -> None:
    """Reads all of a folder of photographs once, so that none fails later.

    Raises:
      ValueError: as `read` and `list_folder`.
    """
    for source in list_folder(folder):
        read(folder / source.file)


def list_folder(folder: Path) -> list[Source]:
    """The photographs of a folder, in the order of their names, with author and licence.

    Raises:
      ValueError: if there are none, or one is without a line in `licences.tsv`.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder of pictures")
    pictures = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in KINDS)
    if not pictures:
        raise ValueError(f"{folder}: holds no pictures (.jpg, .png)")
    try:
        text = files.read_bytes(folder / LICENCES).decode("utf-8")
    except ValueError:
        raise ValueError(
            f"{folder / LICENCES}: needed, a line for each picture: file, author and licence, "
            "with tabs between"
        ) from None
    rows = {
        row[0]: row[1:] for row in csv.reader(text.splitlines(), delimiter="\t") if len(row) == 3
    }
    missing = [name for name in pictures if name not in rows]
    if missing:
        raise ValueError(f"{folder / LICENCES}: no line (file, author, licence) for {missing[0]}")
    return [Source(Path(name).stem, name, folder.name, *rows[name]) for name in pictures]
