"""What can be seen beside the picture: map, defocus, radiance, what is sharp, and how far it is."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from d2f_jax.photo import develop
from d2f_jax.photo import focus as focus_names
from d2f_jax.photo.disparity import DisparityOutput
from d2f_jax.photo.image_io import Photo
from d2f_jax.photo.settings import Settings
from d2f_jax.render import highlights

SHARP = 0.75
"""Radius up to which a circle of confusion passes for sharp in a preview [px]."""


def of_map(disparity: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """A map as a grey picture, near = bright."""
    low, high = develop.extremes(disparity)
    return np.clip((disparity - low) / max(float(high - low), 1e-12), 0, 1)


def of(
    view: str, done: develop.Developed, photo: Photo, settings: Settings
) -> Float[np.ndarray, "..."]:
    """A view of a development, in [0, 1]: `h w 3` for the picture, `h w` for the others.

    Args:
      view: "picture", "defocus" (bright = blurred), "radiance" (bright = a light that is raised)
        or "mask" (bright = stays sharp).
      done: The development.
      photo: The photograph.
      settings: What it was developed with.
    """
    if view == "picture":
        return develop.encoded(done.photo)
    if view in done.pictures:
        return done.pictures[view]
    if view == "mask":
        return np.clip(2 - np.abs(done.maps["coc_radius"]) / SHARP, 0, 1)
    rule = highlights.ContrastRule(limit=settings.highlight_gain)
    gain = np.asarray(_gain(rule, jnp.asarray(develop.encoded(photo))))[..., 0]
    return np.log(gain) / max(float(np.log(gain).max()), 1e-6)


def distance(
    focus: str, made: DisparityOutput | None, photo: Photo, done: develop.Developed | None
) -> str:
    """How far away what is sharp is, if the map knows; automatic focus is known once rendered."""
    if made is None or not made.metric:
        return ""
    value = None if done is None else done.focused
    if value is None:
        if focus == "auto":
            return ""
        value = focus_names.resolve(focus, develop.fitted(made.disparity, photo.image.shape[:2]))
    return f"{1 / value:.3g} m" if value > 1e-3 else "far away"


@jax.jit
def _gain(rule: highlights.ContrastRule, image: jax.Array) -> jax.Array:
    return rule(image)
