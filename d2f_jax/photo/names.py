"""Which photographs are meant, and what their results are called."""

import glob
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from d2f_jax import files
from d2f_jax.photo import image_io

_MAPS = {False: (), True: ("_defocus.png", "_radiance.png", "_mask.png", "_maps.npz")}


def find_photographs(
    names: Sequence[str],
    *,
    recursive: bool = False,
    notify: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Expands folders and patterns, leaving out results of earlier runs, which a shell names too.

    A name that is neither stays as it is, whether or not there is such a file.

    Args:
      names: Files, folders and patterns.
      recursive: Whether subfolders of folders are looked into; they get a note otherwise.
      notify: Gets a line on what was left out.

    Raises:
      ValueError: if there is no name, or a folder or pattern without any photograph.
    """
    if not names:
        raise ValueError("no photographs named: d2f bokeh IMAGE...; see d2f bokeh --help")
    found: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            try:
                inside = list(path.iterdir())
                below = sorted(p.name for p in inside if p.is_dir() and not p.name.startswith("."))
                if below and recursive:
                    deep = (p for p in path.rglob("*") if p.is_file())
                    inside = [p for p in deep if not _is_hidden(p.relative_to(path))]
                elif below:
                    left = f"subfolders left out ({_listed(below)}); see --recursive"
                    notify(f"d2f: note: {name}: {left}")
            except OSError as error:
                raise ValueError(f"{name}: cannot list it: {error.strerror}") from error
            some = [p for p in inside if p.suffix.lower() in image_io.SUFFIXES]
            some = _originals(p for p in some if p.is_file() and not _is_hidden(Path(p.name)))
        elif glob.has_magic(name) and not path.exists():
            matches = (Path(match) for match in glob.glob(name, recursive=True))
            some = _originals(p for p in matches if p.is_file())
        else:
            some = [path]
        if not some:
            raise ValueError(f"{name}: no photographs there ({', '.join(image_io.SUFFIXES)})")
        found += sorted(some)
    originals = _originals(dict.fromkeys(found))
    if left := sorted({p.name for p in found} - {p.name for p in originals}):
        notify(f"d2f: note: results of an earlier run left out: {_listed(left)}")
    return originals


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _listed(names: Sequence[str]) -> str:
    """The first of some names."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def plan_targets(
    sources: Sequence[Path],
    output: str | None = None,
    *,
    roots: Sequence[Path] = (),
    save_maps: bool = False,
    keep: Sequence[Path | None] = (),
    notify: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Names the file for every photograph, and sees that none of them would do harm.

    Args:
      sources: Photographs.
      output: File (for one photograph) or folder, which is made; None: beside the photographs.
      roots: Folders that the user named: what lies below one keeps its subfolders in `output`.
      save_maps: Whether there will be maps beside the targets.
      keep: Other files that must not be replaced.
      notify: Gets a line on each name that is not the usual one.

    Raises:
      ValueError: if a target would replace a photograph or another target, has an ending that
        cannot be written, or lies in a folder that is missing or cannot be written.
    """
    folder = None
    if output is None:
        targets = _named(sources, [p.parent for p in sources], save_maps, notify)
    elif Path(output).is_dir() or output.endswith(("/", os.sep)) or not Path(output).suffix:
        folder = Path(output)
        targets = _named(sources, [folder / _below(p, roots) for p in sources], save_maps, notify)
    elif len(sources) > 1:
        raise ValueError(
            f"{output}: one file cannot hold {len(sources)} photographs; name a folder"
        )
    else:
        targets = [Path(output)]

    taken = {files.identity(path): path for path in (*sources, *keep) if path is not None}
    for source, target in zip(sources, targets, strict=True):
        if target.suffix.lower() not in image_io.WRITTEN_SUFFIXES:
            endings = ", ".join(image_io.WRITTEN_SUFFIXES)
            raise ValueError(f"{target}: choose an ending among {endings}")
        if (target.suffix.lower() == ".exr") != (source.suffix.lower() == ".exr"):
            raise ValueError(f"{target}: EXR files come from EXR files, and only they")
        maps = [target.with_name(target.stem + end) for end in _MAPS[save_maps]]
        for path in (target, *maps):
            other = taken.setdefault(files.identity(path), path)
            if other is not path:
                raise ValueError(f"{path}: would replace {other}; name another with --output")
        if target.is_dir():
            raise ValueError(f"{target}: a folder has this name; name another with --output")
        if target.parent.is_dir() and not os.access(target.parent, os.W_OK):
            raise ValueError(
                f"{target.parent}: cannot write to this folder; name another with --output"
            )
        if folder is None and output is not None and not target.parent.is_dir():
            raise ValueError(f"{target.parent}: no such folder; make it or name another")
    if folder is not None:
        for place in dict.fromkeys((folder, *(target.parent for target in targets))):
            try:
                place.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ValueError(f"{place}: cannot make this folder: {error.strerror}") from error
    return targets


def _below(source: Path, roots: Sequence[Path]) -> Path:
    """The subfolders between the named folder that a photograph lies in, and the photograph."""
    root = next((root for root in roots if source.is_relative_to(root)), source.parent)
    return source.parent.relative_to(root)


def _named(
    sources: Sequence[Path],
    folders: Sequence[Path],
    save_maps: bool,
    notify: Callable[[str], None],
) -> list[Path]:
    """A name for every result: NAME_bokeh, or NAME_KIND_bokeh where another file has the first.

    `a.heic` and `a.jpg` would both be written to `a_bokeh.jpg`: the one that is of that kind is.
    """
    plain = [
        folder / f"{source.stem}_bokeh{image_io.result_suffix(source)}"
        for source, folder in zip(sources, folders, strict=True)
    ]
    shared = [target.with_suffix("") if save_maps else target for target in plain]  # with its maps
    rows = list(zip(sources, plain, shared, strict=True))
    owners: dict[Path, Path] = {}
    for source, _, name in sorted(rows, key=lambda row: row[0].suffix != row[1].suffix):
        owners.setdefault(name, source)
    targets = []
    for source, target, name in rows:
        owner = owners[name]
        if owner.suffix != source.suffix:
            usual = target.name
            target = target.with_name(f"{_with_kind(source)}_bokeh{target.suffix}")
            notify(f"d2f: note: {source}: becomes {target.name}, since {owner} becomes {usual}")
        targets.append(target)
    return targets


def _with_kind(path: Path) -> str:
    return f"{path.stem}_{path.suffix[1:].lower()}"


def _originals(paths: Iterable[Path]) -> list[Path]:
    """Leaves out what an earlier run wrote of others among the paths."""
    paths = list(paths)
    results = {p.with_name(p.stem + end) for p in paths for end in ("_bokeh", "_depth")}
    results |= {p.with_name(f"{_with_kind(p)}_bokeh") for p in paths}
    results |= {p.with_name(p.name + end.split(".")[0]) for p in results for end in _MAPS[True]}
    return [p for p in paths if p.with_suffix("") not in results]
