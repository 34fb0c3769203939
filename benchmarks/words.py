"""Command lines of the benchmarks."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def error(self, message: str) -> NoReturn:
        """Ends the process."""
        self.exit(2, f"{self.prog}: {message}\n")


def file_to_write(text: str) -> Path:
    """A file in a folder that is there."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path}: a folder, not a file")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path}: no such folder")
    return path


def folder_to_fill(text: str) -> Path:
    """A folder that is there or can be made."""
    path = Path(text)
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise argparse.ArgumentTypeError(f"{nearest}: a file, not a folder")
    return path


def official(text: str) -> Path:
    """A checkout of the authors' repository."""
    path = Path(text)
    if not (path / "models" / "bokeh_net.py").is_file():
        raise argparse.ArgumentTypeError(
            f"{path}: no checkout of the authors' repository (models/bokeh_net.py is missing)"
        )
    return path


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Ends the process with one line and code 130 for Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        print("benchmarks: interrupted", file=sys.stderr)
        sys.exit(130)
