"""Disparity from a photograph by any depth network in an ONNX file (extra `depth`).

The protocol is one function, `image -> disparity`: `h w 3`, sRGB in [0, 1], to `p q`, greater =
nearer, in the picture's proportions. What it returns goes through `render.refine` to
`render.lens_blur`; another network only needs another such function.
"""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from d2f_jax import extras
from d2f_jax.models import resize
from d2f_jax.photo import disparity
from d2f_jax.photo.settings import Convention

DepthModel = Callable[[Float[np.ndarray, "h w 3"]], Float[np.ndarray, "p q"]]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and deviation that MiDaS and Depth Anything were trained with."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DepthConfig:
    """What a file does not say.

    Attributes:
      size: Height and width that the network takes; when None the file decides, and if that leaves
        them open, `short_side` and the shape of the picture do.
      short_side: Shorter side of the network's input for such files [px].
      multiple: Sides are rounded to multiples of this (14 for Depth Anything, 32 for MiDaS).
      mean: Subtracted from the channels; the file's metadata entry "mean", or ImageNet's when None.
      std: Divides the channels; the file's metadata entry "std", or ImageNet's when None.
      convention: What the network returns: "disparity", or "metres" for those that tell distances.
    """

    size: tuple[int, int] | None = None
    short_side: int = 518
    multiple: int = 14
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    convention: Convention = "disparity"


def load_onnx(path: str | os.PathLike[str], config: DepthConfig | None = None) -> DepthModel:
    """Opens a depth network such as the exports of MiDaS-small and Depth-Anything-V2-small.

    Args:
      path: The ONNX file: one input `1 3 h w` of float32, and a first output with the map.
      config: What to assume where the file leaves it open.

    Returns:
      A function from a picture to its disparity, as large as the network makes it, in the picture's
      proportions: in 1/m if the network tells distances, else on any affine scale.

    Raises:
      ValueError: if onnxruntime is missing, the file cannot be read, or is not such a network. The
        function raises one if the network refuses the picture or returns no map.
    """
    with extras.needed("a depth network"):
        import onnxruntime
    config = config or DepthConfig()
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file (a depth network in ONNX format)")
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common class of errors
        raise ValueError(f"{path}: not a readable ONNX network ({_first_line(error)})") from error
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else None
    if shape is None or len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        described = ", ".join(f"{each.name} {each.shape}" for each in inputs)
        raise ValueError(f"{path}: a depth network takes one input 1 3 h w, this takes {described}")
    metadata = session.get_modelmeta().custom_metadata_map
    mean = np.asarray(config.mean or json.loads(metadata.get("mean", "null")) or IMAGENET_MEAN)
    std = np.asarray(config.std or json.loads(metadata.get("std", "null")) or IMAGENET_STD)
    fixed = tuple(shape[2:]) if all(isinstance(side, int) for side in shape[2:]) else None

    def disparity_of(image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "p q"]:
        size = config.size or fixed or _open_size(image.shape[:2], config)
        planes = (resize.antialiased(np.asarray(image, np.float32), size, size) - mean) / std
        planes = np.moveaxis(planes, -1, 0)[None].astype(np.float32)
        try:
            result = session.run(None, {inputs[0].name: planes})[0]
        except Exception as error:
            raise ValueError(f"{path}: the network failed ({_first_line(error)})") from error
        result = np.squeeze(np.asarray(result))
        if result.ndim != 2 or not np.isfinite(result).all():
            raise ValueError(f"{path}: returned no depth map, but an array of shape {result.shape}")
        made = disparity.to_disparity(result, config.convention).disparity
        scale = min(1.0, max(made.shape) / max(image.shape[:2]))
        rows, columns = (max(1, round(scale * side)) for side in image.shape[:2])
        return resize.antialiased(made[..., None], (rows, columns), (rows, columns))[..., 0]

    return disparity_of


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def _open_size(shape: tuple[int, int], config: DepthConfig) -> tuple[int, int]:
    """The shape of the picture at the network's size, in the multiples that it takes."""
    scale = config.short_side / min(shape)
    height, width = (max(1, round(n * scale / config.multiple)) * config.multiple for n in shape)
    return height, width
