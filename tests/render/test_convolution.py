import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from d2f_jax.render import convolution, kernels
from tests.tolerances import EXACT, TWIN


@pytest.mark.parametrize(
    ("padding", "mode"), [("reflect", "mirror"), ("edge", "nearest"), ("zero", "constant")]
)
@pytest.mark.parametrize(
    ("channels", "height", "width", "radius"),
    [(1, 9, 40, 8), (2, 17, 12, 3), (3, 20, 23, 0), (5, 31, 9, 1), (4, 16, 16, 5), (3, 12, 11, 4)],
)
def test_equals_its_twin_and_scipy(channels, height, width, radius, padding, mode):
    rng = np.random.default_rng(radius)
    planes = jnp.asarray(rng.standard_normal((channels, height, width)), jnp.float32)
    size = 2 * radius + 1
    # Not symmetric, so that a mirrored kernel would be noticed.
    kernel = jnp.asarray(rng.random((size, size)) / size**2, jnp.float32)
    fast = convolution.convolve(planes, kernel, padding=padding)
    slow = convolution.convolve_reference(planes, kernel, padding=padding)
    np.testing.assert_allclose(fast, slow, atol=TWIN)
    theirs = ndimage.convolve(np.asarray(planes), np.asarray(kernel)[None], mode=mode)
    np.testing.assert_allclose(fast, theirs, atol=TWIN)


def test_identity_and_shift():
    planes = jnp.arange(2 * 6 * 7, dtype=jnp.float32).reshape(2, 6, 7)
    shift = jnp.zeros((3, 3)).at[1, 2].set(1.0)  # moves the picture one pixel to the right
    moved = convolution.convolve(planes, shift, padding="edge")
    np.testing.assert_allclose(moved[..., 1:], planes[..., :-1], atol=1e-4)
    np.testing.assert_allclose(moved[..., 0], planes[..., 0], atol=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 7])
def test_pack_and_unpack(channels):
    planes = jax.random.normal(jax.random.key(0), (2, channels, 4, 5))
    packed = convolution.pack(planes)
    assert packed.shape == (2, (channels + 1) // 2, 4, 5)
    np.testing.assert_array_equal(convolution.unpack(packed, channels), planes)


@pytest.mark.parametrize("side", [5, 9])
def test_gradient_is_the_correlation(side):
    """Away from borders the transposed convolution is the one with the mirrored kernel."""
    kernel = jnp.asarray(np.random.default_rng(0).random((side, side)), jnp.float32)
    probe = jnp.zeros((1, 20, 20)).at[0, 10, 9].set(1.0)

    def loss(planes):
        return (probe * convolution.convolve(planes, kernel, padding="zero")).sum()

    gradient = jax.grad(loss)(jnp.zeros((1, 20, 20)))
    expected = convolution.convolve(probe, kernel[::-1, ::-1], padding="zero")
    np.testing.assert_allclose(gradient, expected, atol=EXACT)


@given(st.integers(1, 9000))
def test_fast_sizes_are_even_and_smooth(size):
    fast = convolution.fast_size(size)
    assert fast >= size
    assert fast % 2 == 0
    for prime in (2, 3, 5, 7):
        while fast % prime == 0:
            fast //= prime
    assert fast == 1


def test_too_small_to_reflect_and_unknown_padding():
    kernel = jnp.asarray(kernels.soft_disk(21))
    with pytest.raises(ValueError, match=r"10x30.*radius 10"):
        convolution.convolve(jnp.zeros((1, 10, 30)), kernel)
    assert convolution.convolve(jnp.zeros((1, 10, 30)), kernel, padding="edge").shape == (1, 10, 30)
    with pytest.raises(ValueError, match="reflect, edge, zero"):
        convolution.pad.__wrapped__(jnp.zeros((1, 10, 30)), 1, "wrap")


@pytest.mark.parametrize("padding", ["reflect", "edge", "zero"])
def test_the_corner_of_larger_planes_is_padded_as_if_alone(padding):
    planes = np.random.default_rng(0).random((2, 13, 17), np.float32)
    larger = np.pad(planes, ((0, 0), (0, 5), (0, 2)), constant_values=9)
    pad = jax.jit(convolution.pad, static_argnums=(1, 2))
    ours = pad(jnp.asarray(larger), 6, padding, (13, 17))
    np.testing.assert_array_equal(
        ours[:, :25, :29], convolution.pad(jnp.asarray(planes), 6, padding)
    )
