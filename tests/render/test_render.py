import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax import render
from d2f_jax.render import convolution, kernels, layered
from tests.conftest import load_golden
from tests.tolerances import BFLOAT16, EXACT, GOLDEN_GRADIENT, GOLDEN_RENDER, TWIN

SMALL = jnp.asarray(kernels.kernel_bank((1, 3, 5, 9)))
ORDERS = ["released", "printed", "depth"]
BATCHES = [None, 1, 2, 3]


def scene(height=24, width=31, batch=(), seed=0, channels=3):
    keys = jax.random.split(jax.random.key(seed), 3)
    return (
        jax.random.uniform(keys[0], (*batch, height, width, 3)),
        0.1 + jax.random.uniform(keys[1], (*batch, height, width, channels)),
        jax.random.uniform(keys[2], (*batch, height, width)),
    )


def test_spectra_are_kept_for_the_next_call_and_change_nothing(monkeypatch):
    """Of a bank on the host, unless they are large or the pictures are traced."""
    image, weight, defocus = scene()
    bank = np.asarray(SMALL)
    layered._spectra.cache_clear()
    kept = [render.weighted_layered_render(image, weight, defocus, kernels=bank) for _ in range(2)]
    assert layered._spectra.cache_info()[:2] == (1, 1)  # hits, misses
    monkeypatch.setattr(layered, "_KEPT", 0)
    other = render.weighted_layered_render(image, weight, defocus, kernels=bank)
    traced = jax.jit(lambda x: render.weighted_layered_render(x, weight, defocus, kernels=bank))
    on_device = render.weighted_layered_render(image, weight, defocus, kernels=SMALL)
    for result in (kept[1], other, traced(image), on_device):
        np.testing.assert_allclose(result, kept[0], atol=EXACT)
    assert layered._spectra.cache_info()[:2] == (1, 1)


def layered_reference(image, defocus, bank, order="released", sharpness=100.0, padding="reflect"):
    """Eqs. 6-9 as a plain loop with direct convolutions; `order` as in `layered_render`."""
    steps = len(bank) - 1
    if order == "depth":  # far to near
        layers = [(-i / steps, bank[i]) for i in range(steps, 0, -1)]
        layers += [(i / steps, bank[i]) for i in range(steps + 1)]
    else:
        layers = [(i / steps, bank[i]) for i in range(steps, -1, -1)]  # most blurred first
        if order == "printed":
            layers = layers[::-1]
    image = jnp.moveaxis(image, -1, 0)
    total, covered = jnp.zeros_like(image), jnp.zeros_like(image[:1])
    for centre, kernel in layers:
        half_width = (0.5 if order == "depth" else 1.0) / steps
        mask = 0.5 + 0.5 * jnp.tanh(sharpness * (half_width - jnp.abs(defocus - centre)))[None]
        blurred = convolution.convolve_reference(mask * image, kernel, padding=padding)
        soft = convolution.convolve_reference(mask, kernel, padding=padding)
        cover = mask if order == "printed" else soft
        total = total * (1 - cover) + blurred
        covered = covered * (1 - cover) + soft
    return jnp.moveaxis(total / (covered + 1e-10), 0, -1)


@pytest.mark.optimised
@pytest.mark.parametrize("case", [0, 1, 2])
@pytest.mark.parametrize("layer_batch", [None, 4])
def test_equals_the_released_renderer(case, layer_batch):
    golden = {name: jnp.asarray(x) for name, x in load_golden(f"render_{case}.npz").items()}
    image, weight, defocus = golden["image"], golden["weight"], golden["defocus"]
    for source, expected in (
        (image, "layered_image"),
        (weight * image, "layered_weighted"),
        (weight, "layered_weight"),
    ):
        ours = render.layered_render(source, defocus, layer_batch=layer_batch)
        np.testing.assert_allclose(ours, golden[expected], atol=GOLDEN_RENDER)
    ours = render.weighted_layered_render(image, weight, defocus, layer_batch=layer_batch)
    np.testing.assert_allclose(ours, golden["bokeh"], atol=GOLDEN_RENDER)


@pytest.mark.optimised
@pytest.mark.parametrize("case", [0, 1, 2])
@pytest.mark.parametrize("layer_batch", [None, 4])
@pytest.mark.parametrize("outer_jit", [False, True])
def test_gradients_equal_the_released_renderer(case, layer_batch, outer_jit):
    """Both ways of calling matter: XLA:CPU has given wrong gradients for one of them only."""
    golden = {name: jnp.asarray(x) for name, x in load_golden(f"render_{case}.npz").items()}

    def loss(image, weight, defocus):
        bokeh = render.weighted_layered_render(image, weight, defocus, layer_batch=layer_batch)
        return (golden["probe"] * bokeh).sum()

    gradient = jax.grad(loss, argnums=(0, 1, 2))
    gradient = jax.jit(gradient) if outer_jit else gradient
    ours = gradient(golden["image"], golden["weight"], golden["defocus"])
    for ours_one, name in zip(ours, ("image", "weight", "defocus"), strict=True):
        expected = golden[f"grad_{name}"]
        error = jnp.linalg.norm(ours_one - expected) / jnp.linalg.norm(expected)
        assert error < GOLDEN_GRADIENT, name


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("padding", ["reflect", "edge", "zero"])
@pytest.mark.parametrize("size", [(17, 23), (16, 40)])
def test_equals_the_plain_loop(order, padding, size):
    image, weight, defocus = scene(*size)
    defocus = 2 * defocus - 1 if order == "depth" else defocus
    expected = layered_reference(image, defocus, SMALL, order, padding=padding)
    ours = render.layered_render(image, defocus, kernels=SMALL, order=order, padding=padding)
    np.testing.assert_allclose(ours, expected, atol=TWIN)
    upper = layered_reference(weight * image, defocus, SMALL, order, padding=padding)
    lower = layered_reference(weight, defocus, SMALL, order, padding=padding)
    ours = render.weighted_layered_render(
        image, weight, defocus, kernels=SMALL, order=order, padding=padding
    )
    np.testing.assert_allclose(ours, upper / lower, atol=TWIN)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("layer_batch", BATCHES)
def test_chunks_of_layers_change_nothing(order, layer_batch):
    image, weight, defocus = scene()
    defocus = 2 * defocus - 1 if order == "depth" else defocus
    options = {"kernels": SMALL, "order": order}
    whole = render.weighted_layered_render(image, weight, defocus, **options)
    parts = render.weighted_layered_render(
        image, weight, defocus, layer_batch=layer_batch, **options
    )
    np.testing.assert_allclose(parts, whole, atol=EXACT)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("tile", "padding"), [(7, "edge"), (16, "zero"), (30, "reflect")])
def test_tiles_change_nothing(order, tile, padding):
    image, weight, defocus = scene(batch=(2,))
    defocus = 2 * defocus - 1 if order == "depth" else defocus
    options = {"kernels": SMALL, "order": order, "padding": padding}
    whole = render.weighted_layered_render(image, weight, defocus, **options)
    tiled = render.weighted_layered_render(image, weight, defocus, tile=tile, **options)
    np.testing.assert_allclose(tiled, whole, atol=TWIN)


def test_one_bright_pixel_opens_into_a_disc():
    """A highlight of weight w over a background of weight 1 is a ratio that can be written down."""
    image = jnp.full((41, 41, 3), 0.2).at[20, 20].set(1.0)
    weight = jnp.ones((41, 41, 1)).at[20, 20].set(50.0)
    # Two layers at 0 and 1, each 1 wide to both sides: 1.5 lies in the second alone.
    bank = jnp.asarray(kernels.kernel_bank((1, 15)))
    bokeh = render.weighted_layered_render(image, weight, jnp.full((41, 41), 1.5), kernels=bank)
    spread = np.zeros((41, 41))
    spread[13:28, 13:28] = kernels.soft_disk(15)
    expected = (0.2 * (1 - spread) + 50 * spread) / ((1 - spread) + 50 * spread)
    np.testing.assert_allclose(bokeh[..., 0], expected, atol=TWIN)


def test_in_focus_is_untouched_and_flat_stays_flat():
    image, weight, defocus = scene()
    sharp = render.weighted_layered_render(image, weight, jnp.zeros_like(defocus), kernels=SMALL)
    np.testing.assert_allclose(sharp, image, atol=EXACT)
    flat = jnp.broadcast_to(jnp.array([0.1, 0.5, 0.9]), image.shape)
    np.testing.assert_allclose(
        render.weighted_layered_render(flat, weight, defocus, kernels=SMALL), flat, atol=TWIN
    )


def test_energy_of_a_uniform_blur_is_kept():
    image, _, _ = scene(60, 60)
    image = image * jnp.pad(jnp.ones((30, 30, 1)), ((15, 15), (15, 15), (0, 0)))
    blurred = render.layered_render(image, jnp.ones((60, 60)), kernels=SMALL, padding="zero")
    np.testing.assert_allclose(blurred.sum(), image.sum(), rtol=1e-5)


@pytest.mark.optimised
def test_printed_order_bleeds_and_released_order_does_not():
    """Errata e: as printed, the blurred side darkens or bleeds into the sharp one."""
    image = jnp.zeros((60, 90, 3)).at[:, 45:].set(1.0)
    defocus = jnp.zeros((60, 90)).at[:, 45:].set(1.0)
    bank = jnp.asarray(kernels.kernel_bank((1, 9, 29)))
    sharp_side = (slice(None), slice(20, 40))
    released = render.layered_render(image, defocus, kernels=bank)[sharp_side]
    printed = render.layered_render(image, defocus, kernels=bank, order="printed")[sharp_side]
    assert released.max() < 1e-4
    assert printed.max() > 0.1


def test_near_blur_covers_the_sharp_background_in_depth_order():
    """A white near object out of focus melts over a black sharp background (Sec. 4.5)."""
    image = jnp.zeros((60, 90, 3)).at[:, :45].set(1.0)
    signed = jnp.zeros((60, 90)).at[:, :45].set(1.0)
    bank = jnp.asarray(kernels.kernel_bank((1, 9, 29)))
    bokeh = render.layered_render(image, signed, kernels=bank, order="depth")[30, :, 0]
    assert 0.2 < bokeh[48] < 0.8
    assert bokeh[70] < 1e-4
    behind = render.layered_render(image, jnp.abs(signed), kernels=bank)[30, :, 0]
    assert behind[48] < 1e-3  # the released order keeps the sharp side in front


def test_depth_order_keeps_what_is_in_focus_sharp():
    image, weight, _ = scene(90, 120)
    sharp = render.weighted_layered_render(image, weight, jnp.zeros((90, 120)), order="depth")
    np.testing.assert_allclose(sharp, image, atol=1 / 255)


def test_outside_of_all_layers_is_black_and_finite():
    image, weight, defocus = scene()
    lost = jnp.full_like(defocus, 3.0)
    for bokeh in (
        render.layered_render(image, lost, kernels=SMALL),
        render.weighted_layered_render(image, weight, lost, kernels=SMALL),
        render.weighted_layered_render(image, jnp.zeros_like(weight), defocus, kernels=SMALL),
    ):
        chex.assert_tree_all_finite(bokeh)
        np.testing.assert_allclose(bokeh, 0, atol=1e-4)


def test_a_map_that_leaves_all_layers_leaves_no_noise():
    """From 1.2 on no layer is active; transforms leave a millionth there, which was divided."""
    image, weight, _ = scene()
    rising = jnp.broadcast_to(jnp.linspace(0.0, 5.0, image.shape[1]), image.shape[:2])
    for bokeh in (
        render.layered_render(image, rising, kernels=SMALL),
        render.weighted_layered_render(image, weight, rising, kernels=SMALL),
    ):
        assert float(bokeh.min()) > -1e-3
        assert float(bokeh.max()) < 1.001
        assert float(jnp.abs(jnp.where((rising > 2.5)[..., None], bokeh, 0)).max()) == 0


def test_gradients_are_finite_where_nothing_arrives():
    image, weight, defocus = scene()

    def loss(image, weight, defocus):
        return render.weighted_layered_render(image, weight, defocus, kernels=SMALL).sum()

    for w, d in ((jnp.zeros_like(weight), defocus), (weight, jnp.full_like(defocus, 3.0))):
        chex.assert_tree_all_finite(jax.grad(loss, argnums=(0, 1, 2))(image, w, d))


def test_leading_axes_vmap_and_grey_weights():
    image, weight, defocus = scene(batch=(2, 3), channels=1)
    batched = render.weighted_layered_render(image, weight, defocus, kernels=SMALL)
    one = render.weighted_layered_render(image[1, 2], weight[1, 2], defocus[1, 2], kernels=SMALL)
    np.testing.assert_allclose(batched[1, 2], one, atol=EXACT)
    broad = jnp.broadcast_to(weight, image.shape)
    np.testing.assert_allclose(
        render.weighted_layered_render(image, broad, defocus, kernels=SMALL), batched, atol=TWIN
    )
    mapped = jax.vmap(jax.vmap(lambda *a: render.weighted_layered_render(*a, kernels=SMALL)))
    np.testing.assert_allclose(mapped(image, weight, defocus), batched, atol=EXACT)


def test_gradient_with_respect_to_kernels_and_sharpness():
    image, weight, defocus = scene()

    def loss(bank, sharpness):
        bokeh = render.weighted_layered_render(
            image, weight, defocus, kernels=jnp.asarray(bank), sharpness=jnp.asarray(sharpness)
        )
        return (bokeh**2).sum()

    chex.assert_numerical_grads(loss, (SMALL, jnp.asarray(30.0)), order=1, atol=0.02, rtol=0.02)


def test_bfloat16_in_bfloat16_out():
    image, weight, defocus = scene()
    full = render.weighted_layered_render(image, weight, defocus, kernels=SMALL)
    half = render.weighted_layered_render(
        image.astype(jnp.bfloat16), weight.astype(jnp.bfloat16), defocus, kernels=SMALL
    )
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), full, atol=BFLOAT16)


def test_traced_once_per_shape():
    image, weight, defocus = scene(20, 26)
    before = layered._weighted_layered_render._cache_size()
    for factor in (1.0, 0.5):
        render.weighted_layered_render(image * factor, weight, defocus * factor, kernels=SMALL)
    assert layered._weighted_layered_render._cache_size() == before + 1


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (((20, 20, 4), (20, 20)), {}, "channels last"),
        (((3, 20, 20), (20, 20)), {}, "channels last"),
        (((20, 20, 3), (20, 21)), {}, "defocus must be"),
        (((20, 20, 3), (20, 20, 1)), {}, "defocus must be"),
        (((20, 20, 3), (20, 20)), {"kernels": jnp.ones((3, 4, 4))}, "k odd"),
        (((20, 20, 3), (20, 20)), {"kernels": None}, "too small for kernels of radius 34"),
        (((20, 20, 3), (20, 20)), {"layer_batch": 0}, "at least 1"),
    ],
)
def test_wrong_shapes_are_refused(arguments, options, message):
    options = {"kernels": SMALL, **options}
    bare = render.layered_render.__wrapped__  # without the type checks of the tests
    with pytest.raises(ValueError, match=message):
        bare(*(jnp.zeros(shape) for shape in arguments), **options)


def test_wrong_weight_and_order_are_refused():
    image, weight, defocus = scene()
    bare = render.weighted_layered_render.__wrapped__
    with pytest.raises(ValueError, match="weight must be"):
        bare(image, weight[..., :2], defocus, kernels=SMALL)
    with pytest.raises(ValueError, match="released, printed, depth"):
        bare(image, weight, defocus, kernels=SMALL, order="near")


def test_importing_the_renderer_brings_in_jax_numpy_and_jaxtyping_only():
    program = (
        "import sys; import jax, numpy, jaxtyping; before = set(sys.modules); "
        "import d2f_jax.render; "
        "print(sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    loaded = set(eval(result.stdout)) - {"jax", "jaxlib", "numpy", "jaxtyping"}
    assert {name for name in loaded if name not in sys.stdlib_module_names} == {"d2f_jax"}
