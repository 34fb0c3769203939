"""EfficientNet-Lite against closed forms and a twin in torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax.models import convert
from d2f_jax.models.networks import efficientnet
from d2f_jax.models.networks.efficientnet import DepthwiseConv, EfficientNetLite, Stage
from tests.conftest import quick_key

SMALL = (
    Stage(1, 3, 1, 1, 8),
    Stage(1, 3, 2, 6, 8),
    Stage(2, 5, 2, 6, 16),
    Stage(1, 3, 2, 6, 16),
    Stage(2, 5, 1, 6, 24),
    Stage(1, 5, 2, 6, 24),
    Stage(1, 3, 1, 6, 32),
)


def test_lite2_has_the_published_widths_and_depths():
    assert [stage.channels for stage in efficientnet.LITE2] == [16, 24, 48, 88, 120, 208, 352]
    assert [stage.blocks for stage in efficientnet.LITE2] == [1, 3, 3, 4, 4, 5, 1]


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(8, 10), (9, 7)])
def test_depthwise_equals_a_grouped_convolution(size, stride, shape):
    x = jax.random.normal(jax.random.key(0), (2, *shape, 6))
    net = DepthwiseConv(size, stride)
    variables = net.init(jax.random.key(1), x)
    expected = jax.lax.conv_general_dilated(
        x,
        variables["params"]["kernel"],
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=6,
    )
    np.testing.assert_allclose(net.apply(variables, x), expected, atol=1e-5)


def _torch_state(rng):
    """A state dict of a small network under the names of the PyPI package."""
    state = {}

    def norm(name, channels):
        state[f"{name}.weight"] = rng.uniform(0.5, 1.5, channels)
        state[f"{name}.bias"] = rng.normal(0, 0.2, channels)
        state[f"{name}.running_mean"] = rng.normal(0, 0.2, channels)
        state[f"{name}.running_var"] = rng.uniform(0.5, 1.5, channels)
        state[f"{name}.num_batches_tracked"] = np.array(3)

    def conv(name, out, inside, size):
        scale = (inside * size * size) ** -0.5
        state[f"{name}.weight"] = rng.normal(0, scale, (out, inside, size, size))

    conv("_conv_stem", 8, 3, 3)
    norm("_bn0", 8)
    channels, number = 8, 0
    for stage in SMALL:
        for _ in range(stage.blocks):
            name, wide = f"_blocks.{number}", stage.expansion * channels
            if stage.expansion != 1:
                conv(f"{name}._expand_conv", wide, channels, 1)
                norm(f"{name}._bn0", wide)
            conv(f"{name}._depthwise_conv", wide, 1, stage.kernel)
            norm(f"{name}._bn1", wide)
            conv(f"{name}._project_conv", stage.channels, wide, 1)
            norm(f"{name}._bn2", stage.channels)
            channels, number = stage.channels, number + 1
    conv("_conv_head", 40, channels, 1)
    norm("_bn1", 40)
    state["_fc.weight"], state["_fc.bias"] = rng.normal(size=(5, 40)), np.zeros(5)
    return {name: np.asarray(value, np.float32) for name, value in state.items()}


def _twin(state, image):
    """The same features in torch, block by block."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    state = {name: torch.tensor(value) for name, value in state.items()}

    def conv(x, name, stride=1, groups=1):
        kernel = state[f"{name}.weight"]
        pads = []
        for side in (x.shape[-1], x.shape[-2]):
            total = max(0, (-(-side // stride) - 1) * stride + kernel.shape[-1] - side)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), kernel, stride=stride, groups=groups)

    def norm(x, name):
        parts = [state[f"{name}.{leaf}"] for leaf in ("running_mean", "running_var")]
        parts += [state[f"{name}.weight"], state[f"{name}.bias"]]
        return F.batch_norm(x, *parts, eps=1e-3)

    x = (torch.tensor(image).permute(0, 3, 1, 2) * 255 - 127) / 128
    x = F.relu6(norm(conv(x, "_conv_stem", 2), "_bn0"))
    number, features = 0, []
    for index, stage in enumerate(SMALL):
        if index in (2, 3, 5):
            features.append(x)
        for step in range(stage.blocks):
            name, before = f"_blocks.{number}", x
            if stage.expansion != 1:
                x = F.relu6(norm(conv(x, f"{name}._expand_conv"), f"{name}._bn0"))
            stride = 1 if step else stage.stride
            x = conv(x, f"{name}._depthwise_conv", stride, x.shape[1])
            x = norm(
                conv(F.relu6(norm(x, f"{name}._bn1")), f"{name}._project_conv"), f"{name}._bn2"
            )
            if x.shape == before.shape:
                x = x + before
            number += 1
    return [y.permute(0, 2, 3, 1).numpy() for y in (*features, x)]


def test_converted_weights_give_the_features_of_torch():
    rng = np.random.default_rng(0)
    state = _torch_state(rng)
    tree = convert.convert(state, convert.efficientnet_rows(SMALL))
    net = EfficientNetLite(stages=SMALL, stem=8)
    image = rng.uniform(size=(1, 64, 96, 3)).astype(np.float32)
    ours = jax.jit(net.apply, static_argnums=2)(tree, jnp.asarray(image), False)
    expected = _twin(state, image)
    assert [y.shape[1:3] for y in ours] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_remat_changes_nothing():
    image = jax.random.uniform(jax.random.key(0), (1, 32, 32, 3))
    net = EfficientNetLite(stages=SMALL, stem=8)
    variables = jax.jit(net.init, static_argnums=2)(quick_key(1), image, False)
    plain, again = (
        jax.jit(module.apply, static_argnums=2)(variables, image, False)
        for module in (net, net.clone(remat=True))
    )
    for one, other in zip(plain, again, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
