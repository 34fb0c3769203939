"""Seeded synthetic training pairs with exact disparity, defocus and focus.

A scene is two to six layers: a far wall or sky, often a slanted ground, and objects (figures,
cards, fences, branches), covered with photographs and cut-outs, or with procedural surfaces when
none are given, and dotted with small lights brighter than white. `thin_lens` takes both pictures.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
from jaxtyping import Float
from PIL import Image

from d2f_jax.render.kernels import PAPER_SIZES
from d2f_jax.training.data import photos, textures
from d2f_jax.training.data.thin_lens import Emitter, Layer, Lens, Plane, photograph, pinhole


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """What synthetic samples look like.

    Attributes:
      size: (height, width) of a sample [px].
      seed: Together with the index decides everything about a sample.
      layers: Fewest and most layers of a scene.
      radius: Smallest and largest blur of a sample: the radius of the circle of confusion at its
        most blurred depth [px]; less where the lens would dip into a steep ground.
      full_radius: Radius at which `defocus` is 1: that of the last kernel. 34 px when a sample is
        taken as a picture of working size, 68 px when it is taken at full size.
      near_focus: Chance that the nearest object is in focus, as in most portraits.
      lights: Chance that a scene has lights brighter than white.
      lens_samples: Points of the aperture that are averaged.
      photos: Photographs to cover surfaces with.
      cutouts: Pictures with an alpha channel to use as objects.
    """

    size: tuple[int, int] = (256, 256)
    seed: int = 0
    layers: tuple[int, int] = (2, 6)
    radius: tuple[float, float] = (6.0, 34.0)
    full_radius: float = 34.0
    near_focus: float = 0.6
    lights: float = 0.6
    lens_samples: int = 64
    photos: tuple[Path, ...] = ()
    cutouts: tuple[Path, ...] = ()

    def __post_init__(self):
        for name in ("photos", "cutouts"):
            if isinstance(getattr(self, name), str | Path):
                raise ValueError(f"{name} takes files, e.g. tuple(photos.listed(folder))")
        fewest, most = self.layers
        if min(self.size) < 16:
            raise ValueError(f"synthetic samples have sides of 16 pixels or more, got {self.size}")
        if not 2 <= fewest <= most:
            raise ValueError(f"a scene has at least 2 layers, fewest first, got {self.layers}")
        if not 0 <= self.radius[0] <= self.radius[1]:
            raise ValueError(f"blur radii are not negative, smallest first, got {self.radius}")


Maker = Callable[[Any, int], dict[str, np.ndarray]]


class Synthetic:
    """A sequence of `length` samples, each made when it is asked for.

    Every sample is a dict of float32 arrays: `image` and `bokeh` (`h w 3`, sRGB in [0, 1]),
    `disparity` (`h w` in [0, 1], 1 = near), `defocus` (`h w` in [0, 1]), and the scalars `focus`
    and `blur` with which the signed circle-of-confusion radius is `blur * (disparity - focus)`
    pixels.
    """

    def __init__(self, config: Any, length: int, *, start: int = 0, make: Maker | None = None):
        """Samples `start ... start + length - 1` of the endless row that the seed decides.

        Args:
          config: What samples look like: `SyntheticConfig`, or what `make` takes.
          length: Number of samples.
          start: Index of the first in the endless row.
          make: Makes the sample of a configuration and an index; `make_sample` when None.
        """
        self.config, self.length, self.start = config, length, start
        self.make = make_sample if make is None else make

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: SupportsIndex) -> dict[str, np.ndarray]:
        position = operator.index(index)
        if not 0 <= position < self.length:
            raise IndexError(f"sample {position} of {self.length}")
        return self.make(self.config, self.start + position)


def make_sample(config: SyntheticConfig, index: int) -> dict[str, np.ndarray]:
    """Makes one sample; see `Synthetic` for what is in it. Same configuration and index, same bits.

    Raises:
      ValueError: if a photograph or cut-out cannot be read.
    """
    rng = np.random.default_rng((config.seed, index))
    radius = rng.uniform(*config.radius)
    margin = int(np.ceil(1.2 * radius)) + 3
    layers = _scene(rng, config, margin)
    image, disparity = pinhole(layers, margin)
    focus = _focus(rng, config, layers, disparity)
    reach = float(np.max(np.abs(disparity - focus)))
    blur = min(radius / max(reach, 1e-3), largest_blur(layers))
    bokeh = photograph(layers, Lens(focus, blur, config.lens_samples), margin, rng)
    return {
        "image": photos.encode(image),
        "bokeh": photos.encode(bokeh),
        "disparity": disparity,
        "defocus": defocus_of(blur * (disparity - focus), full_radius=config.full_radius),
        "focus": np.asarray(focus, np.float32),
        "blur": np.asarray(blur, np.float32),
    }


def defocus_of(
    coc_radius: Float[np.ndarray, "*s"], *, full_radius: float = 34.0
) -> Float[np.ndarray, "*s"]:
    """D2F's defocus for a circle-of-confusion radius [px]: the place of its kernel in the bank.

    The kernels of the paper (Eq. 14) do not grow evenly, so neither does the map: kernel i of 15
    has the radius `PAPER_SIZES[i] // 2` and the defocus i / 14.

    Args:
      coc_radius: Radius, signed or not [px].
      full_radius: Radius of the last kernel in the same pixels.
    """
    radii = np.array(PAPER_SIZES) // 2 * (full_radius / (PAPER_SIZES[-1] // 2))
    levels = np.linspace(0, 1, len(radii))
    return np.interp(np.abs(coc_radius), radii, levels).astype(np.float32)


def _scene(rng: np.random.Generator, config: SyntheticConfig, margin: int) -> list[Layer]:
    """Layers from back to front on canvases with a margin."""
    height, width = config.size
    size = height + 2 * margin, width + 2 * margin
    count = int(rng.integers(config.layers[0], config.layers[1] + 1)) - 1
    far = rng.uniform(0, 0.25)
    nearness = np.sort(rng.uniform(far + 0.15, 1, count))
    exposure = rng.uniform(0.05, 0.4) if rng.random() < 0.35 else rng.uniform(0.6, 1.2)

    ground = None
    if rng.random() < 0.5:
        horizon = margin + height * rng.uniform(0.3, 0.6)
        slope = (rng.uniform(0.75, 1) - far) / (margin + height - horizon)
        ground = Ground(_cover(rng, config, size), horizon, far, slope)
        wall = Plane(far)
    else:
        # A wall seen at an angle; its nearest part stays behind the first object.
        tilt = rng.choice([0.0, 0.1]) * rng.uniform(-1, 1)
        wall = Plane(far + 0.05 - tilt / 2, 0.0, tilt / size[1])
    layers = [Layer(_cover(rng, config, size), np.ones(size, np.float32), wall)]

    top = 0 if ground is None else int(ground.horizon)
    for disparity in nearness:
        color, alpha = _object(rng, config, size)
        if ground is not None:
            # Objects stand on the ground: they are lifted to where it is as near as they are, and
            # the part of it that is nearer lies in front of them.
            foot = min(ground.row_of(disparity), size[0])
            layers.append(ground.strip(top, foot))
            color, alpha = _lifted(color, size[0] - foot), _lifted(alpha, size[0] - foot)
            top = foot
        layers.append(Layer(color, alpha, Plane(float(disparity))))
    if ground is not None and top < size[0]:
        layers.append(ground.strip(top, size[0]))

    layers = [layer._replace(color=layer.color * np.float32(exposure)) for layer in layers]
    if rng.random() < config.lights:
        layers = with_lights(rng, layers)
    return layers


class Ground(NamedTuple):
    """A plane whose disparity is `far` at the canvas row `horizon` and grows downwards."""

    color: Float[np.ndarray, "3 H W"]
    horizon: float
    far: float
    slope: float

    def row_of(self, disparity: float) -> int:
        """The canvas row at which the ground has a disparity."""
        return int(self.horizon + (disparity - self.far) / self.slope)

    def strip(self, top: int, bottom: int) -> Layer:
        """The layer of the rows from `top` to before `bottom`."""
        alpha = np.zeros(self.color.shape[1:], np.float32)
        alpha[top:bottom] = 1
        return Layer(self.color, alpha, Plane(self.far - self.slope * self.horizon, self.slope))


def _lifted(planes: np.ndarray, rows: int) -> np.ndarray:
    """Moves a canvas (last two axes) up by some rows; zeros come in from below."""
    lifted = np.zeros_like(planes)
    lifted[..., : planes.shape[-2] - rows, :] = planes[..., rows:, :]
    return lifted


def _cover(
    rng: np.random.Generator, config: SyntheticConfig, size: tuple[int, int]
) -> Float[np.ndarray, "3 H W"]:
    """A surface of the canvas's size: a random part of a photograph, or a procedural one."""
    if not config.photos:
        return textures.surface(rng, size)
    picture = photos.read(config.photos[rng.integers(len(config.photos))])
    color = photos.decode(resized_part(rng, picture, size))
    # Photographs are clipped where they are brightest; some of their light is given back.
    color *= 1 + rng.uniform(0, 4) * np.clip((color.min(-1, keepdims=True) - 0.8) / 0.2, 0, 1)
    if rng.random() < 0.5:
        color = color[:, ::-1]
    return np.ascontiguousarray(color.transpose(2, 0, 1), np.float32)


def _object(
    rng: np.random.Generator, config: SyntheticConfig, size: tuple[int, int]
) -> tuple[Float[np.ndarray, "3 H W"], Float[np.ndarray, "H W"]]:
    """Colour and alpha of an object on an otherwise empty canvas."""
    if not config.cutouts:
        return _cover(rng, config, size), textures.outline(rng, size)
    picture, alpha = photos.read_cutout(config.cutouts[rng.integers(len(config.cutouts))])
    scale = rng.uniform(0.4, 0.9) * min(size[0] / alpha.shape[0], size[1] / alpha.shape[1])
    height, width = (max(2, int(scale * side)) for side in alpha.shape)
    pixels = np.concatenate([photos.decode(picture) * alpha[..., None], alpha[..., None]], -1)
    pixels = resized(pixels, (height, width))
    top, left = size[0] - height, int(rng.integers(0, size[1] - width + 1))
    canvas = np.zeros((*size, 4), np.float32)
    canvas[top : top + height, left : left + width] = pixels
    alpha = np.clip(canvas[..., 3], 0, 1)
    color = canvas[..., :3] / np.maximum(canvas[..., 3:], 1e-3)
    return np.ascontiguousarray(color.transpose(2, 0, 1)), alpha


def with_lights(rng: np.random.Generator, layers: list[Layer]) -> list[Layer]:
    """Puts lights on one or two layers, where these are opaque."""
    chosen = rng.choice(len(layers), size=min(2, len(layers)), replace=False)
    lit = list(layers)
    for position in {0, int(chosen[0])} if rng.random() < 0.7 else chosen.tolist():
        layer = layers[position]
        rows, columns = np.nonzero(layer.alpha > 0.99)
        if rows.size == 0:
            continue
        emitters = []
        strength = np.exp(rng.uniform(np.log(4), np.log(80)))
        for place in rng.integers(rows.size, size=int(rng.integers(4, 36))):
            warmth = rng.normal(0, 0.35)
            tint = np.array([np.exp(warmth), 1, np.exp(-warmth)]) / np.exp(abs(warmth))
            emitters.append(
                Emitter(
                    float(rows[place] + rng.random() - 0.5),
                    float(columns[place] + rng.random() - 0.5),
                    float(rng.uniform(0.7, 2.2)),
                    np.asarray(strength * rng.uniform(0.3, 1) * tint, np.float32),
                )
            )
        lit[position] = layer._replace(emitters=tuple(emitters))
    return lit


def largest_blur(layers: list[Layer]) -> float:
    """The blur at which the rim of the lens is still well above every slanted plane.

    Moving by one pixel along a plane changes the radius by `blur * slope`; where that reaches 1,
    a point of the rim lies in the plane.
    """
    steepest = max(np.hypot(layer.plane.slope_y, layer.plane.slope_x) for layer in layers)
    return 0.6 / max(float(steepest), 1e-9)


def _focus(
    rng: np.random.Generator,
    config: SyntheticConfig,
    layers: list[Layer],
    disparity: Float[np.ndarray, "h w"],
) -> float:
    """Disparity in focus: the nearest object, or that of a random pixel."""
    flat = [layer.plane.level for layer in layers[1:] if layer.plane.slope_y == 0]
    if flat and rng.random() < config.near_focus:
        return max(flat)
    return float(disparity[tuple(rng.integers(disparity.shape))])


def resized_part(
    rng: np.random.Generator, picture: Float[np.ndarray, "h w c"], size: tuple[int, int]
) -> Float[np.ndarray, "H W c"]:
    """A random part of the picture with the canvas's proportions, resized to the canvas."""
    return resized(picture[random_part(rng, picture.shape[:2], size)], size)


def random_part(
    rng: np.random.Generator, whole: tuple[int, int], size: tuple[int, int]
) -> tuple[slice, slice]:
    """Rows and columns of a random part of a picture, in the proportions of another size."""
    largest = min(whole[0] / size[0], whole[1] / size[1])
    scale = largest * rng.uniform(0.5, 1)
    height, width = (max(1, int(scale * side)) for side in size)
    top = int(rng.integers(0, whole[0] - height + 1))
    left = int(rng.integers(0, whole[1] - width + 1))
    return slice(top, top + height), slice(left, left + width)


def resized(picture: Float[np.ndarray, "h w c"], size: tuple[int, int]) -> np.ndarray:
    """Resizes each channel with Pillow's antialiased bilinear filter."""
    channels = [
        np.asarray(Image.fromarray(channel).resize(size[::-1], Image.Resampling.BILINEAR))
        for channel in np.moveaxis(picture, -1, 0).astype(np.float32)
    ]
    return np.stack(channels, -1)
