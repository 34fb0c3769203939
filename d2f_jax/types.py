"""The glossary as code: axis letters, array aliases and the conventions that every module keeps.

Arrays are channels-last. Axis letters in shapes: `b` any leading batch axes (also none), `h` and
`w` height and width in pixels, `c` channels, `n` kernels (layers), `k` kernel side.

| name | meaning |
|---|---|
| image | all-in-focus picture, sRGB-encoded, in [0, 1] |
| bokeh | the wide-aperture picture, same shape and range |
| disparity | inverse depth, 1 = near; any affine scale |
| focus | the disparity that is in focus |
| blur | circle-of-confusion radius in pixels per unit of disparity difference |
| coc_radius | signed circle-of-confusion radius in pixels, positive = nearer than the focus |
| defocus | D2F's normalised map in [0, 1]: 0 in focus, 1 takes the last kernel |
| kernels | bank of normalised point-spread functions, identity first |
| weight | radiance weight of each pixel, >= 0 |
| fusion_mask | 1 keeps the sharp image, 0 takes the rendered bokeh |
"""

from typing import Literal

import numpy as np
from jax import Array
from jaxtyping import Float

Image = Float[Array, "*b h w 3"]
Map = Float[Array, "*b h w"]
Weight = Float[Array, "*b h w #3"]
Kernels = Float[Array, "n k k"] | Float[np.ndarray, "n k k"]

Padding = Literal["reflect", "edge", "zero"]
LayerOrder = Literal["released", "printed", "depth"]
Encoding = Literal["srgb", "linear"]

Scalar = Array | float | int
"""A number, which may be traced."""

Extent = tuple[Scalar, Scalar]
"""Rows and columns of a picture that lies in the first corner of larger arrays; may be traced."""
