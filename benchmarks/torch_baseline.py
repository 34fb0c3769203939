"""The released algorithm in PyTorch, twice: as the authors run it, and as fast as we could make it.

Written from the description in docs/errata.md; module names are those of the released checkpoints,
so that `state_dict` below can hand over the very parameters that our own networks run with.
Channels first here, as PyTorch has it: images `b 3 h w`, maps `b 1 h w`.

- `DirectRenderer` is the released renderer: every layer blurred by a direct depthwise convolution
  with reflected borders, back to front, once for the weighted image and once for the weight.
- `FastRenderer` is the strong one: one pass for both, by FFT, with small kernels left direct.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from d2f_jax.models import convert
from d2f_jax.render.convolution import fast_size
from d2f_jax.render.kernels import PAPER_SIZES, soft_disk

_EPSILON = 1e-10
_SHARPNESS = 100.0
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


class Output(NamedTuple):
    """What the pipeline makes, in the order and with the names of `pipeline.D2FOutput`."""

    bokeh: Tensor
    rendered: Tensor
    defocus: Tensor
    weight: Tensor
    fusion_mask: Tensor


class Pipeline(nn.Module):
    """Algorithm 1 as released: half size, networks, renderer, fusion at full size.

    Without another renderer it is the authors' algorithm.
    """

    def __init__(self, renderer: nn.Module | None = None) -> None:
        super().__init__()
        self.midas = DefocusNet()
        self.radiance = RadianceNet()
        self.blend = FusionNet()
        self.renderer = DirectRenderer() if renderer is None else renderer

    def forward(self, image: Tensor) -> Output:
        """Renders a full-size picture."""
        size = image.shape[-2:]
        small = F.interpolate(image, working_size(*size), mode="bilinear", align_corners=False)
        rendered, defocus, weight = self.stage1(small)
        bokeh, mask = self.fuse(image, rendered, defocus)
        return Output(bokeh, rendered, defocus, weight, mask)

    def stage1(self, small: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Runs what stage 1 trains: rendered bokeh, defocus map and weight at working size."""
        defocus = self.midas(small)
        weight = highlight_weight(small, self.radiance(small))
        return self.renderer(small, weight, defocus), defocus, weight

    def fuse(self, image: Tensor, rendered: Tensor, defocus: Tensor) -> tuple[Tensor, Tensor]:
        """Brings the bokeh to full size and lays the sharp image over it; also gives the mask."""
        size = image.shape[-2:]
        up = functools.partial(F.interpolate, size=size, mode="bilinear", align_corners=False)
        mask = self.blend(image, up(defocus)).clamp(0, 1)
        return (mask * image + (1 - mask) * up(rendered)).clamp(0, 1), mask


def working_size(height: int, width: int) -> tuple[int, int]:
    """Half size with each side rounded to a multiple of 64."""
    return max(1, round(height / 128)) * 64, max(1, round(width / 128)) * 64


def highlight_weight(image: Tensor, radiance: Tensor) -> Tensor:
    """Three times the fifth power where a channel reaches 0.99, else the network's radiance."""
    highlight = (image >= 0.99).any(dim=1, keepdim=True)
    return torch.where(highlight, 3 * image**5, radiance)


class DirectRenderer(nn.Module):
    """The released renderer."""

    def __init__(self, sizes: Sequence[int] = PAPER_SIZES) -> None:
        super().__init__()
        for index, size in enumerate(sizes):
            self.register_buffer(f"kernel{index}", torch.from_numpy(soft_disk(size)), False)
        self.steps = len(sizes) - 1

    def forward(self, image: Tensor, weight: Tensor, defocus: Tensor) -> Tensor:
        """Renders weighted image over weight (Eq. 15)."""
        return self.layered(weight * image, defocus) / (self.layered(weight, defocus) + _EPSILON)

    def layered(self, image: Tensor, defocus: Tensor) -> Tensor:
        """Blurs and composites back to front (Eqs. 6-9)."""
        total, covered = torch.zeros_like(image), torch.zeros_like(defocus)
        for layer in range(self.steps, -1, -1):
            mask = layer_mask(defocus, layer, self.steps)
            blurred, cover = self.blur(mask * image, layer), self.blur(mask, layer)
            total = total * (1 - cover) + blurred
            covered = covered * (1 - cover) + cover
        return total / (covered + _EPSILON)

    def blur(self, planes: Tensor, layer: int) -> Tensor:
        """Convolves every plane with the kernel of one layer."""
        if layer == 0:
            return planes
        return blur_direct(planes, self.get_buffer(f"kernel{layer}"))


class FastRenderer(nn.Module):
    """The same in one pass over seven planes, by FFT from kernels of `direct_below` on.

    Pairs of planes travel as one complex plane: on a CPU that took half the time of `rfft2`. The
    spectra of the kernels are kept from call to call.
    """

    def __init__(self, sizes: Sequence[int] = PAPER_SIZES, direct_below: int = 12) -> None:
        super().__init__()
        for index, size in enumerate(sizes):
            self.register_buffer(f"kernel{index}", torch.from_numpy(soft_disk(size)), False)
        self.sizes = tuple(sizes)
        self.direct_below = direct_below
        self.spectra: dict[tuple[int, int], list[Tensor]] = {}

    def forward(self, image: Tensor, weight: Tensor, defocus: Tensor) -> Tensor:
        """Renders weighted image over weight, front to back."""
        steps = len(self.sizes) - 1
        ones = torch.ones_like(defocus)
        planes = torch.cat((weight * image, ones, weight.expand_as(image), ones), dim=1)
        padded, padded_defocus = self.pad(planes), self.pad(defocus)
        packed = torch.complex(padded[:, :4], padded[:, 4:])
        spectra = self.spectra_for((packed.shape[-2], packed.shape[-1]))

        mask = layer_mask(defocus, 0, steps)
        total, free = mask * planes, 1 - mask
        for layer in range(1, steps + 1):
            if self.sizes[layer] < self.direct_below:
                masked = layer_mask(defocus, layer, steps) * planes
                blurred = blur_direct(masked, self.get_buffer(f"kernel{layer}"))
            else:
                masked = layer_mask(padded_defocus, layer, steps) * packed
                blurred = torch.fft.ifft2(torch.fft.fft2(masked) * spectra[layer])
                blurred = blurred[..., : defocus.shape[-2], : defocus.shape[-1]]
                blurred = torch.cat((blurred.real, blurred.imag), dim=1)
            total = total + free * blurred
            free = free * (1 - blurred[:, 3:4])
        return total[:, :3] / (total[:, 4:7] + _EPSILON)

    def pad(self, planes: Tensor) -> Tensor:
        """Reflects by the largest radius, then fills up to a fast size."""
        radius = self.sizes[-1] // 2
        planes = F.pad(planes, 4 * (radius,), "reflect")
        height, width = planes.shape[-2:]
        return F.pad(planes, (0, fast_size(width) - width, 0, fast_size(height) - height))

    def spectra_for(self, size: tuple[int, int]) -> list[Tensor]:
        """Spectra of all kernels on a grid, so placed that the picture comes out at the origin."""
        if size not in self.spectra:
            radius, spectra = self.sizes[-1] // 2, []
            for index, side in enumerate(self.sizes):
                kernel = self.get_buffer(f"kernel{index}")
                grid = F.pad(kernel, (0, size[1] - side, 0, size[0] - side))
                shift = -(radius + side // 2)
                spectra.append(torch.fft.fft2(grid.roll((shift, shift), (0, 1))))
            self.spectra[size] = spectra
        return self.spectra[size]


def layer_mask(defocus: Tensor, layer: int, steps: int) -> Tensor:
    """Soft mask of one layer (Eq. 7)."""
    return 0.5 + 0.5 * torch.tanh(_SHARPNESS * (1 / steps - (defocus - layer / steps).abs()))


def blur_direct(planes: Tensor, kernel: Tensor) -> Tensor:
    """Depthwise convolution with reflected borders."""
    channels, side = planes.shape[1], kernel.shape[-1]
    padded = F.pad(planes, 4 * (side // 2,), "reflect")
    return F.conv2d(padded, kernel.expand(channels, 1, side, side), groups=channels)


def blur_fft(planes: Tensor, kernel: Tensor) -> Tensor:
    """The same by FFT."""
    side, (height, width) = kernel.shape[-1], planes.shape[-2:]
    size = (fast_size(height + side - 1), fast_size(width + side - 1))
    padded = F.pad(planes, 4 * (side // 2,), "reflect")
    spectrum = torch.fft.rfft2(kernel, s=size) * torch.fft.rfft2(padded, s=size)
    return torch.fft.irfft2(spectrum, s=size)[
        ..., side - 1 : side - 1 + height, side - 1 : side - 1 + width
    ]


class ResNeXt50(nn.Module):
    """ResNeXt-50 32x4d with torchvision's module names, without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _stage(64, 128, 256, 3, 1)
        self.layer2 = _stage(256, 256, 512, 4, 2)
        self.layer3 = _stage(512, 512, 1024, 6, 2)
        self.layer4 = _stage(1024, 1024, 2048, 3, 2)


def _stage(inputs: int, width: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [Bottleneck(outputs, width, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(Bottleneck(inputs, width, outputs, stride), *rest)


class Bottleneck(nn.Module):
    """1x1, 3x3 in 32 groups, 1x1, plus the shortcut."""

    def __init__(self, inputs: int, width: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=32, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class DefocusNet(nn.Module):
    """ResNeXt-50 encoder and MiDaS-v1 RefineNet decoder; no activation at the end."""

    def __init__(self) -> None:
        super().__init__()
        net = ResNeXt50()
        stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1)
        self.pretrained = nn.ModuleDict(
            {"layer1": stem, "layer2": net.layer2, "layer3": net.layer3, "layer4": net.layer4}
        )
        scratch: dict[str, nn.Module] = {}
        for level, channels in enumerate((256, 512, 1024, 2048), start=1):
            scratch[f"layer{level}_rn"] = nn.Conv2d(channels, 256, 3, padding=1, bias=False)
            scratch[f"refinenet{level}"] = FusionBlock(deepest=level == 4)
        scratch["output_conv"] = nn.Sequential(
            nn.Conv2d(256, 128, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(128, 32, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 1, 1),
        )
        self.scratch = nn.ModuleDict(scratch)

    def forward(self, x: Tensor) -> Tensor:
        """Predicts the defocus map of a picture at working size."""
        laterals = []
        for level in (1, 2, 3, 4):
            x = self.pretrained[f"layer{level}"](x)
            laterals.append(self.scratch[f"layer{level}_rn"](x))
        path = None
        for level in (4, 3, 2, 1):
            path = self.scratch[f"refinenet{level}"](laterals[level - 1], path)
        return self.scratch["output_conv"](path)


class FusionBlock(nn.Module):
    """Adds a refined lateral to the coarser path, refines, doubles the size."""

    def __init__(self, deepest: bool) -> None:
        super().__init__()
        if not deepest:
            self.resConfUnit1 = ResidualUnit()
        self.resConfUnit2 = ResidualUnit()

    def forward(self, lateral: Tensor, path: Tensor | None) -> Tensor:
        """Fuses; the deepest block has no path."""
        x = lateral if path is None else path + self.resConfUnit1(lateral)
        x = self.resConfUnit2(x)
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class ResidualUnit(nn.Module):
    """relu, 3x3, relu, 3x3, plus relu(x): the first ReLU works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(256, 256, 3, padding=1)
        self.conv2 = nn.Conv2d(256, 256, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the unit."""
        x = F.relu(x)
        return self.conv2(F.relu(self.conv1(x), inplace=True)) + x


class RadianceNet(nn.Module):
    """Three 1x1 convolutions and a sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 1)
        self.conv3 = nn.Conv2d(16, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Predicts the radiance weight."""
        x = F.relu(self.conv2(F.relu(self.conv1(image), inplace=True)), inplace=True)
        return torch.sigmoid(self.conv3(x))


class FusionNet(nn.Module):
    """Four 3x3 convolutions from inverted defocus and luma to the raw fusion mask."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(2, 64, 3, padding=1), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(
            nn.Conv2d(64, 16, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 1, 3, padding=1),
        )

    def forward(self, image: Tensor, defocus: Tensor) -> Tensor:
        """Predicts the mask, not clamped."""
        red, green, blue = image.split(1, dim=1)
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        return self.conv2(self.conv1(torch.cat((1 - defocus, luma), dim=1)))


def state_dict(params: Mapping[str, Any]) -> dict[str, Tensor]:
    """Our parameters under the keys of the released checkpoints: `convert`'s tables backwards.

    Args:
      params: Variables by network, `architectures.D2FParams._asdict()`.

    Returns:
      State dict of `Pipeline`.
    """
    state = {}
    for row in convert.stage1_rows() + convert.STAGE2_ROWS:
        network, *path = row.ours.split("/")
        for collection in params[network].values():
            node = functools.reduce(lambda tree, key: tree.get(key, {}), path, collection)
            for leaf, array in node.items():
                state[f"{row.torch}.{_LEAVES[leaf]}"] = _transposed(np.asarray(array))
    return state


def _transposed(array: np.ndarray) -> Tensor:
    """HWIO -> OIHW; the matrix of a 1x1 convolution gains its two sides."""
    if array.ndim == 2:
        array = array[None, None]
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    return torch.from_numpy(np.array(array))


def load(params: Mapping[str, Any], renderer: nn.Module | None = None) -> Pipeline:
    """The pipeline with our parameters, for inference."""
    net = Pipeline(renderer)
    missing, unexpected = net.load_state_dict(state_dict(params), strict=False)
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"parameters do not fit: missing {missing}, unexpected {unexpected}")
    return net.eval()
