import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from d2f_jax.models import architectures, radiance
from tests import tolerances
from train import state
from train.config import ModelConfig, OptimizerConfig, TrainConfig

PARAMS = {
    "defocus": {"encoder": {"w": jnp.array([1.0, -2.0])}, "decoder": {"w": jnp.array([3.0])}},
    "radiance": {"w": jnp.array([4.0])},
}


def config(**optimizer):
    settings = {"rate": 0.1, "warmup": 0.0, "clip": 1e9} | optimizer
    return TrainConfig(steps=100, optimizer=OptimizerConfig(**settings))


def after(settings, gradients):
    optimizer = state.make_optimizer(settings, PARAMS)
    params, memory = PARAMS, optimizer.init(PARAMS)
    for gradient in gradients:
        changes, memory = optimizer.update(gradient, memory, params)
        params = optax.apply_updates(params, changes)
    return params


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_run_may_be_as_short_as_a_step(steps):
    settings = dataclasses.replace(config(warmup=0.05), steps=steps)
    params = after(settings, [gradient(1.0)] * steps)
    assert np.isfinite(params["radiance"]["w"]).all()
    if steps > 1:  # the rate begins at 0
        assert (params["radiance"]["w"] < PARAMS["radiance"]["w"]).all()


def gradient(value):
    return jax.tree.map(lambda x: jnp.full_like(x, value), PARAMS)


def test_only_what_is_named_is_trained():
    params = after(config(trainable=("defocus/decoder",)), [gradient(1.0)] * 3)
    np.testing.assert_array_equal(params["defocus"]["encoder"]["w"], [1.0, -2.0])
    np.testing.assert_array_equal(params["radiance"]["w"], [4.0])
    assert params["defocus"]["decoder"]["w"] < 3.0
    frozen = state.make_optimizer(config(trainable=("radiance",)), PARAMS).init(PARAMS)
    sizes = [leaf.size for leaf in jax.tree.leaves(frozen) if leaf.ndim]
    assert sum(sizes) == 2, "frozen parameters take optimiser memory"


def test_a_name_that_fits_nothing_is_refused():
    with pytest.raises(ValueError, match="no parameter's path begins with 'fusion'"):
        state.make_optimizer(config(trainable=("fusion",)), PARAMS)


def test_accumulated_steps_are_one_step_of_the_mean():
    halves = dataclasses.replace(config(accumulate=2), steps=200)
    apart = after(halves, [gradient(value) for value in (1.0, 3.0, 0.0, 4.0)])
    together = after(config(), [gradient(2.0), gradient(2.0)])
    for a, b, before in zip(*map(jax.tree.leaves, (apart, together, PARAMS)), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerances.EXACT)
        assert (a != before).all()


def test_the_rate_rises_and_falls_to_nothing():
    moved = []
    settings = config(warmup=0.1)
    optimizer = state.make_optimizer(settings, PARAMS)
    memory = optimizer.init(PARAMS)
    for _ in range(100):
        changes, memory = optimizer.update(gradient(1.0), memory, PARAMS)
        moved.append(-float(changes["radiance"]["w"][0]))
    assert moved[0] == 0
    assert np.argmax(moved) in range(9, 12)
    np.testing.assert_allclose(max(moved), 0.1, rtol=1e-3)
    assert moved[-1] < 1e-3 * max(moved)


def test_a_warm_start_takes_what_fits():
    source = {"defocus": {"encoder": {"w": np.zeros(2)}, "decoder": {"w": np.zeros(7)}}}
    started = state.warm_start(PARAMS, source)
    np.testing.assert_array_equal(started["defocus"]["encoder"]["w"], [0, 0])
    np.testing.assert_array_equal(started["defocus"]["decoder"]["w"], [3.0])
    np.testing.assert_array_equal(started["radiance"]["w"], [4.0])


def test_variants_of_a_model():
    model = state.build_model(ModelConfig(architecture="d2f-smoke", sizes=(1, 3, 5)))
    assert model.sizes == (1, 3, 5)
    # As many layers' widths fit into the slope of a mask as before: 20 * (3 - 1) / (9 - 1).
    assert model.sharpness == pytest.approx(5.0)
    assert state.build_model(ModelConfig(radiance="none")).highlight > 1
    grey = state.build_model(ModelConfig(radiance="grey")).radiance_net
    assert isinstance(grey, radiance.GreyRadiance)
    assert state.build_model(ModelConfig(channels=6)).sizes == (1, 9, 21, 37, 53, 69)
    with pytest.raises(ValueError, match="no architecture 'x', only d2f-resnext50"):
        state.build_model(dataclasses.replace(ModelConfig(), architecture="x"))


def test_bfloat16_keeps_parameters_in_float32():
    model = state.build_model(ModelConfig(architecture="d2f-smoke"), bfloat16=True, remat=True)
    shapes = jax.eval_shape(lambda key: architectures.init(model, key), jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    assert model.defocus_net.encoder.remat
    assert model.defocus_net.dtype == jnp.bfloat16
