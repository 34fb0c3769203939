"""`d2f doctor`: what a report of a fault should say of the machine, and what is missing on it."""

import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import d2f_jax
from d2f_jax import extras, files

PACKAGES = ("jax", "jaxlib", "flax", "numpy", "pillow", "pi-heif", "imagecodecs", "tifffile")
"""What every installation has."""


def report() -> Iterator[str]:
    """The lines of the report; nothing that is wrong ends it."""
    yield f"d2f_jax      {d2f_jax.__version__}"
    yield f"python       {platform.python_version()}, {platform.platform()}"
    yield f"machine      {os.cpu_count()} cores, {_memory()}"
    yield from (f"{name:<12} {_version(name) or 'missing'}" for name in PACKAGES)
    yield f"devices      {_devices()}"
    yield f"weights      {_weights()}"
    yield f"compiled     {_cache()}"
    for extra, packages in extras.EXTRAS.items():
        found = {name: _version(name) for name in packages}
        missing = [name for name, number in found.items() if number is None]
        if missing:
            yield f"{extra:<12} without {', '.join(missing)}: {extras.hint(extra)}"
        else:
            yield f"{extra:<12} {', '.join(f'{n} {number}' for n, number in found.items())}"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _memory() -> str:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return "memory unknown"
    return f"{total / 2**30:.1f} GiB"


def _devices() -> str:
    try:
        import jax

        return ", ".join(f"{d.platform}: {d.device_kind}" for d in jax.devices())
    except Exception as error:  # a driver that does not fit fails in many ways
        return f"none: {files.one_line(error)}"


def _weights() -> str:
    try:
        from d2f_jax import pipeline

        loaded = pipeline.load()
    except Exception as error:  # also what is wrong with an installation
        return f"cannot be loaded: {files.one_line(error)}"
    place = pipeline.DEFAULT_WEIGHTS
    size = place.stat().st_size / 1e6
    return f"{loaded.metadata['architecture']}, {size:.1f} MB, checksum right ({place})"


def _cache() -> str:
    name = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if name is None:
        return "not kept between runs: no folder that can be written"
    sizes = [path.stat().st_size for path in Path(name).rglob("*") if path.is_file()]
    return f"{len(sizes)} files, {sum(sizes) / 1e6:.0f} MB in {name}"


def run() -> int:
    """Prints the report; 0."""
    for line in report():
        print(line, file=sys.stdout, flush=True)
    return 0
