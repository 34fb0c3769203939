# %% [markdown]
# # Apertures and highlights
#
# The shape of the opening is the shape of every light that is out of focus. A picture stores
# lights as white, however bright they were; `highlights` guesses how much brighter, so that they
# open into discs instead of grey smears.

# %%
import numpy as np
from matplotlib import pyplot

from d2f_jax import render
from d2f_jax.render import highlights, kernels

rng = np.random.default_rng(4)
height, width = 240, 360
image = np.full((height, width, 3), 0.03, np.float32)
image += 0.05 * np.linspace(1, 0, height, dtype=np.float32)[:, None, None]
for row, column in rng.integers((20, 20), (height - 20, width - 20), (22, 2)):
    image[row : row + 2, column : column + 2] = 1.0  # clipped, as a camera would
background = np.zeros((height, width), np.float32)


def show(columns=3, **pictures):
    """Shows pictures in rows."""
    rows = -(-len(pictures) // columns)
    _, axes = pyplot.subplots(
        rows, columns, figsize=(4 * columns, 2.9 * rows), squeeze=False, layout="constrained"
    )
    for place in axes.flat:
        place.axis("off")
    for place, (name, picture) in zip(axes.flat, pictures.items(), strict=False):
        place.imshow(np.clip(picture, 0, 1))
        place.set_title(name.replace("_", " "))
    pyplot.show()


def lens(**options):
    """Everything lies one unit behind the focus."""
    return render.lens_blur(image, background, focus=1.0, blur=12.0, **options)


def iris(blades=6, roundness=0.0, ratio=1.0):
    """Blades, squeezed; a circle is blades of full roundness."""
    blades = kernels.Polygon(blades=blades, roundness=roundness)
    return kernels.Squeeze(aperture=blades, ratio=ratio)


# %% [markdown]
# ## Restored highlights
#
# `ContrastRule` takes what is white and stands in the dark for a lamp; `GainRule` and `PowerRule`
# are simpler.

# %%
rule = highlights.ContrastRule()
circle = lens(highlights=rule, aperture=iris(roundness=1.0))
show(photograph=image, as_stored=lens(), lights_restored=circle)

# %% [markdown]
# ## Openings
#
# They are ordinary arguments. Each kind of opening is compiled once, which takes 20 s on two busy
# cores, and so is `cat_eye`; changing blades, rotation or the squeeze compiles nothing. So the
# first four pictures here are of one kind, a squeezed polygon.

# %%
show(
    circle=circle,
    six_blades=lens(highlights=rule, aperture=iris(6)),
    seven_rounded=lens(highlights=rule, aperture=iris(7, roundness=0.5)),
    anamorphic=lens(highlights=rule, aperture=iris(roundness=1.0, ratio=0.5)),
    mirror_lens=lens(highlights=rule, aperture=kernels.Ring(inner=0.6)),
    cats_eye=lens(highlights=rule, cat_eye=0.6),
)
