"""Runs every benchmark, each in a process of its own: `python -m benchmarks.run [--quick]`.

`--quick` takes small sizes and few rounds and is done in five minutes on two cores; its results go
to results/quick and do not count. Without it everything is measured at full size and the tables
and plots are made anew. A benchmark that fails does not stop the others.
"""

import subprocess
import sys

from benchmarks import common, report

BENCHMARKS = (
    "convolution",
    "render",
    "lens",
    "pipeline",
    "train_step",
    "data",
    "memory",
    "cli",
    "folder",
)


def main() -> int:
    """Runs them all; 1 if one failed."""
    options = common.parser(__doc__).parse_args()
    failed = []
    for name in BENCHMARKS:
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.bench_{name}", *sys.argv[1:]]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if not options.quick and not options.results:
        report.main()
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # the benchmark that ran has said so
        sys.exit(130)
