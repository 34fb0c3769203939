import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from d2f_jax import pipeline
from d2f_jax.render import kernels
from d2f_jax.training.losses import LossWeights
from tests import tolerances
from tests.conftest import quick_key
from train import features, loop, stage1, stage2, state
from train.config import STAGE1, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from train.export import Trained

CONFIG = TrainConfig(
    model=ModelConfig(architecture="d2f-smoke"),
    data=DataConfig(size=(64, 64), batch_size=2),
    loss=LossWeights(perceptual=0.0),
)


@pytest.fixture(scope="module")
def image():
    return jnp.asarray(np.random.default_rng(0).uniform(0, 1, (2, 128, 128, 3)), jnp.float32)


@pytest.fixture(scope="module")
def start():
    """A stage 1 with its parameters and statistics."""
    stage = stage1.make_stage(CONFIG)
    return stage, *stage.init(quick_key(0))


def test_a_fresh_map_lies_inside_its_range(start, image):
    stage, params, stats = start
    raw, _ = jax.jit(lambda p, s, x: stage1.hallucinate(stage.model, p, s, x, train=False))(
        params, stats, image
    )
    assert 0 < float(raw.min()) < float(raw.max()) < 1


def test_validation_is_the_pipeline_itself(start, image):
    stage, params, stats = start
    ours = jax.jit(stage.predict)(params, stats, image)
    theirs = jax.jit(
        lambda p, s, x: pipeline.apply(
            stage.model,
            state.join_variables(p, s),
            x,
            kernels=jnp.asarray(kernels.kernel_bank(stage.model.sizes)),
        )
    )(params, stats, image)
    for name in ours._fields:
        np.testing.assert_allclose(
            getattr(ours, name), getattr(theirs, name), atol=tolerances.TWIN, err_msg=name
        )


def test_a_frozen_encoder_needs_weights():
    frozen = OptimizerConfig(trainable=("defocus/decoder",))
    with pytest.raises(ValueError, match="give them with --backbone"):
        stage1.make_stage(dataclasses.replace(CONFIG, optimizer=frozen))


def test_a_backbone_of_another_kind_is_named_with_what_was_expected(tmp_path):
    torch.save({"x": torch.zeros(1)}, tmp_path / "b.pth")
    with pytest.raises(ValueError, match=r"b.pth, read as the state dict of efficientnet-lite2-py"):
        stage1.make_stage(dataclasses.replace(STAGE1["default"], backbone=tmp_path / "b.pth"))


def test_gradients_outside_the_range_lead_back_inside():
    raw = jnp.array([-0.5, -0.5, 0.5, 0.5, 1.5, 1.5])
    pull = jnp.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    clipped, back = jax.vjp(stage1.clip_inward, raw)
    np.testing.assert_array_equal(clipped, [0, 0, 0.5, 0.5, 1, 1])
    # Descent goes against the gradient: up where it is negative.
    np.testing.assert_array_equal(back(pull)[0], [0, -1, 1, -1, 1, 0])


def test_certain_layers_blur_by_their_kernel_alone(image):
    bank = jnp.asarray(kernels.kernel_bank((1, 3, 5)))
    weight = jnp.ones_like(image)
    sharp = jax.nn.one_hot(jnp.zeros(image.shape[:-1], int), 3)
    np.testing.assert_allclose(
        stage1.render_layers(image, weight, sharp, bank), image, atol=tolerances.TWIN
    )
    flat = jnp.full_like(image, 0.25)
    even = jnp.full((*image.shape[:-1], 3), 1 / 3)
    np.testing.assert_allclose(
        stage1.render_layers(flat, weight, even, bank), flat, atol=tolerances.TWIN
    )


def test_the_perceptual_loss_asks_for_its_weights(tmp_path):
    assert features.load(None, LossWeights(perceptual=0.0)) is None
    with pytest.raises(ValueError, match=r"add --vgg FILE .* or --loss.perceptual 0"):
        features.load(None, LossWeights())
    with pytest.raises(ValueError, match="no such checkpoint"):
        features.load(tmp_path / "vgg19.pth", LossWeights())


@pytest.mark.slow
def test_stage_2_moves_the_fusion_network_alone(start, image):
    _, params, stats = start
    settings = dataclasses.replace(
        CONFIG, optimizer=OptimizerConfig(trainable=("fusion",), rate=1e-2, warmup=0.0)
    )
    stage = stage2.make_stage(settings, Trained(CONFIG.model, params, stats, 0, {}))
    both, stats = stage.init(quick_key(1))
    now = state.make_state(settings, both, stats, jax.random.key(2))
    batch = {"image": image, "bokeh": image[:, ::-1]}
    update = jax.jit(loop.make_update(stage, settings, both))
    for _ in range(2):
        now, values = update(now, batch)
    assert float(values["poisson"]) > 0
    assert float(values["gradient_norm"]) > 0
    for network in ("defocus", "radiance"):
        for old, new in zip(
            *map(jax.tree.leaves, (both[network], now.params[network])), strict=True
        ):
            np.testing.assert_array_equal(old, new)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), both["fusion"], now.params["fusion"])
    assert any(jax.tree.leaves(moved))
    # A mask that is too much everywhere finds back, though it shows no more than 1.
    last = both["fusion"]["conv4"] | {"bias": jnp.full(1, 5.0)}
    params = both | {"fusion": both["fusion"] | {"conv4": last}}
    now = state.make_state(settings, params, stats, jax.random.key(2))
    for _ in range(2):  # the first has a rate of zero
        now, values = update(now, {"image": image, "bokeh": jnp.full_like(image, 0.5)})
    assert float(values["gradient_norm"]) > 0
    assert float(now.params["fusion"]["conv4"]["bias"][0]) < 5


def test_stage_2_refuses_several_channels():
    model = dataclasses.replace(CONFIG.model, channels=6)
    settings = dataclasses.replace(CONFIG, model=model)
    with pytest.raises(ValueError, match="needs a first stage with one channel"):
        stage2.make_stage(settings, Trained(model, {}, {}, 0, {}))
