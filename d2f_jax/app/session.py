"""One photograph on the page, without the page: open, look, change, and the command's line.

A preview is rendered by the same functions as the command's picture, of the photograph made
smaller. The picture in full size is made by the command itself, in the session's folder: so the
line that the page shows makes the same file.
"""

import dataclasses
import io
import math
import re
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from d2f_jax import color
from d2f_jax.app import form as forms
from d2f_jax.app import strokes as brush
from d2f_jax.app import views
from d2f_jax.photo import batch, decoders, depth_io, develop, image_io, map_sources, renderers
from d2f_jax.photo import focus as focus_names
from d2f_jax.photo.disparity import DisparityOutput
from d2f_jax.photo.image_io import Photo
from d2f_jax.photo.settings import MapSettings, Settings, words

PREVIEW_PIXELS = 500_000

_GRAIN = 64
"""The lens pads sides of a preview to multiples of this [px]."""

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
      preview: Height and width of previews [px].
    """

    name: str
    size: tuple[int, int]
    notes: tuple[str, ...]
    has_depth: bool
    picture: bytes
    preview: tuple[int, int]


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

    def __init__(
        self, folder: Path, *, depth_model: str | None = None, max_pixels: int = decoders.MAX_PIXELS
    ):
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
        name = clean_name(name)
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
        picture = _jpeg(_encoded(base.photo), base.photo.icc)
        height, width = base.photo.image.shape[:2]
        return Opened(self.name, self.size, base.notes, self.has_depth, picture, (height, width))

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
        name = clean_name(name)
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
            self._map_name, self._maps = name, self._maps + 1
        else:
            self._shape_name = name
        self._last = None
        return name

    def paint(self, strokes: Sequence[brush.Stroke]) -> None:
        """Takes all strokes of the brush in place of those before."""
        base = self._current()
        kept = strokes[: len(self._strokes)] == self._strokes and self._strokes
        new = strokes[len(self._strokes) :] if kept else strokes
        added, subject = brush.correction(_encoded(base.photo), new)
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
        made = self._map(form, base)
        mask = self._subject
        if form.view == "map" and made is None:
            made = DisparityOutput(
                develop.hallucinated(base.photo, self._networks.defocus(base.photo))
            )
        if form.view == "map" and made is not None:
            picture, done = views.of_map(made.disparity), None
        else:
            key = (settings, form.source, self._maps)
            if self._last is None or self._last[0] != key:
                small = _at(settings, base.photo.image.shape[1] / self.size[0], base.photo)
                if settings.shape is not None:
                    small = dataclasses.replace(small, shape=self.folder / settings.shape)
                render = renderers.renderer(small, self._networks)
                with self._limits(self.folder):
                    self._last = key, render(base.photo, made, mask)
            done = self._last[1]
            picture = views.of(form.view, done, base.photo, settings)
        by_lens = made is not None and settings.renderer != "d2f"
        focus = _at(settings, base.photo.image.shape[1] / self.size[0], base.photo).focus
        notes = base.notes + ((done.notice,) if done is not None and done.notice else ())
        return Preview(
            _jpeg(picture, base.photo.icc if form.view == "picture" else None),
            self.line(settings),
            tuple(name for name in self._made if self._names(settings, name)),
            bool(made is not None and made.metric),
            "lens" if by_lens else "d2f",
            _distance(focus, made, base.photo),
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
        self._maps = 0
        self._strokes: list[brush.Stroke] = []
        self._added: np.ndarray | None = None
        self._subject: np.ndarray | None = None

    @property
    def _made(self) -> tuple[str, str]:
        return self._written("map.npz"), self._written("subject.png")

    def _written(self, end: str) -> str:
        return f"{Path(self.name).stem}_{end}"

    def _names(self, settings: Settings, name: str) -> bool:
        return Path(name) in (settings.disparity, settings.mask)

    def _limits(self, folder: Path) -> "_Limited":
        return _Limited(self._max_pixels, folder)

    def _is_written(self, form: forms.Form) -> bool:
        """Whether the map has to go to a file: it was corrected, or networks serve the lens."""
        through_lens = form.source == "networks" and form.settings.renderer == "lens"
        return self._added is not None or through_lens

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
        if source is not None and self._base.source != source:
            self._base, _ = self._read(self.folder / self.name, source)
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
        small = _reduced(photo)
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
        if made is None:
            seen = self._networks.defocus(base.photo)
            made = DisparityOutput(develop.hallucinated(base.photo, seen))
        if self._added is None:
            return made
        size = base.photo.image.shape[:2]
        size = made.disparity.shape if made.disparity.size > math.prod(size) else size
        low, high = develop.extremes(made.disparity)
        added = np.float32(high - low) * develop.fitted(self._added, size)
        values = develop.fitted(made.disparity, size) + added
        values = np.maximum(values, 0) if made.metric else values
        return made._replace(disparity=values.astype(np.float32))


class _Limited:
    """Refuses pictures that are too large, and keeps the server's folders out of messages."""

    def __init__(self, max_pixels: int, folder: Path):
        self._allowed = decoders.at_most(max_pixels)
        self._folder = folder

    def plain(self, message: str) -> str:
        message = message.removeprefix("d2f: note: ")
        return message.replace(f"{self._folder}/", "")

    def __enter__(self) -> "_Limited":
        self._allowed.__enter__()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._allowed.__exit__(None, None, None)
        if isinstance(error, ValueError):
            raise ValueError(self.plain(str(error))) from None


def clean_name(name: str) -> str:
    """A name for a file in one folder, from what a browser says.

    Raises:
      ValueError: if nothing is left.
    """
    name = re.sub(r"[\x00-\x1f\x7f<>:\"|?*]", "", re.split(r"[/\\]", name)[-1]).strip().lstrip(".-")
    stem, dot, suffix = name.rpartition(".")
    name = f"{stem[:80]}{dot}{suffix[:10]}" if stem else name[:80]
    if not name.strip("."):
        raise ValueError("the file has no name")
    return name


def _at(settings: Settings, scale: float, photo: Photo) -> Settings:
    """The settings for a photograph that was made smaller."""
    focus, blur = focus_names.parse(settings.focus), develop.parse_blur(settings.blur)
    changes = {}
    if isinstance(focus, focus_names.Point | focus_names.Box):
        height, width = photo.image.shape[:2]
        scaled = [math.floor(place * scale) for place in focus]
        if isinstance(focus, focus_names.Box):
            scaled = [*scaled[:2], *(math.ceil(place * scale) for place in focus[2:])]
            scaled = [min(place, side) for place, side in zip(scaled, 2 * (width, height))]
        elif scaled[0] == width or scaled[1] == height:
            scaled = [min(scaled[0], width - 1), min(scaled[1], height - 1)]
        changes["focus"] = ",".join(map(str, scaled))
    if blur.in_pixels:
        changes["blur"] = f"{blur.amount * scale!r}px"
    return dataclasses.replace(settings, **changes)


def _distance(focus: str, made: DisparityOutput | None, photo: Photo) -> str:
    """How far away what is sharp is, if the map knows."""
    if made is None or not made.metric:
        return ""
    disparity = develop.fitted(made.disparity, photo.image.shape[:2])
    value = focus_names.resolve(focus, disparity)
    return f"{1 / value:.3g} m" if value > 1e-3 else "far away"


def _joined(before: np.ndarray | None, now: np.ndarray | None, way: np.ufunc) -> np.ndarray | None:
    if before is None or now is None:
        return now if before is None else before
    return way(before, now)


def _reduced(photo: Photo) -> Photo:
    """The photograph at the size of a preview; sides stay above the smallest allowed."""
    size = _preview_size(photo.image.shape[1], photo.image.shape[0])
    if size[0] >= photo.image.shape[1]:
        return photo
    planes = [Image.fromarray(photo.image[..., channel]) for channel in range(3)]
    planes = [np.asarray(each.resize(size, Image.Resampling.HAMMING)) for each in planes]
    image = np.maximum(np.stack(planes, axis=-1), 0)
    return photo._replace(image=image if photo.linear else np.minimum(image, 1), alpha=None)


def _preview_size(width: int, height: int) -> tuple[int, int]:
    """The largest size whose padding for the lens is within `PREVIEW_PIXELS` too."""
    best = None
    for side in range(96, 4 * _GRAIN * _GRAIN, _GRAIN // 2):
        scale = side / max(width, height)
        size = round(scale * width), round(scale * height)
        padded = math.prod(math.ceil(each / _GRAIN) * _GRAIN for each in size)
        if best is None or padded <= PREVIEW_PIXELS or min(best) < develop.MIN_SIDE:
            best = size
    return best or (width, height)


def _encoded(photo: Photo) -> Float[np.ndarray, "h w 3"]:
    image = photo.image
    return np.asarray(color.linear_to_srgb(np.clip(image, 0, 1))) if photo.linear else image


def _jpeg(picture: Float[np.ndarray, "..."], icc: bytes | None = None) -> bytes:
    out = io.BytesIO()
    pixels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(out, "JPEG", quality=92, subsampling=0, icc_profile=icc)
    return out.getvalue()
