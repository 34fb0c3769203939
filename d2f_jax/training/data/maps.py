"""Pictures with known defocus maps for the network that imagines them: no lens takes part.

Five kinds: scenes cast by `rooms`; photographs with a layout drawn by eye, alone or with cut-out
subjects standing in them (`layouts`); subjects in their own photographs, of whose background, where
it was not drawn, only that it is not in focus is known; and the composites of stage 1.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from d2f_jax.training.data import (
    composites,
    layouts,
    photos,
    room_scenes,
    rooms,
    synthetic,
    textures,
)

OUT_OF_FOCUS = 0.35
"""Defocus that a background at an unknown distance has at least."""

_COMPOSITE_RADIUS = 0.05
"""Radius of the last kernel over the long side of composites, as stage 1 has them."""

_TEXTURE_SIDE = 256


@dataclass(frozen=True, kw_only=True)
class MapsConfig:
    """What samples look like.

    Attributes:
      size: (height, width) [px].
      seed: Together with the index decides everything about a sample.
      subjects: Photographs with mattes.
      scenes: Photographs without a near subject, for surfaces.
      drawn: Scenes with their layouts, as pairs.
      own: Layouts of subjects' own photographs by file name, each with its subject; of those that
        are not named only that the background is not in focus is known.
      kinds: Shares of cast scenes, drawn photographs with subjects, drawn photographs alone,
        subjects in their own photographs, composites.
      amount: Radius of the largest blur over that of the last kernel, where a subject is in focus
        and where not.
      dolls: Chance that a subject is not cut from a photograph but a textured shape: half of them
        people, with head and shoulders.
    """

    size: tuple[int, int] = (192, 256)
    seed: int = 0
    subjects: tuple[composites.Subject, ...]
    scenes: tuple[Path, ...]
    drawn: tuple[tuple[Path, layouts.Layout], ...]
    own: Mapping[str, layouts.Layout] = field(default_factory=dict)
    kinds: tuple[float, float, float, float, float] = (0.3, 0.2, 0.1, 0.2, 0.2)
    amount: tuple[float, float] = (0.9, 0.4)
    dolls: float = 0.25


def make_sample(config: MapsConfig, index: int) -> dict[str, np.ndarray]:
    """Makes `image` (`h w 3`, sRGB in [0, 1]) and `defocus` (`h w`).

    Defocus is in [0, 1] where it is known; a negative value -v says that it is v or more.

    Raises:
      ValueError: if a photograph or matte cannot be read.
    """
    rng = np.random.default_rng((config.seed, index))
    kind = int(rng.choice(5, p=config.kinds))
    if kind == 4:
        return _composite(rng, config)
    if kind == 3:
        return _own(rng, config)
    if kind == 0:
        found = _cast(rng, config)
    else:
        found = _drawn(rng, config, subjects=int(rng.integers(1, 4)) if kind == 1 else 0)
    image, disparity, alphas = found
    if rng.random() < 0.5:
        image, disparity = image[:, ::-1], disparity[:, ::-1]
        alphas = [(alpha[:, ::-1], near) for alpha, near in alphas]
    focus, subject = rooms.focused(rng, disparity, alphas)
    return {
        "image": rooms.finish(rng, image),
        "defocus": target(disparity, focus, config.amount[0 if subject else 1]),
    }


def target(
    disparity: Float[np.ndarray, "h w"], focus: float, amount: float
) -> Float[np.ndarray, "h w"]:
    """The defocus map of a disparity map whose farthest point from the focus has this blur.

    Args:
      disparity: On any affine scale.
      focus: What is sharp.
      amount: Radius of the largest blur over that of the last kernel.
    """
    away = np.abs(disparity - focus)
    reach = max(float(away.max()), 1e-6)
    return synthetic.defocus_of(amount * away / reach, full_radius=1.0)


def drawn_scenes(
    scenes: tuple[Path, ...], table: dict[str, layouts.Layout]
) -> tuple[tuple[Path, layouts.Layout], ...]:
    """Those of the photographs that a table of layouts describes."""
    return tuple((path, table[path.name]) for path in scenes if path.name in table)


def _cast(rng: np.random.Generator, config: MapsConfig) -> tuple:
    scene, view = room_scenes.scene(
        rng,
        config.size,
        lambda: _texture(rng, config),
        lambda: _cutout(rng, config),
    )
    made = rooms.cast(scene, view, rng)
    alphas = []
    for number in scene.subjects:
        shown = made.quad == number
        if shown.any():
            alphas.append((shown.astype(np.float32), float(np.median(made.disparity[shown]))))
    return made.image, made.disparity, alphas


def _drawn(rng: np.random.Generator, config: MapsConfig, *, subjects: int) -> tuple:
    path, layout = config.drawn[rng.integers(len(config.drawn))]
    picture = composites.shrunk(path)
    disparity = layout.disparity(picture.shape[:2])
    part = synthetic.random_part(rng, disparity.shape, config.size)
    image, disparity = synthetic.resized(picture[part], config.size), disparity[part]
    rows, columns = (
        (np.arange(n) * m // n) for n, m in zip(config.size, disparity.shape, strict=True)
    )
    disparity = disparity[np.ix_(rows, columns)]  # no values between those of two things
    placed = layouts.place(rng, image, disparity, lambda: _cutout(rng, config), subjects)
    return photos.encode(placed.image), placed.disparity, placed.subjects


def _own(rng: np.random.Generator, config: MapsConfig) -> dict[str, np.ndarray]:
    subject = config.subjects[rng.integers(len(config.subjects))]
    layout = config.own.get(subject.photo.name)
    planes = [] if layout is None else [_layout_of(subject, layout)[..., None]]
    color, alpha, drawn = composites.window(rng, subject, config.size, *planes)
    inside = alpha > 0.5
    if layout is not None and inside.any():
        disparity = drawn[..., 0]
        defocus = target(disparity, float(np.median(disparity[inside])), config.amount[0])
    else:
        defocus = np.where(inside, 0, -OUT_OF_FOCUS).astype(np.float32)
    return {"image": rooms.finish(rng, photos.encode(color)), "defocus": defocus}


@functools.lru_cache(maxsize=256)
def _layout_of(subject: composites.Subject, layout: layouts.Layout) -> Float[np.ndarray, "h w"]:
    """The drawn disparity at the size of `composites.read`."""
    _, matte = composites.read(subject)
    return layout.disparity(matte.shape, matte > 0.5)


def _composite(rng: np.random.Generator, config: MapsConfig) -> dict[str, np.ndarray]:
    radius = _COMPOSITE_RADIUS * max(config.size)
    made = composites.make_sample(
        composites.CompositesConfig(
            size=config.size,
            subjects=config.subjects,
            scenes=config.scenes,
            radius=(0.4 * radius, radius),
            full_radius=radius,
            lens_samples=1,  # the blurred picture is not used
        ),
        int(rng.integers(2**31)),  # numbers of its own: those of the sample have chosen its kind
    )
    return {"image": rooms.finish(rng, made["image"]), "defocus": made["defocus"]}


def _cutout(rng: np.random.Generator, config: MapsConfig) -> layouts.Cutout:
    """Mostly a subject of a photograph; now and then a doll of a person, or a thing."""
    made = rng.random()
    if made > config.dolls:
        return _read_cutout(config.subjects[rng.integers(len(config.subjects))])
    size = (_TEXTURE_SIDE, _TEXTURE_SIDE)
    color = photos.decode(_texture(rng, config).levels[0] / np.float32(255))
    if made > 0.5 * config.dolls:
        alpha = textures.outline(rng, size)
    else:
        alpha = textures.figure(rng, size)
        top = int(np.argmax(alpha.max(1) > 0.5))
        head = top + int(0.29 * (size[0] - top))  # where figures have their neck
        skin = np.array([0.5, 0.28, 0.18]) * rng.uniform(0.2, 1.6)
        shade = 0.6 + 0.8 * textures.noise(rng, size, cells=6, octaves=3)[..., None]
        color[top:head] = (skin * shade)[top:head]
        hair = top + int(rng.uniform(0.02, 0.1) * (size[0] - top))
        color[top:hair] *= 0.15
    return _cropped(color, alpha)


@functools.lru_cache(maxsize=256)
def _read_cutout(subject: composites.Subject) -> layouts.Cutout:
    picture, matte = composites.read(subject)
    return _cropped(picture, matte)


def _cropped(color: Float[np.ndarray, "h w 3"], alpha: Float[np.ndarray, "h w"]) -> layouts.Cutout:
    rows, columns = (np.nonzero(alpha.max(axis) > 0.5)[0] for axis in (1, 0))
    pixels = np.concatenate([color * alpha[..., None], alpha[..., None]], -1, dtype=np.float32)
    pixels = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return layouts.Cutout(pixels, bool((alpha[-1] > 0.5).any()))


def _texture(rng: np.random.Generator, config: MapsConfig) -> rooms.Texture:
    if not config.scenes or rng.random() < 0.2:
        return _procedural(int(rng.integers(60)))
    return _part(config.scenes[rng.integers(len(config.scenes))], int(rng.integers(4)))


@functools.lru_cache(maxsize=512)
def _part(path: Path, number: int) -> rooms.Texture:
    """One of several parts of a photograph, most of them from its lower half."""
    rng = np.random.default_rng(number)
    picture = composites.shrunk(path)
    height, width = picture.shape[:2]
    side = int(min(height, width) * rng.uniform(0.25, 0.7))
    top = int((height - side) * rng.beta(3, 1.5))
    left = int(rng.integers(0, width - side + 1))
    part = synthetic.resized(
        picture[top : top + side, left : left + side], (_TEXTURE_SIDE, _TEXTURE_SIDE)
    )
    return rooms.texture(photos.encode(part))


@functools.lru_cache(maxsize=64)
def _procedural(number: int) -> rooms.Texture:
    surface = textures.surface(np.random.default_rng(number), (_TEXTURE_SIDE, _TEXTURE_SIDE))
    return rooms.texture(photos.encode(surface.transpose(1, 2, 0)))
