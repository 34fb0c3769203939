"""Weights out of training runs: `python -m train.export WORKDIR OUT.safetensors`."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro

from d2f_jax import pipeline
from d2f_jax.models import weights
from d2f_jax.training import checkpoints
from train import commands, state
from train.config import ModelConfig, model_from_json
from train.workdir import read_record


class Trained(NamedTuple):
    """What a run has learnt, and where it stands."""

    model: ModelConfig
    params: state.Params
    stats: state.Params
    step: int
    record: dict


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Writes the weights of a training run to a file that `d2f_jax.pipeline.load` reads.

    Attributes:
      workdir: Folder of the run, of stage 1 or 2.
      out: File to write.
      step: Checkpoint to take; the best by PSNR when left out.
      half: Whether to store float16.
      licence: What one may do with the weights; mark those trained on EBB! as research use only.
    """

    workdir: tyro.conf.Positional[Path]
    out: tyro.conf.Positional[Path]
    step: Annotated[int | None, tyro.conf.arg(metavar="STEP")] = None
    half: bool = False
    licence: str = "Apache-2.0"


def read_run(
    workdir: str | os.PathLike[str], *, stage: str | None = None, step: int | None = None
) -> Trained:
    """Reads the best checkpoint of a run, or that of one step.

    Raises:
      ValueError: if there is no run, or one of another stage, or no readable checkpoint.
    """
    record = read_record(workdir)
    if stage is not None and record["stage"] != stage:
        raise ValueError(f"{workdir}: holds a run of {record['stage']}, not of {stage}")
    saved = checkpoints.Checkpoints(Path(workdir) / "checkpoints", writable=False)
    try:
        step = saved.best if step is None else step
        content = saved.read(step)
    finally:
        saved.close()
    params = content["params"] if content["average"] is None else content["average"]
    return Trained(model_from_json(record["config"]), params, content["stats"], step, record)


def load(path: Path | None) -> pipeline.D2F:
    """Loads a weights file as `pipeline.load`, or the best checkpoint of a run, also of a variant.

    Raises:
      ValueError: as `pipeline.load` and `read_run`.
    """
    if path is not None and not path.exists():
        raise ValueError(f"{path}: no such weights file, nor folder of a run")
    if path is None or not path.is_dir():
        return pipeline.load(path)
    run = read_run(path)
    params = state.join_variables(run.params, run.stats)
    return pipeline.D2F(state.build_model(run.model), params, origin(run))


def export(
    workdir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    step: int | None = None,
    half: bool = False,
    licence: str = "Apache-2.0",
) -> int:
    """Writes the weights of a run.

    Returns:
      The step that they are of.

    Raises:
      ValueError: as `read_run`; for a model that is no architecture by itself, as ablations
        are; or if the file cannot be written.
    """
    run = read_run(workdir, step=step)
    if run.model != ModelConfig(architecture=run.model.architecture):
        raise ValueError(
            f"{workdir}: a variant of {run.model.architecture} ({asdict(run.model)}), which a "
            "weights file cannot name"
        )
    variables = state.join_variables(run.params, run.stats)
    tree = {name: value for name, value in variables._asdict().items() if value is not None}
    weights.save(
        out,
        tree,
        architecture=run.model.architecture,
        licence=licence,
        half=half,
        **origin(run),
    )
    return run.step


def origin(run: Trained) -> dict[str, str]:
    """What the header of a weights file says of the run and its data."""
    data = run.record["config"]["data"]
    made = "composites" if data.get("composites") else "synthetic"
    return {
        "source": f"train.{run.record['stage']}, step {run.step}, commit {run.record['commit']}",
        "data": str(data["source"] or made),
    }


def main() -> None:
    """The command."""
    with commands.user_errors():
        arguments = commands.parse(Arguments)
        step = export(
            arguments.workdir,
            arguments.out,
            step=arguments.step,
            half=arguments.half,
            licence=arguments.licence,
        )
        print(f"wrote {arguments.out}, the weights of step {step}")


if __name__ == "__main__":
    main()
