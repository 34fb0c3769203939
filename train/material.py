"""Assembles the material that the package's weights were trained on, from installable packages.

    python -m train.material FOLDER [--packages DIR] [--from ROOT] [--download] [--partial]

docs/weights_photos.tsv says where each photograph lies: the Debian or Python package, the path in
it, and how the result should look. They are looked for in the .deb files of DIR, then below ROOT,
and with `--download` they are downloaded by apt-get from the sources that it is set up with.
Written are FOLDER/subjects, mattes, scenes, others, and people for `train.held_out`. What lies
there already is checked and never replaced; the same command completes what is missing.
"""

import csv
import hashlib
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple

import imagecodecs
import numpy as np
import tyro
from PIL import Image

from d2f_jax import files
from d2f_jax.photo import depth, image_io
from d2f_jax.training.data import photos
from train import commands
from train.packages import Package, Places

FOLDERS = {"subject": "subjects", "scene": "scenes", "other": "others", "person": "people"}
"""Where photographs of each role go."""

LONG_SIDE = 1024
"""Of the photographs that were trained on [px]."""

TOLERANCE = 3.0
"""Mean difference of looks [1/255] up to which two pictures are the same photograph.

Another decoder changes it by 0.1; the two most similar photographs of the table differ by 13.
"""

Matting = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Assembles the training material.

    Attributes:
      folder: Where it is written.
      packages: Folder of .deb files; with `download` they are kept there.
      root: Root of the system in which packages are looked for as well.
      download: Let apt-get download what is found in neither.
      partial: End well although photographs are lacking.
      mattes: Folder of mattes, PNG files of the subjects' names.
      matte_model: ISNet as an ONNX file, which makes the mattes instead (extra `depth`).
      table: Which photographs.
    """

    folder: tyro.conf.Positional[Path]
    packages: Path | None = None
    root: Annotated[Path, tyro.conf.arg(name="from")] = Path("/")
    download: bool = False
    partial: bool = False
    mattes: Path | None = None
    matte_model: Path | None = None
    table: Path = Path("docs/weights_photos.tsv")


class Photograph(NamedTuple):
    """A row of the table: what, from where, and its size and look in the material."""

    file: str
    role: str
    package: Package
    path: str
    sha256: str
    size: tuple[int, int]
    look: np.ndarray

    def place(self, folder: Path) -> Path:
        """Where it goes in the material."""
        return folder / FOLDERS[self.role] / self.file

    def fault(self, picture: Image.Image) -> str | None:
        """How a picture differs from what is wanted, or None."""
        if picture.size != self.size:
            (width, height), (right, high) = picture.size, self.size
            return f"{width}x{height} pixels instead of {right}x{high}"
        difference = float(np.abs(look(picture) - self.look).mean())
        if difference > TOLERANCE:
            return f"another picture (8x8 greys differ by {difference:.0f}/255)"
        return None


@dataclass
class Report:
    """What was done, and what was not."""

    written: int = 0
    kept: int = 0
    mattes: int = 0
    others: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def look(picture: Image.Image) -> np.ndarray:
    """A picture as 64 greys in [0, 255], by which it is known again."""
    small = picture.convert("L").resize((8, 8), Image.Resampling.BOX)
    return np.asarray(small, np.float32).ravel()


def read_table(path: Path) -> list[Photograph]:
    """The rows of docs/weights_photos.tsv.

    Raises:
      ValueError: if it cannot be read, with the line.
    """
    rows = []
    text = files.read_bytes(path).decode(errors="replace")
    for number, row in enumerate(csv.DictReader(text.splitlines(), delimiter="\t"), 2):
        try:
            name, version, *_ = row["package"].split()
            width, height = map(int, row["size"].split("x"))
            greys = np.frombuffer(bytes.fromhex(row["look"]), np.uint8).astype(np.float32)
            photograph = Photograph(
                row["file"],
                row["role"],
                Package(name, version),
                row["path"],
                row["sha256"],
                (width, height),
                greys,
            )
            if photograph.role not in FOLDERS or Path(row["file"]).name != row["file"]:
                raise ValueError("an unknown role, or a file that is no plain name")
            if len(greys) != 64:
                raise ValueError("a look has 64 greys")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path}, line {number}: cannot be read ({error})") from None
        rows.append(photograph)
    if not rows:
        raise ValueError(f"{path}: names no photographs")
    return rows


def developed(data: bytes, name: str) -> Image.Image:
    """A photograph as the material has it: 8-bit sRGB, its long side at most `LONG_SIDE`.

    Raises:
      ValueError: if it cannot be decoded.
    """
    if imagecodecs.jpegxl_check(data):
        try:
            picture = Image.fromarray(imagecodecs.jpegxl_decode(data)).convert("RGB")
        except (RuntimeError, TypeError, ValueError, MemoryError) as error:
            raise ValueError(f"{name}: a JPEG XL that cannot be decoded ({error})") from error
    else:
        image = image_io.decode(data, Path(name)).image
        picture = Image.fromarray((255 * image + 0.5).astype(np.uint8))
    picture.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
    return picture


def assemble(arguments: Arguments) -> Report:
    """Writes what can be had, and reports what cannot.

    Raises:
      ValueError: if an argument is wrong, or the folder cannot be written.
    """
    if arguments.mattes is not None and arguments.matte_model is not None:
        raise ValueError("--mattes and --matte-model: give one of them")
    if arguments.mattes is not None and not arguments.mattes.is_dir():
        raise ValueError(f"--mattes {arguments.mattes}: no such folder")
    rows = read_table(arguments.table)
    if arguments.packages is not None:
        if arguments.download:
            _make(arguments.packages)
        if not arguments.packages.is_dir():
            raise ValueError(f"--packages {arguments.packages}: not a folder")
    if not arguments.root.is_dir():
        raise ValueError(f"--from {arguments.root}: not a folder")
    matting = None if arguments.matte_model is None else matte_network(arguments.matte_model)
    for name in ("mattes", *FOLDERS.values()):
        _make(arguments.folder / name)

    report = Report()
    there, lacking = [], defaultdict(list)
    for row in rows:
        if not os.path.exists(row.place(arguments.folder)):
            lacking[row.package].append(row)
        elif fault := _fault_of(row.place(arguments.folder), row):
            report.faults.append(fault)
        else:
            there.append(row)
    report.kept = len(there)
    places = Places(debs=arguments.packages, root=arguments.root, download=arguments.download)
    for package, wanted in lacking.items():
        there += _take(arguments.folder, places, package, wanted, report)
    report.written = len(there) - report.kept
    mattes = arguments.mattes or arguments.table.parent / "mattes"
    for row in there:
        if row.role == "subject":
            _add_matte(arguments.folder, row, mattes, matting, report)
    report.strangers = strangers(arguments.folder, rows)
    return report


def matte_network(path: Path) -> Matting:
    """Opens ISNet (DIS) as an ONNX file: its first output, stretched to black and white.

    Raises:
      ValueError: as `depth.load_onnx`, which runs it; so does the function.
    """
    config = depth.DepthConfig(
        mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0), short_side=1024, multiple=32
    )
    network = depth.load_onnx(path, config)

    def matte_of(picture: Image.Image) -> Image.Image:
        found = network(np.asarray(picture, np.float32) / 255)
        low, high = float(found.min()), float(found.max())
        if high <= low:
            raise ValueError(f"{path}: found no subject, its map is the same everywhere")
        matte = Image.fromarray((255 * (found - low) / (high - low) + 0.5).astype(np.uint8))
        return matte.resize(picture.size, Image.Resampling.BILINEAR)

    return matte_of


def strangers(folder: Path, rows: list[Photograph]) -> list[str]:
    """Pictures in the folders of the material that the table does not name."""
    ours = {row.place(folder) for row in rows}
    return [
        str(path)
        for name in ("subjects", "scenes", "others")
        for path in sorted((folder / name).iterdir())
        if path.suffix.lower() in photos.SUFFIXES and path not in ours
    ]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder}: cannot make this folder: {error.strerror}") from error


def _fault_of(path: Path, row: Photograph) -> str | None:
    try:
        picture = Image.fromarray((255 * photos.read(path) + 0.5).astype(np.uint8))
    except ValueError as error:
        return f"{error}; move it away"
    fault = row.fault(picture)
    return fault and f"{path}: {fault}; move it away"


def _take(
    folder: Path, places: Places, package: Package, wanted: list[Photograph], report: Report
) -> list[Photograph]:
    """Writes the photographs of one package, and returns which."""
    written, found, reason = [], {}, None
    try:
        found = places.read(package, {row.path for row in wanted})
    except ValueError as error:
        reason = str(error)
    for row in wanted:
        if row.path not in found:
            continue
        data = found[row.path]
        try:
            picture = developed(data, f"{package.name}, {row.path}")
            fault = row.fault(picture)
        except ValueError as error:
            report.faults.append(str(error))
            continue
        if fault:
            report.faults.append(
                f"{row.file}: {package.name} has {fault} in {row.path}; "
                f"take version {package.version}"
            )
            continue
        with files.replacing(row.place(folder)) as temporary:
            picture.save(temporary, quality=90)
        written.append(row)
        if hashlib.sha256(data).hexdigest() != row.sha256:
            report.others.append(row.file)
    lacking = [row.file for row in wanted if row.path not in found]
    if lacking:
        count = files.counted(len(lacking), "photograph")
        named = ", ".join(lacking[:3]) + f" and {len(lacking) - 3} more" * (len(lacking) > 3)
        where = f"{package.name} {package.version}"
        report.faults.append(f"{where}: {count} not found ({named}): {reason or _help(wanted[0])}")
    return written


def _help(row: Photograph) -> str:
    name = row.package.name
    if not row.path.startswith("usr/"):
        return f"pip install {name}"
    return (
        "install it, or put its .deb into the folder of --packages, or use --download if your "
        f"sources have it (apt-cache policy {name})"
    )


def _add_matte(
    folder: Path, row: Photograph, mattes: Path, matting: Matting | None, report: Report
) -> None:
    """Copies or makes the matte of a subject."""
    place = folder / "mattes" / Path(row.file).with_suffix(".png").name
    try:
        if place.exists():
            matte = _matte(place)
        elif matting is not None:
            with Image.open(row.place(folder)) as picture:
                matte = matting(picture.convert("RGB"))
        else:
            matte = _matte(mattes / place.name)
        (width, height), (right, high) = matte.size, row.size
        if abs(width * high - height * right) > max(right, high):
            raise ValueError(f"{place}: the matte is {width}x{height}, not of its subject's shape")
        if not place.exists():
            with files.replacing(place) as temporary:
                matte.resize(row.size, Image.Resampling.BILINEAR).save(temporary, "PNG")
        report.mattes += 1
    except ValueError as error:
        report.faults.append(str(error))


def _matte(path: Path) -> Image.Image:
    return Image.fromarray((255 * photos.read(path)[..., 0] + 0.5).astype(np.uint8))


def main() -> None:
    """The command."""
    with commands.user_errors("interrupted; the same command completes the material"):
        arguments = commands.parse(Arguments, description=__doc__)
        report = assemble(arguments)
        print(
            f"{arguments.folder}: {files.counted(report.written, 'photograph')} written, "
            f"{report.kept} there already, {files.counted(report.mattes, 'matte')}"
        )
        if report.others:
            count = files.counted(len(report.others), "photograph")
            print(f"{count} out of other files than ours, but alike: {', '.join(report.others)}")
        if report.strangers:
            named = ", ".join(report.strangers)
            print(f"not ours, and every fifth name is held out with them: {named}")
        if not report.faults:
            return
        if not (arguments.partial and report.written + report.kept):
            photos.refuse(report.faults, str(arguments.folder))
        print("\n".join(report.faults))
        print("every fifth name is held out: with photographs lacking, others than in the table")


if __name__ == "__main__":
    main()
