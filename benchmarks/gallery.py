"""Makes the pictures of the documents that show the lens.

    python -m benchmarks.gallery [--phones FOLDER] [--traced FOLDER] [--output docs/pictures]

Of the ray-traced scenes in `benchmarks/ground_truth`:

- `lens_blur.jpg`: three of them, all in focus, by `lens_blur`, and as they were traced;
- `apertures.jpg`: the night lights through six openings.

Of a folder with `pug.heic`, `mango-image.jpg` and `mango-depth.jpg` (`docs/pictures/README.md` says
where they are from): `phones.jpg`, each photograph, its own map, and what the command makes of it.
Of what `python -m benchmarks.trace all --size 256x192 --samples 64 --aperture 6 --out FOLDER`
made: `traced.jpg`, each scene all in focus and through the lens.

Of the motorcycle in `docs/samples`:

- `motorcycle.jpg`: the photograph, and with the engine in focus;
- `small_map.jpg`: bokeh by a map of a quarter of the size in 8 bits, enlarged, refined, and by the
  exact map;
- `focus_blur_distance.svg`: what blur is over distance, and over disparity;
- `focus_sweep.webp`: the focus moves through the picture in 24 steps; how long they took, and how
  many functions were compiled after the first, is printed.
"""

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from benchmarks import bench_ground_truth, words
from d2f_jax import files, render
from d2f_jax.app import views
from d2f_jax.photo import batch, depth_io, develop, focus, image_io, map_sources, renderers
from d2f_jax.photo.settings import Settings
from d2f_jax.render import highlights, kernels

SAMPLES = Path("docs/samples")
SHOWN = ("p02_night_lights/0", "p03_fence/0", "p04_branches/0")
GAP = 3


def beside(*pictures: np.ndarray, down: bool = False) -> np.ndarray:
    """Pictures in a row (or column) with white between them."""
    axis = 0 if down else 1
    shape = list(pictures[0].shape)
    shape[axis] = GAP
    parts = [part for picture in pictures for part in (picture, np.ones(shape))]
    return np.concatenate(parts[:-1], axis=axis)


def save(picture: np.ndarray, path: Path) -> None:
    """Writes a picture in [0, 1] as JPEG."""
    with files.replacing(path) as temporary:
        Image.fromarray(_bytes(picture)).save(temporary, "JPEG", quality=90)
    print(path, flush=True)


def _bytes(picture: np.ndarray) -> np.ndarray:
    return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)


def ray_traced(suite: Path) -> np.ndarray:
    """Rows of the 8-bit picture, `lens_blur` and the truth; lamps of the first one restored."""
    samples = {sample.name: sample for sample in bench_ground_truth.read_suite(suite)}
    rows = []
    for name in SHOWN:
        sample = samples[name]
        rule = highlights.ContrastRule() if name == SHOWN[0] else None
        ours = bench_ground_truth.lens_blur(sample, hdr=False, highlights=rule)
        row = [_of_width(picture, 384) for picture in (sample.image, ours, sample.bokeh)]
        rows.append(beside(*row))
    return beside(*rows, down=True)


OPENINGS = {
    "round": {},
    "six blades": {"aperture": kernels.Polygon(blades=6, rotation=10)},
    "five, rounded": {"aperture": kernels.Polygon(blades=5, roundness=0.3)},
    "a ring": {"aperture": kernels.Ring(inner=0.6)},
    "squeezed": {"aperture": kernels.Squeeze(ratio=0.5)},
    "cat's eye": {"cat_eye": 0.8},
}
"""Openings of `apertures.jpg`, left to right and top to bottom: options of `lens_blur`."""


def apertures(suite: Path) -> np.ndarray:
    """A part of the night lights, in restored light, through `OPENINGS`."""
    name = "p02_night_lights/0"
    sample = next(s for s in bench_ground_truth.read_suite(suite) if s.name == name)
    rule = highlights.ContrastRule()
    shown = [
        bench_ground_truth.lens_blur(sample, hdr=False, highlights=rule, **options)[:, 128:]
        for options in OPENINGS.values()
    ]
    return beside(beside(*shown[:3]), beside(*shown[3:]), down=True)


def phones(folder: Path) -> np.ndarray:
    """Rows of photograph, map (bright = near) and the command's picture."""
    settings = {
        "pug.heic": Settings(),
        "mango-image.jpg": Settings(
            disparity=folder / "mango-depth.jpg", convention="near_is_dark", focus="nearest"
        ),
    }
    rows = []
    for name, chosen in settings.items():
        photo, disparity, mask = batch.read_mapped(
            folder / name, map_sources.find(chosen), chosen.mask, print
        )
        if disparity is None:
            raise ValueError(f"{folder / name}: holds no depth")
        bokeh = renderers.renderer(chosen)(photo, disparity, mask).photo.image
        fitted = develop.fitted(disparity.disparity, photo.image.shape[:2])
        shown = (photo.image, views.of_map(fitted)[..., None].repeat(3, -1), bokeh)
        rows.append(beside(*(_of_width(picture, 400) for picture in shown)))
    return beside(*rows, down=True)


def traced(folder: Path) -> np.ndarray:
    """Two scenes in a row, each all in focus and through the lens."""
    scenes = sorted(path.parent for path in folder.glob("*/meta.json"))
    read = bench_ground_truth.read_picture
    pairs = [beside(read(s / "all_in_focus.png"), read(s / "bokeh_0.png")) for s in scenes]
    rows = [beside(*pairs[n : n + 2]) for n in range(0, len(pairs), 2)]
    return beside(*rows, down=True)


def _of_width(picture: np.ndarray, width: int) -> np.ndarray:
    size = (width, round(picture.shape[0] * width / picture.shape[1]))
    shrunk = Image.fromarray(_bytes(picture)).resize(size, Image.Resampling.LANCZOS)
    return np.asarray(shrunk, np.float32) / 255


def motorcycle() -> tuple[np.ndarray, np.ndarray]:
    """The photograph, and its map cleaned along its edges, scaled to [0, 1]."""
    image = image_io.read_photo(SAMPLES / "motorcycle.jpg").image
    disparity = depth_io.read_disparity(SAMPLES / "motorcycle_disparity.png")
    return image, views.of_map(np.asarray(render.refine(disparity, image))).astype(np.float32)


def small_map(image: np.ndarray, disparity: np.ndarray) -> np.ndarray:
    """A crop by a small map enlarged, refined, and by the exact one, twice enlarged."""
    image, disparity = image[:496, :740], disparity[:496, :740]
    small = disparity.reshape(124, 4, 185, 4).mean(axis=(1, 3))
    small = (np.rint(small * 255) / 255).astype(np.float32)
    maps = (
        develop.fitted(small, disparity.shape),
        np.asarray(render.refine(small, image)),
        disparity,
    )
    sharp = focus.at_pixel(disparity, 250, 330)
    crops = []
    for map_ in maps:
        bokeh = render.lens_blur(jnp.asarray(image), jnp.asarray(map_), focus=sharp, blur=30.0)
        crops.append(np.asarray(bokeh)[120:340, 90:310].repeat(2, 0).repeat(2, 1))
    return beside(*crops)


def sweep(image: np.ndarray, disparity: np.ndarray, path: Path, steps: int = 24) -> None:
    """The focus moves from near to far and back, as an animated picture."""
    image, disparity = image[::2, ::2], disparity[::2, ::2]
    frames, seconds, compiled = [], [], 0

    def count(event: str, duration_secs: float, **_: str | int) -> None:
        nonlocal compiled
        compiled += event == "/jax/core/compile/backend_compile_duration"

    jax.monitoring.register_event_duration_secs_listener(count)
    for k in range(steps):
        start = time.perf_counter()
        sharp = 0.5 + 0.5 * float(np.cos(2 * np.pi * k / steps))
        bokeh = render.lens_blur(
            jnp.asarray(image), jnp.asarray(disparity), focus=sharp, blur=24.0, max_radius=24.0
        )
        frames.append(Image.fromarray(_bytes(np.asarray(bokeh))))
        seconds.append(time.perf_counter() - start)
        if k == 0:
            compiled = 0
    with files.replacing(path) as temporary:
        options = {"save_all": True, "append_images": frames[1:], "duration": 90, "loop": 0}
        frames[0].save(temporary, "WEBP", quality=80, **options)
    height, width, _ = image.shape
    print(
        f"{path}: {width}x{height}, first step {seconds[0]:.1f} s, then {np.mean(seconds[1:]):.2f} "
        f"s a step, {compiled} functions compiled after the first"
    )


def radii(path: Path) -> None:
    """Draws the radius of the circle of confusion over distance and over disparity."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "d2f_jax"  # the same file every time
    metres = 2.0
    lens = {"focal_length": 50, "sensor_width": 36, "focus_distance": metres, "image_width": 1200}
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(9, 3.4), sharey=True, layout="constrained"
    )
    distance = np.linspace(0.6, 10, 500)
    disparity = np.linspace(0, 1.5, 500)
    for f_number, colour in ((1.4, "#1b6ca8"), (2.8, "#d1731a"), (5.6, "#4a8f3c")):
        blur = focus.thin_lens_blur(f_number=f_number, **lens)
        left.plot(
            distance, blur * abs(1 / distance - 1 / metres), color=colour, label=f"f/{f_number}"
        )
        right.plot(disparity, blur * abs(disparity - 1 / metres), color=colour)
        if f_number == 1.4:
            # The slope that fits at the focus, d(1/x) = dx / x^2, taken for the whole picture.
            wrong = blur / metres**2 * abs(distance - metres)
            left.plot(distance, wrong, ":", color=colour, label="f/1.4, distance as disparity")
    left.set(xlabel="distance [m]", ylabel="radius of the circle of confusion [px]", ylim=(0, 45))
    right.set(xlabel="disparity [1/m]: 0 is infinitely far, near is right")
    left.legend()
    for axes, place, where in ((left, metres, "2 m"), (right, 1 / metres, "focus = 1 / 2 m")):
        axes.axvline(place, color="grey", linewidth=0.8)
        axes.annotate(where, (place, 41), xytext=(4, 0), textcoords="offset points", color="grey")
        axes.grid(alpha=0.25)
    right.annotate("slope: blur", (0.95, 21), xytext=(1.05, 15), color="#1b6ca8")
    with files.replacing(path) as partial:
        figure.savefig(partial, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    """Makes the pictures."""
    parser = words.Parser(description="Makes the pictures of the documents.")
    parser.add_argument("--phones", type=Path, help="folder of the phones' photographs")
    parser.add_argument("--traced", type=Path, help="scenes of benchmarks.trace, for traced.jpg")
    parser.add_argument("--output", type=Path, default=Path("docs/pictures"))
    arguments = parser.parse_args()
    if not arguments.output.is_dir():
        parser.error(f"{arguments.output} is no folder")
    if arguments.traced and len(list(arguments.traced.glob("*/meta.json"))) not in (2, 4, 6):
        parser.error(f"{arguments.traced}: holds no two, four or six scenes")
    if arguments.phones:
        for name in ("pug.heic", "mango-image.jpg", "mango-depth.jpg"):
            if not (arguments.phones / name).is_file():
                parser.error(f"{arguments.phones} holds no {name}")
        save(phones(arguments.phones), arguments.output / "phones.jpg")
    if arguments.traced:
        save(traced(arguments.traced), arguments.output / "traced.jpg")
    save(ray_traced(bench_ground_truth.SUITE), arguments.output / "lens_blur.jpg")
    save(apertures(bench_ground_truth.SUITE), arguments.output / "apertures.jpg")
    radii(arguments.output / "focus_blur_distance.svg")
    image, disparity = motorcycle()
    sharp = focus.at_pixel(disparity, 250, 330)
    bokeh = render.lens_blur(jnp.asarray(image), jnp.asarray(disparity), focus=sharp, blur=30.0)
    save(beside(image, np.asarray(bokeh)), arguments.output / "motorcycle.jpg")
    save(small_map(image, disparity), arguments.output / "small_map.jpg")
    sweep(image, disparity, arguments.output / "focus_sweep.webp")


if __name__ == "__main__":
    with words.interruptible():
        main()
