"""One rule for the pictures that public functions take: types, ranges, precision."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from d2f_jax import render
from d2f_jax.render import arrays, kernels
from tests.tolerances import EXACT

BANK = kernels.kernel_bank((1, 3, 5))
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
MAP = jnp.broadcast_to(jnp.linspace(0, 1, 64), (48, 64))


def through(name, image, map_=MAP, **options):
    if name == "lens_blur":
        return render.lens_blur(image, map_, **{"focus": 0.2, "blur": 4.0, **options})
    if name == "layered_render":
        return render.layered_render(image, map_, kernels=BANK, **options)
    weight = jnp.ones((48, 64, 1))
    return render.weighted_layered_render(image, weight, map_, kernels=BANK, **options)


NAMES = ["lens_blur", "layered_render", "weighted_layered_render"]


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.uint16])
@pytest.mark.parametrize("name", NAMES)
def test_integers_count_by_their_range_and_come_back(name, dtype):
    top = jnp.iinfo(dtype).max
    whole = jnp.asarray(IMAGE.astype(np.int64) * (top // 255), dtype)
    floating = through(name, jnp.asarray(IMAGE / np.float32(255)))
    out = through(name, whole)
    assert out.dtype == dtype
    assert float(floating.std()) > 0.01
    np.testing.assert_allclose(out / np.float32(top), floating, atol=0.5 / top + EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_other_scales_and_no_numbers_are_refused(name):
    for image, message in (
        (jnp.full((48, 64, 3), 255.0), "image reaches from 255 to 255.*divide 8-bit values by 255"),
        (jnp.full((48, 64, 3), jnp.nan), "image must be finite"),
        (jnp.full((48, 64, 3), -2.0), "image reaches from -2"),
        (jnp.zeros((48, 64, 3), jnp.int32), "floating point or unsigned integers, got int32"),
        (jnp.zeros((48, 64, 3), bool), "floating point or unsigned integers, got bool"),
    ):
        with pytest.raises(ValueError, match=message):
            through(name, image)
    with pytest.raises(ValueError, match="must be finite"):
        through(name, jnp.zeros((48, 64, 3)), MAP.at[3, 3].set(jnp.inf))


def test_under_jit_values_are_not_looked_at_but_constants_are():
    outside = jax.jit(lambda image: through("layered_render", image))
    assert outside(jnp.full((48, 64, 3), 255.0)).shape == (48, 64, 3)
    constant = jnp.full((48, 64, 3), 255.0)
    with pytest.raises(ValueError, match="divide 8-bit values"):
        jax.jit(lambda map_: through("layered_render", constant, map_))(MAP)


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(ValueError, match=r"image has no pixels, got shape \(0, 5, 3\)"):
        arrays.check_picture(jnp.zeros((0, 5, 3)), jnp.zeros((0, 5)), "defocus")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blur": -1.0}, "blur reaches from -1 to -1.*a radius is 0 or more"),
        ({"focus": float("nan")}, "focus must be finite"),
        ({"blur": 1000.0}, r"a blur of 800 px radius is wider than the picture \(64x48\)"),
        ({"aperture": "hexagon"}, r"aperture is None or a function such as kernels.Polygon"),
        ({"highlights": True}, r"highlights is None or a function such as highlights.Contrast"),
    ],
)
def test_what_no_lens_does_is_refused(options, message):
    bare = render.lens_blur.__wrapped__  # without the type checks of the tests
    with pytest.raises(ValueError, match=message):
        bare(jnp.zeros((48, 64, 3)), MAP, **{"focus": 0.2, "blur": 4.0, **options})


PRECISIONS = """
import jax, jax.numpy as jnp, numpy as np
from d2f_jax import render
from d2f_jax.render import kernels
assert jax.config.jax_enable_x64
bank = kernels.kernel_bank((1, 3, 5))
picture = np.random.default_rng(0).uniform(0, 1, (32, 40, 3))
ramp = np.broadcast_to(np.linspace(0, 1, 40), (32, 40))
for dtype in ("float64", "float32", "float16", "bfloat16"):
    image, map_ = jnp.asarray(picture, dtype), jnp.asarray(ramp, dtype)
    outs = [
        render.layered_render(image, map_, kernels=bank),
        render.weighted_layered_render(image, jnp.ones_like(image), map_, kernels=bank),
        render.lens_blur(image, map_, focus=0.2, blur=3.0),
        render.lens_blur(image.at[16, 30].set(100.0), map_, focus=0.2, blur=20.0,
                         encoding="linear", cat_eye=0.5, aperture=kernels.Polygon(blades=6)),
    ]
    for out in outs:
        assert out.dtype == dtype, (dtype, out.dtype)
    if dtype == "float64":
        exact = outs
    tolerance = 1e-4 if dtype == "float32" else 0.05
    for out, truth in zip(outs, exact):
        assert np.abs(np.asarray(out, float) - np.asarray(truth)).max() < tolerance
"""


@pytest.mark.slow
def test_every_precision_runs_where_64_bits_are_enabled():
    done = subprocess.run(
        [sys.executable, "-c", PRECISIONS],
        env=os.environ | {"JAX_ENABLE_X64": "1", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
