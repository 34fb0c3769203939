"""Teaches the decoder of the defocus network distance, from maps that are known.

    python -m train.maps MATERIAL --layouts TABLE [--subjects TABLE] --start FILE|RUN --workdir DIR

Comes after stage 1 and takes its networks; only the decoder learns. The frozen encoder sees each
picture of `d2f_jax.training.data.maps` once, and what it makes of it is kept in DIR, in a folder of
features; so a step costs the decoder alone. Of a background at an unknown distance the blur that
the start gives it is kept beside it as the least, so that it is not unlearnt (after Li and Hoiem,
Learning without forgetting, 2016). The last step is what counts: no checkpoint is chosen. The
weights in DIR/maps.safetensors are replaced as the run goes on; one that was interrupted finds its
features again and starts anew. `train.join` puts what was learnt beside what it started from.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jax import Array
from jaxtyping import Float

from d2f_jax import files
from d2f_jax.models import architectures, weights
from d2f_jax.models.networks.refinenet import RefineNet
from d2f_jax.training import losses
from d2f_jax.training.data import composites, layouts, maps
from train import commands, export, join, stage1, state

SHAPES = ((192, 256), (192, 256), (160, 256), (256, 192))
"""Sizes of the pictures of one shard after the other [px]."""

SHARD = 256
"""Samples of a shard."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Teaches the decoder of the defocus network distance.

    Attributes:
      material: Folder with `subjects`, `mattes`, `scenes`; every fifth file is held out.
      layouts: Table of drawn scenes (`d2f_jax.training.data.layouts`).
      subjects: The same of subjects' own photographs; of those that it does not describe only the
        mattes are known.
      start: Weights file or stage-1 run to start from; of several decoders the first is taught, and
        all tell the least blur.
      workdir: Folder to write to.
      shards: Shards of 256 samples to make.
      steps: Batches to take.
      save_every: Steps after which the weights are written.
      batch_size: Samples of one.
      rate: Peak learning rate of Adam.
      average: Decay of the running average of the parameters, which is what is written.
      ranking: Weight of the ranking of pairs.
      gradient: Weight of the differences of gradients.
      seed: Of the samples and their order.
    """

    material: tyro.conf.Positional[Path]
    layouts: Path
    subjects: Path | None = None
    start: Path
    workdir: Path
    shards: int = 32
    steps: int = 3000
    save_every: int = 250
    batch_size: int = 8
    rate: float = 1e-3
    average: float = 0.997
    ranking: float = 1.0
    gradient: float = 0.5
    seed: int = 0


def main() -> None:
    """The command."""
    with commands.user_errors("interrupted; the same command finds its features and starts anew"):
        run(commands.parse(Arguments, description=__doc__))


def run(arguments: Arguments) -> Path:
    """Makes the features that are missing, trains, and writes the weights.

    Returns:
      The file of weights.

    Raises:
      ValueError: for counts that cannot be meant, and material, table or weights that cannot be
        read.
    """
    commands.check_counts(arguments, "shards", "steps", "save_every", "batch_size")
    if arguments.batch_size > SHARD:
        raise ValueError(f"--batch-size {arguments.batch_size}: give {SHARD} or less")
    model = export.load(arguments.start)
    name = join.architecture(model, arguments.start)
    folder = arguments.workdir / f"features-{_known_by(model.params.defocus, arguments)}"
    make_features(model.config, model.params.defocus, arguments, folder)
    text = json.dumps(asdict(arguments), default=str, indent=2)
    files.write_bytes(arguments.workdir / "maps.json", text.encode())
    out = arguments.workdir / "maps.safetensors"

    def save(decoder: dict[str, Any], step: int) -> None:
        weights.save(
            out,
            join.with_decoders(model, [decoder]),
            architecture=name,
            source=f"train.maps, step {step} of {arguments.steps}, seed {arguments.seed}",
            licence=model.metadata.get("licence", "Apache-2.0"),
            half=True,
            data="composites, layouts, rooms",
        )
        print(f"step {step}: wrote {out}", flush=True)

    train(model.config, model.params.defocus, arguments, folder, save)
    return out


def make_features(
    config: architectures.D2FConfig,
    variables: dict[str, Any],
    arguments: Arguments,
    folder: Path,
) -> None:
    """Makes the shards that are not there yet; several processes may share the work."""
    material = composites.find_material(arguments.material, held_out=False)
    drawn = maps.drawn_scenes(material.scenes, layouts.read_table(arguments.layouts))
    if not drawn:
        raise ValueError(f"{arguments.layouts}: describes no scene of {arguments.material}")
    for path, layout in drawn:
        if layout.has_subject:
            raise ValueError(f"{arguments.layouts}: {path.name} is a scene, and has no matte")
    own = {}
    if arguments.subjects is not None:
        own = layouts.read_table(arguments.subjects)
        names = {subject.photo.name for subject in material.subjects}
        for name in names & own.keys():
            if not own[name].has_subject:
                raise ValueError(f"{arguments.subjects}: {name} has no VALUE: matte")
        if not names & own.keys():
            raise ValueError(f"{arguments.subjects}: describes no subject of {arguments.material}")
        print(f"{len(names & own.keys())} of {len(names)} subjects have layouts", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    encoder = {
        "params": variables["params"]["encoder"],
        "batch_stats": variables["batch_stats"]["encoder"],
    }
    net = config.defocus_net

    @jax.jit
    def encode(images):
        raw: Any = net.apply(variables, images)
        return net.encoder.apply(encoder, images, train=False), jnp.clip(raw, 0, 1)

    for shard in range(arguments.shards):
        path = folder / f"shard{arguments.seed}_{shard}"
        claim = path.with_suffix(".claimed")
        if path.exists() or claim.exists():
            continue
        claim.touch()
        try:
            settings = maps.MapsConfig(
                size=SHAPES[shard % len(SHAPES)],
                seed=arguments.seed,
                subjects=material.subjects,
                scenes=material.scenes,
                drawn=drawn,
                own=own,
            )
            _make_shard(shard, path, encode, settings)
        finally:
            claim.unlink()
        print(f"shard {shard + 1} of {arguments.shards}", flush=True)


def _make_shard(
    shard: int,
    path: Path,
    encode: Callable[[Array], tuple[Any, Array]],
    settings: maps.MapsConfig,
) -> None:
    pyramids, known = [], []
    for first in range(shard * SHARD, (shard + 1) * SHARD, 8):
        commands.stop_if_asked()
        samples = [maps.make_sample(settings, first + i) for i in range(8)]
        pyramid, first_maps = encode(jnp.asarray(np.stack([s["image"] for s in samples])))
        pyramids.append([np.asarray(level, np.float16) for level in pyramid])
        for sample, first_map in zip(samples, np.asarray(first_maps), strict=True):
            least = np.minimum(sample["defocus"], -first_map)
            kept = np.where(sample["defocus"] < 0, least, sample["defocus"])
            known.append(kept.astype(np.float16))
    temporary = path.with_suffix(".part")
    temporary.mkdir(exist_ok=True)
    for level, parts in enumerate(zip(*pyramids, strict=True)):
        np.save(temporary / f"level{level}.npy", np.concatenate(parts))
    np.save(temporary / "defocus.npy", np.stack(known))
    temporary.rename(path)


def _known_by(variables: dict[str, Any], arguments: Arguments) -> str:
    """What features of other networks, or of samples made otherwise, have another name by."""
    digest = hashlib.sha256(b"samples 3")
    for leaf in jax.tree.leaves(variables):
        digest.update(np.asarray(leaf).tobytes())
    for table in (arguments.layouts, arguments.subjects):
        digest.update(b"\0" if table is None or not table.is_file() else table.read_bytes())
    return digest.hexdigest()[:8]


def train(
    config: architectures.D2FConfig,
    variables: dict[str, Any],
    arguments: Arguments,
    folder: Path,
    save: Callable[[dict[str, Any], int], None],
) -> None:
    """Trains a copy of the first decoder on the kept features; saves its running average."""
    net = config.defocus_net
    decoder = RefineNet(net.features, net.head, net.channels)
    params = jax.tree.map(jnp.asarray, variables["params"]["decoder"])
    rate = state.schedule(arguments.rate, 0.02, arguments.steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    def loss(params, pyramid, known):
        raw: Any = decoder.apply({"params": params}, pyramid)
        return map_loss(
            stage1.clip_inward(raw[..., 0]),
            known,
            ranking=arguments.ranking,
            gradient=arguments.gradient,
        )

    @jax.jit
    def update(params, average, moments, pyramid, known):
        pyramid = [level.astype(jnp.float32) for level in pyramid]
        value, gradients = jax.value_and_grad(loss)(params, pyramid, known.astype(jnp.float32))
        changes, moments = optimizer.update(gradients, moments)
        params = optax.apply_updates(params, changes)
        average = optax.incremental_update(params, average, 1 - arguments.average)
        return params, average, moments, value

    average, moments = params, optimizer.init(params)
    started, seen = time.monotonic(), []
    with open(arguments.workdir / "maps.jsonl", "a") as log:
        for step, (pyramid, known) in enumerate(_batches(arguments, folder), start=1):
            commands.stop_if_asked()
            params, average, moments, value = update(params, average, moments, pyramid, known)
            seen.append(value)
            if step % 50 == 0 or step == arguments.steps:
                mean = float(jnp.stack(seen).mean())
                if not np.isfinite(mean):
                    raise ValueError(f"step {step}: the loss is not finite; lower --rate")
                speed = step / (time.monotonic() - started)
                left = (arguments.steps - step) / speed / 60
                log.write(json.dumps({"step": step, "loss": mean}) + "\n")
                log.flush()
                print(f"step {step}: loss {mean:.4f}, {left:.1f} min left", flush=True)
                seen = []
            if step % arguments.save_every == 0 or step == arguments.steps:
                save(jax.device_get(average), step)


def _batches(arguments: Arguments, folder: Path) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """Batches in random order, each from one shard, until all steps are taken."""
    rng = np.random.default_rng(arguments.seed)
    shards = []
    for shard in range(arguments.shards):
        path = folder / f"shard{arguments.seed}_{shard}"
        if not path.exists():
            raise ValueError(f"{path}: claimed by another process; wait, or remove its .claimed")
        names = [*(f"level{level}.npy" for level in range(4)), "defocus.npy"]
        shards.append([np.load(path / name, mmap_mode="r") for name in names])
    per_shard = SHARD // arguments.batch_size
    taken = 0
    while True:
        orders = [rng.permutation(SHARD) for _ in shards]
        for place in rng.permutation(len(shards) * per_shard):
            shard, batch = divmod(int(place), per_shard)
            rows = orders[shard][batch * arguments.batch_size : (batch + 1) * arguments.batch_size]
            *pyramid, known = (array[np.sort(rows)] for array in shards[shard])
            yield pyramid, known
            taken += 1
            if taken == arguments.steps:
                return


def map_loss(
    defocus: Float[Array, "b h w"],
    known: Float[Array, "b h w"],
    *,
    ranking: float,
    gradient: float,
) -> Float[Array, ""]:
    """How far a map is from the known one.

    The absolute difference; where `known` is negative, how far the map stays below `-known`. To
    these `losses.ranking_loss` and `losses.map_gradient_loss` are added with their
    weights.
    """
    sure = known >= 0
    difference = jnp.where(sure, jnp.abs(defocus - known), jnp.maximum(-known - defocus, 0)).mean()
    ranked = losses.ranking_loss(defocus, known, sure).mean()
    edges = losses.map_gradient_loss(defocus, known, sure).mean()
    return difference + ranking * ranked + gradient * edges


if __name__ == "__main__":
    main()
