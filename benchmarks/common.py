"""The method of benchmarks/README.md as code: contenders, timing in turns, statistics, records.

Import this before jax: it keeps JAX from reserving the whole memory of a GPU, which PyTorch shares.
"""

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import numpy as np
import torch

from benchmarks import words

RESULTS = Path(__file__).parent / "results"
OURS = "d2f_jax"
TORCH = "torch, as released"
STRONG = "torch, strong"
OFFICIAL = "authors' repository"


class Contender(NamedTuple):
    """One way to do the job.

    Attributes:
      name: `OURS`, `TORCH`, `STRONG`, `OFFICIAL`, or what a benchmark calls its own.
      call: Does the job and returns only when it is done.
      view: Makes comparable arrays of the result: named, channels last, no batch of one.
    """

    name: str
    call: Callable[[], Any]
    view: Callable[[Any], Mapping[str, np.ndarray]]


def ours(
    call: Callable[..., Any], *arguments: Any, view: Callable[[Any], Mapping[str, Any]]
) -> Contender:
    """Our contender: a JAX function, waited for."""
    return Contender(OURS, lambda: jax.block_until_ready(call(*arguments)), view)


def theirs(
    name: str,
    call: Callable[..., Any],
    *arguments: Any,
    view: Callable[[Any], Mapping[str, Any]],
    training: bool = False,
) -> Contender:
    """A PyTorch contender, in inference mode unless it trains, and waited for on a GPU."""

    def run() -> Any:
        with torch.inference_mode(not training):
            result = call(*arguments)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return result

    return Contender(name, run, view)


def device() -> str:
    """Kind of device that JAX runs on: "cpu" or "gpu"."""
    return jax.default_backend()


def torch_device() -> torch.device | None:
    """Device for PyTorch that equals JAX's; None where JAX has a GPU and this PyTorch has not."""
    if device() == "cpu":
        return torch.device("cpu")
    return torch.device("cuda") if torch.cuda.is_available() else None


def to_torch(image: Any) -> torch.Tensor:
    """`h w c` or `h w` to a batch of one, channels first, on PyTorch's device."""
    array = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)[None]
    return torch.from_numpy(np.array(array, order="C")).to(torch_device())


def from_torch(tensor: torch.Tensor) -> np.ndarray:
    """A batch of one, channels first, to `h w c`, or `h w` for a single channel."""
    array = tensor.detach().cpu().numpy()[0].transpose(1, 2, 0)
    return array[..., 0] if array.shape[-1] == 1 else array


def equal_footing() -> None:
    """Gives both runtimes the same threads and plain float32 (no TF32)."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    jax.config.update("jax_default_matmul_precision", "highest")


def measure(
    case: str,
    contenders: Sequence[Contender],
    *,
    tolerance: float | None,
    repetitions: int,
    pause: float = 0.2,
    warm_up: bool = True,
) -> dict[str, Any]:
    """Compares the contenders' results, then times them in turns.

    Args:
      case: What is measured, for the table.
      contenders: Ours first.
      tolerance: Largest difference from ours, see `compare`; None where results differ by design
        and were compared with others before.
      repetitions: Timed rounds. Every other round runs in the opposite order.
      pause: Seconds before each call, in which idle threads of the other runtime fall asleep.
      warm_up: Whether each runs once more before the timed rounds.

    Returns:
      A row of a results file.

    Raises:
      ValueError: if results differ.
    """
    first_calls, views = {}, {}
    for contender in contenders:  # compilation and all that happens once
        seconds, result = _timed(contender.call)
        first_calls[contender.name] = seconds
        if tolerance is not None:
            views[contender.name] = contender.view(result)
        del result
    differences = {} if tolerance is None else compare(case, views, tolerance)

    for contender in contenders if warm_up else ():
        contender.call()
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for round_ in range(repetitions):
        for contender in contenders if round_ % 2 == 0 else reversed(contenders):
            gc.collect()
            time.sleep(pause)
            seconds, _ = _timed(contender.call)
            times[contender.name].append(seconds)
    row = {
        "case": case,
        "tolerance": tolerance,
        "largest_difference": differences,
        "contenders": {
            name: {"first_call_s": round(first_calls[name], 4), **summary(times[name])}
            for name in times
        },
        "times_ours_over": {
            name: ratios(times[name], times[contenders[0].name])
            for name in times
            if name != contenders[0].name
        },
    }
    print(describe(row), flush=True)
    return row


def compare(
    case: str, views: Mapping[str, Mapping[str, Any]], tolerance: float
) -> dict[str, float]:
    """Largest difference of each contender from the first, over the first's largest value or 1.

    Raises:
      ValueError: if one exceeds the tolerance or is not a number.
    """
    (_, expected), *others = views.items()
    differences = {}
    for name, arrays in others:
        largest = 0.0
        for field, array in arrays.items():
            reference = np.asarray(expected[field], np.float64)
            if reference.shape != np.shape(array):
                raise ValueError(
                    f"{case}: {field} of {name} has shape {np.shape(array)}, ours {reference.shape}"
                )
            scale = max(1.0, float(np.abs(reference).max()))
            difference = float(np.abs(reference - np.asarray(array, np.float64)).max()) / scale
            if not difference <= tolerance:
                raise ValueError(
                    f"{case}: {field} of {name} differs from ours by {difference:.2g}, more than "
                    f"{tolerance:.2g}; nothing was timed"
                )
            largest = max(largest, difference)
        differences[name] = float(f"{largest:.2g}")
    return differences


def summary(times: Sequence[float]) -> dict[str, Any]:
    """Median and quartiles beside the raw times, in seconds."""
    low, median, high = np.percentile(times, (25, 50, 75))
    return {
        "median_s": float(f"{median:.5g}"),
        "quartiles_s": [float(f"{low:.5g}"), float(f"{high:.5g}")],
        "times_s": [float(f"{seconds:.5g}") for seconds in times],
    }


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, Any]:
    """How many times faster ours is: by medians, and round by round (median and quartiles)."""
    low, median, high = np.percentile(np.divide(theirs, ours), (25, 50, 75))
    return {
        "of_medians": float(f"{np.median(theirs) / np.median(ours):.4g}"),
        "pairwise_median": float(f"{median:.4g}"),
        "pairwise_quartiles": [float(f"{low:.4g}"), float(f"{high:.4g}")],
    }


def describe(row: Mapping[str, Any]) -> str:
    """One line on a row, for the terminal."""
    parts = [f"{name} {c['median_s']:.3g} s" for name, c in row["contenders"].items()]
    parts += [f"{r['of_medians']:.3g}x {name}" for name, r in row["times_ours_over"].items()]
    return f"{row['case']}: {', '.join(parts)}"


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    options = words.Parser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--quick", action="store_true", help="small sizes, few rounds")
    options.add_argument("--rounds", type=int, help="timed rounds (default 9, quick 3)")
    options.add_argument(
        "--official",
        type=words.official,
        metavar="PATH",
        help="also time this checkout of the authors' repository",
    )
    options.add_argument(
        "--results", type=words.folder_to_fill, metavar="DIR", help="folder for the results"
    )
    return options


def run(
    main: Callable[[argparse.Namespace], Path],
    description: str | None,
    options: argparse.ArgumentParser | None = None,
) -> int:
    """Runs a benchmark as a command; 1 and one line where results differ or input is wrong."""
    try:
        with words.interruptible():
            main((options or parser(description)).parse_args())
    except ValueError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0


def rounds(options: argparse.Namespace) -> int:
    """How often to time each contender."""
    return options.rounds or (3 if options.quick else 9)


def save(
    benchmark: str,
    options: argparse.Namespace,
    rows: Sequence[Mapping[str, Any]],
    notes: Sequence[str] = (),
    **facts: Any,
) -> Path:
    """Writes `<benchmark>_<device>.json` with the machine it ran on; quick runs go apart.

    Args:
      benchmark: Its name.
      options: Those it ran with.
      rows: From `measure`.
      notes: Sentences for the footnote, without full stops.
      **facts: What else the tables need.
    """
    folder = options.results or (RESULTS / "quick" if options.quick else RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{benchmark}_{device()}.json"
    content = {
        "benchmark": benchmark,
        "command": _command(benchmark, options),
        "machine": machine(),
        "notes": list(notes),
        "rows": list(rows),
        **facts,
    }
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
    print(path)
    return path


def machine() -> dict[str, Any]:
    """Hardware, versions, threads and commit of this run."""
    cores = len(os.sched_getaffinity(0))
    return {
        "device": device(),
        "accelerator": jax.devices()[0].device_kind if device() != "cpu" else None,
        "cpu": _cpu(),
        "cores": cores,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "load_at_end": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("jax", "jaxlib", "flax", "numpy", "torch")},
        "threads": {"torch": torch.get_num_threads(), "jax": cores},
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _command(benchmark: str, options: argparse.Namespace) -> str:
    """The command as it was run, without the user's paths."""
    words = ["python", "-m", f"benchmarks.bench_{benchmark}"]
    words += ["--quick"] if options.quick else []
    words += ["--rounds", str(options.rounds)] if options.rounds else []
    words += ["--official", "PATH"] if options.official else []
    return " ".join(words)


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def _commit() -> str:
    def git(*words: str) -> str:
        folder = Path(__file__).parent
        result = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True)
        return result.stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD") or "unknown"
    changed = git("status", "--porcelain", "--untracked-files=no", ":(exclude)results")
    return f"{commit} with changes" if changed else commit
