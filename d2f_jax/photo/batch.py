"""`d2f bokeh` and `d2f depth`: from files to files. One bad photograph does not stop the others."""

import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress

from d2f_jax import files, pipeline
from d2f_jax.photo import (
    canvases,
    decoders,
    depth_io,
    develop,
    image_io,
    map_sources,
    names,
    renderers,
)
from d2f_jax.photo.disparity import DisparityOutput
from d2f_jax.photo.settings import MapSettings, Settings


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
    sources = names.find_photographs(images, recursive=recursive, notify=console.print)
    several = len(sources) > 1
    for place, what in ((settings.disparity, "map"), (settings.mask, "mask")):
        if place is not None and several and not place.is_dir():
            serves = f"one {what} cannot serve {len(sources)} photographs"
            wrong = serves if place.exists() else "no such folder"
            raise ValueError(f"{place}: {wrong}; give a folder of {what}s")
    work, check = renderers.renderer(settings), functools.partial(renderers.check, settings)
    map_of = map_sources.find(settings, console.print, check)
    keep = (settings.disparity, settings.mask, settings.weights)
    roots = [Path(name) for name in images if Path(name).is_dir()]
    targets = names.plan_targets(
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
    finished, failed = 0, 0
    said = _InOrder(console.print, [source for source, _ in pairs])
    alone = pairs and not several  # a status is seen in a terminal only
    doing = f"developing {escape(sources[0].name)} (the first time a minute: code is compiled)"
    status = console.status(doing) if alone else nullcontext()
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
            except KeyboardInterrupt:
                said.all()
                if several:
                    before = f"{finished} of {len(pairs)} photographs done before"
                    console.print(f"d2f: note: {before}; --skip goes on")
                raise
            else:
                finished += 1
            said.done(index)
    if not several:
        print(targets[0])
    elif pairs:
        where = "beside them, as NAME_bokeh" if output is None else f"in {output}"
        print(f"{finished} of {len(pairs)} photographs done, {where}")
    if failed:
        console.print(f"d2f: {failed} of {len(pairs)} photographs failed")
    return 1 if failed else 0


class _InOrder:
    """Prints what is said of photographs in their order, whatever the order of the work.

    What is wrong with several in the same words is said in full of the first alone.
    """

    def __init__(self, show: Callable[[str], None], sources: list[Path]):
        self._print, self._sources, self._now = show, sources, 0
        self._kept: dict[int, list[str]] = {}
        self._done: set[int] = set()
        self._first: dict[str, Path] = {}  # with a reason

    def add(self, index: int, line: str) -> None:
        """A line on a photograph: printed at once if all before it are done."""
        if index == self._now:
            self._show(index, line)
        else:
            self._kept.setdefault(index, []).append(line)

    def done(self, index: int) -> None:
        """Nothing more will be said of a photograph."""
        self._done.add(index)
        while self._now in self._done:
            self._now += 1
            for line in self._kept.pop(self._now, []):
                self._show(self._now, line)

    def all(self) -> None:
        """What was said of any photograph, as no more will be."""
        for index in sorted(self._kept):
            for line in self._kept.pop(index):
                self._show(index, line)

    def _show(self, index: int, line: str) -> None:
        source, name = self._sources[index], f"d2f: {self._sources[index]}: "
        if line.startswith(name):
            first = self._first.setdefault(line.removeprefix(name), source)
            if first != source:
                line = f"{name}the same as of {first}"
        self._print(line)


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
    # What the file has for HDR screens is nothing that a map could lose.
    photo = _read(source, console.print, unsaid=(decoders.GAIN_MAP,))
    photo, made, _ = map_of(source, photo, console.print)
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


def _read(
    source: Path, notify: Callable[[str], None], unsaid: Sequence[str] = ()
) -> image_io.Photo:
    """Reads a photograph that is large enough, and says what there is to say of its file."""
    photo = image_io.read_photo(source)
    for note in photo.notes:
        if note not in unsaid:
            notify(f"d2f: note: {source}: {note}")
    with files.naming(source):
        develop.check_size(photo)
    return photo
