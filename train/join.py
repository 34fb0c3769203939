"""Joins weights that share an encoder: one file whose map is the mean of all their decoders.

    python -m train.join FILE|RUN FILE|RUN ... --out FILE

What was trained apart, from other samples or for another purpose, fails in different places, so the
mean fails less than most of them (`d2f_jax.models.defocus.DefocusNet`). The frozen encoder runs
once for all decoders. The radiance network is that of the first, and a fusion network is left out:
it has seen the maps of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from d2f_jax import pipeline
from d2f_jax.models import architectures, defocus, weights
from train import commands, export


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Joins weights that share an encoder.

    Attributes:
      parts: Weights files or stage-1 runs; outlines are made by the last half of them,
        rounded down, at least by one (`architectures.D2FConfig.outline_net`), so those that follow
        edges best come last.
      out: File to write, in float16.
      licence: What one may do with the weights; what the files say when left out. Runs say nothing.
    """

    parts: tyro.conf.Positional[tuple[Path, ...]]
    out: Path
    licence: str | None = None


def join(arguments: Arguments) -> None:
    """Writes one file with the decoders of all parts, in their order.

    Raises:
      ValueError: for fewer than two parts, parts that cannot be read, or of other networks, or
        with another encoder, or whose licence nobody names.
    """
    if len(arguments.parts) < 2:
        raise ValueError("give two or more weights to join")
    models = [export.load(part) for part in arguments.parts]
    first = models[0]
    name, encoder = architecture(first, arguments.parts[0]), _encoder(first)
    decoders, sources, licences = [], [], []
    for part, model in zip(arguments.parts, models, strict=True):
        if (own := architecture(model, part)) != name:
            raise ValueError(f"{part}: {own}, where {arguments.parts[0]}: {name}")
        if not _equal(_encoder(model), encoder):
            raise ValueError(f"{part}: has another encoder than {arguments.parts[0]}")
        names = defocus.decoder_names(model.config.defocus_net.decoders)
        decoders += [model.params.defocus["params"][each] for each in names]
        sources.append(model.metadata.get("source", str(part)))
        licences.append(arguments.licence or model.metadata.get("licence"))
        if licences[-1] is None:
            raise ValueError(f"{part}: says nothing of its licence; give one with --licence")
    data = [model.metadata.get("data", "unknown") for model in models]
    weights.save(
        arguments.out,
        with_decoders(first, decoders),
        architecture=name,
        source="; ".join(sources),
        licence="; ".join(dict.fromkeys(licences)),
        half=True,
        data="; ".join(dict.fromkeys(data)),
    )


def architecture(model: pipeline.D2F, part: Path) -> str:
    """The name of the architecture of a file or run, whatever the number of its decoders.

    Raises:
      ValueError: for a variant, which a weights file cannot name.
    """
    for name in architectures.ARCHITECTURES:
        if architectures.named(name, model.config.defocus_net.decoders) == model.config:
            return name
    raise ValueError(f"{part}: a variant of an architecture, which a weights file cannot name")


def with_decoders(model: pipeline.D2F, decoders: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The tree of a weights file: the model's networks of stage 1 with these decoders."""
    names = defocus.decoder_names(len(decoders))
    params = {"encoder": model.params.defocus["params"]["encoder"]}
    params |= dict(zip(names, decoders, strict=True))
    return {
        "defocus": {**model.params.defocus, "params": params},
        "radiance": model.params.radiance,
    }


def _encoder(model: pipeline.D2F) -> Any:
    return {name: part["encoder"] for name, part in model.params.defocus.items()}


def _equal(one: Any, other: Any) -> bool:
    """Whether two trees of one shape differ by no more than float16 does."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.allclose(a, b, rtol=1e-3, atol=1e-6) for a, b in pairs)


def main() -> None:
    """The command."""
    with commands.user_errors("interrupted; nothing was written"):
        arguments = commands.parse(Arguments, description=__doc__)
        join(arguments)
        print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
