"""Packs EBB! for training: `python -m train.prepare FOLDER OUT`.

FOLDER holds the pairs in any layout of `d2f_jax.training.data.folder`; every picture is read once,
and all that is wrong is said at once. OUT is what `--data.source` and `--data` take afterwards.
"""

import contextlib
import io
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from d2f_jax import extras, files
from d2f_jax.training.data.folder import Found, find_pairs
from train import commands


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Packs EBB! pairs into array_record files, checking every picture.

    Attributes:
      folder: Folder of pairs, as they were unpacked.
      out: Folder to write to; as large as the pairs.
    """

    folder: tyro.conf.Positional[Path]
    out: tyro.conf.Positional[Path]


def prepare(folder: Path, out: Path) -> Found:
    """Packs the pairs; `out` is there when all of them are, and not before.

    Raises:
      ValueError: if `out` holds something or cannot be written, the layout is not known, or with
        all faulty pairs.
    """
    from tensorflow_datasets import disable_progress_bar

    from d2f_jax.training.data import ebb

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out}: is there already; name a new folder")
    pairs = find_pairs(folder).pairs
    print(f"{folder}: {len(pairs)} pairs, reading each picture", flush=True)
    if not sys.stderr.isatty():
        disable_progress_bar()
    with files.making(out) as partial, contextlib.redirect_stdout(io.StringIO()):
        return ebb.prepare(folder, partial)  # without what TFDS says of downloads


def main() -> None:
    """The command."""
    with commands.user_errors("interrupted; nothing was written"):
        arguments = commands.parse(Arguments, description=__doc__)
        found = prepare(arguments.folder, arguments.out)
        from d2f_jax.training.data import ebb

        numbers = ebb.numbers(found.pairs)
        print(f"{arguments.out}: layout {found.layout.name}")
        counts = {}
        for split in ebb.SPLITS:
            counts[split] = sum(ebb.in_split(number, split) for number in numbers)
            print(f"  {split:8} {counts[split]:5} pairs")
        if not (counts["train"] and counts["val470"]):
            lacking = " and ".join(name for name in ("train", "val470") if not counts[name])
            print(
                f"not to be trained on: no pairs for {lacking}, as the numbers of EBB! divide what "
                f"is packed; --data.source {shlex.quote(str(arguments.folder))} takes any pairs"
            )
            return
        words = ["-m", "train.stage1", "paper", "--data.source", str(arguments.out)]
        words += ["--vgg", "vgg19.pth", "--workdir", "runs/1"]
        print(shlex.join([extras.python(), *words]))


if __name__ == "__main__":
    main()
