"""Ray-traces scenes through a lens, as a folder for `bench_ground_truth`.

    python -m benchmarks.trace SCENE|all --out FOLDER [--size 512x384] [--samples 1024]
        [--aperture round|BLADES] [--rotation DEGREES] [--blur FACTOR] [--seed N]
        [--textures FOLDER] [--variant scalar_rgb]

Scenes: portrait, night, fence, branches, slant, cards. Files and conventions are those of
`benchmarks/ground_truth/README.md`, which tells how to make more.
"""

import argparse
import math
import re
from pathlib import Path
from typing import Any

from benchmarks import words
from d2f_jax import extras, files


def size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT; multiples of four, so that small maps can be made of it."""
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    width, height = (int(number) for number in found.groups()) if found else (0, 0)
    if not (16 <= width <= 8192 and 16 <= height <= 8192) or width % 4 or height % 4:
        raise argparse.ArgumentTypeError(
            f"{text}: a size is WIDTHxHEIGHT, both multiples of 4 from 16 to 8192, such as 512x384"
        )
    if height > 0.75 * width:
        raise argparse.ArgumentTypeError(f"{text}: the scenes fill pictures of 4:3 or wider")
    return width, height


def power_of_four(text: str) -> int:
    """Number of samples, which the sampler wants to be a square and a power of two."""
    number = int(text) if text.isdecimal() else 0
    if number not in (4, 16, 64, 256, 1024, 4096, 16384):
        raise argparse.ArgumentTypeError(f"{text}: samples are a power of four from 4 to 16384")
    return number


def blades(text: str) -> int:
    """Number of blades, 0 for a round opening."""
    number = 0 if text == "round" else int(text) if text.isdecimal() else -1
    if number and not 3 <= number <= 64:
        raise argparse.ArgumentTypeError(f"{text}: an aperture is round or has 3 to 64 blades")
    return number


def factor(text: str) -> float:
    """A positive number."""
    if not 0 < (value := number(text)) <= 10:
        raise argparse.ArgumentTypeError(f"{text}: blur is a factor above 0, up to 10")
    return value


def angle(text: str) -> float:
    """Degrees."""
    if not -360 <= (value := number(text)) <= 360:
        raise argparse.ArgumentTypeError(f"{text}: a rotation is from -360 to 360 degrees")
    return value


def number(text: str) -> float:
    """A number, NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def seed(text: str) -> int:
    """A whole number."""
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text}: a seed is a whole number from 0 to 2147483647")
    return int(text)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command."""
    parser = words.Parser(
        prog="python -m benchmarks.trace",
        description="Ray-traces scenes through a lens, as a folder for bench_ground_truth.",
    )
    parser.add_argument("scene", help="portrait, night, fence, branches, slant, cards; or all")
    parser.add_argument("--out", type=Path, required=True, help="folder for the scenes' folders")
    parser.add_argument("--size", type=size, default=(512, 384), help="WIDTHxHEIGHT (512x384)")
    parser.add_argument(
        "--samples", type=power_of_four, default=1024, help="rays per pixel, twice (1024)"
    )
    parser.add_argument(
        "--aperture", type=blades, default=0, metavar="round|BLADES", help="of the lens (round)"
    )
    parser.add_argument("--rotation", type=angle, default=0.0, help="of the blades [degrees] (0)")
    parser.add_argument("--blur", type=factor, default=1.0, help="factor on the scenes' K (1)")
    parser.add_argument("--seed", type=seed, default=0, help="of scenes and rays (0)")
    parser.add_argument("--textures", type=Path, help="folder of photographs with licences.tsv")
    parser.add_argument(
        "--variant", default="scalar_rgb", help="of Mitsuba (scalar_rgb, which needs nothing else)"
    )
    given = parser.parse_args(arguments)
    try:
        extras.check("truth", "ray tracing")
    except extras.MissingExtraError as error:
        parser.error(str(error))

    import mitsuba

    from benchmarks.trace import scenes, suite, textures, tracer

    if given.variant not in mitsuba.variants() or not given.variant.endswith("_rgb"):
        parser.error(f"{given.variant}: Mitsuba's variants here are scalar_rgb and llvm_ad_rgb")
    if given.scene not in (*scenes.SCENES, "all"):
        parser.error(f"{given.scene}: no such scene; there are {', '.join(scenes.SCENES)}, all")
    names = list(scenes.SCENES) if given.scene == "all" else [given.scene]
    options = suite.Options(
        size=given.size,
        samples=given.samples,
        opening=tracer.Opening(given.aperture, given.rotation),
        blur=given.blur,
        seed=given.seed,
        textures=given.textures,
        variant=given.variant,
    )
    try:
        if given.textures:
            textures.check_folder(given.textures)
        if given.out.exists() and not given.out.is_dir():
            raise ValueError(f"{given.out}: is no folder; name another --out")
        for name in names:
            if (given.out / name).exists():
                raise ValueError(f"{given.out / name}: is there already; name another --out")
        given.out.mkdir(parents=True, exist_ok=True)
        for name in names:
            make(name, given.out, options)
    except (OSError, ValueError) as error:
        parser.error(str(error))


def make(name: str, out: Path, options: Any) -> None:
    """Makes a scene under a temporary name and renames it: it is whole, or not there."""
    from benchmarks.trace import suite

    with files.making(out / name) as temporary:
        suite.trace(name, temporary, options)
    print(out / name, flush=True)


if __name__ == "__main__":
    with words.interruptible():
        main()
