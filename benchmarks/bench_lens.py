"""Times `render.lens_blur` beside the classical ways to blur by depth: scatter and planes.

Forward from 0.5 to 24 megapixels, forward with backward at 0.5, and ours alone while the focus
moves; folders have `bench_folder`. All take linear light and a smooth map that fills every radius
on both sides of the focus.

The peers (`torch_lens`) are other methods, whose pictures are not ours: each is compared with its
plain twin in `peers` before anything is timed, and the mean PSNR of every method against
path-traced light (`bench_ground_truth`, 8-bit input) is written beside the times. Backward is of
picture and map for ours, of picture and radii for scatter, of the picture alone for planes, whose
masks are steps. A peer whose call would take more than five minutes, by its pace at the size
before, is left out, and the row says so.
"""

import argparse
import functools
import itertools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import common, inputs, peers, torch_lens  # isort: skip  (common before jax)

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import bench_ground_truth
from d2f_jax import budget, render

SCATTER = "torch, scatter"
PLANES = "torch, planes"
METHODS = {
    common.OURS: "8 bit: lens_blur",
    SCATTER: "8 bit: scatter",
    PLANES: "8 bit: multiplane",
}
"""What `bench_ground_truth` calls them."""

TOLERANCE = 1e-4
LARGE = 2.0
"""Megapixels above which a case is timed once, without a warm-up."""

LIMIT = 300.0
"""Seconds that a call of a peer may take."""


def main(options: argparse.Namespace) -> Path:
    """Measures and writes the results file."""
    common.equal_footing()
    sizes, radii = ((0.1,), (15,)) if options.quick else ((0.5, 2, 12, 24), (15, 30, 60))
    differences = compared()
    rows: list[dict[str, Any]] = []
    for megapixels, radius in itertools.product(sizes, radii):
        rows.append(forward(megapixels, radius, rows, options) | differences["forward"])
    for radius in radii[:2]:
        rows.append(gradients(sizes[0], radius, options) | differences["gradients"])
    rows.append(moved_focus(sizes[:2][-1], radii[-1], options))
    notes = [
        f"{row['case']}: {name} {reason}"
        for row in rows
        for name, reason in row.get("left_out", {}).items()
    ]
    return common.save("lens", options, rows, notes, psnr=quality(options))


def forward(
    megapixels: float,
    radius: float,
    before: Sequence[Mapping[str, Any]],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Blurring alone; `before` holds the rows of smaller sizes."""
    image, disparity = map(np.asarray, scene(megapixels))  # as the command has them
    contenders = [common.ours(ours, image, disparity, radius, view=_nothing)]
    left_out = {}
    for name, call in _peers().items():
        seconds = expected(name, radius, disparity.size, before)
        if seconds > LIMIT:
            left_out[name] = f"would take about {seconds / 60:.0f} min"
            continue
        arguments = map(common.to_torch, (image, coc_radius(disparity, radius)))
        contenders.append(common.theirs(name, call, *arguments, view=_nothing))
    row = common.measure(
        f"lens blur, {megapixels:g} megapixels, {radius:g} px",
        contenders,
        tolerance=None,
        repetitions=1 if megapixels > LARGE else min(3, common.rounds(options)),
        warm_up=megapixels <= LARGE,
    )
    return row | {"pixels": disparity.size, "radius": radius, "left_out": left_out}


def expected(name: str, radius: float, pixels: int, before: Sequence[Mapping[str, Any]]) -> float:
    """Seconds that a contender will take by its pace at the last size; 0 where it has none."""
    paces = [
        row["contenders"][name]["median_s"] / row["pixels"]
        for row in before
        if row["radius"] == radius and name in row["contenders"]
    ]
    return paces[-1] * pixels if paces else 0.0


def gradients(megapixels: float, radius: float, options: argparse.Namespace) -> dict[str, Any]:
    """Blurring and the gradients of a weighted sum of the result."""
    image, disparity = scene(megapixels)
    probe = _probe(disparity.shape)

    def loss(image: jax.Array, disparity: jax.Array) -> jax.Array:
        return (probe * ours(image, disparity, radius, max_radius=radius)).sum()

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    contenders = [common.ours(gradient, image, disparity, view=_nothing)]
    tensors = [common.to_torch(x) for x in (probe, image, coc_radius(disparity, radius))]
    for name, call in _peers().items():
        step = functools.partial(torch_gradients, name, call)
        contenders.append(common.theirs(name, step, *tensors, view=_nothing, training=True))
    row = common.measure(
        f"lens blur and gradients, {megapixels:g} megapixels, {radius:g} px",
        contenders,
        tolerance=None,
        repetitions=min(3, common.rounds(options)),
    )
    return row | {"pixels": disparity.size, "radius": radius, "gradients": True}


def moved_focus(megapixels: float, radius: float, options: argparse.Namespace) -> dict[str, Any]:
    """Ours alone: every call has a focus that none had before, and what is compiled is counted.

    The largest radius stays on its step of the ladder (4.3, 32, 128 px, ...); the first picture
    beyond it would be compiled once.
    """
    image, disparity = scene(megapixels)
    moves = itertools.count(1)
    compiled = []

    def count(event: str, *_: Any, **__: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    def move() -> jax.Array:
        return ours(image, disparity, radius, focus=0.5 + 0.01 * next(moves))

    jax.block_until_ready(ours(image, disparity, radius))
    jax.monitoring.register_event_duration_secs_listener(count)
    row = common.measure(
        f"lens blur, focus moved, {megapixels:g} megapixels, {radius:g} px",
        [common.ours(move, view=_nothing)],
        tolerance=None,
        repetitions=min(3, common.rounds(options)),
        warm_up=False,
    )
    return row | {"pixels": disparity.size, "radius": radius, "compiled": len(compiled)}


def quality(options: argparse.Namespace) -> dict[str, float]:
    """Mean PSNR against path-traced light, by contender [dB]."""
    samples = list(bench_ground_truth.read_suite(bench_ground_truth.SUITE))
    samples = samples[:1] if options.quick else samples
    means = {}
    for name, key in METHODS.items():
        method = bench_ground_truth.METHODS[key]
        scores = [bench_ground_truth.scores(method(sample), sample) for sample in samples]
        means[name] = float(np.mean([score["psnr"] for score in scores]))
    return means


def compared() -> dict[str, dict[str, Any]]:
    """Compares the PyTorch versions with `peers` on a small picture, forwards and gradients.

    Raises:
      ValueError: if one differs.
    """
    image, disparity = scene(0.03)
    radii = coc_radius(disparity, 6.0)
    probe = _probe(disparity.shape)
    tensors = [common.to_torch(x) for x in (probe, image, radii)]
    plain: dict[str, Callable] = {SCATTER: peers.scatter, PLANES: peers.multiplane}
    largest: dict[str, dict[str, float]] = {"forward": {}, "gradients": {}}
    for name, call in _peers().items():
        with torch.inference_mode():
            bokeh = common.from_torch(call(*tensors[1:]))
        views = {"peers": {"bokeh": plain[name](image, radii)}, name: {"bokeh": bokeh}}
        largest["forward"] |= common.compare("lens blur", views, TOLERANCE)
        found = torch_gradients(name, call, *tensors)
        views = {
            "peers": peer_gradients(name, probe, image, radii),
            name: {key: common.from_torch(value) for key, value in found.items()},
        }
        largest["gradients"] |= common.compare("lens blur, gradients", views, TOLERANCE)
    return {
        kind: {"tolerance": TOLERANCE, "largest_difference": differences}
        for kind, differences in largest.items()
    }


def ours(
    image: jax.Array, disparity: jax.Array, radius: float, *, focus: float = 0.5, **options: Any
) -> jax.Array:
    """Ours, in the tiles that the command takes for this size."""
    height, width = disparity.shape
    return render.lens_blur(
        image,
        disparity,
        focus=focus,
        blur=2.0 * radius,
        encoding="linear",
        tile=budget.lens_tile((height, width), float(radius)),
        **options,
    )


def torch_gradients(
    name: str,
    call: Callable[..., torch.Tensor],
    probe: torch.Tensor,
    image: torch.Tensor,
    radii: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """Gradients of a weighted sum: of the picture, and of the radii where a method has any."""
    image = image.clone().requires_grad_()
    radii = radii.clone().requires_grad_(name == SCATTER)
    wanted = {"image": image} | ({"radii": radii} if name == SCATTER else {})
    found = torch.autograd.grad((probe * call(image, radii)).sum(), list(wanted.values()))
    return dict(zip(wanted, found, strict=True))


def peer_gradients(
    name: str, probe: jax.Array, image: jax.Array, radii: jax.Array
) -> dict[str, jax.Array]:
    """The same of the plain twin."""
    if name == PLANES:
        return {"image": jax.grad(lambda x: (probe * peers.multiplane(x, radii)).sum())(image)}
    reach = math.ceil(float(jnp.abs(radii).max())) + 1
    scattered = functools.partial(peers.scatter, reach=reach)
    found = jax.grad(lambda x, r: (probe * scattered(x, r)).sum(), (0, 1))(image, radii)
    return dict(zip(("image", "radii"), found, strict=True))


def scene(megapixels: float) -> tuple[jax.Array, jax.Array]:
    """Linear light and disparity in [0, 1] at a size of 3:2."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    size = height, round(1.5 * height)
    return inputs.photograph(*size), inputs.defocus_map(*size)


def coc_radius(disparity: Any, radius: float) -> Any:
    """Signed radii up to `radius`, as `ours` makes them with its focus in the middle."""
    return radius * (2 * disparity - 1)


def _peers() -> dict[str, Callable[..., torch.Tensor]]:
    if common.torch_device() is None:
        return {}
    return {SCATTER: torch_lens.scatter, PLANES: torch_lens.multiplane}


def _probe(size: Sequence[int]) -> jax.Array:
    return jnp.asarray(inputs.photograph(size[0], size[1], seed=3) - 0.5)


def _nothing(_: Any) -> dict[str, Any]:
    return {}


if __name__ == "__main__":
    sys.exit(common.run(main, __doc__))
