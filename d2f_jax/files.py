"""Reading and writing whole files: one clear line for what can go wrong, nothing half-written."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Reads a file.

    Raises:
      ValueError: if it is missing, a folder, empty or not readable.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ValueError(f"{path}: a folder, not a file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        raise ValueError(f"{path}: cannot read it: {_reason(error)}") from error
    if not data:
        raise ValueError(f"{path}: the file is empty (0 bytes); make a new copy of it")
    return data


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary name in the folder of `path` and renames it to `path` at the end.

    If the body fails, the temporary file goes away and `path` stays as it was.

    Raises:
      ValueError: if the folder is missing or cannot be written, or writing fails (disk full).
    """
    path = Path(path)
    try:
        handle, name = tempfile.mkstemp(path.suffix, f".{path.stem}.", path.parent)
        os.close(handle)
        try:
            yield Path(name)
            os.chmod(name, 0o644)  # mkstemp's files are for their owner only
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ValueError(f"{path}: cannot write there: {_reason(error)}") from error


@contextlib.contextmanager
def making(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary folder beside `path` and renames it to `path` at the end.

    If the body fails, the temporary folder goes away. `path` is not there, or an empty folder.

    Raises:
      ValueError: if something is there, or it cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield temporary
            temporary.chmod(0o755)  # mkdtemp's folders are for their owner only
            temporary.rename(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise ValueError(f"{path}: cannot be written: {_reason(error)}") from error


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file, whole or not at all; see `replacing` for the errors."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Puts a file's name before what the body complains of, and makes no memory a complaint.

    Raises:
      ValueError: in place of the body's ValueError, MemoryError or JAX's error for no memory.
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            raise ValueError(f"{path}: not enough memory; scale the picture down") from error
        raise


def counted(number: int, noun: str) -> str:
    """A number of things in words, such as "1 pair" and "2 pairs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def one_line(error: BaseException) -> str:
    """The kind of an error and what it says, without line breaks."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def identity(path: str | os.PathLike[str]) -> str:
    """The same for all names of a file; the file need not exist."""
    return os.path.normcase(os.path.realpath(path))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
