"""Trains a tiny model; run as a process of its own by the tests of the loop."""

import dataclasses
import json
import sys

import jax

from d2f_jax.models import architectures
from d2f_jax.models.defocus import DefocusNet
from d2f_jax.models.fusion import FusionNet
from d2f_jax.models.networks.resnext import ResNeXt
from d2f_jax.training.losses import LossWeights
from train import commands, stage1, stage2
from train.config import DataConfig, HostsConfig, ModelConfig, OptimizerConfig, TrainConfig

architectures.ARCHITECTURES["tiny"] = architectures.D2FConfig(
    defocus_net=DefocusNet(
        encoder=ResNeXt(blocks=(1, 1, 1, 1), groups=2, width=4, group_width=2),
        features=8,
        head=(8, 4),
    ),
    fusion_net=FusionNet(features=(4, 4)),
    sizes=(1, 3, 5),
    sharpness=5.0,
)

CONFIG = TrainConfig(
    model=ModelConfig(architecture="tiny"),
    data=DataConfig(
        size=(64, 64),
        batch_size=8,
        train_samples=16,
        validation_samples=2,
        lens_samples=4,
        threads=1,
    ),
    optimizer=OptimizerConfig(rate=3e-3, average=0.9),
    loss=LossWeights(perceptual=0.0),
    steps=9,
    save_every=3,
    log_every=1,
)


def main(workdir: str, changes: str, first: str = "") -> None:
    """Runs stage 1, or stage 2 behind the run `first`."""
    sys.modules["torch"] = None  # type: ignore[assignment] # tensorboardX takes seconds to import it
    fields = json.loads(changes)
    hosts = HostsConfig(**fields.pop("hosts", {}))
    config = dataclasses.replace(CONFIG, hosts=hosts, **fields)
    with commands.user_errors():
        commands.join_hosts(hosts)
        if first:
            optimizer = dataclasses.replace(config.optimizer, trainable=("fusion",))
            data = dataclasses.replace(config.data, size=(128, 128))
            stage2.run(dataclasses.replace(config, optimizer=optimizer, data=data), first, workdir)
        else:
            stage1.run(config, workdir)
        print("devices", jax.device_count())


if __name__ == "__main__":
    main(*sys.argv[1:])
