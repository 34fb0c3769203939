"""What strangers send: names for their files, limits on their pictures."""

import re
from pathlib import Path

from d2f_jax.photo import decoders


class Limited:
    """Refuses, in a `with`, pictures that are too large, and keeps a folder out of messages.

    Args:
      max_pixels: Of a picture.
      folder: Whose path no visitor should read.
    """

    def __init__(self, max_pixels: int, folder: Path):
        self._allowed = decoders.at_most(max_pixels)
        self._folder = folder

    def plain(self, message: str) -> str:
        """A message for the page."""
        message = message.removeprefix("d2f: note: ")
        return message.replace(f"{self._folder}/", "")

    def __enter__(self) -> "Limited":
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
