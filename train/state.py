"""What a training step reads and writes: networks, optimiser, state."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from d2f_jax.models import architectures, defocus, radiance
from train.config import ModelConfig, OptimizerConfig, TrainConfig

Params = dict[str, Any]
"""Trained parameters by network: `defocus`, `radiance` and in stage 2 `fusion`."""


class TrainState(NamedTuple):
    """Everything that a run needs to go on, beside its place in the data.

    Attributes:
      step: Batches taken so far.
      params: Parameters by network.
      stats: Batch statistics by network.
      optimizer: State of the optimiser.
      average: Running average of the parameters, or None.
      key: Key data from which each step folds its own.
    """

    step: Array
    params: Params
    stats: Params
    optimizer: Any
    average: Params | None
    key: Array


def build_model(
    config: ModelConfig, *, bfloat16: bool = False, remat: bool = False
) -> architectures.D2FConfig:
    """Makes the networks and constants of a model.

    Raises:
      ValueError: for an unknown architecture.
    """
    model = architectures.named(config.architecture)
    if bfloat16:
        model = architectures.with_precision(model, jnp.bfloat16)
    net = model.defocus_net.clone(
        encoder=model.defocus_net.encoder.clone(remat=remat),
        channels=config.channels,
        features=config.features or model.defocus_net.features,
    )
    model = replace(model, defocus_net=net)
    if config.sizes:
        # The layers' masks keep their shape when there are more or fewer of them.
        sharpness = model.sharpness * (len(config.sizes) - 1) / (len(model.sizes) - 1)
        model = replace(model, sizes=config.sizes, sharpness=sharpness)
    if config.channels == 6:
        model = replace(model, sizes=six_sizes(model.sizes[-1]))
    if config.radiance == "none":
        model = replace(model, radiance_net=radiance.EqualRadiance(), highlight=math.inf)
    elif config.radiance == "grey":
        model = replace(model, radiance_net=radiance.GreyRadiance())
    return model


def six_sizes(largest: int) -> tuple[int, ...]:
    """Kernel sizes of Eq. 23's channels (errata m), scaled to another largest size."""
    sizes = defocus.MULTI_CHANNEL_SIZES
    return tuple(2 * round((s - 1) / 2 * (largest - 1) / (sizes[-1] - 1)) + 1 for s in sizes)


def split_variables(variables: architectures.D2FParams) -> tuple[Params, Params]:
    """Separates parameters from batch statistics, by network."""
    networks = {name: v for name, v in variables._asdict().items() if v is not None}
    params = {name: v.get("params", {}) for name, v in networks.items()}
    stats = {name: v["batch_stats"] for name, v in networks.items() if "batch_stats" in v}
    return params, stats


def join_variables(params: Params, stats: Params) -> architectures.D2FParams:
    """Undoes `split_variables`."""
    networks: dict[str, Any] = {"fusion": None}
    for name, value in params.items():
        networks[name] = {"params": value}
        if name in stats:
            networks[name]["batch_stats"] = stats[name]
    return architectures.D2FParams(**networks)


def warm_start(params: Params, source: Mapping[str, Any]) -> Params:
    """Takes over every array of `source` that has the path and shape of one of `params`."""
    flat = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(source)}

    def pick(path: Any, leaf: Array) -> Array:
        other = flat.get(jax.tree_util.keystr(path))
        return leaf if other is None or other.shape != leaf.shape else jnp.asarray(other)

    return jax.tree.map_with_path(pick, params)


def is_trained(path: str, config: OptimizerConfig) -> bool:
    """Whether the parameters at a path such as `defocus/encoder/conv1/kernel` are trained."""
    return not config.trainable or path.startswith(config.trainable)


def trained(tree: Params, config: OptimizerConfig) -> list[Array]:
    """Those leaves of a tree of parameters, or of their gradients, that are trained."""
    leaves = jax.tree.leaves_with_path(tree)
    return [leaf for path, leaf in leaves if is_trained(_path(path), config)]


def schedule(rate: float, warmup: float, updates: int) -> optax.Schedule:
    """The rate of each update: up from 0 over this share of them, and down to 0 as a cosine."""
    rising = max(1, round(warmup * updates))
    # It reaches zero after the last update at the earliest: there is a way down, however few.
    return optax.warmup_cosine_decay_schedule(0.0, rate, rising, max(updates, rising + 1))


def make_optimizer(config: TrainConfig, params: Params) -> optax.GradientTransformation:
    """Clipping, Adam, schedule; frozen parameters are not touched and cost no memory.

    Raises:
      ValueError: if a beginning in `optimizer.trainable` fits no parameter.
    """
    settings = config.optimizer
    paths = [_path(path) for path, _ in jax.tree.leaves_with_path(params)]
    for start in settings.trainable:
        if not any(path.startswith(start) for path in paths):
            raise ValueError(f"optimizer.trainable: no parameter's path begins with {start!r}")
    updates = max(1, config.steps // settings.accumulate)
    rate = schedule(settings.rate, settings.warmup, updates)
    chain = optax.chain(optax.clip_by_global_norm(settings.clip), optax.adam(rate))
    labels = jax.tree.map_with_path(lambda path, _: is_trained(_path(path), settings), params)
    optimizer = optax.partition({True: chain, False: optax.set_to_zero()}, labels)
    if settings.accumulate > 1:
        return optax.MultiSteps(optimizer, settings.accumulate).gradient_transformation()
    return optimizer


def make_state(config: TrainConfig, params: Params, stats: Params, key: Array) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        stats=stats,
        optimizer=make_optimizer(config, params).init(params),
        average=jax.tree.map(jnp.array, params) if config.optimizer.average else None,
        key=jax.random.key_data(key),
    )


def _path(path: Any) -> str:
    return "/".join(step.key for step in path)
