"""What the training commands share: the preset's name, hosts, and errors in one line."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import jax

from d2f_jax import cli
from train.config import HostsConfig, TrainConfig, preset

T = TypeVar("T")

CHECKPOINT = (
    "interrupted; the same command goes on from the last checkpoint, or begins anew where none "
    "was saved"
)

_asked_to_stop = threading.Event()


@contextlib.contextmanager
def user_errors(interrupted: str = "interrupted") -> Iterator[None]:
    """Ends the process with one line and code 2 for a ValueError, with code 130 for Ctrl-C."""
    main = threading.current_thread() is threading.main_thread()  # others may set no handler
    ours = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:  # not where a shell had it ignored
        signal.signal(signal.SIGINT, _stop)
    try:
        yield
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        sys.exit(130)
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        _asked_to_stop.clear()


def stop_if_asked() -> None:
    """Raises KeyboardInterrupt once more after Ctrl-C.

    What it raises at first is lost where it meets a callback or a finalizer that Python runs for
    another library, which can only report what went wrong there.
    """
    if _asked_to_stop.is_set():
        raise KeyboardInterrupt


def _stop(number: int, frame: Any) -> None:
    _asked_to_stop.set()
    raise KeyboardInterrupt


def take_preset(presets: dict[str, TrainConfig]) -> tuple[str, TrainConfig]:
    """The name and settings of the preset that the first argument names.

    Raises:
      ValueError: if it names none.
    """
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        names = "|".join(presets)
        print(f"usage: python -m train.{_module()} {{{names}}} --workdir DIR [options]")
        print("A preset followed by --help lists all options with its values.")
        sys.exit(0 if len(sys.argv) > 1 else 2)
    return sys.argv[1], preset(presets, sys.argv[1])


def parse(arguments: type[T], words: Sequence[str] | None = None, **options: Any) -> T:
    """The words of a command line as the dataclass of this command, see `cli.read`."""
    return cli.read(arguments, words, program=f"python -m train.{_module()}", **options)


def check(config: TrainConfig) -> None:
    """Refuses settings that cannot be meant.

    Raises:
      ValueError: naming the option.
    """
    check_counts(config, "steps", "save_every", "log_every", "keep")
    if (times := config.optimizer.accumulate) < 1 or config.steps % times:
        raise ValueError(
            f"--optimizer.accumulate {times}: give 1 or more that divides the {config.steps} "
            "steps, or the last of them would change nothing"
        )
    if not 0 <= config.optimizer.warmup <= 1:
        raise ValueError(
            f"--optimizer.warmup {config.optimizer.warmup}: give a share of the run, from 0 to 1"
        )
    if config.vgg is not None and not config.loss.perceptual:
        raise ValueError(
            f"--vgg {config.vgg}: the perceptual loss, which it is for, has weight 0; give it one "
            "with --loss.perceptual"
        )
    for name in ("backbone", "vgg"):
        if (path := getattr(config, name)) is not None and not path.is_file():
            raise ValueError(f"--{name} {path}: no such file")


def check_counts(settings: Any, *names: str) -> None:
    """Refuses counts below 1, naming the option."""
    for name in names:
        if (value := getattr(settings, name)) < 1:
            raise ValueError(f"--{name.replace('_', '-')} {value}: give 1 or more")


def rest() -> list[str]:
    """The arguments behind the preset."""
    return sys.argv[2:]


def join_hosts(hosts: HostsConfig) -> None:
    """Joins the other processes, if this is one of several.

    Raises:
      ValueError: if the options are not given together, or the others do not answer.
    """
    given = (hosts.coordinator, hosts.count, hosts.index)
    if all(value is None for value in given):
        if "JAX_COORDINATOR_ADDRESS" not in os.environ:
            return
    elif any(value is None for value in given):
        raise ValueError("hosts.coordinator, hosts.count and hosts.index go together")
    try:
        jax.distributed.initialize(hosts.coordinator, hosts.count, hosts.index)
    except RuntimeError as error:
        raise ValueError(f"the processes did not find each other: {error}") from error


def _module() -> str:
    return os.path.splitext(os.path.basename(sys.argv[0]))[0]
