"""What a JPEG file is made of: segments, the end of its picture, and more pictures behind it."""

import re
from collections.abc import Iterator
from typing import NamedTuple

START, END = b"\xff\xd8\xff", b"\xff\xd9"

MAX_PICTURES = 64
"""More pictures in one file are not looked at."""

# After the head of a scan: a marker that is neither a stuffed zero, a restart, nor a filler.
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


class Picture(NamedTuple):
    """One of the pictures in a file.

    Attributes:
      segments: Markers (0xE1 for APP1) with what they hold, without those of the scans.
      start: Where its first byte lies.
      end: Behind its last byte; the end of the file if the picture has none.
    """

    segments: tuple[tuple[int, bytes], ...]
    start: int
    end: int


def pictures(data: bytes) -> Iterator[Picture]:
    """Goes through the pictures of a file, one behind the other.

    Phones put previews, depth and gain maps behind the picture that everyone sees. No offset and
    no length of any directory is believed: a picture begins where its first bytes are.
    """
    start = data.find(START)
    for _ in range(MAX_PICTURES):
        if start < 0:
            return
        picture = _picture(data, start)
        yield picture
        start = data.find(START, picture.end)


def _picture(data: bytes, start: int) -> Picture:
    segments, place = [], start + 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xD9:
            return Picture(tuple(segments), start, place + 2)
        if marker in (0x01, 0xFF) or 0xD0 <= marker <= 0xD7:  # without a length
            place += 1 if marker == 0xFF else 2
            continue
        length = max(2, int.from_bytes(data[place + 2 : place + 4]))
        segments.append((marker, data[place + 4 : place + 2 + length]))
        place += 2 + length
        if marker == 0xDA:
            segments.pop()
            found = _AFTER_SCAN.search(data, place)
            place = found.start() if found else len(data)
    ended = data[place : place + 2] == END
    return Picture(tuple(segments), start, place + 2 if ended else len(data))
