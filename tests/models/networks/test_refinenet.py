import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax.models import resize
from d2f_jax.models.networks.refinenet import Head
from tests.tolerances import EXACT, TWIN


@pytest.mark.parametrize("strip", [1, 36])
def test_the_head_may_run_in_strips(strip):
    """Zero padding and both doublings, across strips; the twin runs layer by layer."""
    x = jax.random.normal(jax.random.key(0), (2, 19, 6, 5))
    head = Head((4, 3), 2)
    variables = jax.jit(head.init)(jax.random.key(1), x)
    out = jax.jit(head.clone(strip=strip).apply)(variables, x)
    assert out.shape == (2, 76, 24, 2)
    np.testing.assert_allclose(out, jax.jit(head.apply)(variables, x), atol=EXACT)

    def layer(x, name, features, size):
        return nn.Conv(features, size).apply({"params": variables["params"][name]}, x)

    y = layer(resize.double(x, aligned=True), "conv1", 4, (3, 3))
    y = nn.relu(layer(resize.double(y, aligned=False), "conv2", 3, (3, 3)))
    np.testing.assert_allclose(out, layer(y, "conv3", 2, (1, 1)), atol=TWIN)


def test_gradients_of_the_head_in_strips():
    """Of features and parameters; what a strip made is made again."""
    x = jax.random.normal(jax.random.key(0), (2, 19, 3, 5))
    head = Head((4, 3), 2)
    variables = jax.jit(head.init)(jax.random.key(1), x)

    def gradient(head):
        return jax.jit(jax.grad(lambda *a: (head.apply(*a) ** 2).sum(), argnums=(0, 1)))

    whole = gradient(head)(variables, x)
    parts = gradient(head.clone(strip=32))(variables, x)
    for a, b in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        assert jnp.linalg.norm(a - b) <= TWIN * jnp.linalg.norm(b)


@pytest.mark.parametrize("strip", [0, -3])
def test_strips_without_rows_are_refused(strip):
    with pytest.raises(ValueError, match=f"at least 1 row, got {strip}"):
        jax.eval_shape(Head((4, 3), 2, strip).init, jax.random.key(1), jnp.zeros((1, 9, 6, 5)))
