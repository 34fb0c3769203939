"""Six scenes of the kinds that `benchmarks/ground_truth` holds.

Written from their descriptions and pictures; their own geometry was not kept, so these are scenes
of the same kinds, not the same ones. Lengths are in metres, say; blur is that of a picture 512
pixels wide and grows with the picture.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from benchmarks.trace import shapes
from benchmarks.trace.shapes import Surface

FIELD_OF_VIEW = 40.0
"""Horizontal [degrees]."""
REFERENCE_WIDTH = 512
"""Width of the picture whose blur the scenes tell [px]."""
HALF_WIDTH = float(np.tan(np.deg2rad(FIELD_OF_VIEW / 2)))
"""Of the picture at depth 1."""
HALF_HEIGHT = 0.75 * HALF_WIDTH


@dataclasses.dataclass(frozen=True)
class Light:
    """A small disc of light that faces along the optical axis."""

    centre: tuple[float, float, float]
    radius: float
    colour: tuple[float, float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """What stands where, and which photographs are taken of it.

    Attributes:
      name: Also of its folder.
      description: One line.
      tags: Words for what is difficult in it.
      surfaces: What is seen.
      lights: What shines.
      photographs: Depth in focus and K of a picture `REFERENCE_WIDTH` wide.
      sun: Direction in which sunlight travels; never into the picture, see `tracer.stop`.
    """

    name: str
    description: str
    tags: tuple[str, ...]
    surfaces: tuple[Surface, ...]
    lights: tuple[Light, ...] = ()
    photographs: tuple[tuple[float, float], ...]
    sun: tuple[float, float, float] = (0.6, -1.0, 0.45)


def backdrop(depth: float, texture: str | None, *, margin: float = 1.35, **look) -> Surface:
    """A picture that fills the frame and what lies around it."""
    width = 2 * HALF_WIDTH * depth * margin
    return shapes.card((0, 0, depth), (width, 0.75 * width), texture=texture, **look)


def ground(
    below: float, near: float, far: float, texture: str, size: float, *, lit: float = 0.6, gain=1.0
) -> Surface:
    """A floor; its picture covers `size`."""
    x = 1.4 * HALF_WIDTH * far
    corners = [(-x, -below, far), (x, -below, far), (x, -below, near), (-x, -below, near)]
    repeat = (2 * x / size, (far - near) / size)
    return shapes.quad(corners, repeat, texture=texture, lit=lit, gain=gain)


def lamps(
    random: np.random.Generator,
    count: int,
    depths: tuple[float, float],
    rows: tuple[float, float],
    *,
    warm: float,
    brightness: tuple[float, float] = (20, 60),
) -> tuple[Light, ...]:
    """Lights at random places of the picture, `rows` from -1 (below) to 1, even in disparity."""
    made = []
    for _ in range(count):
        z = 1 / random.uniform(1 / depths[1], 1 / depths[0])
        x, y = random.uniform(-1.05, 1.05) * HALF_WIDTH * z, random.uniform(*rows) * HALF_HEIGHT * z
        radius = random.uniform(1.2, 2.2) * z * 2 * HALF_WIDTH / REFERENCE_WIDTH
        tint = np.array([1, 0.75, 0.45]) if random.random() < warm else random.uniform(0.4, 1, 3)
        colour = random.uniform(*brightness) * tint / tint.max()
        made.append(Light((x, y, z), radius, tuple(colour.tolist())))
    return tuple(made)


PERSON = np.array(
    [
        *((15, 215, 248), (20, 194, 263), (30, 178, 278), (45, 165, 289), (60, 159, 295)),
        *((80, 157, 298), (100, 160, 296), (115, 168, 288), (128, 178, 279), (140, 182, 268)),
        *((148, 180, 264), (151, 158, 262), (156, 143, 260), (165, 127, 257), (178, 118, 256)),
        *((186, 115, 273), (200, 115, 288), (207, 113, 293), (220, 99, 299), (235, 78, 303)),
        *((243, 69, 310), (250, 64, 322), (262, 57, 333), (290, 46, 348), (320, 40, 355)),
        *((344, 35, 359), (347, 34, 402), (351, 33, 432), (360, 32, 453), (375, 30, 468)),
        *((400, 26, 483), (430, 24, 492), (455, 25, 496), (511, 41, 500)),
    ]
) / np.array([512, 512, 512])
"""Outline of the astronaut in her photograph: row, left and right end."""


def portrait(random: np.random.Generator) -> Scene:
    """A person before ground and a far landscape."""
    floor = 0.95
    surfaces = [
        backdrop(30, "landscape"),
        ground(floor, 1.6, 30, "grass", 1.6, gain=(0.55, 0.62, 0.22)),
        shapes.cut_out(PERSON, (-0.06, -0.08, 2.15), 1.08, relief=0.1, texture="astronaut"),
    ]
    for x, z, tall in ((-2.2, 7.0, 2.1), (1.5, 10.0, 2.2), (4.4, 14.0, 3.4)):
        crown = np.array([x, tall - floor - 0.1, z])
        stem = np.linspace([x, -floor, z], crown + np.array([0.1, 0.2, 0]), 12)
        stem[:, 0] += 0.05 * np.sin(np.linspace(0, 5, 12) + x)
        surfaces.append(
            shapes.tubes(
                stem[None], np.linspace(0.14, 0.06, 12), repeat=(1, 0.7), texture="bark", lit=0.6
            )
        )
        places = random.normal(size=(1400, 3))
        places *= 0.5 * random.random((1400, 1)) ** 0.25 / np.linalg.norm(places, axis=1)[:, None]
        places += (random.normal(size=(9, 3)) * [0.42, 0.3, 0.42])[random.integers(9, size=1400)]
        places = crown + places * (tall / 2.2)
        surfaces.append(shapes.leaves(places, 0.2, random, texture="leaf", lit=0.6))
    return Scene(
        name="portrait",
        description="a person before ground, trees and a far landscape",
        tags=("portrait", "ground plane", "far background"),
        surfaces=tuple(surfaces),
        photographs=((2.1, 30), (2.1, 14), (30.0, 22), (7.0, 28)),
    )


def night(random: np.random.Generator) -> Scene:
    """Small lights at many depths behind two near things."""
    post = np.linspace([-0.36, -0.9, 1.9], [-0.36, 0.9, 1.9], 4)
    surfaces = (
        backdrop(20, "night"),
        ground(0.75, 1.2, 20, "brick", 1.5, lit=0, gain=(0.05, 0.045, 0.05)),
        shapes.tubes(post[None], 0.075, sides=48, repeat=(2, 2), texture="metal", gain=0.5),
        shapes.ball((0.2, -0.12, 1.6), 0.17, texture="coffee", gain=0.8),
    )
    return Scene(
        name="night",
        description="small lights at many depths behind two near things",
        tags=("highlights", "emitters", "partial occlusion"),
        surfaces=surfaces,
        lights=lamps(random, 46, (2.4, 19), (-0.5, 1.05), warm=0.5),
        photographs=((1.45, 34), (1.45, 18), (20.0, 20), (6.0, 30)),
    )


def fence(random: np.random.Generator) -> Scene:
    """Bars and wires before two things and a wall."""
    z = 1.32
    upright = [[(x, -0.6, z), (x, 0.6, z)] for x in np.arange(-0.6, 0.61, 0.115)]
    across = [[(-0.8, y, z - 0.012), (0.8, y, z - 0.012)] for y in (-0.3, 0.31)]
    wires = [
        [(x, -0.6, z + 0.02), (x + lean, 0.6, z + 0.02)]
        for x in np.arange(-1.0, 1.01, 0.14)
        for lean in (0.5 + random.uniform(-0.05, 0.05),)
    ]
    look = {"repeat": (1, 3), "texture": "metal", "lit": 0.6}
    surfaces = (
        backdrop(9, "otter"),
        shapes.card((0.75, -0.1, 3.6), (1.0, 0.95), roll=-4, yaw=12, texture="coffee"),
        shapes.ball((-0.5, -0.3, 3.5), 0.42, texture="chelsea", lit=0.3),
        shapes.tubes(np.array(upright), 0.009, **look),
        shapes.tubes(np.array(across), 0.011, **look),
        shapes.tubes(np.array(wires), 0.0022, **look),
    )
    return Scene(
        name="fence",
        description="bars and thin wires before a ball, a card and a photograph of a wall",
        tags=("thin structures", "foreground blur", "partial occlusion"),
        surfaces=surfaces,
        photographs=((3.2, 22), (1.3, 28), (9.0, 12), (9.0, 32)),
    )


def twigs(
    random: np.random.Generator, start: np.ndarray, toward: np.ndarray, length: float, radius: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """A bough and all that grows from it: lines of points and their radii."""
    steps = 14
    bend = np.cumsum(random.normal(size=(steps, 3)) * 0.13, axis=0) * [1, 1, 0.4]
    directions = toward + bend
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    line = start + np.cumsum(directions * length / steps, axis=0)
    grown = [(np.vstack([start, line]), np.linspace(radius, 0.55 * radius, steps + 1))]
    if radius > 0.003:
        for at in random.integers(4, steps, 3):
            side = directions[at] + random.normal(size=3) * [0.8, 0.8, 0.25]
            side /= np.linalg.norm(side)
            thinner = radius * random.uniform(0.4, 0.62)
            grown += twigs(random, line[at], side, 0.62 * length, thinner)
    return grown


def branches(random: np.random.Generator) -> Scene:
    """Branches and leaves before a bright sky with the sun in it."""
    boughs, tips = [], []
    for foot, toward, length, radius in (
        ((0.9, -1.1, 2.4), (-0.35, 1, 0.0), 1.7, 0.055),
        ((-1.5, -1.5, 4.2), (0.3, 1, 0.05), 2.6, 0.08),
        ((-0.6, -0.1, 1.3), (0.7, 0.45, -0.05), 0.5, 0.009),
    ):
        direction = np.array(toward) / np.linalg.norm(toward)
        tree = twigs(random, np.array(foot), direction, length, radius)
        boughs += tree
        tips += [line[i] for line, radii in tree if radii[0] < 0.012 for i in (7, 11, 14)]
    centres = np.array(tips)
    centres = centres[random.permutation(len(centres))[: len(centres) // 5]]
    centres = centres + random.normal(size=centres.shape) * 0.015
    lines, radii = (np.array(part) for part in zip(*boughs, strict=True))
    surfaces = (
        backdrop(25, "sunset"),
        shapes.tubes(lines, radii, sides=10, repeat=(1, 2), texture="bark", lit=0.5, gain=0.8),
        shapes.leaves(centres, 0.075, random, texture="leaf", lit=0.5, gain=1.3),
    )
    return Scene(
        name="branches",
        description="branches and leaves before a bright sky with the sun in it",
        tags=("thin structures", "highlights", "emitters"),
        surfaces=surfaces,
        lights=lamps(random, 14, (6, 22), (-0.95, -0.35), warm=1, brightness=(8, 25)),
        photographs=((2.3, 28), (25.0, 22), (4.2, 16), (1.25, 33)),
    )


def slant(random: np.random.Generator) -> Scene:
    """Sloping ground and wall, balls in a row."""
    surfaces = [
        backdrop(22, "landscape", margin=1.5),
        ground(0.55, 1.1, 22, "brick", 1.1, gain=(0.75, 0.6, 0.5)),
        shapes.quad(
            [(-0.62, 0.9, 1.25), (-1.5, 1.3, 6.5), (-1.5, -0.55, 6.5), (-0.62, -0.55, 1.25)],
            (2, 1),
            texture="otter",
        ),
    ]
    balls = ("coffee", "gravel", "astronaut", "chelsea", "coffee", "rocket")
    for index, texture in enumerate(balls):
        z = 1.6 * 1.5**index
        x = (-0.16, 0.24, -0.02, 0.26, 0.06, 0.2)[index] * z
        radius = 0.19 * (1 + 0.25 * index)
        centre = (x, -0.55 + radius, z)
        surfaces.append(shapes.ball(centre, radius, texture=texture, lit=0.55))
    return Scene(
        name="slant",
        description="sloping ground and wall, balls in a row: depth without steps",
        tags=("slanted planes", "continuous depth"),
        surfaces=tuple(surfaces),
        sun=(-0.6, -1.0, 0.45),
        photographs=((1.4, 24), (2.9, 24), (15.0, 20), (2.9, 34)),
    )


def cards(random: np.random.Generator) -> Scene:
    """Overlapping pictures, a large ball, lamps."""
    surfaces = [
        backdrop(12, "otter"),
        shapes.ball((0.3, -0.27, 1.15), 0.15, texture="gravel", lit=0.6),
    ]
    for texture, x, y, z, width, height, roll in (
        ("rocket", -0.45, 0.35, 5.5, 1.9, 1.3, -6.0),
        ("astronaut", 0.5, 0.45, 4.0, 1.1, 1.1, 9.0),
        ("landscape", 0.1, -0.45, 3.0, 1.2, 0.9, 3.0),
        ("sunset", 0.55, 0.3, 2.3, 0.62, 0.46, -11.0),
        ("coffee", 0.02, 0.0, 1.72, 0.5, 0.34, -8.0),
        ("chelsea", -0.27, -0.06, 1.05, 0.26, 0.34, 7.0),
    ):
        gain = 0.5 if texture == "sunset" else 1.0
        size = (width, height)
        surfaces.append(shapes.card((x, y, z), size, roll=roll, yaw=-4, texture=texture, gain=gain))
    return Scene(
        name="cards",
        description="overlapping pictures, a large near ball, lamps",
        tags=("fronto-parallel planes", "partial occlusion", "emitters"),
        surfaces=tuple(surfaces),
        lights=lamps(random, 16, (4.5, 11), (-1, 1.05), warm=0.7, brightness=(10, 30)),
        photographs=((1.72, 28), (1.0, 26), (4.0, 32), (11.5, 18)),
    )


SCENES: dict[str, Callable[[np.random.Generator], Scene]] = {
    builder.__name__: builder for builder in (portrait, night, fence, branches, slant, cards)
}
