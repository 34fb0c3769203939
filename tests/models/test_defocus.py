import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax.models import defocus
from d2f_jax.models.networks.resnext import GroupedConv, ResNeXt
from tests.conftest import load_golden, quick_key
from tests.tolerances import EXACT, GOLDEN_NETWORK, TWIN

TINY = ResNeXt(blocks=(1, 1, 1, 1), groups=4, width=8, group_width=2)


def tiny(**options):
    return defocus.DefocusNet(encoder=TINY, features=8, head=(8, 4), **options)


def init(net, seed=1):
    return jax.jit(net.init)(quick_key(seed), jnp.zeros((32, 32, 3)))


@pytest.fixture(scope="module")
def variables():
    return init(tiny())


@pytest.mark.optimised
def test_equals_the_released_network(released_d2f):
    golden = load_golden("stage1.npz")
    net = released_d2f.config.defocus_net
    ours = jax.jit(net.apply)(released_d2f.params.defocus, jnp.asarray(golden["image"]))
    np.testing.assert_allclose(ours, golden["defocus"], atol=GOLDEN_NETWORK)


def test_leading_axes_and_sizes(variables):
    net = tiny()
    images = jax.random.uniform(jax.random.key(0), (2, 3, 32, 64, 3))
    maps = jax.jit(net.apply)(variables, images)
    assert maps.shape == (2, 3, 32, 64)
    np.testing.assert_allclose(maps[1, 2], jax.jit(net.apply)(variables, images[1, 2]), atol=TWIN)
    with pytest.raises(ValueError, match="multiples of 32, got 40x64"):
        net.apply(variables, jnp.zeros((40, 64, 3)))


@pytest.mark.slow
def test_several_decoders_give_the_mean_of_their_maps_each_cut_to_its_range(variables):
    """And each keeps its parameters under a name of its own."""
    others = [init(tiny(), seed) for seed in (2, 3)]
    joined = jax.tree.map(lambda x: x, variables)
    for n, other in enumerate(others, start=2):
        joined["params"][f"decoder{n}"] = other["params"]["decoder"]
    image = jax.random.uniform(jax.random.key(0), (32, 64, 3))
    singles = [
        tiny().apply(
            {**variables, "params": {**variables["params"], "decoder": joined["params"][name]}},
            image,
        )
        for name in defocus.decoder_names(3)
    ]
    assert float(jnp.abs(singles[0] - singles[1]).max()) > 0.01
    assert max(float(x.max()) for x in singles) > 1 or min(float(x.min()) for x in singles) < 0
    mean = tiny(decoders=3).apply(joined, image)
    np.testing.assert_allclose(mean, sum(jnp.clip(x, 0, 1) for x in singles) / 3, atol=TWIN)
    last = tiny(decoders=3, last=1).apply(joined, image)
    np.testing.assert_allclose(last, jnp.clip(singles[2], 0, 1), atol=TWIN)


def test_several_decoders_are_for_maps_alone():
    with pytest.raises(ValueError, match="channels must be 1"):
        tiny(decoders=2, channels=6).init(quick_key(0), jnp.zeros((32, 32, 3)))


def test_six_channel_head_sums_to_one():
    net = tiny(channels=6)
    image = jax.random.uniform(jax.random.key(0), (32, 32, 3))
    layers = jax.jit(net.apply)(init(net), image)
    assert layers.shape == (32, 32, 6)
    np.testing.assert_allclose(layers.sum(-1), 1, atol=EXACT)
    chex.assert_tree_all_finite(layers)


def test_expected_map_of_six_channels():
    """The weights that the released code shows the layers with (errata m)."""
    expected = np.array([0, 2, 5, 9, 13, 17]) / 17
    np.testing.assert_allclose(defocus.from_layers(jnp.eye(6)[None])[0], expected, atol=EXACT)


def test_batch_statistics_move_as_in_torch(variables):
    net = tiny()
    image = jax.random.uniform(jax.random.key(0), (2, 32, 32, 3))
    train = functools.partial(net.apply, train=True, mutable=["batch_stats"])
    _, moved = jax.jit(train)(variables, image)
    before = variables["batch_stats"]["encoder"]["bn1"]["mean"]
    after = moved["batch_stats"]["encoder"]["bn1"]["mean"]
    kernel = variables["params"]["encoder"]["conv1"]["kernel"]
    features = jax.lax.conv_general_dilated(
        image, kernel, (2, 2), ((3, 3), (3, 3)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(after, 0.9 * before + 0.1 * features.mean((0, 1, 2)), atol=TWIN)


@pytest.mark.parametrize(("groups", "stride"), [(3, 2), (20, 2), (20, 1)])
def test_grouped_convolution_by_dense_kernels(groups, stride):
    """One kernel for all groups, or several with a smaller one at the end."""
    conv = GroupedConv(channels=4 * groups, groups=groups, stride=stride)
    x = jax.random.normal(jax.random.key(0), (2, 9, 11, 2 * groups))
    variables = conv.init(jax.random.key(1), x)
    expected = jax.lax.conv_general_dilated(
        x,
        variables["params"]["kernel"],
        (stride, stride),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    np.testing.assert_allclose(conv.apply(variables, x), expected, atol=TWIN)


def test_rematerialisation_and_bfloat16_keep_the_map(variables):
    net = tiny()
    image = jax.random.uniform(jax.random.key(0), (32, 32, 3))
    full = jax.jit(net.apply)(variables, image)
    remat = net.clone(encoder=TINY.clone(remat=True))
    np.testing.assert_allclose(jax.jit(remat.apply)(variables, image), full, atol=EXACT)
    half = net.clone(encoder=TINY.clone(dtype=jnp.bfloat16), dtype=jnp.bfloat16)
    rounded = jax.jit(half.apply)(variables, image)
    assert rounded.dtype == jnp.float32
    np.testing.assert_allclose(rounded, full, atol=0.05 * np.abs(full).max())


def test_defocus_of_a_disparity_map():
    disparity = jnp.array([[2.0, 4.0], [6.0, 10.0]])
    signed = defocus.from_disparity(disparity, 4.0)
    np.testing.assert_allclose(signed, [[-0.25, 0.0], [0.25, 0.75]], atol=EXACT)
    several = defocus.from_disparity(jnp.stack([disparity, disparity]), jnp.array([4.0, 10.0]))
    np.testing.assert_allclose(several[1], [[-1.0, -0.75], [-0.5, 0.0]], atol=EXACT)
    np.testing.assert_array_equal(defocus.from_disparity(jnp.full((2, 2), 3.0), 3.0), 0.0)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_map_is_in_focus_as_a_whole(value):
    assert float(defocus.least_blurred(jnp.full((7, 9), value))) == np.float32(value)


def test_the_smallest_part_of_a_map_decides():
    """The value that half of a hundredth does not exceed, of each map by itself."""
    ramp = jnp.arange(1000.0).reshape(20, 50) / 1000
    ours = defocus.least_blurred(jnp.stack([0.25 + 0.5 * ramp, ramp[::-1]]))
    sorted_twin = [np.sort(np.ravel(x))[4] for x in (0.25 + 0.5 * ramp, ramp)]
    np.testing.assert_allclose(ours, sorted_twin, atol=1e-6)
    one_each = jax.jit(jax.vmap(defocus.least_blurred))(jnp.stack([0.25 + 0.5 * ramp, ramp]))
    np.testing.assert_allclose(one_each, sorted_twin, atol=1e-6)
    sharp_enough = ramp.at[:2, :4].set(0)
    assert float(defocus.least_blurred(sharp_enough)) == 0


def test_lowering_a_map_hides_where_it_starts_from_the_gradient():
    """A constant added to the map changes nothing, so the gradient of what is left sums to 0."""
    ramp = 0.2 + jnp.arange(400.0).reshape(20, 20) / 1000

    def blur(x):
        return ((x - defocus.least_blurred(x)) ** 2).sum()

    gradient = jax.grad(blur)(ramp)
    assert abs(float(gradient.sum())) < 1e-4 * float(jnp.abs(gradient).sum())
    assert float(jnp.abs(gradient).max()) > 0


def box_in_focus(height=100, width=80):
    """Everything at 0.8 but a box in focus, whose foot lies at 60 % of the height."""
    values = np.full((height, width), np.float32(0.8))
    values[height * 3 // 10 : height * 6 // 10, width // 4 : width // 2] = 0.1
    return values


def test_what_is_out_of_focus_recedes_from_the_foot_of_what_is_in_focus():
    values = box_in_focus()
    moved = defocus.receding(values, theta=0.4, share=0.25)
    inside = values < 0.2
    np.testing.assert_array_equal(moved[inside], values[inside])
    foot = 0.59  # 97 % of the box ends there
    column, rows = moved[:, 0], (np.arange(100) + 0.5) / 100
    away = np.where(rows < foot, (foot - rows) / foot, 0.5 * (rows - foot) / (1 - foot))
    np.testing.assert_allclose(column, 0.75 * 0.8 + 0.25 * away, atol=0.01)
    assert (np.diff(column[:59]) < 0).all()
    assert (np.diff(column[60:]) > 0).all()
    assert 0 <= moved.min() < moved.max() <= 1
    # A pixel that comes into focus does not make the foot jump by a row.
    first, second = values.copy(), values.copy()
    first[80, 70], second[80, 70] = 0.2001, 0.1999
    first, second = (defocus.receding(x, theta=0.4, share=0.25)[:, 0] for x in (first, second))
    np.testing.assert_allclose(first, second, atol=1e-6)
    # Half of the way from the edge of what is in focus to `theta`, half of the share.
    half = np.where(inside, values, np.float32(0.3))
    moved = defocus.receding(half, theta=0.4, share=0.25)
    np.testing.assert_allclose(moved[0, 0], 0.3 + 0.125 * (away[0] - 0.3), atol=0.003)


def test_receding_is_the_same_in_numpy_jax_and_batches_and_leaves_what_it_must():
    values = box_in_focus()
    ours = defocus.receding(values, theta=0.4, share=0.15)
    assert isinstance(ours, np.ndarray)
    assert ours.dtype == np.float32
    batch = jnp.stack([jnp.asarray(values), jnp.full(values.shape, 0.8)])
    moved = jax.jit(lambda x: defocus.receding(x, theta=0.4, share=0.15))(batch)
    np.testing.assert_allclose(moved[0], ours, atol=1e-6)
    np.testing.assert_array_equal(moved[1], batch[1])  # nothing is in focus: as it was
    np.testing.assert_array_equal(defocus.receding(values, theta=0.4, share=0.0), values)
    edge = box_in_focus()
    edge[-1] = 0.0  # in focus down to the last row
    moved = defocus.receding(edge, theta=0.4, share=0.5)
    np.testing.assert_array_equal(moved < 0.2, edge < 0.2)  # nothing comes into focus
    with pytest.raises(ValueError, match=r"from 0 to 0.5, got 0.6"):
        defocus.receding(edge, theta=0.4, share=0.6)
    slopes = jax.grad(lambda x: defocus.receding(x, theta=0.4, share=0.15).sum())(batch)
    assert bool(jnp.isfinite(slopes).all())
