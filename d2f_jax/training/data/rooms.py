"""Seeded scenes with exact disparity, by casting rays at quads, spheres and upright cylinders.

Streets, fields, corridors, rooms, table tops, steps and walls, covered with parts of photographs,
with cut-out subjects standing in them at their distance and of their size. Lengths are in metres,
the camera is at (0, height, 0) and looks along +z, y points up. Every picture is cast at twice its
size and averaged; no renderer under test takes part.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from d2f_jax.training.data import synthetic
from d2f_jax.training.data.layouts import Cutout

Vector = Float[np.ndarray, "3"]
_LEVELS = 6  # of a texture's pyramid
_NEAR = 0.05  # m


class Texture(NamedTuple):
    """A square picture, each level half as fine as the one before but stored at full size."""

    levels: UInt8[np.ndarray, "n s s 3"]


class Quad(NamedTuple):
    """A rectangle: its centre, two unit axes and half of its extents along them.

    Attributes:
      tile: Length that the texture takes before it repeats, mirrored.
      pixels: Colours (sRGB) and alpha that take the texture's place, first row at +axis_v.
    """

    center: Vector
    axis_u: Vector
    axis_v: Vector
    half: tuple[float, float]
    texture: Texture | None = None
    tile: float = 1.0
    pixels: Float[np.ndarray, "p q 4"] | None = None


class Ball(NamedTuple):
    """A sphere, or an upright cylinder of this height that stands on its centre."""

    center: Vector
    radius: float
    height: float | None
    texture: Texture
    tile: float


class Camera(NamedTuple):
    """Height [m], turn of the view (columns right, down, forward) and focal length in pixels."""

    height: float
    turn: Float[np.ndarray, "3 3"]
    focal: float
    size: tuple[int, int]


class Scene(NamedTuple):
    """What is seen.

    Attributes:
      quads: Rectangles, subjects among them.
      balls: Spheres and cylinders.
      subjects: Which quads are subjects.
      sky: Colours (sRGB) from the zenith to the horizon.
      haze: Distance at which the air hides two thirds [m].
    """

    quads: list[Quad]
    balls: list[Ball]
    subjects: list[int]
    sky: Float[np.ndarray, "2 3"]
    haze: float


class Cast(NamedTuple):
    """Picture (sRGB), disparity [1/m], and which quad each pixel shows (-1: none)."""

    image: Float[np.ndarray, "h w 3"]
    disparity: Float[np.ndarray, "h w"]
    quad: Int[np.ndarray, "h w"]


def texture(picture: Float[np.ndarray, "s s 3"]) -> Texture:
    """Makes the levels of an sRGB picture in [0, 1] whose side is a power of two."""
    side, levels = picture.shape[0], [picture]
    for level in range(1, _LEVELS):
        small = side >> level
        mean = picture.reshape(small, 1 << level, small, 1 << level, 3).mean((1, 3))
        levels.append(mean.repeat(1 << level, 0).repeat(1 << level, 1))
    return Texture((255 * np.stack(levels) + 0.5).astype(np.uint8))


def camera(rng: np.random.Generator, size: tuple[int, int], height: float, down: float) -> Camera:
    """A camera that looks `down` radians below the horizon, rolled a little, of a random lens."""
    pitch, roll = down, rng.normal(0, 0.02)
    right = np.array([np.cos(roll), np.sin(roll), 0.0])
    forward = np.array([0.0, -np.sin(pitch), np.cos(pitch)])
    right -= (right @ forward) * forward
    right /= np.linalg.norm(right)
    below = np.cross(forward, right)
    below = -below if below[1] > 0 else below
    focal = max(size) / 2 / np.tan(np.radians(rng.uniform(17, 36)))
    return Camera(height, np.stack([right, below, forward], -1), focal, size)


def cast(scene: Scene, view: Camera, rng: np.random.Generator) -> Cast:
    """Casts the rays of a picture and lights what they meet."""
    height, width = 2 * view.size[0], 2 * view.size[1]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    lens = 2 * view.focal
    directions = np.stack([(x - width / 2 + 0.5) / lens, (y - height / 2 + 0.5) / lens], -1)
    rays = np.concatenate([directions, np.ones_like(y)[..., None]], -1) @ view.turn.T
    rays = rays.astype(np.float32)  # a step of 1 along a ray is a depth of 1
    film = _Film(rays, view, lens, _light(rng), scene)
    for number, quad in enumerate(scene.quads):
        film.lay_quad(number, quad)
    for ball in scene.balls:
        film.lay_ball(ball)
    disparity = np.where(np.isfinite(film.depth), 1 / film.depth, 0)
    air = np.exp(-film.depth / scene.haze)[..., None]
    image = film.color * air + film.sky() * (1 - air)
    image = image.reshape(*view.size[:1], 2, view.size[1], 2, 3).mean((1, 3))
    return Cast(
        np.clip(image, 0, 1).astype(np.float32),
        disparity[::2, ::2].astype(np.float32),
        film.quad[::2, ::2],
    )


class _Film:
    """What the rays have met so far."""

    def __init__(
        self,
        rays: Float[np.ndarray, "h w 3"],
        view: Camera,
        lens: float,
        light: Vector,
        scene: Scene,
    ):
        self.rays, self.view, self.lens, self.light, self.scene = rays, view, lens, light, scene
        self.origin = np.array([0, view.height, 0], np.float32)
        self.depth = np.full(rays.shape[:2], np.inf, np.float32)
        self.color = np.zeros_like(rays)
        self.quad = np.full(rays.shape[:2], -1)

    def sky(self) -> Float[np.ndarray, "h w 3"]:
        share = np.clip(self.rays[..., 1:2] * 2, 0, 1)
        top, bottom = self.scene.sky.astype(np.float32)
        return share * top + (1 - share) * bottom

    def lay_quad(self, number: int, quad: Quad) -> None:
        normal = np.cross(quad.axis_u, quad.axis_v)
        away = float((quad.center - self.origin) @ normal)
        corners = [
            quad.center + i * quad.half[0] * quad.axis_u + j * quad.half[1] * quad.axis_v
            for i in (-1, 1)
            for j in (-1, 1)
        ]
        window = self._window(np.stack(corners))
        if window is None:
            return
        rays = self.rays[window]
        facing = rays @ normal.astype(np.float32)
        t = away / np.where(np.abs(facing) < 1e-9, 1e-9, facing)
        hit = self.origin + t[..., None] * rays - quad.center.astype(np.float32)
        u, v = hit @ quad.axis_u.astype(np.float32), hit @ quad.axis_v.astype(np.float32)
        seen = (t > _NEAR) & (t < self.depth[window])
        seen &= (np.abs(u) <= quad.half[0]) & (np.abs(v) <= quad.half[1])
        if quad.pixels is not None:
            rows, columns = quad.pixels.shape[:2]
            row = np.clip((0.5 - v[seen] / quad.half[1] / 2) * rows, 0, rows - 1).astype(int)
            column = np.clip((0.5 + u[seen] / quad.half[0] / 2) * columns, 0, columns - 1)
            found = quad.pixels[row, column.astype(int)]
            seen[seen] = found[:, 3] > 0.5
            self._keep(window, seen, t, found[found[:, 3] > 0.5, :3], number)
        elif quad.texture is not None:
            shade = 0.55 + 0.45 * abs(float(normal @ self.light))
            slant = np.abs(facing[seen]) / np.linalg.norm(rays[seen], axis=-1)
            stretched = t[seen] / np.maximum(slant, 0.05)
            color = self._looked_up(quad.texture, quad.tile, u[seen], v[seen], stretched)
            self._keep(window, seen, t, shade * color, number)

    def lay_ball(self, ball: Ball) -> None:
        center = ball.center.astype(np.float32)
        reach = np.array([ball.radius, ball.height or ball.radius, ball.radius])
        low = center - reach * (1, 0 if ball.height else 1, 1)
        corners = np.stack(np.meshgrid(*zip(low, center + reach, strict=True)), -1).reshape(-1, 3)
        window = self._window(corners)
        if window is None:
            return
        rays, offset = self.rays[window], self.origin - center
        axes = [0, 2] if ball.height else [0, 1, 2]
        a = (rays[..., axes] ** 2).sum(-1)
        b = rays[..., axes] @ offset[axes]
        c = float((offset[axes] ** 2).sum() - ball.radius**2)
        inside = b * b - a * c
        t = (-b - np.sqrt(np.maximum(inside, 0))) / np.maximum(a, 1e-9)
        hit = offset + t[..., None] * rays
        seen = (inside > 0) & (t > _NEAR) & (t < self.depth[window])
        if ball.height:
            seen &= (hit[..., 1] >= 0) & (hit[..., 1] <= ball.height)
        normal = hit[seen] / ball.radius
        lit = 0.4 + 0.6 * np.clip(normal[:, axes] @ self.light[axes].astype(np.float32), 0, 1)
        around = np.arctan2(normal[:, 0], -normal[:, 2]) * ball.radius
        color = self._looked_up(ball.texture, ball.tile, around, hit[seen][:, 1], 1.5 * t[seen])
        self._keep(window, seen, t, lit[:, None] * color, -1)

    def _window(self, corners: Float[np.ndarray, "n 3"]) -> tuple[slice, slice] | None:
        """The part of the film that things between these corners can touch."""
        height, width = self.depth.shape
        local = (corners - self.origin) @ self.view.turn
        if (local[:, 2] <= _NEAR).all():
            return None
        if (local[:, 2] <= _NEAR).any():
            return slice(0, height), slice(0, width)
        x, y = (self.lens * local[:, i] / local[:, 2] for i in (0, 1))
        top, bottom = np.clip([y.min() - 1, y.max() + 2], -height / 2, height / 2) + height / 2
        left, right = np.clip([x.min() - 1, x.max() + 2], -width / 2, width / 2) + width / 2
        rows, columns = slice(int(top), int(bottom)), slice(int(left), int(right))
        return (rows, columns) if rows.stop > rows.start and columns.stop > columns.start else None

    def _looked_up(
        self, texture: Texture, tile: float, u: np.ndarray, v: np.ndarray, stretched: np.ndarray
    ) -> Float[np.ndarray, "n 3"]:
        """Texture colours at lengths (u, v), as fine as a pixel's footprint allows."""
        side = texture.levels.shape[1]
        footprint = np.abs(stretched) / self.lens * side / tile  # texels per pixel
        level = np.clip(np.log2(np.maximum(footprint, 1)), 0, _LEVELS - 1).astype(int)

        def place(along: np.ndarray) -> np.ndarray:
            share = np.abs((along / tile) % 2 - 1)
            return np.minimum((share * side).astype(int), side - 1)

        return texture.levels[level, place(v), place(u)] * np.float32(1 / 255)

    def _keep(
        self,
        window: tuple[slice, slice],
        seen: np.ndarray,
        t: np.ndarray,
        color: np.ndarray,
        n: int,
    ) -> None:
        self.depth[window][seen] = t[seen]
        self.color[window][seen] = color
        self.quad[window][seen] = n


def _light(rng: np.random.Generator) -> Vector:
    light = np.array([rng.normal(0, 0.6), rng.uniform(0.4, 1), rng.uniform(-1, 0.2)])
    return light / np.linalg.norm(light)


def finish(rng: np.random.Generator, image: Float[np.ndarray, "h w 3"]) -> np.ndarray:
    """Exposure, tint, contrast and noise of a camera that nobody set well, on an sRGB picture."""
    gain = np.exp(rng.normal(0, 0.2)) * np.exp(rng.normal(0, 0.05, 3))
    image = np.clip(image * gain, 0, 1) ** np.exp(rng.normal(0, 0.12))
    image = image + rng.normal(0, rng.uniform(0, 0.015), image.shape)
    return np.clip(image, 0, 1).astype(np.float32)


def focused(
    rng: np.random.Generator,
    disparity: Float[np.ndarray, "h w"],
    alphas: Sequence[tuple[Float[np.ndarray, "h w"], float]],
) -> tuple[float, bool]:
    """What a photographer would focus on, and whether that is a subject.

    The subject that fills most of the picture, counted less off its middle; without one of a
    hundredth of it, what is near in the middle (`photo.focus.subject`'s rule).
    """
    height, width = disparity.shape
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    middle = np.exp(-(x**2) / 0.7 - y**2 / 1.2)
    best, value = 0.0, 0.0
    for alpha, near in alphas:
        weight = float((alpha * middle).mean()) * (near / max(float(disparity.max()), 1e-6)) ** 0.5
        if weight > best and alpha.mean() > 0.01:
            best, value = weight, near
    if best:
        return value, True
    center = disparity[height // 4 : -(height // 4), width // 4 : -(width // 4)]
    return float(np.percentile(center, 90)), False


def subject_quad(cutout: Cutout, foot: Vector, height: float) -> Quad:
    """A cut-out of this height [m] that stands at a place and faces the camera."""
    rows, columns = cutout.pixels.shape[:2]
    half = height / 2 * columns / rows, height / 2
    across = np.array([foot[2], 0.0, -foot[0]])
    across /= max(float(np.linalg.norm(across)), 1e-9)
    alpha = np.clip(cutout.pixels[..., 3:], 0, 1)
    color = synthetic.photos.encode(cutout.pixels[..., :3] / np.maximum(alpha, 1e-3))
    pixels = np.concatenate([color, alpha], -1)
    center = foot + np.array([0, half[1], 0])
    return Quad(center, across, np.array([0.0, 1, 0]), half, pixels=pixels)


Textures = Callable[[], Texture]
"""Gives a texture at each call."""
