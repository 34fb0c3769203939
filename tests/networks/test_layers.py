import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax import resize, strips
from d2f_jax.networks import layers
from d2f_jax.networks.refinenet import Head
from tests.tolerances import EXACT, TWIN


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
    for ours, theirs in zip(
        (fast(*arguments), *_gradients(fast, probe, arguments)),
        (slow(*arguments), *_gradients(slow, probe, arguments)),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, atol=10 * TWIN, rtol=TWIN)


def test_products_of_half_precision_are_summed_in_full():
    x, twin, variables = _twin((1, 8, 8, 32))
    half = layers.conv3(x.astype(jnp.bfloat16), **variables["params"])
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half, twin.apply(variables, x), atol=0.05)


@pytest.mark.parametrize("strip", [1, 36])
def test_the_head_may_run_in_strips(strip):
    """Zero padding and both doublings, across strips; the twin runs layer by layer."""
    x = jax.random.normal(jax.random.key(0), (2, 19, 6, 5))
    head = Head((4, 3), 2)
    variables = jax.jit(head.init)(jax.random.key(1), x)
    out = head.clone(strip=strip).apply(variables, x)
    assert out.shape == (2, 76, 24, 2)
    np.testing.assert_allclose(out, head.apply(variables, x), atol=EXACT)

    def layer(x, name, features, size):
        return nn.Conv(features, size).apply({"params": variables["params"][name]}, x)

    y = layer(resize.double(x, aligned=True), "conv1", 4, (3, 3))
    y = nn.relu(layer(resize.double(y, aligned=False), "conv2", 3, (3, 3)))
    np.testing.assert_allclose(out, layer(y, "conv3", 2, (1, 1)), atol=TWIN)


def test_over_rows_takes_all_at_once():
    x = jnp.arange(12.0).reshape(4, 3, 1)
    out = strips.over_rows(
        lambda parts, row: parts[0] + row[:, None, None], (x,), rows=None, halo=3
    )
    np.testing.assert_array_equal(out, x + np.arange(4)[:, None, None])


def _twin(shape):
    twin = nn.Conv(3, (3, 3), bias_init=nn.initializers.normal(1.0))
    x = jax.random.normal(jax.random.key(0), shape)
    return x, twin, twin.init(jax.random.key(1), x)


def _gradients(run, probe, arguments):
    return jax.grad(lambda *a: (probe * run(*a)).sum(), argnums=(0, 1, 2))(*arguments)
