"""Command lines of the benchmarks."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def error(self, message: str) -> NoReturn:
        """Ends the process."""
        self.exit(2, f"{self.prog}: {message}\n")


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Ends the process with one line and code 130 for Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        print("benchmarks: interrupted", file=sys.stderr)
        sys.exit(130)
