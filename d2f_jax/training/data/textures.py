"""Procedural surfaces and outlines for synthetic scenes, drawn with numpy.

Surfaces are planar linear radiance `3 H W` in about [0, 1]; outlines are coverage `H W` in [0, 1],
with edges about one pixel soft.
"""

import numpy as np
from jaxtyping import Float

Surface = Float[np.ndarray, "3 H W"]
Outline = Float[np.ndarray, "H W"]
Size = tuple[int, int]


def surface(rng: np.random.Generator, size: Size) -> Surface:
    """A random surface: mottled, striped, bricks, leaves, windows or gradient."""
    kinds = (_mottled, _mottled, _mottled, _striped, _bricks, _leaves, _leaves, _windows)
    kind = kinds[rng.integers(len(kinds))]
    light = 0.75 + 0.5 * noise(rng, size, cells=2, octaves=1)
    grain = 0.85 + 0.3 * noise(rng, size, cells=max(size) // 4, octaves=2)
    return np.clip(kind(rng, size) * light * grain, 0, 1).astype(np.float32)


def outline(rng: np.random.Generator, size: Size) -> Outline:
    """A random object: a blob, a card, a figure, or something thin (branches, bars, blades).

    Some of it is in the picture: its alpha exceeds 0.5 somewhere.
    """
    kinds = (_blob, _blob, _card, figure, figure, figure, _branches, _bars, _blades)
    alpha = kinds[rng.integers(len(kinds))](rng, size)
    if (alpha > 0.5).any():
        return alpha
    return _blob(rng, size)  # in place of branches that grew out of the picture altogether


def noise(
    rng: np.random.Generator, size: Size, *, cells: int, octaves: int
) -> Float[np.ndarray, "H W"]:
    """Smooth noise in [0, 1]: random grids of `cells` along the longer side, halving the step."""
    total = np.zeros(size, np.float32)
    weight, weights = 1.0, 0.0
    for _ in range(octaves):
        step = max(size) / max(cells, 1)
        rows, columns = (_smooth_steps(side, step) for side in size)
        grid = rng.random((rows.shape[1], columns.shape[1]), np.float32)
        total += weight * (rows @ grid @ columns.T)
        weights += weight
        weight, cells = weight / 2, min(cells * 2, max(size))
    return total / weights


def _smooth_steps(side: int, step: float) -> Float[np.ndarray, "side n"]:
    """Weights that interpolate a grid of spacing `step` along one axis, smooth at its points."""
    position = np.arange(side) / step
    cell = position.astype(int)
    t = position - cell
    t = t * t * (3 - 2 * t)
    weights = np.zeros((side, cell[-1] + 2), np.float32)
    weights[np.arange(side), cell] = 1 - t
    weights[np.arange(side), cell + 1] = t
    return weights


def _palette(rng: np.random.Generator, colors: int) -> Float[np.ndarray, "n 3"]:
    """Muted colours around one hue, dark to bright, with now and then a strong one."""
    # Soil and skin, foliage, sky, or anything.
    hue = rng.choice([0.07, 0.07, 0.27, 0.57, rng.random()])
    hues = (hue + 0.05 * rng.standard_normal(colors)) % 1
    saturation = rng.beta(2, 4) * np.ones(colors)
    if rng.random() < 0.25:
        hues[-1], saturation[-1] = rng.random(), 0.9
    value = np.sort(rng.uniform(0.03, 0.8, colors))
    wheel = np.abs((hues[:, None] * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    return value[:, None] * (1 - saturation[:, None] * (1 - np.clip(wheel, 0, 1)))


def _colored(value: Float[np.ndarray, "H W"], palette: Float[np.ndarray, "n 3"]) -> Surface:
    """Maps [0, 1] to the palette, linearly between its colours."""
    stops = np.linspace(0, 1, len(palette))
    return np.stack([np.interp(value, stops, channel) for channel in palette.T])


def _mottled(rng: np.random.Generator, size: Size) -> Surface:
    value = noise(rng, size, cells=int(rng.integers(3, 12)), octaves=5)
    value = np.clip((value - 0.5) * rng.uniform(1.5, 3) + 0.5, 0, 1)
    return _colored(value, _palette(rng, 4))


def _striped(rng: np.random.Generator, size: Size) -> Surface:
    y, x = np.ogrid[: size[0], : size[1]]
    angle = rng.uniform(0, np.pi)
    period = max(size) / rng.uniform(4, 40)
    bend = noise(rng, size, cells=4, octaves=3) * rng.uniform(0, 3)
    value = ((x * np.cos(angle) + y * np.sin(angle)) / period + bend) % 1
    return _colored(np.abs(2 * value - 1), _palette(rng, 3))


def _bricks(rng: np.random.Generator, size: Size) -> Surface:
    y, x = np.ogrid[: size[0], : size[1]]
    course = max(size) / rng.uniform(8, 24)
    length = course * rng.uniform(1, 3)
    row = (y / course).astype(int)
    column = (x / length + 0.5 * (row % 2)).astype(int)
    tint = rng.random((row.max() + 1, column.max() + 1))[row, column]
    across, along = y % course, (x + 0.5 * length * (row % 2)) % length
    joint = np.minimum(np.minimum(across, along), max(1.0, course / 12)) / max(1.0, course / 12)
    value = 0.2 + 0.5 * tint + 0.3 * noise(rng, size, cells=20, octaves=3)
    return _colored(value, _palette(rng, 3)) * (0.4 + 0.6 * joint)


def _leaves(rng: np.random.Generator, size: Size) -> Surface:
    picture = _mottled(rng, size) * 0.4
    palette = _palette(rng, 5)
    largest = max(size) / rng.uniform(8, 25)
    for _ in range(160):
        center = rng.random(2) * size
        long = largest * rng.uniform(0.3, 1)
        wide = long * rng.uniform(0.25, 0.8)
        angle = rng.uniform(0, np.pi)
        rows, columns, y, x = _window(center, long, size)
        along = y * np.sin(angle) + x * np.cos(angle)
        across = x * np.sin(angle) - y * np.cos(angle)
        cover = _edge((1 - np.hypot(along / long, across / wide)) * wide)
        shade = 1 - 0.5 * np.clip(across / wide, 0, 1)
        color = palette[rng.integers(len(palette))] * rng.uniform(0.6, 1.3)
        part = picture[:, rows, columns]
        part += cover * (color[:, None, None] * shade - part)
    return picture


def _windows(rng: np.random.Generator, size: Size) -> Surface:
    y, x = np.ogrid[: size[0], : size[1]]
    pitch = max(size) / rng.uniform(6, 20)
    cell = (y / pitch).astype(int), (x / pitch / 0.7).astype(int)
    lit = rng.random((cell[0].max() + 1, cell[1].max() + 1)) ** 2
    inside = (np.abs(y / pitch % 1 - 0.5) < 0.3) & (np.abs(x / pitch / 0.7 % 1 - 0.5) < 0.35)
    wall = _palette(rng, 2)
    base = _colored(noise(rng, size, cells=6, octaves=4), 0.5 * wall)
    glass = _colored(lit[cell], _palette(rng, 3))
    return np.where(inside, glass, base)


def _blob(rng: np.random.Generator, size: Size) -> Outline:
    center = rng.uniform(0.25, 0.75, 2) * size
    y, x = np.ogrid[: size[0], : size[1]]
    angle = np.arctan2(y - center[0], x - center[1])
    radius = min(size) * rng.uniform(0.12, 0.3) * np.ones(size)
    for order in range(2, 7):
        radius *= 1 + rng.normal(0, 0.25 / order) * np.cos(order * angle + rng.uniform(0, 6.3))
    return _edge(radius - np.hypot(y - center[0], x - center[1]))


def _card(rng: np.random.Generator, size: Size) -> Outline:
    center = rng.uniform(0.2, 0.8, 2) * size
    half = min(size) * rng.uniform(0.1, 0.3, 2)
    angle = rng.normal(0, 0.3)
    y, x = np.ogrid[: size[0], : size[1]]
    y, x = y - center[0], x - center[1]
    along = np.abs(x * np.cos(angle) + y * np.sin(angle)) - half[1]
    across = np.abs(y * np.cos(angle) - x * np.sin(angle)) - half[0]
    return _edge(-np.maximum(along, across))


def figure(rng: np.random.Generator, size: Size) -> Outline:
    """Head, shoulders and body, from the lower border up."""
    height = size[0] * rng.uniform(0.45, 0.75)
    center = size[1] * rng.uniform(0.25, 0.75)
    head = height * rng.uniform(0.13, 0.17)
    top = size[0] - height
    y, x = np.ogrid[: size[0], : size[1]]
    skull = np.hypot((y - top - head) / 1.2, x - center)
    lean = rng.normal(0, 0.1) * (y - size[0])
    body = np.abs(x - center - lean) - head * rng.uniform(1.5, 2.2)
    shoulders = np.hypot(np.maximum(body + head, 0), np.maximum(top + 3.2 * head - y, 0)) - head
    neck = np.maximum(np.abs(x - center) - 0.5 * head, top + head - y)
    return _edge(-np.minimum(np.minimum(skull - head, shoulders), neck))


def _branches(rng: np.random.Generator, size: Size) -> Outline:
    alpha = np.zeros(size, np.float32)
    start = np.array([rng.uniform(0.6, 1.1), rng.uniform(0, 1)]) * size
    direction = rng.uniform(-2.6, -0.5)
    limbs = [(start, direction, max(size) * rng.uniform(0.25, 0.4), max(size) / 60, 0)]
    while limbs:
        foot, angle, length, width, depth = limbs.pop()
        tip = foot + length * np.array([np.sin(angle), np.cos(angle)])
        _stroke(alpha, foot, tip, width)
        if depth == 4:
            _stroke(alpha, tip, tip + 0.1, rng.uniform(1, 3) * max(size) / 150)
            continue
        for _ in range(int(rng.integers(2, 4))):
            joint = foot + rng.uniform(0.5, 1) * (tip - foot)
            turn = angle + rng.normal(0, 0.6)
            limbs.append((joint, turn, length * rng.uniform(0.5, 0.8), width * 0.6, depth + 1))
    return alpha


def _bars(rng: np.random.Generator, size: Size) -> Outline:
    """A fence or wires: parallel bars in one or two directions."""
    alpha = np.zeros(size, np.float32)
    y, x = np.ogrid[: size[0], : size[1]]
    tilt = rng.normal(0, 0.1)
    for direction in range(int(rng.integers(1, 3))):
        angle = tilt + direction * rng.choice([np.pi / 2, 1.0])
        pitch = max(size) / rng.uniform(4, 14)
        width = rng.uniform(0.8, max(2.0, pitch / 6))
        across = x * np.cos(angle) + y * np.sin(angle)
        distance = np.abs((across / pitch + rng.random()) % 1 - 0.5) * pitch
        alpha = np.maximum(alpha, _edge(width - distance))
    return alpha


def _blades(rng: np.random.Generator, size: Size) -> Outline:
    """Grass and stalks that grow from the lower border."""
    alpha = np.zeros(size, np.float32)
    for _ in range(int(rng.integers(15, 60))):
        foot = np.array([size[0], rng.uniform(0, size[1])])
        angle, length = -np.pi / 2 + rng.normal(0, 0.2), size[0] * rng.uniform(0.05, 0.16)
        width, bend = rng.uniform(0.8, max(size) / 90), rng.normal(0, 0.25)
        for _ in range(4):
            tip = foot + length * np.array([np.sin(angle), np.cos(angle)])
            _stroke(alpha, foot, tip, width)
            foot, angle, width = tip, angle + bend, width * 0.8
    return alpha


def _stroke(alpha: Outline, start: np.ndarray, end: np.ndarray, width: float) -> None:
    """Draws a round-ended line of half-width `width` in place."""
    middle, half = (start + end) / 2, float(np.linalg.norm(end - start)) / 2
    rows, columns, y, x = _window(middle, half + width, alpha.shape)
    line = end - start
    y, x = y + middle[0] - start[0], x + middle[1] - start[1]
    t = np.clip((y * line[0] + x * line[1]) / max(line @ line, 1e-9), 0, 1)
    cover = _edge(width - np.hypot(y - t * line[0], x - t * line[1]))
    part = alpha[rows, columns]
    np.maximum(part, cover, out=part)


def _window(
    center: np.ndarray, reach: float, size: Size
) -> tuple[slice, slice, np.ndarray, np.ndarray]:
    """The part of a canvas near a point, and its coordinates relative to the point."""
    low = np.clip(np.floor(center - reach - 1), 0, size).astype(int)
    high = np.clip(np.ceil(center + reach + 2), 0, size).astype(int)
    rows, columns = slice(low[0], high[0]), slice(low[1], high[1])
    y, x = np.ogrid[rows, columns]
    return rows, columns, y - center[0], x - center[1]


def _edge(inside: np.ndarray) -> Float[np.ndarray, "..."]:
    """Coverage of a pixel whose centre lies `inside` pixels within an edge."""
    return np.clip(inside + 0.5, 0, 1).astype(np.float32)
