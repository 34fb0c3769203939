"""Runs the published code of other methods, each in a checkout of its own, untouched.

`bench_ground_truth --checkout NAME=DIR` hands a sample over in files, starts the entry point that
the checkout's README names, in the checkout's folder, and reads the picture that it writes. Nothing
is imported: a checkout has its own packages, and may have its own Python (`--checkout-python`).

What the entry points do to a sample is theirs: BokehMe and MPIB read the map in 8 bits and write
JPEG; Dr.Bokeh cuts the picture into two layers by a network for salient objects. All take `gamma`,
and are given 2.2, the closest to light; BokehMe's own default is 4.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

GAMMA = "2.2"
LIMIT = 600
"""Seconds for one picture."""


class Skipped(Exception):  # noqa: N818  (a reason, not a fault)
    """Why a method has no row."""


class Task(NamedTuple):
    """A sample as files, with a map that spans [0, 1]: radius = `blur * |map - focus|` pixels."""

    image: Path
    map: Path
    out: Path
    blur: float
    focus: float


class Checkout(NamedTuple):
    """How a method is started.

    Attributes:
      title: What it is called in the table.
      entry: Its script, below the checkout.
      words: What the script is given for a task.
      result: The picture that it writes.
    """

    title: str
    entry: str
    words: Callable[[Task], list[str]]
    result: Callable[[Task], Path]


def _demo(task: Task) -> list[str]:
    return [
        *("--image_path", str(task.image)),
        *("--disp_path", str(task.map.with_suffix(".png"))),
        *("--save_dir", str(task.out)),
        f"--K={task.blur!r}",
        f"--disp_focus={task.focus!r}",  # may be below 0, and look like an option
        f"--gamma={GAMMA}",
    ]


def _dr_bokeh(task: Task) -> list[str]:
    reach = task.blur * max(task.focus, 1 - task.focus)
    return [
        *("--rgb", str(task.image)),
        *("--disp", str(task.map.with_suffix(".npz"))),
        *("--ofile", str(task.out / "bokeh.png")),
        f"--K_blur={task.blur!r}",
        f"--focal={task.focus!r}",
        f"--lens={2 * int(np.ceil(reach)) + 1}",
        f"--gamma={GAMMA}",
    ]


CHECKOUTS = {
    "bokehme": Checkout(
        "BokehMe",
        "demo.py",
        _demo,
        lambda task: task.out / task.image.stem / "bokeh_pred.jpg",
    ),
    "mpib": Checkout("MPIB", "demo.py", _demo, lambda task: task.out / "bokeh_pred.jpg"),
    "drbokeh": Checkout(
        "Dr.Bokeh",
        "app/Render/Inference.py",
        _dr_bokeh,
        lambda task: task.out / "bokeh.png",
    ),
}
"""By the names of `--checkout`; read in JuewenPeng/BokehMe and MPIB, and ShengCN/DrBokeh-Src."""


def parse(text: str) -> tuple[Checkout, Path]:
    """Reads NAME=DIR.

    Raises:
      ValueError: if there is no such method, or it does not lie there.
    """
    name, _, folder = text.partition("=")
    if name not in CHECKOUTS or not folder:
        raise ValueError(f"{text}: write NAME=DIR, where NAME is {', '.join(CHECKOUTS)}")
    checkout = CHECKOUTS[name]
    if not (Path(folder) / checkout.entry).is_file():
        raise ValueError(f"{folder}: no checkout of {checkout.title} ({checkout.entry} is missing)")
    return checkout, Path(folder).resolve()


def check(python: str) -> str:
    """Looks whether the checkouts' Python finds CUDA, which parts of all three need.

    Returns:
      Where that Python lies, whatever folder it is started from.

    Raises:
      Skipped: with the reason, if not.
    """
    # Not resolved: the Python of a virtual environment is a link.
    python = os.path.abspath(shutil.which(python) or python)
    probe = "import torch; print(torch.cuda.is_available())"
    try:
        said = _start([python, "-c", probe], Path.cwd())
    except Skipped as error:
        raise Skipped(f"its Python lacks torch ({error})") from None
    if said.strip() != "True":
        raise Skipped("it needs CUDA, and torch finds none")
    return python


def render(
    checkout: Checkout,
    folder: Path,
    image: np.ndarray,
    disparity: np.ndarray,
    focus: float,
    blur: float,
    *,
    python: str = sys.executable,
) -> np.ndarray:
    """Renders one sample.

    Args:
      checkout: The method.
      folder: Where it lies.
      image: All in focus, `h w 3`, sRGB in [0, 1].
      disparity: `h w`, near = large.
      focus: In units of the map.
      blur: Radius per unit of the map [px].
      python: What runs it.

    Returns:
      The picture, `h w 3`, sRGB in [0, 1].

    Raises:
      Skipped: with the last line of its output, if it fails, takes longer than `LIMIT` or writes no
        picture of that size.
    """
    low, high = float(disparity.min()), float(disparity.max())
    span = (high - low) or 1.0
    unit = (disparity - low) / span
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        task = Task(
            image=place / "picture.png",
            map=place / "map",
            out=place / "out",
            blur=blur * span,
            focus=(focus - low) / span,
        )
        task.out.mkdir()
        Image.fromarray(np.rint(255 * image).astype(np.uint8)).save(task.image)
        Image.fromarray(np.rint(255 * unit).astype(np.uint8)).save(task.map.with_suffix(".png"))
        np.savez(task.map.with_suffix(".npz"), data=unit.astype(np.float32))
        _start([python, checkout.entry, *checkout.words(task)], folder)
        path = checkout.result(task)
        if not path.is_file():
            raise Skipped(f"it wrote no {path.name}")
        try:
            with Image.open(path) as picture:
                made = np.asarray(picture.convert("RGB"), np.float32) / 255
        except OSError as error:
            raise Skipped(f"its {path.name} cannot be read ({error})") from None
    if made.shape != image.shape:
        raise Skipped(f"it wrote {made.shape[1]}x{made.shape[0]} pixels")
    return made


def _start(words: list[str], folder: Path) -> str:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    try:
        started = subprocess.Popen(
            words, cwd=folder, text=True, errors="replace", start_new_session=True, **pipes
        )
    except OSError as error:
        raise Skipped(f"{words[0]}: {error.strerror}") from None
    try:
        out, errors = started.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        raise Skipped(f"it took more than {LIMIT} s for a picture") from None
    finally:
        if started.returncode is None:  # with whatever it has started
            os.killpg(started.pid, signal.SIGKILL)
            started.communicate()
    if started.returncode:
        lines = (errors or out).strip().splitlines()
        raise Skipped(lines[-1] if lines else f"it ended with code {started.returncode}")
    return out
