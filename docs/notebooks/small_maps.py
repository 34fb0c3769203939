# %% [markdown]
# # A depth network's map, made better
#
# Depth networks return small maps with soft outlines. Enlarged as they are, they put halos around
# things. `render.refine` moves the outlines to where the colours of the photograph change.

# %%
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import pyplot

from d2f_jax import render
from d2f_jax.photo import depth_io, focus, image_io

image = jnp.asarray(image_io.read_photo("docs/samples/motorcycle.jpg").image)
exact = jnp.asarray(depth_io.read_disparity("docs/samples/motorcycle_disparity.png"))

# A stand-in for a network: a quarter of the size, 8 bits.
small = jax.image.resize(exact, tuple(n // 4 for n in exact.shape), "linear", antialias=True)
small = jnp.round(255 * small) / 255

enlarged = jax.image.resize(small, exact.shape, "linear")
refined = render.refine(small, image)

# %%
sharp = focus.at_pixel(np.asarray(exact), 375, 330)  # the engine
maps = {"enlarged": enlarged, "refined": refined, "exact": exact}
bokeh = {name: render.lens_blur(image, map_, focus=sharp, blur=30.0) for name, map_ in maps.items()}
part = (slice(220, 400), slice(280, 500))
figure, axes = pyplot.subplots(2, 3, figsize=(12, 7), layout="constrained")
for (name, map_), above, below in zip(maps.items(), *axes, strict=True):
    above.imshow(map_[part], cmap="magma", vmin=0, vmax=1)
    below.imshow(np.asarray(bokeh[name][part]))
    above.set_title(name)
    above.axis("off")
    below.axis("off")
pyplot.show()

# %%
for name in ("enlarged", "refined"):
    error = float(((bokeh[name] - bokeh["exact"]) ** 2).mean())
    print(f"{name}: PSNR {-10 * np.log10(error):.1f} dB against the bokeh of the exact map")

# %% [markdown]
# The halo along the exhaust pipe is gone. The gain over the whole picture is small, as spokes,
# levers and cables are thinner than a pixel of the small map, and are lost in both. In ray-traced
# scenes with fewer of these it is 2 dB ([table](../lens_blur.md#how-right-it-is)).
#
# On the command line `d2f bokeh photo.jpg --disparity map.png` does this by itself; `--refine off`
# leaves the map as it is. Networks by name are on [a page of
# their own](../depth_models.md).
