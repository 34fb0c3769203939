"""Times a training step of stage 1: forward, backward, Adam of defocus and radiance network.

The loss is the mean absolute difference between the rendered bokeh and a target. Batch
normalisation uses the statistics of the batch. The first step's loss and gradient norms are
compared before timing.
"""

import argparse
import functools
import sys
from pathlib import Path
from typing import Any

from benchmarks import common, inputs, torch_baseline  # isort: skip  (common before jax)

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from benchmarks.bench_render import renderer
from d2f_jax.models import architectures, radiance

RATE = 1e-4


def main(options: argparse.Namespace) -> Path:
    """Measures and writes the results file."""
    common.equal_footing()
    batch, side = (4, 512) if common.device() == "gpu" else (2, 128)
    images = jnp.stack([inputs.photograph(side, side, seed=n) for n in range(batch)])
    targets = jnp.stack([inputs.photograph(side, side, seed=9 + n) for n in range(batch)])
    config = architectures.D2FConfig()
    params = inputs.parameters(config, images, train=True)

    contenders = [
        common.ours(Ours(config, params), images, targets, view=lambda x: _logs(*x)),
    ]
    place = common.torch_device()
    if place is not None:
        there = [
            torch.from_numpy(np.array(jnp.moveaxis(x, -1, 1))).to(place) for x in (images, targets)
        ]
        for name, render in (
            (common.TORCH, torch_baseline.DirectRenderer()),
            (common.STRONG, torch_baseline.FastRenderer()),
        ):
            net: Any = torch_baseline.load(params._asdict(), render).to(place).train()
            if name == common.STRONG:
                net = net.to(memory_format=torch.channels_last)
            step = Theirs(net)
            contenders.append(
                common.theirs(name, step, *there, view=lambda x: _logs(*x), training=True)
            )
    row = common.measure(
        f"stage-1 step, batch {batch} of {side}x{side}",
        contenders,
        tolerance=1e-2,
        repetitions=min(5, common.rounds(options)),
    )
    return common.save("train_step", options, [row])


class Ours:
    """A step that carries its state along and returns the loss and the gradients' norm."""

    def __init__(self, config: architectures.D2FConfig, params: architectures.D2FParams) -> None:
        self.optimizer = optax.adam(RATE)
        # The step gives its buffers away, so it starts from copies.
        copies = jax.tree.map(jnp.array, (params.defocus, params.radiance))
        self.weights = {"defocus": copies[0]["params"], "radiance": copies[1]["params"]}
        self.statistics = copies[0]["batch_stats"]
        self.moments = self.optimizer.init(self.weights)
        self.step = jax.jit(functools.partial(self._step, config), donate_argnums=(0, 1, 2))

    def __call__(self, images: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Takes one step."""
        self.weights, self.statistics, self.moments, *logs = self.step(
            self.weights, self.statistics, self.moments, images, targets
        )
        return logs[0], logs[1]

    def _step(self, config, weights, statistics, moments, images, targets):
        def loss(weights):
            net: Any = config.defocus_net
            variables = {"params": weights["defocus"], "batch_stats": statistics}
            defocus, new = net.apply(variables, images, train=True, mutable=["batch_stats"])
            light: Any = config.radiance_net.apply({"params": weights["radiance"]}, images)
            bokeh = renderer(images, radiance.highlight_weight(images, light), defocus)
            return jnp.abs(bokeh - targets).mean(), new["batch_stats"]

        (value, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(weights)
        updates, moments = self.optimizer.update(gradient, moments)
        weights = optax.apply_updates(weights, updates)
        return weights, statistics, moments, value, optax.global_norm(gradient)


class Theirs:
    """The same step in PyTorch."""

    def __init__(self, net: torch_baseline.Pipeline) -> None:
        self.net = net
        self.weights = [*net.midas.parameters(), *net.radiance.parameters()]
        self.optimizer = torch.optim.Adam(self.weights, lr=RATE)

    def __call__(
        self, images: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Takes one step."""
        self.optimizer.zero_grad(set_to_none=True)
        bokeh, _, _ = self.net.stage1(images)
        loss = (bokeh - targets).abs().mean()
        loss.backward()
        norm = torch.nn.utils.get_total_norm([w.grad for w in self.weights if w.grad is not None])
        self.optimizer.step()
        return loss.detach(), norm


def _logs(loss: Any, norm: Any) -> dict[str, np.ndarray]:
    return {"loss": np.asarray(loss), "gradient norm": np.asarray(norm)}


if __name__ == "__main__":
    sys.exit(common.run(main, __doc__))
