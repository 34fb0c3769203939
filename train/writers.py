"""What a run tells: a progress bar or plain lines, metrics.jsonl, pictures for TensorBoard."""

import json
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class Writers:
    """Everything that goes to the screen and the work folder; does nothing where `quiet`."""

    def __init__(self, workdir: Path, *, steps: int, step: int, batch: int, quiet: bool = False):
        """Opens the files.

        Args:
          workdir: Folder of the run.
          steps: Steps of the whole run.
          step: Step from which it goes on; later lines of metrics.jsonl, of a run that was
            killed after its last checkpoint, are dropped, since they will be written again.
          batch: Images per step.
          quiet: True in all processes but the first.
        """
        self._quiet = quiet
        if quiet:
            return
        self._batch, self._steps = batch, steps
        self._metrics = _resumed(workdir / "metrics.jsonl", step).open("a", encoding="utf-8")
        self._board = _board(workdir)
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.completed}/{task.total}"),
            BarColumn(),
            TextColumn("{task.fields[known]}ETA"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,  # a log file gets lines instead
        )
        self._task = self._bar.add_task("", total=steps, completed=step, known="")
        self._bar.start()
        self._last = (step, time.monotonic())
        self._compiled = False

    def step(self, step: int) -> None:
        """Moves the progress bar."""
        if not self._quiet:
            self._bar.update(self._task, completed=step)

    def lap(self, step: int) -> float:
        """Images per second since the clock was last set by `metrics`."""
        if self._quiet:
            return 0.0
        before, then = self._last
        return (step - before) * self._batch / max(time.monotonic() - then, 1e-9)

    def metrics(self, step: int, values: Mapping[str, float], *, speed: float) -> None:
        """Appends a line to metrics.jsonl: step, loss and its parts, what else was measured."""
        if self._quiet:
            return
        self._bar.update(self._task, known=f"loss {values['loss']:.4f}  {speed:.1f} images/s  ")
        if not self._console.is_terminal or "val_psnr" in values:
            self.say(self._line(step, values, speed))
        self._compiled = True
        line = {"step": step, **values, "images_per_second": round(speed, 2)}
        self._metrics.write(json.dumps(line) + "\n")
        self._metrics.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        self._last = (step, time.monotonic())

    def pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Gives pictures `h w 3` or maps `h w`, in [0, 1], to TensorBoard if it is installed."""
        if self._quiet or self._board is None:
            return
        for name, picture in pictures.items():
            picture = np.clip(np.asarray(picture, np.float32), 0, 1)
            layout = "HWC" if picture.ndim == 3 else "HW"
            # Scalars have the plain names, which a picture's tag must not share.
            self._board.add_image(f"pictures/{name}", picture, step, dataformats=layout)

    def say(self, line: str) -> None:
        """Prints a line above the progress bar."""
        if not self._quiet:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _line(self, step: int, values: Mapping[str, float], speed: float) -> str:
        """What a log file says of a step, with the validation where there was one."""
        parts = [f"step {step}/{self._steps}", f"loss {values['loss']:.4f}"]
        if "val_psnr" in values:
            parts.append(f"validation {values['val_psnr']:.2f} dB")
        if speed:
            parts.append(f"{speed:.1f} images/s")
        if speed and self._compiled:  # the first steps wait for the compiler
            left = (self._steps - step) * self._batch / speed
            parts.append(f"{timedelta(seconds=round(left))} left")
        return "  ".join(parts)

    def close(self) -> None:
        """Ends the bar and closes the files."""
        if self._quiet:
            return
        self._bar.stop()
        self._metrics.close()
        if self._board is not None:
            self._board.close()


def _board(workdir: Path) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(workdir / "tensorboard"))


def _resumed(path: Path, step: int) -> Path:
    """Drops the lines after `step`, and a last line that was cut off."""
    if path.exists():
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except ValueError:
                continue
        part = path.with_name(".metrics.jsonl.part")
        part.write_text("".join(kept), encoding="utf-8")
        part.replace(path)
    return path
