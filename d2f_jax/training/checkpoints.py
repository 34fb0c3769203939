"""Training checkpoints that survive: the only file that knows Orbax.

A checkpoint holds the training state and the position in the data. It counts once the checksums of
all its files are written; only then older ones go, except for the newest few and the best by its
score. (Weights to be shipped are safetensors, in `weights`.)
"""

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from d2f_jax import extras, files

with extras.needed("a folder of checkpoints"):
    from orbax.checkpoint import v1 as ocp

_training: Any = ocp.training  # its annotations contradict one another

Report = Callable[[str], None]
"""Takes one line for the user."""

_CHECKSUMS = "checksums.json"


class Checkpoints:
    """The checkpoints of one training run, a folder each, named by their step."""

    def __init__(self, directory: str | os.PathLike[str], *, keep: int = 2, writable: bool = True):
        """Opens the folder.

        Args:
          directory: Folder that holds nothing but checkpoints.
          keep: How many of the newest to keep, beside the best.
          writable: Whether to create the folder and remove what a killed run left half-written;
            False for looking into a run that may still be going on.

        Raises:
          ValueError: if the folder is to be read and is not there.
        """
        # Orbax logs pages for every fault; this class reports them in one line.
        logging.set_verbosity(logging.FATAL)
        self.directory = Path(directory).absolute()
        if not writable and not self.directory.is_dir():
            raise ValueError(f"{self.directory}: no checkpoints there")
        self._keep = keep
        self._orbax = _training.Checkpointer(
            self.directory,
            save_decision_policy=_training.save_decision_policies.FixedIntervalPolicy(1),
            cleanup_tmp_directories=writable,
        )

    @property
    def steps(self) -> list[int]:
        """Steps of all checkpoints that were saved to the end, oldest first."""
        return [checkpoint.step for checkpoint in self._saved()]

    @property
    def best(self) -> int:
        """Step of the checkpoint with the highest score, the newest where none has one.

        Raises:
          ValueError: if there are no checkpoints.
        """
        saved = self._saved()
        if not saved:
            raise ValueError(f"{self.directory}: no checkpoints there")
        return max(saved, key=lambda c: (_score(c.metrics), c.step)).step

    def save(self, step: int, state: Any, data: Any, *, score: float) -> None:
        """Writes a checkpoint and waits for it; older ones go only once it is whole.

        Args:
          step: Its step.
          state: Pytree of arrays.
          data: Iterator of the Grain chain, of which the position is saved.
          score: What `best` goes by, higher is better.

        Raises:
          ValueError: if it cannot be written, for a full disk say; all older ones are intact.
        """
        try:
            self._orbax.save_checkpointables(
                step, {"state": state, "data": data}, metrics={"score": score}
            )
            self._write_checksums(step)
            for old in {*self.steps[: -self._keep]} - {self.best}:
                self._orbax.delete(old)
        except Exception as error:  # Orbax and TensorStore raise half a dozen kinds
            self._orbax.reload()
            kept = ", ".join(map(str, self.steps)) or "none"
            raise ValueError(
                f"{self.directory}: cannot save step {step}: {_first_line(error)}. Checkpoints "
                f"already there are intact (steps: {kept}); make room and run the command again"
            ) from error

    def restore(self, like: Any, data: Any, *, report: Report) -> Any | None:
        """Loads the newest good checkpoint and sets the data to its position.

        One that is torn, foreign or was not saved to the end is reported and moved aside to the
        folder `unreadable` beside this one, so that its step can be saved again.

        Args:
          like: State of the same structure, shapes and shardings.
          data: Iterator to be set to the saved position.
          report: Takes the reason for each checkpoint that is skipped.

        Returns:
          The state, or None if no checkpoint was ever saved to the end.

        Raises:
          ValueError: if there are checkpoints and none can be read.
        """
        saved = self.steps
        for step in sorted(
            (checkpoint.step for checkpoint in self._orbax.checkpoints), reverse=True
        ):
            try:
                self._verify(step)
                self._check_shapes(step, like)
                state = self._load(step, jax.tree.map(_abstract, like))
                self._orbax.load_checkpointables(step, {"data": data})
            except Exception as error:  # as for saving
                aside = self._move_aside(step)
                report(
                    f"skipped checkpoint {self._folder(step)}, torn or foreign "
                    f"({_first_line(error)}); moved to {aside}"
                )
            else:
                return state
        if saved:
            raise ValueError(
                f"{self.directory}: none of its {len(saved)} checkpoints can be read (see above); "
                "choose another work folder to start anew"
            )
        return None

    def read(self, step: int) -> dict[str, Any]:
        """Loads the state of one checkpoint as nested dicts, on the first device, for export.

        Raises:
          ValueError: if there is no such checkpoint or it is torn.
        """
        if step not in self.steps:
            raise ValueError(f"{self.directory}: no checkpoint of step {step}, only {self.steps}")
        one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        try:
            self._verify(step)
            like = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one), self._metadata(step)
            )
            return self._load(step, like)
        except Exception as error:  # as for saving
            raise ValueError(
                f"{self._folder(step)}: torn checkpoint ({_first_line(error)})"
            ) from error

    def close(self) -> None:
        """Ends Orbax's threads."""
        with contextlib.suppress(Exception):  # what failed in the background was raised by `save`
            self._orbax.close()

    def _folder(self, step: int) -> Path:
        return self.directory / str(step)

    def _metadata(self, step: int) -> Any:
        metadata: Any = self._orbax.checkpointables_metadata(step).metadata
        return metadata["state"]

    def _check_shapes(self, step: int, like: Any) -> None:
        """Raises ValueError if the arrays differ in name or shape.

        Orbax compares them too, but only in the midst of reading, where a fault leaves the reads of
        the other arrays hanging.
        """
        have, want = _shapes(self._metadata(step)), _shapes(like)
        if have != want:
            name = min(name for name, _ in have.items() ^ want.items())
            raise ValueError(f"{name} is {have.get(name)} there and {want.get(name)} here")

    def _load(self, step: int, like: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of dtypes and shardings that `like` settles
            return self._orbax.load_checkpointables(step, {"state": like})["state"]

    def _saved(self) -> list[Any]:
        return [c for c in self._orbax.checkpoints if (self._folder(c.step) / _CHECKSUMS).exists()]

    def _write_checksums(self, step: int) -> None:
        def write() -> None:
            content = json.dumps(_checksums(self._folder(step)), indent=0)
            files.write_bytes(self._folder(step) / _CHECKSUMS, content.encode())

        _by_the_first_process(write)

    def _verify(self, step: int) -> None:
        """Raises ValueError unless all files are as saved.

        TensorStore does not notice every byte that has changed on the disk, and where it does, the
        reads of the other arrays are left hanging.
        """

        def compare() -> None:
            folder = self._folder(step)
            if not (folder / _CHECKSUMS).exists():
                raise ValueError(f"not saved to the end, it has no {_CHECKSUMS}")
            try:
                expected = dict(json.loads((folder / _CHECKSUMS).read_bytes()))
            except (ValueError, TypeError):
                expected = {}
            if not expected:
                raise ValueError(f"{_CHECKSUMS} is damaged")
            have = _checksums(folder)
            wrong = sorted(name for name in expected if have.get(name) != expected[name])
            if wrong:
                raise ValueError(f"{len(wrong)} of its files changed or missing, first {wrong[0]}")

        _by_the_first_process(compare)

    def _move_aside(self, step: int) -> Path:
        aside = self.directory.parent / "unreadable" / str(step)
        if jax.process_index() == 0:
            aside.parent.mkdir(exist_ok=True)
            while aside.exists():
                aside = aside.with_name(aside.name + "_")
            self._folder(step).rename(aside)
        self._orbax.reload()
        return aside


def _by_the_first_process(run: Callable[[], None]) -> None:
    """Runs it there; if it fails, all processes fail, or the others would wait for that one."""
    fault: Exception | None = None
    if jax.process_index() == 0:
        try:
            run()
        except (OSError, ValueError) as error:
            fault = error
    failed = fault is not None
    if jax.process_count() > 1:
        failed = bool(multihost_utils.broadcast_one_to_all(np.int32(failed)))
    if failed:
        raise fault or ValueError("refused by the first process")


def _abstract(array: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)


def _score(metrics: dict[str, float] | None) -> float:
    return (metrics or {}).get("score", -np.inf)


def _shapes(state: Any) -> dict[str, tuple[int, ...]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape for path, leaf in leaves
    }


def _checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a checkpoint, by its name in the folder."""
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _CHECKSUMS:
            with path.open("rb") as file:
                sums[path.relative_to(folder).as_posix()] = hashlib.file_digest(
                    file, "sha256"
                ).hexdigest()
    return sums


def _first_line(error: BaseException) -> str:
    """The innermost reason in one short line; Orbax wraps it in pages."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"
