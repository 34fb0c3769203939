"""What Mitsuba 3 does: pictures through a pinhole and a thin lens, depth; linear light.

A circle of confusion has the signed radius `a F (1/z - 1/z_f)` pixels for a lens of radius a, a
focal length of F pixels and a focus at z_f. All surfaces are seen without noise of their own: they
show a picture, or reflect one sun, so that only the place in the pixel and on the lens is random.
"""

import dataclasses
import itertools
from typing import Any

import numpy as np
from scipy.stats import qmc

from benchmarks.trace import shapes
from benchmarks.trace.scenes import FIELD_OF_VIEW, Light, Scene
from benchmarks.trace.shapes import Surface
from benchmarks.trace.textures import Textures

NEAR = 1e-5
"""Where rays begin; the stop stands at twice that depth."""
SUNLIGHT = 1.7
"""So that a lit surface is about as bright as its picture."""


@dataclasses.dataclass(frozen=True)
class Opening:
    """The opening of the lens.

    Attributes:
      blades: Number of straight blades of the iris, 0 for a round one.
      rotation: Clockwise as seen from behind the camera [degrees]; at 0 a corner points right.
    """

    blades: int = 0
    rotation: float = 0.0

    @property
    def name(self) -> str:
        """As `meta.json` tells it."""
        if not self.blades:
            return "circle"
        return f"{self.blades} straight blades, rotation {self.rotation:g} degrees"

    def rim(self, steps: int = 24) -> np.ndarray:
        """Its rim `n 2` in lens radii, closed; x to the right, y up."""
        corners = self.blades or 256
        turn = -np.deg2rad(self.rotation)
        angle = turn + np.linspace(0, 2 * np.pi, corners + 1)
        points = np.stack([np.cos(angle), np.sin(angle)], -1)
        share = np.linspace(0, 1, steps, endpoint=False)[:, None]
        sides = [(1 - share) * a + share * b for a, b in itertools.pairwise(points)]
        return np.vstack([*sides, points[:1]])

    def points(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Maps numbers in [0, 1) evenly to points `n 2` of the opening, in lens radii."""
        if not self.blades:
            angle = 2 * np.pi * first
            return np.sqrt(second)[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
        corner = self.rim(1)
        side, along = np.divmod(first * self.blades, 1)
        a, b = (corner[side.astype(int) + step] for step in (0, 1))
        return np.sqrt(second)[:, None] * (a + along[:, None] * (b - a))


ROUND = Opening()


@dataclasses.dataclass(frozen=True)
class Lens:
    """A lens of `radius` that has depth `focus` in focus."""

    radius: float
    focus: float
    opening: Opening = ROUND


class Tracer:
    """A scene in Mitsuba.

    Attributes:
      size: Width and height of the pictures.
      focal_length: F [px].
    """

    def __init__(self, scene: Scene, textures: Textures, size: tuple[int, int], variant: str):
        import mitsuba as mi

        mi.set_variant(variant)
        self._mi: Any = mi
        self._bitmaps: dict[str, np.ndarray] = {}
        self.size = size
        self.focal_length = size[0] / 2 / np.tan(np.deg2rad(FIELD_OF_VIEW / 2))
        self._lights = scene.lights
        self._discs = tuple(
            shapes.disc(light.centre, light.radius, texture=None) for light in scene.lights
        )
        self._surfaces = {
            f"surface_{index}": self._mesh(surface, textures)
            for index, surface in enumerate((*scene.surfaces, *self._discs))
        }
        x, y, z = scene.sun
        irradiance = {"type": "rgb", "value": [np.pi * SUNLIGHT] * 3}
        sun = {"type": "directional", "direction": [x, y, -z], "irradiance": irradiance}
        self._parts = self._surfaces | {"sun": sun}
        self._scene = self._load(self._parts)

    def _load(self, things: dict) -> Any:
        # The sun alone is asked for: surfaces that show pictures don't light others.
        integrator = {"type": "direct", "emitter_samples": 1, "bsdf_samples": 0}
        return self._mi.load_dict({"type": "scene", "integrator": integrator} | things)

    def _mesh(self, surface: Surface, textures: Textures) -> Any:
        mi = self._mi
        vertices, faces = mesh(surface)
        properties = mi.Properties()
        black = {"type": "rgb", "value": 0.0}
        reflected, shown = black, black
        if surface.texture:
            if surface.texture not in self._bitmaps:
                self._bitmaps[surface.texture] = textures(surface.texture)
            picture = self._bitmaps[surface.texture] * np.asarray(surface.gain)
            shown = self._texture((1 - surface.lit) * picture)
            if surface.lit:
                reflected = self._texture(np.minimum(surface.lit * picture, 1))
        properties["bsdf"] = mi.load_dict({"type": "diffuse", "reflectance": reflected})
        if surface.texture:
            emitter = {"type": "area", "radiance": shown, "sampling_weight": 0.0}
            properties["emitter"] = mi.load_dict(emitter)
        made = mi.Mesh(
            "grid", len(vertices), len(faces), props=properties, has_vertex_texcoords=True,
            has_vertex_normals=bool(surface.lit),
        )  # fmt: skip
        values = mi.traverse(made)
        values["vertex_positions"] = np.ravel(vertices * [1, 1, -1]).astype(np.float32)
        values["vertex_texcoords"] = np.ravel(surface.uv).astype(np.float32)
        values["faces"] = np.ravel(faces).astype(np.uint32)
        values.update()
        return made

    def _texture(self, picture: np.ndarray) -> dict:
        bitmap = self._mi.Bitmap(np.ascontiguousarray(picture, np.float32))
        return {"type": "bitmap", "bitmap": bitmap, "raw": True, "wrap_mode": "mirror"}

    def _sensor(self, samples: int, lens: Lens | None) -> Any:
        width, height = self.size
        film = {"type": "hdrfilm", "width": width, "height": height, "pixel_format": "rgb"}
        film |= {"component_format": "float32", "rfilter": {"type": "box"}}
        frame = self._mi.ScalarTransform4f().look_at(
            origin=[0, 0, 0], target=[0, 0, -1], up=[0, 1, 0]
        )
        sensor = {"type": "perspective", "fov": FIELD_OF_VIEW, "fov_axis": "x", "to_world": frame}
        sensor |= {"near_clip": NEAR, "far_clip": 1e4, "film": film}
        sensor["sampler"] = {"type": "ldsampler", "sample_count": samples}
        if lens:
            sensor |= {"type": "thinlens", "aperture_radius": lens.radius}
            sensor["focus_distance"] = lens.focus
        return self._mi.load_dict(sensor)

    def picture(self, samples: int, seed: int, lens: Lens | None = None) -> np.ndarray:
        """The scene through a pinhole or a lens, `h w 3`, at least 0.

        Args:
          samples: Rays for each pixel, a power of four.
          seed: Of pixel, lens and lights.
          lens: None for a pinhole.
        """
        sensor = self._sensor(samples, lens)
        if lens and lens.opening.blades:
            made = Textures(0)
            stop = {"stop": self._mesh(blind(lens), made)}
            wall = shapes.card((0, 0, lens.focus), (4 * lens.focus,) * 2, texture="white")
            empty = {"wall": self._mesh(wall, made), "sun": self._parts["sun"]}
            # Both see the same rays: what the stop takes from a pixel is known, not guessed.
            passed = self._render(self._load(empty | stop), sensor, samples, seed)
            everything = self._load(self._parts | stop)
            light = self._render(everything, sensor, samples, seed) / np.maximum(passed, 1e-6)
        else:
            light = self._render(self._scene, sensor, samples, seed)
        for index, lamp in enumerate(self._lights):
            light += self._lamp(lamp, samples, [seed, index], lens)
        return light

    def _render(self, scene: Any, sensor: Any, samples: int, seed: int) -> np.ndarray:
        return np.array(self._mi.render(scene, sensor=sensor, spp=samples, seed=seed), np.float64)

    def _lamp(self, lamp: Light, samples: int, seed: list[int], lens: Lens | None) -> np.ndarray:
        """A light, by rays between points of its disc and of the lens.

        Rays of the camera would meet it too seldom. Each one carries the light of its share of the
        disc's image, `pi (r F / z)^2` pixels, to the pixel where it meets the sensor. There are
        about `samples` of them for each pixel of what is seen, a million at most.
        """
        own = lamp.radius * self.focal_length / lamp.centre[2]
        blur = lens.radius * abs(1 / lamp.centre[2] - 1 / lens.focus) if lens else 0.0
        seen_area = np.pi * (own + self.focal_length * blur) ** 2
        rays = 2 ** min(int(np.ceil(np.log2(samples * max(64, seen_area)))), 20)
        random = qmc.Sobol(4, rng=np.random.default_rng(seed)).random(rays)
        on_disc = ROUND.points(random[:, 0], random[:, 1]) * lamp.radius
        target = np.column_stack([on_disc, np.zeros(rays)]) + lamp.centre
        origin, shift = np.zeros_like(target), 0.0
        if lens:
            origin[:, :2] = lens.radius * lens.opening.points(random[:, 2], random[:, 3])
            shift = origin[:, :2] * (1 / lens.focus - 1 / lamp.centre[2])
        flat = self.focal_length * (target[:, :2] / lamp.centre[2] + shift)
        width, height = self.size
        column = np.floor(width / 2 + flat[:, 0]).astype(int)
        row = np.floor(height / 2 - flat[:, 1]).astype(int)
        inside = np.flatnonzero((column >= 0) & (column < width) & (row >= 0) & (row < height))
        way = target[inside] - origin[inside]
        length = np.linalg.norm(way, axis=1)
        seen = self.distances(origin[inside], way / length[:, None]) > length * (1 - 1e-4)
        pixels = (row * width + column)[inside[seen]]
        share = np.bincount(pixels, minlength=width * height) * np.pi * own**2 / rays
        return share.reshape(height, width, 1) * np.asarray(lamp.colour)

    def depth(self) -> np.ndarray:
        """Depth along the optical axis through the centre of each pixel, `h w`.

        Raises:
          ValueError: if a ray leaves the scene.
        """
        width, height = self.size
        y, x = np.mgrid[:height, :width] + 0.5
        way = np.stack(
            [x - width / 2, height / 2 - y, np.full_like(x, self.focal_length)], -1
        ).reshape(-1, 3)
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        depth = (self.distances(np.zeros_like(way), way) * way[:, 2]).reshape(height, width)
        if not np.isfinite(depth).all():
            raise ValueError("a ray leaves the scene; its backdrop must fill the picture")
        return depth

    def distances(self, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Distance to the first surface along each ray (`n 3`, directions of length 1)."""
        if not len(origins):
            return np.zeros(0)
        mi, flip = self._mi, [1, 1, -1]
        origins, directions = origins * flip, directions * flip
        hit = self._scene.ray_intersect_preliminary
        if mi.variant().startswith("scalar"):
            parts = np.array_split(np.hstack([origins, directions]), len(origins) // 65536 + 1)
            rays = (mi.Ray3f(row[:3], row[3:]) for part in parts for row in part.tolist())
            return np.fromiter((hit(ray).t for ray in rays), np.float64, len(origins))
        rays = mi.Ray3f(mi.Point3f(*origins.T), mi.Vector3f(*directions.T))
        return np.array(hit(rays).t, np.float64)


def mesh(surface: Surface) -> tuple[np.ndarray, np.ndarray]:
    """Vertices `v 3` and triangles `f 3` that turn their light side outwards or to the lens."""
    count, rows, columns, _ = surface.points.shape
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    grids = surface.points.reshape(count, -1, 3)
    made = []
    for number, points in enumerate(grids):
        corners = points[faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        # Mitsuba's z points backwards, which mirrors a triangle's sense of turning.
        outwards = corners[:, 0] - points.mean(axis=0) if surface.closed else -corners[:, 0]
        turned = faces if np.sum(normals * outwards) < 0 else faces[:, ::-1]
        made.append(turned + number * rows * columns)
    return grids.reshape(-1, 3), np.concatenate(made)


def blind(lens: Lens) -> Surface:
    """The blades of the iris: black between its rim and the rim of the lens, a hair before it.

    Sunlight must not travel into the picture: the shadow of the blades would then be seen.
    """
    rim = lens.opening.rim()
    outer = 1.1 * rim / np.linalg.norm(rim, axis=1, keepdims=True)
    points = np.stack([rim, outer])[None]
    points = np.concatenate([lens.radius * points, np.full((*points.shape[:3], 1), 2 * NEAR)], -1)
    return Surface(points=points, uv=np.zeros((*points.shape[:3], 2)), texture=None)
