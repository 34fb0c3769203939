"""What is compiled before the first visitor moves anything."""

from d2f_jax import pipeline
from d2f_jax.app import warmth
from d2f_jax.models import architectures, imagination


def test_every_canvas_of_the_network_is_among_it():
    side = architectures.ARCHITECTURES["d2f-lite"].defocus_side
    parts = [part.args for part in warmth.PARTS if part.func is warmth.compile_networks]
    sizes = {pipeline.working_size(*arguments[-1]) for arguments in parts}
    canvases = {imagination._canvas(imagination._seen_size(size, side)) for size in sizes}
    assert canvases == {(192, 256), (256, 192), (256, 256)}
    for height in range(64, 1024, 64):  # and there are no others
        size = imagination._seen_size((height, 512), side)
        assert imagination._canvas(size) in canvases
