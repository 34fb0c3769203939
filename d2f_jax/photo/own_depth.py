"""The depth that phones put into the file of a photograph.

HEIC holds it as an auxiliary picture. In JPEG there are three ways: `GDepth` in XMP (the old
Google Camera and what followed it), Dynamic Depth (XMP lists the pictures behind the first one in
the file), and Apple's, where the XMP of a grey picture behind the first one says what it is.
"""

import base64
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np
import pi_heif
from jaxtyping import Float

from d2f_jax.photo import decoders, depth_io, exif, image_io, jpeg, xmp
from d2f_jax.photo.disparity import DepthMap, without_steps
from d2f_jax.photo.image_io import Photo

_GDEPTH = "http://ns.google.com/photos/1.0/depthmap/"
_GIMAGE = "http://ns.google.com/photos/1.0/image/"
_DYNAMIC = "http://ns.google.com/photos/dd/1.0/depthmap/"
_ITEMS = (
    "http://ns.google.com/photos/dd/1.0/item/",
    "http://ns.google.com/photos/1.0/container/item/",
)
_APPLE = "http://ns.apple.com/pixeldatainfo/1.0/"
_MATTE = "urn:com:apple:photo:2018:aux:portraiteffectsmatte"

_METRES = {"m": 1.0, "meters": 1.0, "metres": 1.0, "mm": 1e-3, "millimeters": 1e-3}


class OwnDepth(NamedTuple):
    """What was found in a file.

    Attributes:
      map: The map, as it lies there.
      kind: What people call it.
      like_sensor: Whether it more likely lies as the sensor saw the scene, or upright.
      original: The sharp photograph, if the one that everyone sees was blurred by the phone.
    """

    map: DepthMap
    kind: str
    like_sensor: bool = True
    original: Photo | None = None


def find(data: bytes) -> OwnDepth | None:
    """Finds the depth in the bytes of a photograph's file.

    Returns:
      It, or None if there is none.

    Raises:
      ValueError: if what is there cannot be used; the caller names the file.
    """
    try:
        if data.startswith(jpeg.START):
            return _in_jpeg(data)
        return _in_heif(data) if decoders.is_heif(data) else None
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(f"the depth inside cannot be used: {reason}") from error


def find_matte(data: bytes) -> tuple[Float[np.ndarray, "h w"], bool] | None:
    """Finds the portrait matte that iPhones put into the bytes of a photograph's file.

    Returns:
      The matte in [0, 1], 1 = person, and whether it more likely lies as the sensor saw the scene;
      None if there is none, or nobody in it.

    Raises:
      ValueError: if what is there cannot be used; the caller names the file.
    """
    found = None
    try:
        if decoders.is_heif(data):
            file = pi_heif.open_heif(data, convert_hdr_to_8bit=False, hdr_to_16bit=False)
            photo = file[file.primary_index]
            if numbers := photo.info["aux"].get(_MATTE):
                picture = photo.get_aux_image(numbers[0])
                decoders.check_size(*picture.size)
                values = np.array(picture)
                found = values.reshape(*values.shape[:2], -1)[..., 0] / np.float32(255), False
        elif data.startswith(jpeg.START) and b"ortraitEffectsMatte" in data:
            for picture, fields in _of_apple(jpeg.pictures(data)):
                if fields.get("AuxiliaryImageType", "").lower() == "portraiteffectsmatte":
                    part = image_io.decode(data[picture.start : picture.end], Path("its matte"))
                    found = depth_io.grey(part), part.orientation == 1
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(f"the portrait matte inside cannot be used: {reason}") from error
    return found if found is not None and (found[0] > 0.5).any() else None


# --- HEIC -----------------------------------------------------------------------------------------


def _in_heif(data: bytes) -> OwnDepth | None:
    file = pi_heif.open_heif(data, convert_hdr_to_8bit=False, hdr_to_16bit=False)
    photo = file[file.primary_index]
    if not photo.info["depth_images"]:
        return None
    picture = photo.info["depth_images"][0]
    decoders.check_size(*picture.size)
    values = np.array(picture)  # a copy: the memory goes with the picture
    values = values.reshape(*values.shape[:2], -1)[..., 0].astype(np.float32)
    bits = int(picture.mode.partition(";")[2].rstrip("L") or 8)
    tags = exif.parse((photo.info["exif"] or b"").removeprefix(b"Exif\0\0"))
    depth = represented(
        without_steps(values / np.float32(2**bits - 1)),
        picture.info["metadata"] or {},
        in_dioptres=tags.get(271) == "Apple",
    )
    return OwnDepth(depth, "depth of the HEIC file", like_sensor=False)


def represented(
    values: Float[np.ndarray, "h w"], metadata: Mapping[str, float | int], *, in_dioptres: bool
) -> DepthMap:
    """Applies a depth representation of H.265 (annex G) to values in [0, 1].

    0, uniform inverse depth: 1/z_far + v (1/z_near - 1/z_far); 1, uniform disparity: d_min +
    v (d_max - d_min); 2, uniform depth: z_near + v (z_far - z_near); 3, nonuniform disparity, of
    which the curve is not known here. Without a usable range all are on a scale of their own.

    Args:
      values: The picture.
      metadata: `representation_type`, and what there is of `z_near`, `z_far` [m], `d_min`, `d_max`.
      in_dioptres: Whether disparity is in 1/m, as Apple writes it, or in pixels of other cameras.
    """
    kind = int(metadata.get("representation_type", 1))
    near, far = metadata.get("z_near", 0), metadata.get("z_far", 0)
    low, high = metadata.get("d_min", np.nan), metadata.get("d_max", np.nan)
    has_distances = 0 < near < far and np.isfinite(near)
    if kind == 2:
        if has_distances and np.isfinite(far):
            return DepthMap(near + values * np.float32(far - near), "metres")
        return DepthMap(values, "near_is_dark")
    if kind == 0 and has_distances:
        low, high = 1 / far, 1 / near
    if kind in (0, 1) and -np.inf < low < high < np.inf:
        metric = kind == 0 or in_dioptres
        values = low + values * np.float32(high - low)
        return DepthMap(values, "inverse_depth" if metric else "disparity")
    return DepthMap(values, "disparity")


# --- JPEG -----------------------------------------------------------------------------------------


def _in_jpeg(data: bytes) -> OwnDepth | None:
    pictures = jpeg.pictures(data)
    first = next(pictures)
    # Broken XMP that says nothing of depth is nobody's trouble here.
    roots = _roots(first) if _mentions(first, b"/depthmap/") else []
    gdepth = _merged(roots, _GDEPTH)
    if "Data" in gdepth:
        original = _merged(roots, _GIMAGE).get("Data")
        photo = image_io.decode(_unpacked(original), Path("its original")) if original else None
        values, like_sensor = _picture(_unpacked(gdepth["Data"]))
        return OwnDepth(_between(values, gdepth), "GDepth", like_sensor, photo)
    items = [item for root in roots for item in _groups(root, *_ITEMS)]
    if found := _listed_depth(roots, items):
        fields, item = found
        values, like_sensor = _picture(_bytes_of(data, first.end, items, item))
        photo = None
        for number, each in enumerate(items):
            if _means(each, "original", "original_image"):
                body = _bytes_of(data, first.end, items, number)
                photo = image_io.decode(body, Path("its original"))
        return OwnDepth(_between(values, fields), "Dynamic Depth", like_sensor, photo)
    for picture, fields in _of_apple(pictures):
        if fields.get("AuxiliaryImageType", "").lower() in ("disparity", "depth"):
            values, like_sensor = _picture(data[picture.start : picture.end])
            return OwnDepth(_scaled_by_apple(values, fields), "depth from Apple", like_sensor)
    return None


def _of_apple(
    pictures: Iterable[jpeg.Picture],
) -> Iterator[tuple[jpeg.Picture, dict[str, str]]]:
    """The pictures of a file of which Apple's fields say what they are, with these."""
    for picture in pictures:
        if _mentions(picture, _APPLE.encode()):
            yield picture, _merged(_roots(picture), _APPLE)


def _listed_depth(
    roots: Sequence[Element], items: Sequence[Mapping[str, str]]
) -> tuple[dict[str, str], int] | None:
    """What Dynamic Depth says of its depth map, and which of the listed pictures that is."""
    maps = [group for root in roots for group in _groups(root, _DYNAMIC)]
    maps = [group for group in maps if group.get("ItemSemantic", "Depth").lower() == "depth"]
    fields = maps[0] if maps else _merged(roots, _GDEPTH)
    address = fields.get("DepthURI")
    for number, item in enumerate(items):
        if (address and item.get("DataURI") == address) or _means(item, "depth", "depthmap"):
            return fields, number
    return None


def _means(item: Mapping[str, str], *words: str) -> bool:
    names = item.get("Semantic", ""), item.get("DataURI", "").rpartition("/")[2]
    return any(name.lower() in words for name in names)


def _bytes_of(data: bytes, end: int, items: Sequence[Mapping[str, str]], number: int) -> bytes:
    """The bytes of a listed picture: all lie in their order behind the first, or before the end."""
    lengths = [int(item.get("Length") or 0) for item in items]
    paddings = [int(item.get("Padding") or 0) for item in items]
    if min(lengths + paddings) < 0 or sum(lengths[1:]) + sum(paddings) > len(data):
        raise ValueError("its directory lists more bytes than the file has")
    before = sum(lengths[1:number]) + sum(paddings[:number])
    behind = sum(lengths[number:]) + sum(paddings[number:])
    for start in (end + before, len(data) - behind):
        body = data[start : start + lengths[number]] if start >= 0 else b""
        if number and body.startswith((jpeg.START, b"\x89PNG")):
            return body
    raise ValueError("no picture is where its directory says")


def _picture(data: bytes) -> tuple[Float[np.ndarray, "h w"], bool]:
    """A depth picture in [0, 1], without steps, and whether nothing has turned it yet."""
    photo = image_io.decode(data, Path("its picture"))
    return without_steps(depth_io.grey(photo)), photo.orientation == 1


def _between(values: Float[np.ndarray, "h w"], fields: Mapping[str, str]) -> DepthMap:
    """Google's two formats: with v in [0, 1], RangeLinear is the distance near + v (far - near).

    RangeInverse is far near / (far - v (far - near)). Distances without a unit are on a scale of
    their own, and their inverse is a disparity.
    """
    near, far = _number(fields.get("Near")), _number(fields.get("Far"))
    if not 0 < near < far < np.inf:
        return DepthMap(values, "near_is_dark")
    if fields.get("Format", "RangeInverse") == "RangeLinear":
        inverse = 1 / (near + values.astype(np.float64) * (far - near))
    else:
        inverse = 1 / near - values.astype(np.float64) * (1 / near - 1 / far)
    unit = _METRES.get(fields.get("Units", "").lower())
    inverse = (inverse / (unit or 1)).astype(np.float32)
    return DepthMap(inverse, "inverse_depth" if unit else "disparity")


def _scaled_by_apple(values: Float[np.ndarray, "h w"], fields: Mapping[str, str]) -> DepthMap:
    """Apple's range: the floating-point values (1/m or m) of the darkest and brightest integer."""
    is_depth = fields["AuxiliaryImageType"].lower() == "depth"
    low, high = _number(fields.get("FloatMinValue")), _number(fields.get("FloatMaxValue"))
    if not -np.inf < low < high < np.inf:
        return DepthMap(values, "near_is_dark" if is_depth else "disparity")
    values = low + values * np.float32(high - low)
    return DepthMap(values, "metres" if is_depth else "inverse_depth")


# --- XMP ------------------------------------------------------------------------------------------


def _roots(picture: jpeg.Picture) -> list[Element]:
    return [xmp.parse(packet) for packet in xmp.packets(picture)]


def _mentions(picture: jpeg.Picture, words: bytes) -> bool:
    return any(words in body for _, body in picture.segments)


def _groups(root: Element, *spaces: str) -> list[dict[str, str]]:
    """What each element says in some name spaces: its attributes, and children that are texts."""
    groups = []
    for element in root.iter():
        texts = ((child.tag, child.text or "") for child in element if not len(child))
        group = {
            name.partition("}")[2]: text.strip()
            for name, text in itertools.chain(element.attrib.items(), texts)
            if name[1:].startswith(spaces)
        }
        if group:
            groups.append(group)
    return groups


def _merged(roots: Sequence[Element], space: str) -> dict[str, str]:
    groups = [group for root in roots for group in _groups(root, space)]
    return {name: text for group in reversed(groups) for name, text in group.items()}


def _unpacked(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return np.nan
