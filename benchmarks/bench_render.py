"""Times the renderer: weight, image and map to bokeh with the paper's fifteen kernels.

Forward and forward with backward (gradients of image, weight and defocus) against PyTorch at
512x768, the working size of a 1024x1536 photo; and ours alone from 0.25 to 24 megapixels, for the
cost per pixel.
"""

import argparse
import functools
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import common, inputs, official, torch_baseline  # isort: skip  (common before jax)

import jax
import torch

from d2f_jax import budget, render
from d2f_jax.models import architectures
from d2f_jax.render import kernels

MEGAPIXELS = (0.25, 1, 4, 12, 24)


def main(options: argparse.Namespace) -> Path:
    """Measures and writes the results file."""
    common.equal_footing()
    size = (256, 384) if options.quick else (512, 768)
    rows = [forward(size, options), backward(size, options)]
    rows += [per_pixel(size, options) for size in MEGAPIXELS if size <= 1 or not options.quick]
    return common.save("render", options, rows)


def forward(size: tuple[int, int], options: argparse.Namespace) -> dict:
    """Rendering alone."""
    scene = _scene(*size)
    contenders = [common.ours(renderer, *scene, view=lambda x: {"bokeh": x})]
    contenders += [
        common.theirs(name, call, *map(common.to_torch, scene), view=_view_bokeh)
        for name, call in _torch_renderers(options).items()
    ]
    return common.measure(
        f"render, {size[0]}x{size[1]}",
        contenders,
        tolerance=2e-5,
        repetitions=common.rounds(options),
    )


def backward(size: tuple[int, int], options: argparse.Namespace) -> dict:
    """Rendering and the gradients of a weighted sum of the result."""
    scene = _scene(*size)
    probe = inputs.photograph(*size, seed=3) - 0.5

    def loss(image: jax.Array, weight: jax.Array, defocus: jax.Array) -> jax.Array:
        return (probe * renderer(image, weight, defocus)).sum()

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
    names = ("image", "weight", "defocus")
    contenders = [common.ours(gradient, *scene, view=lambda x: dict(zip(names, x[1], strict=True)))]
    for name, call in _torch_renderers(options).items():
        step = functools.partial(_torch_gradient, call, common.to_torch(probe))
        contenders.append(
            common.theirs(
                name,
                step,
                *map(common.to_torch, scene),
                view=lambda x: {n: common.from_torch(g) for n, g in zip(names, x, strict=True)},
                training=True,
            )
        )
    return common.measure(
        f"render and gradients, {size[0]}x{size[1]}",
        contenders,
        tolerance=1e-4,
        repetitions=min(5, common.rounds(options)),
    )


def per_pixel(megapixels: float, options: argparse.Namespace) -> dict:
    """Ours alone at one size of 3:2, in the tiles that the pipeline would take."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    size = height, round(1.5 * height)
    row = common.measure(
        f"render, {megapixels} megapixels",
        [common.ours(renderer, *_scene(*size), view=lambda x: {})],
        tolerance=0.0,
        repetitions=3 if megapixels > 4 else common.rounds(options),
    )
    return row | {"pixels": size[0] * size[1]}


def renderer(image: jax.Array, weight: jax.Array, defocus: jax.Array) -> jax.Array:
    """Ours, with the tiles and the layers at a time that the pipeline takes for this size."""
    sizes = kernels.PAPER_SIZES
    pieces = budget.rendering(defocus.shape, sizes[-1] // 2, len(sizes))
    return render.weighted_layered_render(image, weight, defocus, **pieces._asdict())


def _scene(height: int, width: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    return (
        inputs.photograph(height, width),
        inputs.weight_map(height, width),
        inputs.defocus_map(height, width),
    )


def _torch_renderers(options: argparse.Namespace) -> dict[str, Callable[..., torch.Tensor]]:
    place = common.torch_device()
    if place is None:
        return {}
    renderers: dict[str, Callable[..., torch.Tensor]] = {
        common.TORCH: torch_baseline.DirectRenderer().to(place),
        common.STRONG: torch_baseline.FastRenderer().to(place),
    }
    if options.official:
        config = architectures.D2FConfig()
        params = architectures.init(config, jax.random.key(0))
        checkout = official.load(options.official, params._asdict())
        renderers[common.OFFICIAL] = checkout.render
    return renderers


def _torch_gradient(renderer, probe: torch.Tensor, *scene: torch.Tensor):
    scene = tuple(tensor.clone().requires_grad_() for tensor in scene)
    return torch.autograd.grad((probe * renderer(*scene)).sum(), scene)


def _view_bokeh(bokeh: torch.Tensor) -> dict:
    return {"bokeh": common.from_torch(bokeh)}


if __name__ == "__main__":
    sys.exit(common.run(main, __doc__))
