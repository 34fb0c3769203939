"""The optional parts of an installation, and what to say where one is missing."""

import contextlib
import importlib.util
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

EXTRAS = {
    "train": {
        "grain": "grain",
        "matplotlib": "matplotlib",
        "optax": "optax",
        "orbax-checkpoint": "orbax",
        "tensorflow-datasets": "tensorflow_datasets",
    },
    "depth": {"huggingface-hub": "huggingface_hub", "onnxruntime": "onnxruntime"},
    "app": {"anyio": "anyio", "scipy": "scipy", "starlette": "starlette", "uvicorn": "uvicorn"},
    "exr": {"OpenEXR": "OpenEXR"},
    "truth": {"mitsuba": "mitsuba", "scikit-image": "skimage", "scipy": "scipy"},
}
"""The packages that make each extra, and the module that each is imported as."""


class MissingExtraError(ModuleNotFoundError, ValueError):
    """An optional package is not installed; the line says which extra brings it."""


def python() -> str:
    """How this Python is called from the folder that the user is in."""
    found = shutil.which("python")
    if found is not None and Path(found).parent == Path(sys.executable).parent:
        return "python"
    executable, here = Path(sys.executable), Path.cwd()
    return str(executable.relative_to(here) if executable.is_relative_to(here) else executable)


def hint(extra: str) -> str:
    """How to install an extra; the library is not published yet."""
    return f"{shlex.quote(python())} -m pip install '.[{extra}]' in a clone of d2f_jax"


@contextlib.contextmanager
def needed(what: str) -> Iterator[None]:
    """Around the import of an optional package, for whatever needs it.

    Raises:
      MissingExtraError: in place of the error of an import that finds no package of an extra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        extra = next((e for e, names in EXTRAS.items() if module in names.values()), None)
        if extra is None:
            raise
        raise MissingExtraError(f"{what} needs {module}: {hint(extra)}", name=module) from None


def end_or_raise(error: MissingExtraError, name: str) -> NoReturn:
    """For a package of commands: one line and code 2 if it is imported for `python -m`.

    Python sets its first word to -m while it looks for the module; else the error is raised.
    """
    if sys.argv[0] != "-m":
        raise error
    print(f"{name}: {error}", file=sys.stderr)
    sys.exit(2)


def check(extra: str, what: str) -> None:
    """Sees, without importing it, that all of an extra is there.

    Raises:
      MissingExtraError: if it is not.
    """
    missing = [n for n, module in EXTRAS[extra].items() if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingExtraError(f"{what} needs {', '.join(missing)}: {hint(extra)}")
