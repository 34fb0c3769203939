# %% [markdown]
# # Quick start
#
# One photograph, three ways to a wide aperture. Notebooks here are percent scripts
# ([jupytext](https://jupytext.readthedocs.io)): they open as notebooks, and run as they are from a
# checkout of the project.

# %%
import jax.numpy as jnp
import numpy as np
from matplotlib import pyplot

from d2f_jax import pipeline, render
from d2f_jax.photo import depth_io, focus, image_io


def show(**pictures):
    """Shows pictures or maps beside one another."""
    _, axes = pyplot.subplots(
        1, len(pictures), figsize=(4 * len(pictures), 3.2), squeeze=False, layout="constrained"
    )
    for place, (name, picture) in zip(axes[0], pictures.items(), strict=True):
        place.imshow(np.asarray(picture), cmap="magma", vmin=0, vmax=1)
        place.set_title(name.replace("_", " "))
        place.axis("off")
    pyplot.show()


# %% [markdown]
# ## A photograph and nothing else
#
# The networks imagine how far out of focus everything is; the layered renderer blurs; the last
# network keeps what is sharp.

# %%
otter = image_io.read_photo("docs/samples/otter.jpg").image
d2f = pipeline.load()
out = d2f(otter)
show(photograph=otter, defocus_map=out.defocus, bokeh=out.bokeh)

# %% [markdown]
# ## A photograph and a map
#
# With a map the lens blur takes over: any map of disparity (nearer is greater), from a stereo
# camera, a phone or a depth network. `focus` is a value of the map, `blur` the radius in pixels
# per unit of it.

# %%
image = image_io.read_photo("docs/samples/motorcycle.jpg").image[::2, ::2]
disparity = depth_io.read_disparity("docs/samples/motorcycle_disparity.png")[::2, ::2]
engine = focus.at_pixel(disparity, 187, 165)
bokeh = render.lens_blur(image, disparity, focus=engine, blur=15.0)
show(photograph=image, disparity=disparity, focus_on_the_engine=bokeh)

# %% [markdown]
# Another focus is another call, and compiles nothing new.

# %%
near, far = np.quantile(disparity, (0.98, 0.02))
show(
    near=render.lens_blur(image, disparity, focus=float(near), blur=15.0),
    far=render.lens_blur(image, disparity, focus=float(far), blur=15.0),
)

# %% [markdown]
# ## The paper's renderer
#
# The layered renderer of Defocus to Focus takes a defocus map in [0, 1] and fifteen kernels of
# fixed sizes, as the released code does; the tests hold the two within 2e-5 of one another.

# %%
defocus = jnp.clip(abs(disparity - engine), 0, 1)
show(defocus=defocus, layered_render=render.layered_render(image, defocus))
