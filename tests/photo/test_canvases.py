import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from d2f_jax.photo import batch, canvases
from tests import fakes


def test_small_pictures_share_one_canvas_that_holds_them():
    sizes = [(800, 1200), (1200, 800), (1000, 1000), None, (825, 1100)]
    planned = canvases.plan(sizes)
    assert planned[3] is None
    assert len({canvas for canvas in planned if canvas}) == 1
    for size, canvas in zip(sizes, planned, strict=True):
        if size:
            assert size[0] <= canvas[0]
            assert size[1] <= canvas[1]


def test_pictures_keep_their_canvases_where_padding_costs_more_than_compiling():
    landscapes, portraits = [(2000, 3000)] * 30, [(3000, 2000)] * 30
    planned = canvases.plan(landscapes + portraits)
    assert planned == [canvases.plan([(2000, 3000)])[0]] * 30 + [planned[-1]] * 30
    assert planned[0] == planned[-1][::-1]
    assert 6_000_000 <= math.prod(planned[0]) < 1.28 * 6_000_000


def test_large_pictures_are_left_alone():
    assert canvases.plan([(3000, 4000), (6000, 4000)]) == [None, None]
    assert canvases.plan([]) == []


_GROWTH = """
import resource, sys
from pathlib import Path
from d2f_jax.photo import batch
from d2f_jax.photo.settings import Settings

folder = Path(sys.argv[1])
names = sorted(str(path) for path in folder.glob("*.png"))
settings = Settings(disparity=folder / "maps" if "maps" in sys.argv else None)
peaks = []
for some in (names[:6], names):
    assert batch.run(some, settings, output=str(folder / "out")) == 0
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print((peaks[1] - peaks[0]) / 2**20)
"""


@pytest.mark.slow
@pytest.mark.parametrize("source", ["networks", "maps"])
def test_sixty_sizes_take_little_more_memory_than_six(tmp_path, source):
    (tmp_path / "maps").mkdir()
    for number in range(60):
        size = 64 + 2 * number, 190 - number
        fakes.save_picture(tmp_path / f"{number}.png", height=size[0], width=size[1])
        np.save(tmp_path / "maps" / f"{number}.npy", fakes.make_disparity(*size))
    words = [sys.executable, "-c", _GROWTH, str(tmp_path), source]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert float(told.splitlines()[-1]) < 2  # GB


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_sizes_are_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    Image.new("RGB", (90, 70)).save(tmp_path / "p.jpg", exif=exif)
    upright = (90, 70) if orientation > 4 else (70, 90)
    assert canvases.size_of(tmp_path / "p.jpg") == upright


def test_what_is_no_picture_has_no_size(tmp_path):
    (tmp_path / "p.jpg").write_text("no")
    assert canvases.size_of(tmp_path / "p.jpg") is None
    assert canvases.size_of(tmp_path / "none.jpg") is None


def test_a_folder_is_worked_through_by_canvas_and_told_in_order(tmp_path, monkeypatch, capsys):
    """Whatever the order of the work, lines come in the order of the names."""
    sides = {"a": (900, 640), "b": (64, 80), "c": (900, 650), "d": (65, 80)}
    monkeypatch.setattr(canvases, "COMPILING", 0)
    seen = []
    for name, size in sides.items():
        fakes.save_picture(tmp_path / f"{name}.png", height=size[0], width=size[1])

    def develop(photo, made, mask, canvas):
        seen.append((photo.image.shape[:2], canvas))
        height, width = photo.image.shape[:2]
        raise ValueError(f"{height} high, {width} wide")

    monkeypatch.setattr(batch.renderers, "renderer", lambda settings: develop)
    assert batch.run([str(tmp_path)], batch.Settings()) == 1
    assert [size for size, _ in seen] == [sides[name] for name in "bdac"]
    assert all(np.all(np.asarray(size) <= canvas) for size, canvas in seen)
    said = [line for line in capsys.readouterr().err.splitlines() if "wide" in line]
    assert [line.split(".png")[0][-1] for line in said] == list("abcd")
