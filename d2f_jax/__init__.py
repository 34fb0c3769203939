"""Defocus to Focus (Luo et al., Information Fusion 2023) in JAX and Flax.

::

                     ┌─ defocus ──► defocus map ────┐
     image ──────────┤                              ├─► render ─► half-size bokeh ─► fusion ─► bokeh
     (all-in-focus)  └─ radiance ─► radiance weight ┘     ▲                            ▲
                                        kernels ─► convolution                image, defocus map

Where to go:

- `pipeline`: the whole line. `pipeline.load()(image).bokeh` with the weights of the package.
- `render`: the renderers alone (`render.lens_blur`, `render.layered_render`), apertures in
  `render.kernels`; needs jax, numpy and jaxtyping only.
- `models`: the networks, their weights, `models.convert` for the authors' checkpoints.
- `photo`: photographs and depth maps from and to files (`photo.image_io`, `photo.depth_io`),
  focus that people can name (`photo.focus`), what `d2f bokeh` does (`photo.develop`).
- `app`: the page of `d2f app`; `app.session` is one photograph on it, without the web.
- `training`: losses, metrics, evaluation, data sets; the experiments are in `train/`.

Importing `d2f_jax` imports nothing else: take what you need (`from d2f_jax import render`).
"""

__version__ = "0.1.0"
