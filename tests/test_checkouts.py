"""Other methods: stand-ins with the command lines of published ones, and a user's own function."""

import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import bench_ground_truth, checkouts
from benchmarks.bench_ground_truth import METHODS

# Each reads what its original reads, with the original's normalisation, and paints
# (map, K * |map - focus| / 100, gamma / 10) into the three channels.
PAINT = """
import numpy as np
from PIL import Image
picture = np.asarray(Image.open(image).convert("RGB"))
assert picture.shape[:2] == disp.shape
made = np.stack([disp, k * abs(disp - focus) / 100, 0 * disp + gamma / 10], -1)
Path(out).parent.mkdir(parents=True, exist_ok=True)
Image.fromarray(np.uint8(255 * made + 0.5)).save(out, quality=98, subsampling=0)
"""

DEMO = """
import argparse
from pathlib import Path
import numpy as np
from PIL import Image
parser = argparse.ArgumentParser()
for name in ("image_path", "disp_path", "save_dir"):
    parser.add_argument("--" + name)
for name in ("K", "disp_focus", "gamma"):
    parser.add_argument("--" + name, type=float)
parser.add_argument("--checkpoint", default="checkpoints/net.pth")
given = parser.parse_args()
if not Path(given.checkpoint).exists():
    raise FileNotFoundError(given.checkpoint)
disp = np.float32(Image.open(given.disp_path).convert("L")) / 255
image, out, k, focus, gamma = given.image_path, {out}, given.K, given.disp_focus, given.gamma
"""

INFERENCE = """
import argparse
from pathlib import Path
import numpy as np
parser = argparse.ArgumentParser()
parser.add_argument("--rgb", required=True)
parser.add_argument("-K", "--K_blur", type=float, required=True)
parser.add_argument("--focal", type=float, required=True)
parser.add_argument("--ofile", required=True)
parser.add_argument("--lens", type=int, default=41)
parser.add_argument("--disp", default="")
parser.add_argument("--gamma", type=float, default=2.2)
given = parser.parse_args()
disp = np.load(given.disp)["data"]
assert given.lens // 2 >= given.K_blur * abs(disp - given.focal).max()
image, out, k, focus, gamma = given.rgb, given.ofile, given.K_blur, given.focal, given.gamma
"""

OUT = {
    "bokehme": 'Path(given.save_dir) / Path(given.image_path).stem / "bokeh_pred.jpg"',
    "mpib": 'Path(given.save_dir) / "bokeh_pred.jpg"',
}


@pytest.fixture(params=list(checkouts.CHECKOUTS))
def checkout(request, tmp_path):
    return make(request.param, tmp_path)


def make(name, folder):
    checkout = checkouts.CHECKOUTS[name]
    script = INFERENCE if name == "drbokeh" else DEMO.replace("{out}", OUT[name])
    path = folder / name / checkout.entry
    path.parent.mkdir(parents=True)
    path.write_text(script + PAINT)
    (folder / name / "checkpoints").mkdir()
    (folder / name / "checkpoints/net.pth").touch()
    return checkouts.parse(f"{name}={folder / name}")


def make_python(folder, probed):
    """A Python that answers the question for CUDA with `probed`."""
    path = folder / "python"
    path.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && {{ {probed}; exit; }}\nexec {sys.executable} "$@"\n'
    )
    path.chmod(0o755)
    return str(path)


def test_a_method_gets_the_sample_in_its_own_convention(checkout):
    rng = np.random.default_rng(0)
    image = rng.random((12, 20, 3), np.float32)
    disparity = np.linspace(3.0, 5.0, 240, dtype=np.float32).reshape(12, 20)
    made = checkouts.render(*checkout, image, disparity, focus=3.5, blur=20.0)
    loss = 0.03  # JPEG, and a map in 8 bits
    np.testing.assert_allclose(made[..., 0], (disparity - 3) / 2, atol=loss)
    np.testing.assert_allclose(made[..., 1], 20 * abs(disparity - 3.5) / 100, atol=loss)
    np.testing.assert_allclose(made[..., 2], 0.22, atol=loss)


def test_a_failure_is_told_by_its_last_line(checkout, monkeypatch):
    method, folder = checkout
    image, disparity = np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.float32)

    def reason():
        with pytest.raises(checkouts.Skipped) as error:
            checkouts.render(method, folder, image, disparity, 0.0, 1.0)
        return str(error.value)

    entry = folder / method.entry
    entry.write_text("raise FileNotFoundError('checkpoints/net.pth')\n")
    assert reason() == "FileNotFoundError: checkpoints/net.pth"
    entry.write_text("print('done')\n")
    assert reason().startswith("it wrote no bokeh")
    entry.write_text("import sys; sys.stderr.buffer.write(b'caf\\xe9\\n'); sys.exit(1)\n")
    assert reason() == "caf\ufffd"
    entry.write_text("import sys; sys.exit(3)\n")
    assert reason() == "it ended with code 3"
    monkeypatch.setattr(checkouts, "LIMIT", 0.2)
    entry.write_text("import time; time.sleep(60)\n")
    assert reason() == "it took more than 0.2 s for a picture"


def test_a_torn_picture_or_one_of_another_size_is_told(tmp_path):
    method, folder = make("mpib", tmp_path)
    entry = folder / method.entry
    whole = entry.read_text()
    disparity = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    for painted, message in (
        ('Path(out).write_bytes(b"JFIF")', "its bokeh_pred.jpg cannot be read"),
        ('Image.new("RGB", (9, 8)).save(out)', "it wrote 9x8 pixels"),
    ):
        entry.write_text(f"{whole}\n{painted}\n")
        with pytest.raises(checkouts.Skipped, match=message):
            checkouts.render(method, folder, np.zeros((8, 8, 3)), disparity, 0.2, 1.0)


def test_without_cuda_or_torch_a_method_is_left_out(tmp_path, monkeypatch):
    python = make_python(tmp_path, "echo False")
    with pytest.raises(checkouts.Skipped, match="it needs CUDA, and torch finds none"):
        checkouts.check(python)
    make_python(tmp_path, "echo True")
    assert checkouts.check(python) == python
    monkeypatch.chdir(tmp_path)
    assert checkouts.check("./python") == python  # it will be started from elsewhere
    make_python(tmp_path, "echo 'ModuleNotFoundError: torch' >&2; exit 1")
    with pytest.raises(checkouts.Skipped, match=r"lacks torch \(ModuleNotFoundError: torch\)"):
        checkouts.check(python)
    with pytest.raises(checkouts.Skipped, match="No such file"):
        checkouts.check(str(tmp_path / "none"))


def test_another_name_or_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"blur=x: write NAME=DIR, .* bokehme, mpib, drbokeh"):
        checkouts.parse("blur=x")
    with pytest.raises(ValueError, match="write NAME=DIR"):
        checkouts.parse("mpib")
    with pytest.raises(ValueError, match=r"no checkout of MPIB \(demo.py is missing\)"):
        checkouts.parse(f"mpib={tmp_path}")


def test_the_table_has_a_row_for_it_or_the_reason(tmp_path, monkeypatch, capsys):
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "p06_cards").symlink_to(bench_ground_truth.SUITE / "p06_cards")
    make("mpib", tmp_path)
    python = make_python(tmp_path, "echo True")

    def run(*words):
        places = ["--checkout", f"mpib={tmp_path / 'mpib'}", "--checkout-python", python]
        monkeypatch.setattr(
            sys, "argv", ["bench", str(suite), "--only", "no blur", *places, *words]
        )
        bench_ground_truth.main()
        return capsys.readouterr()

    said = run("--output", str(tmp_path / "scores.json"), "--sheets", str(tmp_path / "sheets"))
    assert "| 8 bit: MPIB, its own code |" in said.out
    assert "| 8 bit: no blur |" in said.out
    assert said.err == ""
    with Image.open(tmp_path / "sheets/p06_cards_0.png") as sheet:
        assert sheet.width == 3 * 512
    (tmp_path / "mpib/checkpoints/net.pth").unlink()
    said = run()
    assert "MPIB" not in said.out
    begin = "8 bit: MPIB, its own code: left out, "
    assert said.err == f"{begin}FileNotFoundError: checkpoints/net.pth\n"
    make_python(tmp_path, "echo False")
    assert run().err == f"{begin}it needs CUDA, and torch finds none\n"
    for words, line in (
        (("--checkout", "mpib=nowhere"), "nowhere: no checkout of MPIB (demo.py is missing)"),
        (("--checkout", f"mpib={tmp_path / 'mpib'}"), "--checkout: one folder for each method"),
        (("--output", "none/x.json"), "none/x.json: no such folder"),
        (("--output", str(tmp_path)), f"{tmp_path}: a folder, not a file"),
        (("--only", "nothing like it"), f"no method is left; there are {', '.join(METHODS)}"),
    ):
        with pytest.raises(SystemExit) as left:
            run(*words)
        assert left.value.code == 2
        said = capsys.readouterr().err
        assert said.endswith(f"{line}\n")
        assert "usage:" not in said


@pytest.fixture
def small_suite(tmp_path):
    """A scene of 48x64 with one photograph, traced through six blades."""
    sample = next(iter(bench_ground_truth.read_suite(bench_ground_truth.SUITE)))
    folder = tmp_path / "suite/scene"
    folder.mkdir(parents=True)
    for name, picture in (("all_in_focus", sample.image), ("bokeh_0", sample.bokeh)):
        Image.fromarray(np.uint8(255 * picture[::8, ::8] + 0.5)).save(folder / f"{name}.png")
    np.savez(folder / "all_in_focus_linear.npz", rgb=sample.radiance[::8, ::8])
    np.savez(folder / "disparity.npz", disparity=sample.disparity[::8, ::8])
    entry = {"index": 0, "image": "bokeh_0.png", "focus": sample.focus, "K": sample.blur / 8}
    entry["aperture_shape"] = "6 straight blades, rotation 0 degrees"
    (folder / "meta.json").write_text(json.dumps({"samples": [entry]}))
    return folder.parent


@pytest.fixture
def score(small_suite, monkeypatch, capsys):
    """Runs the benchmark with further words; gives its code and what it said."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["bench", str(small_suite), "--only", "no blur", *words])
        code = 0
        try:
            bench_ground_truth.main()
        except SystemExit as left:
            code = left.code
        return code, capsys.readouterr()

    return run


def test_the_method_of_the_page_has_a_row(score, tmp_path):
    page = (bench_ground_truth.SUITE / "README.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    (tmp_path / "mine.py").write_text(block)
    name = f"{tmp_path}/mine.py:blurred"
    code, said = score("--method", name, "--sheets", str(tmp_path / "sheets"))
    assert code == 0
    own, unblurred = (line.split("|")[1:3] for line in said.out.splitlines()[-2:])
    assert (own[0].strip(), unblurred[0].strip()) == (name, "8 bit: no blur")
    assert float(own[1]) > float(unblurred[1]) + 3
    with Image.open(tmp_path / "sheets/scene_0.png") as sheet:
        assert sheet.width == 3 * 64


def test_another_opening_than_ours_is_said(score):
    code, said = score()
    assert code == 0
    assert said.err.endswith(
        "traced with 6 straight blades, rotation 0 degrees; our methods render a round opening, "
        "and lose by that\n"
    )


def test_a_method_that_does_not_work_is_one_line_and_code_2(score, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "def failing(sample): raise RuntimeError('two\\nlines')\n"
        "def narrow(sample): return sample.image[:, 1:]\n"
        "def empty(sample): return np.full_like(sample.image, np.nan)\n"
        "def bytes_(sample): return np.uint8(255 * sample.image)\n"
    )
    (tmp_path / "torn.py").write_text("def (:\n")
    mine = f"{tmp_path}/mine.py"
    for method, line in (
        ("mine.py", "mine.py: write FILE.py:FUNCTION"),
        (f"{tmp_path}/none.py:f", "none.py: no such file"),
        (f"{tmp_path}/torn.py:f", "torn.py: cannot be imported: SyntaxError: invalid syntax"),
        (f"{mine}:f", "mine.py: has no function f"),
        (f"{mine}:failing", "mine.py:failing at scene/0: RuntimeError: two lines"),
        (f"{mine}:narrow", "at scene/0: gave shape (48, 63, 3), not (48, 64, 3)"),
        (f"{mine}:empty", "at scene/0: gave values that are not finite"),
        (f"{mine}:bytes_", "at scene/0: gave values from 0 to 25"),
    ):
        code, said = score("--method", method)
        assert code == 2
        assert line in said.err.splitlines()[-1]
        assert "Traceback" not in said.err
