"""The documents say what the code does: names exist, every piece of the paper has a row."""

import functools
import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image

from d2f_jax import cli

ROOT = Path(__file__).parents[1]
DOCS = sorted(
    path for pattern in ("*.md", "docs/*.md", "benchmarks/**/*.md") for path in ROOT.glob(pattern)
)
NAME = re.compile(r"`((?:d2f_jax|train|benchmarks)(?:\.\w+)+)")


def resolve(name: str) -> object:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            value = getattr(value, part)
        return value
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_names_in_the_documents_exist(path):
    for name in NAME.findall(path.read_text(encoding="utf-8")):
        resolve(name)


def test_every_piece_of_the_paper_has_a_row():
    rows = re.findall(r"^\| ([^|]+) \| (.+) \|$", (ROOT / "docs/paper.md").read_text(), re.M)
    pieces = {piece: where for piece, where in rows}
    expected = ["Alg. 1", *(f"Eq. {n}" for n in range(1, 24))]
    expected += [f"Table {n}" for n in range(1, 9)]
    expected += [f"Fig. {n}" for n in range(1, 16)]
    assert [piece for piece in pieces if piece != "in the paper"] == expected
    assert all(pieces.values())


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_and_pictures_of_the_documents_exist(path):
    for target in re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


BLOCKS = [
    pytest.param(block, id=f"{path.name}-{number}")
    for path in DOCS
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```$", path.read_text(encoding="utf-8"), re.M | re.S)
    )
]


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
def test_every_python_block_runs_as_printed(block, tmp_path):
    for path in ROOT.iterdir():  # what a block writes lies beside these links
        (tmp_path / path.name).symlink_to(path)
    environment = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # compiles faster
    command = [sys.executable, "-c", block]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


COMMANDS = sorted(
    {
        line.split(" #")[0].strip()
        for path in DOCS
        for kind, block in re.findall(
            r"^```(\w*)\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S
        )
        if kind in ("", "bash")
        for line in block.replace("\\\n", "").replace("&&", "\n").splitlines()
        if re.match(r"\s*(\.venv/bin/)?(d2f|python -m (train|benchmarks)\.\w+) ", line)
    }
)


@functools.cache
def help_of(program: str, *words: str) -> str:
    module = "d2f_jax" if program == "d2f" else program
    command = [sys.executable, "-m", module, *words, "--help"]
    environment = os.environ | {"COLUMNS": "500"}  # no option is broken across lines
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_has_the_options_that_are_printed(line):
    words = line.removeprefix(".venv/bin/").removeprefix("python -m ").split()
    chosen = words[0] in ("d2f", "train.stage1", "train.stage2")  # a subcommand, or a preset
    text = help_of(*words[: 1 + chosen])
    for option in (word for word in words if word.startswith("--")):
        assert re.search(rf"{option}(?![\w-])", text), f"{option} is not in the help"


@pytest.mark.slow
def test_the_commands_of_the_readme_run_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Image.open(ROOT / "docs/samples/otter.jpg") as picture:
        small = picture.resize((700, 450))
    Path("photos").mkdir()
    Path("maps").mkdir()
    shutil.copytree(ROOT / "docs/samples", "docs/samples")
    for name in ("photos/a.jpg", "photos/b.jpg", "photo.jpg"):
        small.save(name)
    pillow_heif.from_pillow(small).save("photo.heic")
    for name in ("a", "b"):
        Image.linear_gradient("L").resize(small.size).save(f"maps/{name}.png")
    shutil.copy(next((ROOT / "d2f_jax/models/assets").glob("*.safetensors")), "d2f.safetensors")
    block = (ROOT / "README.md").read_text("utf-8").split("## On the command line")[1]
    lines = [line.split(" #")[0] for line in block.split("```")[1].splitlines()]
    runnable = [
        line
        for line in lines
        if "d2f " in line and not any(word in line for word in ("d2f app", "convert", "-model"))
    ]
    assert len(runnable) == 5
    for line in runnable:
        words = line.split()[1:]
        at = next((n for n, word in enumerate(words) if "*" in word), None)
        if at is not None:  # as a shell does
            words[at : at + 1] = [str(path) for path in sorted(tmp_path.glob(words[at]))]
        assert cli.main(words) == 0, line
    made = ["photos/a_bokeh.jpg", "photos/b_bokeh.jpg", "out/a_bokeh.jpg", "photo_bokeh.jpg"]
    made += ["docs/samples/motorcycle_bokeh.jpg"]
    assert all(Path(name).exists() for name in made), sorted(tmp_path.rglob("*"))


def test_every_file_is_in_the_architecture():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rooms = [path for path in (ROOT / "d2f_jax").glob("*/*.py")]
    for path in [*(ROOT / "d2f_jax").glob("*.py"), *rooms]:
        if not path.name.startswith("__"):
            assert path.name in text, f"docs/architecture.md does not mention {path.name}"


def test_every_file_that_the_architecture_names_exists():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    folders = ("d2f_jax", "train", "benchmarks", "docs", "tests")
    there = [f"/{path.relative_to(ROOT)}" for f in folders for path in (ROOT / f).rglob("*.py")]
    for name in set(re.findall(r"[\w/]+\.py\b", text)):
        assert any(path.endswith(f"/{name}") for path in there), name
