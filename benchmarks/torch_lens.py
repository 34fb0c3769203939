"""The classical ways to blur by depth in PyTorch, as fast as we could make them.

The results are those of `peers`, where each idea stands in its shortest form; nothing is copied
from other projects. Channels first here: pictures `1 3 h w`, signed circle-of-confusion radii
`1 1 h w` [px]. Both take a picture in tiles, which stay in the cache of a CPU, and leave out what
a tile does not have. Neither keeps anything between calls.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from d2f_jax.render.convolution import fast_size

_DIRECT_REACH = 3  # of the largest kernel that is faster without transforms
_CPU_TILE = 128
_GPU_TILE = 2048  # calls cost more there than passes over memory


def scatter(image: Tensor, coc_radius: Tensor, *, tile: int | None = None) -> Tensor:
    """Each pixel spread over a soft disc, over the weights that arrived.

    The idea of the classical renderer of BokehMe (Peng et al. 2022): `peers.scatter`. A tile is
    weighted once for the eight places of one distance and added there. The part of the disc that
    all pixels of a tile have in common is laid row by row, as the ends of running sums.
    Differentiable once, in picture and radius.
    """
    radius = coc_radius.abs()
    reach = math.ceil(_range(radius)[1] + 0.5)
    planes = torch.cat((image, torch.ones_like(radius)), dim=1) / (math.pi * (radius + 0.5) ** 2)
    planes, radius = (F.pad(x, 4 * (reach,), "replicate")[0] for x in (planes, radius))
    total: Any = _Spread.apply(planes, radius[0], reach, tile or _side(image))
    total = total[:, 2 * reach : -2 * reach, 2 * reach : -2 * reach]
    return (total[:3] / total[3:])[None]


class _Spread(torch.autograd.Function):
    """Spreads every pixel over its disc; the result is larger by `reach` on all sides."""

    @staticmethod
    def forward(ctx: Any, planes: Tensor, radius: Tensor, reach: int, tile: int) -> Tensor:
        ctx.save_for_backward(planes, radius)
        ctx.reach, ctx.tile = reach, tile
        total = planes.new_zeros(len(planes), *(n + 2 * reach for n in radius.shape))
        for here in _tiles(radius.shape, tile):
            light, spread = planes[:, *here], radius[here]
            low, high = _range(spread)
            own = math.ceil(high + 0.5)
            height, width = spread.shape
            disc = light.new_zeros(len(light), height + 2 * own, width + 2 * own)
            for down, right, distance in _rings(low - 0.5, high + 0.5):
                weighted = (spread + (0.5 - distance)).clamp_(0, 1) * light
                for rows, columns in _places(own, down, right, spread.shape):
                    disc[:, rows, columns] += weighted
            if low >= 0.5:
                ends = torch.zeros_like(disc)
                for y, half in _rows(low - 0.5):
                    row = ends[:, own + y : own + y + height]
                    row[..., own - half : own - half + width] += light
                    row[..., own + half + 1 : own + half + 1 + width] -= light
                disc += ends.cumsum_(-1)
            total[:, *_around(here, own, reach)] += disc
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        (gradient,) = grad_outputs
        planes, radius = ctx.saved_tensors
        to_planes, to_radius = torch.zeros_like(planes), torch.zeros_like(radius)
        for here in _tiles(radius.shape, ctx.tile):
            light, spread = planes[:, *here], radius[here]
            low, high = _range(spread)
            own = math.ceil(high + 0.5)
            height, width = spread.shape
            seen = gradient[:, *_around(here, own, ctx.reach)]
            to_light, to_spread = torch.zeros_like(light), torch.zeros_like(spread)
            for down, right, distance in _rings(low - 0.5, high + 0.5):
                first, *others = _places(own, down, right, spread.shape)
                arrived = seen[:, *first].clone()
                for rows, columns in others:
                    arrived += seen[:, rows, columns]
                depth = spread + (0.5 - distance)
                to_light.addcmul_(depth.clamp(0, 1), arrived)
                on_rim = (depth > 0) & (depth < 1)
                to_spread.addcmul_(on_rim, (arrived * light).sum(0))
            if low >= 0.5:
                sums = F.pad(seen.cumsum(-1), (1, 0))
                for y, half in _rows(low - 0.5):
                    row = sums[:, own + y : own + y + height]
                    to_light += row[..., own + half + 1 : own + half + 1 + width]
                    to_light -= row[..., own - half : own - half + width]
            to_planes[:, *here], to_radius[here] = to_light, to_spread
        return to_planes, to_radius, None, None


def multiplane(
    image: Tensor, coc_radius: Tensor, *, planes: int = 32, tile: int | None = None
) -> Tensor:
    """Disjoint planes of equal depth range, each blurred with its mask, laid near over far.

    The idea of MPIB (Peng et al. 2022), without its inpainting: `peers.multiplane`. Colours and
    coverage travel as two complex planes, through transforms with no more padding than the plane's
    own kernel needs. Differentiable in the picture; the masks are steps.
    """
    lowest, highest = _range(coc_radius)
    radii = lowest + (np.arange(planes) + 0.5) * (highest - lowest) / planes
    edges = np.linspace(lowest, highest, planes + 1)[1:-1].astype(np.float32)
    level = torch.bucketize(coc_radius, torch.from_numpy(edges).to(image.device), right=True)
    reach = math.ceil(float(np.abs(radii).max()) + 1)
    stack = torch.cat((image, torch.ones_like(coc_radius), level.to(image.dtype)), dim=1)
    stack = F.pad(stack, 4 * (reach,), "reflect")[0]
    light, level = torch.complex(stack[0:3:2], stack[1:4:2]), stack[4].detach()
    tile = tile or _side(image)

    @functools.cache  # for tiles of this picture alone
    def spectrum(plane: int, grid: tuple[int, int]) -> Tensor:
        return torch.fft.fft2(_kernel(radii[plane], image), s=grid)

    def composed(light: Tensor, level: Tensor) -> Tensor:
        height, width = (n - 2 * reach for n in level.shape)
        total, free = light.new_zeros(2, height, width), light.real.new_ones(height, width)
        lowest, highest = _range(level)
        for plane in range(int(highest), int(lowest) - 1, -1):
            own = math.ceil(abs(radii[plane]) + 1)
            rows, columns = (slice(reach - own, reach + own + n) for n in (height, width))
            mask = level[rows, columns] == plane
            if not mask.any():
                continue
            layer = mask * light[:, rows, columns]
            if own <= _DIRECT_REACH:
                layer = _convolved(layer, _kernel(radii[plane], image))
            else:
                grid = (fast_size(height + 2 * own), fast_size(width + 2 * own))
                layer = torch.fft.ifft2(torch.fft.fft2(layer, s=grid) * spectrum(plane, grid))
                layer = layer[:, 2 * own : 2 * own + height, 2 * own : 2 * own + width]
            total = total + free * layer
            free = free * (1 - layer[1].imag.detach().clamp(0, 1))
        colours = torch.stack((total[0].real, total[0].imag, total[1].real))
        return colours / total[1].imag.clamp(min=1e-6)

    height, width = coc_radius.shape[-2:]
    strips = []
    for y in range(0, height, tile):
        down = slice(y, min(y + tile, height) + 2 * reach)
        parts = []
        for x in range(0, width, tile):
            right = slice(x, min(x + tile, width) + 2 * reach)
            parts.append(composed(light[:, down, right], level[down, right]))
        strips.append(torch.cat(parts, dim=-1))
    return torch.cat(strips, dim=-2)[None]


def _convolved(planes: Tensor, kernel: Tensor) -> Tensor:
    """Complex planes through a real kernel, without their borders."""
    parts = torch.view_as_real(planes).permute(0, 3, 1, 2).flatten(0, 1)
    parts = F.conv2d(parts[None], kernel.expand(len(parts), 1, -1, -1), groups=len(parts))[0]
    return torch.complex(parts[0::2], parts[1::2])


def _kernel(radius: float, like: Tensor) -> Tensor:
    """Kernel of a round opening, `render.kernels.lens_kernel` with its centre in the middle."""
    reach = math.ceil(abs(radius) + 1)
    x = torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)
    distance = torch.hypot(x[:, None], x)
    kernel = (max(abs(radius), 0.5) + 0.5 - distance).clamp(0, 1)
    return kernel / kernel.sum()


def _side(image: Tensor) -> int:
    return _GPU_TILE if image.is_cuda else _CPU_TILE


def _range(values: Tensor) -> tuple[float, float]:
    low, high = torch.aminmax(values.detach())
    return float(low), float(high)


def _tiles(size: Sequence[int], tile: int) -> Iterator[tuple[slice, slice]]:
    for y in range(0, size[0], tile):
        for x in range(0, size[1], tile):
            yield slice(y, min(y + tile, size[0])), slice(x, min(x + tile, size[1]))


def _around(here: tuple[slice, slice], own: int, reach: int) -> tuple[slice, slice]:
    """Where the surroundings of a tile lie in what is larger by `reach` on all sides."""
    rows, columns = (slice(n.start + reach - own, n.stop + reach + own) for n in here)
    return rows, columns


def _rings(low: float, high: float) -> Iterator[tuple[int, int, float]]:
    """Offsets of one eighth of the plane whose distance lies between: down, right, distance."""
    for down in range(math.floor(max(high, 0)) + 1):
        for right in range(down + 1):
            distance = math.hypot(down, right)
            if low < distance < high:
                yield down, right, distance


def _places(own: int, down: int, right: int, size: Sequence[int]) -> list[tuple[slice, slice]]:
    """The up to eight places of a tile moved by one distance, in surroundings of `own` pixels."""
    moves = {
        (own + y, own + x)
        for a, b in ((down, right), (right, down))
        for y in (a, -a)
        for x in (b, -b)
    }
    return [(slice(y, y + size[0]), slice(x, x + size[1])) for y, x in sorted(moves)]


def _rows(radius: float) -> Iterator[tuple[int, int]]:
    """Rows of a disc, and how many pixels each has on either side of its middle."""
    for y in range(-math.floor(radius), math.floor(radius) + 1):
        yield y, math.floor(math.sqrt(radius**2 - y**2))
