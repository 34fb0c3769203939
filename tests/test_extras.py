"""Where an optional package is missing, one line says which extra brings it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from d2f_jax import extras

ROOT = Path(__file__).parent.parent
BLOCKER = "import os, sys; sys.modules.update(dict.fromkeys(os.environ['WITHOUT'].split()))"


def run(tmp_path, without, *words):
    """Python with these words, as if packages were not installed."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    environment = os.environ | {"PYTHONPATH": path, "WITHOUT": without, "PATH": "/nowhere"}
    return subprocess.run(
        [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("module", ["stage1", "stage2", "evaluate", "export", "plot", "ablate"])
def test_training_commands(tmp_path, module):
    done = run(tmp_path, "grain optax", "-m", f"train.{module}")
    assert done.returncode == 2
    hint = f"{sys.executable} -m pip install '.[train]' in a clone of d2f_jax"
    assert done.stderr == f"error: training needs grain, optax: {hint}\n"


def test_benchmarks(tmp_path):
    done = run(tmp_path, "torch", "-m", "benchmarks.bench_render")
    assert done.returncode == 2
    pip = f"{sys.executable} -m pip install"
    hint = f"{pip} --upgrade pip && {pip} -e '.[train,depth,app]' --group test"
    assert done.stderr == f"benchmarks: benchmarks need torch: {hint}\n"


def test_ray_tracing_needs_its_own_extra_alone(tmp_path):
    done = run(tmp_path, "torch optax matplotlib", "-m", "benchmarks.trace", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    words = ("-m", "benchmarks.trace", "fence", "--out", "x")
    done = run(tmp_path, "torch mitsuba", *words)
    assert done.returncode == 2
    assert "ray tracing needs mitsuba: " in done.stderr


@pytest.mark.parametrize(
    ("without", "module"),
    [
        ("grain", "d2f_jax.training.data.loader"),
        ("tensorflow_datasets", "d2f_jax.training.data.ebb"),
        ("orbax", "d2f_jax.training.checkpoints"),
        ("grain", "train.batches"),
        ("torch", "benchmarks.common"),
    ],
)
def test_imports(tmp_path, without, module):
    """Python's own traceback ends with the line, and no import of the library above it is lost."""
    done = run(tmp_path, without, "-c", f"import {module}")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert f"{without}: {sys.executable} -m pip install" in last
    assert "During handling" not in done.stderr


@pytest.mark.parametrize("module", ["anyio", "scipy", "starlette", "uvicorn"])
def test_the_page(tmp_path, module):
    done = run(tmp_path, module, "-m", "d2f_jax", "app")
    assert done.returncode == 2
    hint = f"{sys.executable} -m pip install '.[app]' in a clone of d2f_jax"
    assert done.stderr == f"d2f: the page needs {module}: {hint}\n"


def test_python_is_called_as_the_user_can_call_it(tmp_path, monkeypatch):
    environment = tmp_path / "env" / "bin"
    environment.mkdir(parents=True)
    (environment / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(environment / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    assert extras.python() == str(environment / "python")
    monkeypatch.chdir(tmp_path)
    assert extras.python() == "env/bin/python"
    monkeypatch.setenv("PATH", str(environment))
    assert extras.python() == "python"


def test_other_errors_of_imports_pass():
    with pytest.raises(ModuleNotFoundError, match="no_such_package"), extras.needed("this"):
        import no_such_package  # type: ignore[import-not-found]  # noqa: F401
