"""Runs a checkout of the authors' repository (`xianrui-luo/defocustofocus`) untouched.

Two things of its time are put in place while it runs, in memory only: `np.float`, which NumPy has
dropped, and `torchvision.models.resnext50_32x4d`, which would download pretrained weights: it gives
our own module of the same layers (`torch_baseline.ResNeXt50`), whose weights are then overwritten.
"""

import contextlib
import functools
import importlib
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from benchmarks import torch_baseline


class Official(NamedTuple):
    """The authors' modules with our parameters.

    Attributes:
      stage1: Their `BokehNet2`.
      stage2: Their `BlendNet2`.
      resize: Their function for the working size.
      layered: Their renderer, `(image, defocus, kernels)`.
    """

    stage1: Any
    stage2: Any
    resize: Callable[..., Tensor]
    layered: Callable[..., Tensor]

    def render(self, image: Tensor, weight: Tensor, defocus: Tensor) -> Tensor:
        """Renders as their stage 1 does (Eq. 15)."""
        layered = functools.partial(self.layered, defocus=defocus, blur_kernel=self.stage1.blur_s)
        return layered(weight * image) / (layered(weight) + 1e-10)

    def fuse(self, image: Tensor, rendered: Tensor, defocus: Tensor) -> Tensor:
        """Fuses at full size, as their test script does."""
        up = F.interpolate(rendered, image.shape[-2:], mode="bilinear", align_corners=False)
        up, _, mask = self.stage2.forward(up, image, defocus, None, 1 / 8)
        mask = mask.clamp(0, 1)
        return (mask * image + (1 - mask) * up).clamp(0, 1)

    def pipeline(self, image: Tensor) -> Tensor:
        """Runs the whole line of their test script from picture to picture."""
        small = self.resize(image, 2, 64)
        rendered, defocus = self.stage1.forward(small, None)
        return self.fuse(image, rendered, defocus)


def load(path: Path, params: Mapping[str, Any]) -> Official:
    """Imports the checkout (`words.official`) and hands it our parameters.

    Raises:
      ValueError: if its networks are others.
    """
    vars(np).setdefault("float", float)
    _stand_in_for_torchvision()
    with contextlib.chdir(path):  # the checkout extends sys.path by ./models
        sys.path.insert(0, str(path))
        try:
            models = importlib.import_module("models")
        finally:
            sys.path.remove(str(path))
        stage1, stage2 = models.BokehNet2(), models.BlendNet2()
    state = torch_baseline.state_dict(params)
    _fill(stage1, {k: v for k, v in state.items() if not k.startswith("blend.")})
    _fill(stage2, {k: v for k, v in state.items() if k.startswith("blend.")})
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bokeh_net = importlib.import_module("models.bokeh_net")
    return Official(
        stage1.to(device).eval(),
        stage2.to(device).eval(),
        models.resize_tensor,
        bokeh_net.to_blur_single,
    )


def _stand_in_for_torchvision() -> None:
    def resnext50_32x4d(pretrained: bool = False) -> torch.nn.Module:
        return torch_baseline.ResNeXt50()

    def absent(*_: Any) -> torch.nn.Module:
        raise NotImplementedError("not part of the released model")

    package, models = types.ModuleType("torchvision"), types.ModuleType("torchvision.models")
    package.models = models  # type: ignore[attr-defined]
    models.resnext50_32x4d = resnext50_32x4d  # type: ignore[attr-defined]
    models.resnet34 = models.mobilenet_v2 = absent  # type: ignore[attr-defined]
    sys.modules |= {"torchvision": package, "torchvision.models": models}


def _fill(net: torch.nn.Module, state: Mapping[str, Tensor]) -> None:
    """Loads a state dict; only counters and the unit that never runs may be missing."""
    missing, unexpected = net.load_state_dict(state, strict=False)
    unused = ("num_batches_tracked", "refinenet4.resConfUnit1")
    missing = [key for key in missing if not any(part in key for part in unused)]
    if missing or unexpected:
        raise ValueError(
            f"the checkout does not fit: missing {missing[:3]}, unexpected {unexpected[:3]}"
        )
