"""From what a visitor chose on the page to the settings of a development.

Files are never named by the page: it says which kind of source it wants, and the session knows
which of its own files that is.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from d2f_jax.photo.settings import Convention, Settings

Source = Literal["own", "networks", "model", "file"]
"""The photograph's own depth, the networks, the server's depth network, an uploaded map."""

View = Literal["picture", "map", "defocus", "radiance", "mask"]
"""What can be looked at."""

_NUMBERS = (
    "sharp",
    "f_number",
    "focal_length",
    "sensor",
    "roundness",
    "rotation",
    "squeeze",
    "cat_eye",
    "highlight_gain",
)


class Form(NamedTuple):
    """What a visitor chose.

    Attributes:
      settings: The settings without their files.
      source: Where the map comes from.
      has_shape: Whether the uploaded picture is the opening.
      view: What is shown.
    """

    settings: Settings
    source: Source
    has_shape: bool = False
    view: View = "picture"


def read(sent: Any) -> Form:
    """Reads what the page sent.

    Args:
      sent: A mapping with the fields of `Settings` that are no files (None and missing ones are
        the defaults), and `source`, `convention`, `shape` and `view`.

    Raises:
      ValueError: for anything that the page would not send.
    """
    if not isinstance(sent, Mapping):
        raise ValueError("settings are an object with a value for each name")
    sent = {name: value for name, value in sent.items() if value is not None}
    values: dict[str, Any] = {}
    for name in ("focus", "blur"):
        if name in sent:
            values[name] = _text(name, sent.pop(name))
    for name in _NUMBERS:
        if name in sent:
            values[name] = _number(name, sent.pop(name))
    if "blades" in sent:
        values["blades"] = int(_number("blades", sent.pop("blades")))
    if "restore_highlights" in sent:
        values["restore_highlights"] = sent.pop("restore_highlights") is True
    for name, known in (("convention", ("auto", *get_args(Convention))), ("renderer", _RENDERERS)):
        if name in sent:
            values[name] = _one_of(name, sent.pop(name), known)
    source = _one_of("source", sent.pop("source", "own"), get_args(Source))
    view = _one_of("view", sent.pop("view", "picture"), get_args(View))
    has_shape = sent.pop("shape", False) is True
    if sent:
        raise ValueError(f"no setting is called {', '.join(map(str, sent))}")
    return Form(Settings(**values), source, has_shape, view)


_RENDERERS = ("auto", "lens", "d2f")


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > 60:
        raise ValueError(f"{name} is a short text, got {value!r:.60}")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is a number, got {value!r:.60}")
    return float(value)


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> Any:
    if value not in known:
        raise ValueError(f"{name} is one of {', '.join(known)}, got {value!r:.60}")
    return value
