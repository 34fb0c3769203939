"""Seeded training pairs from photographs whose subjects are cut out by mattes.

Either the whole photograph with its own subject in front of its own background, filled in behind
the subject so that nothing of it bleeds, or subjects over the background of another picture. The
ground, where there is one, rises towards the lens through the subject's foot. As in `synthetic`,
`thin_lens` takes both pictures, and the subject is what is in focus.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from PIL import Image

from d2f_jax.render import inpaint
from d2f_jax.training.data import photos, synthetic
from d2f_jax.training.data.thin_lens import Layer, Lens, Plane, photograph, pinhole

_READ_SIDE = 640  # px: photographs are kept at this long side; no sample needs more


class Subject(NamedTuple):
    """A photograph, and the matte of its subject (white = subject) of the same proportions."""

    photo: Path
    matte: Path


class Material(NamedTuple):
    """Photographs with mattes, and photographs without a near subject."""

    subjects: tuple[Subject, ...]
    scenes: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class CompositesConfig:
    """What samples look like.

    Attributes:
      size: (height, width) of a sample [px].
      seed: Together with the index decides everything about a sample.
      subjects: Photographs with mattes.
      scenes: Photographs without a near subject, which serve as backgrounds.
      whole: Chance that a sample is a whole photograph with its own subject.
      camouflage: Chance that a subject takes on the colours of another picture behind it.
      ground: Chance that the background has a ground in front of a far wall.
      radius: Smallest and largest blur of a sample [px], see `synthetic.SyntheticConfig`.
      full_radius: Radius at which `defocus` is 1 [px].
      lights: Chance that lights brighter than white are added to the background.
      lens_samples: Points of the aperture that are averaged.
    """

    size: tuple[int, int] = (256, 384)
    seed: int = 0
    subjects: tuple[Subject, ...]
    scenes: tuple[Path, ...] = ()
    whole: float = 0.5
    camouflage: float = 0.3
    ground: float = 0.6
    radius: tuple[float, float] = (10.0, 34.0)
    full_radius: float = 34.0
    lights: float = 0.3
    lens_samples: int = 32

    def __post_init__(self):
        if not self.subjects:
            raise ValueError("composites need at least one photograph with a matte")
        if not 0 <= self.radius[0] <= self.radius[1]:
            raise ValueError(f"blur radii are not negative, smallest first, got {self.radius}")


def make_sample(config: CompositesConfig, index: int) -> dict[str, np.ndarray]:
    """Makes one sample with the fields of `synthetic.make_sample`.

    Raises:
      ValueError: if a photograph or matte cannot be read.
    """
    rng = np.random.default_rng((config.seed, index))
    radius = rng.uniform(*config.radius)
    margin = int(np.ceil(1.2 * radius)) + 3
    size = config.size[0] + 2 * margin, config.size[1] + 2 * margin
    subject = config.subjects[rng.integers(len(config.subjects))]
    if rng.random() < config.whole or not config.scenes:
        color, alpha, behind = _whole(rng, subject, config.size, margin)
    else:
        color, alpha = _placed(rng, subject, config.size, margin)
        behind = _covering(rng, config.scenes[rng.integers(len(config.scenes))], size)
        if rng.random() < config.camouflage:
            color = _in_colors_of(color, alpha, behind)
    nearness = rng.uniform(0.55, 1)
    layers = _scene(rng, config, (color, alpha), behind, nearness, margin)
    image, disparity = pinhole(layers, margin)
    reach = float(np.max(np.abs(disparity - nearness)))
    blur = min(radius / max(reach, 1e-3), synthetic.largest_blur(layers))
    bokeh = photograph(layers, Lens(nearness, blur, config.lens_samples), margin, rng)
    return {
        "image": photos.encode(image),
        "bokeh": photos.encode(bokeh),
        "disparity": disparity,
        "defocus": synthetic.defocus_of(
            blur * (disparity - nearness), full_radius=config.full_radius
        ),
        "focus": np.asarray(nearness, np.float32),
        "blur": np.asarray(blur, np.float32),
    }


def find_material(folder: str | Path, *, held_out: bool) -> Material:
    """Finds photographs in `subjects`, their mattes of the same names in `mattes`, and `scenes`.

    Args:
      folder: The three subfolders lie here; `scenes` may be missing.
      held_out: Whether to take every fifth file by name, starting with the first, or the others.

    Raises:
      ValueError: if a folder is missing, a subject lacks a matte, or nothing is left to take.
    """
    folder = Path(folder)
    for name in ("subjects", "mattes"):
        if not (folder / name).is_dir():
            hint = "docs/weights.md says how the material is assembled"
            raise ValueError(f"{folder / name} is not a folder; {hint}")
    mattes = {path.stem: path for path in photos.listed(folder / "mattes")}
    pictures = sorted(photos.listed(folder / "subjects"))
    lacking = [path.name for path in pictures if path.stem not in mattes]
    if lacking:
        raise ValueError(f"{folder / 'mattes'}: no matte for {', '.join(lacking[:5])}")
    subjects = [Subject(path, mattes[path.stem]) for path in pictures]
    scenes = sorted(photos.listed(folder / "scenes")) if (folder / "scenes").is_dir() else []

    def chosen(files: list) -> tuple:
        return tuple(f for n, f in enumerate(files) if (n % 5 == 0) == held_out)

    if not chosen(subjects):
        raise ValueError(f"{folder / 'subjects'}: too few photographs ({len(subjects)}) to split")
    return Material(chosen(subjects), chosen(scenes))


def _scene(
    rng: np.random.Generator,
    config: CompositesConfig,
    subject: tuple[np.ndarray, np.ndarray],
    behind: np.ndarray,
    nearness: float,
    margin: int,
) -> list[Layer]:
    """Wall, perhaps ground, subject, perhaps ground in front of it: from back to front."""
    color, alpha = subject
    size = alpha.shape
    far = rng.uniform(0, 0.4) * nearness
    near_rows = np.nonzero(alpha.max(1) > 0.5)[0]
    foot = int(near_rows[-1]) if near_rows.size else size[0] - 1
    tilt = rng.choice([0.0, 0.15]) * rng.uniform(-1, 1)
    wall = Plane(far - tilt * 0.5 * far, 0.0, tilt * far / size[1])
    layers = [Layer(behind, np.ones(size, np.float32), wall)]
    horizon = margin + int(config.size[0] * rng.uniform(0.2, 0.7))
    ground = None
    if rng.random() < config.ground and foot > horizon + 0.1 * config.size[0]:
        # The ground is as near as the subject at its foot, and nearer below.
        slope = (nearness - far) / (foot - horizon)
        ground = synthetic.Ground(behind, horizon, far, slope)
        layers.append(ground.strip(horizon, foot))
    if rng.random() < config.lights:
        layers = synthetic.with_lights(rng, layers)
    layers.append(Layer(color, alpha, Plane(nearness)))
    if ground is not None and foot < size[0]:
        # What stands on the ground is not cut off by the part of it in front.
        strip = ground.strip(foot, size[0])
        layers.append(strip._replace(alpha=strip.alpha * (1 - alpha)))
    exposure = np.float32(rng.uniform(0.7, 1.15))
    return [layer._replace(color=layer.color * exposure) for layer in layers]


def _whole(
    rng: np.random.Generator, subject: Subject, size: tuple[int, int], margin: int
) -> tuple[Float[np.ndarray, "3 H W"], Float[np.ndarray, "H W"], Float[np.ndarray, "3 H W"]]:
    """A window of the photograph; the canvas's margin repeats its rim."""
    pixels = _cut(rng, *read(subject), size, _background(subject))
    pixels = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)
    return planes[:3], np.clip(planes[3], 0, 1), planes[4:]


def window(
    rng: np.random.Generator,
    subject: Subject,
    size: tuple[int, int],
    *others: Float[np.ndarray, "H W _"],
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"], Float[np.ndarray, "h w channels"]]:
    """A window of a photograph with most of its subject.

    Args:
      rng: Decides which, and whether it is mirrored.
      subject: The photograph and its matte.
      size: Height and width to bring it to [px].
      others: Planes of the size that `read` gives, to cut out and resize alike.

    Returns:
      The window in linear light, its matte, and the channels of the others in their order.
    """
    pixels = _cut(rng, *read(subject), size, *others).astype(np.float32)
    return pixels[..., :3], np.clip(pixels[..., 3], 0, 1), pixels[..., 4:]


def _cut(
    rng: np.random.Generator,
    picture: Float[np.ndarray, "h w 3"],
    matte: Float[np.ndarray, "h w"],
    size: tuple[int, int],
    *others: Float[np.ndarray, "h w _"],
) -> Float[np.ndarray, "p q c"]:
    """Picture, matte and others in a window with most of the subject, now and then mirrored."""
    height, width = matte.shape
    largest = min(height / size[0], width / size[1])
    for _ in range(8):
        scale = largest * rng.uniform(0.7, 1)
        rows, columns = int(scale * size[0]), int(scale * size[1])
        top = int(rng.integers(0, height - rows + 1))
        left = int(rng.integers(0, width - columns + 1))
        part = np.s_[top : top + rows, left : left + columns]
        if matte[part].sum() > 0.7 * matte.sum():
            break
    pixels = np.concatenate([picture, matte[..., None], *others], -1)[part]
    pixels = synthetic.resized(pixels, size)
    return pixels[:, ::-1] if rng.random() < 0.5 else pixels


def _placed(
    rng: np.random.Generator, subject: Subject, size: tuple[int, int], margin: int
) -> tuple[Float[np.ndarray, "3 H W"], Float[np.ndarray, "H W"]]:
    """The cut-out subject at a random size, shape and place.

    Where the lower edge of its photograph cut it off, the frame does so again; else it may lean.
    """
    picture, matte = read(subject)
    pixels = np.concatenate([picture * matte[..., None], matte[..., None]], -1)
    cut_off = bool((matte[-1] > 0.5).any())
    if not cut_off and rng.random() < 0.5:
        pixels = _turned(pixels, rng.uniform(-40, 40))
    rows, columns = (np.nonzero(pixels[..., 3].max(axis) > 0.5)[0] for axis in (1, 0))
    pixels = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    stretch = np.exp(rng.uniform(-0.5, 0.5))
    height, width = stretch * pixels.shape[0], pixels.shape[1] / stretch
    scale = rng.uniform(0.35, 0.95) * min(size[0] / height, size[1] / width)
    shape = max(4, int(scale * height)), max(4, int(scale * width))
    pixels = synthetic.resized(pixels, shape)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    lowest = margin + size[0] - shape[0]
    y = lowest if cut_off else int(rng.integers(margin, lowest + 1))
    x = margin + int(rng.integers(0, size[1] - shape[1] + 1))
    canvas = np.zeros((size[0] + 2 * margin, size[1] + 2 * margin, 4), np.float32)
    canvas[y : y + shape[0], x : x + shape[1]] = pixels
    if cut_off:  # goes on below the frame, as it did
        canvas[y + shape[0] :] = canvas[y + shape[0] - 1]
    alpha = np.clip(canvas[..., 3], 0, 1)
    # The light of the new place, roughly.
    gain = np.float32(rng.uniform(0.8, 1.2)) * rng.uniform(0.92, 1.08, 3).astype(np.float32)
    color = gain * canvas[..., :3] / np.maximum(canvas[..., 3:], 1e-3)
    return np.ascontiguousarray(color.transpose(2, 0, 1)), alpha


def _turned(pixels: Float[np.ndarray, "h w c"], degrees: float) -> Float[np.ndarray, "p q c"]:
    planes = [
        Image.fromarray(plane).rotate(degrees, Image.Resampling.BILINEAR, expand=True)
        for plane in np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)
    ]
    return np.stack([np.asarray(plane) for plane in planes], -1)


def _in_colors_of(
    color: Float[np.ndarray, "3 H W"], alpha: Float[np.ndarray, "H W"], behind: np.ndarray
) -> Float[np.ndarray, "3 H W"]:
    """Brings the mean colour of what alpha shows to that of what it hides."""
    inside = alpha.sum() + 1e-6
    own, others = ((alpha * picture).sum((1, 2)) / inside for picture in (color, behind))
    return color * np.clip(others / (own + 1e-3), 0.2, 4).astype(np.float32)[:, None, None]


def _covering(
    rng: np.random.Generator, path: Path, size: tuple[int, int]
) -> Float[np.ndarray, "3 H W"]:
    color = synthetic.resized_part(rng, shrunk(path), size)
    if rng.random() < 0.5:
        color = color[:, ::-1]
    return np.ascontiguousarray(color.transpose(2, 0, 1), np.float32)


@functools.lru_cache(maxsize=256)
def shrunk(path: Path) -> Float[np.ndarray, "h w 3"]:
    """A photograph in linear light at `_READ_SIDE`."""
    picture = photos.read(path)
    scale = min(1, _READ_SIDE / max(picture.shape))
    size = max(1, round(scale * picture.shape[0])), max(1, round(scale * picture.shape[1]))
    return np.asarray(photos.decode(synthetic.resized(picture, size)), np.float32)


@functools.lru_cache(maxsize=256)
def read(subject: Subject) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """A subject's photograph as `shrunk` gives it, and its matte at that size."""
    picture = shrunk(subject.photo)
    matte = photos.read(subject.matte)[..., :1]
    return picture, np.clip(synthetic.resized(matte, picture.shape[:2])[..., 0], 0, 1)


@functools.lru_cache(maxsize=256)
def _background(subject: Subject) -> Float[np.ndarray, "h w 3"]:
    """The photograph with its subject, and what of it a soft matte misses, filled in."""
    picture, matte = read(subject)
    # A common size, of which nothing is known beyond the picture, compiles once for all.
    margin = [(0, max(0, _READ_SIDE - side)) for side in matte.shape]
    hidden = jnp.asarray(np.pad(matte, margin, constant_values=1))
    known = 1 - inpaint.local_maximum(hidden)
    planes = jnp.asarray(np.pad(picture.transpose(2, 0, 1), ((0, 0), *margin))) * known[None]
    filled = np.asarray(inpaint.push_pull(planes, known)).transpose(1, 2, 0)
    return filled[: matte.shape[0], : matte.shape[1]]
