"""Files of phones, made by hand: HEIC with depth, and JPEG with depth in each of three ways."""

import base64
import io
import math
import struct

import numpy as np
import pillow_heif
from PIL import Image

DEPTH_AUX = b"urn:mpeg:hevc:2015:auxid:2\0"
MATTE_AUX = b"urn:com:apple:photo:2018:aux:portraiteffectsmatte\0"


def box(kind, *parts):
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def full(kind, *parts, version=0, flags=0):
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def coded(pixels):
    """The configuration and the data of a picture coded by itself."""
    out = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(out, quality=-1)
    data = out.getvalue()
    start = data.index(b"hvcC") - 4
    config = data[start : start + int.from_bytes(data[start : start + 4])]
    start = data.index(b"mdat") - 4
    return config, data[start + 8 : start + int.from_bytes(data[start : start + 4])]


def golomb(number):
    bits = f"{number + 1:b}"
    return "0" * (len(bits) - 1) + bits


def element(value):
    """A number as the depth representation of H.265 writes it."""
    share, exponent = math.frexp(abs(value))  # 0.5 <= share < 1
    mantissa = round((2 * share - 1) * 2**24)
    return f"{int(value < 0):b}{exponent - 1 + 31:07b}{23:05b}{mantissa:024b}"


def representation(kind, z_near=None, z_far=None, d_min=None, d_max=None):
    values = (z_near, z_far, d_min, d_max)
    bits = "".join(str(int(value is not None)) for value in values) + golomb(kind)
    if d_min is not None or d_max is not None:
        bits += golomb(0)
    bits += "".join(element(value) for value in values if value is not None) + "1"
    bits += "0" * (-len(bits) % 8)
    payload = bytes(int(bits[n : n + 8], 2) for n in range(0, len(bits), 8))
    unit = bytes([39 << 1, 1, 177, len(payload)]) + payload
    sei = struct.pack(">I", len(unit)) + unit
    return struct.pack(">I", len(sei)) + sei


def heic(
    photo,
    depth=None,
    *,
    turns=(0, 0),
    mirror=False,
    metadata=b"",
    exif=b"",
    refers_to=1,
    shift=0,
    kind=DEPTH_AUX,
):
    """A HEIC file: the photograph is item 1, its depth (or matte, by `kind`) 2, its EXIF 3.

    `turns` are quarter turns, counterclockwise, of the two pictures, which `mirror` then mirrors;
    `shift` moves the offset of
    the depth's data, and `refers_to` is the item that it calls its photograph.
    """
    pictures = [photo] if depth is None else [photo, depth]
    items, properties, places = [], [], []
    for number, pixels in enumerate(pictures):
        config, data = coded(pixels)
        items.append(data)
        own = [config, full(b"ispe", struct.pack(">II", *pixels.shape[1::-1]))]
        own += [box(b"irot", bytes([turns[number]]))] if turns[number] else []
        own += [box(b"imir", b"\1")] if mirror else []
        own += [full(b"auxC", kind, metadata)] if number else []
        places.append([len(properties) + n + 1 for n in range(len(own))])
        properties += own
    kinds = [b"hvc1"] * len(items)
    if exif:
        items.append(struct.pack(">I", 0) + exif.removeprefix(b"Exif\0\0"))
        kinds.append(b"Exif")
        places.append([])
    numbers = [1, 2, 3] if depth is not None else [1, 3]
    entries = [
        full(b"infe", struct.pack(">HH", number, 0), kind, b"\0", version=2)
        for number, kind in zip(numbers, kinds, strict=False)
    ]
    links = []
    if depth is not None:
        links.append(box(b"auxl", struct.pack(">HHH", 2, 1, refers_to)))
    if exif:
        links.append(box(b"cdsc", struct.pack(">HHH", 3, 1, 1)))
    linked = b"".join(
        struct.pack(">HB", number, len(own)) + bytes(own)
        for number, own in zip(numbers, places, strict=False)
    )
    ftyp = box(b"ftyp", b"heic", bytes(4), b"mif1heic")

    def meta(start):
        locations = b""
        for number, data in zip(numbers, items, strict=False):
            place = start + (shift if number == 2 else 0)
            locations += struct.pack(">HHHII", number, 0, 1, place, len(data))
            start += len(data)
        return full(
            b"meta",
            full(b"hdlr", bytes(4), b"pict", bytes(13)),
            full(b"pitm", struct.pack(">H", 1)),
            full(b"iinf", struct.pack(">H", len(entries)), *entries),
            full(b"iref", *links) if links else b"",
            box(
                b"iprp",
                box(b"ipco", *properties),
                full(b"ipma", struct.pack(">I", len(places)), linked),
            ),
            full(b"iloc", b"\x44\0", struct.pack(">H", len(items)), locations),
        )

    return ftyp + meta(len(ftyp) + len(meta(0)) + 8) + box(b"mdat", *items)


def picture_bytes(pixels, format="PNG", **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format, **options)
    return out.getvalue()


def packet(body, **spaces):
    names = "".join(f' xmlns:{name}="{space}"' for name, space in spaces.items())
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{rdf}">'
        f'<rdf:Description rdf:about=""{names} {body}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


def segment(body):
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def with_xmp(data, main, extension=b"", piece=300, length=None):
    """Puts a packet into a JPEG, and another in pieces behind it."""
    segments = segment(b"http://ns.adobe.com/xap/1.0/\0" + main)
    for place in range(0, len(extension), piece):
        head = b"0123456789ABCDEF" * 2
        head += struct.pack(">II", len(extension) if length is None else length, place)
        segments += segment(
            b"http://ns.adobe.com/xmp/extension/\0" + head + extension[place : place + piece]
        )
    return data[:2] + segments + data[2:]


GOOGLE = {
    "GDepth": "http://ns.google.com/photos/1.0/depthmap/",
    "GImage": "http://ns.google.com/photos/1.0/image/",
}


def gdepth(photo, depth, *, original=None, fields="", **jpeg):
    """A JPEG of the old Google Camera; `depth` is what its picture holds."""

    def text(data):
        return base64.b64encode(data).decode()

    main = f'GDepth:Mime="image/png" {fields}>'
    body = f'GDepth:Data="{text(picture_bytes(depth))}"'
    if original is not None:
        body += f' GImage:Data="{text(picture_bytes(original, "JPEG", quality=95))}"'
    data = picture_bytes(photo, "JPEG", quality=95, **jpeg)
    return with_xmp(data, packet(main, **GOOGLE), packet(body + ">", **GOOGLE))


def dynamic(photo, depth, *, fields="", length=None, original=None, padding=0, trailer=b"", **jpeg):
    """A JPEG with Dynamic Depth: the pictures behind the first one are listed in its XMP."""
    bodies = [("android/depthmap", picture_bytes(depth, "JPEG", quality=100))]
    if original is not None:
        bodies.insert(0, ("android/original_image", picture_bytes(original, "JPEG", quality=95)))
    items = f'<rdf:li><Container:Item Item:Mime="image/jpeg" Item:Padding="{padding}"/></rdf:li>'
    for address, body in bodies:
        size = len(body) if length is None else length
        items += (
            f'<rdf:li><Container:Item Item:Mime="image/jpeg" Item:Length="{size}" '
            f'Item:DataURI="{address}"/></rdf:li>'
        )
    main = (
        f"><Camera:DepthMap><rdf:Description {fields} "
        'DepthMap:DepthURI="android/depthmap" DepthMap:ItemSemantic="Depth"/></Camera:DepthMap>'
        f"<Container:Directory><rdf:Seq>{items}</rdf:Seq></Container:Directory>"
    )
    start = "http://ns.google.com/photos/dd/1.0/"
    spaces = {"Container": "container", "Item": "item", "DepthMap": "depthmap", "Camera": "camera"}
    spaces = {name: f"{start}{space}/" for name, space in spaces.items()}
    data = picture_bytes(photo, "JPEG", quality=95, **jpeg)
    data = with_xmp(data, packet(main, **spaces)) + bytes(padding)
    return data + b"".join(body for _, body in bodies) + trailer


def apple(photo, depth, *, kind="disparity", low=1.0, high=3.0, **jpeg):
    """A JPEG as Apple exports it: a gain map and a grey picture with its range behind the first."""
    data = picture_bytes(photo, "JPEG", quality=95, **jpeg)
    space = "http://ns.apple.com/pixeldatainfo/1.0/"
    fields = f'apdi:FloatMinValue="{low}" apdi:FloatMaxValue="{high}"'
    main = packet(f'apdi:AuxiliaryImageType="{kind}" {fields}>', apdi=space)
    grey = with_xmp(picture_bytes(depth, "JPEG", quality=100), main)
    return data + picture_bytes(255 - depth, "JPEG") + grey


def ramp(height=64, width=96):
    """A depth picture without symmetry: brighter to the right, and a little downwards."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.rint(20 + 180 * x + 50 * y).astype(np.uint8)
