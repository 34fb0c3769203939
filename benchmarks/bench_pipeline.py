"""Times a whole photo of 1024x1536 from picture to picture, and its parts.

The parts: defocus network and renderer at half size, fusion (network, resizing, blending) at full
size. All contenders run with the same random parameters. On a GPU the whole photo is also timed
with networks in bfloat16.
"""

import argparse
import copy
import functools
import sys
from pathlib import Path
from typing import Any

from benchmarks import common, inputs, official, torch_baseline  # isort: skip  (common before jax)

import jax
import jax.numpy as jnp
import torch

from benchmarks.bench_render import renderer
from d2f_jax import budget, pipeline
from d2f_jax.models import architectures, fusion, resize

TOLERANCE = 2e-4  # of the tests against the released code


def main(options: argparse.Namespace) -> Path:
    """Measures and writes the results file."""
    common.equal_footing()
    height, width = (384, 512) if options.quick else (1024, 1536)
    image = inputs.photograph(height, width)
    config = architectures.D2FConfig()
    small = resize.bilinear(image, pipeline.working_size(height, width))
    d2f = pipeline.D2F(config, inputs.parameters(config, small[None]), {})
    theirs, notes = _torch_pipelines(d2f, options)
    checkout = None
    if options.official and common.torch_device() is not None:
        checkout = official.load(options.official, d2f.params._asdict())

    run = functools.partial(common.measure, tolerance=TOLERANCE, repetitions=common.rounds(options))
    photo = f"{height}x{width} photo"
    parts = {"whole": _whole, "defocus network": _network, "renderer": _renderer, "fusion": _fusion}
    rows = [
        run(f"{name}, {photo}", contenders(d2f, image, theirs, checkout))
        for name, contenders in parts.items()
    ]
    if common.device() == "gpu":
        half = pipeline.D2F(architectures.with_precision(config, jnp.bfloat16), d2f.params, {})
        contenders = _whole(half, image, theirs, None, autocast=True)
        rows.append(run(f"whole, bfloat16 networks, {photo}", contenders, tolerance=0.2))
    return common.save("pipeline", options, rows, notes)


def _whole(d2f, image, theirs, checkout, autocast=False) -> list[common.Contender]:
    ours = functools.partial(d2f, always_sharp=False)  # as released
    contenders = [common.ours(ours, image, view=lambda x: {"bokeh": x.bokeh})]
    for name, net in theirs.items():
        call = torch.autocast("cuda", torch.bfloat16)(net) if autocast else net
        contenders.append(
            common.theirs(
                name,
                call,
                common.to_torch(image),
                view=lambda x: {"bokeh": common.from_torch(x.bokeh.float())},
            )
        )
    if checkout:
        contenders.append(
            common.theirs(
                common.OFFICIAL, checkout.pipeline, common.to_torch(image), view=_view("bokeh")
            )
        )
    return contenders


def _network(d2f, image, theirs, checkout) -> list[common.Contender]:
    small = resize.bilinear(image, pipeline.working_size(*image.shape[:2]))
    apply = functools.partial(jax.jit(d2f.config.defocus_net.apply), d2f.params.defocus)
    calls = {name: net.midas for name, net in theirs.items()}
    if checkout:
        calls[common.OFFICIAL] = checkout.stage1.midas
    return [common.ours(apply, small, view=lambda x: {"defocus": x})] + [
        common.theirs(name, call, common.to_torch(small), view=_view("defocus"))
        for name, call in calls.items()
    ]


def _renderer(d2f, image, theirs, checkout) -> list[common.Contender]:
    small = resize.bilinear(image, pipeline.working_size(*image.shape[:2]))
    out = d2f(image)
    scene = small, out.weight, out.defocus
    calls = {name: net.renderer for name, net in theirs.items()}
    if checkout:
        calls[common.OFFICIAL] = checkout.render
    return [common.ours(renderer, *scene, view=lambda x: {"rendered": x})] + [
        common.theirs(name, call, *map(common.to_torch, scene), view=_view("rendered"))
        for name, call in calls.items()
    ]


def _fusion(d2f, image, theirs, checkout) -> list[common.Contender]:
    out = d2f(image)
    scene = image, out.rendered, out.defocus

    strip = budget.strip(image.shape[1])
    blend: Any = jax.jit(functools.partial(fusion.blend, d2f.config.fusion_net, strip=strip))

    def fuse(variables, *scene):
        return blend(variables, *scene).bokeh

    calls = {name: _first_of(net.fuse) for name, net in theirs.items()}
    if checkout:
        calls[common.OFFICIAL] = checkout.fuse
    return [common.ours(fuse, d2f.params.fusion, *scene, view=lambda x: {"bokeh": x})] + [
        common.theirs(name, call, *map(common.to_torch, scene), view=_view("bokeh"))
        for name, call in calls.items()
    ]


def _torch_pipelines(d2f, options) -> tuple[dict[str, torch_baseline.Pipeline], list[str]]:
    """The released way, and the strong one: FFT renderer, channels last, compiled networks."""
    place = common.torch_device()
    if place is None:
        return {}, ["this PyTorch has no CUDA: PyTorch was not measured"]
    plain = torch_baseline.load(d2f.params._asdict()).to(place)
    strong: Any = copy.deepcopy(plain)
    strong.to(memory_format=torch.channels_last)
    strong.renderer = torch_baseline.FastRenderer().to(place)
    if options.quick:
        note = "torch.compile is left out of quick runs"
    else:
        with torch.inference_mode():
            note = _compile_networks(strong)
    return {common.TORCH: plain, common.STRONG: strong}, [f"{common.STRONG}: {note}"]


def _compile_networks(net: torch_baseline.Pipeline) -> str:
    """Runs the networks through `torch.compile`; says what became of it.

    The renderer stays eager: the compiler makes no code for complex numbers, and it was no faster.
    """
    device = next(net.parameters()).device
    try:
        midas: Any = torch.compile(net.midas, dynamic=False)
        blend: Any = torch.compile(net.blend, dynamic=False)
        midas(torch.zeros(1, 3, 64, 64, device=device))  # a trial: is there a compiler?
    except Exception as error:  # whatever the compiler of this machine stumbles over
        return f"torch.compile failed ({type(error).__name__}), networks run eagerly"
    net.midas, net.blend = midas, blend
    return "networks through torch.compile, channels last"


def _first_of(call):
    return lambda *arguments: call(*arguments)[0]


def _view(field: str):
    return lambda tensor: {field: common.from_torch(tensor)}


if __name__ == "__main__":
    sys.exit(common.run(main, __doc__))
