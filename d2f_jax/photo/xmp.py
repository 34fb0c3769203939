"""XMP: finding its packets, reading them without harm, and carrying them into written files."""

import io
from collections.abc import Iterator
from xml.etree.ElementTree import Element, register_namespace, tostring

from defusedxml import ElementTree as SafeTree

from d2f_jax.photo import jpeg

_PACKET = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"

_OF_THE_FILE = (
    "http://ns.google.com/photos/1.0/camera/",
    "http://ns.google.com/photos/1.0/container/",
    "http://ns.google.com/photos/1.0/depthmap/",
    "http://ns.google.com/photos/1.0/focus/",
    "http://ns.google.com/photos/1.0/image/",
    "http://ns.google.com/photos/dd/",
    "http://ns.adobe.com/hdr-gain-map/",
    "http://ns.adobe.com/xmp/note/",
    "http://ns.apple.com/",
)
"""Beginnings of the name spaces that describe what lies beside the picture in its old file."""

_OF_THE_PIXELS = frozenset(
    f"{{http://ns.adobe.com/{space}/1.0/}}{name}"
    for space, name in (
        ("tiff", "Orientation"),
        ("tiff", "ImageWidth"),
        ("tiff", "ImageLength"),
        ("exif", "PixelXDimension"),
        ("exif", "PixelYDimension"),
    )
)

MAX_DEPTH = 100
"""Elements inside one another; deeper packets are nothing that a camera wrote."""


def parse(packet: bytes) -> Element:
    """Reads a packet. Entities, document types and what they point to are refused.

    Raises:
      ValueError: if it is no XML, or XML that could do harm.
    """
    try:
        depth, root = 0, None
        stream = io.BytesIO(packet.strip(b"\0 \t\r\n"))
        for event, element in SafeTree.iterparse(stream, ("start", "end"), forbid_dtd=True):
            root = element if root is None else root
            depth += 1 if event == "start" else -1
            if depth > MAX_DEPTH:
                raise ValueError("elements lie too deep inside one another")
    except Exception as error:  # expat's, defusedxml's, and Unicode's
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(f"its XMP cannot be read ({reason})") from error
    if root is None:
        raise ValueError("its XMP is empty")
    return root


def packets(picture: jpeg.Picture) -> Iterator[bytes]:
    """The XMP of a picture in a JPEG file: its packet, and the extended one if it is whole.

    Extended XMP comes in pieces, each with a fingerprint, the whole length and its place.

    Raises:
      ValueError: if pieces of the extended XMP are missing or overlap.
    """
    bodies = [body for marker, body in picture.segments if marker == 0xE1]
    yield from (body.removeprefix(_PACKET) for body in bodies if body.startswith(_PACKET))
    groups: dict[bytes, list[tuple[int, bytes]]] = {}
    for body in bodies:
        if body.startswith(_EXTENSION):
            head = body[len(_EXTENSION) :]
            place = int.from_bytes(head[36:40])
            groups.setdefault(head[:36], []).append((place, head[40:]))
    for head, pieces in groups.items():
        whole = b""
        for place, piece in sorted(pieces):
            if place != len(whole):
                raise ValueError("pieces of its extended XMP are missing")
            whole += piece
        if len(whole) != int.from_bytes(head[32:]):
            raise ValueError("its extended XMP is cut short")
        yield whole


def cleaned(packet: bytes) -> bytes:
    """Packs XMP for the upright picture alone.

    Orientation, size, and what describes depth, gain maps and other pictures of the old file go.
    XMP that cannot be read counts as none.
    """
    if not packet:
        return b""
    try:
        root = parse(packet)
        stream = io.BytesIO(packet.strip(b"\0 \t\r\n"))
        for _, (prefix, space) in SafeTree.iterparse(stream, ("start-ns",), forbid_dtd=True):
            if prefix and not prefix.startswith("ns"):  # which ElementTree keeps for itself
                register_namespace(prefix, space)
        _strip(root)
        body = tostring(root, encoding="utf-8")
    except Exception:  # whatever its damage leads to; the pixels are still good
        return b""
    begin = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'.encode()
    return begin + body + b'<?xpacket end="w"?>'


def _strip(element: Element) -> None:
    for name in [name for name in element.attrib if _goes(name)]:
        del element.attrib[name]
    for child in list(element):
        if _goes(child.tag):
            element.remove(child)
        else:
            _strip(child)


def _goes(name: str) -> bool:
    space = name.partition("}")[0].removeprefix("{")
    return space.startswith(_OF_THE_FILE) or name in _OF_THE_PIXELS
