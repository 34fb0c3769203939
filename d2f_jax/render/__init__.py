"""Light: the renderers, for use in any JAX project; needs jax, numpy and jaxtyping only.

`layered_render` and `weighted_layered_render` are the paper's, `lens_blur` follows an ideal lens.
Apertures and banks are in `kernels`, rules for clipped lights in `highlights`.
"""

from d2f_jax.render import highlights, kernels
from d2f_jax.render.layered import layered_render, weighted_layered_render
from d2f_jax.render.lens import lens_blur

__all__ = ["highlights", "kernels", "layered_render", "lens_blur", "weighted_layered_render"]
