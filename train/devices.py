"""Devices of a run: parameters on every one, each batch split among all, of all processes."""

from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def everywhere() -> NamedSharding:
    """A copy on every device."""
    return NamedSharding(_mesh(), PartitionSpec())


def split() -> NamedSharding:
    """The first axis cut into one part for each device."""
    return NamedSharding(_mesh(), PartitionSpec("data"))


def on_own_part(function: Callable) -> Callable:
    """Runs `function(params, *arrays)` on each device for its own part of the arrays.

    Left to itself, XLA's partitioner gathers the whole batch on every device for each FFT.
    """

    def run(params, *arrays):
        part = PartitionSpec("data")
        return jax.shard_map(
            function,
            mesh=_mesh(),
            in_specs=(PartitionSpec(), *(part for _ in arrays)),
            out_specs=part,
            check_vma=False,
        )(params, *arrays)

    return run


def _mesh() -> Mesh:
    return Mesh(np.asarray(jax.devices()), ("data",))
