"""The folder of a run: its lock, and the record of what ran there."""

import fcntl
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from train.config import TrainConfig, to_json

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


class WorkDir:
    """A run's folder, locked for this process until `close` or its death."""

    def __init__(self, path: str | os.PathLike[str], config: TrainConfig, *, stage: str):
        """Creates or reopens the folder and writes or checks `config.json`.

        Raises:
          ValueError: if another run uses the folder, if it holds a run of another stage or
            configuration, or if it cannot be written.
        """
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / "lock").open("a+")
        except OSError as error:
            raise ValueError(f"{path}: cannot use it as work folder: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.seek(0)
            owner = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise ValueError(
                f"{path}: in use by another run (process {owner}); wait for it or choose another "
                "--workdir"
            ) from error
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()
        try:
            self._record(config, stage)
        except ValueError:
            self.close()
            raise

    def close(self) -> None:
        """Unlocks the folder."""
        self._lock.close()

    def _record(self, config: TrainConfig, stage: str) -> None:
        path = self.path / "config.json"
        settings = to_json(config)
        saved = list(self.path.glob("checkpoints/*"))
        if path.exists() and saved:  # a run that saved nothing has nothing to go on with
            before = read_record(self.path)
            if before["stage"] != stage:
                raise ValueError(f"{self.path}: holds a run of {before['stage']}, not of {stage}")
            if changed := _differences(before["config"], settings):
                raise ValueError(
                    f"{self.path}: holds a run with other settings ({'; '.join(changed)}); give "
                    "the same ones to go on with it, or another --workdir"
                )
            return
        record = {
            "stage": stage,
            "config": settings,
            "command": sys.argv,
            "python": sys.version.split()[0],
            "versions": {name: metadata.version(name) for name in _PACKAGES},
            "commit": commit(),
        }
        part = path.with_name(".config.json.part")
        part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        part.replace(path)


def read_record(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads `config.json` of a run.

    Raises:
      ValueError: if the folder holds no run.
    """
    path = Path(folder) / "config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder}: no training run there (it has no config.json); name the --workdir of one"
        ) from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not the record of a run: {error}") from error


def commit() -> str:
    """The commit of this source tree, with `+changes` where files differ from it."""

    def git(*words: str) -> str:
        run = ["git", "-C", str(Path(__file__).parent), *words]
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


# May differ between the starts of one run: they change where and how long it runs, not what.
_FREE = ("hosts", "data.threads", "keep", "log_every")


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    changed = []
    for name in now.keys() | before.keys():
        path = f"{prefix}{name}"
        a, b = before.get(name), now.get(name)
        if path in _FREE or a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            changed += _differences(a, b, f"{path}.")
        else:
            changed.append(f"{path} was {a!r}, is {b!r}")
    return sorted(changed)
