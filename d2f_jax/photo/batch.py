"""`d2f bokeh` and `d2f depth`: from files to files. One bad photograph does not stop the others."""

import functools
import glob
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress

from d2f_jax import files, pipeline
from d2f_jax.photo import canvases, depth_io, develop, image_io, map_sources, renderers
from d2f_jax.photo.disparity import DisparityOutput
from d2f_jax.photo.settings import MapSettings, Settings

_MAPS = {False: (), True: ("_defocus.png", "_radiance.png", "_mask.png", "_maps.npz")}


def run(
    images: Sequence[str],
    settings: Settings,
    *,
    output: str | None = None,
    save_maps: bool = False,
    skip: bool = False,
    recursive: bool = False,
) -> int:
    """Develops photographs, with a progress bar for several in a terminal.

    Args:
      images: Files, folders and patterns.
      settings: How each is developed.
      output: File or folder to write to; None: beside the photographs.
      save_maps: Whether the maps made on the way are written too.
      skip: Whether photographs whose result is there are left alone.
      recursive: Whether subfolders of folders are looked into.

    Returns:
      0, or 1 if some of several photographs failed; a line on stderr says why.

    Raises:
      ValueError: if nothing can be done: wrong options, or the only photograph failed.
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    sources = find_photographs(images, recursive=recursive, notify=console.print)
    several = len(sources) > 1
    for place, what in ((settings.disparity, "map"), (settings.mask, "mask")):
        if place is not None and several and not place.is_dir():
            raise ValueError(
                f"{place}: one {what} cannot serve {len(sources)} photographs; give a folder of "
                f"{what}s"
            )
    work, map_of = renderers.renderer(settings), map_sources.find(settings, console.print)
    keep = (settings.disparity, settings.mask, settings.weights)
    roots = [Path(name) for name in images if Path(name).is_dir()]
    targets = plan_targets(
        sources, output, roots=roots, save_maps=save_maps, keep=keep, notify=console.print
    )

    pairs = list(zip(sources, targets, strict=True))
    if skip:
        pairs = [(source, target) for source, target in pairs if not target.exists()]
        if len(pairs) < len(sources):
            console.print(f"d2f: note: {len(sources) - len(pairs)} done before, left alone")
    bar = Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        console=console,
        disable=not (several and console.is_terminal),
    )
    planned: list[canvases.Size | None] = [None] * len(pairs)
    if several and not settings.restore_highlights:  # a rule that looks around sees the canvas
        planned = canvases.plan([canvases.size_of(source) for source, _ in pairs])
    order = sorted(range(len(pairs)), key=lambda index: planned[index] or (0, 0))
    failed, said = 0, _InOrder(console.print)
    alone = pairs and not several  # a status is seen in a terminal only
    status = console.status(f"developing {escape(sources[0].name)}") if alone else nullcontext()
    with bar, status:
        for index in bar.track(order, description="photographs"):
            source, target = pairs[index]
            notify = functools.partial(said.add, index)
            try:
                _one(
                    source,
                    target,
                    functools.partial(work, canvas=planned[index]),
                    map_of,
                    settings.mask,
                    save_maps=save_maps,
                    notify=notify,
                )
            except ValueError as error:
                if not several:
                    raise
                failed += 1
                notify(f"d2f: {' '.join(str(error).split())}")
            said.done(index)
    if not several:
        print(targets[0])
    elif pairs:
        where = "beside them, as NAME_bokeh" if output is None else f"in {output}"
        print(f"{len(pairs) - failed} of {len(pairs)} photographs done, {where}")
    if failed:
        console.print(f"d2f: {failed} of {len(pairs)} photographs failed")
    return 1 if failed else 0


class _InOrder:
    """Prints what is said of pieces of work in their order, whatever the order of the work."""

    def __init__(self, show: Callable[[str], None]):
        self._show, self._now = show, 0
        self._kept: dict[int, list[str]] = {}
        self._done: set[int] = set()

    def add(self, index: int, line: str) -> None:
        """A line on a piece: printed at once if all before it are done."""
        if index == self._now:
            self._show(line)
        else:
            self._kept.setdefault(index, []).append(line)

    def done(self, index: int) -> None:
        """Nothing more will be said of a piece."""
        self._done.add(index)
        while self._now in self._done:
            self._now += 1
            for line in self._kept.pop(self._now, []):
                self._show(line)


def write_map(image: str, settings: MapSettings, *, output: str | None = None) -> int:
    """Writes the map that a photograph would be developed with, and says what it is.

    Without a map of any kind that is the defocus map of the networks, turned so that what they
    keep sharp is brightest.

    Args:
      image: The photograph.
      settings: Where its map comes from.
      output: File to write, .png or .npz; None: NAME_depth.png beside the photograph.

    Returns:
      0.

    Raises:
      ValueError: if there is no such photograph or map, or the file cannot be written.
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    source = Path(image)
    target = source.with_name(f"{source.stem}_depth.png") if output is None else Path(output)
    for path in (source, settings.disparity, settings.weights, settings.depth_model):
        if path is not None and files.identity(path) == files.identity(target):
            raise ValueError(f"{target}: would replace {path}; name another with --output")
    depth_io.check_written(target)
    map_of = map_sources.find(settings, console.print)
    photo, made, _ = map_of(source, _read(source, console.print), console.print)
    if made is None:
        with files.naming(source):
            seen = develop.defocus(pipeline.load(settings.weights), photo)
            made = DisparityOutput(develop.hallucinated(photo, seen))
    depth_io.write_disparity(target, made.disparity, metric=made.metric)
    low, high = made.disparity.min(), made.disparity.max()
    unit = " 1/m" if made.metric else " on a scale of its own"
    range_ = f"{low:.4g} to {high:.4g}{unit}, greater = nearer{map_sources.described(made)}"
    rows, columns = made.disparity.shape
    console.print(f"d2f: note: {target}: {columns}x{rows} pixels, {range_}")
    print(target)
    return 0


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


def _one(
    source: Path,
    target: Path,
    work: Callable[..., develop.Developed],
    map_of: map_sources.MapSource,
    mask: Path | None,
    *,
    save_maps: bool,
    notify: Callable[[str], None],
) -> None:
    """Read, map, develop, write; a ValueError says what is wrong and with which file."""
    mapped = read_mapped(source, map_of, mask, notify)
    with files.naming(source):
        done = work(*mapped)
    if done.notice:
        notify(f"d2f: note: {source}: {done.notice}")
    if save_maps:
        for name, values in done.pictures.items():
            depth_io.write_map(target.with_name(f"{target.stem}_{name}.png"), values)
        depth_io.write_maps(target.with_name(f"{target.stem}_maps.npz"), **done.maps)
    image_io.write_photo(target, done.photo)


def read_mapped(
    source: Path, map_of: map_sources.MapSource, mask: Path | None, notify: map_sources.Notify
) -> map_sources.Mapped:
    """Reads a photograph with its map and the mask of what stays sharp.

    Args:
      source: The photograph's file.
      map_of: Where its map comes from.
      mask: File of the mask, or a folder with one of the photograph's name.
      notify: Gets a line on what the user should know.

    Raises:
      ValueError: saying what is wrong and with which file.
    """
    mapped = map_of(source, _read(source, notify), notify)
    if mask is None:
        return mapped
    return mapped._replace(mask=map_sources.mask(mask, source, mapped.photo))


def _read(source: Path, notify: Callable[[str], None]) -> image_io.Photo:
    """Reads a photograph that is large enough, and says what there is to say of its file."""
    photo = image_io.read_photo(source)
    for note in photo.notes:
        notify(f"d2f: note: {source}: {note}")
    with files.naming(source):
        develop.check_size(photo)
    return photo


def _originals(paths: Iterable[Path]) -> list[Path]:
    """Leaves out what an earlier run wrote of others among the paths."""
    paths = list(paths)
    results = {p.with_name(p.stem + end) for p in paths for end in ("_bokeh", "_depth")}
    results |= {p.with_name(f"{_with_kind(p)}_bokeh") for p in paths}
    results |= {p.with_name(p.name + end.split(".")[0]) for p in results for end in _MAPS[True]}
    return [p for p in paths if p.with_suffix("") not in results]
