import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax.models import resize
from d2f_jax.models.networks import layers
from tests.tolerances import TWIN


@pytest.mark.parametrize("stride", [1, 2])
def test_pointwise_is_a_convolution(stride):
    x = jax.random.normal(jax.random.key(0), (2, 7, 5, 4))
    twin = nn.Conv(6, (1, 1), stride, use_bias=False)
    variables = twin.init(jax.random.key(1), x)
    ours = layers.Pointwise(6, stride)
    np.testing.assert_allclose(ours.apply(variables, x), twin.apply(variables, x), atol=TWIN)
    like = jax.tree.map(np.shape, variables)
    assert like == jax.tree.map(np.shape, ours.init(jax.random.key(1), x))


@pytest.mark.parametrize("shape", [(2, 7, 5, 4), (1, 1, 4), (3, 1, 2, 4)])
def test_conv3_is_a_convolution(shape):
    x, twin, variables = _twin(shape)
    out = layers.conv3(x, **variables["params"])
    np.testing.assert_allclose(out, twin.apply(variables, x), atol=TWIN)


@pytest.mark.parametrize("shape", [(2, 7, 5, 4), (1, 1, 1, 4)])
@pytest.mark.parametrize("aligned", [False, True])
def test_doubling_may_follow_the_products(shape, aligned):
    """Values and gradients, borders and single pixels among them."""
    x, twin, variables = _twin(shape)
    probe = jax.random.normal(jax.random.key(2), (shape[0], 2 * shape[1], 2 * shape[2], 3))

    def fast(x, kernel, bias):
        return layers.doubled_conv3(x, kernel, bias, aligned=aligned)

    def slow(x, kernel, bias):
        parameters = {"params": {"kernel": kernel, "bias": bias}}
        return twin.apply(parameters, resize.double(x, aligned=aligned))

    arguments = x, variables["params"]["kernel"], variables["params"]["bias"]
    ours, theirs = (_value_and_gradients(run, probe, arguments) for run in (fast, slow))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=10 * TWIN, rtol=TWIN)


def test_products_of_half_precision_are_summed_in_full():
    """Within a rounding of the result; rounded products would be twice as far off."""
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.uniform(keys[0], (1, 8, 8, 512)).astype(jnp.bfloat16)
    kernel = jax.random.uniform(keys[1], (3, 3, 512, 3)).astype(jnp.bfloat16)
    bias, exact = jnp.zeros(3), x.astype(jnp.float32)
    weights = {"kernel": kernel.astype(jnp.float32), "bias": bias}

    def twin(x):
        return nn.Conv(3, (3, 3)).apply({"params": weights}, x)

    for ours, theirs in (
        (layers.conv3(x, kernel, bias), twin(exact)),
        (
            layers.doubled_conv3(x, kernel, bias, aligned=True),
            twin(resize.double(exact, aligned=True)),
        ),
        (layers.conv1(x, kernel[1:2, 1:2], bias), exact @ weights["kernel"][1, 1]),
    ):
        assert ours.dtype == jnp.bfloat16
        assert float(jnp.abs(ours / theirs - 1).max()) < 2**-8


def _twin(shape):
    twin = nn.Conv(3, (3, 3), bias_init=nn.initializers.normal(1.0))
    x = jax.random.normal(jax.random.key(0), shape)
    return x, twin, twin.init(jax.random.key(1), x)


def _value_and_gradients(run, probe, arguments):
    def both(*arguments):
        value, back = jax.vjp(run, *arguments)
        return value, *back(probe)

    return jax.jit(both)(*arguments)
