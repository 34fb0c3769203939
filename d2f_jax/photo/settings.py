"""What a person decides about photographs, in the words of the command's options.

Nothing heavy is imported here: the command reads its words with it before anything else.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

Convention = Literal["disparity", "inverse_depth", "metres", "millimetres", "near_is_dark"]
"""Kinds of depth map, see `disparity.to_disparity`."""


@dataclass(frozen=True, kw_only=True)
class MapSettings:
    """Where the map of a photograph comes from."""

    weights: Annotated[
        Path | None,
        arg(
            metavar="FILE",
            help_behavior_hint="",
            help="Weights of the networks instead of those of the package (`d2f convert` makes "
            "such a file).",
        ),
    ] = None
    disparity: Annotated[
        Path | None,
        arg(
            metavar="FILE|DIR",
            help_behavior_hint="",
            help="Disparity map, near = bright (PNG, TIFF, NPY, NPZ, PFM, EXR), instead of the "
            "network's judgement; for several photographs a folder of maps of the same names, and "
            "in the same subfolders if they have any.",
        ),
    ] = None
    depth_model: Annotated[
        str | None,
        arg(
            metavar="NAME|FILE.onnx",
            help_behavior_hint="",
            help="A depth network that makes the disparity map (extra `depth`): "
            "depth-anything-v2-small, -base, -large, midas-small or depth-pro, which is fetched "
            "once; any other in an ONNX file; or NAME=FILE for one of these got by hand.",
        ),
    ] = None
    convention: Annotated[
        Literal["auto", Convention],
        arg(
            help="What the values of --disparity (or of a --depth-model) are: inverse depth on any "
            "scale, inverse depth in 1/m, distance in metres or millimetres (0 = not measured), or "
            "a picture that is dark where it is near; auto is what is known of them, else "
            "disparity."
        ),
    ] = "auto"
    own_depth: Annotated[
        bool,
        arg(
            help_behavior_hint="",
            help="Do not use the depth and the portrait matte that phones put into a photograph's "
            "file.",
        ),
    ] = True
    refine: Annotated[
        Literal["auto", "off"],
        arg(
            help_behavior_hint="",
            help="auto gives a map that is smaller or softer than its photograph the outlines that "
            "the colours show; off enlarges it smoothly.",
        ),
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class Settings(MapSettings):
    """How a photograph is developed; the same for every photograph of a run."""

    focus: Annotated[
        str,
        arg(
            metavar="auto|X,Y|VALUE|...",
            help="What is sharp: the point X pixels from the left and Y from the top of the "
            "upright photograph, a box LEFT,TOP,RIGHT,BOTTOM, nearest, a distance such as 2.5m "
            "(maps in metres or 1/m), or a value of the map (pictures of integers count from 0 to "
            "1; without a map that of the network, 0 where it sees the subject). auto is where "
            "the network sees the subject; with a map, if it sees none, what is near in the "
            "middle.",
        ),
    ] = "auto"
    mask: Annotated[
        Path | None,
        arg(
            metavar="FILE|DIR",
            help_behavior_hint="",
            help="Cut-out of the subject, white or opaque where it is: stays sharp, and is the "
            "focus if --focus is auto; for several photographs a folder of the same names.",
        ),
    ] = None
    sharp: Annotated[
        float,
        arg(
            metavar="SHARE",
            help="How far around the focus all stays sharp: a share of the map's range, such as "
            "0.1.",
        ),
    ] = 0.0
    blur: Annotated[
        str,
        arg(
            metavar="FACTOR|RADIUSpx",
            help="How much: a factor on the default amount, or the radius in pixels of the largest "
            "blur, such as 40px. The default is 4 % of the long side for `lens`, and as trained "
            "for `d2f`.",
        ),
    ] = "1"
    f_number: Annotated[
        float | None,
        arg(
            metavar="N",
            help_behavior_hint="",
            help="Blur as a lens of this f-number, for maps with distances (`lens` only).",
        ),
    ] = None
    focal_length: Annotated[
        float | None,
        arg(
            metavar="MM",
            help_behavior_hint="",
            help="Focal length of that lens, instead of what the photograph's EXIF says.",
        ),
    ] = None
    sensor: Annotated[
        float | None,
        arg(
            metavar="MM",
            help_behavior_hint="",
            help="Long side of its sensor, 36 for full frame, instead of what EXIF says.",
        ),
    ] = None
    blades: Annotated[
        int | None,
        arg(
            metavar="N",
            help_behavior_hint="",
            help="Blades of the lens's iris (`lens` only); round without.",
        ),
    ] = None
    roundness: Annotated[
        float,
        arg(metavar="SHARE", help="How round the blades are: 0 straight, 1 a circle."),
    ] = 0.0
    rotation: Annotated[
        float, arg(metavar="DEGREES", help="Turn of the iris, clockwise as one sees the picture.")
    ] = 0.0
    squeeze: Annotated[
        float,
        arg(
            metavar="RATIO",
            help="Width of the opening over its height (`lens` only): 0.5 for tall discs, as of an "
            "anamorphic lens.",
        ),
    ] = 1.0
    cat_eye: Annotated[
        float,
        arg(
            metavar="SHIFT",
            help="How far discs are cut off towards the corners (`lens` only): 0 to 1.5, such as "
            "0.5. Takes four times as long.",
        ),
    ] = 0.0
    shape: Annotated[
        Path | None,
        arg(
            metavar="FILE",
            help_behavior_hint="",
            help="A picture as the opening, bright is open, instead of blades (`lens` only).",
        ),
    ] = None
    restore_highlights: Annotated[
        bool,
        arg(help="Give clipped lights their brightness back, so that they glow (`lens` only)."),
    ] = False
    highlight_gain: Annotated[
        float,
        arg(metavar="FACTOR", help="By how much --restore-highlights raises lights in the dark."),
    ] = 8.0
    renderer: Annotated[
        Literal["auto", "lens", "d2f"],
        arg(
            help="`lens` follows the light through an ideal lens and needs a map, in the "
            "photograph's file or brought; `d2f` are the networks; `auto` is `lens` with a map and "
            "without weights."
        ),
    ] = "auto"


def words(settings: MapSettings) -> list[str]:
    """The options of the command that say the same as these settings; none for the defaults."""
    said = []
    for field in fields(MapSettings if type(settings) is MapSettings else Settings):
        value, name = getattr(settings, field.name), field.name.replace("_", "-")
        if value == field.default:
            continue
        if isinstance(value, bool):
            said.append(f"--{name}" if value else f"--no-{name}")
        else:
            said += [f"--{name}", f"{value!r}" if isinstance(value, float) else f"{value}"]
    return said
