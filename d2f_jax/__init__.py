"""Defocus to Focus (Luo et al., Information Fusion 2023) in JAX and Flax.

::

                     ┌─ defocus ──► defocus map ────┐
     image ──────────┤                              ├─► render ─► half-size bokeh ─► fusion ─► bokeh
     (all-in-focus)  └─ radiance ─► radiance weight ┘     ▲                            ▲
                                        kernels ─► convolution                image, defocus map

`pipeline` is the whole line; `render` is usable alone and needs jax, numpy and jaxtyping only.
Importing `d2f_jax` imports nothing else: take the modules you need (`from d2f_jax import render`).
"""

__version__ = "0.1.0"
