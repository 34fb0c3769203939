"""One photograph on the page, without the page: open, look, change, and the command's line.

A preview is rendered by the same functions as the command's picture, of the photograph made
smaller. The picture in full size is made by the command itself, in the session's folder: so the
line that the page shows makes the same file.
"""

import dataclasses
import math
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from d2f_jax.app import form as forms
from d2f_jax.app import previews, uploads, views
from d2f_jax.app import strokes as brush
from d2f_jax.photo import batch, depth_io, develop, image_io, map_sources, renderers
from d2f_jax.photo import focus as focus_names
from d2f_jax.photo.disparity import DisparityOutput
from d2f_jax.photo.image_io import Photo
from d2f_jax.photo.settings import MapSettings, Settings, words

_KEPT_PIXELS = 4_000_000
"""Of a map, from one preview to the next."""


class Opened(NamedTuple):
    """What a visitor should know of a photograph.

    Attributes:
      name: Of its file.
      size: Width and height, upright [px].
      notes: On how it was read and on its own depth.
      has_depth: Whether it has depth of its own.
      picture: The photograph for the screen, as JPEG.
    """

    name: str
    size: tuple[int, int]
    notes: tuple[str, ...]
    has_depth: bool
    picture: bytes


class Preview(NamedTuple):
    """One look at a development.

    Attributes:
      picture: What was asked for, as JPEG.
      line: The command that makes the picture in full size.
      needs: Files that the line names and the page made.
      is_metric: Whether the map is in 1/m, so that lenses have f-numbers.
      renderer: "lens" or "d2f".
      sharp: How far away what is sharp is, if the map knows; or empty.
      notes: What the visitor should know of the map and the result.
    """

    picture: bytes
    line: str
    needs: tuple[str, ...]
    is_metric: bool
    renderer: str
    sharp: str
    notes: tuple[str, ...]


class Task(NamedTuple):
    """How the picture in full size is made.

    Attributes:
      arguments: Of the command `d2f`, to be run in `folder`.
      folder: The session's.
      target: The file that appears in it.
      megapixels: Of the photograph.
    """

    arguments: list[str]
    folder: Path
    target: str
    megapixels: float


class _Base(NamedTuple):
    """A photograph with the map of one source, for previews, and the map as it was read."""

    source: MapSettings
    photo: Photo
    map: DisparityOutput | None
    notes: tuple[str, ...]


class Session:
    """A visitor's photograph with all that was made of it; files go with `close`.

    Args:
      folder: Where the session's folder is made.
      depth_model: Depth network that the server offers.
      max_pixels: Larger photographs are refused.
    """

    def __init__(self, folder: Path, depth_model: str | None = None, max_pixels: int = 2**26):
        self.folder = Path(tempfile.mkdtemp(prefix="visitor-", dir=folder))
        self._depth_model = depth_model
        self._max_pixels = max_pixels
        self._networks = renderers.Networks()
        self._forget()

    def close(self) -> None:
        """Removes the session's files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def open(self, name: str, data: bytes, shown: str | None = None) -> Opened:
        """Takes a photograph in place of the one before; if it is bad, that one stays.

        Args:
          name: Of its file; what no file should be called is left out of it.
          data: Its bytes.
          shown: Where it lies for the one who reads the command's line; None: its name.

        Raises:
          ValueError: if it cannot be read.
        """
        name = uploads.clean_name(name)
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as aside:
            path = Path(aside) / name
            path.write_bytes(data)
            base, size = self._read(path, MapSettings())
            for old in self.folder.iterdir():
                old.unlink()
            shutil.copy(path, self.folder / name)
        self._forget()
        self.name, self._shown, self.size = name, shown or name, size
        self.has_depth, self._base = base.map is not None, base
        return self.opened()

    def opened(self) -> Opened:
        """What there is to know of the photograph; a ValueError if there is none."""
        base = self._current()
        picture = previews.jpeg(develop.encoded(base.photo), base.photo.icc)
        return Opened(self.name, self.size, base.notes, self.has_depth, picture)

    def put(self, kind: str, name: str, data: bytes) -> str:
        """Takes a map or the picture of an opening.

        Args:
          kind: "map" or "shape".
          name: Of its file.
          data: Its bytes.

        Returns:
          The name under which it is used.

        Raises:
          ValueError: if it cannot be read; what was there stays.
        """
        self._current()
        name = uploads.clean_name(name)
        name = f"{kind}_{name}" if name == self.name else name
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as aside:
            path = Path(aside) / name
            path.write_bytes(data)
            with self._limits(path.parent):
                if kind == "map":
                    depth_io.read_map(path)
                else:
                    renderers.opening(Settings(shape=path))
            shutil.copy(path, self.folder / name)
        if kind == "map":
            self._map_name, self._has_new_map = name, True
        else:
            self._shape_name = name
        self._last = None
        return name

    def paint(self, strokes: Sequence[brush.Stroke]) -> None:
        """Takes all strokes of the brush in place of those before."""
        base = self._current()
        kept = strokes[: len(self._strokes)] == self._strokes and self._strokes
        new = strokes[len(self._strokes) :] if kept else strokes
        added, subject = brush.correction(develop.encoded(base.photo), new)
        if kept:
            added = _joined(self._added, added, np.add)
            subject = _joined(self._subject, subject, np.maximum)
        self._strokes, self._added, self._subject = list(strokes), added, subject
        self._last = None

    def settings(self, form: forms.Form) -> Settings:
        """The settings of the command, with files as they lie in the session's folder.

        Raises:
          ValueError: if a file is chosen that was not sent.
        """
        chosen = form.settings
        changes: dict = {"convention": "auto"}
        if self._is_written(form):
            changes["disparity"] = Path(self._written("map.npz"))
            if form.source == "networks" and chosen.renderer == "auto":
                changes["renderer"] = "d2f"
        else:
            source = self._source(form)
            changes |= {f.name: getattr(source, f.name) for f in dataclasses.fields(MapSettings)}
        if self._subject is not None:
            changes["mask"] = Path(self._written("subject.png"))
        if form.has_shape:
            if self._shape_name is None:
                raise ValueError("send a picture of the opening first")
            changes["shape"] = Path(self._shape_name)
        return dataclasses.replace(chosen, **changes)

    def preview(self, form: forms.Form) -> Preview:
        """Renders what the form says, small.

        Raises:
          ValueError: for settings that do not fit together or cannot be read.
        """
        settings = self.settings(form)
        base = self._current(self._source(form))
        scale = base.photo.image.shape[1] / self.size[0]
        small = previews.scaled(settings, scale, base.photo)
        made = self._map(form, base)
        key = settings, form.source
        done = self._last[1] if self._last is not None and self._last[0] == key else None
        if form.view == "map":
            seen = self._imagined(base.photo) if made is None else made
            picture = views.of_map(seen.disparity)
        else:
            if done is None:
                if settings.shape is not None:
                    small = dataclasses.replace(small, shape=self.folder / settings.shape)
                render = renderers.renderer(small, self._networks)
                canvas = previews.canvas(base.photo)
                with self._limits(self.folder):
                    done = render(base.photo, made, self._subject, canvas)
                self._last = key, done
            picture = views.of(form.view, done, base.photo, settings)
        by_lens = made is not None and settings.renderer != "d2f"
        notes = base.notes + ((done.notice,) if done is not None and done.notice else ())
        return Preview(
            previews.jpeg(picture, base.photo.icc if form.view == "picture" else None),
            self.line(settings),
            tuple(name for name in self._made if self._names(settings, name)),
            bool(made is not None and made.metric),
            "lens" if by_lens else "d2f",
            views.distance(small.focus, made, base.photo, done),
            notes,
        )

    def line(self, settings: Settings) -> str:
        """The command that makes the picture in full size, for a shell."""
        return shlex.join(["d2f", "bokeh", self._shown, *words(settings)])

    def task(self, form: forms.Form) -> Task:
        """What makes the picture in full size; the files that it needs are written.

        Raises:
          ValueError: as `preview`.
        """
        settings = self.settings(form)
        self.write_files(form)
        source = Path(self.name)
        target = f"{source.stem}_bokeh{image_io.result_suffix(source)}"
        arguments = ["bokeh", self.name, *words(settings), "--output", target]
        return Task(arguments, self.folder, target, math.prod(self.size) / 1e6)

    def write_files(self, form: forms.Form) -> None:
        """Writes the corrected map and the subject, if the settings name them."""
        base = self._current(self._source(form))
        made = self._map(form, base)
        if self._is_written(form) and made is not None:
            target = self.folder / self._written("map.npz")
            depth_io.write_disparity(target, made.disparity, metric=made.metric)
        if self._subject is not None:
            depth_io.write_map(self.folder / self._written("subject.png"), self._subject)

    def file(self, name: str) -> Path:
        """A file that the page made; a ValueError for others."""
        if name in self._made and (self.folder / name).is_file():
            return self.folder / name
        raise ValueError(f"there is no file {name!r:.60}")

    # --- Inside -----------------------------------------------------------------------------------

    def _forget(self) -> None:
        self.name, self._shown, self.size, self.has_depth = "", "", (0, 0), False
        self._base: _Base | None = None
        self._last: tuple[tuple, develop.Developed] | None = None
        self._map_name: str | None = None
        self._shape_name: str | None = None
        self._has_new_map = False
        self._strokes: list[brush.Stroke] = []
        self._added: np.ndarray | None = None
        self._subject: np.ndarray | None = None

    @property
    def _made(self) -> tuple[str, str]:
        return self._written("map.npz"), self._written("subject.png")

    def _written(self, end: str) -> str:
        name = f"{Path(self.name).stem}_{end}"
        return f"page_{name}" if name in (self._map_name, self._shape_name) else name

    def _names(self, settings: Settings, name: str) -> bool:
        return Path(name) in (settings.disparity, settings.mask)

    def _limits(self, folder: Path) -> uploads.Limited:
        return uploads.Limited(self._max_pixels, folder)

    def _is_written(self, form: forms.Form) -> bool:
        """Whether the map has to go to a file: it was corrected, or more is asked of the networks.

        Those alone serve neither the lens nor a focus on a box or on what is nearest.
        """
        focus = focus_names.parse(form.settings.focus)
        asks_more = form.settings.renderer == "lens" or focus == "nearest"
        asks_more = asks_more or isinstance(focus, focus_names.Box)
        return self._added is not None or (form.source == "networks" and asks_more)

    def _source(self, form: forms.Form) -> MapSettings:
        """Where the map comes from, with files as they lie in the session's folder."""
        if form.source == "file":
            if self._map_name is None:
                raise ValueError("send a map first")
            name, convention = Path(self._map_name), form.settings.convention
            return MapSettings(disparity=name, convention=convention)
        if form.source == "model":
            if self._depth_model is None:
                raise ValueError("this server has no depth network (d2f app --depth-model)")
            return MapSettings(depth_model=self._depth_model)
        return MapSettings(own_depth=form.source == "own" or not self.has_depth)

    def _current(self, source: MapSettings | None = None) -> _Base:
        if self._base is None:
            raise ValueError("open a photograph first")
        if source is not None and (self._base.source != source or self._has_new_map):
            self._base, _ = self._read(self.folder / self.name, source)
            self._has_new_map = False
        return self._base

    def _read(self, path: Path, source: MapSettings) -> tuple[_Base, tuple[int, int]]:
        notes: list[str] = []
        found = source
        if source.disparity is not None:
            found = dataclasses.replace(source, disparity=path.parent / source.disparity)
        with self._limits(path.parent) as limits:
            map_of = map_sources.find(found)
            mapped = batch.read_mapped(path, map_of, None, notes.append)
        photo = mapped.photo
        height, width = photo.image.shape[:2]
        small = previews.reduced(photo)
        made = mapped.map
        if made is not None and made.disparity.size > _KEPT_PIXELS:
            scale = math.sqrt(_KEPT_PIXELS / made.disparity.size)
            kept = [round(scale * side) for side in made.disparity.shape]
            made = made._replace(disparity=develop.fitted(made.disparity, (kept[0], kept[1])))
        notes = [limits.plain(note) for note in notes]
        return _Base(source, small, made, tuple(notes)), (width, height)

    def _map(self, form: forms.Form, base: _Base) -> DisparityOutput | None:
        """The map with its corrections."""
        made = base.map
        if not self._is_written(form):
            return made
        made = self._imagined(base.photo) if made is None else made
        if self._added is None:
            return made
        size = base.photo.image.shape[:2]
        size = made.disparity.shape if made.disparity.size > math.prod(size) else size
        low, high = develop.extremes(made.disparity)
        added = np.float32(high - low) * develop.fitted(self._added, size)
        values = develop.fitted(made.disparity, size) + added
        values = np.maximum(values, 0) if made.metric else values
        return made._replace(disparity=values.astype(np.float32))

    def _imagined(self, photo: Photo) -> DisparityOutput:
        """The map of the networks, which run once for a photograph."""
        return DisparityOutput(develop.hallucinated(photo, self._networks.defocus(photo)))


def _joined(before: np.ndarray | None, now: np.ndarray | None, way: np.ufunc) -> np.ndarray | None:
    if before is None or now is None:
        return now if before is None else before
    return way(before, now)
