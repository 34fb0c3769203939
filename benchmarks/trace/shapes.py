"""Surfaces as grids of points, in numpy alone."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surface:
    """Grids of points with a picture on them.

    Attributes:
      points: `k n m 3`, k grids of the same size.
      uv: `k n m 2`, where a point lies in the picture: u to the right, v downwards, the whole
        picture in [0, 1], mirrored beyond.
      texture: Name of the picture; None is black.
      lit: Share of the light that comes from the sun; the rest shows the picture as it is.
      gain: Factor on the picture, one number or one for each channel.
      closed: Seen from outside only, like a ball. The others are turned towards the lens.
    """

    points: np.ndarray
    uv: np.ndarray
    texture: str | None
    lit: float = 0.0
    gain: float | tuple[float, float, float] = 1.0
    closed: bool = False


def quad(corners: np.ndarray | list, repeat: tuple[float, float] = (1, 1), **look) -> Surface:
    """A flat four-sided surface; corners from the upper left, clockwise as the picture lies."""
    a, b, c, d = np.asarray(corners, float)
    u, v = repeat
    points = np.array([[[a, b], [d, c]]])
    return Surface(points=points, uv=np.array([[[[0, 0], [u, 0]], [[0, v], [u, v]]]]), **look)


def card(
    centre: tuple[float, float, float],
    size: tuple[float, float],
    *,
    roll: float = 0.0,
    yaw: float = 0.0,
    repeat: tuple[float, float] = (1, 1),
    **look,
) -> Surface:
    """A picture of `size` (width, height), rolled anticlockwise, its right side `yaw`ed away."""
    x, y = np.array([-1, 1, 1, -1]) * size[0] / 2, np.array([1, 1, -1, -1]) * size[1] / 2
    angle, turn = np.deg2rad([roll, yaw])
    across = x * np.cos(angle) - y * np.sin(angle)
    corners = [
        across * np.cos(turn),
        x * np.sin(angle) + y * np.cos(angle),
        across * np.sin(turn),
    ]
    return quad(np.array(corners).T + centre, repeat, **look)


def ball(centre: tuple[float, float, float], radius: float, *, rows: int = 48, **look) -> Surface:
    """A ball that shows a picture on its front."""
    latitude = np.linspace(1e-3 - np.pi / 2, np.pi / 2 - 1e-3, rows)[:, None]
    longitude = np.linspace(-np.pi, np.pi, 2 * rows)[None, :]
    x, y, z = (
        np.cos(latitude) * np.sin(longitude),
        np.sin(latitude) + 0 * longitude,
        -np.cos(latitude) * np.cos(longitude),
    )
    uv = np.stack(np.broadcast_arrays(0.5 + longitude / np.pi, 0.5 - latitude / np.pi), -1)
    points = radius * np.stack([x, y, z], -1) + centre
    return Surface(points=points[None], uv=uv[None], closed=True, **look)


def tubes(
    paths: np.ndarray,
    radii: np.ndarray | float,
    *,
    sides: int = 12,
    repeat: tuple[float, float] = (1, 1),
    **look,
) -> Surface:
    """Tubes along lines of points, `k n 3`, with radii; `repeat`: around, per unit length."""
    paths = np.asarray(paths, float)
    radii = np.broadcast_to(radii, paths.shape[:2])[:, :, None, None]
    along = np.gradient(paths, axis=1)
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    # One direction that no tube runs along keeps the rings from twisting.
    aside = np.cross(along, np.array([0.31, 0.27, 0.91]))
    aside /= np.linalg.norm(aside, axis=-1, keepdims=True)
    other = np.cross(along, aside)
    angle = np.linspace(0, 2 * np.pi, sides + 1)[None, None, :, None]
    ring = np.cos(angle) * aside[:, :, None] + np.sin(angle) * other[:, :, None]
    steps = np.linalg.norm(np.diff(paths, axis=1, prepend=paths[:, :1]), axis=-1)
    length = np.cumsum(steps, axis=1)[:, :, None]
    around = np.linspace(0, 1, sides + 1)[None, None, :]
    uv = np.stack(np.broadcast_arrays(repeat[0] * around, repeat[1] * length), -1)
    return Surface(points=paths[:, :, None] + radii * ring, uv=uv, closed=True, **look)


def leaves(
    centres: np.ndarray, length: float, random: np.random.Generator, *, flat: float = 0.6, **look
) -> Surface:
    """Leaves at `k 3` places, bent along their middle, turned at random (less with `flat`)."""
    count = len(centres)
    t = np.linspace(0, 1, 7)[:, None]
    around = np.linspace(0, 2 * np.pi, 9)[None, :]
    half = 0.3 * np.maximum(np.sin(np.pi * t**0.8), 0.02)
    s = np.cos(around)
    thick = 0.05 * half * np.sin(around)
    own = np.stack([s * half, t - 0.5 + 0 * s, thick + 0.25 * half * s**2 + 0.1 * t**2], -1)
    turns = np.linalg.qr(random.normal(size=(count, 3, 3)) * [1, 1, 1 - flat] + flat * np.eye(3))[0]
    spin = random.uniform(0, 2 * np.pi, count)
    cos, sin, zero, one = np.cos(spin), np.sin(spin), 0 * spin, 1 + 0 * spin
    roll = np.array([[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]]).transpose(2, 0, 1)
    sizes = length * random.uniform(0.6, 1.2, count)[:, None, None, None]
    points = sizes * np.einsum("kij,nmj->knmi", roll @ turns, own) + centres[:, None, None]
    uv = np.broadcast_to(np.stack(np.broadcast_arrays((s + 1) / 2, t), -1), (*points.shape[:3], 2))
    return Surface(points=points, uv=uv, closed=True, **look)


def cut_out(
    outline: np.ndarray,
    centre: tuple[float, float, float],
    height: float,
    *,
    relief: float = 0.0,
    **look,
) -> Surface:
    """What lies within an outline of a square picture, bulging towards the lens by `relief`.

    Args:
      outline: `n 3`: row, left and right end in [0, 1], rows growing.
      centre: Where the middle of the picture lies.
      height: Of the whole picture.
      relief: How much nearer its middle is than its rim.
      **look: As for `Surface`.
    """
    even = np.linspace(outline[0, 0], outline[-1, 0], 160)
    rows = np.unique(np.concatenate([outline[:, 0], even]))
    left, right = (np.interp(rows, outline[:, 0], outline[:, side])[:, None] for side in (1, 2))
    t = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 33))[None, :]  # denser at the rim, where it bends
    u = (left + right) / 2 + t * (right - left) / 2
    v = rows[:, None] + 0 * t
    z = -relief * np.sqrt(np.maximum(1 - t**2, 0)) + 0 * v
    points = np.stack([height * (u - 0.5), height * (0.5 - v), z], -1) + centre
    return Surface(points=points[None], uv=np.stack([u, v], -1)[None], **look)


def disc(centre: tuple[float, float, float], radius: float, **look) -> Surface:
    """A flat round surface that faces along the optical axis."""
    angle = np.linspace(0, 2 * np.pi, 33)[None, :]
    distance = np.array([[0.0], [1.0]])
    x, y = distance * np.cos(angle), distance * np.sin(angle)
    points = radius * np.stack([x, y, 0 * x], -1) + centre
    uv = np.stack([(1 + x) / 2, (1 - y) / 2], -1)
    return Surface(points=points[None], uv=uv[None], **look)
