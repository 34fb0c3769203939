"""The picture in full size: the command `d2f bokeh` in a process of its own, which can be stopped.

One runs at a time; the others wait in their order.
"""

import asyncio
import contextlib
import sys
import time
from typing import Any, Literal

from d2f_jax.app.session import Task

State = Literal["waiting", "running", "done", "failed", "stopped"]


class Pace:
    """How long pictures take here, learned from those that were made."""

    def __init__(self) -> None:
        self.start, self.per_megapixel = 5.0, 1.0

    def expected(self, megapixels: float) -> float:
        """Seconds for a picture."""
        return self.start + self.per_megapixel * megapixels

    def learn(self, megapixels: float, seconds: float) -> None:
        """Takes a picture that is done into account."""
        off = seconds / self.expected(megapixels)
        self.start, self.per_megapixel = self.start * off, self.per_megapixel * off


class Job:
    """One picture in full size.

    Args:
      task: What is to be run.
      gate: Held while it runs.
      pace: Says how long that may take.
    """

    def __init__(self, task: Task, gate: asyncio.Lock, pace: Pace):
        self.task, self.message = task, ""
        self.state: State = "waiting"
        self._gate, self._pace = gate, pace
        self._started: float | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._running = asyncio.create_task(self._run())

    def report(self) -> dict[str, Any]:
        """State, share of the expected time that has passed, seconds left, and a message."""
        state = self.state
        expected = self._pace.expected(self.task.megapixels)
        passed = 0.0 if self._started is None else time.monotonic() - self._started
        share = {"done": 1.0, "running": min(0.97, passed / expected)}.get(state, 0.0)
        left = max(1, round(expected - passed)) if state in ("waiting", "running") else 0
        return {
            "state": state,
            "share": share,
            "left": left,
            "message": self.message,
            "name": self.task.target,
        }

    async def stop(self) -> None:
        """Ends it; nothing is left of the picture."""
        if self.state in ("waiting", "running"):
            self.state = "stopped"
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running

    async def _run(self) -> None:
        (self.task.folder / self.task.target).unlink(missing_ok=True)
        async with self._gate:
            self.state, self._started = "running", time.monotonic()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "d2f_jax",
                *self.task.arguments,
                cwd=self.task.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                _, said = await self._process.communicate()
            except asyncio.CancelledError:
                self._process.kill()
                await self._process.wait()
                raise
        lines = said.decode(errors="replace").strip().splitlines()
        if self._process.returncode == 0:
            self.state = "done"
            self._pace.learn(self.task.megapixels, time.monotonic() - self._started)
        else:
            self.state = "failed"
            last = lines[-1] if lines else "the command ended without a word"
            self.message = last.removeprefix("d2f: ")
