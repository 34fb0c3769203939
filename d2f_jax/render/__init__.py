"""Light: the renderers, for use in any JAX project; needs jax, numpy and jaxtyping only.

`layered_render` and `weighted_layered_render` are the paper's, `lens_blur` follows an ideal lens;
`refine` gives a small map the outlines of its photograph.
Apertures and banks are in `kernels`, rules for clipped lights in `highlights`.
"""

from d2f_jax.render import highlights, kernels
from d2f_jax.render.layered import layered_render, weighted_layered_render
from d2f_jax.render.lens import lens_blur
from d2f_jax.render.refinement import refine

__all__ = [
    "highlights",
    "kernels",
    "layered_render",
    "lens_blur",
    "refine",
    "weighted_layered_render",
]
