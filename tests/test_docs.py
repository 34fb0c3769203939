"""The documents say what the code does: names exist, every piece of the paper has a row."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
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
def test_every_python_block_runs_as_printed(block):
    environment = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # compiles faster
    command = [sys.executable, "-c", block]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_file_is_in_the_architecture():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rooms = [path for path in (ROOT / "d2f_jax").glob("*/*.py")]
    for path in [*(ROOT / "d2f_jax").glob("*.py"), *rooms]:
        if not path.name.startswith("__"):
            assert path.name in text, f"docs/architecture.md does not mention {path.name}"
