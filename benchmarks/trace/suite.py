"""One scene as a folder for `bench_ground_truth`: pictures, disparity and what is known of them."""

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.trace import scenes, textures, tracer
from d2f_jax import color

CONVENTION = (
    "signed circle-of-confusion radius in pixels = K * (disparity - focus); "
    "positive is nearer than the focal plane"
)
DISPARITY = (
    "disparity = (1/depth - offset) / scale, depth along the optical axis through the pixel "
    "centre, not antialiased"
)


def encoded(light: np.ndarray) -> np.ndarray:
    """Linear light as sRGB in [0, 1], cut before encoding."""
    return np.asarray(color.encoded(light.astype(np.float32), linear=True))


def rounded(light: np.ndarray) -> np.ndarray:
    """float16 with six explicit bits of mantissa, which compress better."""
    bits = light.astype(np.float16).view(np.uint16).astype(np.uint32)
    return ((bits + 8) & 0xFFF0).astype(np.uint16).view(np.float16)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """PSNR [dB]; 99 where there is no difference."""
    return float(-10 * np.log10(max(np.mean((one - other) ** 2), 10**-9.9)))


def save(folder: Path, name: str, light: np.ndarray) -> None:
    """Writes a picture in both encodings."""
    picture = Image.fromarray(np.rint(255 * encoded(light)).astype(np.uint8))
    picture.save(folder / f"{name}.png")
    np.savez_compressed(folder / f"{name}_linear.npz", rgb=rounded(light))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is asked for.

    Attributes:
      size: Width and height [px].
      samples: Rays for each pixel of each half of a photograph, a power of four.
      opening: Of the lens.
      blur: Factor on K.
      seed: Of everything.
      textures: Folder of photographs in place of the free ones.
      variant: Of Mitsuba.
    """

    size: tuple[int, int] = (512, 384)
    samples: int = 1024
    opening: tracer.Opening = tracer.ROUND
    blur: float = 1.0
    seed: int = 0
    textures: Path | None = None
    variant: str = "scalar_rgb"


def trace(name: str, folder: Path, options: Options) -> None:
    """Makes one scene in `folder`, which exists."""
    scene_seed = options.seed + sorted(scenes.SCENES).index(name)
    scene = scenes.SCENES[name](np.random.default_rng(scene_seed))
    pictures = textures.Textures(options.seed, options.textures)
    camera = tracer.Tracer(scene, pictures, options.size, options.variant)
    width, height = options.size

    depth = camera.depth()
    offset, scale = 1 / depth.max(), 1 / depth.min() - 1 / depth.max()
    disparity = np.clip((1 / depth - offset) / scale, 0, 1)
    np.savez_compressed(folder / "disparity.npz", disparity=disparity.astype(np.float16))
    sharp_samples = min(256, options.samples)
    sharp = camera.picture(sharp_samples, options.seed + 1)
    save(folder, "all_in_focus", sharp)

    samples = []
    for index, (focus_depth, reference) in enumerate(scene.photographs):
        start = time.perf_counter()
        blur = reference * options.blur * width / scenes.REFERENCE_WIDTH
        radius = blur / (camera.focal_length * scale)
        lens = tracer.Lens(radius, focus_depth, options.opening)
        focus = (1 / focus_depth - offset) / scale
        seeds = [options.seed + 101 + index, options.seed + 201 + index]
        halves = [camera.picture(options.samples, seed, lens) for seed in seeds]
        save(folder, f"bokeh_{index}", np.mean(halves, axis=0))
        half = psnr(*map(encoded, halves))
        coc = blur * (disparity - focus)
        samples.append(
            {
                "index": index,
                "image": f"bokeh_{index}.png",
                "linear": f"bokeh_{index}_linear.npz",
                "focus": focus,
                "K": blur,
                "focus_depth": focus_depth,
                "aperture_radius": radius,
                "aperture_shape": options.opening.name,
                "coc_px_min": float(coc.min()),
                "coc_px_max": float(coc.max()),
                "samples_per_pixel": options.samples,
                "seeds": seeds,
                "half_psnr_db": half,
                "noise_psnr_db": half + 20 * np.log10(2),
            }
        )
        print(f"{name}/{index}: {time.perf_counter() - start:.0f} s", flush=True)

    meta = {
        "name": name,
        "suite": "traced",
        "description": scene.description,
        "tags": scene.tags,
        "width": width,
        "height": height,
        "fov_x_degrees": scenes.FIELD_OF_VIEW,
        "focal_length_px": camera.focal_length,
        "convention": CONVENTION,
        "disparity": {
            "definition": DISPARITY,
            "offset": offset,
            "scale": scale,
            "depth_min": depth.min(),
            "depth_max": depth.max(),
        },
        "colour": {
            "png": "sRGB, 8 bit, linear values clipped to [0, 1] before encoding",
            "linear": "float16 scene-linear with sRGB primaries, not clipped, rounded to 6 "
            "explicit mantissa bits",
        },
        "scene_seed": scene_seed,
        "emitters": len(scene.lights),
        "all_in_focus_samples_per_pixel": sharp_samples,
        "aif_fraction_clipped": float((sharp > 1).mean()),
        "aif_max": float(sharp.max()),
        "samples": samples,
        "sources": [dataclasses.asdict(source) for source in pictures.used.values()],
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
