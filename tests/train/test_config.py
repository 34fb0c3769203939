import dataclasses
import functools

import jax
import pytest

from d2f_jax.models import architectures
from train import config, export, loop, stage1, stage2, state
from train.config import STAGE1, STAGE2


def test_the_nearest_preset_is_suggested():
    with pytest.raises(
        ValueError, match="no preset 'smok', only paper, small, default, smoke; did you mean"
    ):
        config.preset(STAGE1, "smok")
    assert config.preset(STAGE1, "smoke") is STAGE1["smoke"]


def test_the_papers_numbers():
    first, second = STAGE1["paper"], STAGE2["paper"]
    assert first.model == second.model == config.ModelConfig()
    assert first.data.size == (512, 512)
    assert second.data.size == (1024, 1024)
    assert (first.loss.perceptual, first.loss.gradient, second.loss.poisson) == (0.1, 0.1, 10.0)


@pytest.mark.parametrize("name", STAGE1)
def test_both_stages_of_a_preset_fit_together(name):
    assert STAGE1[name].model == STAGE2[name].model
    assert STAGE2[name].optimizer.trainable == ("fusion",)
    assert [2 * side for side in STAGE1[name].data.size] == list(STAGE2[name].data.size)


def test_a_configuration_survives_json():
    changed = config.ModelConfig(architecture="d2f-smoke", sizes=(1, 3, 5), radiance="grey")
    content = config.to_json(config.TrainConfig(model=changed))
    assert config.model_from_json(content) == changed


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGE1)
def test_every_preset_takes_steps_in_shape(name):
    """Traces a step of each preset without running it, which no CPU would do for `paper`."""
    first, second = without_perceptual(STAGE1[name]), without_perceptual(STAGE2[name])
    stage = stage1.make_stage(first, start={})
    params, stats = jax.eval_shape(stage.init, jax.random.key(0))
    trace_a_step(stage, first, params, stats)

    behind = stage2.make_stage(second, export.Trained(second.model, params, stats, 0, {}))
    variables = jax.eval_shape(
        functools.partial(architectures.init, stage.model), jax.random.key(0)
    )
    trace_a_step(behind, second, *state.split_variables(variables))


def without_perceptual(settings):
    loss = dataclasses.replace(settings.loss, perceptual=0.0)
    return dataclasses.replace(settings, loss=loss)


def trace_a_step(stage, settings, params, stats):
    def start(params, stats):
        return state.make_state(settings, params, stats, jax.random.key(0))

    height, width = settings.data.size
    picture = jax.ShapeDtypeStruct((settings.data.batch_size, height, width, 3), "float32")
    before = jax.eval_shape(start, params, stats)
    update = loop.make_update(stage, settings, params)
    after, values = jax.eval_shape(update, before, {"image": picture, "bokeh": picture})
    # What comes out can go in again: further steps are the first over again.
    assert shapes_and_types(after) == shapes_and_types(before)
    assert values["loss"].shape == ()


def shapes_and_types(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)
