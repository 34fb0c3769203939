# %% [markdown]
# # A distance map out of focus blur
#
# The renderer is differentiable, so that a map can be found from how a picture is blurred. Given a
# sharp photograph and the same with bokeh, a coarse map gets its details back by gradient descent.

# %%
import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib import pyplot

from d2f_jax import render
from d2f_jax.photo import depth_io, image_io

image = jnp.asarray(image_io.read_photo("docs/samples/motorcycle.jpg").image[::5, ::5])
true = jnp.asarray(depth_io.read_disparity("docs/samples/motorcycle_disparity.png")[::5, ::5])
lens = {"focus": 0.9, "blur": 8.0, "max_radius": 9.0}
seen = render.lens_blur(image, true, **lens)

coarse = jax.image.resize(true, (6, 9), "linear")
start = jax.image.resize(coarse, true.shape, "linear")

# %% [markdown]
# The loss is the error of the picture that the map would make, plus a little for every slope of
# the map that no edge of the photograph explains; without it nothing tells how untextured surfaces
# lie.

# %%
edges = [jnp.exp(-20 * abs(jnp.diff(image.mean(-1), axis=axis))) for axis in (0, 1)]


def loss(map_):
    """Error of the picture, and roughness of the map."""
    error = jnp.abs(render.lens_blur(image, map_, **lens) - seen).mean()
    rough = sum((w * abs(jnp.diff(map_, axis=axis))).mean() for axis, w in enumerate(edges))
    return error + 0.02 * rough


optimizer = optax.adam(optax.cosine_decay_schedule(0.02, 120))
slope = jax.jit(jax.grad(loss))
map_, state = start, optimizer.init(start)
for _ in range(120):
    gradient = slope(map_)
    updates, state = optimizer.update(gradient, state)
    map_ = jnp.clip(optax.apply_updates(map_, updates), 0, 1)

# %%
figure, axes = pyplot.subplots(2, 3, figsize=(12, 6), layout="constrained")
pictures = {
    "photograph": image,
    "with bokeh": seen,
    "coarse map: bokeh": render.lens_blur(image, start, **lens),
    "true map": true,
    "coarse map": start,
    "found map": map_,
}
for place, (name, picture) in zip(axes.flat, pictures.items(), strict=True):
    place.imshow(np.asarray(picture), cmap="magma", vmin=0, vmax=1)
    place.set_title(name)
    place.axis("off")
pyplot.show()
error = {name: float(abs(d - true).mean()) for name, d in (("coarse", start), ("found", map_))}
print({name: round(value, 4) for name, value in error.items()}, "mean error of the map")
assert error["found"] < error["coarse"]
