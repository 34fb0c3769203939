"""The EBB! data set (4694 pairs at f/16 and f/1.8) as TFDS array_record files, without TensorFlow.

The pictures are for research only and have to be fetched by hand; nothing of them is part of this
package. `prepare` packs a folder in any layout of `data.folder` once; `EbbSource` reads a split.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np

from d2f_jax import extras
from d2f_jax.training.data import folder

with extras.needed("EBB!"):
    import tensorflow_datasets as tfds

SPLITS = {
    "train": "train",
    "val294": "val294",
    "val470": "between+val294",
    "train294": "train+between",
}
"""Named splits as sums of stored ones.

`val294` is the validation set of most papers, numbers 4400 to 4693. `val470` is that of D2F, whose
numbers are published nowhere: we take the last 470, from 4224. `train` is what is in neither;
`train294` may be trained on when only `val294` is measured.
"""

_STORED = {"train": range(4224), "between": range(4224, 4400), "val294": range(4400, 2**62)}


class Ebb(tfds.core.GeneratorBasedBuilder):
    """Builder that packs pairs as they are, encoded, into array_record files."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put the EBB! folder, in any of its layouts, at manual_dir."

    def _info(self) -> tfds.core.DatasetInfo:
        picture = tfds.features.Image(shape=(None, None, 3))
        return tfds.core.DatasetInfo(
            builder=self,
            description="Everything is Better with Bokeh!: f/16 and f/1.8 pairs, research only.",
            features=tfds.features.FeaturesDict(
                {"image": picture, "bokeh": picture, "number": np.int64}
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
        found = folder.find_pairs(str(dl_manager.manual_dir))
        folder.require_sound(found)
        numbered = list(zip(numbers(found.pairs), found.pairs, strict=True))
        chosen = {name: [(n, p) for n, p in numbered if n in _STORED[name]] for name in _STORED}
        return {name: self._generate_examples(rows) for name, rows in chosen.items() if rows}

    def _generate_examples(
        self, rows: Sequence[tuple[int, folder.Pair]]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        # Paths, not arrays: the files go in as they are, and TensorFlow is not needed.
        for number, pair in rows:
            yield number, {"image": pair.image, "bokeh": pair.bokeh, "number": number}


class EbbSource:
    """A split as samples: dicts of `image` and `bokeh` (`h w 3` in [0, 1]) and `number`.

    Attributes:
      numbers: The number of each sample, in order.
    """

    def __init__(self, data_dir: str | Path, split: str = "train"):
        """Opens what `prepare` wrote.

        Args:
          data_dir: Folder given to `prepare`.
          split: One of `SPLITS`.

        Raises:
          ValueError: for an unknown split, a folder in which nothing was prepared, a split
            without pictures, or a damaged file.
        """
        if split not in SPLITS:
            raise ValueError(f"no split {split!r}, choose one of {', '.join(SPLITS)}")
        builder = Ebb(data_dir=str(data_dir), file_format="array_record")
        if not Path(builder.data_path).is_dir():
            raise ValueError(f"{data_dir} holds no prepared EBB!: run prepare on the folder first")
        stored = [name for name in SPLITS[split].split("+") if name in builder.info.splits]
        if not stored:
            raise ValueError(
                f"the EBB! in {data_dir} has no pictures for {split!r}: it holds "
                f"{', '.join(builder.info.splits)}; what is packed is divided by the numbers of "
                "EBB!, other pairs are read from the folder they were packed from"
            )
        try:
            self._records = builder.as_data_source("+".join(stored))
            skip = tfds.decode.SkipDecoding()
            labels = builder.as_data_source(
                "+".join(stored), decoders={"image": skip, "bokeh": skip}
            )
            # This reads each file to its end, which one whose writing was cut short has lost.
            self.numbers = [int(labels[i]["number"]) for i in range(len(labels))]
        except Exception as error:
            raise _damaged(data_dir, error) from error
        self._data_dir = data_dir

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: SupportsIndex) -> dict[str, np.ndarray]:
        try:
            record = self._records[index]
        except IndexError:
            raise
        except Exception as error:
            raise _damaged(self._data_dir, error) from error
        return {
            "image": np.asarray(record["image"], np.float32) / 255,
            "bokeh": np.asarray(record["bokeh"], np.float32) / 255,
            "number": np.asarray(record["number"]),
        }


def prepare(root: str | Path, data_dir: str | Path) -> folder.Found:
    """Packs a folder of EBB! pairs into `data_dir`, after checking every picture.

    Returns:
      What was found in the folder, its layout among it.

    Raises:
      ValueError: if the layout is not known, or with all faulty pairs.
    """
    found = folder.find_pairs(root)
    builder = Ebb(data_dir=str(data_dir), file_format="array_record")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=str(Path(root).resolve()))
    )
    return found


def in_split(number: int, split: str) -> bool:
    """Whether a pair of this number belongs to one of `SPLITS`."""
    return any(number in _STORED[name] for name in SPLITS[split].split("+"))


def numbers(pairs: Sequence[folder.Pair]) -> list[int]:
    """The number of each pair in EBB!, from its name.

    Where the parts of a layout count from 0 again, the later part goes on after the earlier one.
    Pairs that are not named by a number are counted in their order.
    """
    if not all(pair.name.isdecimal() for pair in pairs):
        return list(range(len(pairs)))
    taken = [int(pair.name) for pair in pairs]
    if len(set(taken)) == len(taken):
        return taken
    first: dict[str, int] = {}
    highest = -1
    for part in dict.fromkeys(pair.part for pair in pairs):
        first[part] = highest + 1
        highest += 1 + max(int(pair.name) for pair in pairs if pair.part == part)
    return [first[pair.part] + int(pair.name) for pair in pairs]


def _damaged(data_dir: str | Path, error: Exception) -> ValueError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ValueError(
        f"the EBB! in {data_dir} is damaged or half-written ({reason}): delete it and prepare again"
    )
