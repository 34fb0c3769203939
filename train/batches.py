"""Training and validation samples of a stage, and their way onto the devices."""

from collections.abc import Iterator, Sequence
from typing import Any, SupportsIndex

import grain
import jax
import numpy as np

from d2f_jax import files
from d2f_jax.training.data import composites, folder, loader, photos, synthetic, transforms
from train.config import DataConfig

PAIR = ("image", "bokeh")
KNOWN = "defocus"  # `h w 1`, of made pairs alone
_HELD_OUT = 1_000_000  # synthetic samples from here on are for validation


class Kept:
    """A source that keeps each sample once it is made; for synthetic ones, which are slow."""

    def __init__(self, source: grain.sources.RandomAccessDataSource):
        """Wraps `source`."""
        self._source: Any = source
        self._kept: dict[SupportsIndex, dict[str, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: SupportsIndex) -> dict[str, np.ndarray]:
        if index not in self._kept:
            sample = self._source[index]
            kept = {name: sample[name] for name in PAIR}
            self._kept[index] = kept | {KNOWN: sample[KNOWN][..., None]}
        return self._kept[index]


def full_size(config: DataConfig, *, half: bool) -> tuple[int, int]:
    """Height and width of the pictures that a stage takes its samples from."""
    height, width = config.size
    return (2 * height, 2 * width) if half else (height, width)


def train_batches(config: DataConfig, *, half: bool, radius: int) -> Any:
    """Endless batches of `image` and `bokeh`, this process's share of each.

    Args:
      config: Where from and how large.
      half: Whether the stage trains at half of the pictures' size (stage 1): photographs are
        cropped to twice `config.size` and halved.
      radius: Radius of the largest kernel at working size [px], to which synthetic blur reaches.

    Returns:
      Grain iterator, whose position goes into checkpoints.

    Raises:
      ValueError: if there is no data, or the batch cannot be shared out evenly.
    """
    processes = jax.process_count()
    if config.batch_size < 1:
        raise ValueError(f"data.batch-size {config.batch_size}: give 1 or more")
    if config.batch_size % jax.device_count():
        raise ValueError(
            f"data.batch-size {config.batch_size} does not divide evenly among "
            f"{jax.device_count()} devices"
        )
    if config.source is None:
        source = Kept(_made(config, config.size, radius if half else 2 * radius, held=False))
        chain: list[transforms.Transform] = []
    else:
        source = _photographs(config, held=False)
        chain = [transforms.RandomCrop(size=full_size(config, half=half))]
        if half:
            chain.append(transforms.Resize(size=config.size))
    if config.exposure:
        chain.append(transforms.RandomExposure(stops=config.exposure))
    batches = loader.make_loader(
        source,
        batch_size=config.batch_size // processes,
        seed=config.seed,
        transforms=chain,
        process_index=jax.process_index(),
        process_count=processes,
        threads=config.threads,
    )
    return iter(batches)


def validation_pairs(config: DataConfig, *, half: bool, radius: int) -> dict[str, np.ndarray]:
    """All held-out pairs at full size, stacked; the same in both stages of one size.

    Photographs are cropped around their middle. Of a folder, the last `validation_samples` pairs
    are held out; of a prepared EBB!, the `val470` split, of which the first are taken.
    """
    full = full_size(config, half=half)
    if config.source is None:
        source: Any = _made(config, full, 2 * radius, held=True)
    else:
        source = _photographs(config, held=True)
    count = min(config.validation_samples, len(source))
    samples = [_middle(source[index], full) for index in range(count)]
    return {name: np.stack([sample[name] for sample in samples]) for name in PAIR}


def to_devices(
    batch: dict[str, np.ndarray], sharding: jax.sharding.NamedSharding
) -> dict[str, jax.Array]:
    """Makes global arrays, split over all devices, of this process's part of a batch."""
    names = [name for name in (*PAIR, KNOWN) if name in batch]
    return {name: jax.make_array_from_process_local_data(sharding, batch[name]) for name in names}


def chunks(pairs: dict[str, np.ndarray], size: int) -> Iterator[tuple[dict[str, Any], int]]:
    """Cuts stacked pairs into batches of one size, the last filled up, and says how many count."""
    total = len(pairs["image"])
    for start in range(0, total, size):
        rows = np.arange(start, start + size)
        part = {name: value[np.minimum(rows, total - 1)] for name, value in pairs.items()}
        yield part, min(size, total - start)


def _made(config: DataConfig, size: tuple[int, int], radius: int, *, held: bool) -> Any:
    count = config.validation_samples if held else config.train_samples
    start = _HELD_OUT if held else 0
    if config.composites is not None:
        material = composites.find_material(config.composites, held_out=held)
        scene = composites.CompositesConfig(
            size=size,
            seed=config.seed,
            subjects=material.subjects,
            scenes=material.scenes,
            radius=(0.4 * radius, float(radius)),
            full_radius=float(radius),
            lens_samples=config.lens_samples,
        )
        return synthetic.Synthetic(scene, count, start=start, make=composites.make_sample)
    cutouts = tuple(photos.listed(config.cutouts)) if config.cutouts else ()
    if cutouts:
        photos.read_cutout(cutouts[0])  # photographs of a wrong folder are told at once
    look = synthetic.SyntheticConfig(
        size=size,
        seed=config.seed,
        radius=(0.25 * radius, float(radius)),
        full_radius=float(radius),
        near_focus=config.near_focus,
        lens_samples=config.lens_samples,
        photos=tuple(photos.listed(config.photos)) if config.photos else (),
        cutouts=cutouts,
    )
    return synthetic.Synthetic(look, count, start=start)


def _photographs(config: DataConfig, *, held: bool) -> Any:
    path = config.source
    assert path is not None
    if (path / "ebb").is_dir():
        from d2f_jax.training.data import ebb  # tensorflow-datasets takes seconds to import

        return ebb.EbbSource(path, "val470" if held else "train")
    found = folder.find_pairs(path)
    # A part of the layout for tests is never trained nor validated on.
    found = found._replace(pairs=tuple(pair for pair in found.pairs if pair.part != "test"))
    folder.require_sound(found)
    pairs: Sequence[folder.Pair] = found.pairs
    if len(pairs) <= config.validation_samples:
        raise ValueError(
            f"{path}: {files.counted(len(pairs), 'pair')}, none left to train on beside "
            f"--data.validation-samples {config.validation_samples}; give fewer of them"
        )
    cut = len(pairs) - config.validation_samples
    return folder.FolderSource(pairs[cut:] if held else pairs[:cut])


def _middle(sample: dict[str, np.ndarray], size: tuple[int, int]) -> dict[str, np.ndarray]:
    height, width = sample["image"].shape[:2]
    if height < size[0] or width < size[1]:
        raise ValueError(f"a validation picture of {height}x{width} is smaller than {size}")
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return {name: sample[name][top : top + size[0], left : left + size[1]] for name in PAIR}
