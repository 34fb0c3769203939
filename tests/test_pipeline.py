import dataclasses
import functools
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax import pipeline, render
from d2f_jax.models import architectures, defocus, fusion, imagination, resize, weights
from d2f_jax.render import kernels
from tests.conftest import load_golden, quick_key
from tests.models.test_defocus import TINY
from tests.tolerances import EXACT, GOLDEN_PIPELINE, TWIN


@pytest.fixture(scope="module")
def tiny():
    """The pipeline with a network small enough to run everywhere."""
    config = architectures.D2FConfig(
        defocus_net=defocus.DefocusNet(encoder=TINY, features=8, head=(8, 4)),
        fusion_net=fusion.FusionNet(features=(4, 3)),
        sizes=(1, 3, 7, 15),
    )
    return pipeline.D2F(config, architectures.init(config, quick_key(0)), {})


@pytest.fixture(scope="module")
def lite():
    """The default networks, whose pictures in numpy lie on canvases; a fusion network as well."""
    default = pipeline.load()
    net = fusion.FusionNet(features=(4, 3))
    fused = net.init(quick_key(1), jnp.zeros((8, 8, 3)), jnp.zeros((8, 8)))
    config = dataclasses.replace(default.config, fusion_net=net)
    return default, pipeline.D2F(config, default.params._replace(fusion=fused), {})


def picture(height=150, width=200, seed=0):
    return jax.random.uniform(jax.random.key(seed), (height, width, 3))


def ramp(height=75, width=100):
    return jnp.broadcast_to(jnp.linspace(0.0, 1.0, width), (height, width))


@pytest.mark.optimised
def test_equals_the_released_script(released_d2f):
    golden = load_golden("pipeline.npz")
    out = released_d2f(jnp.asarray(golden["image"]), clip=False)
    for ours, name in (
        (out.bokeh, "bokeh"),
        (out.rendered, "bokeh_lr"),
        (out.defocus, "defocus"),
        (out.fusion_mask, "mask"),
    ):
        np.testing.assert_allclose(ours, golden[name], atol=GOLDEN_PIPELINE, err_msg=name)


@pytest.mark.parametrize(
    ("size", "working"),
    [
        ((300, 410), (128, 192)),
        ((1024, 1536), (512, 768)),
        ((64, 64), (64, 64)),
        ((4000, 6000), (1984, 3008)),
    ],
)
def test_working_size(size, working):
    assert pipeline.working_size(*size) == working


@pytest.mark.parametrize("size", [(64, 64), (97, 301), (260, 65)])
def test_any_size_and_orientation(tiny, size):
    out = tiny(picture(*size))
    assert out.bokeh.shape == (*size, 3)
    assert out.fusion_mask.shape == size
    small = pipeline.working_size(*size)
    assert out.rendered.shape == out.weight.shape == (*small, 3)
    assert out.defocus.shape == small
    assert float(out.bokeh.min()) >= 0
    assert float(out.bokeh.max()) <= 1


def test_a_batch_is_its_pictures(tiny):
    batch = jnp.stack([picture(seed=1), picture(seed=2)])
    together, alone = tiny(batch), tiny(batch[1])
    for ours, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(ours[1], expected, atol=TWIN)


@pytest.mark.slow
def test_chunks_strips_and_tiles_change_nothing(tiny):
    image = picture()
    whole = tiny(image, layer_batch=3, strip=1000)
    for options in ({"layer_batch": 1, "strip": 40}, {"strip": 4, "tile": 48}):
        for ours, expected in zip(tiny(image, **options), whole, strict=True):
            np.testing.assert_allclose(ours, expected, atol=TWIN)


def test_network_maps_are_clipped_unless_asked(tiny):
    params = jax.tree.map(lambda x: x, tiny.params)
    params.defocus["params"]["decoder"]["head"]["conv3"]["bias"] = jnp.full(1, 5.0)
    high = pipeline.D2F(tiny.config, params, {})
    assert float(high(picture(), always_sharp=False).defocus.min()) == 1
    assert float(high(picture(), clip=False).defocus.min()) > 2


@pytest.mark.parametrize(
    ("size", "seen"),
    [((150, 200), (192, 256)), ((64, 800), (32, 256)), ((4200, 3000), (256, 192))],
)
def test_a_glance_is_small(tiny, size, seen):
    defocus = np.asarray(tiny.glance(picture(*size)))
    assert defocus.shape == seen
    assert defocus.min() >= 0
    assert defocus.max() <= 1
    with pytest.raises(ValueError, match="sides of at least 64 pixels"):
        tiny.glance(jnp.zeros((10, 64, 3)))


def test_a_glance_sees_what_the_pipeline_sees(tiny):
    """A picture whose working size is that of the glance, with nothing finer than its pixels."""
    image = np.repeat(np.repeat(picture(192, 256), 2, 0), 2, 1)
    close = np.abs(np.asarray(tiny.glance(image)) - np.asarray(tiny(image).defocus))
    assert close.mean() < 0.02


def with_head(tiny, slope, offset):
    """The pipeline with a map that is scaled and lifted."""
    params = jax.tree.map(lambda x: x, tiny.params)
    head = params.defocus["params"]["decoder"]["head"]["conv3"]
    head["kernel"] = slope * head["kernel"]
    head["bias"] = jnp.full(1, offset)
    return pipeline.D2F(tiny.config, params, {})


def test_something_is_always_sharp(tiny):
    """A map that lies above 0 everywhere is lowered, no more than that, and only if asked."""
    image = picture()
    lifted = with_head(tiny, 1e-3, 0.7)
    out, plain = lifted(image), lifted(image, always_sharp=False)
    assert float(plain.defocus.min()) > 0.5
    assert float(plain.moved) == 0
    assert float(out.defocus.min()) == 0
    np.testing.assert_allclose(out.defocus, jnp.maximum(plain.defocus - out.moved, 0), atol=EXACT)
    assert float(lifted(image, clip=False).moved) == 0
    assert float(lifted(image, disparity=ramp()).moved) == 0


@pytest.mark.slow
@pytest.mark.optimised
def test_a_map_with_something_in_focus_stays_as_it_is(tiny):
    low = with_head(tiny, 1.0, -5.0)
    image = picture()
    assert float(low(image).moved) == 0
    np.testing.assert_array_equal(low(image).bokeh, low(image, always_sharp=False).bokeh)


def test_refocus_moves_the_sharp_plane(tiny):
    """The network's own map gives the values to focus on."""
    image = picture()
    plain = tiny(image)
    focus = float(plain.defocus[10, 20])
    moved = tiny(image, focus=focus)
    np.testing.assert_allclose(moved.defocus, jnp.abs(plain.defocus - focus), atol=EXACT)
    assert float(moved.defocus[10, 20]) < 1e-6


@pytest.mark.parametrize("focus", [7.0, 1.05, -0.1])
def test_a_focus_that_the_networks_map_cannot_have_is_refused(tiny, focus):
    with pytest.raises(ValueError, match="a value of the network's map, from 0 to 1, got"):
        tiny(picture(), focus=focus)


def test_disparity_takes_the_place_of_the_network(tiny):
    image, disparity = picture(), 3 + 5 * ramp()
    out = tiny(image, disparity=disparity, focus=8.0)
    expected = 1 - ramp(64, 128)
    np.testing.assert_allclose(out.defocus, expected, atol=0.02)
    nearest = tiny(image, disparity=disparity)
    np.testing.assert_allclose(nearest.defocus, out.defocus, atol=EXACT)
    # Any affine scale is the same map.
    scaled = tiny(image, disparity=10 * disparity - 7, focus=73.0)
    np.testing.assert_allclose(scaled.bokeh, out.bokeh, atol=1e-4)


def test_blur_scales_the_kernels(tiny):
    image = picture()
    none = tiny(image, blur=0.0)
    small = jax.image.resize(image, (64, 128, 3), "bilinear", antialias=False)
    np.testing.assert_allclose(none.rendered, small, atol=1e-4)
    out = tiny(image)
    bank = jnp.asarray(kernels.kernel_bank(tiny.config.sizes, blur=1.3))
    expected = render.weighted_layered_render(small, out.weight, out.defocus, kernels=bank)
    np.testing.assert_allclose(tiny(image, blur=1.3).rendered, expected, atol=1e-4)


@pytest.mark.slow
def test_gradients_reach_every_network(tiny):
    image = picture(64, 64)
    bank = jnp.asarray(kernels.kernel_bank(tiny.config.sizes))

    def loss(params, image, **options):
        out = pipeline.apply(tiny.config, params, image, kernels=bank, **options)
        return (out.bokeh**2).mean()

    gradients, shift = jax.jit(jax.grad(loss, argnums=(0, 1)))(tiny.params, image)
    pieces = jax.jit(jax.grad(functools.partial(loss, strip=40, tile=48), argnums=(0, 1)))
    for ours, expected in zip(
        jax.tree.leaves(pieces(tiny.params, image)),
        jax.tree.leaves((gradients, shift)),
        strict=True,
    ):
        difference = np.linalg.norm(np.ravel(ours - expected))
        assert difference < 1e-3 * np.linalg.norm(np.ravel(expected)) + 1e-7
    for network in gradients:
        norms = [float(jnp.linalg.norm(x)) for x in jax.tree.leaves(network["params"])]
        assert np.isfinite(norms).all()
        assert max(norms) > 0


def test_half_precision_networks_stay_close(tiny):
    half = pipeline.D2F(architectures.with_precision(tiny.config, jnp.bfloat16), tiny.params, {})
    image = picture()
    assert half(image).bokeh.dtype == jnp.float32
    np.testing.assert_allclose(half(image).bokeh, tiny(image).bokeh, atol=0.1)


@pytest.mark.parametrize("parts", [("defocus", "radiance", "fusion"), ("defocus", "radiance")])
def test_save_and_load(tmp_path, monkeypatch, tiny, parts):
    monkeypatch.setitem(architectures.ARCHITECTURES, "tiny", tiny.config)
    tree = {name: getattr(tiny.params, name) for name in parts}
    path = tmp_path / "tiny.safetensors"
    weights.save(path, tree, architecture="tiny", source="made", licence="CC0-1.0")
    loaded = pipeline.load(path)
    assert loaded.metadata["source"] == "made"
    assert (loaded.params.fusion is None) == ("fusion" not in parts)
    np.testing.assert_allclose(loaded(picture()).rendered, tiny(picture()).rendered, atol=EXACT)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"blur": 0.6},
        {"focus": 0.4},
        {"disparity": True, "focus": 0.3},
        {"always_sharp": False},
        {"clip": False},
    ],
)
def test_pictures_on_canvases_are_as_compiled_for_their_size(lite, options):
    if "disparity" in options:
        options = options | {"disparity": np.asarray(ramp(140, 90))}
    image = np.asarray(picture(137, 210))
    for d2f in lite:
        on_host, on_device = d2f(image, **options), d2f(jnp.asarray(image), **options)
        large = d2f(image, **options, canvas=(300, 260))
        for name in pipeline.D2FOutput._fields:
            ours, theirs, wide = (getattr(o, name) for o in (on_host, on_device, large))
            assert ours.shape == theirs.shape == wide.shape, name
            np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=name)
            np.testing.assert_allclose(wide, theirs, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(d2f.defocus(image), d2f.defocus(jnp.asarray(image)), atol=1e-5)
        np.testing.assert_allclose(d2f.glance(image), d2f.glance(jnp.asarray(image)), atol=1e-5)


def test_what_the_network_has_nearly_in_focus_stays_as_it_was(lite):
    """A map that is given is taken at its word instead."""
    d2f, _ = lite
    image, size = picture(128, 192), (128, 192)
    assert 0 < d2f.config.sharp < d2f.config.theta / 2
    for options, sharp in (({}, d2f.config.sharp), ({"disparity": ramp(), "focus": 0.5}, 0.0)):
        out = d2f(image, **options)
        shown = resize.bilinear(out.defocus[..., None], size)[..., 0]
        mask = fusion.naive_mask(shown, d2f.config.theta, sharp=sharp)
        np.testing.assert_allclose(out.fusion_mask, mask, atol=1e-5)
        assert bool(((shown > 0.01) & (shown < d2f.config.sharp)).any())


def test_what_is_sharp_ends_before_what_is_not_begins():
    config = architectures.named("d2f-lite")
    for options in ({"sharp": 0.4}, {"sharp": -0.1}, {"theta": 0.05}):
        with pytest.raises(ValueError, match="sharp is from 0 to below theta, got"):
            dataclasses.replace(config, **options)


def test_outlines_are_made_of_a_second_look_and_can_be_left_out(lite):
    d2f, _ = lite
    without = dataclasses.replace(d2f.config, outline_side=None, ground=0.0)
    plain = pipeline.D2F(without, d2f.params, {})
    assert d2f.config.outline_net.last == 1
    image = np.asarray(picture(137, 210))
    seen = resize.bilinear(image, pipeline.working_size(137, 210))
    raw = np.clip(imagination._raw_on_host(plain.config, plain.params, seen), 0, 1)
    lowered = np.maximum(raw - np.quantile(raw, 0.005, method="lower"), 0)
    expected = resize.bilinear(lowered[..., None], (64, 128))[..., 0]
    np.testing.assert_allclose(plain.defocus(image), expected, atol=EXACT)
    assert float(jnp.abs(d2f.defocus(image) - plain.defocus(image)).max()) > 0.01


@pytest.mark.slow
def test_sizes_and_shapes_share_what_is_compiled(lite):
    d2f, _ = lite
    for height, width in ((150, 200), (200, 150), (250, 240)):
        d2f(np.asarray(picture(height, width)), canvas=(256, 256), blur=0.16)
    rest = pipeline._jitted_rest._cache_size()
    shared = (imagination._raw, imagination._joined, imagination._followed)
    networks = [function._cache_size() for function in shared]
    for height, width in ((133, 199), (256, 144), (240, 250)):
        image = np.asarray(picture(height, width))
        for blur in (0.16, 0.1):
            d2f(image, canvas=(256, 256), blur=blur)
        d2f.glance(image)
    assert pipeline._jitted_rest._cache_size() == rest
    assert [function._cache_size() for function in shared] == networks


@pytest.mark.slow
def test_threads_get_what_one_gets(lite):
    d2f, _ = lite
    images = [np.asarray(picture(150, 200 + number, seed=number)) for number in range(8)]
    alone = [d2f(image, canvas=(256, 256), blur=0.16).bokeh for image in images]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda x: d2f(x, canvas=(256, 256), blur=0.16).bokeh, images))
    for ours, theirs in zip(together, alone, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_load_refuses_what_does_not_fit(tmp_path, monkeypatch, tiny):
    path = tmp_path / "w.safetensors"
    header = {"source": "made", "licence": "CC0-1.0"}
    weights.save(path, tiny.params._asdict(), architecture="d2f-unheard-of", **header)
    with pytest.raises(ValueError, match=r"w.safetensors: weights for 'd2f-unheard-of'"):
        pipeline.load(path)
    weights.save(path, tiny.params._asdict(), architecture="d2f-resnext50", **header)
    with pytest.raises(ValueError, match="arrays do not fit"):
        pipeline.load(path)
    with pytest.raises(ValueError, match="no such weights file"):
        pipeline.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (jnp.zeros((63, 100, 3)), {}, "at least 64 pixels"),
        (jnp.zeros((1, 1, 3)), {}, "at least 64 pixels"),
        (jnp.zeros((100, 100)), {}, "h w 3"),
        (jnp.full((100, 100, 3), 200.0), {}, "divide 8-bit values by 255"),
        (jnp.full((100, 100, 3), jnp.nan), {}, "NaN"),
        (jnp.zeros((100, 100, 3)), {"blur": -1.0}, "factor of 0 or more"),
        (
            jnp.zeros((100, 100, 3)),
            {"blur": 12.0},
            r"blur=12 needs kernels larger than the picture of 100x100 pixels; \S+ is the most",
        ),
        (jnp.zeros((100, 100, 3)), {"focus": float("nan")}, "finite"),
        (jnp.zeros((100, 100, 3)), {"disparity": jnp.full((9, 9), jnp.inf)}, "fill them"),
        (jnp.zeros((100, 100, 3)), {"disparity": jnp.zeros((9, 9, 1))}, "disparity must be"),
    ],
)
def test_bad_input_is_one_clear_line(tiny, image, options, message):
    call = pipeline.D2F.__call__
    with pytest.raises(ValueError, match=message) as caught:
        getattr(call, "__wrapped__", call)(tiny, image, **options)
    assert "\n" not in str(caught.value)
