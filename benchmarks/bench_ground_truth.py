"""Compares ways to blur by depth with ray-traced photographs through a thin lens.

    python -m benchmarks.bench_ground_truth [SUITE] [--output FILE.json] [--sheets FOLDER]

Without a SUITE it takes the six scenes of `benchmarks/ground_truth`. A suite is a
folder of scenes. A scene holds `meta.json` (`samples`: a list of `image`, `linear`, `focus`, `K`),
`all_in_focus.png`, `all_in_focus_linear.npz` (`rgb`), `disparity.npz` (`disparity`) and the bokeh
images. The signed radius of a pixel is `K * (disparity - focus)` pixels.

Scores are taken on sRGB values clipped to [0, 1], as means over the images of the suite:
- PSNR, and SSIM with a Gaussian window (sigma 1.5, population covariance, channel mean);
- PSNR near depth edges: pixels less than 11 rows and columns away from one where the disparity
  spans more than 0.05 within 3x3 pixels;
- PSNR in focus: pixels with a radius below 1 px, images without any left out;
- seconds: of a second call, in which nothing is compiled, on this machine; of `--checkout` methods
  those of the whole command, which starts anew for each picture.

`--method FILE.py:FUNCTION` adds a function of your own, `--checkout bokehme=DIR` (also mpib,
drbokeh) the published code of another method.
"""

import functools
import json
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter
from skimage.metrics import structural_similarity

from benchmarks import checkouts, method_file, peers, words
from d2f_jax import color, files, render
from d2f_jax.models import resize
from d2f_jax.render import highlights

SUITE = Path(__file__).parent / "ground_truth"


class Sample(NamedTuple):
    """One photograph through the lens, and what it is made from."""

    name: str
    image: np.ndarray  # h w 3, all in focus, sRGB
    radiance: np.ndarray  # h w 3, all in focus, linear
    disparity: np.ndarray  # h w
    bokeh: np.ndarray  # h w 3, sRGB
    focus: float
    blur: float


def read_suite(folder: Path) -> Iterator[Sample]:
    """Reads the samples of a suite, scene by scene."""
    scenes = sorted(path.parent for path in folder.glob("*/meta.json"))
    if not scenes:
        raise SystemExit(f"{folder} holds no scenes (folders with a meta.json)")
    for scene in scenes:
        meta = json.loads((scene / "meta.json").read_text())
        image = read_picture(scene / "all_in_focus.png")
        radiance = np.load(scene / "all_in_focus_linear.npz")["rgb"].astype(np.float32)
        disparity = np.load(scene / "disparity.npz")["disparity"].astype(np.float32)
        for entry in meta["samples"]:
            yield Sample(
                f"{scene.name}/{entry['index']}",
                image,
                radiance,
                disparity,
                read_picture(scene / entry["image"]),
                entry["focus"],
                entry["K"],
            )


def other_openings(folder: Path) -> list[str]:
    """The openings of a suite that are not round, as its scenes tell them."""
    metas = [json.loads(path.read_text()) for path in folder.glob("*/meta.json")]
    shapes = {entry.get("aperture_shape", "circle") for m in metas for entry in m["samples"]}
    return sorted(shapes - {"circle"})


def read_picture(path: Path) -> np.ndarray:
    """Reads an 8-bit picture as sRGB in [0, 1]."""
    return np.asarray(Image.open(path).convert("RGB"), np.float32) / 255


def small_map(sample: Sample, factor: int, *, refined: bool) -> Sample:
    """With a map as phones and depth networks give it: averages of a smaller size, in 8 bits."""
    height, width = sample.disparity.shape
    cells = sample.disparity.reshape(height // factor, factor, width // factor, factor)
    small = (np.rint(cells.mean(axis=(1, 3)) * 255) / 255).astype(np.float32)
    if refined:
        large = render.refine(small, sample.image)
    else:
        large = resize.bilinear(jnp.asarray(small)[..., None], (height, width))[..., 0]
    return sample._replace(disparity=np.asarray(large))


def lens_blur_by_small_map(sample: Sample, factor: int, *, refined: bool) -> np.ndarray:
    """Our renderer with a small map."""
    return lens_blur(small_map(sample, factor, refined=refined), hdr=False)


def lens_blur(sample: Sample, *, hdr: bool, **options: Any) -> np.ndarray:
    """Our renderer."""
    image = jnp.asarray(sample.radiance if hdr else sample.image)
    options |= {"focus": sample.focus, "blur": sample.blur}
    options["encoding"] = "linear" if hdr else "srgb"
    bokeh = render.lens_blur(image, jnp.asarray(sample.disparity), **options)
    return _encoded(bokeh) if hdr else np.asarray(bokeh)


def peer(function: Callable, sample: Sample, *, hdr: bool, decode: bool = True) -> np.ndarray:
    """A classical method, in linear light, or on sRGB values as they are (`decode=False`)."""
    coc_radius = sample.blur * (sample.disparity - sample.focus)
    if hdr:
        return _encoded(function(sample.radiance, coc_radius))
    if not decode:
        return np.clip(function(sample.image, coc_radius), 0, 1)
    return _encoded(
        function(np.asarray(color.srgb_to_linear(jnp.asarray(sample.image))), coc_radius)
    )


def _encoded(radiance) -> np.ndarray:
    return np.asarray(color.encoded(radiance, linear=True))


_PAPER_PRINTED = functools.partial(peers.paper_layers, order="printed")
_PAPER_DEPTH = functools.partial(peers.paper_layers, order="depth")
METHODS: dict[str, Callable[[Sample], np.ndarray]] = {
    "8 bit: no blur": functools.partial(peer, peers.no_blur, hdr=False),
    "8 bit: Gaussian": functools.partial(peer, peers.gaussian, hdr=False),
    "8 bit: scatter": functools.partial(peer, peers.scatter, hdr=False),
    "8 bit: multiplane": functools.partial(peer, peers.multiplane, hdr=False),
    "8 bit, sRGB values: paper, as printed": functools.partial(
        peer, _PAPER_PRINTED, hdr=False, decode=False
    ),
    "8 bit, sRGB values: paper, as released": functools.partial(
        peer, peers.paper_layers, hdr=False, decode=False
    ),
    "8 bit: paper, as released": functools.partial(peer, peers.paper_layers, hdr=False),
    "8 bit: paper's masks by depth": functools.partial(peer, _PAPER_DEPTH, hdr=False),
    "8 bit: lens_blur": functools.partial(lens_blur, hdr=False),
    "8 bit: lens_blur, restored highlights": functools.partial(
        lens_blur, hdr=False, highlights=highlights.ContrastRule()
    ),
    **{
        f"8 bit: lens_blur, map of 1/{factor} in 8 bits, {how}": functools.partial(
            lens_blur_by_small_map, factor=factor, refined=how == "refined"
        )
        for factor in (2, 4)
        for how in ("enlarged", "refined")
    },
    "HDR: scatter": functools.partial(peer, peers.scatter, hdr=True),
    "HDR: multiplane": functools.partial(peer, peers.multiplane, hdr=True),
    "HDR: lens_blur": functools.partial(lens_blur, hdr=True),
}


def scores(result: np.ndarray, sample: Sample) -> dict[str, float]:
    """Scores one picture; NaN where a region is empty."""
    span = maximum_filter(sample.disparity, 3) - minimum_filter(sample.disparity, 3)
    near_edges = maximum_filter(span > 0.05, 21)
    in_focus = np.abs(sample.blur * (sample.disparity - sample.focus)) < 1
    error = (result - sample.bokeh) ** 2
    return {
        "psnr": _psnr(error),
        "ssim": float(
            structural_similarity(
                result,
                sample.bokeh,
                channel_axis=-1,
                data_range=1.0,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
        ),
        "psnr_near_edges": _psnr(error[near_edges]),
        "psnr_in_focus": _psnr(error[in_focus]),
    }


def _psnr(error: np.ndarray) -> float:
    return float(-10 * np.log10(error.mean())) if error.size else float("nan")


def contact_row(name: str, results: dict[str, np.ndarray], sample: Sample) -> np.ndarray:
    """The input, the truth, and each result over its signed error, three times enlarged."""
    top, bottom = [sample.image, sample.bokeh], [np.ones_like(sample.image)] * 2
    for result in results.values():
        top.append(result)
        bottom.append(np.clip(0.5 + 3 * (result - sample.bokeh), 0, 1))
    return np.vstack([np.hstack(top), np.hstack(bottom)])


def table(means: dict[str, dict[str, float]]) -> str:
    """The means as a Markdown table."""
    lines = [
        "| method | PSNR | SSIM | near edges | in focus | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for name, m in means.items():
        lines.append(
            f"| {name} | {m['psnr']:.2f} | {m['ssim']:.3f} | {m['psnr_near_edges']:.2f} "
            f"| {m['psnr_in_focus']:.2f} | {m['seconds']:.2f} |"
        )
    return "\n".join(lines)


def other_methods(
    found: list[tuple[checkouts.Checkout, Path]], python: str
) -> dict[str, Callable[[Sample], np.ndarray]]:
    """The methods of checkouts that this machine can run; says why the others are left out."""
    names = [f"8 bit: {checkout.title}, its own code" for checkout, _ in found]
    try:
        python = checkouts.check(python) if found else python
    except checkouts.Skipped as reason:
        for name in names:
            print(f"{name}: left out, {reason}", file=sys.stderr)
        return {}
    return {
        name: functools.partial(_by_checkout, *where, python)
        for name, where in zip(names, found, strict=True)
    }


def _by_checkout(
    checkout: checkouts.Checkout, folder: Path, python: str, sample: Sample
) -> np.ndarray:
    return checkouts.render(
        checkout,
        folder,
        sample.image,
        sample.disparity,
        sample.focus,
        sample.blur,
        python=python,
    )


def main() -> None:
    """Runs the comparison."""
    parser = words.Parser(description="Compares lens blur with ray-traced photographs.")
    parser.add_argument("suite", type=Path, nargs="?", default=SUITE, help="folder of scenes")
    parser.add_argument("--output", type=words.file_to_write, help="JSON file for the results")
    parser.add_argument(
        "--sheets", type=words.folder_to_fill, help="folder for contact sheets with error maps"
    )
    parser.add_argument("--only", default="", help="methods whose name contains this")
    parser.add_argument(
        "--method",
        action="append",
        default=[],
        metavar="FILE.py:FUNCTION",
        help="your own: takes a Sample, returns sRGB in [0, 1]",
    )
    parser.add_argument(
        "--checkout",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help=f"another method's own code: {', '.join(checkouts.CHECKOUTS)}",
    )
    parser.add_argument("--checkout-python", default=sys.executable, help="what runs that code")
    arguments = parser.parse_args()
    if not any(arguments.suite.glob("*/meta.json")):
        parser.error(f"{arguments.suite} holds no scenes (folders with a meta.json)")
    methods = {name: method for name, method in METHODS.items() if arguments.only in name}
    try:
        own = {text: method_file.read(text) for text in arguments.method}
        found = [checkouts.parse(text) for text in arguments.checkout]
        if len({checkout for checkout, _ in found}) < len(found):
            raise ValueError("--checkout: one folder for each method")
    except ValueError as error:
        parser.error(str(error))
    others = other_methods(found, arguments.checkout_python)
    methods = own | methods | others  # what may be wrong with the user's shows at once
    none_left = f"no method is left; there are {', '.join(METHODS)}"
    if not methods:
        parser.error(none_left)

    print(
        f"{arguments.suite}: {len(methods)} methods, each compiled at the first pictures",
        flush=True,
    )
    if shapes := other_openings(arguments.suite):
        print(
            f"{arguments.suite}: traced with {'; '.join(shapes)}; our methods render a round "
            "opening, and lose by that",
            file=sys.stderr,
        )
    rows: list[dict] = []
    for sample in read_suite(arguments.suite):
        results = {}
        for name, method in list(methods.items()):
            try:
                if name not in others:
                    method(sample)
                start = time.perf_counter()
                results[name] = method(sample)
            except method_file.MethodError as error:
                parser.error(str(error))
            except checkouts.Skipped as reason:
                print(f"{name}: left out, {reason}", file=sys.stderr)
                rows = [row for row in rows if row["method"] != name]
                del methods[name]
                continue
            seconds = time.perf_counter() - start
            row = scores(results[name], sample) | {"seconds": seconds}
            rows.append({"method": name, "sample": sample.name} | row)
        if not methods:
            parser.error(none_left)
        print(sample.name, flush=True)
        if arguments.sheets:
            arguments.sheets.mkdir(parents=True, exist_ok=True)
            parts = ("lens_blur", "multiplane", "its own code")
            shown = {
                k: v for k, v in results.items() if k in own or any(part in k for part in parts)
            }
            sheet = contact_row(sample.name, shown, sample)
            picture = Image.fromarray((255 * sheet + 0.5).astype(np.uint8))
            picture.save(arguments.sheets / f"{sample.name.replace('/', '_')}.png")

    means = {name: _means([row for row in rows if row["method"] == name]) for name in methods}
    print(table(means))
    if arguments.output:
        machine = {
            "jax": jax.__version__,
            "device": jax.devices()[0].device_kind,
            "processor": platform.machine(),
        }
        content = {
            "suite": arguments.suite.name,
            "machine": machine,
            "means": means,
            "images": rows,
        }
        text = json.dumps(content, indent=1).replace("NaN", "null") + "\n"
        files.write_bytes(arguments.output, text.encode())


def _means(rows: list[dict]) -> dict[str, float]:
    keys = [key for key in rows[0] if key not in ("method", "sample")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a region may be empty in all images
        return {key: float(np.nanmean([row[key] for row in rows])) for key in keys}


if __name__ == "__main__":
    with words.interruptible():
        main()
