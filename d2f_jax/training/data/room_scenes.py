"""What stands in the scenes that `rooms` casts: seven kinds of places, built at random.

Every builder returns quads and balls and the places on its floor where subjects may stand.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from d2f_jax.training.data import rooms
from d2f_jax.training.data.layouts import Cutout
from d2f_jax.training.data.rooms import Ball, Camera, Quad, Texture, Textures

_X, _Y, _Z = np.eye(3)


class Place(NamedTuple):
    """A scene without subjects.

    Attributes:
      quads: Its rectangles.
      balls: Its spheres and cylinders.
      camera: (height [m], angle below the horizon).
      floor: Height of what subjects stand on [m].
      distances: Nearest and farthest place of a subject [m].
      tall: Lowest and highest subject [m].
      outside: Whether it has a sky and air.
    """

    quads: list[Quad]
    balls: list[Ball]
    camera: tuple[float, float]
    floor: float
    distances: tuple[float, float]
    tall: tuple[float, float]
    outside: bool


def box(
    base: Float[np.ndarray, "3"],
    size: tuple[float, float, float],
    angle: float,
    side: Texture,
    top: Texture,
    tile: float,
) -> list[Quad]:
    """A box standing on its base's centre: width, height, depth [m], turned about the vertical."""
    along = np.array([np.cos(angle), 0, np.sin(angle)])
    across = np.array([-np.sin(angle), 0, np.cos(angle)])
    width, height, depth = (length / 2 for length in size)
    middle = np.asarray(base) + height * _Y
    faces = [Quad(middle + height * _Y, along, across, (width, depth), top, tile)]
    for sign in (-1, 1):
        faces.append(Quad(middle + sign * depth * across, along, _Y, (width, height), side, tile))
        faces.append(Quad(middle + sign * width * along, across, _Y, (depth, height), side, tile))
    return faces


def floor(texture: Texture, tile: float, height: float = 0.0, reach: float = 400.0) -> Quad:
    """A horizontal rectangle under everything."""
    return Quad(height * _Y, _X, _Z, (reach, reach), texture, tile)


def street(rng: np.random.Generator, textures: Textures) -> Place:
    """Houses on both sides or one, perhaps cars and posts."""
    quads, balls = [floor(textures(), rng.uniform(2, 6))], []
    half = rng.uniform(2, 7)
    for side in (-1, 1) if rng.random() < 0.75 else (rng.choice([-1, 1]),):
        z, tile = rng.uniform(-2, 6), rng.uniform(2.5, 8)
        while z < 70:
            wide, deep = rng.uniform(5, 12), rng.uniform(4, 12)
            back = rng.choice([0.0, rng.uniform(0, 3)])
            center = np.array([side * (half + back + wide / 2), 0, z + deep / 2])
            look = textures()
            size = (wide, rng.uniform(3, 14), deep)
            quads += box(center, size, 0.0, look, look, tile)
            z += deep + rng.choice([0.0, rng.uniform(0.5, 4)])
    for _ in range(rng.integers(0, 5)):
        place = np.array([rng.uniform(-half, half), 0, rng.uniform(4, 30)])
        look = textures()
        size = tuple(rng.uniform([0.6, 0.5, 0.6], [2, 1.6, 4]))
        quads += box(place, size, rng.uniform(0, 3), look, look, 1.5)
    for _ in range(rng.integers(0, 5)):
        place = np.array([rng.choice([-1, 1]) * half * 0.85, 0, rng.uniform(3, 30)])
        balls.append(Ball(place, rng.uniform(0.05, 0.2), rng.uniform(2, 6), textures(), 1.0))
    camera = rng.uniform(1, 2.2), rng.normal(0.05, 0.1)
    return Place(quads, balls, camera, 0.0, (1.2, 20), (0.7, 1.9), True)


def field(rng: np.random.Generator, textures: Textures) -> Place:
    """Open ground with trees, bushes, hedges, stones, and hills behind."""
    tile = rng.uniform(1.5, 8)
    quads, balls = [floor(textures(), tile)], []
    if rng.random() < 0.6:
        distance = rng.uniform(30, 200)
        height = distance * rng.uniform(0.05, 0.3)
        lean = np.array([0, np.cos(0.6), np.sin(0.6)])
        middle = np.array([0, 0.5 * height, distance])
        hill = Quad(middle, _X, lean, (400, height), textures(), height * rng.uniform(0.5, 2))
        quads.append(hill)
    if rng.random() < 0.5:
        place = np.array([rng.normal(0, 6), 0, rng.uniform(5, 30)])
        look = textures()
        size = (rng.uniform(6, 40), rng.uniform(0.6, 2.5), rng.uniform(0.5, 1.5))
        quads += box(place, size, rng.normal(0, 0.5), look, look, rng.uniform(0.8, 2))
    bark, leaves = textures(), textures()
    for _ in range(rng.integers(0, 9)):
        z = rng.uniform(2.5, 40)
        place = np.array([rng.uniform(-0.7, 0.7) * z, 0, z])
        height, width = rng.uniform(2, 6), rng.uniform(0.08, 0.3)
        balls.append(Ball(place, width, height, bark, 0.7))
        for _ in range(rng.integers(0, 4)):
            crown = place + np.array([*rng.normal([0, height], 0.6), rng.normal(0, 0.5)])
            balls.append(Ball(crown, rng.uniform(0.6, 2), None, leaves, rng.uniform(0.8, 2)))
    for _ in range(rng.integers(0, 7)):
        z, radius = rng.uniform(1.2, 18), rng.uniform(0.1, 0.8)
        place = np.array([rng.uniform(-0.7, 0.7) * z, radius * 0.3, z])
        balls.append(Ball(place, radius, None, textures(), rng.uniform(0.4, 1.5)))
    camera = rng.uniform(0.3, 2.2), rng.normal(0.08, 0.12)
    return Place(quads, balls, camera, 0.0, (0.8, 15), (0.3, 1.9), True)


def corridor(rng: np.random.Generator, textures: Textures) -> Place:
    """Floor, walls on both sides, mostly a ceiling and an end; columns or recesses."""
    half, height, end = rng.uniform(0.9, 3), rng.uniform(2.3, 4.5), rng.uniform(6, 40)
    shift, tile = rng.normal(0, 0.3) * half, rng.uniform(1.5, 5)
    wall = textures()
    quads = [floor(textures(), rng.uniform(0.8, 4))]
    if rng.random() < 0.8:
        quads.append(floor(textures(), rng.uniform(1, 4), height))
    else:
        height *= 2
    for side in (-1, 1):
        middle = np.array([shift + side * half, height / 2, end / 2])
        quads.append(Quad(middle, _Z, _Y, (end / 2 + 5, height / 2), wall, tile))
    if rng.random() < 0.8:
        middle = np.array([shift, height / 2, end])
        quads.append(Quad(middle, _X, _Y, (half, height / 2), textures(), tile))
    balls, column = [], textures()
    spacing, width = rng.uniform(1.5, 4), rng.uniform(0.1, 0.35)
    if rng.random() < 0.5:
        for z in np.arange(rng.uniform(1.5, 4), end, spacing):
            for side in (-1, 1):
                place = np.array([shift + side * (half - width), 0, z])
                balls.append(Ball(place, width, height, column, 1.0))
    camera = rng.uniform(1, 1.8), rng.normal(0.05, 0.1)
    return Place(quads, balls, camera, 0.0, (1, 0.8 * end), (0.6, 1.9), False)


def room(rng: np.random.Generator, textures: Textures) -> Place:
    """A room with furniture: boxes, tables, lamps."""
    half, deep, height = rng.uniform(1.5, 4), rng.uniform(3, 8), rng.uniform(2.3, 3.2)
    wall, tile = textures(), rng.uniform(1, 4)
    quads = [floor(textures(), rng.uniform(0.8, 3)), floor(wall, 3.0, height)]
    turn = rng.normal(0, 0.35)
    along = np.array([np.cos(turn), 0, np.sin(turn)])
    into = np.array([-np.sin(turn), 0, np.cos(turn)])
    middle = height / 2 * _Y
    quads.append(Quad(middle + deep * into, along, _Y, (half + 3, height / 2), wall, tile))
    for side in (-1, 1):
        place = middle + side * half * along + deep / 2 * into
        quads.append(Quad(place, into, _Y, (deep / 2 + 4, height / 2), wall, tile))
    for _ in range(rng.integers(0, 4)):  # pictures and windows on the wall behind
        place = np.array([0, rng.uniform(1.2, 1.8), 0]) + (deep - 0.02) * into
        place = place + rng.uniform(-half, half) * along
        quads.append(Quad(place, along, _Y, tuple(rng.uniform(0.2, 0.7, 2)), textures(), 2.0))
    balls = []
    for _ in range(rng.integers(2, 8)):
        place = rng.uniform(-half, half) * along + rng.uniform(1, deep) * into
        look = textures()
        size = tuple(rng.uniform([0.3, 0.3, 0.3], [1.6, 1.3, 0.9]))
        if rng.random() < 0.4:
            quads += table(place, size, turn, look)
        else:
            quads += box(place, size, turn + rng.choice([0, rng.normal(0, 0.4)]), look, look, 1.0)
        if rng.random() < 0.5:
            radius = rng.uniform(0.06, 0.2)
            on_top = place + (size[1] + radius) * _Y
            balls.append(Ball(on_top, radius, None, textures(), 0.5))
    camera = rng.uniform(0.8, 1.8), rng.normal(0.15, 0.12)
    return Place(quads, balls, camera, 0.0, (0.9, 0.8 * deep), (0.5, 1.8), False)


def table(
    base: Float[np.ndarray, "3"], size: tuple[float, float, float], angle: float, look: Texture
) -> list[Quad]:
    """A table's top and legs."""
    width, height, depth = size
    quads = box(base + (height - 0.04) * _Y, (width, 0.04, depth), angle, look, look, 0.8)
    for i in (-0.45, 0.45):
        for j in (-0.45, 0.45):
            x, z = i * width, j * depth
            leg = np.array([np.cos(angle) * x - np.sin(angle) * z, 0,
                            np.sin(angle) * x + np.cos(angle) * z])  # fmt: skip
            quads += box(base + leg, (0.05, height - 0.04, 0.05), angle, look, look, 0.8)
    return quads


def table_top(rng: np.random.Generator, textures: Textures) -> Place:
    """Small things on a table, seen from near; a room's wall or nothing behind."""
    top, width, deep = 0.75, rng.uniform(0.8, 2), rng.uniform(0.7, 1.6)
    start = rng.uniform(0.1, 0.3)
    look = textures()
    center = np.array([0, top - 0.03, start + deep / 2])
    quads = [
        Quad(center + 0.03 * _Y, _X, _Z, (width / 2, deep / 2), look, rng.uniform(0.4, 1.5)),
        Quad(center - [0, 0, deep / 2], _X, _Y, (width / 2, 0.03), look, 0.5),
        floor(textures(), 2.0),
    ]
    distance = start + deep + rng.uniform(0.3, 5)
    quads.append(Quad(np.array([0, 1.5, distance]), _X, _Y, (20, 1.5), textures(), 3.0))
    quads.append(floor(textures(), 3.0, 3.0))
    balls = []
    for _ in range(rng.integers(3, 12)):
        place = np.array([rng.uniform(-0.45, 0.45) * width, top, start + deep * rng.random()])
        kind = rng.integers(4)
        skin, tile = textures(), rng.uniform(0.1, 0.4)
        if kind == 0:
            size = tuple(rng.uniform([0.05, 0.02, 0.05], [0.3, 0.25, 0.2]))
            quads += box(place, size, rng.uniform(0, 3), skin, skin, tile)
        elif kind == 1:
            radius = rng.uniform(0.03, 0.12)
            balls.append(Ball(place + radius * _Y, radius, None, skin, tile))
        else:
            height, radius = rng.uniform(0.04, 0.28), rng.uniform(0.02, 0.09)
            balls.append(Ball(place, radius, height, skin, tile))
            lid = Quad(place + height * _Y, _X, _Z, (0.7 * radius, 0.7 * radius), skin, tile)
            quads.append(lid)
    camera = top + rng.uniform(0.12, 0.6), rng.uniform(0.1, 0.7)
    return Place(quads, balls, camera, top, (start + 0.1, start + deep), (0.06, 0.35), False)


def steps(rng: np.random.Generator, textures: Textures) -> Place:
    """A stair that rises away from the camera, between walls or free."""
    rise, tread, wide = rng.uniform(0.12, 0.25), rng.uniform(0.25, 0.6), rng.uniform(1.5, 8)
    stone, front = textures(), textures()
    quads, start = [floor(textures(), 2.0)], rng.uniform(1.2, 4)
    for n in range(rng.integers(5, 18)):
        base = np.array([0, 0, start + n * tread + 3])
        quads += box(base, (wide, (n + 1) * rise, 6.0), 0.0, front, stone, rng.uniform(0.8, 0.9))
    wall = textures()
    for side in (-1, 1):
        if rng.random() < 0.6:
            base = np.array([side * (wide / 2 + 0.3), 0, start + 8])
            quads += box(base, (0.6, rng.uniform(0.5, 5), 20.0), 0.0, wall, wall, 2.0)
    quads.append(Quad(np.array([0, 5, start + 20.0]), _X, _Y, (20, 5), textures(), 5.0))
    camera = rng.uniform(0.8, 2.2), rng.normal(0, 0.1)
    return Place(quads, [], camera, 0.0, (1, start), (0.5, 1.8), True)


def wall(rng: np.random.Generator, textures: Textures) -> Place:
    """A facade, mostly slanted, with posts or slats in front of it."""
    distance, turn = rng.uniform(1.5, 15), rng.normal(0, 0.6)
    along = np.array([np.cos(turn), 0, np.sin(turn)])
    height = rng.uniform(2, 12)
    middle = np.array([0, height / 2, distance])
    quads = [
        floor(textures(), rng.uniform(1, 4)),
        Quad(middle, along, _Y, (rng.uniform(3, 25), height / 2), textures(), rng.uniform(2, 8)),
    ]
    balls, post = [], textures()
    if rng.random() < 0.5:
        near, spacing = distance * rng.uniform(0.2, 0.8), rng.uniform(0.15, 1)
        thin = rng.uniform(0.01, 0.08)
        for x in np.arange(-6, 6, spacing):
            balls.append(Ball(np.array([x, 0, near]), thin, rng.uniform(0.9, 1.1) * 1.5, post, 0.5))
    for _ in range(rng.integers(0, 4)):
        place = np.array([rng.normal(0, 2), 0, distance * rng.uniform(0.3, 0.9)])
        look = textures()
        size = tuple(rng.uniform([0.3, 0.3, 0.3], [1.5, 1.5, 1]))
        quads += box(place, size, rng.uniform(0, 3), look, look, 1.0)
    camera = rng.uniform(1, 1.8), rng.normal(0, 0.12)
    return Place(quads, balls, camera, 0.0, (0.9, 0.9 * distance), (0.5, 1.9), True)


PLACES = (street, field, field, corridor, room, table_top, steps, wall)
"""Builders, each as likely as it is often here."""


def scene(
    rng: np.random.Generator,
    size: tuple[int, int],
    textures: Textures,
    cutouts: Callable[[], Cutout],
) -> tuple[rooms.Scene, Camera]:
    """A place of a random kind, with none to four subjects in it, and a camera."""
    place = PLACES[rng.integers(len(PLACES))](rng, textures)
    view = rooms.camera(rng, size, *place.camera)
    quads = list(place.quads)
    first = len(quads)
    reach = max(size) / 2 / view.focal * size[1] / max(size)
    for _ in range(rng.choice([0, 1, 1, 2, 3, 4])):
        near, far = place.distances
        z = near * (max(far, 1.01 * near) / near) ** rng.random()
        foot = np.array([rng.uniform(-0.8, 0.8) * reach * z, place.floor, z])
        quads.append(rooms.subject_quad(cutouts(), foot, rng.uniform(*place.tall)))
    light, warm = rng.uniform(0.4, 1), rng.uniform(0.85, 1.1, 3)
    sky = np.stack([light * np.array([0.5, 0.7, 1.0]), light * warm])
    haze = np.exp(rng.uniform(np.log(40), np.log(2000))) if place.outside else 1e4
    subjects = list(range(first, len(quads)))
    return rooms.Scene(quads, place.balls, subjects, np.clip(sky, 0, 1), float(haze)), view
